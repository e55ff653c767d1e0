"""The gateway's decisions: nexus/gateway.h. Loads a routes file and says what would happen to a request."""
import ctypes
import json

from ._library import OUT, P, SIZE, SIZE_OUT, TEXT, Handle, Slice, function, take

_runtime_open = function("nexus_runtime_open", "status", OUT, P)
_runtime_close = function("nexus_runtime_close", None, P)
_open = function("nexus_gateway_open", "status", OUT, P, P)
_close = function("nexus_gateway_close", None, P)
_load = function("nexus_gateway_load", "status", P, TEXT, Slice)
_validate = function("nexus_config_validate", "status", TEXT, Slice)


class _Pair(ctypes.Structure):
    _fields_ = [("name", Slice), ("value", Slice)]


_explain = function("nexus_gateway_explain", "status", P, TEXT, Slice, ctypes.POINTER(_Pair), SIZE, OUT, SIZE_OUT)


def validate(routes, name="routes.json"):
    """Raises NexusError with NAME:LINE:COLUMN and the JSON pointer when the routes (text or object) are not valid."""
    text = routes if isinstance(routes, (str, bytes)) else json.dumps(routes)
    _validate(name.encode(), Slice.of(text))


class Runtime(Handle):
    """Event loops and workers."""

    _end = _runtime_close

    def __init__(self):
        out = P()
        _runtime_open(ctypes.byref(out), None)
        super().__init__(out)


class Gateway(Handle):
    """A gateway that is asked, not served: `explain` is what `nexus explain` prints."""

    _end = _close

    def __init__(self, routes, name="routes.json"):
        self.runtime = Runtime()  # must outlive the gateway
        out = P()
        _open(ctypes.byref(out), self.runtime, None)
        super().__init__(out)
        text = routes if isinstance(routes, (str, bytes)) else json.dumps(routes)
        _load(self, name.encode(), Slice.of(text))

    def explain(self, method, target, headers=None):
        pairs = (_Pair * max(1, len(headers or {})))()
        for pair, (key, value) in zip(pairs, (headers or {}).items()):
            pair.name, pair.value = Slice.of(key), Slice.of(value)
            pair.keep = (pair.name, pair.value)
        out, size = P(), SIZE()
        _explain(self, method.encode(), Slice.of(target), pairs, len(headers or {}), ctypes.byref(out), ctypes.byref(size))
        return json.loads(take(out, size))

    def close(self):
        super().close()
        if getattr(self, "runtime", None):
            self.runtime.close()
            self.runtime = None
