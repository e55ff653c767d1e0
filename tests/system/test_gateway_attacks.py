"""HTTP/1 attacks on the running gateway: rows 1 to 16 of the security page.

Each case shows what the answer is, that the upstream was not reached by what was smuggled, and that a pipelined
`GET /admin` behind it is not answered. One gateway takes them all; after each it still serves."""
import re
import socket
import threading
import time

import pytest

from gateway_harness import PROXY, Gateway, Upstream, up
from harness import SLOW, wait_for

pytestmark = pytest.mark.skipif(PROXY, reason="needs nexus-gateway, not the example proxy")

ADMIN = b"GET /admin HTTP/1.1\r\nHost: x\r\n\r\n"


def head(line=b"POST /x HTTP/1.1", *fields, host=True, body=b""):
    lines = [line] + ([b"Host: x"] if host else []) + [f if isinstance(f, bytes) else f.encode() for f in fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def chunked(body, *fields):
    return head(b"POST /x HTTP/1.1", "Transfer-Encoding: chunked", *fields, body=body)


def length(value, body=b"abcd"):
    return head(b"POST /x HTTP/1.1", f"Content-Length: {value}", body=body)


def coding(value, line=b"POST /x HTTP/1.1"):
    return head(line, f"Transfer-Encoding: {value}", body=b"0\r\n\r\n")


END = b"0\r\n\r\n"
ATTACKS = {
    # 1-3
    "1 length and coding": (400, head(b"POST /x HTTP/1.1", "Content-Length: 4", "Transfer-Encoding: chunked", body=END)),
    "1 coding and length": (400, head(b"POST /x HTTP/1.1", "Transfer-Encoding: chunked", "Content-Length: 5", body=END)),
    "2 two lengths": (400, head(b"POST /x HTTP/1.1", "Content-Length: 4", "Content-Length: 5", body=b"abcd")),
    "2 same length twice": (400, head(b"POST /x HTTP/1.1", "Content-Length: 4", "Content-Length: 4", body=b"abcd")),
    "2 length list": (400, length("5, 5")),
    "3 plus": (400, length("+5")), "3 minus": (400, length("-1")), "3 hex": (400, length("0x5")), "3 exponent": (400, length("1e3")),
    "3 2^64": (400, length("18446744073709551616")), "3 empty": (400, length("")), "3 space inside": (400, length("1 0")),
    # 4
    "4 chunked, gzip": ((400, 501), coding("chunked, gzip")), "4 trailing comma": ((400, 501), coding("chunked,")),
    "4 xchunked": ((400, 501), coding("xchunked")), "4 tab": ((400, 501), coding("chunked\t\x0b")), "4 vertical tab": (400, coding("\x0bchunked")),
    "4 gzip, chunked": (501, coding("gzip, chunked")), "4 twice": (400, coding("chunked, chunked")),
    "4 two fields": (400, head(b"POST /x HTTP/1.1", "Transfer-Encoding: chunked", "Transfer-Encoding: identity", body=END)),
    "4 in 1.0": (400, coding("chunked", b"POST /x HTTP/1.0")), "4 quoted": ((400, 501), coding('"chunked"')),
    # 5
    "5 LF lines": (400, b"GET /x HTTP/1.1\nHost: x\n\n"), "5 LF after field": (400, b"GET /x HTTP/1.1\r\nHost: x\nA: b\r\n\r\n"),
    "5 LF ends head": (400, b"GET /x HTTP/1.1\r\nHost: x\r\n\n"), "5 CR in field": (400, b"GET /x HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n"),
    "5 CR in start line": (400, b"GET /x\r HTTP/1.1\r\nHost: x\r\n\r\n"), "5 LF chunk size": (400, chunked(b"4\nabcd\r\n" + END)),
    "5 LF in extension": (400, chunked(b"4;a=b\nabcd\r\n" + END)), "5 CR in extension": (400, chunked(b"4;a\rb\r\nabcd\r\n" + END)),
    "5 LF after chunk": (400, chunked(b"4\r\nabcd\n" + END)), "5 LF last chunk": (400, chunked(b"0\n\n")),
    # 6
    "6 size overflow": (400, chunked(b"fffffffffffffffff\r\nabcd\r\n")), "6 17 digits": (400, chunked(b"00000000000000004\r\nabcd\r\n" + END)),
    "6 hex prefix": (400, chunked(b"0x4\r\nabcd\r\n" + END)), "6 negative": (400, chunked(b"-4\r\nabcd\r\n" + END)),
    "6 no CRLF": (400, chunked(b"4\r\nabcdXX" + END)), "6 empty size": (400, chunked(b"\r\nabcd\r\n" + END)),
    "6 space before size": (400, chunked(b" 4\r\nabcd\r\n" + END)), "6 extension 5 KiB": (400, chunked(b"4;" + b"a" * 5000 + b"\r\nabcd\r\n" + END)),
    "6 trailers 9 KiB": ((400, 431), chunked(b"0\r\n" + b"".join(b"T%d: %s\r\n" % (i, b"t" * 90) for i in range(100)) + b"\r\n")),
    # 7
    **{f"7 trailer {name}": (400, chunked(b"0\r\n" + name.encode() + b": 5\r\n\r\n"))
       for name in ("Content-Length", "Authorization", "Host", "Transfer-Encoding")},
    # 8
    "8 fold": (400, head(b"GET /x HTTP/1.1", "A: b", " c")), "8 space before colon": (400, head(b"GET /x HTTP/1.1", "A : b")),
    "8 length with space": (400, head(b"POST /x HTTP/1.1", "Content-Length : 4", body=b"abcd")),
    "8 empty name": (400, head(b"GET /x HTTP/1.1", ": b")), "8 bad name": (400, head(b"GET /x HTTP/1.1", "A(b): c")),
    "8 no colon": (400, head(b"GET /x HTTP/1.1", "nothing")), "8 NUL in value": (400, head(b"GET /x HTTP/1.1", "A: b\x00c")),
    "8 NUL in name": (400, head(b"GET /x HTTP/1.1", "A\x00: b")), "8 field first": (400, b"GET /x HTTP/1.1\r\n Host: x\r\nHost: x\r\n\r\n"),
    "8 8-bit name": (400, head(b"GET /x HTTP/1.1", "\xe4: b".encode("latin1"))),
    # 9
    "9 no host": (400, head(b"GET /x HTTP/1.1", host=False)), "9 two hosts": (400, head(b"GET /x HTTP/1.1", "Host: y")),
    "9 bad host": (400, head(b"GET /x HTTP/1.1", "Host: a b", host=False)), "9 host with path": (400, head(b"GET /x HTTP/1.1", "Host: a/b", host=False)),
    "9 host with user": (400, head(b"GET /x HTTP/1.1", "Host: u@a", host=False)), "9 empty host": (400, head(b"GET /x HTTP/1.1", "Host:", host=False)),
    "9 other authority": (400, head(b"GET http://y/x HTTP/1.1")), "9 user in target": (400, head(b"GET http://x@y/x HTTP/1.1")),
    # 10
    "10 line": (414, head(b"GET /" + b"a" * 9000 + b" HTTP/1.1")), "10 fields": (431, head(b"GET /x HTTP/1.1", *(f"A{i}: b" for i in range(101)))),
    "10 head": (431, head(b"GET /x HTTP/1.1", *(f"A{i}: {'b' * 4000}" for i in range(9)))),
    "10 body": (413, head(b"POST /small HTTP/1.1", "Content-Length: 1001", body=b"a" * 1001)),
    "10 streamed body": (413, head(b"POST /small HTTP/1.1", "Transfer-Encoding: chunked", body=b"3e9\r\n" + b"a" * 1001 + b"\r\n" + END)),
    # 12-14
    "12 unknown expectation": (417, head(b"POST /x HTTP/1.1", "Expect: 200-ok", "Content-Length: 4", body=b"abcd")),
    "13 body of a GET": (400, head(b"GET /x HTTP/1.1", "Content-Length: 4", body=b"abcd")),
    "13 chunked body of a GET": (400, head(b"GET /x HTTP/1.1", "Transfer-Encoding: chunked", body=b"4\r\nabcd\r\n" + END)),
    "14 CONNECT": ((400, 405), head(b"CONNECT x:443 HTTP/1.1")), "14 TRACE": (405, head(b"TRACE /x HTTP/1.1")),
    "14 version": ((400, 505), head(b"GET /x HTTP/2.0")), "14 method": ((400, 405, 501), head(b"GE(T /x HTTP/1.1")),
    # 15
    "15 version": (426, head(b"GET /ws HTTP/1.1", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 8",
                             "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==")),
    "15 no key": (400, head(b"GET /ws HTTP/1.1", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")),
    "15 short key": (400, head(b"GET /ws HTTP/1.1", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
                               "Sec-WebSocket-Key: c2hvcnQ=")),
    "15 foreign page": (403, head(b"GET /ws HTTP/1.1", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
                                  "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==", "Origin: https://evil.example")),
}
# After these the framing is clear: the connection may go on, and the request behind is a request like any other.
WELL_FRAMED = ("12 ", "14 TRACE", "15 ")


@pytest.fixture(scope="module")
def behind():
    u = Upstream()
    yield u
    u.close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, behind):
    g = Gateway(tmp_path_factory.mktemp("attacks"), {"version": 1, "upstreams": {"a": up(behind)}, "routes": [
        {"id": "small", "path": "/small", "upstream": "a", "body_max_bytes": 1000},
        {"id": "search", "path": "/search", "upstream": "a", "get_body": True},
        {"id": "all", "prefix": "/", "upstream": "a"}]})
    yield g
    assert g.server.stop() == 0, g.server.tail()


def answers(raw):
    """The statuses of all answers in what came back."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) [A-Z]", raw)]


@pytest.mark.parametrize("name", ATTACKS)
def test_what_is_not_http_is_refused_and_nothing_behind_it_is_served(gateway, behind, name):
    expected, attack = ATTACKS[name]
    before = len(behind.seen)
    out = gateway.raw(attack + ADMIN, seconds=0.4)
    first = answers(out)
    assert first and first[0] in (expected if isinstance(expected, tuple) else (expected,)), out[:400]
    assert b"application/problem+json" in out, out[:400]
    if not name.startswith(WELL_FRAMED):
        assert len(first) == 1, f"what stands behind it was answered: {out[:600]}"
        assert all(path != "/admin" for _, path, _ in behind.seen[before:])
    else:
        assert all(path == "/admin" for _, path, _ in behind.seen[before:]), "only what is a request of its own passes"
    assert gateway.call("GET", "/fine").status == 200


def test_row_9_host_in_any_case_and_absolute_form_is_fine(gateway, behind):
    assert answers(gateway.raw(head(b"GET http://X/abs HTTP/1.1"), seconds=0.3))[0] == 200
    assert behind.seen[-1][1] == "/abs" and behind.seen[-1][2]["Host"].lower() == "x"


def test_row_11_slow_heads_and_bodies_are_cut_off(tmp_path, behind):
    g = Gateway(tmp_path, {"version": 1, "upstreams": {"a": up(behind)}, "routes": [{"prefix": "/", "upstream": "a"}]},
                {"NEXUS_HEAD_TIMEOUT_MS": "300", "NEXUS_BODY_WINDOW_MS": "300"})
    try:
        began = time.monotonic()
        for start_of in (b"GET /slow-head HTTP/1.1\r\nHost: x\r\n", b"POST /slow-body HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\na"):
            with socket.create_connection(("127.0.0.1", g.port), 20) as s:
                s.sendall(start_of)
                s.settimeout(20)
                out = b""
                while piece := s.recv(4096):
                    out += piece
                assert answers(out) == [408], out
        assert time.monotonic() - began < 15 * SLOW, "well before the default of ten seconds each"
    finally:
        g.server.stop()


def test_row_12_no_100_for_who_may_not_pass(tmp_path, behind):
    g = Gateway(tmp_path, {"version": 1, "upstreams": {"a": up(behind)}, "routes": [
        {"id": "closed", "path": "/closed", "upstream": "a", "auth": "jwt"}, {"id": "all", "prefix": "/", "upstream": "a"}]})
    try:
        out = g.raw(head(b"POST /closed HTTP/1.1", "Expect: 100-continue", "Content-Length: 4"), seconds=0.5)
        assert answers(out)[0] in (401, 503) and b"100 Continue" not in out, out
        with socket.create_connection(("127.0.0.1", g.port), 10) as s:
            s.sendall(head(b"POST /open HTTP/1.1", "Expect: 100-continue", "Content-Length: 4"))
            assert s.recv(100).startswith(b"HTTP/1.1 100 ")
            s.sendall(b"abcd")
            assert b" 200 " in s.recv(65536)
    finally:
        g.server.stop()


def test_row_13_a_route_may_allow_bodies_of_get(gateway, behind):
    out = gateway.raw(head(b"GET /search HTTP/1.1", "Content-Length: 4", body=b"abcd"), seconds=0.3)
    assert answers(out) == [200] and behind.seen[-1][2]["Content-Length"] == "4" and b'"body": "abcd"' in out


def test_row_14_h2c_is_not_offered_on(gateway, behind):
    out = gateway.raw(head(b"GET /h2c HTTP/1.1", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
                      seconds=0.3)
    assert answers(out) == [200]
    sent = {k.lower() for k in behind.seen[-1][2]}
    assert not sent & {"upgrade", "http2-settings"}


def test_row_14_early_data_after_connect_goes_nowhere(gateway, behind):
    before = len(behind.seen)
    gateway.raw(head(b"CONNECT x:80 HTTP/1.1", body=b"GET /early HTTP/1.1\r\nHost: x\r\n\r\n"), seconds=0.3)
    assert len(behind.seen) == before


class Scripted:
    """An upstream that answers every request with the same bytes and counts connections."""

    def __init__(self, answer, close=False):
        self.answer, self.close_after, self.connections = answer, close, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def serve(self, s):
        with s:
            try:
                while s.recv(65536):
                    s.sendall(self.answer)
                    if self.close_after:
                        return
            except OSError:
                pass

    def close(self):
        self.listener.close()


OK = b"HTTP/1.1 200 OK\r\n"
REPLIES = {
    "length and coding": OK + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": OK + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "signed length": OK + b"Content-Length: +4\r\n\r\nabcd",
    "bare CR in a field": OK + b"A: b\rc\r\nContent-Length: 0\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "NUL": OK + b"A: b\x00c\r\nContent-Length: 0\r\n\r\n",
    "fold": OK + b"A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "unknown coding": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "no version": b"200 OK\r\n\r\n",
    "flood of interim answers": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 11 + OK + b"Content-Length: 0\r\n\r\n",
    "101 nobody asked for": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "head over 64 KiB": OK + b"A: " + b"a" * 70000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("name", REPLIES)
def test_row_16_what_an_upstream_may_not_say(tmp_path, name):
    bad = Scripted(REPLIES[name])
    g = Gateway(tmp_path, {"version": 1, "upstreams": {"a": up(bad, retries=0, ejection=False)},
                           "routes": [{"prefix": "/", "upstream": "a"}]})
    try:
        for asked in range(2):
            out = g.raw(head(b"GET /x HTTP/1.1"), seconds=0.3)
            assert answers(out)[-1] == 502 and b'"status":502' in out, out[:400]
            assert bad.connections == asked + 1, "its connection is not used again"
    finally:
        g.server.stop()
        bad.close()


def test_row_15_a_tunnel_needs_the_right_proof(tmp_path):
    liar = Scripted(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n")
    g = Gateway(tmp_path, {"version": 1, "upstreams": {"a": up(liar, ejection=False)}, "routes": [{"prefix": "/", "upstream": "a"}]})
    try:
        out = g.raw(head(b"GET /ws HTTP/1.1", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
                         "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg=="), seconds=0.5)
        assert answers(out) == [502], out
    finally:
        g.server.stop()
        liar.close()


def test_trailing_answers_of_an_upstream_reach_nobody(tmp_path):
    """A second answer that nobody asked for must not be taken for the answer to the next request."""
    double = Scripted(OK + b"Content-Length: 2\r\n\r\nok" + OK + b"Content-Length: 4\r\n\r\nevil")
    g = Gateway(tmp_path, {"version": 1, "upstreams": {"a": up(double)}, "routes": [{"prefix": "/", "upstream": "a"}]})
    try:
        for _ in range(5):
            answer = wait_for(lambda: g.call("GET", "/x"), 5)
            assert answer.status == 200 and answer.body == b"ok"
    finally:
        g.server.stop()
        double.close()
