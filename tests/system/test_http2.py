"""HTTP/2 of the gateway with real clients, and the attacks that it must survive, frame by frame.

Each attack checks the answer, and that the upstream was not reached by what was refused.
"""
import json
import shutil
import socket
import struct
import subprocess

import pytest

import h2_frames as h2
from gateway_harness import EVERYTHING, start, up, upstream  # noqa: F401
from h2_frames import DATA, END_HEADERS, END_STREAM, HEADERS, Connection, frame, request
from harness import SLOW, wait_for

MALFORMED = ("reset", h2.PROTOCOL_ERROR)


@pytest.fixture
def gateway(start, upstream):  # noqa: F811
    return start({"a": up(upstream)}, EVERYTHING)


def curl(*args):
    done = subprocess.run(["curl", "-sS", "--http2-prior-knowledge", "--max-time", str(int(20 * SLOW)), *args],
                          capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- ordinary clients -------------------------------------------------------------------------------------------------


def test_curl_is_served_as_over_http1(gateway, upstream):  # noqa: F811
    url = f"http://127.0.0.1:{gateway.port}"
    out = curl("-w", "\n%{http_version} %{http_code}", f"{url}/hello?q=1", "-H", "X-Mine: yes", "-b", "a=1")
    text, facts = out.rsplit(b"\n", 1)
    seen = json.loads(text)
    assert facts == b"2 200" and seen["path"] == "/hello?q=1"
    headers = seen["headers"]
    assert headers["x-mine"] == "yes" and headers["cookie"] == "a=1"
    assert headers["x-forwarded-host"] == f"127.0.0.1:{gateway.port}" and "te" not in headers
    assert b"418" in curl("-o", "/dev/null", "-w", "%{http_code}", f"{url}/teapot")
    body = b"0123456789" * 300_000
    reply = subprocess.run(["curl", "-sS", "--http2-prior-knowledge", "--data-binary", "@-", f"{url}/upload"], input=body,
                           capture_output=True, check=True)
    assert json.loads(reply.stdout)["bytes"] == len(body)
    assert len(curl(f"{url}/big")) == 8 << 20
    assert curl(f"{url}/until-close") == b"all there is"
    assert curl(f"{url}/chunked").endswith(b"piece 49;")
    assert curl("-I", f"{url}/hello").startswith(b"HTTP/2 200")
    assert b"date:" in curl("-I", f"{url}/hello")


def test_http1_is_served_after_http2_whatever_its_streams_came_to(start, upstream):  # noqa: F811
    """A request object serves either: what one left in it must not reach the other."""
    g = start({"a": up(upstream)}, EVERYTHING, {"NEXUS_LOOPS": "1"})
    for path in ("/hello", "/half", "/slow"):
        with Connection(g.port) as c:
            for stream in (1, 3, 5):
                c.headers(stream, request(path))
            if path == "/slow":
                wait_for(lambda: [s for s in upstream.seen if s[1] == "/slow"])
            else:
                c.outcome(5)
            for stream in (1, 3, 5):
                c.send(frame(h2.RST_STREAM, 0, stream, struct.pack(">I", h2.CANCEL)))
        for _ in range(4):
            assert g.call("GET", "/hello", timeout=5).status == 200


def test_a_reply_that_breaks_off_is_reset(gateway):
    with Connection(gateway.port) as c:
        c.headers(1, request("/half"))
        assert c.outcome(1) == ("reset", h2.INTERNAL_ERROR)
        c.headers(3, request("/hello"))
        assert c.outcome(3) == ("status", 200), "the other streams go on"


def test_bytes_one_at_a_time(gateway):
    with Connection(gateway.port, hello=False) as c:
        fields = h2.block(request("/hello"))
        whole = h2.PREFACE + frame(h2.SETTINGS) + frame(HEADERS, END_HEADERS | END_STREAM, 1, fields)
        for i in range(len(whole)):
            assert c.send(whole[i:i + 1])
        assert c.outcome(1) == ("status", 200)


def test_many_streams_and_events_side_by_side(gateway, upstream):  # noqa: F811
    with Connection(gateway.port) as c:
        c.headers(1, request("/sse"))
        first = c.until(lambda kind, flags, stream, _: kind == DATA and stream == 1)
        assert first[3] == b"data: 0\n\n", "an event leaves when it comes"
        for i in range(99):
            c.headers(3 + 2 * i, request(f"/hello/{i}"))
        done = set()
        while len(done) < 99:
            kind, flags, stream, _ = c.read()
            assert kind not in (h2.GOAWAY, h2.RST_STREAM)
            if stream > 1 and flags & END_STREAM and kind in (DATA, HEADERS):
                done.add(stream)
        upstream.go.set()
        assert c.until(lambda kind, flags, stream, _: kind == DATA and stream == 1)[3] == b"data: 1\n\n"


@pytest.mark.skipif(not shutil.which("h2load"), reason="needs nghttp2-client")
def test_h2load_with_100_streams(gateway):
    out = subprocess.run(["h2load", "-n", "3000", "-c", "3", "-m", "100", f"http://127.0.0.1:{gateway.port}/hello"],
                         capture_output=True, text=True, check=True).stdout
    assert "3000 succeeded, 0 failed" in out, out


@pytest.mark.skipif(not shutil.which("nghttp"), reason="needs nghttp2-client")
def test_nghttp_uploads_with_continuations_and_priorities(gateway, tmp_path):
    file = tmp_path / "body"
    file.write_bytes(b"z" * 500_000)
    out = subprocess.run(["nghttp", "-d", str(file), "-H", "x-long: " + "y" * 20000, "--trailer", "x-sum: 7",
                          f"http://127.0.0.1:{gateway.port}/upload"], capture_output=True, text=True, check=True).stdout
    assert '"bytes": 500000' in out, out


def test_trailers_cross_from_http2_to_http1_and_back(start):  # noqa: F811
    from test_gateway_trailers import Trailing
    upstream_ = Trailing(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\ngrpc-status: 0\r\n\r\n")
    g = start({"a": {"targets": [f"http://127.0.0.1:{upstream_.port}"]}}, EVERYTHING)
    with Connection(g.port) as c:
        c.headers(1, request("/call", "POST", "a", ("te", "trailers"), ("content-type", "application/grpc")), end=False)
        c.send(frame(DATA, 0, 1, b"abc"))
        c.headers(1, [("x-sum", "7"), ("x-nexus-user", "root")])
        last = c.until(lambda kind, flags, stream, _: stream == 1 and flags & END_STREAM)
        assert last[0] == HEADERS and b"grpc-status" in last[3] or last[3], last
    head, body = upstream_.seen.split(b"\r\n\r\n", 1)
    assert body == b"3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n"


# --- what is malformed ------------------------------------------------------------------------------------------------

MALFORMED_HEADS = {
    "connection": request("/x", "GET", "a", ("connection", "close")),
    "transfer-encoding": request("/x", "GET", "a", ("transfer-encoding", "chunked")),
    "upgrade": request("/x", "GET", "a", ("upgrade", "h2c")),
    "te": request("/x", "GET", "a", ("te", "gzip")),
    "uppercase": request("/x", "GET", "a", ("X-Upper", "1")),
    "cr lf in a value": request("/x", "GET", "a", ("x-a", "b\r\nx-nexus-user: root")),
    "nul in a value": request("/x", "GET", "a", ("x-a", "b\0c")),
    "lf in a name": request("/x", "GET", "a", ("x-a\nb", "c")),
    "cr lf in the path": request("/x\r\nx: y"),
    "space in the path": request("/x HTTP/1.1"),
    "empty path": request(""),
    "path with #": request("/x#y"),
    "path without /": request("x"),
    "absolute path": request("http://a/x"),
    "two methods": [(":method", "GET"), *request("/x")],
    "late pseudo-header": [*request("/x")[:3], ("x-a", "b"), (":authority", "a")],
    "no method": request("/x")[1:],
    "no path": [f for f in request("/x") if f[0] != ":path"],
    "no host": [f for f in request("/x") if f[0] != ":authority"],
    "no scheme": [f for f in request("/x") if f[0] != ":scheme"],
    "unknown pseudo-header": [*request("/x"), (":protocol", "websocket")],
    "status in a request": [*request("/x"), (":status", "200")],
    "authority with a space": request("/x", "GET", "a b"),
    "method with a space": request("/x", "GET /admin"),
    "two content-lengths": request("/x", "POST", "a", ("content-length", "1"), ("content-length", "2")),
    "content-length without a body": request("/x", "POST", "a", ("content-length", "3")),
}


@pytest.mark.parametrize("name", MALFORMED_HEADS)
def test_malformed_heads_are_reset(gateway, upstream, name):  # noqa: F811
    with Connection(gateway.port) as c:
        c.headers(1, MALFORMED_HEADS[name])
        assert c.outcome(1) == MALFORMED
        c.headers(3, request("/after"))
        assert c.outcome(3) == ("status", 200)
    assert [s[1] for s in upstream.seen if not s[1].startswith("/health")] == ["/after"]


def test_heads_that_are_understood_and_refused_are_answered(gateway, upstream):  # noqa: F811
    rows = [(request("/x", "GET", "a", ("host", "b")), 400), 
            (request("/x", "GET", "a", *[(f"x-{i}", "1") for i in range(101)]), 431),
            (request("/x", "GET", "a", *[("cookie", f"c{i}=1") for i in range(101)]), 431),
            (request("/" + "x" * 9000), 414),
            ([(":method", "CONNECT"), (":authority", "a:443")], 405), (request("/x", "TRACE"), 405),
            (request("/a%2fb"), 400)]
    for fields, status in [*rows, (request("/x", "GET", "a", ("host", "A")), 200)]:
        with Connection(gateway.port) as c:
            c.headers(1, fields)
            assert c.outcome(1) == ("status", status), fields[:5]
    assert all(s[1] in ("/x", "/health") for s in upstream.seen) and len(upstream.seen) <= 2


def test_cookie_crumbs_are_joined(gateway, upstream):  # noqa: F811
    with Connection(gateway.port) as c:
        c.headers(1, request("/x", "GET", "a", ("cookie", "a=1"), ("x-between", "1"), ("cookie", "b=2"), ("cookie", "c=3")))
        assert c.outcome(1) == ("status", 200)
    headers = {k.lower(): v for k, v in upstream.seen[-1][2].items()}
    assert headers["cookie"] == "a=1; b=2; c=3" and headers["x-between"] == "1"


def test_content_length_that_the_data_does_not_keep_is_reset(gateway):
    for sent in (b"ab", b"abcd"):
        with Connection(gateway.port) as c:
            c.headers(1, request("/upload", "POST", "a", ("content-length", "3")), end=False)
            c.send(frame(DATA, END_STREAM, 1, sent))
            assert c.outcome(1) == MALFORMED


def test_forbidden_trailers_are_reset(gateway, upstream):  # noqa: F811
    for fields in ([("authorization", "x")], [("content-length", "1")], [(":path", "/admin")]):
        with Connection(gateway.port) as c:
            c.headers(1, request("/upload", "POST"), end=False)
            c.send(frame(DATA, 0, 1, b"abc"))
            c.headers(1, fields)
            assert c.outcome(1) == MALFORMED


def test_the_body_limit_holds_for_streams(start, upstream):  # noqa: F811
    g = start({"a": up(upstream)}, [{**EVERYTHING[0], "body_max_bytes": 1000}])
    with Connection(g.port) as c:
        c.headers(1, request("/upload", "POST", "a", ("content-length", "1001")), end=False)
        assert c.outcome(1) == ("status", 413)
    with Connection(g.port) as c:
        c.headers(1, request("/upload", "POST"), end=False)
        c.send(frame(DATA, 0, 1, b"x" * 2000))
        assert c.outcome(1) == ("status", 413)


# --- floods -----------------------------------------------------------------------------------------------------------


def rapid_reset(c):
    for i in range(200):
        stream = 1 + 2 * i
        if not c.headers(stream, request("/slow")) or not c.send(frame(h2.RST_STREAM, 0, stream, struct.pack(">I", 8))):
            return


def made_you_reset(c):
    """A window that overflows makes the server reset the stream; the request goes on behind it."""
    for i in range(200):
        stream = 1 + 2 * i
        if not c.headers(stream, request("/slow")) or not c.send(
                frame(h2.WINDOW_UPDATE, 0, stream, struct.pack(">I", 0x7fffffff))):
            return


def continuation(c):
    c.send(frame(HEADERS, END_STREAM, 1, h2.block(request("/x"))))
    for i in range(20):
        if not c.send(frame(h2.CONTINUATION, 0, 1, h2.block([(f"x-{i}", "1")]))):
            return


def continuation_bytes(c):
    c.send(frame(HEADERS, END_STREAM, 1, h2.block(request("/x"))))
    for i in range(4):
        if not c.send(frame(h2.CONTINUATION, 0, 1, h2.block([(f"x-{i}", "v" * 16000)]))):
            return


def repeated(data, times=3000):
    def flood(c):
        for _ in range(times):
            if not c.send(data):
                return
    return flood


def empty_data(c):
    c.headers(1, request("/upload", "POST"), end=False)
    repeated(frame(DATA, 0, 1, b""))(c)


FLOODS = {
    "rapid reset": rapid_reset, "made you reset": made_you_reset,
    "continuation frames": continuation, "continuation bytes": continuation_bytes,
    "settings": repeated(frame(h2.SETTINGS, 0, 0, struct.pack(">HI", 4, 65535))), "empty settings": repeated(frame(h2.SETTINGS)),
    "ping": repeated(frame(h2.PING, 0, 0, b"12345678")), "priority": repeated(frame(h2.PRIORITY, 0, 1, b"\0\0\0\0\x10")),
    "empty data": empty_data,
}


@pytest.mark.parametrize("name", FLOODS)
def test_floods_are_told_to_calm_down(gateway, name):
    with Connection(gateway.port) as c:
        FLOODS[name](c)
        assert c.goaway() == h2.ENHANCE_YOUR_CALM
        while c.read():
            pass
        assert c.ended
    with Connection(gateway.port) as c:
        c.headers(1, request("/hello"))
        assert c.outcome(1) == ("status", 200), "others are served"


def test_resets_within_the_budget_are_forgiven(gateway):
    with Connection(gateway.port) as c:
        for i in range(90):
            c.headers(1 + 2 * i, request("/slow"))
            c.send(frame(h2.RST_STREAM, 0, 1 + 2 * i, struct.pack(">I", 8)))
        c.headers(1001, request("/hello"))
        assert c.outcome(1001) == ("status", 200)


def test_more_streams_than_announced_are_refused(gateway):
    with Connection(gateway.port) as c:
        for i in range(101):  # the settings have not been acknowledged: an error of the stream
            c.headers(1 + 2 * i, request("/slow"))
        assert c.outcome(201) == ("reset", h2.REFUSED_STREAM)
    with Connection(gateway.port) as c:
        c.until(lambda kind, flags, *_: kind == h2.SETTINGS and not flags)
        c.send(frame(h2.SETTINGS, h2.ACK))
        for i in range(101):
            c.headers(1 + 2 * i, request("/slow"))
        assert c.outcome(201) == ("goaway", h2.PROTOCOL_ERROR)


def test_an_hpack_bomb_is_cut_off(gateway, upstream):  # noqa: F811
    """One field of 3.9 KiB in the table, then thousands of references to it of one byte each."""
    with Connection(gateway.port) as c:
        big = b"\x40" + h2.integer(5, 7) + b"x-big" + h2.integer(3900, 7) + b"v" * 3900
        c.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, h2.block(request("/x")) + big + b"\xbe" * 12000))
        assert c.outcome(1) == ("status", 431)
    assert not any(s[1] == "/x" for s in upstream.seen)


def test_not_http2_after_the_preface_is_refused(gateway):
    with Connection(gateway.port, hello=False) as c:
        c.send(h2.PREFACE + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert c.goaway() not in (None, h2.NO_ERROR)
    assert gateway.raw(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").startswith(b"HTTP/1.1 505 ")
    assert gateway.raw(b"PRI * HTTP/1.1\r\nHost: a\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_upgrade_h2c_is_dropped(gateway, upstream):  # noqa: F811
    answer = gateway.raw(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\n"
                         b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ") and b"101 Switching" not in answer
    sent = {k.lower() for k in upstream.seen[-1][2]}
    assert "upgrade" not in sent and "http2-settings" not in sent


# --- windows ----------------------------------------------------------------------------------------------------------


def test_a_closed_window_holds_the_upstream_back(gateway, upstream):  # noqa: F811
    with Connection(gateway.port, settings=struct.pack(">HI", 4, 1000)) as c:
        c.headers(1, request("/big"))
        got = c.until(lambda kind, flags, stream, _: kind == DATA and stream == 1)
        assert len(got[3]) == 1000
        c.headers(3, request("/hello"))
        assert c.until(lambda kind, flags, stream, p: kind == DATA and stream == 3), "other streams pass"
        c.send(frame(h2.WINDOW_UPDATE, 0, 1, struct.pack(">I", 500)))
        assert len(c.until(lambda kind, flags, stream, _: kind == DATA and stream == 1)[3]) == 500
        c.send(frame(h2.RST_STREAM, 0, 1, struct.pack(">I", 8)))
        wait_for(lambda: memory(gateway) < 200 << 20, what="flat memory")


def memory(gateway):
    with open(f"/proc/{gateway.server.process.pid}/statm") as f:
        return int(f.read().split()[1]) * 4096


def test_a_client_that_sends_too_much_breaks_flow_control(gateway):
    with Connection(gateway.port) as c:
        c.headers(1, request("/upload", "POST"), end=False)
        for _ in range(200):
            if not c.send(frame(DATA, 0, 1, b"x" * 16384)):
                break
        answer = c.outcome(1)
        assert answer in (("reset", h2.FLOW_CONTROL_ERROR), ("goaway", h2.FLOW_CONTROL_ERROR), None) or answer[0] == "status"


# --- the end ----------------------------------------------------------------------------------------------------------


def test_drain_says_goodbye_twice_and_finishes_streams(start, upstream):  # noqa: F811
    g = start({"a": up(upstream)}, EVERYTHING)
    with Connection(g.port) as c:
        c.headers(1, request("/slow"))
        wait_for(lambda: any(s[1] == "/slow" for s in upstream.seen), what="the request upstream")
        g.server.process.terminate()
        first = c.until(lambda kind, *_: kind == h2.GOAWAY)
        assert first[3][:8] == struct.pack(">II", 0x7fffffff, h2.NO_ERROR)
        ping = c.until(lambda kind, flags, *_: kind == h2.PING and not flags)
        c.send(frame(h2.PING, h2.ACK, 0, ping[3]))
        second = c.until(lambda kind, *_: kind == h2.GOAWAY)
        assert second[3][:8] == struct.pack(">II", 1, h2.NO_ERROR)
        assert c.outcome(1) == ("status", 200)
        assert c.read() is None
    assert g.server.process.wait(20 * SLOW) == 0


# --- who is in front --------------------------------------------------------------------------------------------------

PROXY_V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes([203, 0, 113, 9, 10, 0, 0, 1, 48, 57, 0, 80])


def test_proxy_protocol_names_the_client_to_upstream(start, upstream):  # noqa: F811
    g = start({"a": up(upstream)}, EVERYTHING, {"NEXUS_PROXY_PROTOCOL": "true", "NEXUS_TRUSTED_PROXIES": "127.0.0.0/8"})
    answer = g.raw(PROXY_V2 + b"GET /x HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert {k.lower(): v for k, v in upstream.seen[-1][2].items()}["x-forwarded-for"] == "203.0.113.9"
    with Connection(g.port, hello=False) as c:
        c.send(PROXY_V2 + h2.PREFACE + frame(h2.SETTINGS))
        c.headers(1, request("/x"))
        assert c.outcome(1) == ("status", 200)
    assert {k.lower(): v for k, v in upstream.seen[-1][2].items()}["x-forwarded-for"] == "203.0.113.9"
    assert g.raw(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n") == b""


def test_proxy_protocol_from_anybody_earns_nothing(start, upstream):  # noqa: F811
    g = start({"a": up(upstream)}, EVERYTHING, {"NEXUS_PROXY_PROTOCOL": "true", "NEXUS_TRUSTED_PROXIES": "10.0.0.0/8"})
    assert g.raw(PROXY_V2 + b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert not any(s[1] == "/x" for s in upstream.seen)
