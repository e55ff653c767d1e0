"""Trailers through the gateway, on HTTP/1.1 to both sides."""
import socket
import threading

from gateway_harness import EVERYTHING, start, upstream  # noqa: F401


class Trailing:
    """An upstream that records one request's bytes and answers with a trailer."""

    def __init__(self, reply):
        self.seen, self.reply = b"", reply
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        s, _ = self.listener.accept()
        with s:
            while not self.seen.endswith(b"\r\n\r\n") or b"\r\n0\r\n" not in self.seen:
                piece = s.recv(65536)
                if not piece:
                    return
                self.seen += piece
            s.sendall(self.reply)
            s.recv(1)


CHUNKED = b"POST /x HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE, close\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_trailers_reach_the_other_side_both_ways(start):  # noqa: F811
    up = Trailing(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\ngrpc-status: 0\r\n\r\n")
    g = start({"a": {"targets": [f"http://127.0.0.1:{up.port}"]}}, EVERYTHING)
    answer = g.raw(CHUNKED + b"3\r\nabc\r\n0\r\nX-Sum: 7\r\nX-Nexus-User: root\r\nx_forwarded_for: 1.1.1.1\r\n\r\n")
    assert answer.endswith(b"0\r\ngrpc-status: 0\r\n\r\n"), answer
    head, body = up.seen.split(b"\r\n\r\n", 1)
    assert b"TE:" not in head, "hop by hop: trailers are passed all the same"
    assert body == b"3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n", "what a client may not say as a field it may not say here either"


def test_a_forbidden_trailer_is_refused_and_none_goes_up(start):  # noqa: F811
    up = Trailing(b"")
    g = start({"a": {"targets": [f"http://127.0.0.1:{up.port}"]}}, EVERYTHING)
    answer = g.raw(CHUNKED + b"0\r\nAuthorization: x\r\n\r\nGET /admin HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ") and answer.count(b"HTTP/1.1 ") == 1, answer
    assert b"Authorization" not in up.seen and b"0\r\n" not in up.seen.split(b"\r\n\r\n")[-1]
