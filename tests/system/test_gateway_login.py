"""People who sign in with a provider of another make (oidc-provider) at the gateway; attack row 62."""
import html
import json
import re
import shutil
import subprocess
from urllib.parse import parse_qs, parse_qsl, urlencode, urljoin, urlsplit

import pytest

import gateway_harness
from engines import needs_npm
from gateway_harness import Gateway, Upstream, service_only, up
from harness import ROOT, free_port_base, problem, request

OAUTH = ROOT / "tests" / "oauth"
pytestmark = [service_only, needs_npm("oauth")]
PAGE = {"Accept": "text/html,*/*"}


class World:
    def __init__(self, folder):
        base = free_port_base()
        self.origin = f"http://127.0.0.1:{base}"
        given = {"redirect_uri": f"{self.origin}/.nexus/callback", "backchannel": f"{self.origin}/.nexus/backchannel-logout"}
        self.provider = subprocess.Popen([shutil.which("node"), str(OAUTH / "provider.mjs"), json.dumps(given)],
                                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.issuer = f"http://127.0.0.1:{int(self.provider.stdout.readline())}"
        self.upstream = Upstream()
        routes = [{"id": "staff", "prefix": "/staff", "upstream": "a", "auth": "oidc", "roles": ["operator"]},
                  {"id": "either", "prefix": "/either", "upstream": "a", "auth": "oidc OR anonymous"},
                  {"id": "all", "prefix": "/", "upstream": "a", "auth": "oidc"}]
        original, gateway_harness.free_port_base = gateway_harness.free_port_base, lambda: base
        try:
            self.gateway = Gateway(folder, {"version": 1, "upstreams": {"a": up(self.upstream)}, "routes": routes}, {
                "NEXUS_GATEWAY_LOGIN_ISSUER": self.issuer, "NEXUS_GATEWAY_LOGIN_CLIENT_ID": "gateway",
                "NEXUS_GATEWAY_LOGIN_CLIENT_SECRET": "a secret of the gateway and its provider",
                "NEXUS_GATEWAY_LOGIN_URL": self.origin, "NEXUS_GATEWAY_LOGIN_ROLES_CLAIM": "groups"})
        finally:
            gateway_harness.free_port_base = original

    def close(self):
        self.gateway.server.stop()
        self.upstream.close()
        self.provider.kill()
        self.provider.wait()
        self.provider.stdout.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    w = World(tmp_path_factory.mktemp("login"))
    yield w
    w.close()


class Browser:
    """Keeps cookies by origin, follows redirects, signs in at the provider's forms."""

    def __init__(self, world):
        self.world, self.cookies = world, {}

    def send(self, method, url, form=None, headers=None):
        parts = urlsplit(url)
        jar = self.cookies.setdefault(parts.netloc, {})
        headers = {**PAGE, "Cookie": "; ".join(f"{k}={v}" for k, v in jar.items()), **(headers or {})}
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        reply = request(method, url, urlencode(form) if form is not None else None, headers=headers)
        for line in reply.headers.get_all("Set-Cookie") or []:
            name, _, value = line.split(";")[0].partition("=")
            if value and "Max-Age=0" not in line:
                jar[name] = value
            else:
                jar.pop(name, None)
        return reply

    def get(self, path, **options):
        return self.send("GET", self.world.origin + path, **options)

    def begin(self, path="/hello?x=1"):
        """To the provider's first page: its URL."""
        reply = self.get(path)
        assert reply.status == 302, reply
        reply = self.get(reply.header("Location"))
        assert reply.status == 303 and reply.header("Location").startswith(self.world.issuer), reply
        return reply.header("Location")

    def answer_of(self, url, name="ann"):
        """Signs in there; the callback's URL, not yet asked."""
        reply = self.send("GET", url)
        for _ in range(20):
            location = reply.header("Location")
            if location and urljoin(url, location).startswith(self.world.origin):
                return urljoin(url, location)
            if location:
                url = urljoin(url, location)
                reply = self.send("GET", url)
                continue
            text = reply.body.decode()
            action = html.unescape(re.search(r'<form[^>]* action="([^"]+)"', text)[1])
            prompt = re.search(r'name="prompt" value="(\w+)"', text)[1]
            url = urljoin(url, action)
            reply = self.send("POST", url, {"prompt": prompt, "login": name, "password": "x"})
        raise AssertionError("the provider does not end")

    def sign_in(self, path="/hello?x=1", name="ann"):
        reply = self.send("GET", self.answer_of(self.begin(path), name))
        assert reply.status == 303, reply
        return reply


def test_somebody_signs_in_and_comes_back_to_where_he_wanted(world):
    browser = Browser(world)
    reply = browser.sign_in("/hello?x=1&y=%2F")
    assert reply.header("Location") == "/hello?x=1&y=%2F"
    cookie = [c for c in reply.headers.get_all("Set-Cookie") if c.startswith("nexus_login=")][0]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and "ann" not in cookie
    assert browser.get("/hello").status == 200 and browser.get("/staff/room").status == 200
    assert browser.get("/.nexus/login?return_to=https://evil.example/").status == 303


def test_the_upstream_sees_the_person_and_not_the_session(world):
    browser = Browser(world)
    browser.sign_in()
    seen = browser.get("/echo").json["headers"]
    assert "cookie" not in seen, seen
    browser.cookies[urlsplit(world.origin).netloc]["theme"] = "dark"
    browser.cookies[urlsplit(world.origin).netloc]["size"] = "big"
    seen = browser.get("/echo").json["headers"]
    assert seen["cookie"] == "theme=dark; size=big", seen


def test_who_is_no_browser_is_told_401(world):
    reply = world.gateway.call("GET", "/hello")
    problem(reply, 401)
    assert reply.header("Location") is None
    assert world.gateway.call("POST", "/hello", "x", headers=PAGE).status == 401
    assert world.gateway.call("GET", "/either", headers=PAGE).status == 200
    for cookie in ("nexus_login=x", "nexus_login=nx1.a.b.c", "nexus_login=" + "a" * 3000):
        problem(world.gateway.call("GET", "/hello", headers={"Cookie": cookie}), 401)


def test_a_cookie_that_was_changed_opens_nothing(world):
    browser = Browser(world)
    browser.sign_in()
    jar = browser.cookies[urlsplit(world.origin).netloc]
    value = jar["nexus_login"]
    for at in (5, len(value) // 2, len(value) - 3):
        changed = value[:at] + ("A" if value[at] != "A" else "B") + value[at + 1:]
        problem(world.gateway.call("GET", "/hello", headers={"Cookie": f"nexus_login={changed}"}), 401)


def change(url, **fields):
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    query.update(fields)
    return parts._replace(query=urlencode({k: v for k, v in query.items() if v is not None})).geturl()


@pytest.mark.parametrize("fields", [{"state": "x" * 43}, {"state": None}, {"iss": "https://evil.example"}, {"iss": None},
                                    {"code": "x" * 43}, {"code": None}, {"error": "access_denied"}])
def test_attack_62_an_answer_that_does_not_fit_ends_the_login(world, fields):
    browser = Browser(world)
    answer = browser.answer_of(browser.begin())
    problem(browser.send("GET", change(answer, **fields)), 400, "login-aborted")
    assert "nexus_login" not in browser.cookies[urlsplit(world.origin).netloc]


def test_attack_62_an_answer_is_taken_once_and_in_its_own_browser(world):
    browser, other = Browser(world), Browser(world)
    answer = browser.answer_of(browser.begin())
    problem(other.send("GET", answer), 400, "login-aborted")
    jar = dict(browser.cookies[urlsplit(world.origin).netloc])
    assert browser.send("GET", answer).status == 303
    browser.cookies[urlsplit(world.origin).netloc] = jar
    problem(browser.send("GET", answer), 400, "login-aborted")


def test_attack_62_the_answer_of_another_login_is_refused(world):
    browser, other = Browser(world), Browser(world)
    first, second = browser.answer_of(browser.begin()), other.answer_of(other.begin(), "eve")
    code = parse_qs(urlsplit(second).query)["code"][0]
    problem(browser.send("GET", change(first, code=code)), 400, "login-aborted")  # its verifier is another's


def test_the_provider_ends_a_session_by_itself(world):
    browser, other = Browser(world), Browser(world)
    browser.sign_in(name="bob")
    other.sign_in(name="carl")
    page = browser.send("GET", world.issuer + "/session/end").body.decode()
    secret = re.search(r'name="xsrf" value="([^"]+)"', page)[1]
    assert browser.send("POST", world.issuer + "/session/end/confirm", {"xsrf": secret, "logout": "yes"}).status == 303
    told = next(line for line in world.provider.stdout if "told" in line)  # it also prints notices
    assert told == "told\n", told
    assert browser.get("/hello").status == 302 and other.get("/hello").status == 200


@pytest.mark.parametrize("token", ["", "x.y.z", "eyJhbGciOiJub25lIn0.e30."])
def test_a_logout_token_of_nobody_is_refused(world, token):
    problem(request("POST", world.origin + "/.nexus/backchannel-logout", urlencode({"logout_token": token}),
                    headers={"Content-Type": "application/x-www-form-urlencoded"}), 400, "logout-refused")


def test_the_keys_of_sessions_are_rotated_and_sessions_go_on(world):
    browser = Browser(world)
    browser.sign_in()
    gateway = world.gateway
    [old] = [k["kid"] for k in gateway.admin("GET", "/admin/v1/secrets").json["keys"] if k["state"] == "sealing"]
    rotated = {k["kid"]: k["state"] for k in gateway.admin("POST", "/admin/v1/secrets/rotate").json["keys"]}
    assert rotated[old] == "opening" and "sealing" in rotated.values()
    assert browser.get("/hello").status == 200  # what the old key sealed opens
    problem(gateway.admin("DELETE", f"/admin/v1/secrets/{old}"), 409)  # for as long as such a session may last
    later = Browser(world)
    later.sign_in()
    assert later.get("/hello").status == 200
    problem(gateway.admin("DELETE", "/admin/v1/secrets/0123456789abcdef"), 404)
