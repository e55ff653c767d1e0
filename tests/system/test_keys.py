"""API keys: the admin API of the real backend, the command line, and the gateway that takes them (attack row 68)."""
import json
import os
import subprocess
import time
import uuid
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from engines import Postgres
from gateway_harness import Upstream
from harness import SLOW, Topology, binary, problem, wait_for

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with Topology(tmp_path_factory.mktemp("keys"), ["backend", "gateway"]) as t:
        t.admin = t.bootstrap_admin()
        yield t


def new_customer(world):
    email = f"{uuid.uuid4().hex}@example.com"
    return email, world.register(email, PASSWORD)


def make(world, token, **more):
    body = {"name": "till", "scopes": ["orders:read"], **more}
    reply = world.call("POST", "/api/v1/users/me/keys", body, token=token)
    assert reply.status == 201, reply
    return reply.json


def known(world, key):
    """What the backend tells a gateway."""
    bearer = (world.state / "admin.token").read_text().strip()
    return world.call("POST", "/internal/v1/keys/check", {"key": key}, token=bearer, service="backend")


def test_a_key_is_shown_once_and_its_owner_sees_it_without_the_secret(world):
    _, token = new_customer(world)
    made = make(world, token, cidrs=["10.0.0.0/8"], plan="gold")
    assert made["key"].startswith(f"nexus_live_{made['id']}_") and len(made["key"]) == 73
    shown = world.call("GET", f"/api/v1/users/me/keys/{made['id']}", token=token)
    assert shown.status == 200 and "key" not in shown.json and made["key"][24:67] not in shown.body.decode()
    assert shown.json["scopes"] == ["orders:read"] and shown.json["cidrs"] == ["10.0.0.0/8"] and shown.json["plan"] == "gold"
    listed = world.call("GET", "/api/v1/users/me/keys", token=token).json
    assert [k["id"] for k in listed["items"]] == [made["id"]] and listed["next_cursor"] is None
    claims = known(world, made["key"]).json
    assert claims["key_id"] == made["id"] and claims["roles"] == ["customer"] and claims["scope"] == "orders:read"


def test_what_may_not_be_is_refused_and_says_why(world):
    _, token = new_customer(world)
    for body, pointer in (({"scopes": ["audit:read"]}, "/scopes"), ({"cidrs": ["ten"]}, "/cidrs"), ({"scopes": []}, "/scopes")):
        reply = world.call("POST", "/api/v1/users/me/keys", {"name": "n", "scopes": ["orders:read"], **body}, token=token)
        assert problem(reply, 422)["errors"][0]["pointer"].startswith(pointer), reply
    problem(world.call("POST", "/api/v1/users/me/keys", {"name": "n", "scopes": ["orders:read"], "owner": "x"}, token=token), 422)
    problem(world.call("POST", "/api/v1/users/me/keys", {"name": "n", "scopes": ["orders:read"]}), 401)
    problem(world.call("GET", "/api/v1/admin/keys", token=token), 403, "role-missing")


def test_nobody_touches_anothers_key(world):
    _, ann = new_customer(world)
    _, bob = new_customer(world)
    made = make(world, ann)
    for method, suffix in (("GET", ""), ("POST", "/rotate"), ("DELETE", "")):
        problem(world.call(method, f"/api/v1/users/me/keys/{made['id']}{suffix}", {} if method == "POST" else None, token=bob), 404)
    assert known(world, made["key"]).status == 200


def test_the_gateways_question_is_for_the_operator_only(world):
    _, token = new_customer(world)
    made = make(world, token)
    problem(world.call("POST", "/internal/v1/keys/check", {"key": made["key"]}, token=token, service="backend"), 401)
    assert world.call("POST", "/internal/v1/keys/check", {"key": made["key"]}).status in (404, 502, 503)  # not routed
    problem(known(world, "nexus_live_"), 404)


def nexus(world, *words, token):
    env = {**world.env, "NEXUS_TOKEN": token, "PATH": os.environ["PATH"]}
    return subprocess.run([binary("nexus"), *words], env=env, capture_output=True, text=True, timeout=60)


def test_the_command_line_makes_rotates_and_ends_keys(world):
    email, token = new_customer(world)
    made = nexus(world, "keys", "create", "--name", "till", "--scopes", "orders:read,orders:create", "--days", "30", token=token)
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    key_id = key.split("_")[2]
    assert known(world, key).status == 200
    shown = nexus(world, "keys", "show", key_id, "--json", token=token)
    assert json.loads(shown.stdout)["state"] == "active"
    fresh = nexus(world, "keys", "rotate", key_id, "--overlap", "0", token=world.admin).stdout.strip()  # an administrator may too
    assert known(world, key).status == 404 and known(world, fresh).status == 200
    assert nexus(world, "keys", "revoke", key_id, token=token).returncode == 0
    assert known(world, fresh).status == 404
    listed = nexus(world, "keys", "list", "--all", "--json", token=world.admin)
    assert key_id in listed.stdout and "revoked" in listed.stdout
    owned = nexus(world, "keys", "create", "--name", "ops", "--scopes", "orders:read", "--owner", email, token=world.admin)
    assert owned.returncode == 0 and known(world, owned.stdout.strip()).json["scope"] == "orders:read"
    refused = nexus(world, "keys", "create", "--name", "n", "--scopes", "*:**", token=token)
    assert refused.returncode == 1 and "422" in refused.stderr
    assert nexus(world, "keys", "create", token=token).returncode == 2
    assert nexus(world, "keys", "frob", "x", token=token).returncode == 2


# --- at the gateway -----------------------------------------------------------------------------------------------------

ROUTES = [
    {"prefix": "/secure", "auth": "api_key"},
    {"prefix": "/either", "auth": "jwt OR api_key"},
    {"prefix": "/open", "auth": "api_key OR anonymous"},
    {"prefix": "/write", "auth": "api_key", "require": {"all": ["orders:create"]}},
    {"prefix": "/read", "auth": "api_key", "require": {"all": ["orders:read"]}},
    {"prefix": "/limited", "auth": "api_key", "limits": [{"name": "own", "rate": 1, "period_s": 3600, "key": ["api_key"]}]},
    {"prefix": "/planned", "auth": "api_key", "limits": {"plan": {"default": "free"}}},
]
PLANS = {"free": {"policies": [{"name": "free", "rate": 1, "period_s": 3600, "key": ["api_key"]}]},
         "gold": {"policies": [{"name": "gold", "rate": 3, "period_s": 3600, "key": ["api_key"]}]}}


def edge_of(folder, upstream, services=("backend", "gateway"), **env):
    routes = [{**r, "upstream": "a"} for r in ROUTES]
    path = folder / "routes.json"
    path.write_text(json.dumps({"version": 1, "plans": PLANS, "routes": routes,
                                "upstreams": {"a": {"targets": [f"http://127.0.0.1:{upstream.port}"]}}}))
    return Topology(folder, services, {"NEXUS_GATEWAY_ROUTES": str(path), **env})


@pytest.fixture(scope="module")
def edge(tmp_path_factory):
    upstream = Upstream()
    with edge_of(tmp_path_factory.mktemp("edge"), upstream) as t:
        t.upstream = upstream
        t.owner = t.register("ann@example.com", PASSWORD, service="backend")
        yield t
    upstream.close()


def key_of(t, **more):
    reply = t.call("POST", "/api/v1/users/me/keys", {"name": "till", "scopes": ["orders:read"], **more}, token=t.owner,
                   service="backend")
    assert reply.status == 201, reply
    return reply.json


def use(t, path, key, **headers):
    return t.call("GET", path, headers={"X-API-Key": key, **headers})


def asked(t):
    """How often the backend was asked about keys."""
    return t.servers["backend"].log.read_text().count("/internal/v1/keys/check")


def test_a_key_lets_in_and_stays_at_the_gateway(edge):
    made = key_of(edge)
    for headers in ({"X-API-Key": made["key"]}, {"Authorization": f"ApiKey {made['key']}"}):
        answer = edge.call("GET", "/secure/x", headers=headers)
        assert answer.status == 200, answer
        got = answer.json["headers"]
        assert got["x-nexus-user"] == made["owner"] and got["x-nexus-roles"] == "customer"
        assert made["key"] not in answer.body.decode()
    assert use(edge, "/either", made["key"]).status == 200
    missing = edge.call("GET", "/secure")
    problem(missing, 401, "unauthorized")
    assert missing.header("WWW-Authenticate") == "ApiKey"


def test_a_damaged_key_costs_no_question(edge):
    key = key_of(edge)["key"]
    before = asked(edge)
    for bad in (key[:-1] + ("0" if key[-1] != "0" else "1"), key[:-1], key + "0", "nexus_live_", "x" * 73, key.swapcase()):
        problem(use(edge, "/secure", bad), 401, "invalid-key")
        problem(use(edge, "/open", bad), 401, "invalid-key")  # a wrong key does not turn into nobody
    assert asked(edge) == before
    assert edge.call("GET", "/open").json["headers"].get("x-nexus-user") == "anonymous"


def forged(key):
    """Of the same id, with another secret and the right checksum."""
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    text = key[:24] + key[24:67][::-1]
    crc, tail = zlib.crc32(text.encode()), ""
    for _ in range(6):
        crc, digit = divmod(crc, 62)
        tail = digits[digit] + tail
    return text + tail


def test_wrong_secrets_and_unknown_ids_are_told_alike(edge):
    key = key_of(edge)["key"]
    assert use(edge, "/secure", key).status == 200
    wrong = problem(use(edge, "/secure", forged(key)), 401, "invalid-key")
    unknown = problem(use(edge, "/secure", "nexus_live_0123456789ab_0123456789abcdefghijABCDEFGHIJ0123456789abc0lpKpm"), 401)
    assert {**wrong, "instance": ""} == {**unknown, "instance": ""}
    assert use(edge, "/secure", key).status == 200


def test_a_revoked_key_ends_within_a_second(edge):
    made = key_of(edge)
    assert use(edge, "/secure", made["key"]).status == 200
    assert edge.call("DELETE", f"/api/v1/users/me/keys/{made['id']}", token=edge.owner, service="backend").status == 204
    problem(wait_for(lambda: (r := use(edge, "/secure", made["key"])).status != 200 and r, 2, "the end of the key"), 401,
            "invalid-key")


def test_a_rotated_key_has_two_secrets(edge):
    made = key_of(edge)
    fresh = edge.call("POST", f"/api/v1/users/me/keys/{made['id']}/rotate", {}, token=edge.owner, service="backend").json
    assert use(edge, "/secure", made["key"]).status == use(edge, "/secure", fresh["key"]).status == 200


def test_addresses_and_urls(edge):
    here, there = key_of(edge, cidrs=["127.0.0.0/8", "::1/128"])["key"], key_of(edge, cidrs=["10.0.0.0/8"])["key"]
    assert use(edge, "/secure", here).status == 200
    for _ in range(2):  # asked for, and remembered
        problem(use(edge, "/secure", there), 403, "address-refused")
    for query in (f"api_key={here}", f"x={here}", "X-API-Key=1"):
        problem(edge.call("GET", f"/secure?{query}"), 401, "key-in-url")
        problem(use(edge, f"/secure?{query}", here), 401, "key-in-url")
    problem(edge.call("GET", "/secure", headers={"X-API-Key": here, "Authorization": f"ApiKey {here}"}), 400, "invalid-request")


def test_a_key_may_no_more_than_its_scopes(edge):
    read = key_of(edge)["key"]
    assert use(edge, "/read", read).status == 200
    problem(use(edge, "/write", read), 403, "insufficient-scope")
    assert use(edge, "/write", key_of(edge, scopes=["orders:create"])["key"]).status == 200


def test_limits_count_by_key_and_by_its_plan(edge):
    one, other, gold = key_of(edge)["key"], key_of(edge)["key"], key_of(edge, plan="gold")["key"]
    assert [use(edge, "/limited", k).status for k in (one, one, other, other)] == [200, 429, 200, 429]
    assert [use(edge, "/planned", one).status for _ in range(2)] == [200, 429]
    assert [use(edge, "/planned", gold).status for _ in range(4)] == [200, 200, 200, 429]


def test_many_at_once_ask_once(edge):
    key = key_of(edge)["key"]
    before, began = asked(edge), time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(lambda _: use(edge, "/secure", key).status, range(64))) == {200}
    assert 1 <= asked(edge) - before <= 2 + 2 * (time.monotonic() - began)  # one for each half second that this took


def test_nobody_passes_on_a_doubt(tmp_path):
    upstream = Upstream()
    with edge_of(tmp_path, upstream) as t:
        t.owner = t.register("ann@example.com", PASSWORD, service="backend")
        key = key_of(t)["key"]
        assert use(t, "/secure", key).status == 200
        t.servers["backend"].kill()
        answer = wait_for(lambda: (r := use(t, "/secure", key)).status != 200 and r, 5, "the end of what is remembered")
        problem(answer, 503, "keys-unavailable")
    upstream.close()


def test_the_shared_database_tells_too(tmp_path):
    upstream = Upstream()
    with Postgres() as url, edge_of(tmp_path, upstream, NEXUS_DATABASE_URL=url, NEXUS_GATEWAY_APIKEYS="database") as t:
        t.owner = t.register("ann@example.com", PASSWORD, service="backend")
        made = key_of(t)
        assert use(t, "/secure", made["key"]).json["headers"]["x-nexus-user"] == made["owner"]
        assert asked(t) == 0
        assert t.call("DELETE", f"/api/v1/users/me/keys/{made['id']}", token=t.owner, service="backend").status == 204
        wait_for(lambda: use(t, "/secure", made["key"]).status == 401, 2, "the end of the key")
    upstream.close()
