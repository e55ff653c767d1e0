"""What is seen of requests through the gateway: access log, metrics, spans."""
import json
import shutil
import socket
import struct
import subprocess
import threading

import pytest
from gateway_harness import EVERYTHING, service_only, start, up, upstream  # noqa: F401
from harness import free_port, problem, wait_for
from otlp_receiver import Receiver

pytestmark = service_only
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"


def lines(g):
    out = []
    for line in g.server.log.read_text(errors="replace").splitlines():
        try:
            out.append(json.loads(line))
        except ValueError:
            pass  # half a line, or not ours
    return [r for r in out if r.get("module") == "access"]


def line_of(g, request_id):
    return wait_for(lambda: [r for r in lines(g) if r["correlation_id"] == request_id], 10, "the access line")[0]


def metrics(g):
    return g.call("GET", "/metrics").body.decode()


def value(text, series):
    """The value of a series written with its labels, or None."""
    found = [float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(series + " ")]
    return found[0] if found else None


# --- access log ---------------------------------------------------------------------------------

def test_a_line_says_where_a_request_went(start, upstream):
    g = start({"a": up(upstream)}, [{"id": "orders", "path": "/orders/{id:int}", "upstream": "a"}, *EVERYTHING])
    reply = g.call("POST", "/orders/../orders/%37?page=2", b"12345", headers={
        "X-Request-Id": "req-12345678", "traceparent": f"00-{TRACE}-{CALLER}-01"})
    line = line_of(g, "req-12345678")
    assert list(line) == ["ts", "level", "msg", "service", "module", "trace_id", "span_id", "correlation_id", "ip", "method",
                          "host", "path", "query", "protocol", "status", "ms", "bytes_in", "bytes_out", "route", "upstream",
                          "target", "tries", "upstream_ms"]
    assert (line["method"], line["path"], line["query"], line["status"]) == ("POST", "/orders/7", "page=2", 200)
    assert (line["route"], line["upstream"], line["target"]) == ("orders", "a", f"http://127.0.0.1:{upstream.port}")
    assert (line["bytes_in"], line["bytes_out"], line["tries"]) == (5, len(reply.body), 1)
    assert line["trace_id"] == TRACE and 0 <= line["upstream_ms"] <= line["ms"] < 60000


def test_no_credential_reaches_the_log(start, upstream):
    g = start({"a": up(upstream)}, EVERYTHING)
    secret = "s33ded-s3cret"
    query = "&".join(f"{name}={secret}{i}" for i, name in enumerate(
        ["token", "access_token", "api_key", "apikey", "secret", "client_secret", "password", "code", "t%6Fken", "PASSWORD"]))
    jwt = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ1LTEifQ.c2lnbmF0dXJlc2lnbmF0dXJl"
    g.call("GET", f"/x/{jwt}?{query}&shown=1&next={jwt}", headers={
        "Authorization": f"Bearer {secret}", "Cookie": f"sid={secret}", "X-Api-Key": secret, "X-Request-Id": "req-secret-1"})
    line = line_of(g, "req-secret-1")
    assert "shown=1" in line["query"] and line["query"].count("[redacted]") == 11
    text = g.server.log.read_text(errors="replace")
    assert secret not in text and jwt not in text


def test_bytes_of_a_client_cannot_forge_a_line(start, upstream):
    g = start({"a": up(upstream)}, EVERYTHING)
    g.raw(b"GET /a%0a%1b?x=%0d\x7f\xff\"} HTTP/1.1\r\nHost: h\r\nX-Request-Id: req-forged-1\r\nConnection: close\r\n\r\n")
    g.raw(b"GET /b%22%0A{\"status\":999} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    g.call("GET", "/last", headers={"X-Request-Id": "req-last-123"})
    line_of(g, "req-last-123")
    for raw in g.server.log.read_bytes().splitlines():
        assert json.loads(raw)["msg"] and not any(b < 0x20 or b == 0x7f for b in raw)
    assert all(r.get("status") != 999 for r in lines(g))


def test_refusals_tell_why(start, upstream):
    dead = free_port()
    g = start({"a": up(upstream), "dead": {"targets": [f"http://127.0.0.1:{dead}"]},
               "slow": {**up(upstream), "timeouts_ms": {"first_byte": 100}, "retries": 0}},
              [{"id": "limited", "prefix": "/limited", "upstream": "a", "limits": [{"rate": 1, "period_s": 3600, "burst": 1}]},
               {"id": "dead", "prefix": "/dead", "upstream": "dead"}, {"id": "slow", "prefix": "/slow", "upstream": "slow"},
               {"id": "hello", "prefix": "/hello", "upstream": "a"}])
    for path, request_id in [("/limited", "limited-0"), ("/limited", "limited-1"), ("/dead", "dead-1234"),
                             ("/slow", "slow-1234"), ("/nowhere", "nowhere-1")]:
        g.call("GET", path, headers={"X-Request-Id": request_id})
    limited, dead_line, slow, nowhere = (line_of(g, i) for i in ("limited-1", "dead-1234", "slow-1234", "nowhere-1"))
    assert (limited["status"], limited["flags"], limited["route"]) == (429, ["limit"], "limited") and "upstream" not in limited
    assert (dead_line["status"], dead_line["problem"], dead_line["tries"]) == (502, "upstream-unreachable", 2)
    assert dead_line["flags"] == ["retry"] and dead_line["level"] == "warn" and "upstream_ms" not in dead_line
    assert (slow["status"], slow["problem"], slow["flags"]) == (504, "upstream-timeout", ["timeout"])
    assert (nowhere["status"], nowhere["problem"]) == (404, "no-route") and "route" not in nowhere
    text = metrics(g)
    assert value(text, 'nexus_gateway_upstream_tries_total{upstream="dead",outcome="connect"}') == 2
    assert value(text, 'nexus_gateway_retries_total{upstream="dead"}') == 1
    assert value(text, 'nexus_gateway_upstream_tries_total{upstream="slow",outcome="timeout"}') == 1
    assert value(text, 'nexus_gateway_requests_total{route="limited",class="4xx"}') == 1


def test_a_client_that_goes_with_half_an_answer_is_told_apart(start, upstream):
    g = start({"a": up(upstream)}, EVERYTHING)
    with socket.create_connection(("127.0.0.1", g.port)) as s:
        s.sendall(b"GET /big HTTP/1.1\r\nHost: h\r\nX-Request-Id: req-gone-123\r\n\r\n")
        assert s.recv(100).startswith(b"HTTP/1.1 200")
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
    line = line_of(g, "req-gone-123")
    assert line["flags"] == ["cut"] and line["upstream"] == "a" and line["bytes_out"] < 8 << 20
    assert value(metrics(g), 'nexus_gateway_requests_total{route="all",class="none"}') == 1


def test_every_request_under_load_has_one_line_or_is_counted_as_dropped(start, upstream):
    g = start({"a": up(upstream)}, EVERYTHING)
    counts = []

    def client():
        with socket.create_connection(("127.0.0.1", g.port)) as s, s.makefile("rb") as f:
            for _ in range(100):
                s.sendall(b"GET /nope?x=1 HTTP/1.1\r\nHost: h\r\nX-Request-Id: load-12345678\r\n\r\n")
                length = 0
                while (field := f.readline()) != b"\r\n":
                    if field.lower().startswith(b"content-length:"):
                        length = int(field.split(b":")[1])
                f.read(length)
        counts.append(100)

    threads = [threading.Thread(target=client) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    dropped = value(metrics(g), 'nexus_log_dropped_total{log="log"}')
    wait_for(lambda: len([r for r in lines(g) if r["correlation_id"] == "load-12345678"]) + dropped >= sum(counts), 20)
    assert sum(counts) == 800
    assert value(metrics(g), 'nexus_gateway_requests_total{route="all",class="2xx"}') == 800


# --- metrics ------------------------------------------------------------------------------------

@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool (apt: prometheus) is not installed")
def test_metrics_pass_promtool_and_have_no_paths(start, upstream):
    g = start({"a": {**up(upstream), "retries": 0}}, [{"id": "one", "prefix": "/one", "upstream": "a"}, *EVERYTHING])
    for i in range(30):
        assert g.call("GET", f"/one/{i}").status == 200
    g.call("POST", "/upload", b"x" * 1000)
    g.call("GET", "/error")
    wait_for(lambda: value(metrics(g), 'nexus_gateway_upstream_targets{upstream="a",state="up"}') == 1, 10, "the gauges")
    text = metrics(g)
    checked = subprocess.run(["promtool", "check", "metrics"], input=text.encode(), capture_output=True, timeout=30)
    assert checked.returncode == 0 and not checked.stderr, checked.stderr.decode()
    assert "/one/" not in text
    assert value(text, 'nexus_gateway_requests_total{route="one",class="2xx"}') == 30
    assert value(text, 'nexus_gateway_request_duration_seconds_count{route="one"}') == 30
    assert value(text, 'nexus_gateway_upstream_duration_seconds_count{upstream="a"}') == 32
    assert value(text, 'nexus_gateway_upstream_tries_total{upstream="a",outcome="answered"}') == 31
    assert value(text, 'nexus_gateway_upstream_tries_total{upstream="a",outcome="error"}') == 1
    assert value(text, 'nexus_gateway_body_bytes_total{route="all",direction="in"}') == 1000
    assert value(text, 'nexus_gateway_body_bytes_total{route="one",direction="out"}') > 1000
    wait_for(lambda: value(metrics(g), 'nexus_gateway_upstream_connections{upstream="a"}') >= 1, 10, "the gauge of connections")


def test_counters_outlive_a_reload(start, upstream):
    g = start({"a": up(upstream)}, EVERYTHING)
    g.call("GET", "/x")
    g.write({"version": 1, "upstreams": {"a": up(upstream), "b": up(upstream)},
             "routes": [{"id": "new", "prefix": "/new", "upstream": "b"}, *EVERYTHING]})
    wait_for(lambda: g.call("GET", "/new").status == 200 and
             value(metrics(g), 'nexus_gateway_requests_total{route="new",class="2xx"}'), 10, "the new route")
    g.call("GET", "/x")
    text = metrics(g)
    both = value(text, 'nexus_gateway_requests_total{route="all",class="2xx"}')
    assert both >= 2, text


# --- spans --------------------------------------------------------------------------------------

@pytest.fixture
def receiver():
    r = Receiver()
    yield r
    r.close()


def test_each_try_is_a_child_of_the_servers_span_and_what_the_upstream_sees(start, upstream, receiver):
    g = start({"a": up(upstream)}, EVERYTHING, {"NEXUS_OTLP_URL": receiver.url})
    reply = g.call("GET", "/x?y=1", headers={"traceparent": f"00-{TRACE}-{CALLER}-01", "X-Request-Id": "req-traced-1"})
    seen = reply.json["headers"]["traceparent"].split("-")
    spans = wait_for(lambda: len(s := receiver.spans(TRACE)) >= 2 and s, 20, "both spans")
    server = next(s for s in spans if s["kind"] == 2)
    client = next(s for s in spans if s["kind"] == 3)
    assert len(spans) == 2 and {s["service"] for s in spans} == {"gateway"}
    assert server["parentSpanId"] == CALLER and client["parentSpanId"] == server["spanId"]
    assert seen == ["00", TRACE, client["spanId"], "01"], "the upstream's parent is the try"
    assert server["name"] == "GET all" and client["name"] == "GET a"
    assert line_of(g, "req-traced-1")["span_id"] == server["spanId"]
    assert int(server["startTimeUnixNano"]) <= int(client["startTimeUnixNano"]) + 10**8  # the loop's clock stands still during a turn
    assert int(client["startTimeUnixNano"]) <= int(client["endTimeUnixNano"])
    assert client["attrs"]["http.response.status_code"] == 200 and client["attrs"]["nexus.outcome"] == "answered"
    assert client["attrs"]["server.address"] == f"http://127.0.0.1:{upstream.port}"


def test_a_retry_is_a_span_of_its_own(start, upstream, receiver):
    dead = free_port()
    g = start({"a": {"targets": [f"http://127.0.0.1:{dead}"], "retries": 1}}, EVERYTHING, {"NEXUS_OTLP_URL": receiver.url})
    problem(g.call("GET", "/x", headers={"traceparent": f"00-{TRACE}-{CALLER}-01"}), 502)
    spans = wait_for(lambda: len(s := receiver.spans(TRACE)) >= 3 and s, 20, "three spans")
    server = next(s for s in spans if s["kind"] == 2)
    tries = [s for s in spans if s["kind"] == 3]
    assert len(tries) == 2 and len({s["spanId"] for s in spans}) == 3
    assert all(s["parentSpanId"] == server["spanId"] and s["status"] == {"code": 2} for s in tries)
    assert sorted(s["attrs"]["http.request.resend_count"] for s in tries) == [0, 1]
    assert server["status"] == {"code": 2} and server["attrs"]["error.type"] == "upstream-unreachable"


def test_the_caller_decides_whether_a_trace_is_sampled(start, upstream, receiver):
    g = start({"a": up(upstream)}, EVERYTHING, {"NEXUS_OTLP_URL": receiver.url, "NEXUS_OTLP_SAMPLE": "0"})
    quiet = g.call("GET", "/x", headers={"traceparent": f"00-{TRACE[::-1]}-{CALLER}-00"})
    assert quiet.json["headers"]["traceparent"].endswith("-00") and TRACE[::-1] in quiet.json["headers"]["traceparent"]
    assert g.call("GET", "/x").json["headers"]["traceparent"].endswith("-00"), "a trace that begins here, of which none is sampled"
    g.call("GET", "/x", headers={"traceparent": f"00-{TRACE}-{CALLER}-01"})
    wait_for(lambda: len(receiver.spans(TRACE)) == 2, 20, "the sampled trace")
    assert {s["traceId"] for s in receiver.spans()} == {TRACE}


@pytest.mark.parametrize("bad", ["00-" + "0" * 32 + f"-{CALLER}-01", f"00-{TRACE}-{'0' * 16}-01", f"ff-{TRACE}-{CALLER}-01",
                                 f"00-{TRACE.upper()}-{CALLER}-01", f"00-{TRACE}-{CALLER}-01-more", "x" * 4000, "00-" + TRACE])
def test_a_traceparent_that_is_none_begins_a_new_trace(start, upstream, bad):
    g = start({"a": up(upstream)}, EVERYTHING)
    version, trace, span, flags = g.call("GET", "/x", headers={"traceparent": bad}).json["headers"]["traceparent"].split("-")
    assert (version, len(trace), len(span), flags) == ("00", 32, 16, "01") and trace != TRACE


def test_a_stranger_does_not_choose_the_request_id(start, upstream):
    g = start({"a": up(upstream)}, EVERYTHING, {"NEXUS_TRUSTED_PROXIES": "none"})
    reply = g.call("GET", "/x", headers={"X-Request-Id": "chosen-by-client"})
    made = reply.header("X-Request-Id")
    assert made != "chosen-by-client" and reply.json["headers"]["x-request-id"] == made and len(made) == 36


def test_a_receiver_that_is_away_costs_no_request(start, upstream):
    g = start({"a": up(upstream)}, EVERYTHING, {"NEXUS_OTLP_URL": f"http://127.0.0.1:{free_port()}"})
    for _ in range(50):
        assert g.call("GET", "/x").status == 200
