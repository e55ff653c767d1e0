"""Upstreams that are slow, full, failing and killed: who gets the next request, what clients see, what upstream is spared."""
import http.client
import json
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from gateway_harness import EVERYTHING, service_only, start  # noqa: F401
from harness import SLOW, free_port, problem, request, wait_for


class Process:
    """upstream_process.py under a name."""

    def __init__(self, name):
        self.name, self.port, self.process = name, free_port(), None
        self.start()

    def start(self):
        self.process = subprocess.Popen([sys.executable, str(Path(__file__).with_name("upstream_process.py")), str(self.port), self.name],
                                        stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"ready\n"
        return self

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def tell(self, **how):
        assert request("POST", f"{self.url}/_control", how).status == 204

    def stats(self):
        """Counted since the last time."""
        return request("GET", f"{self.url}/_stats").json

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def processes():
    running = []

    def make(*names):
        running.extend(Process(name) for name in names)
        return running[-len(names):]

    yield make
    for p in running:
        if p.process.poll() is None:
            p.kill()


def upstream(*processes, **more):
    return {"targets": [p.url if isinstance(p, Process) else p for p in processes], **more}


QUIET = {"ejection": False, "breaker": False}
pytestmark = service_only


def change(g, upstreams, routes=EVERYTHING):
    g.write({"version": 1, "upstreams": upstreams, "routes": routes})
    assert g.admin("POST", "/admin/v1/reload").status in (200, 204)



def together(n, work):
    """Runs work(i) in n threads at once and returns the results; what one raises fails the test."""
    results, gate = [None] * n, threading.Barrier(n)

    def one(i):
        gate.wait()
        try:
            results[i] = work(i)
        except Exception as failure:  # noqa: BLE001
            results[i] = failure

    threads = [threading.Thread(target=one, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for r in results:
        if isinstance(r, Exception):
            raise r
    return results


def hang_up(s):
    """Not half a close, after which an answer would still be welcome: a reset."""
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


class Load:
    """Threads that send one request after the other on kept connections until stopped; statuses are counted by method."""

    def __init__(self, gateway, methods):
        self.gateway, self.stopping = gateway, threading.Event()
        self.counts, self.upstreams, self.lock = Counter(), Counter(), threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(m,)) for m in methods]
        for t in self.threads:
            t.start()

    def run(self, method):
        connection = None
        while not self.stopping.is_set():
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self.gateway.port, timeout=30 * SLOW)
                connection.request(method, "/x", body=b"{}" if method == "POST" else None)
                reply = connection.getresponse()
                reply.read()
                outcome, who = reply.status, reply.headers.get("X-Upstream")
            except (OSError, http.client.HTTPException):
                outcome, who, connection = "broken", None, None
            with self.lock:
                self.counts[method, outcome] += 1
                self.upstreams[who] += 1

    def done(self):
        with self.lock:
            return sum(self.counts.values())

    def more(self, n):
        """Waits until n more requests have ended."""
        target = self.done() + n
        wait_for(lambda: self.done() >= target, 30, f"{n} more requests")

    def from_(self, name):
        with self.lock:
            return self.upstreams[name]

    def stop(self):
        self.stopping.set()
        for t in self.threads:
            t.join()
        return self.counts


def state_of(g, upstream_name="a"):
    for u in g.admin("GET", "/admin/v1/status").json["upstreams"]:
        if u["name"] == upstream_name:
            return u
    raise AssertionError(f"no upstream {upstream_name}")


def targets_of(g):
    return {t["url"]: t for t in state_of(g)["targets"]}


def metric(g, name, **labels):
    text = g.call("GET", "/metrics").body.decode()
    for line in text.splitlines():
        if line.startswith(name + "{") and all(f'{k}="{v}"' in line for k, v in labels.items()):
            return float(line.rsplit(" ", 1)[1])
    return 0.0


# --- killed and revived -----------------------------------------------------------------------------------------------


def test_killed_and_revived_under_load_costs_only_what_was_in_flight(start, processes):
    one, two = processes("one", "two")
    g = start({"a": upstream(one, two, ejection={"base_ms": 200, "max_ms": 400, "sweep_ms": 50}, breaker={"open_ms": 200})}, EVERYTHING)
    posts, kills = 4, 3
    load = Load(g, ["GET"] * 6 + ["PUT"] * 2 + ["POST"] * posts)
    try:
        for _ in range(kills):
            load.more(300)
            two.kill()
            load.more(300)
            two.start()
            seen = load.from_("two")
            wait_for(lambda: load.from_("two") > seen + 50, 30, "the revived one gets requests")
    finally:
        counts = load.stop()
    failed = {k: n for k, n in counts.items() if k[1] != 200}
    assert set(failed) <= {("POST", 502)}, failed
    # in flight when it was killed, or sent after it on an idle connection whose end the loop had not come to yet
    assert sum(failed.values()) <= 2 * posts * kills, failed


def test_a_refused_connection_goes_to_another_target_at_once(start, processes):
    (one,) = processes("one")
    g = start({"a": upstream(one, f"http://127.0.0.1:{free_port()}", balance="wrr", **QUIET)}, EVERYTHING)
    for reply in together(30, lambda i: g.call("POST", "/x", b"body")):
        assert reply.status == 200, reply  # nothing was sent to the dead one: any method, and no budget is needed
    assert one.stats()["methods"] == {"POST": 30}


# --- breaker ----------------------------------------------------------------------------------------------------------


def test_breaker_opens_spares_the_upstream_and_closes(start, processes):
    (one,) = processes("one")
    g = start({"a": upstream(one, breaker={"open_ms": 400}, ejection=False, retries=0)}, EVERYTHING)
    one.tell(status=404)
    for _ in range(40):
        assert g.call("GET", "/x").status == 404
    assert targets_of(g)[one.url]["circuit"] == "closed", "a client's fault is none of the upstream's"
    one.tell(status=500)
    for _ in range(200):
        if (reply := g.call("GET", "/x")).status == 503:
            break
    problem(reply, 503, "circuit-open")
    assert int(reply.header("Retry-After")) >= 1
    before = one.stats()["requests"]
    assert 20 <= before - 40 <= 80, before
    assert metric(g, "nexus_gateway_breaker_opened_total", upstream="a", target=one.url) >= 1
    one.tell(status=200)
    wait_for(lambda: g.call("GET", "/x").status == 200, 20, "a probe passes")
    wait_for(lambda: g.call("GET", "/x").status == 200 and targets_of(g)[one.url]["circuit"] == "closed", 20, "it closes")
    assert metric(g, "nexus_gateway_breaker_state", upstream="a", target=one.url) == 0


def test_clients_that_go_away_open_no_circuit(start, processes):
    (one,) = processes("one")
    g = start({"a": upstream(one, ejection=False)}, EVERYTHING)
    one.tell(mode="hang")
    for _ in range(30):
        s = socket.create_connection(("127.0.0.1", g.port))
        s.sendall(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n")
        wait_for(lambda: one.stats()["requests"], what="it is under way")
        hang_up(s)
    wait_for(lambda: state_of(g)["active"] == 0, what="all have gone")
    target = targets_of(g)[one.url]
    assert target["circuit"] == "closed" and target["failures"] == 0, target
    assert target["active"] == 0


def test_breaker_of_a_route_leaves_its_neighbours_alone(start, processes):
    good, bad = processes("good", "bad")
    rule = {"open_ms": 60000, "open_max_ms": 60000}
    g = start({"a": upstream(good, bad, balance="wrr", retries=0, **QUIET)},
              [{"id": "guarded", "prefix": "/guarded", "upstream": "a", "breaker": rule},
               {"id": "rest", "prefix": "/", "upstream": "a"}])
    good.tell(status=503)
    bad.tell(status=503)
    wait_for(lambda: g.call("GET", "/guarded").json.get("code") == "circuit-open", what="the route's circuit opens")
    good.tell(status=200)
    assert g.call("GET", "/rest").status in (200, 503) and {g.call("GET", "/rest").status for _ in range(4)} == {200, 503}
    reply = g.call("GET", "/guarded")
    problem(reply, 503, "circuit-open")
    assert 1 <= int(reply.header("Retry-After")) <= 60
    change(g, {"a": upstream(good)}, [{"id": "guarded", "prefix": "/guarded", "upstream": "a", "breaker": rule},
                                      {"id": "rest", "prefix": "/", "upstream": "a"}])
    assert g.call("GET", "/rest").status == 200
    assert g.call("GET", "/guarded").status == 503, "a reload does not close it"


# --- ejection ---------------------------------------------------------------------------------------------------------


def test_failing_target_is_ejected_and_comes_back(start, processes):
    good, bad = processes("good", "bad")
    g = start({"a": upstream(good, bad, balance="wrr", retries=0, breaker=False, ejection={"base_ms": 700, "sweep_ms": 50})}, EVERYTHING)
    bad.tell(status=500)
    statuses = [g.call("GET", "/x").status for _ in range(40)]
    assert statuses.count(500) == 5, statuses
    assert targets_of(g)[bad.url]["state"] == "ejected" and targets_of(g)[good.url]["state"] == "up"
    assert metric(g, "nexus_gateway_ejections_total", upstream="a", target=bad.url) == 1
    bad.tell(status=200)
    bad.stats()
    wait_for(lambda: g.call("GET", "/x").status == 200 and bad.stats()["requests"] > 0, 20, "it is tried again")
    assert targets_of(g)[bad.url]["state"] == "up"


def test_target_that_fails_more_often_than_the_others_is_ejected(start, processes):
    all_ = processes("one", "two", "three", "four", "five", "bad")
    g = start({"a": upstream(*all_, balance="wrr", retries=0, breaker=False, ejection={
        "failures": 1000, "base_ms": 60000, "sweep_ms": 200, "success_rate": {"requests_min": 20}})}, EVERYTHING)
    all_[-1].tell(status=500, percent=50)
    load = Load(g, ["GET"] * 8)
    try:
        wait_for(lambda: targets_of(g)[all_[-1].url]["state"] == "ejected", 30, "the bad one is ejected")
    finally:
        load.stop()
    assert [t["state"] for t in targets_of(g).values()].count("ejected") == 1


# --- bulkheads --------------------------------------------------------------------------------------------------------


def test_requests_wait_for_a_connection_and_no_more_than_allowed_are_open(start, processes):
    (one,) = processes("one")
    one.tell(delay_ms=20)
    g = start({"a": upstream(one, max_connections=3, **QUIET)}, EVERYTHING)
    assert {r.status for r in together(60, lambda i: g.call("GET", "/x"))} == {200}
    assert one.stats()["most"] == 3, "over all loops"
    assert state_of(g)["waiting"] == 0
    assert targets_of(g)[one.url]["connections"] <= 3


def test_beyond_the_queue_503_and_at_once_well_again(start, processes):
    (one,) = processes("one")
    one.tell(delay_ms=2000)  # three rounds of it stay within every time-out
    g = start({"a": upstream(one, max_connections=2, max_pending=3, **QUIET)}, EVERYTHING)
    replies = together(20, lambda i: g.call("GET", "/x", timeout=30))
    assert Counter(r.status for r in replies) == {200: 5, 503: 15}
    busy = next(r for r in replies if r.status == 503)
    problem(busy, 503, "upstream-busy")
    assert int(busy.header("Retry-After")) >= 1
    assert metric(g, "nexus_gateway_busy_total", upstream="a") == 15
    assert metric(g, "nexus_gateway_waiting_requests", upstream="a") == 0
    one.tell(delay_ms=0)
    assert {g.call("GET", "/x").status for _ in range(20)} == {200}


def test_at_most_so_many_requests(start, processes):
    (one,) = processes("one")
    one.tell(delay_ms=1000 * SLOW)
    g = start({"a": upstream(one, max_requests=4, **QUIET)}, EVERYTHING)
    replies = together(12, lambda i: g.call("GET", "/x", timeout=30))
    assert Counter(r.status for r in replies) == {200: 4, 503: 8}
    problem(next(r for r in replies if r.status == 503), 503, "upstream-busy")
    one.tell(delay_ms=0)
    assert g.call("GET", "/x").status == 200


def test_who_waits_and_goes_leaves_no_trace(start, processes):
    (one,) = processes("one")
    one.tell(mode="hang")
    g = start({"a": upstream(one, max_connections=1, timeouts_ms={"first_byte": 60000, "per_try": 60000, "total": 60000}, **QUIET)}, EVERYTHING)
    clients = [socket.create_connection(("127.0.0.1", g.port)) for _ in range(8)]
    for c in clients:
        c.sendall(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n")
    wait_for(lambda: state_of(g)["waiting"] == 7, what="seven wait")
    for c in clients[3:]:
        hang_up(c)
    wait_for(lambda: state_of(g)["waiting"] <= 2, what="those that went wait no more")
    one.tell(mode="answer")
    for c in clients[:3]:
        hang_up(c)
    wait_for(lambda: state_of(g)["active"] == 0 and state_of(g)["waiting"] == 0, what="nobody is left")
    assert g.call("GET", "/x").status == 200


# --- retries ----------------------------------------------------------------------------------------------------------


def test_statuses_are_retried_for_those_that_may(start, processes):
    good, bad = processes("good", "bad")
    bad.tell(status=503)
    g = start({"a": upstream(good, bad, balance="wrr", **QUIET)}, EVERYTHING)
    assert {g.call("GET", "/x").status for _ in range(10)} == {200}
    assert {g.call("PUT", "/x", b"body").status for _ in range(10)} == {200}
    assert {g.call("POST", "/x", b"body", headers={"Idempotency-Key": "k"}).status for _ in range(10)} == {200}
    assert {g.call("POST", "/x", b"body").status for _ in range(10)} == {200, 503}, "a POST by itself is sent once"
    bad.tell(status=500)
    assert {g.call("GET", "/x").status for _ in range(10)} == {200, 500}, "500 is an answer"
    assert metric(g, "nexus_gateway_retries_total", upstream="a") > 0


def test_retry_after_is_honoured_or_handed_on(start, processes):
    (one,) = processes("one")
    one.tell(status=503, headers={"Retry-After": "1"})
    g = start({"a": upstream(one, **QUIET)}, EVERYTHING)
    began = time.monotonic()
    assert g.call("GET", "/x").status == 503
    assert time.monotonic() - began >= 0.95
    assert one.stats()["requests"] == 2
    one.tell(headers={"Retry-After": "3600"})
    reply = g.call("GET", "/x")
    assert reply.status == 503 and reply.header("Retry-After") == "3600"
    assert one.stats()["requests"] == 1, "no time for that"


def test_nothing_is_retried_after_the_first_byte(start, processes):
    one, two = processes("one", "two")
    g = start({"a": upstream(one, two, balance="wrr", **QUIET)}, EVERYTHING)
    for mode in ("half-head", "stall"):
        one.tell(mode=mode)
        two.tell(mode=mode)
        one.stats(), two.stats()
        if mode == "half-head":
            problem(g.call("GET", "/x"), 502)
        else:
            with socket.create_connection(("127.0.0.1", g.port)) as s:
                s.sendall(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n")
                assert s.recv(4096).startswith(b"HTTP/1.1 200")
        assert one.stats()["requests"] + two.stats()["requests"] == 1, mode


@pytest.mark.parametrize("how", [{"status": 503}, {"mode": "close"}])
def test_retries_add_at_most_a_fifth(start, processes, how):
    (one,) = processes("one")
    one.tell(delay_ms=30, **how)
    g = start({"a": upstream(one, **QUIET)}, EVERYTHING)
    load = Load(g, ["GET"] * 60)
    load.more(2000)
    counts = load.stop()
    sent, hits = sum(counts.values()), one.stats()["requests"]
    assert hits <= sent * 1.2 + 3, (hits, sent)
    assert hits > sent, "there are retries"
    assert metric(g, "nexus_gateway_retries_refused_total", upstream="a") > 0


def test_dead_upstream_opens_the_circuit(start):
    url = f"http://127.0.0.1:{free_port()}"
    g = start({"a": upstream(url, breaker={"open_ms": 60000, "open_max_ms": 60000})}, EVERYTHING)
    replies = together(60, lambda i: [g.call("GET", "/x") for _ in range(5)])
    codes = Counter(r.json["code"] for mine in replies for r in mine)
    assert set(codes) == {"upstream-unreachable", "circuit-open"} and codes["circuit-open"] > 200, codes
    assert metric(g, "nexus_gateway_breaker_opened_total", upstream="a", target=url) == 1


# --- time-outs --------------------------------------------------------------------------------------------------------


@pytest.fixture
def silent():
    """A port on which connecting takes for ever: its queue is full."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    fillers = []
    for _ in range(8):
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex(listener.getsockname())
        fillers.append(s)
    yield listener.getsockname()[1]
    for s in [listener, *fillers]:
        s.close()


def test_connecting_takes_too_long(start, silent):
    g = start({"a": upstream(f"http://127.0.0.1:{silent}", retries=0, timeouts_ms={"connect": 150}, **QUIET)}, EVERYTHING)
    began = time.monotonic()
    problem(g.call("GET", "/x"), 504, "upstream-timeout")
    assert time.monotonic() - began >= 0.14


@pytest.mark.parametrize("limits,tries", [({"first_byte": 150}, 2), ({"first_byte": 60000, "per_try": 150}, 2),
                                          ({"first_byte": 60000, "per_try": 60000, "total": 300}, 1)])
def test_an_answer_takes_too_long(start, processes, limits, tries):
    (one,) = processes("one")
    one.tell(mode="hang")
    g = start({"a": upstream(one, timeouts_ms=limits, **QUIET)}, EVERYTHING)
    began = time.monotonic()
    problem(g.call("GET", "/x"), 504, "upstream-timeout")
    assert time.monotonic() - began >= 0.28
    assert one.stats()["requests"] == tries
    problem(g.call("POST", "/x", b"body"), 504, "upstream-timeout")
    assert one.stats()["requests"] == 1, "it may have done it"


def test_total_includes_retries(start, processes):
    (one,) = processes("one")
    one.tell(mode="hang")
    g = start({"a": upstream(one, retries=10, timeouts_ms={"per_try": 200, "total": 900}, **QUIET)}, EVERYTHING)
    problem(g.call("GET", "/x"), 504, "upstream-timeout")
    assert 2 <= one.stats()["requests"] <= 5


def test_a_stream_that_stalls_is_broken_off(start, processes):
    (one,) = processes("one")
    one.tell(mode="stall")
    g = start({"a": upstream(one, timeouts_ms={"idle": 200}, **QUIET)}, EVERYTHING)
    with socket.create_connection(("127.0.0.1", g.port), timeout=20 * SLOW) as s:
        s.sendall(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n")
        data = b""
        try:
            while piece := s.recv(4096):
                data += piece
        except ConnectionResetError:
            pass
    assert data.startswith(b"HTTP/1.1 200") and not data.endswith(b"}")


# --- active checks ----------------------------------------------------------------------------------------------------

EAGER = {"interval_ms": 40, "down_interval_ms": 40, "timeout_ms": 2000, "fails": 2, "passes": 2}


def test_tcp_checks(start, processes):
    one, two = processes("one", "two")
    g = start({"a": upstream(one, two, health={"type": "tcp", **EAGER}, **QUIET)}, EVERYTHING)
    two.kill()
    wait_for(lambda: targets_of(g)[two.url]["state"] == "down", what="it is down")
    assert {g.call("POST", "/x", b"x").header("X-Upstream") for _ in range(10)} == {"one"}
    two.start()
    wait_for(lambda: targets_of(g)[two.url]["state"] == "up", what="it is up")


def test_http_checks_expect_what_they_are_told(start, processes):
    one, two = processes("one", "two")
    g = start({"a": upstream(one, two, health={"expect": [200, 499], **EAGER}, **QUIET)}, EVERYTHING)
    one.tell(status=404)
    two.tell(status=500)
    wait_for(lambda: targets_of(g)[two.url]["state"] == "down", what="500 is not expected")
    assert targets_of(g)[one.url]["state"] == "up"
    one.tell(status=500)
    wait_for(lambda: targets_of(g)[one.url]["state"] == "down", what="both are down")
    one.tell(status=200)
    two.tell(status=200)
    assert g.call("GET", "/x").status == 200, "with nobody up everybody is asked"


class Grpc:
    """grpc.health.v1 over HTTP/2 without TLS, as much as a check needs: every call gets the status in force."""

    def __init__(self):
        self.status, self.asked, self.headers = 1, [], []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    @staticmethod
    def frame(kind, flags, stream, payload=b""):
        return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload

    @staticmethod
    def field(name, value):
        return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value

    def serve(self, s):
        def read(n):
            data = b""
            while len(data) < n:
                piece = s.recv(n - len(data))
                if not piece:
                    raise ConnectionError
                data += piece
            return data

        try:
            if read(24) != b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":
                return
            s.sendall(self.frame(4, 0, 0))
            while True:
                size, kind, flags = struct.unpack(">I", b"\0" + read(3))[0], *read(2)
                stream, payload = struct.unpack(">I", read(4))[0], read(size)
                if kind == 4 and not flags & 1:
                    s.sendall(self.frame(4, 1, 0))
                elif kind == 6 and not flags & 1:
                    s.sendall(self.frame(6, 1, 0, payload))
                elif kind == 0 and flags & 1:
                    self.asked.append(payload)
                    head = b"\x88" + self.field(b"content-type", b"application/grpc")
                    s.sendall(self.frame(1, 4, stream, head) +
                              self.frame(0, 0, stream, b"\0\0\0\0\2\x08" + bytes([self.status])) +
                              self.frame(1, 5, stream, self.field(b"grpc-status", b"0")))
        except (ConnectionError, OSError):
            pass
        finally:
            s.close()

    def close(self):
        self.listener.close()


@pytest.fixture
def grpc():
    server = Grpc()
    yield server
    server.close()


def test_grpc_checks(start, grpc):
    g = start({"a": upstream(f"http://127.0.0.1:{grpc.port}", health={"type": "grpc", "service": "shop", **EAGER})}, EVERYTHING)

    def state():
        return state_of(g)["targets"][0]["state"]

    wait_for(lambda: len(grpc.asked) > 3, what="it is asked")
    assert grpc.asked[0] == b"\0\0\0\0\6\x0a\4shop"
    assert state() == "up"
    grpc.status = 2
    wait_for(lambda: state() == "down", what="not serving")
    grpc.status = 1
    wait_for(lambda: state() == "up", what="serving again")


# --- balancing --------------------------------------------------------------------------------------------------------


def test_turns_by_weight_and_drained_targets(start, processes):
    one, two, three = processes("one", "two", "three")
    g = start({"a": {"targets": [{"url": one.url, "weight": 3}, two.url, {"url": three.url, "weight": 0}], "balance": "wrr"}}, EVERYTHING)
    with_connection = http.client.HTTPConnection("127.0.0.1", g.port)  # one connection: one loop, one round
    seen = []
    for _ in range(40):
        with_connection.request("GET", "/x")
        reply = with_connection.getresponse()
        reply.read()
        seen.append(reply.headers["X-Upstream"])
    assert Counter(seen) == {"one": 30, "two": 10}
    change(g, {"a": {"targets": [{"url": one.url, "weight": 0}]}})
    problem(g.call("GET", "/x"), 503, "no-healthy-upstream")


KEYS = [("ip", "ip"), ({"header": "x-key"}, "header"), ({"cookie": "sid"}, "cookie"), ({"query": "user"}, "query"), ({"param": "id"}, "param")]


@pytest.mark.parametrize("key,source", KEYS, ids=[name for _, name in KEYS])
def test_a_key_stays_with_its_target(start, processes, key, source):
    all_ = processes("one", "two", "three")
    g = start({"a": upstream(*all_, balance={"type": "maglev", "key": key, "bound_percent": 0}, ejection=False)},
              [{"id": "p", "path": "/p/{id}", "upstream": "a"}])

    def who(value):
        path = f"/p/{value if source == 'param' else 'same'}?user={value if source == 'query' else 'same'}"
        headers = {"X-Key": value} if source == "header" else {"Cookie": f"a=b; sid={value}"} if source == "cookie" else {}
        return g.call("GET", path, headers=headers).header("X-Upstream")

    first = {v: who(v) for v in map(str, range(24))}
    assert {v: who(v) for v in first} == first
    assert len(set(first.values())) == (1 if source == "ip" else 3)
    if source == "header":
        all_[1].kill()
        wait_for(lambda: all(who(v) == first[v] for v in first if first[v] != "two"), what="the others' keys stay")
        assert {who(v) for v in first if first[v] == "two"} <= {"one", "three"}


def test_a_slow_target_gets_less(start, processes):
    fast, slow = processes("fast", "slow")
    slow.tell(delay_ms=60)
    g = start({"a": upstream(fast, slow, balance="peak_ewma")}, EVERYTHING)
    load = Load(g, ["GET"] * 4)
    load.more(400)
    load.stop()
    assert load.from_("fast") > 5 * load.from_("slow"), load.upstreams
    assert targets_of(g)[slow.url]["rtt_us"] > targets_of(g)[fast.url]["rtt_us"]


def test_explain_shows_the_rules(start, processes):
    (one,) = processes("one")
    g = start({"a": upstream(one, retries={"max": 2}, timeouts_ms={"per_try": 7000})}, EVERYTHING)
    u = g.admin("GET", "/admin/v1/explain?method=GET&target=/x").json["upstream"]
    assert u["balance"] == "p2c" and u["timeouts_ms"]["per_try"] == 7000
    assert u["retries"]["max"] == 2 and u["retries"]["budget_percent"] == 20
    assert u["targets"][0]["circuit"] == "closed" and u["max_pending"] == 1024
    assert u["breaker"]["samples_min"] == 20 and u["ejection"]["max_percent"] == 50
