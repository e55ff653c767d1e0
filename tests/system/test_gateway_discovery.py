"""Where upstreams are: names with their time to live, SRV records, the registry."""
import json
import socket

import pytest

from dns_server import NameServer
from gateway_harness import EVERYTHING, Upstream, service_only, start, upstream  # noqa: F401 (fixtures)
from harness import problem, wait_for

pytestmark = service_only


@pytest.fixture
def names():
    server = NameServer()
    yield server
    server.close()


@pytest.fixture
def upstreams():
    running = []

    def make(name, host="127.0.0.1", port=0):
        u = Upstream(name, port, host)
        running.append(u)
        return u

    yield make
    for u in running:
        u.close()


def dns(server):
    return {"NEXUS_GATEWAY_DNS_SERVERS": server.address}


def who(g, path="/"):
    reply = g.call("GET", path)
    return reply.header("X-Upstream") if reply.status == 200 else reply.status


def targets(g):
    return sorted(t["url"] for t in g.admin("GET", "/admin/v1/status").json["upstreams"][0]["targets"])


def test_a_name_is_asked_for_again_when_its_time_is_over(start, names, upstreams):
    one = upstreams("one", "127.0.0.2")
    two = upstreams("two", "127.0.0.3", one.port)
    names.records[("shop.test", "A")] = (1, ["127.0.0.2"])
    g = start({"a": {"targets": [f"http://shop.test:{one.port}"]}}, EVERYTHING, dns(names))
    assert who(g) == "one"
    names.records[("shop.test", "A")] = (1, ["127.0.0.3"])
    wait_for(lambda: who(g) == "two", what="the new address")
    assert one.server and two.seen
    names.records[("shop.test", "A")] = (1, ["127.0.0.2", "127.0.0.3"])
    wait_for(lambda: {who(g) for _ in range(8)} == {"one", "two"}, what="both addresses")
    assert targets(g) == [f"http://127.0.0.2:{one.port}", f"http://127.0.0.3:{one.port}"]


@pytest.mark.parametrize("how", ["silent", "fails", "forgotten"])
def test_a_failed_look_up_never_empties_a_live_set(start, names, upstreams, how):
    one = upstreams("one", "127.0.0.2")
    names.records[("shop.test", "A")] = (1, ["127.0.0.2"])
    g = start({"a": {"targets": [f"http://shop.test:{one.port}"]}}, EVERYTHING, dns(names))
    assert who(g) == "one"
    if how == "forgotten":
        names.records.clear()
    else:
        names.mode = how
    asked = len(names.asked)
    wait_for(lambda: len(names.asked) > asked, what="another look-up")
    for _ in range(20):
        assert who(g) == "one"


def test_a_name_that_is_nobodys_refuses_the_file(start, names, upstreams):
    one = upstreams("one", "127.0.0.2")
    names.records[("shop.test", "A")] = (60, ["127.0.0.2"])
    g = start({"a": {"targets": [f"http://shop.test:{one.port}"]}}, EVERYTHING, dns(names))
    g.write({"version": 1, "upstreams": {"a": {"targets": ["http://typo.test:80"]}}, "routes": EVERYTHING})
    reply = g.admin("POST", "/admin/v1/reload")
    assert reply.status == 422 and "typo.test" in reply.json["detail"]
    assert who(g) == "one"


def test_loops_do_not_wait_for_names(start, names, upstreams):
    one = upstreams("one", "127.0.0.2")
    names.records[("shop.test", "A")] = (1, ["127.0.0.2"])
    g = start({"a": {"targets": [f"http://shop.test:{one.port}"]}}, EVERYTHING, dns(names))
    assert who(g) == "one"
    names.mode = "silent"
    asked = len(names.asked)
    wait_for(lambda: len(names.asked) >= asked + 2, what="a look-up that nobody answers")
    asked = len(names.asked)
    assert who(g) == "one"
    assert len(names.asked) == asked, "the look-up, which is asked again after two seconds, was not waited for"


def test_srv_records_name_hosts_ports_and_weights(start, names, upstreams):
    one, two, late = (upstreams(n, f"127.0.0.{i}") for i, n in enumerate(("one", "two", "late"), 2))
    names.records.update({
        ("_http._tcp.shop.test", "SRV"): (1, [(10, 3, one.port, "a.shop.test"), (10, 1, two.port, "b.shop.test"),
                                              (20, 1, late.port, "c.shop.test")]),
        ("a.shop.test", "A"): (60, ["127.0.0.2"]), ("b.shop.test", "A"): (60, ["127.0.0.3"]),
        ("c.shop.test", "A"): (60, ["127.0.0.4"])})
    g = start({"a": {"discovery": {"srv": "_http._tcp.shop.test"}, "balance": "wrr"}}, EVERYTHING, dns(names))
    seen = [who(g) for _ in range(40)]
    assert seen.count("late") == 0, "only the first priority"
    assert seen.count("one") > 2 * seen.count("two") > 0
    names.records[("_http._tcp.shop.test", "SRV")] = (1, [(5, 1, late.port, "c.shop.test")])
    wait_for(lambda: {who(g) for _ in range(4)} == {"late"}, what="the new records")
    assert targets(g) == [f"http://127.0.0.4:{late.port}"]


def test_the_other_family_is_tried_when_the_first_does_not_answer(start, names, upstreams):
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 on this machine")
    one = upstreams("one", "127.0.0.1")  # nobody listens on ::1 at this port
    names.records.update({("both.test", "A"): (60, ["127.0.0.1"]), ("both.test", "AAAA"): (60, ["::1"])})
    g = start({"a": {"targets": [f"http://both.test:{one.port}"], "retries": 0}}, EVERYTHING, dns(names))
    for _ in range(10):
        assert who(g) == "one"


# --- the registry ------------------------------------------------------------------------------------------------------

REGISTRY = {"a": {"discovery": {"registry": "orders"}}}


def put(g, u, name, **more):
    return g.admin("POST", "/admin/v1/services/orders/instances", {"id": name, "url": f"http://127.0.0.1:{u.port}", **more})


def test_instances_come_and_go(start, upstreams):
    one, two = upstreams("one"), upstreams("two")
    g = start(REGISTRY, EVERYTHING)
    problem(g.call("GET", "/"), 503, "no-healthy-upstream")
    reply = put(g, one, "i1")
    assert reply.status == 201 and reply.json == {"id": "i1", "ttl_ms": 15000}
    wait_for(lambda: who(g) == "one", what="the first instance")
    assert put(g, two, "i2").status == 201
    wait_for(lambda: {who(g) for _ in range(8)} == {"one", "two"}, what="both instances")
    listed = g.admin("GET", "/admin/v1/services/orders/instances").json
    assert [(i["id"], i["weight"]) for i in listed] == [("i1", 1), ("i2", 1)] and 0 < listed[0]["expires_in_ms"] <= 15000
    assert g.admin("DELETE", "/admin/v1/services/orders/instances/i1").status == 204
    wait_for(lambda: {who(g) for _ in range(8)} == {"two"}, what="the first one gone")
    problem(g.admin("DELETE", "/admin/v1/services/orders/instances/i1"), 404, "no-instance")


def test_who_does_not_renew_is_forgotten(start, upstreams):
    one, two = upstreams("one"), upstreams("two")
    g = start(REGISTRY, EVERYTHING)
    put(g, one, "i1", ttl_ms=400)
    put(g, two, "i2", ttl_ms=60000)
    wait_for(lambda: {who(g) for _ in range(8)} == {"one", "two"}, what="both instances")
    wait_for(lambda: {who(g) for _ in range(8)} == {"two"}, what="the first one expired")
    put(g, one, "i1", ttl_ms=60000)
    wait_for(lambda: {who(g) for _ in range(8)} == {"one", "two"}, what="its return")


def test_a_heartbeat_keeps_connections_and_health(start, upstreams):
    one = upstreams("one")
    g = start(REGISTRY, EVERYTHING)
    put(g, one, "i1")
    wait_for(lambda: who(g) == "one", what="the instance")
    for _ in range(20):
        assert g.admin("PUT", "/admin/v1/services/orders/instances/i1",
                       {"url": f"http://127.0.0.1:{one.port}"}).status == 200
        assert who(g) == "one"
    assert one.connections <= 4, "a heartbeat must not open new connections"


@pytest.mark.parametrize("body,status", [
    (b"{", 400), ({"id": "i"}, 422), ({"id": "i", "url": "ftp://x"}, 422), ({"id": "i/2", "url": "http://a:1"}, 422),
    ({"id": "i", "url": "http://a:1", "ttl_ms": 0}, 422), ({"id": "i", "url": "http://a:1", "ttl_ms": 4000000}, 422),
    ({"id": "i", "url": "http://a:1", "weight": "2"}, 422), ({"id": "i", "url": "function:f"}, 422)])
def test_what_is_no_instance_is_refused(start, body, status):
    g = start(REGISTRY, EVERYTHING)
    headers = {"Content-Type": "application/json"}
    assert g.admin("POST", "/admin/v1/services/orders/instances", body, headers=headers).status == status
    assert g.admin("GET", "/admin/v1/services/orders/instances").json == []


def test_the_registry_is_for_whom_the_token_is(start):
    g = start(REGISTRY, EVERYTHING)
    assert g.admin("POST", "/admin/v1/services/orders/instances", {"id": "i", "url": "http://a:1"}, token="no").status == 401
    assert json.loads(g.admin("GET", "/admin/v1/services/orders/instances").body) == []
