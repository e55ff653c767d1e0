"""The audit trail of the real servers: what is in it, that nothing is done which cannot be recorded, and verification."""
import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlencode

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
    query = urlencode({"limit": 1000, **filters})
    reply = world.call("GET", f"/api/v1/admin/audit?{query}", token=world.admin)
    assert reply.status == 200, reply
    return reply.json["items"]


def test_logins_denials_roles_and_keys_are_in_it_and_no_secrets(world):
    token = world.register("ann@example.com", PASSWORD)
    ann = world.call("GET", "/api/v1/users/me", token=token).json["id"]
    world.call("POST", "/api/v1/auth/login", {"email": "ann@example.com", "password": "wrong horse battery"})
    key = world.call("POST", "/api/v1/users/me/keys", {"name": "n", "scopes": ["orders:read"]}, token=token).json
    assert world.call("PUT", f"/api/v1/users/{ann}/roles/operator", token=world.admin).status == 204
    [denied] = wait_for(lambda: trail(world, action="user.login", outcome="denied"), 10, "the refused login")
    assert denied["object"] == "ann@example.com" and denied["detail"] == "reason=refused count=1"
    seen = trail(world)
    assert {"user.registered", "user.login", "apikey.created", "user.changed", "key.created"} <= {r["action"] for r in seen}
    made = trail(world, action="apikey.*")
    assert made[-1]["actor"] == ann and key["id"] in made[-1]["detail"] and made[-1]["request_id"]
    granted = trail(world, action="user.changed", object=ann)[-1]
    assert granted["actor"] != ann and "operator" in granted["detail"]
    text = json.dumps(seen)
    assert PASSWORD not in text and key["key"][24:67] not in text and token not in text
    problem(world.call("GET", "/api/v1/admin/audit", token=token), 403)


def test_every_grant_of_a_token_is_in_it(world):
    login = world.call("POST", "/api/v1/auth/login", {"email": "admin@example.com", "password": PASSWORD}).json
    world.call("POST", "/api/v1/auth/refresh", {"refresh_token": login["refresh_token"]})
    made = world.call("POST", "/api/v1/admin/clients", {
        "client_name": "job", "grant_types": ["client_credentials"], "scope": "api"}, token=world.admin)
    assert made.status == 201, made
    basic = base64.b64encode(f"{made.json['client_id']}:{made.json['client_secret']}".encode()).decode()
    granted = world.call("POST", "/oauth/token", "grant_type=client_credentials", service="backend", headers={
        "Authorization": "Basic " + basic, "Content-Type": "application/x-www-form-urlencoded"})
    assert granted.status == 200, granted
    issued = trail(world, action="token.issued")
    grants = [r["detail"].split("grant=")[1].split()[0] for r in issued]
    assert grants[-2:] == ["refresh_token", "client_credentials"] and "password" in grants, issued
    assert issued[-1]["actor"] == made.json["client_id"] and issued[-2]["request_id"]
    text = json.dumps(issued)
    assert login["access_token"] not in text and granted.json["access_token"] not in text


def test_orders_are_in_it_and_who_moved_them(world):
    token = world.register("buyer@example.com", PASSWORD)
    me = world.call("GET", "/api/v1/users/me", token=token).json["id"]
    item = {"sku": "A", "quantity": 1, "unit_price": {"amount": 1250, "currency": "EUR"}}
    order = world.call("POST", "/api/v1/orders", {"items": [item], "payment": {"token": "tok_ok"}}, token=token)
    assert order.status == 201, order
    seen = wait_for(lambda: (lambda r: len(r) == 2 and r)(trail(world, object=order.json["id"])), 20, "the order's end")
    assert [(r["action"], r["actor"]) for r in seen] == [("order.created", me), ("order.confirmed", "order-saga")]
    assert seen[0]["detail"] == "amount=1250 currency=EUR"


def test_who_is_not_let_is_counted_and_not_recorded_each_time(world):
    token = world.register("cat@example.com", PASSWORD)
    cat = world.call("GET", "/api/v1/users/me", token=token).json["id"]
    for _ in range(30):
        problem(world.call("GET", "/api/v1/admin/audit", token=token, service="backend"), 403)
        problem(world.call("GET", "/api/v1/users/me", token="no.token.atall", service="backend"), 401)

    def counted(**filters):
        records = trail(world, action="access.denied", **filters)
        return records and (records, sum(int(r["detail"].split("count=")[1]) for r in records))

    def both():
        return counted(actor=cat), counted(object="GET /api/v1/users/me")

    mine, strangers = wait_for(lambda: (lambda b: b[0] and b[1] and b)(both()), 10, "the denials")
    assert mine[0][0]["object"] == "GET /api/v1/admin/audit" and "role-missing" in mine[0][0]["detail"]
    assert "token-invalid" in strangers[0][0]["detail"] and "actor" not in strangers[0][0] and strangers[0][0]["ip"]
    assert len(mine[0]) <= 2 and len(strangers[0]) <= 2  # the rest comes within the minute, as one record


def test_each_record_is_an_event_of_the_bus(world):
    env = {**world.env, "PATH": os.environ["PATH"]}
    tail = subprocess.Popen([binary("nexus"), "events", "tail", "--type", "audit.user", "--count", "1", "--json"], env=env,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        def told():  # until the tail listens
            world.login("admin@example.com", PASSWORD)
            return tail.poll() is not None

        wait_for(told, 20, "the event", every=0.3)
        out, err = tail.communicate(timeout=10)
    finally:
        tail.kill()
    event = json.loads(out.splitlines()[0])
    assert event["type"] == "audit.user" and event["data"]["action"] == "user.login", (event, err)
    assert event["source"] == "/nexus/backend" and event["id"].split(".")[1] == str(event["data"]["seq"])


def test_the_command_line_lists_and_verifies(world):
    listed = nexus(world, "audit", "list", "--action", "user.*", "--limit", "3")
    assert listed.returncode == 0 and len(listed.stdout.splitlines()) == 3, listed.stderr
    whole = nexus(world, "audit", "verify")
    said = dict(line.split(": ", 1) for line in whole.stdout.splitlines())
    assert whole.returncode == 0 and set(said) == {"backend", "gateway"}, whole  # of both that run
    assert all(line.endswith("whole") for line in said.values()), said
    assert nexus(world, "audit", "frob").returncode == 2


def operator(world):
    return (world.state / "admin.token").read_text().strip()


def admin_write(world):
    return request("POST", f"http://127.0.0.1:{world.base + 10}/admin/v1/reload", token=operator(world))


def test_admin_writes_of_the_gateway_are_in_its_own_trail(tmp_path):
    with Topology(tmp_path, ["backend", "gateway"]) as t:
        assert admin_write(t).status == 409  # there is no file: recorded, and recorded again when it was refused
    found = subprocess.run([binary("nexus"), "audit", "verify", "--dir", str(t.state / "audit" / "gateway")],
                           env={**t.env, "PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=60)
    assert found.returncode == 0 and "2 records, 1 checkpoints, whole" in found.stdout, found


@pytest.fixture
def full_disk(tmp_path):
    """An environment for servers, and a file: while that is there, nothing can be written into a trail."""
    shim, flag = tmp_path / "full_disk.so", tmp_path / "full"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(shim), str(Path(__file__).with_name("full_disk.c")), "-ldl"],
                   check=True, timeout=60)
    return {"LD_PRELOAD": str(shim), "NEXUS_TEST_FULL": str(flag),
            "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}, flag


def test_what_cannot_be_recorded_is_not_done(tmp_path, full_disk):
    env, flag = full_disk
    with Topology(tmp_path, ["backend", "gateway"], env) as t:
        t.admin = t.bootstrap_admin()
        token = t.register("ann@example.com", PASSWORD)
        ann = t.call("GET", "/api/v1/users/me", token=token).json["id"]
        before = t.call("GET", "/api/v1/admin/secrets", token=t.admin).json
        config = request("GET", f"http://127.0.0.1:{t.base + 10}/admin/v1/config", token=operator(t)).json
        flag.touch()
        refused = [t.call("PUT", f"/api/v1/users/{ann}/roles/operator", token=t.admin, service="backend"),
                   t.call("POST", "/api/v1/admin/secrets/rotate", token=t.admin, service="backend"),
                   t.call("POST", "/api/v1/users/me/keys", {"name": "n", "scopes": ["orders:read"]}, token=token,
                          service="backend"),
                   t.call("POST", "/api/v1/auth/login", {"email": "ann@example.com", "password": PASSWORD}, service="backend"),
                   request("PUT", f"http://127.0.0.1:{t.base + 10}/admin/v1/routes/console", {"prefix": "/x"},
                           token=operator(t))]
        assert [r.status for r in refused] == [503] * 5, refused
        flag.unlink()
        assert t.call("GET", "/api/v1/users/me", token=token).json["roles"] == ["customer"]
        assert t.call("GET", "/api/v1/admin/secrets", token=t.admin).json == before
        assert t.call("GET", "/api/v1/users/me/keys", token=token).json["items"] == []
        after = request("GET", f"http://127.0.0.1:{t.base + 10}/admin/v1/config", token=operator(t)).json
        assert after == config
    with t:  # and the trails are whole
        whole = nexus(t, "audit", "verify")
        assert whole.returncode == 0, whole


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
