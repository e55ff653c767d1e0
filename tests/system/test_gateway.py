"""The gateway in front of small upstreams: what reaches them, what clients get, and what changes while it runs.

NEXUS_TEST_GATEWAY=proxy runs the same tests against examples/proxy (without those that need the service around it)."""
import hashlib
import http.client
import json
import os
import signal
import socket
import struct
import threading
import time

import pytest

from gateway_harness import EVERYTHING, PROXY, Upstream, service_only, start, up, upstream  # noqa: F401
from harness import SLOW, problem, request, wait_for


def test_proxies_both_ways_and_keeps_connections(start, upstream):
    g = start({"a": up(upstream)}, EVERYTHING)
    connection = http.client.HTTPConnection("127.0.0.1", g.port, timeout=10)
    for i in range(20):
        connection.request("POST", f"/echo/{i}?q=a%20b&x", body=f"body {i}", headers={"X-Mine": "yes"})
        answer = connection.getresponse()
        said = json.loads(answer.read())
        assert answer.status == 200 and said["path"] == f"/echo/{i}?q=a%20b&x" and said["body"] == f"body {i}"
        assert said["headers"]["x-mine"] == "yes" and said["headers"]["host"] == f"127.0.0.1:{g.port}"
        assert answer.headers["X-Upstream"] == "one" and answer.headers["X-Request-Id"]
    assert upstream.connections <= 2, "upstream connections are reused"
    assert g.call("HEAD", "/echo").body == b""
    teapot = g.call("GET", "/teapot")
    assert (teapot.status, teapot.body, teapot.header("X-Kept")) == (418, b"short and stout", "yes")
    assert teapot.header("Server") is None
    assert g.call("GET", "/until-close").body == b"all there is"
    assert len(g.call("GET", "/chunked").body) == sum(len(f"piece {i};") * 100 for i in range(50))


def test_headers_are_rewritten_and_identity_cannot_be_forged(start, upstream):
    g = start({"a": up(upstream)}, [{"id": "all", "prefix": "/", "upstream": "a",
                                     "request_headers": {"set": {"X-Tenant": "acme"}, "remove": ["X-Drop"]},
                                     "response_headers": {"set": {"X-Via": "nexus"}}}])
    sent = {"X-Nexus-User": "root", "X_Nexus_Roles": "admin", "X-Forwarded-For": "6.6.6.6", "X-Real-IP": "6.6.6.6",
            "Forwarded": "for=6.6.6.6", "X-Original-URL": "/admin", "X-HTTP-Method-Override": "DELETE", "Proxy": "evil",
            "Connection": "keep-alive, x-hop, x-tenant", "X-Hop": "1", "X-Drop": "1", "X-Tenant": "evil", "TE": "trailers",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Upgrade": "h2c"}
    answer = g.call("GET", "/echo", headers=sent)
    got = answer.json["headers"]
    for name in ("x-nexus-user", "x_nexus_roles", "x-real-ip", "forwarded", "x-original-url", "x-http-method-override",
                 "proxy", "x-hop", "x-drop", "te", "upgrade", "connection", "keep-alive"):
        assert name not in got, name
    assert got["x-forwarded-for"] == ("127.0.0.1" if PROXY else "6.6.6.6")  # the service trusts loopback peers
    assert got["x-forwarded-proto"] == "http" and got["x-tenant"] == "acme"
    assert got["traceparent"].startswith("00-0af7651916cd43dd8448eb211c80319c-")
    assert answer.header("X-Via") == "nexus" and answer.header("X-Request-Id") == got["x-request-id"]


def test_404_405_options_and_canonical_paths(start, upstream):
    g = start({"a": up(upstream)}, [
        {"id": "things", "path": "/things/{id:int}", "methods": ["GET", "PUT"], "upstream": "a"},
        {"id": "raw", "prefix": "/raw", "encoded_slash": "pass", "upstream": "a"},
        {"id": "old", "prefix": "/old", "strip_prefix": "/old", "add_prefix": "/new", "upstream": "a"}])
    problem(g.call("GET", "/nothing"), 404, "no-route")
    problem(g.call("GET", "/things/abc"), 404, "no-route")
    refused = g.call("DELETE", "/things/7")
    problem(refused, 405, "method-not-allowed")
    assert refused.header("Allow") == "GET, HEAD, PUT, OPTIONS"
    options = g.call("OPTIONS", "/things/7")
    assert options.status == 204 and "PUT" in options.header("Allow")
    assert g.call("GET", "/x/../things/%37").json["path"] == "/things/7"
    assert g.call("GET", "//old/./a").json["path"] == "/new/a"
    for path in ("/things/%2e%2e%2f7", "/things/7%00", "/things%5c7", "/things/7;a", "/things/%252e"):
        problem(g.call("GET", path), 400)
    assert g.call("GET", "/raw/a%2fb").json["path"] == "/raw/a%2Fb"
    for path in ("/raw/%c0%ae", "/raw/%zz"):
        problem(g.call("GET", path), 400)


def test_limits_refuse_with_fields_and_problem(start, upstream):
    g = start({"a": up(upstream)}, [{"id": "few", "prefix": "/few", "upstream": "a", "limits": [
        {"name": "burst", "rate": 3, "period_s": 60, "burst": 3, "key": ["ip", "route"]}]},
        {"id": "all", "prefix": "/", "upstream": "a"}])
    left = [g.call("GET", "/few").header("RateLimit").split(";")[1] for _ in range(3)]
    assert left == ["r=2", "r=1", "r=0"]
    refused = g.call("GET", "/few/other/../path")
    body = refused.json
    assert refused.status == 429 and body["violated-policies"] == ["burst"] and body["code"] == "rate-limited"
    assert body["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert 1 <= int(refused.header("Retry-After")) <= 20
    assert refused.header("RateLimit-Policy") == '"burst";q=3;w=60'
    assert g.call("GET", "/free").status == 200
    assert sum(1 for _, path, _ in upstream.seen if path.startswith("/few")) == 3


def test_concurrent_burst_passes_exactly_the_limit(start, upstream):
    g = start({"a": up(upstream)}, [{"prefix": "/", "upstream": "a", "limits": [
        {"rate": 10, "period_s": 3600, "burst": 10, "key": ["ip"]}]}])
    results = []

    def fire():
        for _ in range(4):
            results.append(g.call("GET", "/x").status)

    threads = [threading.Thread(target=fire) for _ in range(16)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert results.count(200) == 10 and results.count(429) == 54


@service_only
def test_token_is_required(start, upstream):
    g = start({"a": up(upstream)}, [{"prefix": "/secure", "upstream": "a", "auth": "jwt"},
                                    {"prefix": "/", "upstream": "a"}])
    refused = g.call("GET", "/secure/x")
    problem(refused, 401)
    assert refused.header("WWW-Authenticate").startswith("Bearer")
    assert g.call("GET", "/secure/x", token="a.b.c").status in (401, 503)
    assert not [p for _, p, _ in upstream.seen if p.startswith("/secure")]
    assert g.call("GET", "/open").status == 200


def test_dead_upstream_is_502_and_comes_back(start):
    u = Upstream()
    port = u.port
    g = start({"a": {"targets": [f"http://127.0.0.1:{port}"], "ejection": False}}, EVERYTHING)
    assert g.call("GET", "/a").status == 200
    u.close()

    def dead():
        answer = g.call("GET", "/a")
        return answer if answer.status == 502 else None
    problem(wait_for(dead, 5, "502"), 502)
    again = Upstream(port=port)
    try:
        assert g.call("GET", "/a").status == 200
    finally:
        again.close()


def test_second_target_takes_over(start):
    one, two = Upstream("one"), Upstream("two")
    g = start({"a": up(one, two)}, EVERYTHING)
    names = {g.call("GET", "/").json["upstream"] for _ in range(40)}
    assert names == {"one", "two"}
    one.close()
    try:
        assert all(g.call("GET", "/").status == 200 for _ in range(40)), "idempotent requests do not fail"
    finally:
        two.close()


def test_slow_upstream_is_504(start, upstream):
    g = start({"a": up(upstream, timeouts_ms={"first_byte": 300})}, EVERYTHING)
    problem(g.call("GET", "/slow"), 504, "upstream-timeout")
    assert g.call("GET", "/a").status == 200


def test_broken_replies_are_502_and_half_ones_break_the_connection(start, upstream):
    g = start({"a": up(upstream)}, EVERYTHING)
    problem(g.call("GET", "/bad-reply"), 502, "upstream-protocol")
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        g.call("GET", "/half")
    assert g.call("GET", "/a").status == 200


def test_large_bodies_both_ways(start, upstream):
    g = start({"a": up(upstream)}, EVERYTHING)
    assert len(g.call("GET", "/big", timeout=60).body) == 16 * (8 << 16)
    data = os.urandom(12 << 20)
    sha = hashlib.sha256(data).hexdigest()
    assert g.call("POST", "/upload", data, timeout=60).json == {"bytes": len(data), "sha": sha}
    connection = http.client.HTTPConnection("127.0.0.1", g.port, timeout=60)
    pieces = [data[i:i + 50000] for i in range(0, len(data), 50000)]
    connection.request("PUT", "/upload", body=iter(pieces), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    assert json.loads(connection.getresponse().read()) == {"bytes": len(data), "sha": sha}


def test_a_client_that_reads_slowly_costs_no_memory(start, upstream):
    g = start({"a": up(upstream)}, EVERYTHING)

    def rss():
        return int(next(l for l in open(f"/proc/{g.server.process.pid}/status") if l.startswith("VmRSS")).split()[1])
    g.call("GET", "/big", timeout=60)
    before = rss()
    sockets = []
    for _ in range(20):
        s = socket.create_connection(("127.0.0.1", g.port))
        s.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        sockets.append(s)
    wait_for(lambda: sum(1 for _, p, _ in upstream.seen if p == "/big") == 21, 20, "all requests to reach the upstream")
    assert rss() - before < 20 * 256 * SLOW, "8 MiB replies that nobody reads are not stored"
    total = 0
    while piece := sockets[0].recv(1 << 20):
        total += len(piece)
    assert total > 16 * (8 << 16)
    [s.close() for s in sockets]


def test_body_limit_of_a_route(start, upstream):
    g = start({"a": up(upstream)}, [{"prefix": "/", "upstream": "a", "body_max_bytes": 1000}])
    assert g.call("POST", "/x", b"x" * 1000).status == 200
    problem(g.call("POST", "/x", b"x" * 1001), 413)
    connection = http.client.HTTPConnection("127.0.0.1", g.port, timeout=10)
    connection.request("POST", "/x", body=iter([b"y" * 600] * 4), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    assert connection.getresponse().status == 413


def frame(payload, opcode=1):
    mask = b"\x01\x02\x03\x04"
    masked = bytes(c ^ mask[i % 4] for i, c in enumerate(payload))
    return bytes([0x80 | opcode]) + (bytes([0x80 | len(payload)]) if len(payload) < 126 else
                                     struct.pack(">BH", 0x80 | 126, len(payload))) + mask + masked


def open_websocket(g, path="/ws", **headers):
    s = socket.create_connection(("127.0.0.1", g.port), 10)
    lines = "".join(f"{k}: {v}\r\n" for k, v in {"Host": "x", "Connection": "Upgrade", "Upgrade": "websocket",
                                                "Sec-WebSocket-Version": "13",
                                                "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", **headers}.items() if v)
    s.sendall(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        piece = s.recv(1)
        if not piece:
            break
        head += piece
    return s, head


def exchange(s, data):
    s.sendall(data)
    got = b""
    while len(got) < len(data):
        piece = s.recv(65536)
        assert piece, "the tunnel ended"
        got += piece
    return got


def test_websocket_tunnel_survives_reloads(start, upstream):
    g = start({"a": up(upstream)}, EVERYTHING)
    s, head = open_websocket(g)
    assert head.startswith(b"HTTP/1.1 101") and b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head, head
    assert exchange(s, frame(b"hello")) == frame(b"hello")
    big = frame(os.urandom(60000), 2)
    version = lambda: 0 if PROXY else g.admin("GET", "/admin/v1/config/history").json[0]["version"]  # it has no history
    for i in range(5):
        before = version()
        g.write({"version": 1, "upstreams": {"a": up(upstream, max_connections=100 + i)}, "routes": EVERYTHING})
        if not PROXY:
            g.server.process.send_signal(signal.SIGHUP)
            wait_for(lambda: version() > before, 10, "the reload")
        assert exchange(s, big) == big
    s.close()
    bad, head = open_websocket(g, **{"Sec-WebSocket-Version": "8"})
    assert b" 426 " in head.split(b"\r\n")[0]
    bad, head = open_websocket(g, **{"Sec-WebSocket-Key": ""})
    assert b" 400 " in head.split(b"\r\n")[0]
    bad, head = open_websocket(g, Origin="http://evil.example")
    assert b" 403 " in head.split(b"\r\n")[0]
    same, head = open_websocket(g, Origin="http://x")
    assert b" 101 " in head.split(b"\r\n")[0]


def test_server_sent_events_pass_one_by_one(start, upstream):
    g = start({"a": up(upstream)}, EVERYTHING)
    s = socket.create_connection(("127.0.0.1", g.port), 10)
    s.sendall(b"GET /sse HTTP/1.1\r\nHost: x\r\n\r\n")
    got = b""
    for i in range(3):
        while f"data: {i}".encode() not in got:
            got += s.recv(4096)
        assert upstream.sent == i, "the event arrived before the next one was made"
        upstream.go.set()
    s.close()


def test_reload_under_load_without_a_failed_request(start):
    one, two = Upstream("one"), Upstream("two")
    g = start({"a": up(one)}, EVERYTHING)
    stop, failures, done, names = threading.Event(), [], [0], set()

    def client():
        connection = http.client.HTTPConnection("127.0.0.1", g.port, timeout=10)
        while not stop.is_set():
            try:
                connection.request("GET", "/x")
                answer = connection.getresponse()
                names.add(answer.headers["X-Upstream"])
                answer.read()
                if answer.status != 200:
                    failures.append(answer.status)
                done[0] += 1
            except (OSError, http.client.HTTPException) as error:
                failures.append(repr(error))
                connection.close()

    threads = [threading.Thread(target=client) for _ in range(6)]
    [t.start() for t in threads]
    try:
        for i in range(10):
            g.write({"version": 1, "upstreams": {"a": up(two if i % 2 else one, retries=i % 3)}, "routes": EVERYTHING})
            before = done[0]
            wait_for(lambda: done[0] > before + 50, 20, "requests to go on")
            wait_for(lambda: g.call("GET", "/x").headers["X-Upstream"] == ("two" if i % 2 else "one"), 20, "the new routes")
    finally:
        stop.set()
        [t.join() for t in threads]
        one.close()
        two.close()
    assert not failures, failures[:5]
    assert names == {"one", "two"}


def test_broken_file_leaves_the_last_good_routes(start, upstream):
    g = start({"a": up(upstream)}, EVERYTHING)
    g.write('{"version":1,\n "upstreams":{"a":{"targets":["http://127.0.0.1:1"]}},\n "routes":[{"prefx":"/"}]}')
    if not PROXY:
        answer = wait_for(lambda: g.admin("GET", "/admin/v1/status").json["last_error"], 5, "the error")
        assert ':3:13: /routes/0: unknown key "prefx"; the nearest known one is "prefix"' in answer
    else:
        time.sleep(1.3)
    assert g.call("GET", "/x").status == 200


@service_only
def test_admin_needs_its_token_and_explains(start, upstream):
    g = start({"a": up(upstream)}, [{"id": "thing", "path": "/things/{id}", "methods": ["GET"], "upstream": "a",
                                     "limits": [{"rate": 5, "period_s": 60}]}])
    problem(request("GET", f"http://127.0.0.1:{g.port + 10}/admin/v1/config"), 401)
    problem(g.admin("GET", "/admin/v1/config", token="wrong"), 401)
    config = g.admin("GET", "/admin/v1/config")
    assert config.json["routes"][0]["id"] == "thing" and config.header("ETag")
    said = g.admin("GET", "/admin/v1/explain?method=GET&target=/x/../things/a%2520b").json
    assert said["path"] == "/things/a%20b" and said["route"] == "thing" and said["why"] == "template"
    assert said["params"] == {"id": "a%20b"} and said["chain"][0]["filter"] == "limits"
    assert said["upstream"]["targets"][0]["state"] == "up"
    assert g.admin("GET", "/admin/v1/explain?method=POST&target=/things/1").json["status"] == 405
    assert g.admin("POST", "/admin/v1/reload").status == 200
    refused = g.admin("POST", "/admin/v1/check", {"upstreams": {}, "rotes": []})
    assert refused.status == 422 and 'nearest known one is "routes"' in refused.json["detail"]
    metrics = g.call("GET", "/metrics").body.decode()
    g.call("GET", "/things/1")
    metrics = g.call("GET", "/metrics").body.decode()
    assert 'nexus_gateway_requests_total{route="thing",class="2xx"} 1' in metrics


def test_active_checks_take_a_target_out_and_back(start):
    one, two = Upstream("one"), Upstream("two")
    port = one.port
    g = start({"a": up(one, two, health={"path": "/health", "interval_ms": 50, "down_interval_ms": 50, "timeout_ms": 500,
                                         "fails": 2, "passes": 2}, retries=0, ejection=False)}, EVERYTHING)
    wait_for(lambda: {g.call("POST", "/").json["upstream"] for _ in range(10)} == {"one", "two"}, 5, "both in turn")
    one.close()

    def only_two():
        answers = [g.call("POST", "/") for _ in range(20)]
        return all(a.status == 200 and a.json["upstream"] == "two" for a in answers)
    wait_for(only_two, 10, "the dead target to be left out")
    again = Upstream("one", port)
    try:
        wait_for(lambda: "one" in {g.call("POST", "/").json["upstream"] for _ in range(10)}, 10, "the target to return")
    finally:
        again.close()
        two.close()


def test_cors(start, upstream):
    g = start({"a": up(upstream)}, [{"path": "/x", "methods": ["GET", "POST"], "upstream": "a", "cors": {
        "origins": ["https://*.example.com"], "methods": ["POST"], "headers": ["X-A"], "credentials": True}}])
    ok = {"Origin": "https://a.example.com", "Access-Control-Request-Method": "POST"}
    answer = g.call("OPTIONS", "/x", headers=ok)
    assert answer.status == 204 and answer.header("Access-Control-Allow-Origin") == "https://a.example.com"
    assert answer.header("Access-Control-Allow-Methods") == "POST" and answer.header("Access-Control-Max-Age") == "600"
    evil = g.call("OPTIONS", "/x", headers={**ok, "Origin": "https://a.example.com.evil.net"})
    assert evil.header("Access-Control-Allow-Origin") is None
    answer = g.call("GET", "/x", headers={"Origin": "https://b.example.com"})
    assert answer.header("Access-Control-Allow-Origin") == "https://b.example.com" and answer.header("Vary") == "Origin"
    assert g.call("GET", "/x", headers={"Origin": "https://evil.net"}).header("Access-Control-Allow-Origin") is None


SMUGGLED = b"GET /admin HTTP/1.1\r\nHost: x\r\n\r\n"
ATTACKS = {
    "length and encoding": b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
    "length list": b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 4, 4\r\n\r\nabcd",
    "signed length": b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: +4\r\n\r\nabcd",
    "encoding list": b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "encoding tab": b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "encoding in 1.0": b"POST /x HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bare LF": b"GET /x HTTP/1.1\nHost: x\n\n",
    "bare CR": b"GET /x HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n",
    "fold": b"GET /x HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
    "space before colon": b"GET /x HTTP/1.1\r\nHost: x\r\nContent-Length : 4\r\n\r\nabcd",
    "no host": b"GET /x HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /x HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "foreign authority": b"GET http://y/x HTTP/1.1\r\nHost: x\r\n\r\n",
    "NUL": b"GET /x HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n",
    "forbidden trailer": b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n",
    "chunk size": b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x4\r\nabcd\r\n0\r\n\r\n",
    "chunk end": b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcdXX0\r\n\r\n",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_smuggling_attempts_never_reach_the_upstream(start, upstream, name):
    g = start({"a": up(upstream)}, EVERYTHING)
    out = g.raw(ATTACKS[name] + SMUGGLED)
    assert out.split(b"\r\n")[0].split(b" ")[1] in (b"400", b"408", b"501"), out
    assert out.count(b"HTTP/1.1 ") == 1, "what stands behind it is not answered"
    assert not any(path == "/admin" for _, path, _ in upstream.seen)
    assert not [p for m, p, _ in upstream.seen if m == "POST" and name in ("length and encoding", "two lengths")]
    assert g.call("GET", "/fine").status == 200
