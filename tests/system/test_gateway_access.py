"""Who may pass: credentials, permissions, addresses, and what cannot be forged, against the running gateway."""
import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time

import pytest

from harness import BUILD, ROOT, SLOW, problem, wait_for
from gateway_harness import PROXY, Gateway, start, up, upstream  # noqa: F401 (fixtures)

if "asan" in BUILD.name:
    pytest.skip("tokens are signed by the Python binding, which cannot load a sanitized library", allow_module_level=True)
if PROXY:
    pytest.skip("needs nexus-gateway, not the example proxy", allow_module_level=True)
os.environ["NEXUS_LIBRARY"] = str(BUILD / "lib/libnexus.so")
sys.path.insert(0, str(ROOT / "bindings/python"))
nexus = pytest.importorskip("nexus")


class Issuer:
    """Signs tokens and publishes its key, when it is let."""

    def __init__(self):
        outer = self
        self.key = nexus.Key.generate("ES256")
        self.fetches, self.open = 0, threading.Event()
        self.open.set()

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                outer.fetches += 1
                outer.open.wait(10)
                body = json.dumps({"keys": [outer.key.jwk()]}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def env(self):
        return {"NEXUS_ISSUER": self.url, "NEXUS_JWKS_URL": self.url + "/jwks.json"}

    def token(self, sub="ada", typ="at+jwt", **claims):
        now = int(time.time())
        return self.key.sign({"iss": self.url, "aud": "nexus", "sub": sub, "iat": now, "exp": now + 600, **claims}, typ)

    def close(self):
        self.open.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def issuer():
    i = Issuer()
    yield i
    i.close()


def paths(upstream):  # noqa: F811
    return [p for _, p, _ in upstream.seen]


def challenge(answer):
    """Without where to read more: that is test_gateway_resource.py's."""
    return re.sub(r',? resource_metadata="[^"]*"', "", answer.header("WWW-Authenticate"))


SECURE = [{"prefix": "/secure", "upstream": "a", "auth": "jwt"}, {"prefix": "/", "upstream": "a"}]


def test_a_token_lets_in_and_its_owner_is_told_upstream(start, upstream, issuer):  # noqa: F811
    g = start({"a": up(upstream)}, SECURE, issuer.env)
    answer = g.call("GET", "/secure/x", token=issuer.token("ada", roles=["customer", "beta"]),
                    headers={"X-Nexus-User": "root", "x_nexus_user": "root", "X-Consumer-Id": "1",
                             "Connection": "x-nexus-user, x-nexus-roles"})
    got = answer.json["headers"]
    assert answer.status == 200 and got["x-nexus-user"] == "ada" and got["x-nexus-roles"] == "customer,beta"
    assert "x_nexus_user" not in got and "x-consumer-id" not in got
    assert issuer.fetches == 1
    missing = g.call("GET", "/secure/x")
    problem(missing, 401, "unauthorized")
    assert challenge(missing) == "Bearer"
    open_to_all = g.call("GET", "/open", headers={"X-Nexus-User": "root", "X_NEXUS_ROLES": "admin"}).json["headers"]
    assert not [name for name in open_to_all if "nexus" in name and name != "x-nexus-mirror"]


BAD = {
    "not a token": lambda i: "a.b.c",
    "expired": lambda i: i.token(exp=int(time.time()) - 100, iat=int(time.time()) - 700),
    "another issuer": lambda i: i.token(iss="https://other"),
    "issuer with a slash": lambda i: i.token(iss=i.url + "/"),
    "another audience": lambda i: i.token(aud="shop"),
    "no subject": lambda i: i.key.sign({"iss": i.url, "aud": "nexus", "iat": int(time.time()), "exp": int(time.time()) + 60}),
    "an ID token": lambda i: i.token(typ="JWT"),
    "another key": lambda i: nexus.Key.generate("ES256", i.key.kid).sign(
        {"iss": i.url, "aud": "nexus", "sub": "eve", "iat": int(time.time()), "exp": int(time.time()) + 60}),
    "cut off": lambda i: i.token()[:-8],
}


def test_bad_tokens_are_401_and_reach_nobody(start, upstream, issuer):  # noqa: F811
    g = start({"a": up(upstream)}, [{"prefix": "/secure", "upstream": "a", "auth": "jwt"},
                                    {"prefix": "/either", "upstream": "a", "auth": "jwt OR anonymous"}], issuer.env)
    for name, make in BAD.items():
        for path in ("/secure", "/either"):  # wrong credentials do not turn into nobody's
            answer = g.call("GET", path, token=make(issuer))
            problem(answer, 401, "invalid-token")
            assert challenge(answer) == 'Bearer error="invalid_token"', name
    assert not paths(upstream)


def test_anonymous_is_a_name_and_not_a_way_out(start, upstream, issuer):  # noqa: F811
    g = start({"a": up(upstream)}, [{"prefix": "/", "upstream": "a", "auth": "jwt OR anonymous"},
                                    {"prefix": "/mine", "upstream": "a", "auth": "jwt OR anonymous", "roles": ["customer"]}],
              issuer.env)
    assert g.call("GET", "/").json["headers"]["x-nexus-user"] == "anonymous"
    assert g.call("GET", "/", token=issuer.token("ada")).json["headers"]["x-nexus-user"] == "ada"
    problem(g.call("GET", "/mine"), 401)
    problem(g.call("GET", "/mine", token=issuer.token()), 403, "forbidden")
    assert g.call("GET", "/mine", token=issuer.token(roles=["customer"])).status == 200
    said = g.admin("GET", "/admin/v1/explain?method=GET&target=/mine").json["chain"]
    assert [f["filter"] for f in said] == ["auth", "roles"] and said[0]["expression"] == "jwt OR anonymous"


def test_two_tokens_are_400_and_one_in_the_url_401(start, upstream, issuer):  # noqa: F811
    g = start({"a": up(upstream)}, SECURE, issuer.env)
    token = issuer.token()
    for path, headers in [("/secure?access_token=" + token, {"Authorization": "Bearer " + token}),
                          ("/secure", {"Authorization": "Bearer " + token, "Cookie": "a=b; access_token=" + token}),
                          ("/secure?a=1&access_token=" + token, {"Cookie": "access_token=" + token})]:
        answer = g.call("GET", path, headers=headers)
        problem(answer, 400, "invalid-request")
        assert challenge(answer) == 'Bearer error="invalid_request"'
    out = g.raw(f"GET /secure HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    assert out.startswith(b"HTTP/1.1 400 ")
    problem(g.call("GET", "/secure?x=1&access_token=" + token), 401, "token-in-url")
    problem(g.call("GET", "/secure", headers={"Cookie": "access_token=" + token}), 401, "unauthorized")
    problem(g.call("GET", "/secure", headers={"Authorization": "Basic YTpi"}), 401, "unauthorized")
    assert not paths(upstream)
    assert g.call("GET", "/secure?access_tokens=1", token=token).status == 200


def test_requests_wait_for_the_keys_to_come(start, upstream, issuer):  # noqa: F811
    issuer.open.clear()
    g = start({"a": up(upstream)}, SECURE, issuer.env)
    token, answers = issuer.token(), []
    threads = [threading.Thread(target=lambda: answers.append(g.call("GET", "/secure", token=token).status)) for _ in range(8)]
    [t.start() for t in threads]
    gone = socket.create_connection(("127.0.0.1", g.port))
    gone.sendall(f"GET /secure/gone HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    wait_for(lambda: issuer.fetches > 0, 10, "the fetch of the keys")
    assert g.call("GET", "/open").status == 200, "who needs no keys does not wait"
    gone.close()
    issuer.open.set()
    [t.join() for t in threads]
    assert answers == [200] * 8 and issuer.fetches == 1
    assert g.call("GET", "/secure", token=token).status == 200


def test_permissions_by_role_and_scope(start, upstream, issuer):  # noqa: F811
    g = start({"a": up(upstream)}, [
        {"path": "/orders", "methods": ["GET"], "upstream": "a", "auth": "jwt", "require": {"all": ["orders:read"]}},
        {"path": "/orders", "methods": ["DELETE"], "upstream": "a", "auth": "jwt", "require": {"all": ["orders:delete"]}},
        {"path": "/audit", "upstream": "a", "auth": "jwt", "require": {"all": ["orders:read"], "any": ["audit:read", "audit:export"]}},
    ], issuer.env, roles={"operator": {"inherits": ["customer"], "allow": ["orders:*", "audit:read"], "deny": ["orders:delete"]},
                          "customer": {"own": ["orders:read"]}, "admin": ["orders:**"]})
    operator, customer = issuer.token(roles=["operator"]), issuer.token(roles=["customer"])
    assert g.call("GET", "/orders", token=operator).status == 200
    assert g.call("GET", "/orders", token=customer).status == 200
    assert g.call("GET", "/audit", token=operator).status == 200
    assert g.call("DELETE", "/orders", token=issuer.token(roles=["admin"])).status == 200
    assert g.call("GET", "/orders", token=issuer.token(scope="openid orders:read")).status == 200
    before = len(upstream.seen)
    for method, path, token in [("DELETE", "/orders", operator), ("DELETE", "/orders", issuer.token(roles=["admin", "operator"])),
                                ("GET", "/audit", customer), ("GET", "/orders", issuer.token(roles=["operator"], scope="audit:read")),
                                ("GET", "/orders", issuer.token(roles=["orders:read"])), ("GET", "/orders", issuer.token())]:
        answer = g.call(method, path, token=token)
        problem(answer, 403, "insufficient-scope")
        wanted = {"/audit": "orders:read audit:read audit:export", "/orders": "orders:" + ("read" if method == "GET" else "delete")}
        assert challenge(answer) == f'Bearer error="insufficient_scope", scope="{wanted[path]}"'
    problem(g.call("GET", "/orders"), 401, "unauthorized")
    assert len(upstream.seen) == before


def test_addresses(start, upstream, issuer):  # noqa: F811
    g = start({"a": up(upstream)}, [
        {"prefix": "/here", "upstream": "a", "ip": {"allow": ["127.0.0.0/8", "::1"]}},
        {"prefix": "/there", "upstream": "a", "ip": {"allow": ["10.0.0.0/8", "2001:db8::/32"], "deny": ["10.1.0.0/16"]}},
        {"prefix": "/not-here", "upstream": "a", "ip": {"deny": ["127.0.0.1"]}},
        {"prefix": "/inside", "upstream": "a", "auth": "jwt AND ip OR anonymous AND ip", "ip": {"allow": ["10.0.0.0/8"]}},
    ], {**issuer.env, "NEXUS_TRUSTED_PROXIES": "127.0.0.0/8"})

    def ask(path, client=None, **more):
        return g.call("GET", path, headers={"X-Forwarded-For": client} if client else {}, **more)
    assert ask("/here").status == 200 and ask("/there", "10.2.3.4").status == 200 and ask("/there", "2001:db8::7").status == 200
    before = len(upstream.seen)
    problem(ask("/there"), 403, "address-refused")
    problem(ask("/there", "10.1.3.4"), 403)
    problem(ask("/there", "11.0.0.1, 6.6.6.6"), 403)
    problem(ask("/not-here"), 403)
    problem(ask("/here", "6.6.6.6"), 403)
    problem(ask("/inside"), 403, "address-refused")
    problem(ask("/inside", token=issuer.token()), 403, "address-refused")
    assert len(upstream.seen) == before
    assert ask("/inside", "10.0.0.9").json["headers"]["x-nexus-user"] == "anonymous"
    assert ask("/inside", "10.0.0.9", token=issuer.token()).json["headers"]["x-nexus-user"] == "ada"


CLIENTS = [  # trusted proxies, fields, whom the upstream is told
    ("", {"X-Forwarded-For": "6.6.6.6", "Forwarded": "for=6.6.6.6", "X-Real-IP": "6.6.6.6"}, "127.0.0.1"),
    ("127.0.0.1", {"X-Forwarded-For": "6.6.6.6, 9.9.9.9"}, "9.9.9.9"),
    ("127.0.0.1,9.9.9.0/24", {"X-Forwarded-For": "6.6.6.6, 9.9.9.9"}, "6.6.6.6"),
    ("127.0.0.1", {"Forwarded": 'for=6.6.6.6, for="[2001:db8::9]:443";proto=https'}, "2001:db8::9"),
    ("127.0.0.1", {"Forwarded": 'for="6.6.6.6, for=9.9.9.9'}, "9.9.9.9"),
    ("127.0.0.1", {"Forwarded": "for=6.6.6.6", "X-Forwarded-For": "9.9.9.9"}, "127.0.0.1"),
    ("127.0.0.1", {"X-Real-IP": "6.6.6.6", "True-Client-IP": "6.6.6.6"}, "127.0.0.1"),
]


def test_the_clients_address_is_what_trusted_proxies_say(tmp_path, upstream):  # noqa: F811
    from gateway_harness import Gateway
    for trusted in dict.fromkeys(t for t, _, _ in CLIENTS):
        folder = tmp_path / (trusted.replace("/", "_") or "nobody")
        folder.mkdir()
        g = Gateway(folder, {"version": 1, "upstreams": {"a": up(upstream)}, "routes": [{"prefix": "/", "upstream": "a"}]},
                    {"NEXUS_TRUSTED_PROXIES": trusted or "none"})
        try:
            for _, fields, client in [row for row in CLIENTS if row[0] == trusted]:
                got = g.call("GET", "/", headers=fields).json["headers"]
                assert got["x-forwarded-for"] == client, (trusted, fields)
                assert not {"forwarded", "x-real-ip", "true-client-ip"} & set(got)
        finally:
            assert g.server.stop() == 0, g.server.tail()


def test_method_and_url_overrides_are_ignored_and_stripped(start, upstream):  # noqa: F811
    g = start({"a": up(upstream)}, [{"path": "/x", "methods": ["POST"], "upstream": "a"},
                                    {"prefix": "/admin", "upstream": "a", "ip": {"deny": ["0.0.0.0/0", "::/0"]}}])
    sent = {"X-HTTP-Method-Override": "DELETE", "X-HTTP-Method": "DELETE", "X-Method-Override": "DELETE",
            "X-Original-URL": "/admin", "X-Rewrite-URL": "/admin", "X-Original-URI": "/admin", "X_Original_URL": "/admin"}
    answer = g.call("POST", "/x", b"", headers=sent)
    assert answer.json["method"] == "POST" and answer.json["path"] == "/x"
    assert not {name.lower() for name in sent} & set(answer.json["headers"])
    problem(g.call("GET", "/x", headers={"X-HTTP-Method-Override": "POST"}), 405)
    problem(g.call("POST", "/admin/x", b"", headers={"X-Original-URL": "/x"}), 403)


def test_who_is_refused_is_not_asked_for_the_body(start, upstream, issuer):  # noqa: F811
    g = start({"a": up(upstream)}, SECURE, issuer.env)
    head = "POST /secure HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n"
    out = g.raw((head + "\r\n").encode())
    assert out.startswith(b"HTTP/1.1 401 ") and b" 100 " not in out.split(b"\r\n\r\n")[0]
    assert g.raw(head.replace("100-continue", "200-maybe").encode() + b"\r\n").startswith(b"HTTP/1.1 417 ")
    with socket.create_connection(("127.0.0.1", g.port), 5 * SLOW) as s:
        s.sendall((head + f"Authorization: Bearer {issuer.token()}\r\n\r\n").encode())
        assert s.recv(1024).startswith(b"HTTP/1.1 100 ")
        s.sendall(b"hello")
        got = b""
        while not got.endswith(b"}"):
            got += s.recv(65536)
        assert b'"body": "hello"' in got
    assert paths(upstream) == ["/secure"]


class Authorizer:
    """An authorization service: the path that is asked about says what it answers."""

    def __init__(self):
        outer = self
        self.seen, self.go = [], threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.seen.append({**{k.lower(): v for k, v in self.headers.items()}, "body": body, "asked": self.command})
                path = self.headers["X-Forwarded-Uri"].split("?")[0]
                if "/held" in path:
                    outer.go.wait(10)
                status = next((s for s in (401, 403, 404, 302, 500) if f"/{s}" in path), 200)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.send_header("X-Tier", "gold")
                self.send_header("X-Other", "secret")
                if status == 401:
                    self.send_header("WWW-Authenticate", 'Custom realm="x"')
                self.end_headers()

            do_GET = do_POST = answer

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/check"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.go.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def authorizer():
    a = Authorizer()
    yield a
    a.close()


def test_a_service_outside_decides(start, upstream, issuer, authorizer):  # noqa: F811
    ext = {"url": authorizer.url, "headers": ["Authorization", "x-device"], "add": ["x-tier", "x-plan"], "timeout_ms": 5000}
    g = start({"a": up(upstream)}, [
        {"prefix": "/old", "strip_prefix": "/old", "add_prefix": "/new", "upstream": "a", "auth": "jwt", "ext": ext},
        {"prefix": "/", "upstream": "a", "ext": ext}], issuer.env)
    sent = {"X-Device": "7", "X-Secret": "s", "Cookie": "c=1", "X-Forwarded-Uri": "/evil", "X-Tier": "evil", "x_plan": "evil",
            "Connection": "x-tier"}
    answer = g.call("GET", "/old/../old/%61?q=1", token=issuer.token("ada"), headers=sent)
    got, asked = answer.json["headers"], authorizer.seen[0]
    assert answer.status == 200 and answer.json["path"] == "/new/a?q=1"
    assert asked["x-forwarded-uri"] == "/new/a?q=1" and asked["x-forwarded-method"] == "GET"
    assert asked["x-forwarded-for"] == "127.0.0.1" and asked["x-nexus-user"] == "ada" and asked["x-device"] == "7"
    assert asked["authorization"].startswith("Bearer ") and not {"cookie", "x-secret"} & set(asked)
    assert got["x-tier"] == "gold" and not {"x_plan", "x-plan", "x-other"} & set(got)
    before = len(upstream.seen)
    refused = g.call("GET", "/401")
    problem(refused, 401)
    assert challenge(refused) == 'Custom realm="x"'
    problem(g.call("POST", "/403", b"x"), 403)
    problem(g.call("GET", "/404"), 403)
    for path in ("/500", "/302"):
        unsure = g.call("GET", path)
        problem(unsure, 503, "authorization-unavailable")
        assert unsure.header("Retry-After") == "1"
    problem(g.call("GET", "/old/x"), 401, "unauthorized")
    assert len(upstream.seen) == before
    authorizer.close()
    problem(g.call("GET", "/fine"), 503, "authorization-unavailable")
    assert len(upstream.seen) == before


def test_decisions_are_kept_and_asked_for_once(start, upstream, authorizer):  # noqa: F811
    g = start({"a": up(upstream)}, [{"prefix": "/", "upstream": "a", "ext": {
        "url": authorizer.url, "headers": ["x-user"], "add": ["x-tier"], "cache_ms": 600000}}], {"NEXUS_LOOPS": "1"})
    for _ in range(5):
        assert g.call("GET", "/a").json["headers"]["x-tier"] == "gold"
        problem(g.call("GET", "/403"), 403)
    assert len(authorizer.seen) == 2
    for method, path, headers in [("POST", "/a", {}), ("GET", "/b", {}), ("GET", "/a?q", {}), ("GET", "/a", {"X-User": "1"}),
                                  ("GET", "/a", {"X-User": "2"})]:
        g.call(method, path, b"" if method == "POST" else None, headers=headers)
    assert len(authorizer.seen) == 7, "what the service can see makes another decision"
    g.call("GET", "/a", headers={"X-Unlisted": "1"})
    problem(g.call("GET", "/500"), 503)
    problem(g.call("GET", "/500"), 503)
    assert len(authorizer.seen) == 9, "a doubt is not kept"
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(g.call("GET", "/held").status)) for _ in range(10)]
    [t.start() for t in threads]
    wait_for(lambda: len(authorizer.seen) == 10, 10, "the question")
    gone = socket.create_connection(("127.0.0.1", g.port))
    gone.sendall(f"GET /held HTTP/1.1\r\nHost: 127.0.0.1:{g.port}\r\n\r\n".encode())
    assert g.call("GET", "/a").status == 200
    gone.close()
    authorizer.go.set()
    [t.join() for t in threads]
    assert answers == [200] * 10
    assert [a["x-forwarded-uri"] for a in authorizer.seen[9:]] == ["/held"]


def test_a_decision_outlives_a_reload(start, upstream, authorizer):  # noqa: F811
    route = {"prefix": "/", "upstream": "a", "ext": {"url": authorizer.url, "timeout_ms": 20000}}
    g = start({"a": up(upstream)}, [route])
    answers = []
    thread = threading.Thread(target=lambda: answers.append(g.call("GET", "/held").status))
    thread.start()
    wait_for(lambda: authorizer.seen, 10, "the question")
    g.write({"version": 1, "upstreams": {"a": up(upstream)}, "routes": [{**route, "id": "new", "ext": {**route["ext"], "cache_ms": 1}}]})
    wait_for(lambda: g.admin("GET", "/admin/v1/config").json["routes"][0].get("id") == "new", 10, "the reload")
    authorizer.go.set()
    thread.join()
    assert answers == [200] and g.call("GET", "/x").status == 200


def test_the_service_in_an_expression(start, upstream, issuer, authorizer):  # noqa: F811
    g = start({"a": up(upstream)}, [{"prefix": "/", "upstream": "a", "auth": "(jwt AND ip) OR ext",
                                     "ip": {"allow": ["10.0.0.0/8"]}, "ext": {"url": authorizer.url, "add": ["X-Tier"]}}],
              {**issuer.env, "NEXUS_TRUSTED_PROXIES": "127.0.0.1"})
    inside = {"X-Forwarded-For": "10.1.1.1"}
    assert g.call("GET", "/a", token=issuer.token(), headers=inside).json["headers"]["x-nexus-user"] == "ada"
    assert not authorizer.seen, "the first branch was enough"
    outside = g.call("GET", "/a", token=issuer.token()).json["headers"]
    assert outside["x-tier"] == "gold" and "x-nexus-user" not in outside, "that branch knows nobody"
    problem(g.call("GET", "/403", token=issuer.token()), 403)
    problem(g.call("GET", "/401"), 401)
    problem(g.call("GET", "/500"), 503)
    problem(g.call("GET", "/a", token="a.b.c", headers=inside), 401, "invalid-token")


EVIL_ORIGINS = ["null", "https://evil-example.com", "https://example.com.evil", "http://a.example.com", "https://example.com",
                "https://a.example.com.evil", "https://evil.net#.example.com", "https://a.example.com:444", "*"]


def test_other_origins_learn_nothing(start, upstream, issuer):  # noqa: F811
    cors = {"origins": ["https://*.example.com", "https://shop.test:8443"], "methods": ["PUT"], "headers": ["X-A", "Authorization"],
            "expose": ["ETag"], "credentials": True}
    g = start({"a": up(upstream)}, [{"path": "/x", "upstream": "a", "cors": cors}, {"path": "/teapot", "upstream": "a"},
                                    {"path": "/mine", "upstream": "a", "cors": cors, "auth": "jwt"},
                                    {"path": "/all", "upstream": "a", "cors": {"origins": ["*"]}}], issuer.env)
    for origin in EVIL_ORIGINS:
        asks = {"Origin": origin, "Access-Control-Request-Method": "PUT"}
        for answer in (g.call("GET", "/x", headers={"Origin": origin}), g.call("OPTIONS", "/x", headers=asks)):
            assert not [h for h in answer.headers if h.lower().startswith("access-control")], origin
            assert answer.header("Vary") == "Origin" and answer.status in (200, 204)
    before = len(upstream.seen)
    allowed = g.call("OPTIONS", "/x", headers={"Origin": "https://a.b.example.com", "Access-Control-Request-Method": "PUT"})
    assert allowed.status == 204 and allowed.body == b"" and len(upstream.seen) == before
    assert {h.lower(): v for h, v in allowed.headers.items() if h.lower().startswith("access-control")} == {
        "access-control-allow-origin": "https://a.b.example.com", "access-control-allow-credentials": "true",
        "access-control-allow-methods": "PUT", "access-control-allow-headers": "X-A, Authorization",
        "access-control-max-age": "600"}
    seen = g.call("GET", "/x", headers={"Origin": "https://shop.test:8443"})
    assert seen.header("Access-Control-Allow-Origin") == "https://shop.test:8443"
    assert seen.header("Access-Control-Expose-Headers") == "ETag"
    assert g.call("GET", "/x").header("Vary") == "Origin", "what a cache keeps for nobody is not for everybody"
    refused = g.call("GET", "/mine", headers={"Origin": "https://a.example.com"})
    assert refused.status == 401 and refused.header("Access-Control-Allow-Origin") == "https://a.example.com"
    everybody = g.call("GET", "/all", headers={"Origin": "https://evil.net"})
    assert everybody.header("Access-Control-Allow-Origin") == "*" and everybody.header("Vary") is None
    assert g.call("GET", "/all", headers={"Origin": "null"}).header("Access-Control-Allow-Origin") is None
    assert g.call("GET", "/teapot", headers={"Origin": "https://a.example.com"}).header("Access-Control-Allow-Origin") is None
    g.write({"version": 1, "upstreams": {"a": up(upstream)}, "routes": [
        {"path": "/x", "upstream": "a", "cors": {"origins": ["*"], "credentials": True}}]})
    wait_for(lambda: "credentials" in (g.admin("GET", "/admin/v1/status").json["last_error"] or ""), 10, "the refusal of the file")


def test_upstream_can_verify_who_asks(start, upstream, issuer, tmp_path):  # noqa: F811
    key, file = nexus.Key.generate("EdDSA"), tmp_path / "identity.jwk"
    file.write_text(json.dumps(key.jwk(private=True)))
    file.chmod(0o600)
    g = start({"a": up(upstream)}, [
        {"prefix": "/billing", "upstream": "a", "auth": "jwt OR anonymous", "identity": {"audience": "billing"}},
        {"prefix": "/own", "upstream": "a", "auth": "jwt", "identity": True}, {"prefix": "/", "upstream": "a"}],
        {**issuer.env, "NEXUS_GATEWAY_IDENTITY_KEY": str(file)})
    forged = {"X-Nexus-Identity": "a.b.c", "x_nexus_identity": "a.b.c", "Connection": "x-nexus-identity"}

    def identity(path, token=None):
        got = g.call("GET", path, token=token, headers=forged).json["headers"]
        assert "x_nexus_identity" not in got
        return got.get("x-nexus-identity")
    keys = nexus.KeySet({"keys": [key.jwk()]})
    first = identity("/billing", issuer.token("ada", roles=["customer"]))
    claims = keys.verify(first, "nexus-gateway", "billing", typ="nexus-identity+jwt")
    assert claims["sub"] == "ada" and claims["roles"] == ["customer"] and claims["exp"] - claims["iat"] == 30
    again = {identity("/billing", issuer.token("ada", roles=["customer"], jti=str(i))) for i in range(12)}
    assert len(again) < 12, "each loop says the same for a while"
    other = keys.verify(identity("/billing", issuer.token("ada", roles=["admin"])), "nexus-gateway", "billing",
                        typ="nexus-identity+jwt")
    assert other["roles"] == ["admin"]
    assert keys.verify(identity("/billing"), "nexus-gateway", "billing", typ="nexus-identity+jwt")["sub"] == "anonymous"
    assert keys.verify(identity("/own", issuer.token("eve")), "nexus-gateway", "a", typ="nexus-identity+jwt")["sub"] == "eve"
    assert identity("/") is None
    problem(g.call("GET", "/own", token=first), 401, "invalid-token")


def test_an_identity_key_that_others_can_read_is_refused(tmp_path, upstream):  # noqa: F811
    file = tmp_path / "identity.jwk"
    file.write_text(json.dumps(nexus.Key.generate("ES256").jwk(private=True)))
    file.chmod(0o644)
    with pytest.raises(AssertionError, match="others can read it"):
        Gateway(tmp_path, {"version": 1, "upstreams": {"a": up(upstream)}, "routes": []},
                {"NEXUS_GATEWAY_IDENTITY_KEY": str(file)})


def test_the_service_sees_a_body_up_to_its_cap(start, upstream, issuer, authorizer):  # noqa: F811
    ext = {"url": authorizer.url, "body_max_bytes": 1000, "cache_ms": 600000, "timeout_ms": 5000}
    g = start({"a": up(upstream)}, [{"prefix": "/either", "upstream": "a", "auth": "jwt OR ext", "ext": ext},
                                    {"prefix": "/", "upstream": "a", "ext": ext}], {**issuer.env, "NEXUS_LOOPS": "1"})
    said = g.call("POST", "/x", b"a=1", headers={"Content-Type": "text/x"})
    assert said.json["body"] == "a=1" and said.json["headers"]["content-length"] == "3"
    assert authorizer.seen[0]["body"] == b"a=1" and authorizer.seen[0]["content-type"] == "text/x"
    assert authorizer.seen[0]["asked"] == "POST" and authorizer.seen[0]["x-forwarded-method"] == "POST"
    g.call("POST", "/x", b"a=1", headers={"Content-Type": "text/x"})
    assert len(authorizer.seen) == 1
    g.call("POST", "/x", b"a=2", headers={"Content-Type": "text/x"})
    assert len(authorizer.seen) == 2, "another body is another question"
    for path in ("/x", "/either"):  # a body that comes piece by piece
        with socket.create_connection(("127.0.0.1", g.port), 5 * SLOW) as s:
            s.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n".encode())
            before = len(authorizer.seen)
            assert g.call("GET", "/other" + path).status == 200
            s.sendall(b"2\r\nde\r\n0\r\n\r\n")
            got = b""
            while piece := s.recv(65536):
                got += piece
        assert b'"body": "abcde"' in got, got
        assert authorizer.seen[-1]["body"] == b"abcde" and len(authorizer.seen) == before + 2
    reached = len(upstream.seen)
    problem(g.call("POST", "/x", b"y" * 1001), 413, "body-too-big")
    out = g.raw(b"POST /either HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"y" * 1001 + b"\r\n0\r\n\r\n")
    assert out.startswith(b"HTTP/1.1 413 ")
    assert len(upstream.seen) == reached
    assert g.call("POST", "/either", b"z" * 1001, token=issuer.token()).status == 200, "jwt came first and was enough"


def test_the_same_over_http2(start, upstream, issuer):  # noqa: F811
    curl = shutil.which("curl")
    if not curl:
        pytest.skip("needs curl")
    g = start({"a": up(upstream)}, SECURE, issuer.env)

    def ask(path, *fields):
        argv = [curl, "-s", "-m", "20", "--http2-prior-knowledge", "-w", "\n%{http_code} %{http_version}"]
        for field in fields:
            argv += ["-H", field]
        out = subprocess.run([*argv, f"http://127.0.0.1:{g.port}{path}"], capture_output=True, text=True, check=True).stdout
        body, _, code = out.rpartition("\n")
        assert code.endswith(" 2"), code
        return int(code.split()[0]), json.loads(body)
    bearer = "Authorization: Bearer " + issuer.token("ada")
    status, said = ask("/secure", bearer, "X-Nexus-User: root", "x_nexus_user: root", "X-Original-URL: /admin")
    assert status == 200 and said["headers"]["x-nexus-user"] == "ada"
    assert not {"x_nexus_user", "x-original-url"} & set(said["headers"])
    assert ask("/secure", bearer, "Cookie: a=b; access_token=x")[0] == 400
    assert ask("/secure?access_token=x")[0] == 401 and ask("/secure")[0] == 401
    assert ask("/secure", "Authorization: Bearer a.b.c")[1]["code"] == "invalid-token"
    assert len(upstream.seen) == 1
