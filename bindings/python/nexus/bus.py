"""The event bus: nexus/bus.h. Events are dicts in the CloudEvents JSON form."""
import ctypes
import json

from ._library import OUT, P, SIZE, SIZE_OUT, TEXT, Handle, function

_open = function("nexus_bus_open", "status", OUT, TEXT, P)
_close = function("nexus_bus_close", None, P)
_group_open = function("nexus_group_open", "status", OUT, P, TEXT, P)
_group_close = function("nexus_group_close", None, P)
_fetch = function("nexus_group_fetch", "status", P, OUT, SIZE, ctypes.c_uint32, SIZE_OUT)
_json = function("nexus_delivery_json", "status", P, ctypes.POINTER(TEXT), SIZE_OUT)
_attempt = function("nexus_delivery_attempt", ctypes.c_uint32, P)
_ack = function("nexus_delivery_ack_sync", "status", P)
_nak = function("nexus_delivery_nak", "status", P, ctypes.c_uint32, TEXT)
_term = function("nexus_delivery_term", "status", P, TEXT)
_delivery_free = function("nexus_delivery_free", None, P)


class _Result(ctypes.Structure):
    _fields_ = [("size", SIZE), ("first", ctypes.c_uint64), ("last", ctypes.c_uint64), ("version", ctypes.c_int64),
                ("actual_version", ctypes.c_int64), ("dup", ctypes.c_bool), ("durable", ctypes.c_bool)]


_publish = function("nexus_bus_publish_json", "status", P, TEXT, SIZE, P, ctypes.POINTER(_Result))


class _GroupOpts(ctypes.Structure):
    _fields_ = [("size", SIZE), ("types", TEXT), ("subject_prefix", TEXT), ("source", TEXT), ("start", ctypes.c_uint32),
                ("order", ctypes.c_uint32), ("start_pos", ctypes.c_uint64), ("start_time_ns", ctypes.c_int64),
                ("ack_wait_ms", ctypes.c_uint32), ("max_deliver", ctypes.c_uint32), ("max_inflight", ctypes.c_uint32),
                ("backoff_base_ms", ctypes.c_uint32), ("backoff_cap_ms", ctypes.c_uint32), ("update", ctypes.c_bool)]


class Delivery(Handle):
    """One event under a lease: settle it with ack, nak or term."""

    _end = _delivery_free

    @property
    def event(self):
        text, size = TEXT(), SIZE()
        _json(self, ctypes.byref(text), ctypes.byref(size))
        return json.loads(ctypes.string_at(text, size.value))

    @property
    def attempt(self):
        return _attempt(self)

    def ack(self):
        _ack(self)

    def nak(self, delay_ms=0xFFFFFFFF, reason=None):
        _nak(self, delay_ms, reason.encode() if reason else None)

    def term(self, reason=None):
        _term(self, reason.encode() if reason else None)


class Group(Handle):
    """A member of a durable group."""

    _end = _group_close

    def __init__(self, bus, name, types=None, ack_wait_ms=0):
        opts = _GroupOpts(size=ctypes.sizeof(_GroupOpts), types=types.encode() if types else None, ack_wait_ms=ack_wait_ms)
        out = P()
        _group_open(ctypes.byref(out), bus, name.encode(), ctypes.byref(opts))
        super().__init__(out)
        self.bus = bus  # a group does not keep its bus alive

    def fetch(self, most=1, wait_ms=1000):
        """Up to `most` deliveries, waiting for the first; ctypes lets other threads run meanwhile."""
        array, got = (P * most)(), SIZE()
        _fetch(self, ctypes.cast(array, OUT), most, wait_ms, ctypes.byref(got))
        return [Delivery(P(array[i])) for i in range(got.value)]


class Bus(Handle):
    """`memory:` or `file:DIR`; several processes may open one directory."""

    _end = _close

    def __init__(self, url):
        out = P()
        _open(ctypes.byref(out), url.encode(), None)
        super().__init__(out)

    def publish(self, *events):
        """Durable on return; all events or none. Returns (first position, last position, duplicate)."""
        text = json.dumps(list(events)).encode()
        result = _Result(size=ctypes.sizeof(_Result))
        _publish(self, text, len(text), None, ctypes.byref(result))
        return result.first, result.last, result.dup

    def group(self, name, types=None, ack_wait_ms=0):
        return Group(self, name, types, ack_wait_ms)
