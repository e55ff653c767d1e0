"""Routes of the running gateway: conditions, patterns, rewrites, redirects, versions, canaries, and attacks 23-31 and 38."""
import concurrent.futures
import json
import re
from pathlib import Path

import pytest

from gateway_harness import PROXY, Upstream, start, up, upstream  # noqa: F401
from harness import problem, wait_for

pytestmark = pytest.mark.skipif(PROXY, reason="needs nexus-gateway, not the example proxy")
DOCS = Path(__file__).parents[2] / "docs" / "gateway" / "routing.md"


@pytest.fixture
def issuer():
    access = pytest.importorskip("test_gateway_access")
    one = access.Issuer()
    yield one
    one.close()


@pytest.fixture
def second():
    u = Upstream("two")
    yield u
    u.close()


def raw_get(g, target, *fields, method="GET", host="x"):
    """Status, head and body of one request whose bytes nobody tidies up."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close", *fields]
    out = g.raw("\r\n".join(lines).encode("latin1") + b"\r\n\r\n")
    head, _, body = out.partition(b"\r\n\r\n")
    status = re.match(rb"HTTP/1\.1 (\d{3})", head)
    return int(status.group(1)) if status else 0, head.decode("latin1"), body


# --- matching --------------------------------------------------------------------------------------------------------

def test_conditions_choose_the_route(start, upstream, second):
    g = start({"a": up(upstream), "b": up(second)}, [
        {"id": "plain", "path": "/x", "upstream": "a"},
        {"id": "header", "path": "/x", "upstream": "b", "match": {"headers": {"X-Env": "beta"}}},
        {"id": "both", "path": "/x", "upstream": "b", "match": {"headers": {"X-Env": "beta"}, "cookies": {"lab": {"regex": "[a-z]+[0-9]"}}},
         "request_headers": {"set": {"X-Route": "both"}}},
        {"id": "query", "path": "/x", "upstream": "b", "match": {"query": {"v": {"prefix": "2"}}}, "request_headers": {"set": {"X-Route": "query"}}},
        {"id": "far", "path": "/y", "upstream": "b", "match": {"client": ["192.0.2.0/24"]}},
        {"id": "near", "path": "/y", "upstream": "a", "match": {"client": ["127.0.0.0/8", "::1"]}, "priority": -1}])

    def who(path, **headers):
        got = g.call("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()}).json
        return got["upstream"], got["headers"].get("x-route")
    assert who("/x") == ("one", None)
    assert who("/x", X_Env="beta") == ("two", None)
    assert who("/x", X_Env="beta", Cookie="a=b; lab=ab7") == ("two", "both"), "two conditions before one"
    assert who("/x", X_Env="beta", Cookie="lab=ab") == ("two", None)
    assert who("/x?v=2.5") == ("two", "query")
    assert who("/x?v=1") == ("one", None)
    assert who("/y")[0] == "one"
    assert raw_get(g, "/x", "X-Env: beta", "X-Env: beta")[2].find(b'"one"') > 0, "twice fulfils no condition"
    why = g.admin("POST", "/admin/v1/explain", {"method": "GET", "target": "/x", "headers": {"X-Env": "beta"}}).json
    assert why["route"] == "header" and why["why"] == "exact path, 1 condition" and why["conditions"] == ["header x-env = beta"]
    why = g.admin("POST", "/admin/v1/explain", {"target": "/y", "client_ip": "192.0.2.7"}).json
    assert why["route"] == "far" and why["conditions"] == ["client in 192.0.2.0/24"]


def test_patterns_come_last_and_capture(start, upstream):
    g = start({"a": up(upstream)}, [
        {"id": "re", "regex": "/(?<kind>[a-z]+)/(?<id>[0-9]+)", "upstream": "a", "rewrite": "/by/{path.id}/{path.kind}"},
        {"id": "prefix", "prefix": "/cars", "upstream": "a"}])
    assert g.call("GET", "/bikes/7").json["path"] == "/by/7/bikes"
    assert g.call("GET", "/cars/7").json["path"] == "/cars/7", "a prefix goes before a regular expression"
    problem(g.call("GET", "/bikes/seven"), 404)
    problem(g.call("GET", "/bikes/7/8"), 404)
    for bad in (r"/(a)\1", "/(?=x)y", "/(?<!x)y", "(a{1000}){20}", "a" * 1025):
        refused = g.admin("POST", "/admin/v1/check", {"upstreams": {}, "routes": [{"regex": bad, "upstream": "a"}]})
        problem(refused, 422, "routes-refused")
        assert "/routes/0/regex" in refused.json["detail"] and re.search(r"body:\d+:\d+:", refused.json["detail"])


def test_equal_routes_are_refused_by_name(start, upstream):
    g = start({"a": up(upstream)}, [{"prefix": "/", "upstream": "a"}])
    routes = [{"id": name, "path": "/x", "upstream": "a", "match": {"headers": {"A": "1"}}} for name in ("first", "second")]
    refused = g.admin("POST", "/admin/v1/check", {"upstreams": {"a": up(upstream)}, "routes": routes})
    problem(refused, 422)
    assert "first" in refused.json["detail"] and "second" in refused.json["detail"]


def test_methods(start, upstream):
    g = start({"a": up(upstream)}, [{"path": "/x", "methods": ["GET", "POST"], "upstream": "a"},
                                    {"path": "/trace", "methods": ["TRACE"], "upstream": "a"}])
    answer = raw_get(g, "/x", method="TRACE")
    assert answer[0] == 405 and "Allow: GET, HEAD, POST, OPTIONS" in answer[1]
    assert raw_get(g, "/none", method="TRACE")[0] == 405
    assert raw_get(g, "/x", method="PUT")[0] == 405
    assert raw_get(g, "/x", method="OPTIONS")[0] == 204
    assert not upstream.seen
    assert g.call("HEAD", "/x").status == 200 and upstream.seen[-1][0] == "HEAD"
    before = len(upstream.seen)
    assert raw_get(g, "/trace", method="TRACE")[0] in (200, 501), "enabled by name: upstream answers"
    assert raw_get(g, "x:443", method="CONNECT")[0] in (400, 405)
    assert all(seen[1] == "/trace" for seen in upstream.seen[before:])


def test_slashes_are_kept_where_a_route_says_so(start, upstream):
    g = start({"a": up(upstream)}, [{"id": "store", "prefix": "/store", "merge_slashes": False, "upstream": "a"},
                                    {"id": "admin", "prefix": "/admin", "upstream": "a", "ip": {"deny": ["0.0.0.0/0", "::/0"]}},
                                    {"id": "all", "prefix": "/", "upstream": "a"}])
    assert json.loads(raw_get(g, "/store//a//b")[2])["path"] == "/store//a//b"
    assert json.loads(raw_get(g, "/other//a")[2])["path"] == "/other/a"
    before = len(upstream.seen)
    assert raw_get(g, "//admin")[0] == 403
    assert raw_get(g, "//store/a")[0] == 400, "the two forms meet two routes"
    assert raw_get(g, "/store//../../admin")[0] == 403
    assert raw_get(g, "/x/..//admin/")[0] == 403
    assert len(upstream.seen) == before


# --- attacks 23 to 31, 38 ---------------------------------------------------------------------------------------------

GUARDED = [{"id": "admin", "prefix": "/admin", "upstream": "a", "auth": "jwt"},
           {"id": "api", "prefix": "/api", "strip_prefix": "/api", "upstream": "a"},
           {"id": "loose", "regex": "/loose(.*)", "rewrite": "/{path.1}", "upstream": "a"},
           {"id": "public", "prefix": "/public", "upstream": "a"},
           {"id": "go", "path": "/go/{to...}", "encoded_slash": "pass", "merge_slashes": False, "redirect": {"status": 302, "to": "/{path.to}"}},
           {"id": "host", "host": "Case.Example", "prefix": "/", "upstream": "a", "response_headers": {"set": {"X-Host": "found"}}}]

ATTACKS = [
    ("23 dots", "/public/../admin", 401), ("23 dot", "/./admin", 401), ("23 slashes", "//admin", 401), ("23 more", "/public//..//admin/x", 401),
    ("24 encoded dots", "/public/%2e%2e/admin", 401), ("24 mixed case", "/public/%2E%2e/%61dmin", 401), ("24 half", "/public/.%2e/admin", 401),
    ("24 strip prefix", "/api%2e/admin", 404), ("24 strip prefix, plain", "/api./admin", 404), ("24 stripped", "/api/admin", 403),
    ("24 stripped, dots", "/api/x/%2e%2e/admin", 403), ("24 pattern", "/loose%2e/admin", 400), ("24 pattern, two", "/loose../admin", 400),
    ("24 pattern, whole", "/loose/admin", 403),
    ("25 slash", "/public/a%2Fb", 400), ("25 small slash", "/public%2fadmin", 400), ("25 backslash", "/public/a%5Cb", 400),
    ("25 plain backslash", "/public\\admin", 400), ("25 NUL", "/public/%00", 400), ("25 parameter", "/public;/admin", 400),
    ("25 encoded parameter", "/public%3B/admin", 400), ("25 question mark", "/public%3Fx", 400), ("25 hash", "/public%23x", 400),
    ("25 twice encoded", "/public/%252e%252e/admin", 400), ("25 plain hash", "/public#/admin", 400),
    ("26 overlong", "/public/%c0%ae%c0%ae/admin", 400), ("26 overlong slash", "/public%c0%afadmin", 400), ("26 bad escape", "/public/%zz", 400),
    ("26 cut escape", "/public/%2", 400), ("26 surrogate", "/public/%ed%a0%80", 400),
    ("30 CRLF", "/go/a%0d%0aSet-Cookie:%20x=1", 400), ("30 LF", "/go/a%0aX:%20y", 400), ("30 NUL", "/go/a%00b", 400),
    ("31 slashes", "/go//evil.example", 400), ("31 encoded slash", "/go/%2Fevil.example", 400), ("31 backslash", "/go/%5Cevil.example", 400),
    ("31 scheme", "/go/https:evil.example", 400), ("31 encoded scheme", "/go/https%3Aevil.example", 400), ("31 script", "/go/javascript:alert(1)", 400),
]


@pytest.mark.parametrize("name,target,status", ATTACKS, ids=[a[0] for a in ATTACKS])
def test_attack_on_paths(guarded, name, target, status):
    g, behind = guarded
    before = len(behind.seen)
    # what stands behind is a request of its own: it needs the token like any other
    out = g.raw(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode("latin1") + b"GET /admin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answers = [int(s) for s in re.findall(rb"HTTP/1\.1 (\d{3})", out)]
    assert answers[0] == status, out[:500]
    assert all(s == 401 for s in answers[1:]), answers
    assert b"application/problem+json" in out and b"Location:" not in out and b"Set-Cookie" not in out.split(b"\r\n\r\n")[0]
    assert len(behind.seen) == before, behind.seen[before:]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    from gateway_harness import Gateway
    access = pytest.importorskip("test_gateway_access")
    issuer, behind = access.Issuer(), Upstream()
    g = Gateway(tmp_path_factory.mktemp("guarded"), {"version": 1, "upstreams": {"a": up(behind)}, "routes": GUARDED}, issuer.env)
    g.issuer = issuer
    yield g, behind
    assert g.server.stop() == 0, g.server.tail()
    behind.close()
    issuer.close()


def test_paths_that_are_fine_pass_in_their_one_form(guarded):
    g, behind = guarded
    assert g.call("GET", "/public/../admin/x", token=g.issuer.token()).json["path"] == "/admin/x"
    assert g.call("GET", "/api/x/%7Ey").json["path"] == "/x/~y"
    assert g.call("GET", "/public/caf%c3%a9").json["path"] == "/public/caf%C3%A9"
    assert g.call("GET", "/PUBLIC/x").status == 404, "paths have case"
    for host in ("case.example", "CASE.EXAMPLE:80", "Case.Example."):
        status, head, _ = raw_get(g, "/anything", host=host)
        assert status == 200 and "X-Host: found" in head, host
    answer = g.call("GET", "/go/a/b?q=1")
    assert (answer.status, answer.header("Location")) == (302, "/a/b?q=1")


def test_attack_26_hosts_in_any_case_at_any_table_size(start, upstream):
    g = start({"a": up(upstream)}, [{"id": f"h{i}", "host": f"Host-{i}.Example.COM", "prefix": "/", "upstream": "a",
                                     "ip": {"deny": ["0.0.0.0/0", "::/0"]}} for i in range(300)] +
              [{"id": "all", "prefix": "/", "upstream": "a"}])
    for host in ("host-7.example.com", "HOST-7.EXAMPLE.COM", "hOsT-299.example.com:1234", "Host-0.example.com."):
        assert raw_get(g, "/x", host=host)[0] == 403, host
    assert not upstream.seen
    assert raw_get(g, "/x", host="host-300.example.com")[0] == 200


def test_attacks_27_to_29_what_a_client_may_not_say(start, upstream):
    g = start({"a": up(upstream)}, [
        {"id": "admin", "prefix": "/admin", "methods": ["DELETE"], "upstream": "a", "ip": {"deny": ["0.0.0.0/0", "::/0"]}},
        {"id": "here", "prefix": "/local", "upstream": "a", "match": {"client": ["203.0.113.0/24"]}, "response_headers": {"set": {"X-Route": "here"}}},
        {"id": "mine", "prefix": "/mine", "upstream": "a", "ip": {"allow": ["203.0.113.0/24"]}},
        {"id": "all", "prefix": "/", "methods": ["GET"], "upstream": "a"}], {"NEXUS_TRUSTED_PROXIES": "192.0.2.1"})
    got = g.call("GET", "/x", headers={"X-HTTP-Method-Override": "DELETE", "X-Original-URL": "/admin", "X-Rewrite-URL": "/admin",
                                       "X-Forwarded-For": "203.0.113.7", "X-Real-IP": "203.0.113.7", "Forwarded": "for=203.0.113.7",
                                       "X_Nexus_User": "root", "X-Nexus-User": "root", "x-consumer-id": "7",
                                       "Connection": "keep-alive, x-nexus-user, x-request-id"}).json
    assert got["method"] == "GET" and got["path"] == "/x"
    names = {name.replace("_", "-") for name in got["headers"]}
    assert not names & {"x-http-method-override", "x-original-url", "x-rewrite-url", "x-real-ip", "forwarded", "x-nexus-user", "x-consumer-id"}
    assert "x-request-id" in names, "Connection cannot take what is ours"
    told = {"X-Forwarded-For": "203.0.113.7", "X-Real-IP": "203.0.113.7", "Forwarded": "for=203.0.113.7"}
    assert g.call("GET", "/local", headers=told).header("X-Route") is None, "the socket's address counts"
    before = len(upstream.seen)
    assert g.call("GET", "/mine", headers=told).status == 403
    assert raw_get(g, "/admin", "X-HTTP-Method-Override: GET", method="DELETE")[0] == 403 and len(upstream.seen) == before


def test_attack_38_too_many_parameters(start, upstream):
    g = start({"a": up(upstream)}, [{"prefix": "/", "upstream": "a"}])
    assert g.call("GET", "/x?" + "&".join(f"a{i}=1" for i in range(256))).status == 200
    before = len(upstream.seen)
    problem(g.call("GET", "/x?" + "&".join(f"a{i}=1" for i in range(257))), 400, "too-many-parameters")
    problem(g.call("GET", "/x?" + "&" * 256), 400, "too-many-parameters")
    assert len(upstream.seen) == before


# --- rewrites and redirects -------------------------------------------------------------------------------------------

def test_a_rewrite_is_no_way_around_a_guard(start, upstream, second, issuer):
    jwt = {"auth": "jwt"}
    g = start({"a": up(upstream), "b": up(second)}, [
        {"id": "admin", "prefix": "/admin", "upstream": "a", **jwt},
        {"id": "same", "prefix": "/same", "strip_prefix": "/same", "upstream": "a", **jwt},
        {"id": "other", "prefix": "/other", "strip_prefix": "/other", "upstream": "b"},
        {"id": "meant", "prefix": "/meant", "strip_prefix": "/meant", "rewrite_into_guarded": True, "upstream": "a"},
        {"id": "open", "path": "/open/{rest...}", "rewrite": "/{path.rest}", "upstream": "a"}], issuer.env)
    refused = g.call("GET", "/open/admin/x")
    problem(refused, 403, "protected-path")
    assert not upstream.seen
    assert g.call("GET", "/open/x").json["path"] == "/x"
    assert g.call("GET", "/same/admin").status == 401
    assert g.call("GET", "/same/admin", token=issuer.token()).json["path"] == "/admin"
    assert g.call("GET", "/other/admin").json["upstream"] == "two", "another upstream is other ground"
    assert g.call("GET", "/meant/admin").json["path"] == "/admin"


def test_redirects(start, upstream):
    g = start({"a": up(upstream)}, [
        {"id": f"r{status}", "path": f"/r{status}/{{id}}", "redirect": {"status": status, "to": "/new/{path.id}"}} for status in (301, 302, 303, 307, 308)] + [
        {"id": "away", "path": "/away/{rest...}", "redirect": {"to": "https://example.com/x/{path.rest}"}},
        {"id": "find", "path": "/find/{what}", "redirect": {"to": "/search?q={path.what}&all"}}])
    for status in (301, 302, 303, 307, 308):
        answer = g.call("POST", f"/r{status}/a%20b?q=1", "body")
        assert (answer.status, answer.header("Location")) == (status, "/new/a%20b?q=1")
    assert g.call("GET", "/away/a/../b").header("Location") == "https://example.com/x/b"
    assert g.call("GET", "/find/a&b=c?x").header("Location") == "/search?q=a%26b%3Dc&all"
    assert g.call("GET", "/r301/x").status == 301 and not upstream.seen
    told = g.admin("GET", "/admin/v1/explain?target=/away/7").json
    assert (told["route"], told["status"], told["redirect"]) == ("away", 308, "https://example.com/x/7")
    assert "upstream" not in told


# --- versions ---------------------------------------------------------------------------------------------------------

VERSIONS = {"default": "2", "vendor": "shop", "at": "/api", "supported": {
    "1": {"upstream": "old", "add_prefix": "/legacy", "deprecation": {
        "since": "2026-01-01T00:00:00Z", "sunset": "2099-01-01T00:00:00Z", "link": "https://docs.example/v1", "successor": "/api/v2/orders"}},
    "2": {}, "0": {"deprecation": {"since": "2020-01-01T00:00:00Z", "sunset": "2021-01-01T00:00:00Z", "successor": "/api/v2/orders"}}}}


def test_versions_from_four_places_in_order(start, upstream, second):
    g = start({"new": up(upstream), "old": up(second)}, [{"id": "orders", "prefix": "/api/orders", "upstream": "new", "versions": VERSIONS},
                                                         {"id": "all", "prefix": "/", "upstream": "new"}])
    old, new = ("two", "/legacy/api/orders/7", "1"), ("one", "/api/orders/7", "2")
    media = {"Accept": "application/vnd.shop.v1+json"}
    for path, headers, expected in (
            ("/api/orders/7", {}, new), ("/api/v1/orders/7", {}, old), ("/api/v2/orders/7", {"API-Version": "1"}, new),
            ("/api/orders/7", {"API-Version": "1", "Accept": "application/vnd.shop.v2+json"}, old), ("/api/orders/7", media, old),
            ("/api/orders/7?api-version=2", media, old)):
        answer = g.call("GET", path, headers=headers)
        got = answer.json
        assert (got["upstream"], got["path"].split("?")[0], got["headers"]["api-version"]) == expected, (path, headers)
        assert answer.header("Vary") == "API-Version, Accept"
    assert g.call("GET", "/api/orders/7?api-version=1").json["upstream"] == "two"
    before = len(upstream.seen) + len(second.seen)
    for path, headers in (("/api/v9/orders/7", {}), ("/api/orders/7", {"API-Version": "9"}), ("/api/orders/7?api-version=nine", {}),
                          ("/api/orders/7", {"Accept": "application/vnd.shop.v9+json"})):
        refused = g.call("GET", path, headers=headers)
        problem(refused, 400, "unsupported-version")
        assert refused.json["supported"] == ["1", "2", "0"] and refused.header("Vary") == "API-Version, Accept"
    assert len(upstream.seen) + len(second.seen) == before
    assert g.call("GET", "/api/vx/orders").json["path"] == "/api/vx/orders", "no version: another route's"
    told = g.admin("GET", "/admin/v1/explain?target=/api/v1/orders/7").json
    assert told["version"] == {"name": "1", "from": "path", "supported": ["1", "2", "0"]}
    assert told["upstream_path"] == "/legacy/api/orders/7" and told["upstream"]["name"] == "old" and told["deprecation"]["state"] == "deprecated"


def test_deprecation_sunset_and_who_still_calls(start, upstream, second, issuer):
    g = start({"new": up(upstream), "old": up(second)}, [
        {"id": "orders", "prefix": "/api/orders", "upstream": "new", "auth": "jwt OR anonymous", "versions": VERSIONS},
        {"id": "page", "path": "/page", "upstream": "new", "deprecation": {"since": "2026-01-01T00:00:00Z"}}], issuer.env)
    answer = g.call("GET", "/api/v1/orders", token=issuer.token("ada"))
    assert answer.status == 200 and answer.header("Deprecation") == "@1767225600"
    assert answer.header("Sunset") == "Thu, 01 Jan 2099 00:00:00 GMT"
    assert answer.header("Link") == '<https://docs.example/v1>; rel="deprecation", </api/v2/orders>; rel="successor-version"'
    assert g.call("GET", "/api/v2/orders").header("Deprecation") is None
    assert g.call("GET", "/page").header("Deprecation") == "@1767225600"
    before = len(upstream.seen)
    gone = g.call("GET", "/api/v0/orders", token=issuer.token("bob"))
    problem(gone, 410, "version-gone")
    assert gone.header("Link") == '</api/v2/orders>; rel="successor-version"' and len(upstream.seen) == before
    for _ in range(2):
        g.call("GET", "/api/orders", headers={"API-Version": "1"}, token=issuer.token("ada"))
    g.call("GET", "/api/v1/orders")
    report = g.admin("GET", "/admin/v1/versions").json
    rows = {(d["route"], d["version"]): d for d in report["deprecated"]}
    counts = {key: {c["consumer"]: c["requests"] for c in d["consumers"]} for key, d in rows.items()}
    assert counts == {("orders", "1"): {"ada": 3, "anonymous": 1}, ("orders", "0"): {"bob": 1}, ("page", None): {"anonymous": 1}}
    assert rows["orders", "0"]["state"] == "gone" and rows["orders", "1"]["successor"] == "/api/v2/orders" and report["uncounted"] == 0


# --- canaries ---------------------------------------------------------------------------------------------------------

def arms(g):
    return {a["name"]: a for a in g.admin("GET", "/admin/v1/status").json["canaries"][0]["arms"]}


def canary(share, **more):
    return {"id": "shop", "prefix": "/", "canary": {"arms": [{"name": "stable", "upstream": "a", "weight_bp": 10000 - share},
                                                             {"name": "next", "upstream": "b", "weight_bp": share}], **more}}


def test_a_canary_splits_exactly_and_sticks(start, upstream, second):
    g = start({"a": up(upstream), "b": up(second)}, [canary(2500)], {"NEXUS_LOOPS": "1"})
    for _ in range(40):
        g.call("GET", "/x")
    loops = 4
    assert abs(len(second.seen) - 10) <= loops and len(upstream.seen) + len(second.seen) == 40
    g.write({"version": 1, "upstreams": {"a": up(upstream), "b": up(second)}, "routes": [canary(5000, sticky={"cookie": "uid"})]})
    wait_for(lambda: g.admin("GET", "/admin/v1/explain?target=/x").json["chain"][0]["sticky"] == "cookie", 10, "the new routes")
    where = {}
    for uid in range(20):
        said = {g.call("GET", "/x", headers={"Cookie": f"uid=u{uid}"}).json["upstream"] for _ in range(3)}
        assert len(said) == 1, "one consumer, one arm"
        where[uid] = said.pop()
        told = g.admin("POST", "/admin/v1/explain", {"target": "/x", "headers": {"Cookie": f"uid=u{uid}"}}).json
        assert told["arm"] == {"one": "stable", "two": "next"}[where[uid]]
    assert set(where.values()) == {"one", "two"}


def test_a_bad_arm_is_aborted_and_stays_so_over_reloads(start, upstream, second):
    routes = [canary(5000)]
    g = start({"a": up(upstream), "b": up(second)}, routes)
    wrong = {"version": 1, "upstreams": {"a": up(upstream), "b": up(second)}, "routes": [canary(9000, control="nobody")]}
    problem(g.admin("POST", "/admin/v1/check", wrong), 422)

    def broken(self):
        second.seen.append((self.command, self.path, dict(self.headers.items())))
        self.reply(b"broken", 500)
    for name in ("GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"):
        setattr(second.server.RequestHandlerClass, f"do_{name}", broken)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        while arms(g)["next"]["state"] != "aborted":
            list(pool.map(lambda _: g.call("GET", "/x"), range(40)))
            assert arms(g)["next"]["requests"] < 1000, "aborted long before"
    assert arms(g)["next"]["requests"] >= 200
    before = len(second.seen)
    assert all(g.call("GET", "/x").status == 200 for _ in range(20)) and len(second.seen) == before
    wait_for(lambda: "canary aborted: route shop, arm next" in g.server.log.read_text(), 10, "the line in the log")
    version = g.admin("GET", "/admin/v1/status").json["version"]
    g.write({"version": 1, "upstreams": {"a": up(upstream), "b": up(second)}, "routes": routes + [{"id": "more", "path": "/more", "upstream": "a"}]})
    wait_for(lambda: g.admin("GET", "/admin/v1/status").json["version"] > version, 10, "the reload")
    assert arms(g)["next"]["state"] == "aborted" and all(g.call("GET", "/x").status == 200 for _ in range(10))
    text = g.call("GET", "/metrics").body.decode()
    assert re.search(r'nexus_gateway_canary_aborts_total\{route="shop",arm="next"\} 1\b', text)
    g.write({"version": 1, "upstreams": {"a": up(upstream), "b": up(second)}, "routes": [canary(4000)]})
    wait_for(lambda: arms(g)["next"]["weight_bp"] == 4000, 10, "the changed canary")
    assert arms(g)["next"]["state"] == "running", "a changed canary begins anew"


def test_blue_green_is_all_or_nothing(start, upstream, second):
    g = start({"a": up(upstream), "b": up(second)}, [canary(10000)])
    assert {g.call("GET", "/x").json["upstream"] for _ in range(10)} == {"two"} and not upstream.seen


# --- the documentation's file -----------------------------------------------------------------------------------------

def test_the_file_in_the_docs_loads(start, upstream):
    g = start({"a": up(upstream)}, [{"prefix": "/", "upstream": "a"}])
    blocks = re.findall(r"```json\n(\{.*?\n\})\n```", DOCS.read_text(), re.S)
    assert blocks, "the page has a whole routes file"
    for block in blocks:
        answer = g.admin("POST", "/admin/v1/check", block)
        assert answer.status == 204, answer.body
