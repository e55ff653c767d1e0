"""Limits against the running gateway: whom they count, what they say, what a client cannot do about them."""
import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading

import pytest

from gateway_harness import Gateway, start, service_only, up, upstream  # noqa: F401 (fixtures)
from harness import ROOT, free_port, problem, request, wait_for

HOUR = {"period_s": 3600}


def limited(*policies, **more):
    return [{"id": "all", "prefix": "/", "upstream": "a", "limits": {"policies": list(policies), **more}}]


def fields(answer):
    """`"burst";r=42;t=17` as ("burst", {"r": "42", "t": "17"})."""
    name, *parameters = answer.header("RateLimit").split(";")
    return name.strip('"'), dict(p.split("=", 1) for p in parameters)


def metrics(g):
    text = request("GET", f"http://127.0.0.1:{g.port}/metrics").body.decode()
    return {name: float(value) for name, value in re.findall(r"^(nexus_gateway_limit_\S+) (\S+)$", text, re.M)}


def decisions(g, route, policy, decision):
    return metrics(g).get(f'nexus_gateway_limit_decisions_total{{route="{route}",policy="{policy}",decision="{decision}"}}', 0)


@pytest.fixture
def issuer():
    access = pytest.importorskip("test_gateway_access")
    one = access.Issuer()
    yield one
    one.close()


def test_fields_on_every_reply_and_the_strictest_is_told(start, upstream):
    g = start({"a": up(upstream)}, limited({"name": "burst", "rate": 5, **HOUR}, {"name": "day", "quota": 4, "window_s": 86400},
                                           legacy_headers=True))
    for path, status in (("/x", 200), ("/teapot", 418), ("/error", 500), ("/chunked", 200)):
        answer = g.call("GET", path)
        assert answer.status == status
        assert answer.header("RateLimit-Policy") == '"burst";q=5;w=3600, "day";q=4;w=86400'
        name, state = fields(answer)
        assert name == "day" and 0 < int(state["t"]) <= 86400 and "pk" not in state
        assert answer.header("X-RateLimit-Limit") == "4" and answer.header("X-RateLimit-Remaining") == state["r"]
        assert answer.header("X-RateLimit-Reset") == state["t"]
    refused = g.call("GET", "/x")
    body = refused.json
    assert refused.status == 429 and body["violated-policies"] == ["day"] and body["code"] == "rate-limited"
    assert body["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert 1 <= int(refused.header("Retry-After")) <= 86400
    assert fields(refused)[1]["r"] == "0" and refused.header("RateLimit-Policy")
    assert len(upstream.seen) == 4, "what was refused did not reach the upstream"


def test_fields_off_and_partition_key(start, upstream):
    g = start({"a": up(upstream)}, [
        {"id": "quiet", "prefix": "/quiet", "upstream": "a", "limits": {"headers": "off", "policies": [{"rate": 1, **HOUR}]}},
        {"id": "told", "prefix": "/", "upstream": "a", "limits": [{"rate": 9, "partition_key": True, "key": ["header:x-who"]}]}])
    first, second = g.call("GET", "/quiet"), g.call("GET", "/quiet")
    assert (first.status, second.status) == (200, 429) and second.header("Retry-After")
    assert not first.header("RateLimit") and not second.header("RateLimit-Policy")
    keys = [fields(g.call("GET", "/t", headers={"X-Who": who}))[1]["pk"] for who in ("ann", "bob", "ann")]
    assert keys[0] == keys[2] != keys[1]
    assert all(len(base64.b64decode(k.strip(":"))) == 8 for k in keys)


def test_none_is_consumed_when_one_refuses(start, upstream):
    g = start({"a": up(upstream)}, [
        {"id": "both", "prefix": "/both", "upstream": "a", "limits": [
            {"name": "wide", "rate": 10, **HOUR, "key": ["ip"]}, {"name": "narrow", "rate": 2, **HOUR, "key": ["route"]}]},
        {"id": "wide", "prefix": "/", "upstream": "a", "limits": [{"name": "wide", "rate": 10, **HOUR, "key": ["ip"]}]}])
    statuses = [g.call("GET", "/both").status for _ in range(20)]
    assert statuses == [200, 200] + [429] * 18
    assert int(fields(g.call("GET", "/x"))[1]["r"]) == 10 - 2 - 1, "refusals cost nothing"


# Attack row 40.
def test_spelling_makes_no_new_bucket(start, upstream):
    g = start({"a": up(upstream)}, [{"id": "few", "prefix": "/few", "upstream": "a", "limits": [{"rate": 3, **HOUR, "key": ["ip", "route"]}]},
                                    {"id": "all", "prefix": "/", "upstream": "a"}], env={"NEXUS_TRUSTED_PROXIES": "127.0.0.2"})
    assert [g.call("GET", "/few").status for _ in range(3)] == [200] * 3
    for method, path in (("GET", "/few"), ("POST", "/few"), ("DELETE", "/few/"), ("GET", "/%66ew"), ("GET", "//few"), ("GET", "/x/../few"),
                         ("GET", "/few/./a"), ("GET", "/few?x=1"), ("HEAD", "/few"), ("GET", "/fe%77/%7euser")):
        assert g.call(method, path).status == 429, (method, path)
    for host in ("other.example", "127.0.0.1:1", "A.B"):
        assert g.call("GET", "/few", headers={"Host": host}).status == 429
    for header in ("X-Forwarded-For: 9.9.9.9", "Forwarded: for=9.9.9.9", "X-Real-IP: 9.9.9.9", "X-HTTP-Method-Override: PUT"):
        raw = g.raw(f"GET /few HTTP/1.1\r\nHost: h\r\n{header}\r\n\r\nGET /admin HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
        assert raw.startswith(b"HTTP/1.1 429 "), header
    twice = g.raw(b"GET /few HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\nGET /admin HTTP/1.1\r\nHost: h\r\n\r\n")
    assert twice.startswith(b"HTTP/1.1 400 ") and twice.count(b"HTTP/1.1 ") == 1
    assert g.call("GET", "/FEW").status == 200, "paths are case-sensitive: this is the other route, which has no limit"
    assert len([p for _, p, _ in upstream.seen if p.startswith("/few")]) == 3


# Attack row 41.
def test_sixty_four_connections_at_once_pass_exactly_the_limit(start, upstream):
    g = start({"a": up(upstream)}, limited({"name": "a", "rate": 10, **HOUR}, {"name": "b", "quota": 1000, "window_s": 3600}))
    sockets = [socket.create_connection(("127.0.0.1", g.port), 10) for _ in range(64)]
    statuses, barrier = [], threading.Barrier(64)

    def fire(s):
        barrier.wait()
        s.sendall(b"GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        answer = b""
        while piece := s.recv(65536):
            answer += piece
        statuses.append(answer.split()[1])

    threads = [threading.Thread(target=fire, args=(s,)) for s in sockets]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert statuses.count(b"200") == 10 and statuses.count(b"429") == 54
    assert len(upstream.seen) == 10


class QuickUpstream:
    """Answers each request in one write, and counts."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port, self.count, self.lock = self.listener.getsockname()[1], 0, threading.Lock()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        try:
            while True:
                threading.Thread(target=self.serve, args=(self.listener.accept()[0],), daemon=True).start()
        except OSError:
            pass

    def serve(self, s):
        data = b""
        try:
            with s:
                while piece := s.recv(65536):
                    *heads, data = (data + piece).split(b"\r\n\r\n")
                    with self.lock:
                        self.count += len(heads)
                    s.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" * len(heads))
        except ConnectionError:
            pass  # the gateway was killed

    def close(self):
        self.listener.close()


@pytest.fixture
def quick():
    one = QuickUpstream()
    yield one
    one.close()


# Attack row 39.
@service_only
def test_made_up_keys_are_bounded_and_push_out_each_other(start, quick):
    g = start({"a": up(quick)}, [{"id": "few", "prefix": "/", "upstream": "a", "limits": {"headers": "off", "policies": [
        {"rate": 2, **HOUR, "burst": 2, "key": ["header:x-who"]}]}}],
        env={"NEXUS_TRUSTED_PROXIES": "127.0.0.1", "NEXUS_GATEWAY_LIMIT_KEYS": "1000"})
    mine = {"X-Who": "me", "X-Forwarded-For": "10.0.0.1"}
    assert [g.call("GET", "/x", headers=mine).status for _ in range(3)] == [200, 200, 429]
    before = rss(g)
    answers = {"429": 0}
    for i in range(6):
        with socket.create_connection(("127.0.0.1", g.port), 10) as s:
            s.sendall(b"".join(b"GET /chunk%d HTTP/1.1\r\nHost: h\r\nX-Who: w%d-%d\r\n\r\n" % (n, i, n) for n in range(400)) +
                      b"GET /x HTTP/1.1\r\nHost: h\r\nX-Who: me\r\nConnection: close\r\n\r\n")
            text = b""
            while piece := s.recv(1 << 20):
                text += piece
        answers["429"] += text.count(b"HTTP/1.1 429")
    assert answers["429"] == 6, "only `me` is refused, and still is after thousands of others"
    assert metrics(g)["nexus_gateway_limit_evictions_total"] > 500
    assert rss(g) - before < 8 << 20
    # Addresses of one /64 are one client.
    statuses = [g.call("GET", "/x", headers={"X-Forwarded-For": f"2001:db8::{i:x}:1"}).status for i in range(1, 9)]
    assert statuses == [200, 200] + [429] * 6


def rss(g):
    with open(f"/proc/{g.server.process.pid}/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")


@service_only
def test_what_is_not_enforced_is_counted_and_logged(start, upstream):
    g = start({"a": up(upstream)}, limited({"name": "trial", "rate": 2, **HOUR, "enforce": False}, {"name": "real", "rate": 4, **HOUR}))
    answers = [g.call("GET", "/x") for _ in range(5)]
    assert [a.status for a in answers] == [200] * 4 + [429]
    assert "trial" not in answers[0].header("RateLimit-Policy")
    assert decisions(g, "all", "trial", "would_deny") == 3, "the fifth request was refused by another policy"
    assert decisions(g, "all", "trial", "allowed") == 2 and decisions(g, "all", "real", "allowed") == 4
    assert decisions(g, "all", "real", "denied") == 1
    wait_for(lambda: "limit trial of route all would deny (would_deny)" in g.server.tail(200), 10, "the log line")


def test_a_request_costs_what_its_route_says(start, upstream):
    shared = {"name": "units", "rate": 10, **HOUR, "key": ["ip"]}
    g = start({"a": up(upstream)}, [{"id": "dear", "prefix": "/dear", "upstream": "a", "limits": {"cost": 4, "policies": [shared]}},
                                    {"id": "cheap", "prefix": "/", "upstream": "a", "limits": [shared]}])
    assert [g.call("GET", p).status for p in ("/dear", "/dear", "/dear", "/x", "/x", "/x")] == [200, 200, 429, 200, 200, 429]


def test_counts_survive_a_reload_that_does_not_change_them(start, upstream):
    g = start({"a": up(upstream)}, limited({"name": "n", "rate": 3, **HOUR}))
    assert [g.call("GET", "/x").status for _ in range(4)] == [200] * 3 + [429]
    routes = {"version": 1, "upstreams": {"a": up(upstream)}, "routes": limited({"name": "n", "rate": 3, **HOUR})}
    routes["routes"].append({"id": "new", "path": "/new", "upstream": "a"})
    g.write(routes)
    wait_for(lambda: g.call("GET", "/new").status == 200, 10, "the reload")
    assert g.call("GET", "/x").status == 429


@service_only
def test_plans_by_consumer_claim_header_and_default(start, upstream, issuer):
    plans = {"gold": {"policies": [{"name": "gold", "rate": 5, **HOUR, "key": ["consumer"]}]},
             "silver": {"policies": [{"name": "silver", "rate": 3, **HOUR, "key": ["consumer"]}]},
             "free": {"policies": [{"name": "free", "rate": 1, **HOUR, "key": ["consumer"]}]}}
    g = start({"a": up(upstream)}, [{"id": "api", "prefix": "/", "upstream": "a", "auth": "jwt", "limits": {
        "policies": [{"name": "all", "rate": 100, **HOUR}],
        "plan": {"consumers": {"ada": "gold"}, "claim": "plan", "header": "X-Plan", "default": "free"}}}],
        env={**issuer.env, "NEXUS_TRUSTED_PROXIES": "127.0.0.2"}, plans=plans)
    policy = lambda token, **headers: g.call("GET", "/x", token=token, headers=headers).header("RateLimit-Policy").split(", ")[1]  # noqa: E731
    assert policy(issuer.token("ada", plan="free")) == '"gold";q=5;w=3600'
    assert policy(issuer.token("bob", plan="silver")) == '"silver";q=3;w=3600'
    assert policy(issuer.token("cyd", plan="no-such-plan")) == '"free";q=1;w=3600'
    assert policy(issuer.token("dan"), **{"X-Plan": "gold"}) == '"free";q=1;w=3600', "of a stranger the header says nothing"
    said = g.admin("GET", "/admin/v1/explain?method=GET&target=/x").json["chain"][-1]
    assert said["filter"] == "limits" and said["plans"]["gold"]["policies"][0]["rate"] == 5 and said["default_plan"] == "free"
    assert said["policies"][0] == {"name": "all", "rate": 100, "period_s": 3600, "burst": 100, "key": [["ip"]], "enforce": True}


@service_only
def test_a_header_of_a_trusted_peer_names_the_plan(start, upstream):
    g = start({"a": up(upstream)}, limited(plan={"header": "X-Plan", "default": "free"}), env={"NEXUS_TRUSTED_PROXIES": "127.0.0.1"},
              plans={"gold": {"policies": [{"name": "gold", "rate": 5}]}, "free": {"policies": [{"name": "free", "rate": 1}]}})
    assert g.call("GET", "/x", headers={"X-Plan": "gold"}).header("RateLimit-Policy") == '"gold";q=5;w=1'
    assert g.call("GET", "/x").header("RateLimit-Policy") == '"free";q=1;w=1'


def test_consumers_and_claims_are_counted_apart(start, upstream, issuer):
    g = start({"a": up(upstream)}, [{"id": "api", "prefix": "/", "upstream": "a", "auth": "jwt", "limits": [
        {"rate": 2, **HOUR, "key": [["claim:tenant"], ["consumer", "route"]]}]}], env=issuer.env)
    calls = [("ada", "acme"), ("bob", "acme"), ("cyd", "acme"), ("cyd", None), ("cyd", None), ("cyd", None), ("dan", None)]
    statuses = [g.call("GET", "/x", token=issuer.token(who, **({"tenant": tenant} if tenant else {}))).status for who, tenant in calls]
    assert statuses == [200, 200, 429, 200, 200, 429, 200]


@service_only
def test_the_example_of_the_docs_is_valid(start, upstream):
    page = (ROOT / "docs/gateway/limits.md").read_text()
    g = start({"a": up(upstream)}, [{"id": "all", "prefix": "/", "upstream": "a"}])
    examples = re.findall(r"^```json\n(.*?)^```", page, re.S | re.M)
    assert examples
    for text in examples:
        checked = g.admin("POST", "/admin/v1/check", text)
        assert checked.status in (200, 204), checked.body


@service_only
def test_a_broken_file_names_the_place(start, upstream):
    g = start({"a": up(upstream)}, limited({"rate": 5}))
    body = {"version": 1, "upstreams": {"a": up(upstream)}, "routes": limited({"rate": 5, "key": ["hots"]})}
    refused = g.admin("POST", "/admin/v1/check", json.dumps(body))
    assert refused.status == 422 and "/routes/0/limits/policies/0/key/0" in refused.json["detail"]
    problem(refused, 422)


# --- shared by several gateways ----------------------------------------------------------------------------------------

class Store:
    """A redis-server that can be killed and brought back on its port."""

    def __init__(self, folder):
        if not shutil.which("redis-server"):
            pytest.skip("redis-server is not installed (apt-get install redis-server)")
        self.folder, self.port, self.process = folder, free_port(), None
        self.url = f"redis://127.0.0.1:{self.port}"

    def run(self):
        self.process = subprocess.Popen(["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder)],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self.answers, 10, "Redis")
        return self

    def answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as s:
                s.sendall(b"PING\r\n")
                return s.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def kill(self):
        if self.process:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture
def store(tmp_path):
    one = Store(tmp_path)
    yield one
    one.kill()


@pytest.fixture
def several(tmp_path):
    """Gateways beside each other."""
    running = []

    def make(n, routes, env):
        for i in range(n):
            folder = tmp_path / f"gateway{i}"
            folder.mkdir()
            running.append(Gateway(folder, routes, env))
        return running

    yield make
    for g in running:
        assert g.server.stop() == 0, g.server.tail()


def shared(upstream, *policies):
    return {"version": 1, "upstreams": {"a": up(upstream)}, "routes": limited(*policies)}


@service_only
def test_two_gateways_share_a_limit_exactly(several, store, quick):
    store.run()
    gateways = several(2, shared(quick, {"name": "all", "rate": 50, **HOUR, "scope": "cluster", "key": ["route"]},
                                 {"name": "each", "rate": 45, **HOUR, "scope": "cluster"},
                                 {"name": "trial", "rate": 10, **HOUR, "scope": "cluster", "enforce": False},
                                 {"name": "here", "rate": 1000, **HOUR}), {"NEXUS_REDIS_URL": store.url})
    statuses = []

    def fire(g):
        for _ in range(20):
            statuses.append(g.call("GET", "/x").status)

    threads = [threading.Thread(target=fire, args=(gateways[i % 2],)) for i in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert statuses.count(200) == 45 and statuses.count(429) == 115
    answer = gateways[0].call("GET", "/x")
    assert answer.json["violated-policies"] == ["each"] and fields(answer)[0] == "each"
    assert sum(decisions(g, "all", "trial", "would_deny") for g in gateways) >= 35
    assert sum(decisions(g, "all", "all", "allowed") for g in gateways) == 45, "the other policy was not consumed by refusals"
    assert quick.count == 45


# Attack row 42.
@service_only
def test_a_store_that_dies_under_load_and_comes_back(several, store, quick):
    gateways = several(2, shared(quick, {"name": "all", "rate": 40, **HOUR, "scope": "cluster"}),
                       {"NEXUS_REDIS_URL": store.url, "NEXUS_GATEWAY_NODES": "2"})
    # It is not there yet: each admits its half.
    for g in gateways:
        statuses = [g.call("GET", "/x").status for _ in range(30)]
        assert statuses == [200] * 20 + [429] * 10
        assert decisions(g, "all", "all", "store_error") >= 20
    store.run()
    # It is tried again after a second, and begins with nothing consumed.
    wait_for(lambda: all(g.call("GET", "/x").status == 200 for g in gateways), 15, "the store to be used")
    statuses, stop = [], threading.Event()

    def fire(g):
        while not stop.is_set():
            statuses.append(g.call("GET", "/x").status)

    threads = [threading.Thread(target=fire, args=(g,)) for g in gateways for _ in range(2)]
    [t.start() for t in threads]
    for _ in range(3):
        seen = len(statuses)
        wait_for(lambda seen=seen: len(statuses) > seen + 40, 20, "load")
        store.kill()
        seen = len(statuses)
        wait_for(lambda seen=seen: len(statuses) > seen + 40, 20, "load without the store")
        store.run()
    stop.set()
    [t.join() for t in threads]
    assert set(statuses) <= {200, 429}
    # What the store was asked and what each admits alone: never more than both.
    assert statuses.count(200) <= 4 * 40 + 2 * 20


@service_only
@pytest.mark.parametrize("policy,status", [("open", 200), ("closed", 503)])
def test_what_a_policy_says_of_a_store_that_is_away(several, store, quick, policy, status):
    g, = several(1, shared(quick, {"rate": 1, **HOUR, "scope": "cluster", "on_store_error": policy}), {"NEXUS_REDIS_URL": store.url})
    for _ in range(3):
        answer = g.call("GET", "/x")
        assert answer.status == status
        if status == 503:
            problem(answer, 503)
            assert answer.json["code"] == "limits-unavailable" and answer.header("Retry-After") == "1"
    assert quick.count == (3 if status == 200 else 0)
    store.run()
    wait_for(lambda: g.call("GET", "/x").status == 429 or g.call("GET", "/x").status == 429, 15, "the store to be used")


@service_only
def test_a_store_that_hangs_holds_up_nobody_for_long(several, store, quick):
    store.run()
    g, = several(1, shared(quick, {"rate": 1000, **HOUR, "scope": "cluster"}), {"NEXUS_REDIS_URL": store.url})
    assert g.call("GET", "/x").status == 200
    store.process.send_signal(signal.SIGSTOP)
    try:
        assert [g.call("GET", "/x").status for _ in range(50)] == [200] * 50
    finally:
        store.process.send_signal(signal.SIGCONT)
    assert decisions(g, "all", "default", "store_error") >= 40


@service_only
def test_a_shared_limit_without_a_store_is_refused(start, upstream):
    g = start({"a": up(upstream)}, limited({"rate": 5}))
    g.write({"version": 1, "upstreams": {"a": up(upstream)}, "routes": limited({"rate": 5, "scope": "cluster"})})
    wait_for(lambda: "without a limit store" in (g.admin("GET", "/admin/v1/status").json["last_error"] or ""), 10, "the refusal")
    assert g.call("GET", "/x").status == 200


# --- quotas by the calendar ----------------------------------------------------------------------------------------------

def blast(port, count, connections=8, into=None):
    """GET /x so often over kept connections; the statuses that came back, also when the gateway dies meanwhile."""
    statuses = [] if into is None else into

    def run(n):
        try:
            with socket.create_connection(("127.0.0.1", port), 10) as s, s.makefile("rb") as f:
                for _ in range(n):
                    s.sendall(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n")
                    status, length = int(f.readline().split()[1]), 0
                    while (line := f.readline().strip()):
                        if line.lower().startswith(b"content-length:"):
                            length = int(line.split(b":")[1])
                    f.read(length)
                    statuses.append(status)
        except (OSError, IndexError):
            pass

    threads = [threading.Thread(target=run, args=(count // connections,)) for _ in range(connections)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    return statuses


def monthly(upstream, quota=500, plan=None, **more):
    policy = {"name": "monthly", "quota": quota, "window": "month", "key": ["route"], **more}
    return {"version": 1, "upstreams": {"a": up(upstream)}, "plans": {"p": {"timezone": "Europe/Berlin", "policies": [policy]}},
            "routes": limited(plan={"default": "p"})}


@service_only
def test_a_monthly_quota_is_counted_for_all_loops_and_survives_a_restart(tmp_path, quick):
    g = Gateway(tmp_path, monthly(quick))
    answer = g.call("GET", "/x")
    assert answer.status == 200 and answer.header("RateLimit-Policy") == '"monthly";q=500;w=2592000'
    name, state = fields(answer)
    assert name == "monthly" and state["r"] == "499" and 0 < int(state["t"]) <= 31 * 86400
    said = g.admin("GET", "/admin/v1/explain?method=GET&target=/x").json["chain"][-1]["plans"]["p"]
    assert said["policies"][0]["window"] == "month" and said["policies"][0]["quota"] == 500
    assert g.server.stop() == 0, g.server.tail()
    g = Gateway(tmp_path, monthly(quick))
    assert fields(g.call("GET", "/x"))[1]["r"] == "498", "what was leased and not used came back at the stop"
    statuses = blast(g.port, 600)
    passed = statuses.count(200)
    assert set(statuses) == {200, 429} and 498 - 40 <= passed <= 498
    refused = g.call("GET", "/x")
    if refused.status == 429:
        assert int(refused.header("Retry-After")) > 0 and refused.json["violated-policies"] == ["monthly"]
    # A larger quota in the same month goes on from what was used.
    g.write(monthly(quick, quota=600))
    wait_for(lambda: "q=600" in g.call("GET", "/x").header("RateLimit-Policy"), 10, "the reload")
    blast(g.port, 400)
    assert 500 - 40 <= quick.count <= 600
    assert g.server.stop() == 0, g.server.tail()


@service_only
def test_killed_under_load_a_quota_is_never_exceeded(tmp_path, quick):
    quota, lease, loops = 2000, 20, os.cpu_count() or 1
    statuses = []
    for _ in range(4):
        g = Gateway(tmp_path, monthly(quick, quota=quota))
        seen = len(statuses)
        load = threading.Thread(target=blast, args=(g.port, 800), kwargs={"into": statuses})
        load.start()
        wait_for(lambda seen=seen: len(statuses) > seen + 200, 30, "load")
        g.server.kill()
        load.join()
    g = Gateway(tmp_path, monthly(quick, quota=quota))
    blast(g.port, 3200, into=statuses)
    assert set(statuses) <= {200, 429}
    assert quick.count <= quota, "a kill loses leases, it does not make any"
    assert quick.count >= quota - 5 * loops * lease - 8
    assert g.server.stop() == 0, g.server.tail()


@service_only
def test_gateways_share_a_quota_through_their_database_and_go_without_it(several, quick):
    from engines import Postgres
    with Postgres() as url:
        routes = monthly(quick, quota=300)
        routes["routes"].append({"id": "closed", "prefix": "/closed", "upstream": "a", "limits": [
            {"quota": 10, "window": "day", "on_store_error": "closed"}]})
        gateways = several(2, routes, {"NEXUS_DATABASE_URL": url, "NEXUS_GATEWAY_NODES": "2"})
        statuses = []
        threads = [threading.Thread(target=blast, args=(g.port, 240), kwargs={"into": statuses, "connections": 4}) for g in gateways]
        [t.start() for t in threads]
        [t.join() for t in threads]
        assert set(statuses) == {200, 429} and 300 - 40 <= statuses.count(200) <= 300
        assert gateways[0].call("GET", "/closed").status == 200
    # The database is gone: what is left is shared out, or refused; never an error of ours.
    statuses = [g.call("GET", "/x").status for g in gateways for _ in range(20)]
    assert set(statuses) <= {200, 429}
    closed = gateways[1].call("GET", "/closed")
    assert closed.status == 503 and closed.json["code"] == "limits-unavailable"
    problem(closed, 503)
