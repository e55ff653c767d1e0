"""Sagas: nexus/saga.h. A table is a dict in the form of nexus_saga_open_json: steps publish commands and wait for events."""
import ctypes
import json

from ._library import OUT, P, SIZE, SIZE_OUT, TEXT, Handle, Slice, function, take

_open = function("nexus_saga_open_json", "status", OUT, P, TEXT, SIZE)
_close = function("nexus_saga_close", None, P)
_start = function("nexus_saga_start", "status", P, Slice, Slice)
_get = function("nexus_saga_get", "status", OUT, SIZE_OUT, P, TEXT, Slice)
_control = function("nexus_saga_control", "status", P, TEXT, Slice, ctypes.c_uint32, TEXT, ctypes.c_uint32)


class _Query(ctypes.Structure):
    _fields_ = [("size", SIZE), ("status", TEXT), ("after", TEXT), ("limit", ctypes.c_uint32), ("reserved", ctypes.c_uint32)]


_list = function("nexus_saga_list", "status", OUT, SIZE_OUT, P, TEXT, ctypes.POINTER(_Query))
_OPERATIONS = {"retry": 1, "skip": 2, "force-done": 3, "force-failed": 4}


class Saga(Handle):
    """Runs a table on a bus until it is closed; close it before its bus."""

    _end = _close

    def __init__(self, bus, table):
        text, out = json.dumps(table).encode(), P()
        _open(ctypes.byref(out), bus, text, len(text))
        super().__init__(out)
        self.bus = bus

    def start(self, instance, state=None):
        """Once per id; durable on return."""
        _start(self, Slice.of(instance), Slice.of(json.dumps(state or {})))


def saga_get(bus, name, instance):
    """One instance with its history."""
    out, size = P(), SIZE()
    _get(ctypes.byref(out), ctypes.byref(size), bus, name.encode(), Slice.of(instance))
    return json.loads(take(out, size))


def saga_list(bus, name, status=None, limit=100):
    """Yields instances page by page; without status those that have not ended."""
    after = None
    while True:
        query = _Query(size=ctypes.sizeof(_Query), status=status.encode() if status else None, after=after, limit=limit)
        out, size = P(), SIZE()
        _list(ctypes.byref(out), ctypes.byref(size), bus, name.encode(), ctypes.byref(query))
        page = json.loads(take(out, size))
        yield from page["instances"]
        if page["next"] is None:
            return
        after = page["next"].encode()


def saga_control(bus, name, instance, operation, why, timeout_ms=0):
    """operation: retry, skip, force-done or force-failed."""
    _control(bus, name.encode(), Slice.of(instance), _OPERATIONS[operation], why.encode(), timeout_ms)
