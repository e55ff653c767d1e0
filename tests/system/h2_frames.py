"""HTTP/2 frame by frame: what no client library would send. Header blocks are literals without indexing (RFC 7541 6.2.2);
answers are read by their :status, which servers send from the static table or as a literal."""
import socket
import struct

from harness import SLOW

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = range(4)
STREAM_CLOSED, REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 5, 7, 8, 11
STATIC_STATUS = {8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500}


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def integer(value, prefix, first=0):
    top = (1 << prefix) - 1
    if value < top:
        return bytes([first | value])
    out, value = bytes([first | top]), value - top
    while value >= 128:
        out, value = out + bytes([value % 128 + 128]), value // 128
    return out + bytes([value])


def block(fields):
    out = b""
    for name, value in fields:
        name, value = (x if isinstance(x, bytes) else x.encode() for x in (name, value))
        out += b"\x00" + integer(len(name), 7) + name + integer(len(value), 7) + value
    return out


def request(path="/", method="GET", authority="a", *more):
    return [(":method", method), (":scheme", "http"), (":path", path), (":authority", authority), *more]


class Connection:
    def __init__(self, port, settings=b"", hello=True):
        self.socket = socket.create_connection(("127.0.0.1", port), 5)
        self.socket.settimeout(20 * SLOW)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest, self.ended = b"", False
        if hello:
            self.send(PREFACE + frame(SETTINGS, 0, 0, settings))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        """Whether it could be sent: the server may have closed already."""
        try:
            self.socket.sendall(data)
            return True
        except OSError:
            return False

    def headers(self, stream, fields, end=True):
        return self.send(frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream, block(fields)))

    def read(self):
        """The next frame as (kind, flags, stream, payload); None at the end of the connection."""
        while len(self.rest) < 9 or len(self.rest) < 9 + int.from_bytes(self.rest[:3], "big"):
            try:
                piece = self.socket.recv(65536)
            except ConnectionResetError:
                piece = b""
            if not piece:
                self.ended = True
                return None
            self.rest += piece
        n = int.from_bytes(self.rest[:3], "big")
        kind, flags = self.rest[3], self.rest[4]
        stream = int.from_bytes(self.rest[5:9], "big") & 0x7fffffff
        payload, self.rest = self.rest[9:9 + n], self.rest[9 + n:]
        return kind, flags, stream, payload

    def until(self, want):
        """Reads to the first frame for which want says yes; None: the connection ended before."""
        while f := self.read():
            if want(*f):
                return f
        return None

    def goaway(self):
        """The error of the next GOAWAY; None: the connection ended without one."""
        f = self.until(lambda kind, *_: kind == GOAWAY)
        return f and int.from_bytes(f[3][4:8], "big")

    def outcome(self, stream):
        """How the stream ends: ("status", 200), ("reset", 1) or ("goaway", 11); None: the connection ended."""
        status = None
        while f := self.read():
            kind, flags, number, payload = f
            if kind == GOAWAY:
                return "goaway", int.from_bytes(payload[4:8], "big")
            if number != stream:
                continue
            if kind == HEADERS and status is None:
                status = status_of(payload)
            if kind == RST_STREAM:
                return "reset", int.from_bytes(payload, "big")
            if kind in (HEADERS, DATA) and flags & END_STREAM:
                return "status", status
        return None


def status_of(payload):
    while payload[0] & 0xe0 == 0x20:  # a change of the table's size
        payload = payload[1:]
    first = payload[0]
    if first & 0x80:
        return STATIC_STATUS[first & 0x7f]
    length = payload[1]
    text = payload[2:2 + (length & 0x7f)]
    return int(huffman_digits(text) if length & 0x80 else text)


def huffman_digits(data):
    """Digits only (RFC 7541, appendix B): 0-2 have five bits, 3-9 six."""
    bits = "".join(f"{b:08b}" for b in data)
    codes = {f"{i:05b}": str(i) for i in range(3)} | {f"{0x19 + i:06b}": str(3 + i) for i in range(7)}
    out = ""
    while len(out) < 3:
        for code, digit in codes.items():
            if bits.startswith(code):
                out, bits = out + digit, bits[len(code):]
                break
        else:
            raise AssertionError(f"not a status: {data!r}")
    return out
