"""Loads libnexus and turns its statuses into exceptions. Written from the public headers alone; no compiler needed."""
import ctypes
import ctypes.util
import os


def _load():
    path = os.environ.get("NEXUS_LIBRARY") or ctypes.util.find_library("nexus") or "libnexus.so.0"
    return ctypes.CDLL(path)


lib = _load()


class Slice(ctypes.Structure):
    """nexus_slice: a run of bytes, borrowed."""

    _fields_ = [("p", ctypes.c_void_p), ("n", ctypes.c_size_t)]

    @classmethod
    def of(cls, data):
        """A slice over bytes or str; keeps the bytes alive as long as the slice."""
        raw = data.encode() if isinstance(data, str) else bytes(data or b"")
        holder = ctypes.create_string_buffer(raw, len(raw) + 1)
        made = cls(ctypes.cast(holder, ctypes.c_void_p), len(raw))
        made.holder = holder
        return made

    def bytes(self):
        return ctypes.string_at(self.p, self.n) if self.p else b""

    def text(self):
        return self.bytes().decode()


class NexusError(Exception):
    """A failed call: `status` is the number, `name` the constant ("NEXUS_EINVAL"), the text says what to do."""

    def __init__(self, status):
        self.status = status
        self.name = lib.nexus_status_name(status).decode()
        super().__init__(f"{self.name}: {lib.nexus_error_message().decode(errors='replace')}")


def function(name, result, *arguments):
    """Declares one public function. A nexus_status result raises NexusError unless it is NEXUS_OK."""
    call = getattr(lib, name)
    call.argtypes = list(arguments)
    if result != "status":
        call.restype = result
        return call
    call.restype = ctypes.c_int32

    def checked(*values):
        status = call(*values)
        if status != 0:
            raise NexusError(status)

    checked.__name__ = name
    return checked


function("nexus_status_name", ctypes.c_char_p, ctypes.c_int32)
function("nexus_error_message", ctypes.c_char_p)
version = function("nexus_version", ctypes.c_char_p)
free = function("nexus_free", None, ctypes.c_void_p)


def take(pointer, size):
    """Copies what a call handed over as *out and frees it."""
    data = ctypes.string_at(pointer, size.value) if pointer else b""
    free(pointer)
    return data


class Handle:
    """Owns a pointer that one function ends; `with` and garbage collection both end it once."""

    _end = None

    def __init__(self, pointer):
        self._as_parameter_ = pointer

    def close(self):
        if self._as_parameter_ is not None:
            type(self)._end(self._as_parameter_)
            self._as_parameter_ = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        try:
            self.close()
        except (AttributeError, TypeError):
            pass  # the interpreter is going down


P = ctypes.c_void_p
OUT = ctypes.POINTER(ctypes.c_void_p)
SIZE = ctypes.c_size_t
SIZE_OUT = ctypes.POINTER(ctypes.c_size_t)
TEXT = ctypes.c_char_p
SLICE_OUT = ctypes.POINTER(Slice)
