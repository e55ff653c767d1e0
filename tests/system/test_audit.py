"""The audit trail of the real servers: what is in it, that nothing is done which cannot be recorded, and verification."""
import json
import os
import shutil
import subprocess

import pytest
from harness import Topology, binary, problem, request, wait_for

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with Topology(tmp_path_factory.mktemp("audit"), ["backend", "gateway"]) as t:
        t.admin = t.bootstrap_admin()
        yield t


def nexus(world, *words):
    env = {**world.env, "NEXUS_TOKEN": world.admin, "PATH": os.environ["PATH"]}
    return subprocess.run([binary("nexus"), *words], env=env, capture_output=True, text=True, timeout=60)


def trail(world, **filters):
    query = "&".join(f"{k}={v}" for k, v in {"limit": 1000, **filters}.items())
    reply = world.call("GET", f"/api/v1/admin/audit?{query}", token=world.admin)
    assert reply.status == 200, reply
    return reply.json["items"]


def test_logins_denials_roles_and_keys_are_in_it_and_no_secrets(world):
    token = world.register("ann@example.com", PASSWORD)
    ann = world.call("GET", "/api/v1/users/me", token=token).json["id"]
    world.call("POST", "/api/v1/auth/login", {"email": "ann@example.com", "password": "wrong horse battery"})
    key = world.call("POST", "/api/v1/users/me/keys", {"name": "n", "scopes": ["orders:read"]}, token=token).json
    assert world.call("PUT", f"/api/v1/users/{ann}/roles/operator", token=world.admin).status == 204
    seen = trail(world)
    assert {"user.registered", "user.login", "apikey.created", "user.changed"} <= {r["action"] for r in seen}
    denied = [r for r in seen if r["outcome"] == "denied"]
    assert denied and denied[-1]["action"] == "user.login" and denied[-1]["object"] == "ann@example.com"
    made = trail(world, action="apikey.*")
    assert made[-1]["actor"] == ann and key["id"] in made[-1]["detail"] and made[-1]["request_id"]
    granted = trail(world, action="user.changed", object=ann)[-1]
    assert granted["actor"] != ann and "operator" in granted["detail"]
    text = json.dumps(seen)
    assert PASSWORD not in text and key["key"][24:67] not in text and token not in text
    problem(world.call("GET", "/api/v1/admin/audit", token=token), 403)


def test_the_command_line_lists_and_verifies(world):
    listed = nexus(world, "audit", "list", "--action", "user.*", "--limit", "3")
    assert listed.returncode == 0 and len(listed.stdout.splitlines()) == 3, listed.stderr
    whole = nexus(world, "audit", "verify")
    assert whole.returncode == 0 and "whole" in whole.stdout, whole.stderr
    assert nexus(world, "audit", "frob").returncode == 2


def admin_write(world):
    token = (world.state / "admin.token").read_text().strip()
    return request("POST", f"http://127.0.0.1:{world.base + 10}/admin/v1/reload", token=token)


def test_admin_writes_of_the_gateway_are_in_its_own_trail(tmp_path):
    with Topology(tmp_path, ["backend", "gateway"]) as t:
        assert admin_write(t).status == 409  # there is no file: recorded, and recorded again when it was refused
    found = subprocess.run([binary("nexus"), "audit", "verify", "--dir", str(t.state / "audit" / "gateway")],
                           env={**t.env, "PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=60)
    assert found.returncode == 0 and "2 records, 1 checkpoints, whole" in found.stdout, found


def test_an_old_copy_is_named_and_the_backend_does_not_go_on_with_it(tmp_path):
    t = Topology(tmp_path, ["backend"])
    log = t.state / "audit" / "backend"
    with t:
        t.register("ann@example.com", PASSWORD, service="backend")
    shutil.copytree(log, tmp_path / "old")
    with t:
        t.login("ann@example.com", PASSWORD, service="backend")
    shutil.rmtree(log)
    shutil.copytree(tmp_path / "old", log)
    found = subprocess.run([binary("nexus"), "audit", "verify", "--dir", str(log)], env={**t.env, "PATH": os.environ["PATH"]},
                           capture_output=True, text=True, timeout=60)
    assert found.returncode == 1 and "is missing" in found.stdout, found
    server = t.servers["backend"].start()
    wait_for(lambda: server.process.poll() is not None, 15, "the refusal")
    assert server.process.returncode != 0 and "old copy" in server.tail()
