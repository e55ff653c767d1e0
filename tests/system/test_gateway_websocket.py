"""WebSocket tunnels that are silent: who answers pings stays, who does not is let go, and no frame is torn apart."""
import base64
import hashlib
import socket
import threading
import time

import pytest

from gateway_harness import PROXY, start, up  # noqa: F401
from harness import SLOW

pytestmark = pytest.mark.skipif(PROXY, reason="needs nexus-gateway, not the example proxy")
KEY = base64.b64encode(b"0123456789abcdef").decode()
ACCEPT = base64.b64encode(hashlib.sha1((KEY + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
PING, PONG = b"\x89\x00", b"\x8a\x80mask"


def read_head(s):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        piece = s.recv(1)
        assert piece, head
        head += piece
    return head


class WebSocketUpstream:
    """Completes one handshake a connection and hands the socket to `talk`."""

    def __init__(self, talk):
        self.talk, self.listener = talk, socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def serve(self, s):
        with s:
            try:
                read_head(s)
                s.sendall(f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          f"Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n".encode())
                self.talk(s)
            except OSError:
                pass

    def close(self):
        self.listener.close()


def read(s):
    """Bytes, or nothing when the tunnel was ended (an abandoned one is reset)."""
    try:
        return s.recv(4096)
    except ConnectionResetError:
        return b""


def answer_pings(s):
    """As an upstream: a masked ping is six bytes; an unmasked pong goes back."""
    pings = 0
    while data := s.recv(4096):
        if data[:2] == b"\x89\x80":
            pings += 1
            s.sendall(b"\x8a\x00")


def connect(g):
    s = socket.create_connection(("127.0.0.1", g.port), 10)
    s.sendall(f"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
              f"Sec-WebSocket-Key: {KEY}\r\n\r\n".encode())
    assert read_head(s).startswith(b"HTTP/1.1 101 ")
    s.settimeout(10 * SLOW)
    return s


@pytest.fixture
def tunnel(start):  # noqa: F811
    opened = []

    def make(talk, **timeouts):
        u = WebSocketUpstream(talk)
        g = start({"a": up(u, timeouts_ms=timeouts)}, [{"prefix": "/", "upstream": "a"}])
        s = connect(g)
        opened.extend((s, u))
        return s

    yield make
    for thing in opened:
        thing.close()


def test_who_answers_pings_stays(tunnel):
    s = tunnel(answer_pings, ping=100 * SLOW, idle=600 * SLOW)
    began, pings = time.monotonic(), 0
    while pings < 10:  # ten pings of 100 ms: longer than the idle time
        if s.recv(4096)[:2] == PING:
            pings += 1
            s.sendall(PONG)
    assert time.monotonic() - began > 0.6 * SLOW, "far over the idle time, and still open"


def test_who_does_not_answer_is_let_go(tunnel):
    s = tunnel(answer_pings, ping=50 * SLOW, idle=300 * SLOW)
    got = b""
    while data := read(s):
        got += data
    assert got.count(PING) == 1, "asked once, and then the time was over"


def test_a_silent_upstream_is_let_go_though_the_client_answers(tunnel):
    s = tunnel(lambda up_side: up_side.recv(1) and time.sleep(30), ping=50 * SLOW, idle=300 * SLOW)
    while data := read(s):
        if data[:2] == PING:
            s.sendall(PONG)


def test_no_ping_is_put_into_a_frame_that_has_begun(tunnel):
    go = threading.Event()

    def half_a_frame(s):
        s.sendall(b"\x82\x7e\x01\x00" + b"a" * 100)  # 256 bytes promised
        go.wait(10 * SLOW)
        s.sendall(b"a" * 156)
        answer_pings(s)

    s = tunnel(half_a_frame, ping=30 * SLOW, idle=5000 * SLOW)
    got = b""
    while len(got) < 104:
        got += s.recv(4096)
    s.settimeout(0.3 * SLOW)
    with pytest.raises(TimeoutError):
        s.recv(4096)  # ten times the ping interval, and nothing was put in between
    s.settimeout(10 * SLOW)
    go.set()
    while PING not in got[260:]:  # behind it; the upstream's pong may come first
        got += s.recv(4096)
    assert got[:260] == b"\x82\x7e\x01\x00" + b"a" * 256


def test_pings_can_be_turned_off(tunnel):
    s = tunnel(answer_pings, ping=0, idle=200 * SLOW)
    assert read(s) == b"", "idle, and ended without a word"
