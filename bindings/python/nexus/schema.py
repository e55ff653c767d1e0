"""JSON Schema 2020-12: nexus/schema.h."""
import ctypes
import json

from ._library import OUT, P, SIZE, TEXT, Handle, NexusError, Slice, function, lib

_compile = function("nexus_schema_compile", "status", OUT, TEXT, SIZE, P)
_free = function("nexus_schema_free", None, P)
_count = function("nexus_schema_report_count", SIZE, P)
_report_free = function("nexus_schema_report_free", None, P)


class _Error(ctypes.Structure):
    _fields_ = [("size", SIZE), ("pointer", Slice), ("keyword", Slice), ("detail", Slice), ("line", ctypes.c_uint32),
                ("column", ctypes.c_uint32)]


_at = function("nexus_schema_report_at", ctypes.c_bool, P, SIZE, ctypes.POINTER(_Error))
_check = lib.nexus_schema_check
_check.argtypes, _check.restype = [P, TEXT, SIZE, OUT], ctypes.c_int32

_EINVAL, _EPROTO = -1, -22


class Schema(Handle):
    """A compiled schema; one object serves any number of threads."""

    _end = _free

    def __init__(self, schema):
        out, text = P(), json.dumps(schema).encode()
        _compile(ctypes.byref(out), text, len(text), None)
        super().__init__(out)

    def errors(self, value):
        """What is wrong with a JSON text (bytes or str) or a Python value: [{pointer, keyword, detail}]."""
        text = value if isinstance(value, bytes) else (value if isinstance(value, str) else json.dumps(value)).encode()
        report = P()
        status = _check(self, text, len(text), ctypes.byref(report))
        try:
            if status not in (0, _EINVAL, _EPROTO):
                raise NexusError(status)
            found = []
            for i in range(_count(report)):
                error = _Error(ctypes.sizeof(_Error))
                _at(report, i, ctypes.byref(error))
                found.append({"pointer": error.pointer.text(), "keyword": error.keyword.text(),
                              "detail": error.detail.text()})
            return found
        finally:
            _report_free(report)
