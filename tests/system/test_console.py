"""The web console in real Chromium, and its session, pass-through and content policy seen from outside.

Screenshots of every page in both themes go to tests/screenshots/."""
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from harness import ROOT, SLOW, Topology, problem, request, wait_for

BROWSER = ROOT / "tests/browser"
SHOTS = ROOT / "tests/screenshots"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
EMAIL, PASSWORD = "admin@example.com", "correct horse battery"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with Topology(tmp_path_factory.mktemp("console")) as topology:
        topology.admin = topology.bootstrap_admin(EMAIL, PASSWORD)
        yield topology


def call(world, method, path, body=None, cookie=None, headers=None):
    headers = dict(headers or {"Sec-Fetch-Site": "same-origin"})
    if cookie:
        headers["Cookie"] = cookie
    return request(method, world.url("console", path), body, headers=headers)


def sign_in(world, email=EMAIL, password=PASSWORD):
    reply = call(world, "POST", "/session", {"email": email, "password": password})
    assert reply.status == 200, reply
    return reply.header("Set-Cookie").split(";")[0]


def test_pages_are_hashed_compressed_and_forbid_anything_from_outside(world):
    page = call(world, "GET", "/")
    assert page.status == 200 and page.header("Cache-Control") == "no-cache"
    policy = page.header("Content-Security-Policy")
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    import re
    paths = re.findall(rb'(?:href|src)="(/assets/[^"]+)"', page.body)
    assert len(paths) == 3
    total = 0
    for path in paths:
        asset = call(world, "GET", path.decode(), headers={"Accept-Encoding": "gzip"})
        assert asset.status == 200 and "immutable" in asset.header("Cache-Control") and asset.header("Content-Encoding") == "gzip"
        total += len(asset.body)
        again = call(world, "GET", path.decode(), headers={"If-None-Match": asset.header("ETag")})
        assert again.status == 304 and not again.body
    assert total < 100_000
    assert call(world, "GET", "/assets/app.000000000000.js").status == 404


def test_a_session_is_a_cookie_that_scripts_cannot_read(world):
    reply = call(world, "POST", "/session", {"email": EMAIL, "password": PASSWORD})
    cookie = reply.header("Set-Cookie")
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and "Path=/" in cookie
    assert "token" not in reply.body.decode().lower() and reply.json["user"]["email"] == EMAIL
    cookie = cookie.split(";")[0]
    assert call(world, "GET", "/session", cookie=cookie).json["user"]["email"] == EMAIL
    assert call(world, "GET", "/session").json == {"user": None}
    assert call(world, "GET", "/api/v1/users/me", cookie=cookie).json["email"] == EMAIL
    assert call(world, "DELETE", "/session", cookie=cookie).status == 204
    problem(call(world, "GET", "/api/v1/users/me", cookie=cookie), 401, "not-signed-in")


def sessions_of(world, cookie):
    return [i for i in call(world, "GET", "/api/v1/users/me/sessions", cookie=cookie).json["items"] if i["kind"] == "browser"]


def test_row_66_a_sign_in_makes_a_session_of_its_own_and_ends_the_one_it_finds(world):
    planted = sign_in(world)  # by somebody who put his own into the browser
    reply = request("POST", world.url("console", "/session"), {"email": EMAIL, "password": PASSWORD},
                    headers={"Sec-Fetch-Site": "same-origin", "Cookie": planted})
    fresh = reply.header("Set-Cookie").split(";")[0]
    assert fresh != planted and fresh.startswith("nexus_session=") and len(fresh) == len("nexus_session=") + 43
    problem(call(world, "GET", "/api/v1/users/me", cookie=planted), 401, "not-signed-in")
    assert call(world, "GET", "/api/v1/users/me", cookie=fresh).status == 200
    for wrong in ("nexus_session=" + "A" * 43, "nexus_session=x", "nexus_session=", "xnexus_session=" + fresh[-43:]):
        problem(call(world, "GET", "/api/v1/users/me", cookie=wrong), 401, "not-signed-in")


def test_row_66_a_session_that_was_ended_elsewhere_is_over_at_once(world):
    stolen, own = sign_in(world), sign_in(world)
    assert call(world, "GET", "/api/v1/users/me", cookie=stolen).status == 200
    others = [i["id"] for i in sessions_of(world, own) if not i["current"]]
    assert others and len(others) + 1 == len(sessions_of(world, own))
    for session in others:
        assert call(world, "DELETE", f"/api/v1/users/me/sessions/{session}", cookie=own).status == 204
    wait_for(lambda: call(world, "GET", "/api/v1/users/me", cookie=stolen).status == 401, 10, "the other session over")
    assert call(world, "GET", "/api/v1/users/me", cookie=own).status == 200


def test_a_console_that_starts_anew_goes_on_with_its_sessions(world):
    cookie = sign_in(world)
    world.servers["console"].kill()
    world.restart("console")
    assert call(world, "GET", "/session", cookie=cookie).json["user"]["email"] == EMAIL
    assert call(world, "DELETE", "/session", cookie=cookie).status == 204
    world.servers["console"].kill()
    world.restart("console")
    assert call(world, "GET", "/session", cookie=cookie).json == {"user": None}


def test_cookies_of_an_https_site_are_bound_to_it(tmp_path):
    with Topology(tmp_path, ["gateway", "backend", "console"], env={"NEXUS_ISSUER": "https://id.example"}) as t:
        t.bootstrap_admin(EMAIL, PASSWORD)
        reply = call(t, "POST", "/session", {"email": EMAIL, "password": PASSWORD})
        cookies = {c.split("=")[0]: c for c in reply.headers.get_all("Set-Cookie")}
        assert set(cookies) == {"__Host-nexus_session", "__Host-nexus_device"}, cookies
        for cookie in cookies.values():
            assert all(f"; {word}" in cookie for word in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/")) and "Domain" not in cookie
        session = cookies["__Host-nexus_session"].split(";")[0]
        assert call(t, "GET", "/api/v1/users/me", cookie=session).status == 200
        problem(call(t, "GET", "/api/v1/users/me", cookie=session.removeprefix("__Host-")), 401, "not-signed-in")
        again = call(t, "POST", "/session", {"email": EMAIL, "password": PASSWORD}, cookie=cookies["__Host-nexus_device"].split(";")[0])
        assert len(again.headers.get_all("Set-Cookie")) == 1, "the device is known"


def test_a_second_factor_at_the_console(world):
    import base64, hashlib, hmac, struct
    world.register("tess@example.com")
    cookie = sign_in(world, "tess@example.com", "correct horse battery")
    secret = call(world, "POST", "/api/v1/users/me/totp", {"password": PASSWORD}, cookie=cookie).json["secret"]

    def code(ahead):
        step = struct.pack(">Q", int(time.time()) // 30 + ahead)
        digest = hmac.new(base64.b32decode(secret), step, hashlib.sha1).digest()
        at = digest[-1] & 15
        return f"{(struct.unpack('>I', digest[at:at + 4])[0] & 0x7fffffff) % 10**6:06}"
    confirmed = call(world, "POST", "/api/v1/users/me/totp/confirm", {"code": code(0)}, cookie=cookie)
    assert confirmed.status == 200
    due = call(world, "POST", "/session", {"email": "tess@example.com", "password": PASSWORD})
    assert due.status == 200 and due.json["mfa_required"] and not due.header("Set-Cookie")
    problem(call(world, "POST", "/session/second", {"mfa_token": due.json["mfa_token"], "code": "00000x"}), 401, "code-wrong")
    done = call(world, "POST", "/session/second", {"mfa_token": due.json["mfa_token"], "code": code(1)})
    assert done.json["user"]["email"] == "tess@example.com" and done.header("Set-Cookie").startswith("nexus_session=")


def test_what_is_passed_on_keeps_its_status_and_words(world):
    cookie = sign_in(world)
    problem(call(world, "GET", "/api/v1/users/me"), 401)
    assert call(world, "GET", "/api/v1/no/such/thing", cookie=cookie).status == 404
    order = {"items": [{"sku": "b", "quantity": 0, "unit_price": {"amount": 1, "currency": "EUR"}}], "payment": {"token": "tok_ok"}}
    problem(call(world, "POST", "/api/v1/orders", order, cookie=cookie), 422)
    board = call(world, "GET", "/api/v1/analytics/dashboard?range=1h", cookie=cookie)
    assert board.status == 200 and board.json["totals"]["events"] > 0


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://evil.example"}, {"X": "y"}])
def test_another_site_cannot_change_anything(world, headers):
    cookie = sign_in(world)
    problem(call(world, "POST", "/api/v1/orders", {}, cookie=cookie, headers=headers), 403, "cross-site")
    problem(call(world, "POST", "/session", {"email": EMAIL, "password": PASSWORD}, headers=headers), 403, "cross-site")
    problem(call(world, "DELETE", "/session", cookie=cookie, headers=headers), 403, "cross-site")
    own = {"Origin": world.url("console").rstrip("/")}
    assert call(world, "DELETE", "/session", cookie=cookie, headers=own).status == 204


def test_wrong_password_and_broken_bodies(world):
    problem(call(world, "POST", "/session", {"email": EMAIL, "password": "wrong"}), 401)
    assert 400 <= call(world, "POST", "/session", b"{", headers={"Sec-Fetch-Site": "same-origin", "Content-Type": "application/json"}).status < 500
    assert 400 <= call(world, "POST", "/session", {"email": 1}).status < 500


def test_health_names_all_six(world):
    cookie = sign_in(world)
    services = call(world, "GET", "/status", cookie=cookie).json["services"]
    assert {s["name"]: s["state"] for s in services} == dict.fromkeys(
        ["gateway", "backend", "console", "analytics", "notification", "copilot"], "ready")
    problem(call(world, "GET", "/status"), 401)


@pytest.mark.skipif(not shutil.which("node") or not (BROWSER / "node_modules/playwright-core").exists() or not Path(CHROMIUM).exists(),
                    reason="needs node, chromium and scripts/setup.sh (npm packages of tests/browser)")
def test_an_operator_in_chromium(world):
    customer = world.register("ada@example.com")
    body = {"items": [{"sku": "book-1", "quantity": 2, "unit_price": {"amount": 1250, "currency": "EUR"}}], "payment": {"token": "tok_ok"}}
    order = world.call("POST", "/api/v1/orders", body, token=customer)
    assert order.status == 201, order
    wait_for(lambda: world.call("GET", "/api/v1/analytics/dashboard?range=1h", token=world.admin).json["orders"]["confirmed"], 15, "a confirmed order")
    wait_for(lambda: world.call("GET", "/api/v1/notifications/mailbox", token=world.admin).json["items"], 15, "a captured mail")
    run = subprocess.Popen(["node", "console.mjs", world.url("console", "/"), EMAIL, PASSWORD, str(SHOTS)], cwd=BROWSER,
                           env=dict(os.environ, CHROMIUM=CHROMIUM), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        first = run.stderr.readline()
        assert first.strip() == "READY", first + run.stderr.read()
        assert world.call("POST", "/api/v1/ingest/event", {"event": "browser.test", "user_id": "u"}, token=world.admin).status == 202
        out, err = run.communicate(timeout=90 * SLOW)
    finally:
        if run.poll() is None:
            run.kill()
    assert run.returncode == 0, err
    seen = json.loads(out)
    base = world.url("console", "/")
    assert not [u for u in seen["requests"] if not u.startswith(base)], "an external resource"
    assert not seen["problems"] and not seen["console"], (seen["problems"], seen["console"])
    pages = seen["pages"]
    assert int(pages["totals"]["events"].replace(",", "")) > 0 and pages["totals"]["confirmed"] == "1" and "25.00" in pages["totals"]["revenue"]
    assert "order.confirmed" in pages["tail"] or len(pages["tail"]) == 8
    assert pages["live"]
    assert order.json["id"] in pages["mail"] or "ada" in pages["mail"].lower() or "order" in pages["mail"].lower()
    assert set(pages["health"].values()) == {"ready"} and len(pages["health"]) == 6
    assert "events were counted today" in pages["answer"] and any(c.isdigit() for c in pages["answer"])
    assert "password" in pages["refused"].lower()
    assert pages["overflow"] <= 0, "the page is wider than 320 pixels"
    assert pages["after"] == 401, "signing out ends the session"
    session = [c for c in seen["cookies"] if c["name"] == "nexus_session"][0]
    assert session["httpOnly"] and session["sameSite"] == "Lax"
    assert seen["scriptCookies"] == "" and seen["storage"] == "[{},{}]", "nothing is kept where scripts can read"
    assert not seen["axe"], "\n".join(seen["axe"])
    assert (SHOTS / "dashboard-dark.png").stat().st_size > 10_000
