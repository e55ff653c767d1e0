"""The event bus: nexus/bus.h. Events are dicts in the CloudEvents JSON form."""
import ctypes
import json

from ._library import OUT, P, SIZE, SIZE_OUT, TEXT, Handle, NexusError, function

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
                ("actual_version", ctypes.c_int64), ("dup", ctypes.c_bool), ("durable", ctypes.c_bool),
                ("warnings", ctypes.c_uint32), ("durability", ctypes.c_uint32)]


_publish = function("nexus_bus_publish_json", "status", P, TEXT, SIZE, P, ctypes.POINTER(_Result))


class _GroupOpts(ctypes.Structure):
    _fields_ = [("size", SIZE), ("types", TEXT), ("subject_prefix", TEXT), ("source", TEXT), ("start", ctypes.c_uint32),
                ("order", ctypes.c_uint32), ("start_pos", ctypes.c_uint64), ("start_time_ns", ctypes.c_int64),
                ("ack_wait_ms", ctypes.c_uint32), ("max_deliver", ctypes.c_uint32), ("max_inflight", ctypes.c_uint32),
                ("backoff_base_ms", ctypes.c_uint32), ("backoff_cap_ms", ctypes.c_uint32), ("update", ctypes.c_bool)]


class _ReaderOpts(ctypes.Structure):
    _fields_ = [("size", SIZE), ("stream", TEXT), ("category", TEXT), ("types", TEXT), ("subject_prefix", TEXT),
                ("source", TEXT), ("start", ctypes.c_uint32), ("reserved", ctypes.c_uint32), ("start_pos", ctypes.c_uint64),
                ("start_time_ns", ctypes.c_int64), ("from_version", ctypes.c_int64), ("to_pos", ctypes.c_uint64),
                ("tags", TEXT), ("accept_revs", TEXT), ("raw", ctypes.c_bool), ("signals", ctypes.c_bool),
                ("behind", ctypes.c_uint32)]


class _ReplayOpts(ctypes.Structure):
    _fields_ = [("size", SIZE), ("stream", TEXT), ("category", TEXT), ("types", TEXT), ("subject_prefix", TEXT),
                ("source", TEXT), ("tags", TEXT), ("accept_revs", TEXT), ("raw", ctypes.c_bool), ("paused", ctypes.c_bool),
                ("start", ctypes.c_uint32), ("start_pos", ctypes.c_uint64), ("start_time_ns", ctypes.c_int64),
                ("to_pos", ctypes.c_uint64), ("to_time_ns", ctypes.c_int64), ("factor", ctypes.c_double),
                ("max_events_s", ctypes.c_double), ("max_bytes_s", ctypes.c_double), ("attempts", ctypes.c_uint32),
                ("reserved", ctypes.c_uint32)]


class _Progress(ctypes.Structure):
    _fields_ = [("size", SIZE), ("state", ctypes.c_uint32), ("error", ctypes.c_int32), ("position", ctypes.c_uint64),
                ("to", ctypes.c_uint64), ("events", ctypes.c_uint64), ("bytes", ctypes.c_uint64), ("failed", ctypes.c_uint64),
                ("skipped", ctypes.c_uint64), ("events_s", ctypes.c_double), ("done", ctypes.c_double),
                ("eta_ms", ctypes.c_int64)]


_reader_open = function("nexus_reader_open", "status", OUT, P, P)
_reader_next = function("nexus_reader_next_json", ctypes.c_int32, P, ctypes.POINTER(TEXT), SIZE_OUT, ctypes.c_uint32)
_reader_close = function("nexus_reader_close", None, P)
_replay_open = function("nexus_replay_open", "status", OUT, P, P, P, SIZE)
_replay_next = function("nexus_replay_next_json", ctypes.c_int32, P, ctypes.POINTER(TEXT), SIZE_OUT, ctypes.c_uint32)
_replay_rate = function("nexus_replay_rate", "status", P, ctypes.c_double, ctypes.c_double, ctypes.c_double)
_replay_pause = function("nexus_replay_pause", None, P, ctypes.c_bool)
_replay_progress = function("nexus_replay_read_progress", None, P, ctypes.POINTER(_Progress))
_replay_close = function("nexus_replay_close", None, P)
_EAGAIN, _EDONE = -3, -24


def _options(kind, names):
    """The struct with what was given: text is encoded, a start or bound may be a position."""
    made = kind(size=ctypes.sizeof(kind))
    for name, value in names.items():
        setattr(made, name, value.encode() if isinstance(value, str) else value)
    if made.start_pos or made.start_time_ns:
        made.start = 2 if made.start_pos else 3
    return made


def _event(status, text, size):
    if status:
        raise NexusError(status)
    return json.loads(ctypes.string_at(text, size.value))


class Reader(Handle):
    """Stored events in order, then those to come. A `for` loop ends at the end of the log."""

    _end = _reader_close

    def __init__(self, bus, **options):
        opts, out = _options(_ReaderOpts, options), P()
        _reader_open(ctypes.byref(out), bus, ctypes.byref(opts))
        super().__init__(out)
        self.bus = bus

    def next(self, wait_ms=0):
        """The next event, or None when none comes in that time."""
        text, size = TEXT(), SIZE()
        status = _reader_next(self, ctypes.byref(text), ctypes.byref(size), wait_ms)
        return None if status == _EDONE else _event(status, text, size)

    def __iter__(self):
        return iter(self.next, None)


class Replay(Handle):
    """Stored events again, at a speed that may be changed on the way. A `for` loop ends with the replay."""

    _end = _replay_close

    def __init__(self, bus, **options):
        opts, out = _options(_ReplayOpts, options), P()
        _replay_open(ctypes.byref(out), bus, ctypes.byref(opts), None, 0)
        super().__init__(out)
        self.bus = bus

    def __iter__(self):
        text, size = TEXT(), SIZE()
        while (status := _replay_next(self, ctypes.byref(text), ctypes.byref(size), 500)) != _EDONE:
            if status != _EAGAIN:
                yield _event(status, text, size)

    def rate(self, factor=0.0, max_events_s=0.0, max_bytes_s=0.0):
        _replay_rate(self, factor, max_events_s, max_bytes_s)

    def pause(self, paused=True):
        _replay_pause(self, paused)

    @property
    def progress(self):
        made = _Progress(size=ctypes.sizeof(_Progress))
        _replay_progress(self, ctypes.byref(made))
        return {name: getattr(made, name) for name, _ in made._fields_[1:]}


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

    def read(self, **options):
        """stream, category, types, tags, start_pos, start_time_ns, to_pos, raw …: the fields of nexus_reader_opts."""
        return Reader(self, **options)

    def replay(self, **options):
        """stream, types, start_pos, to_pos, factor, max_events_s …: the fields of nexus_replay_opts."""
        return Replay(self, **options)

    def group(self, name, types=None, ack_wait_ms=0):
        return Group(self, name, types, ack_wait_ms)
