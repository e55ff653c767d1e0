"""API keys: the admin API of the real backend, the command line, and the gateway that takes them (attack row 68)."""
import json
import os
import subprocess
import uuid

import pytest
from harness import Topology, binary, problem, wait_for

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
