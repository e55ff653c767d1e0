"""Our authorization server and openid-client, an implementation of another make, as its client; attack rows 57 to 63 and 56
against the running servers."""
import base64
import hashlib
import html
import http.client
import json
import re
import shutil
import subprocess
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from engines import needs_npm
from gateway_harness import Upstream, up
from harness import OFFSETS, ROOT, SLOW, Topology, binary, problem, wait_for
from test_people import totp

OAUTH = ROOT / "tests" / "oauth"
PASSWORD = "correct horse battery"
CALLBACK = "https://shop.example/cb"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with Topology(tmp_path_factory.mktemp("oauth"), ["backend", "gateway"]) as t:
        t.admin = t.bootstrap_admin()
        t.register("ann@example.com", PASSWORD, "Ann")
        yield t


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A gateway of its own process that checks tokens by itself, in front of something that is none of our services."""
    folder = tmp_path_factory.mktemp("guarded")
    t, upstream = Topology(folder, ["backend", "gateway"]), Upstream()
    routes = folder / "routes.json"
    routes.write_text(json.dumps({"version": 1, "upstreams": {"a": up(upstream), "backend": {"targets": [t.url("backend")]}},
                                  "routes": [{"prefix": "/guarded", "upstream": "a", "auth": "jwt"},
                                             {"prefix": "/", "upstream": "backend"}]}))
    t.env["NEXUS_GATEWAY_ROUTES"] = str(routes)
    with t:
        t.admin = t.bootstrap_admin()
        t.register("ann@example.com", PASSWORD, "Ann")
        yield t
    upstream.close()


def add_client(world, **metadata):
    reply = world.call("POST", "/api/v1/admin/clients", {"client_name": "Shop", **metadata}, token=world.admin)
    assert reply.status == 201, reply
    return reply.json


def web_client(world, **more):
    return add_client(world, **{"redirect_uris": [CALLBACK], "grant_types": ["authorization_code", "refresh_token"],
                                "scope": "openid profile email offline_access api", **more})


def machine_client(world, **more):
    return add_client(world, grant_types=["client_credentials"], scope="api", roles=["operator"], **more)


def basic(client, secret=None):
    text = f"{client['client_id']}:{secret or client['client_secret']}"
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


def post(world, path, form, headers=None):
    body = form if isinstance(form, str) else urlencode(form)
    return world.call("POST", path, body, headers={"Content-Type": "application/x-www-form-urlencoded", **(headers or {})})


def refused(reply, status, error):
    assert reply.status == status and reply.json["error"] == error, reply
    assert reply.header("Cache-Control") == "no-store"
    return reply


# --- openid-client ---------------------------------------------------------------------------------------------------

@needs_npm("oauth")
def test_openid_client_goes_through_all_of_it(world):
    given = {"issuer": world.url("gateway"), "callback": CALLBACK, "email": "ann@example.com", "password": PASSWORD,
             "web": web_client(world), "machine": machine_client(world), "register": world.admin,
             "open": add_client(world, redirect_uris=["http://127.0.0.1/cb"], scope="openid", token_endpoint_auth_method="none")}
    run = subprocess.run([shutil.which("node"), str(OAUTH / "client.mjs"), json.dumps(given)], capture_output=True, text=True,
                         timeout=60 * SLOW)
    assert run.returncode == 0, run.stderr
    out = json.loads(run.stdout)
    assert out["metadata"]["issuer"] == world.url("gateway")
    assert out["seen"] == ["/oauth/login", "/oauth/consent"] and out["seen_second"] == []
    assert out["claims"]["name"] == "Ann" and out["claims"]["aud"] == given["web"]["client_id"]
    assert out["userinfo"] == {"sub": out["claims"]["sub"], "name": "Ann", "email": "ann@example.com"}
    assert out["introspection"]["active"] and out["introspection"]["sub"] == out["claims"]["sub"]
    assert out["rotated"] and out["again"] == {"error": "invalid_grant"} and out["after"] == {"active": False}
    assert out["revoked"] == {"error": "invalid_grant"} and out["denied"] == "access_denied"
    assert out["machine"]["expires_in"] == 600 and "refresh_token" not in out["machine"]
    assert out["open"]["sub"] == out["claims"]["sub"]
    assert out["keyed"]["token_type"] == "bearer"


# --- a browser -------------------------------------------------------------------------------------------------------

VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")


def query(client, **changes):
    fields = {"response_type": "code", "client_id": client["client_id"], "redirect_uri": CALLBACK, "scope": "openid api",
              "state": "s", "code_challenge": CHALLENGE, "code_challenge_method": "S256", **changes}
    return urlencode({k: v for k, v in fields.items() if v is not None})


class Browser:
    def __init__(self, world):
        self.world, self.cookies = world, {}

    def send(self, method, path, form=None, headers=None):
        headers = {"Cookie": "; ".join(f"{k}={v}" for k, v in self.cookies.items()), **(headers or {})}
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        reply = self.world.call(method, path, urlencode(form) if form is not None else None, headers=headers)
        for line in reply.headers.get_all("Set-Cookie") or []:
            name, _, value = line.split(";")[0].partition("=")
            self.cookies[name] = value
            assert "HttpOnly" in line and "SameSite=Lax" in line and "Path=/" in line
        return reply

    def submit(self, page, **fields):
        text = page.body.decode()
        action = re.search(r'action="([^"]+)"', text)[1]
        hidden = {k: html.unescape(v) for k, v in re.findall(r'name="(csrf|request|second_step)" value="([^"]*)"', text)}
        return self.send("POST", action, {**hidden, **fields})

    def sign_in(self, client, email="ann@example.com", **changes):
        page = self.send("GET", "/oauth/authorize?" + query(client, **changes))
        assert page.status == 200 and b"Sign in" in page.body, page
        reply = self.submit(page, email=email, password=PASSWORD)
        assert reply.status == 303, reply
        return self.send("GET", reply.header("Location"))

    def code(self, client, email="ann@example.com", **changes):
        page = self.sign_in(client, email, **changes)
        reply = self.submit(page, decision="allow") if page.status == 200 else page
        assert reply.status == 303, reply
        fields = parse_qs(urlsplit(reply.header("Location")).query)
        assert fields["iss"] == [self.world.url("gateway")] and fields["state"] == ["s"]
        return fields["code"][0]


def redeem(world, client, code, **changes):
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER, **changes}
    return post(world, "/oauth/token", {k: v for k, v in form.items() if v is not None}, basic(client))


def test_pages_have_no_scripts_and_cannot_be_framed(world):
    client, browser = web_client(world, client_name="<b>Shop</b>"), Browser(world)
    for page in (browser.send("GET", "/oauth/authorize?" + query(client)), browser.sign_in(client),
                 browser.send("GET", "/oauth/authorize?client_id=nobody")):
        policy = page.header("Content-Security-Policy")
        assert "frame-ancestors 'none'" in policy and "default-src 'none'" in policy and "unsafe" not in policy
        assert page.header("X-Frame-Options") == "DENY" and page.header("Cache-Control") == "no-store"
        assert b"<script" not in page.body and b"<b>Shop" not in page.body and b"onload" not in page.body


def test_forms_of_others_change_nothing(world):
    client, browser = web_client(world), Browser(world)
    page = browser.sign_in(client)
    assert b"asks for access" in page.body
    request = query(client)
    assert browser.send("POST", "/oauth/consent", {"request": request, "decision": "allow"}).status == 403
    assert browser.send("POST", "/oauth/consent", {"request": request, "decision": "allow", "csrf": "x" * 48}).status == 403
    good = {"request": request, "decision": "allow", "csrf": browser.cookies["nexus_csrf"]}
    assert browser.send("POST", "/oauth/consent", good, {"Sec-Fetch-Site": "cross-site"}).status == 403
    assert browser.send("POST", "/oauth/consent", good, {"Origin": "https://evil.example"}).status == 403
    assert browser.send("POST", "/oauth/login", {"request": request, "email": "ann@example.com", "password": PASSWORD}).status == 403
    assert browser.send("POST", "/oauth/consent", good, {"Origin": world.url("gateway")}).status == 303


def test_wrong_passwords_are_told_on_the_page(world):
    client, browser = web_client(world), Browser(world)
    page = browser.send("GET", "/oauth/authorize?" + query(client))
    wrong = browser.submit(page, email="ann@example.com", password="not this one")
    assert wrong.status == 401 and b"wrong" in wrong.body and "nexus_signin" not in browser.cookies


def test_the_second_step_has_a_page(world):
    email = "careful@example.com"
    token = world.register(email, PASSWORD, "Careful")
    seed = world.call("POST", "/api/v1/users/me/totp", {"password": PASSWORD}, token=token)
    assert seed.status == 201, seed
    reply = world.call("POST", "/api/v1/users/me/totp/confirm", {"code": totp(seed.json["secret"])}, token=token)
    assert reply.status == 200, reply
    client, browser = web_client(world), Browser(world)
    page = browser.submit(browser.send("GET", "/oauth/authorize?" + query(client)), email=email, password=PASSWORD)
    assert page.status == 200 and b"Second step" in page.body and "nexus_signin" not in browser.cookies
    wrong = browser.submit(page, code="000000")
    assert wrong.status == 401 and b"Second step" in wrong.body and "nexus_signin" not in browser.cookies
    reply = browser.submit(wrong, code=reply.json["recovery_codes"][0])
    assert reply.status == 303 and "nexus_signin" in browser.cookies
    assert b"asks for access" in browser.send("GET", reply.header("Location")).body


# --- attacks ---------------------------------------------------------------------------------------------------------

def test_attack_57_a_code_is_for_one_use_of_one_client(world):
    client, other, browser = web_client(world), web_client(world), Browser(world)
    code = browser.code(client)
    refused(redeem(world, other, code), 400, "invalid_grant")
    refused(redeem(world, client, code, redirect_uri=CALLBACK + "/"), 400, "invalid_grant")
    refused(redeem(world, client, code, code_verifier="x" * 43), 400, "invalid_grant")
    tokens = redeem(world, client, code)
    assert tokens.status == 200, tokens
    token = tokens.json["access_token"]
    assert world.call("GET", "/api/v1/users/me", token=token).status == 200
    refused(redeem(world, client, code), 400, "invalid_grant")
    wait_for(lambda: world.call("GET", "/api/v1/users/me", token=token).status == 401, 5, "the code's token to end")


def test_attack_58_without_pkce_by_sha256_there_is_no_code(world):
    client, browser = web_client(world), Browser(world)
    for changes in ({"code_challenge": None, "code_challenge_method": None}, {"code_challenge_method": "plain"},
                    {"code_challenge_method": None}):
        reply = browser.send("GET", "/oauth/authorize?" + query(client, **changes))
        assert reply.status == 303 and "error=invalid_request" in reply.header("Location"), reply
    refused(redeem(world, client, browser.code(client), code_verifier=None), 400, "invalid_request")


@pytest.mark.parametrize("uri", [CALLBACK + "/", CALLBACK + "/../evil", "https://shop.example", "https://shop.example@evil.example/cb",
                                 "https://user@shop.example/cb", CALLBACK + "#x", "https://shop.example:8443/cb",
                                 "http://shop.example/cb", CALLBACK + "?a=b", "//shop.example/cb", "javascript:alert(1)"])
def test_attack_59_another_address_is_a_page_and_no_redirect(world, uri):
    reply = Browser(world).send("GET", "/oauth/authorize?" + query(web_client(world), redirect_uri=uri))
    assert reply.status == 400 and reply.header("Location") is None and b"redirect_uri" in reply.body


def test_attack_60_refresh_tokens_rotate_and_give_no_more(world):
    client, browser = web_client(world), Browser(world)
    first = redeem(world, client, browser.code(client, scope="openid api offline_access")).json["refresh_token"]

    def refresh(token, **more):
        return post(world, "/oauth/token", {"grant_type": "refresh_token", "refresh_token": token, **more}, basic(client))
    refused(refresh(first, scope="openid email"), 400, "invalid_scope")
    second = refresh(first).json["refresh_token"]
    assert second != first and refresh(first).json["refresh_token"] == second, "a lost answer is given again"
    problem(world.call("POST", "/api/v1/auth/refresh", {"refresh_token": second}), 401)
    assert refresh(second).status == 200


def test_attack_61_foreign_tokens_get_and_doubled_parameters(world):
    a, b = machine_client(world), machine_client(world)
    token = post(world, "/oauth/token", "grant_type=client_credentials", basic(a)).json["access_token"]
    assert post(world, "/oauth/introspect", {"token": token}, basic(b)).json == {"active": False}
    assert post(world, "/oauth/revoke", {"token": token}, basic(b)).status == 200
    assert post(world, "/oauth/introspect", {"token": token}, basic(a)).json["active"] is True
    refused(world.call("GET", "/oauth/token?grant_type=client_credentials", headers=basic(a)), 400, "invalid_request")
    refused(post(world, "/oauth/token", "grant_type=client_credentials&grant_type=client_credentials", basic(a)), 400,
            "invalid_request")
    problem(world.call("POST", "/oauth/token", {"grant_type": "client_credentials"}, headers=basic(a)), 415)


def test_attack_55_two_credentials_or_a_token_in_the_url(world):
    a, b = machine_client(world), machine_client(world)
    connection = http.client.HTTPConnection("127.0.0.1", world.base + OFFSETS["backend"], timeout=10)
    connection.putrequest("POST", "/oauth/token")
    for client in (a, b):
        connection.putheader("Authorization", basic(client)["Authorization"])
    body = b"grant_type=client_credentials"
    connection.putheader("Content-Type", "application/x-www-form-urlencoded")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    reply = connection.getresponse()
    assert reply.status == 400 and json.loads(reply.read())["error"] == "invalid_request"
    connection.close()
    client = web_client(world)
    token = redeem(world, client, Browser(world).code(client)).json["access_token"]
    refused(world.call("GET", f"/oauth/userinfo?access_token={token}"), 401, "invalid_token")
    refused(post(world, "/oauth/userinfo", {"access_token": token}), 401, "invalid_token")


def test_attack_63_guesses_of_a_secret_wait(world):
    client = machine_client(world)
    for _ in range(5):
        reply = refused(post(world, "/oauth/token", "grant_type=client_credentials", basic(client, "wrong")), 401, "invalid_client")
        assert reply.header("WWW-Authenticate").startswith("Basic")
    reply = refused(post(world, "/oauth/token", "grant_type=client_credentials", basic(client, "wrong")), 429, "slow_down")
    assert int(reply.header("Retry-After")) >= 1
    assert post(world, "/oauth/token", "grant_type=client_credentials", basic(client)).status == 200


def test_attack_53_an_id_token_opens_nothing(world):
    client = web_client(world)
    tokens = redeem(world, client, Browser(world).code(client)).json
    problem(world.call("GET", "/api/v1/users/me", token=tokens["id_token"]), 401)
    only_identity = redeem(world, client, Browser(world).code(client, scope="openid profile")).json["access_token"]
    problem(world.call("GET", "/api/v1/users/me", token=only_identity), 401)
    assert world.call("GET", "/oauth/userinfo", token=only_identity).json["name"] == "Ann"


def test_a_token_without_the_scope_api_is_not_for_our_own_interface(world):
    client = web_client(world, scope="openid api orders:read")
    token = redeem(world, client, Browser(world).code(client, scope="openid orders:read")).json["access_token"]
    problem(world.call("GET", "/api/v1/users/me", token=token), 403, "scope-missing")


@pytest.mark.parametrize("end", ["revoke", "delete-client", "disable"])
def test_attack_56_what_ends_before_its_time_is_refused_within_a_second(world, end):
    email = f"{end}@example.com"
    world.register(email, PASSWORD, "Bob")
    client = web_client(world)
    token = redeem(world, client, Browser(world).code(client, email)).json["access_token"]
    me = world.call("GET", "/api/v1/users/me", token=token)
    assert me.status == 200
    if end == "revoke":
        assert post(world, "/oauth/revoke", {"token": token}, basic(client)).status == 200
    elif end == "delete-client":
        reply = world.call("DELETE", f"/api/v1/admin/clients/{client['client_id']}", token=world.admin)
        assert reply.status == 204, reply
    else:
        reply = world.call("POST", f"/api/v1/admin/users/{me.json['id']}/disable", {}, token=world.admin)
        if reply.status == 404:
            pytest.skip("accounts are not administered over HTTP yet")
        assert reply.status in (200, 204), reply
    wait_for(lambda: world.call("GET", "/api/v1/users/me", token=token).status == 401, 10, "the token to be refused")


@pytest.mark.parametrize("end", ["revoke", "delete-client", "lock", "code-again"])
def test_attack_56_at_a_gateway_that_checks_tokens_itself(guarded, end):
    world = guarded
    email = f"{end}-guarded@example.com"
    world.register(email, PASSWORD, "Bob", service="backend")
    client = web_client(world)
    code = Browser(world).code(client, email)
    token = redeem(world, client, code).json["access_token"]
    assert world.call("GET", "/guarded/x", token=token).status == 200
    if end == "revoke":
        assert post(world, "/oauth/revoke", {"token": token}, basic(client)).status == 200
    elif end == "delete-client":
        assert world.call("DELETE", f"/api/v1/admin/clients/{client['client_id']}", token=world.admin).status == 204
    elif end == "code-again":
        refused(redeem(world, client, code), 400, "invalid_grant")
    else:
        me = world.call("GET", "/api/v1/users/me", token=token).json
        reply = world.call("POST", f"/api/v1/admin/users/{me['id']}/lock", {}, token=world.admin)
        assert reply.status in (200, 204), reply
    wait_for(lambda: world.call("GET", "/guarded/x", token=token).status == 401, 10, "the gateway to refuse it")


def test_a_gateway_that_was_away_knows_what_ended_meanwhile(guarded):
    client = web_client(guarded)
    token = redeem(guarded, client, Browser(guarded).code(client)).json["access_token"]
    guarded.servers["gateway"].stop()
    reply = guarded.call("POST", "/oauth/revoke", urlencode({"token": token}), service="backend", headers={
        "Content-Type": "application/x-www-form-urlencoded", **basic(client)})
    assert reply.status == 200
    guarded.restart("gateway")
    wait_for(lambda: guarded.call("GET", "/guarded/x", token=token).status == 401, 5, "the gateway to refuse it")


# --- clients ---------------------------------------------------------------------------------------------------------

def test_clients_are_the_administrators_business(world):
    customer = world.login("ann@example.com", PASSWORD)
    problem(world.call("GET", "/api/v1/admin/clients", token=customer), 403)
    problem(world.call("POST", "/api/v1/admin/clients", {"client_name": "A", "redirect_uris": ["http://a.example/"]},
                       token=world.admin), 422)
    client = machine_client(world)
    listed = world.call("GET", "/api/v1/admin/clients?limit=100", token=world.admin).json["items"]
    assert client["client_id"] in [c["client_id"] for c in listed] and all("client_secret" not in c for c in listed)
    rotated = world.call("POST", f"/api/v1/admin/clients/{client['client_id']}/rotate", {}, token=world.admin)
    assert rotated.status == 200 and rotated.json["client_secret"] != client["client_secret"]
    for secret in (client["client_secret"], rotated.json["client_secret"]):
        assert post(world, "/oauth/token", "grant_type=client_credentials", basic(client, secret)).status == 200
    gone = world.call("DELETE", f"/api/v1/admin/clients/{client['client_id']}", token=world.admin)
    assert gone.status == 204
    refused(post(world, "/oauth/token", "grant_type=client_credentials", basic(client)), 401, "invalid_client")


def test_the_command_line_manages_clients(world):
    def nexus(*args, code=0):
        run = subprocess.run([binary("nexus"), *args, "--url", world.url("gateway"), "--token", world.admin], env=world.env,
                             capture_output=True, text=True)
        assert run.returncode == code, run.stderr
        return run.stdout
    made = dict(line.split() for line in nexus("clients", "add", "--name", "Cron", "--grants", "client_credentials", "--scope",
                                               "api", "--roles", "operator").splitlines())
    assert "Cron" in nexus("clients", "list") and "operator" in nexus("clients", "show", made["client_id"])
    assert json.loads(nexus("clients", "show", made["client_id"], "--json"))["roles"] == ["operator"]
    again = dict(line.split() for line in nexus("clients", "rotate", made["client_id"], "--overlap", "0").splitlines())
    refused(post(world, "/oauth/token", "grant_type=client_credentials", basic(made)), 401, "invalid_client")
    assert post(world, "/oauth/token", "grant_type=client_credentials", basic(again)).status == 200
    nexus("clients", "delete", made["client_id"])
    nexus("clients", "show", made["client_id"], code=1)
    nexus("clients", "add", code=2)


def test_metadata_at_both_addresses(world):
    for path in ("openid-configuration", "oauth-authorization-server"):
        reply = world.call("GET", f"/.well-known/{path}")
        assert reply.status == 200 and reply.json["issuer"] == world.url("gateway")
    resource = world.call("GET", "/.well-known/oauth-protected-resource").json
    assert resource["authorization_servers"] == [world.url("gateway")]
