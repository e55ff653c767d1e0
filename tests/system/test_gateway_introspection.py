"""Tokens that only their issuer can read: the gateway asks its introspection endpoint, once, and remembers for a while."""
import base64
import http.server
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs

import pytest

from gateway_harness import service_only, start, up, upstream  # noqa: F401 (fixtures)
from harness import Topology, problem, wait_for

pytestmark = service_only
ROUTES = [{"id": "all", "prefix": "/", "upstream": "a", "auth": "introspect"}]


class Issuer:
    """Answers for tokens it knows; holds its answers while `open` is not set."""

    def __init__(self):
        self.tokens, self.asked, self.open, self.status = {}, [], threading.Event(), 200
        self.open.set()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_POST(self):
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                outer.asked.append((form["token"][0], self.headers["Authorization"]))
                outer.open.wait(10)
                body = json.dumps(outer.tokens.get(form["token"][0], {"active": False})).encode()
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/introspect"


@pytest.fixture
def issuer():
    i = Issuer()
    yield i
    i.server.shutdown()
    i.server.server_close()


def settings(url, client="gateway", secret="a secret for tests that is long enough"):
    return {"NEXUS_GATEWAY_INTROSPECTION_URL": url, "NEXUS_GATEWAY_INTROSPECTION_CLIENT_ID": client,
            "NEXUS_GATEWAY_INTROSPECTION_CLIENT_SECRET": secret}


def test_each_token_is_asked_for_once(start, upstream, issuer):  # noqa: F811
    issuer.tokens["good"] = {"active": True, "sub": "ann", "scope": "a", "exp": 4102444800}
    issuer.open.clear()
    g = start({"a": up(upstream)}, ROUTES, settings(issuer.url))
    with ThreadPoolExecutor(20) as pool:
        calls = [pool.submit(g.call, "GET", "/x", token="good") for _ in range(20)]
        wait_for(lambda: issuer.asked, 10, "the question")
        issuer.open.set()
        assert {c.result().status for c in calls} == {200}
    assert g.call("GET", "/x", token="good").status == 200
    credentials = base64.b64encode(b"gateway:a%20secret%20for%20tests%20that%20is%20long%20enough").decode()
    assert issuer.asked == [("good", f"Basic {credentials}")]
    for _ in range(3):  # a no is remembered, too
        reply = g.call("GET", "/x", token="bad")
        problem(reply, 401)
        assert 'error="invalid_token"' in reply.header("WWW-Authenticate")
    assert len(issuer.asked) == 2
    problem(g.call("GET", "/x"), 401)


def test_a_token_that_is_over_is_nobodys(start, upstream, issuer):  # noqa: F811
    issuer.tokens["over"] = {"active": True, "sub": "ann", "exp": 1000000000}
    issuer.tokens["nobody"] = {"active": True, "exp": 4102444800}
    g = start({"a": up(upstream)}, ROUTES, settings(issuer.url))
    for token in ("over", "nobody"):
        problem(g.call("GET", "/x", token=token), 401)


def test_an_issuer_that_does_not_answer_is_a_doubt_that_nobody_passes(start, upstream, issuer):  # noqa: F811
    issuer.tokens["good"] = {"active": True, "sub": "ann", "exp": 4102444800}
    issuer.status = 500
    g = start({"a": up(upstream)}, ROUTES, settings(issuer.url))
    reply = g.call("GET", "/x", token="good")
    problem(reply, 503)
    assert reply.header("Retry-After")
    issuer.status = 200
    assert g.call("GET", "/x", token="good").status == 200, "a failure is not remembered"


def test_our_own_server_is_such_an_issuer(start, upstream, tmp_path):  # noqa: F811
    folder = tmp_path / "issuer"
    folder.mkdir()
    with Topology(folder, ["backend"]) as world:
        admin = world.bootstrap_admin()

        def client(**metadata):
            reply = world.call("POST", "/api/v1/admin/clients", {"grant_types": ["client_credentials"], "scope": "api", **metadata},
                               service="backend", token=admin)
            return reply.json["client_id"], reply.json["client_secret"]

        def post(path, form, who):
            text = base64.b64encode(":".join(who).encode()).decode()
            return world.call("POST", path, form, service="backend", headers={
                "Content-Type": "application/x-www-form-urlencoded", "Authorization": f"Basic {text}"})
        machine, gateway = client(client_name="Cron"), client(client_name="Gateway", resource_server=True)
        g = start({"a": up(upstream)}, ROUTES, settings(world.url("backend", "/oauth/introspect"), *gateway))
        token = post("/oauth/token", "grant_type=client_credentials", machine).json["access_token"]
        other = post("/oauth/token", "grant_type=client_credentials", machine).json["access_token"]
        assert post("/oauth/revoke", f"token={other}", machine).status == 200
        assert g.call("GET", "/x", token=token).status == 200
        problem(g.call("GET", "/x", token=other), 401)


def test_a_secret_that_stands_in_a_file_is_read_again_when_that_changes(start, upstream, issuer, tmp_path):  # noqa: F811
    def credentials(secret):
        return "Basic " + base64.b64encode(f"gateway:{secret}".encode()).decode()

    file = tmp_path / "secret"
    file.write_text("the-first-secret-of-this-test\n")
    issuer.tokens = {f"t{i}": {"active": True, "sub": "ann"} for i in range(1000)}
    g = start({"a": up(upstream)}, ROUTES, settings(issuer.url, secret="${file:%s}" % file))
    assert g.call("GET", "/x", token="t0").status == 200
    assert issuer.asked[-1][1] == credentials("the-first-secret-of-this-test")
    other = tmp_path / "other"
    other.write_text("the-other-secret-of-this-test\n")
    other.rename(file)
    tokens = iter(range(1, 1000))

    def is_other():
        assert g.call("GET", "/x", token=f"t{next(tokens)}").status == 200
        return issuer.asked[-1][1] == credentials("the-other-secret-of-this-test")

    wait_for(is_other, 10, "the other secret", every=0.05)
    file.write_text("")  # no secret: the last good one stays
    wait_for(lambda: "the last good ones stay" in g.server.tail(1000), 10, "the complaint")
    assert is_other()
    assert "-secret-of-this-test" not in g.server.tail(1000)


def test_who_is_not_let_in_stands_in_the_gateways_trail(start, upstream, issuer):  # noqa: F811
    g = start({"a": up(upstream)}, ROUTES, settings(issuer.url))

    def verified():
        bearer = (g.state / "admin.token").read_text().strip()
        reply = g.call("POST", "/admin/v1/audit/verify", token=bearer)
        assert reply.status == 200 and reply.json["bad"] == 0, reply
        return reply.json["records"]

    assert verified() == 0
    for _ in range(40):
        problem(g.call("GET", "/x"), 401)
    assert wait_for(verified, 10, "the record") <= 2  # not one for each
    before = verified()
    for _ in range(40):
        problem(g.admin("GET", "/admin/v1/config", token="wrong"), 401)
    assert wait_for(lambda: verified() > before, 10, "the stranger's record") and verified() <= before + 2
    problem(g.call("POST", "/admin/v1/audit/verify"), 401)
