"""Roles of one's own against the real servers, on SQLite and PostgreSQL alike (attack row 69): the admin API, the command line,
and how a change reaches tokens that are out and processes that have no database."""
import contextlib
import json
import os
import subprocess
import uuid

import pytest
from engines import Postgres
from harness import Topology, binary, problem, wait_for

PASSWORD = "correct horse battery"
ROLES = "/api/v1/admin/roles"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def world(request, tmp_path_factory):
    with (Postgres() if request.param == "postgresql" else contextlib.nullcontext()) as database:
        env = {"NEXUS_DATABASE_URL": database} if database else {}
        with Topology(tmp_path_factory.mktemp("roles"), ["backend", "gateway", "analytics"], env=env) as t:
            t.admin = t.bootstrap_admin()
            yield t


def name():
    return "r" + uuid.uuid4().hex[:12]


def put(world, role, definition=None, token=None, tenant=None):
    return world.call("PUT", f"{ROLES}/{role}" + (f"?tenant={tenant}" if tenant else ""), definition or {}, token=token or world.admin)


def make(world, tenant=None, **definition):
    role = name()
    reply = put(world, role, definition, tenant=tenant)
    assert reply.status == 201, reply
    return role


class Person:
    """A customer who is given roles; `token()` is one that carries what he has now."""

    def __init__(self, world, *roles, tenant=None):
        self.world, self.email = world, f"{uuid.uuid4().hex}@example.com"
        self.id = world.call("GET", "/api/v1/users/me", token=world.register(self.email, PASSWORD)).json["id"]
        for role in roles:
            self.grant(role, tenant)

    def grant(self, role, tenant=None, method="PUT", token=None):
        path = f"/api/v1/users/{self.id}/roles/{role}" + (f"?tenant={tenant}" if tenant else "")
        reply = self.world.call(method, path, token=token or self.world.admin)
        if token is None:
            assert reply.status == 204, reply
        return reply

    def token(self):
        return self.world.login(self.email, PASSWORD)


def test_the_built_in_roles_are_rows_that_stay(world):
    listed = world.call("GET", f"{ROLES}?tenant=", token=world.admin).json
    built_in = {r["name"]: r for r in listed["items"] if r["built_in"]}
    assert set(built_in) == {"customer", "operator", "admin"} and built_in["operator"]["inherits"] == ["customer"]
    assert built_in["admin"]["allow"] == ["*:**"] and "orders:read:own" in built_in["customer"]["allow"]
    for role in built_in:
        problem(put(world, role, {"allow": []}), 409, "role-conflict")
        problem(world.call("DELETE", f"{ROLES}/{role}", token=world.admin), 409, "role-conflict")


def test_a_role_opens_what_it_allows_and_nothing_else(world):
    auditor = make(world, description="Reads the trail.", allow=["audit:read"])
    person = Person(world, auditor)
    token = person.token()
    assert world.call("GET", "/api/v1/admin/audit", token=token).status == 200
    refused = problem(world.call("GET", "/api/v1/admin/users", token=token), 403, "role-missing")
    assert "users:list" in refused["detail"]
    problem(world.call("GET", ROLES, token=token), 403)
    assert world.call("GET", "/api/v1/users/me", token=token).json["roles"] == ["customer", auditor]
    person.grant(auditor, method="DELETE")  # and the token that is out is void
    wait_for(lambda: world.call("GET", "/api/v1/admin/audit", token=token).status == 401, 5, "the token of a lost role is void")
    problem(world.call("GET", "/api/v1/admin/audit", token=person.token()), 403)


def test_a_change_holds_for_tokens_that_are_out(world):
    role = make(world)
    token = Person(world, role).token()
    problem(world.call("GET", "/api/v1/admin/users", token=token), 403)
    assert put(world, role, {"allow": ["users:*"]}).status == 200
    assert world.call("GET", "/api/v1/admin/users", token=token).status == 200  # the process that changed it: at once
    assert put(world, role, {"allow": ["users:*"], "deny": ["users:list"]}).status == 200
    problem(world.call("GET", "/api/v1/admin/users", token=token), 403)


def test_a_process_without_the_database_learns_of_it(world):
    analyst = make(world, allow=["analytics:read"])
    token = Person(world, analyst).token()
    ask = lambda: world.call("GET", "/api/v1/analytics/metrics?name=events", token=token, service="analytics").status
    wait_for(lambda: ask() not in (403, 503), 5, "analytics knows the role")
    assert put(world, analyst, {"allow": ["analytics:read"], "deny": ["analytics:**"]}).status == 200
    wait_for(lambda: ask() == 403, 5, "analytics knows the deny")


def test_row_69_deny_beats_allow_wherever_it_comes_from(world):
    bound = make(world, deny=["audit:read"])
    person = Person(world, "operator")
    assert world.call("GET", "/api/v1/admin/audit", token=person.token()).status == 200
    person.grant(bound)
    problem(world.call("GET", "/api/v1/admin/audit", token=person.token()), 403)
    assert problem(world.call("GET", "/api/v1/orders", token=Person(world, make(world, deny=["orders:*"])).token()), 403)


def test_row_69_a_hierarchy_has_no_cycle_and_eight_levels(world):
    chain = [make(world)]
    for _ in range(7):
        chain.append(make(world, inherits=[chain[-1]]))
    problem(put(world, chain[0], {"inherits": [chain[-1]]}), 409, "role-conflict")
    problem(put(world, chain[0], {"inherits": [chain[0]]}), 409, "role-conflict")
    assert "8 levels" in problem(put(world, name(), {"inherits": [chain[-1]]}), 409)["detail"]
    problem(world.call("DELETE", f"{ROLES}/{chain[0]}", token=world.admin), 409)


@pytest.mark.parametrize("definition,pointer", [
    ({"inherits": ["customer", "nobody"]}, "/inherits/1"), ({"allow": ["orders"]}, "/allow/0"), ({"allow": ["a:b", "Orders:read"]}, "/allow/1"),
    ({"allow": ["**:read"]}, "/allow/0"), ({"deny": ["orders:read:own"]}, "/deny/0"), ({"allow": "orders:read"}, "/allow"),
    ({"role": "admin"}, "/role"), ({"built_in": True}, "/built_in")])
def test_what_is_wrong_with_a_role_is_named(world, definition, pointer):
    reply = problem(put(world, name(), definition), 422)
    assert reply["errors"][0]["pointer"].startswith(pointer), reply


@pytest.mark.parametrize("bad", ["Admin", "a%2Fb", "a%20b", "x" * 65, "x'--%20DROP%20TABLE", "%E2%80%AE"])
def test_names_that_roles_cannot_have(world, bad):
    assert put(world, bad).status in (400, 404, 422)
    assert world.call("GET", f"{ROLES}/{bad}", token=world.admin).status in (400, 404)
    assert world.call("GET", f"{ROLES}/admin", token=world.admin).status == 200


def test_row_69_nobody_gives_what_he_does_not_hold(world):
    lead = make(world, allow=["roles:*", "users:*", "keys:*", "clients:*", "tickets:*"])
    boss, other = Person(world, lead), Person(world)
    token = boss.token()
    agent = name()
    assert put(world, agent, {"allow": ["tickets:read"]}, token=token).status == 201
    assert other.grant(agent, token=token).status == 204
    for role in ("admin", "operator"):
        problem(other.grant(role, token=token), 403, "not-held")
        problem(boss.grant(role, token=token), 403, "not-held")
        problem(boss.grant(role, "acme", token=token), 403)
    for definition in ({"allow": ["*:**"]}, {"allow": ["audit:read"]}, {"inherits": ["admin"]}, {"allow": ["tickets:**"]}):
        problem(put(world, agent, definition, token=token), 403, "not-held")
    admin = world.call("GET", "/api/v1/users/me", token=world.admin).json["id"]
    problem(world.call("POST", f"/api/v1/admin/users/{admin}/disable", token=token), 403, "not-held")
    problem(world.call("DELETE", f"/api/v1/admin/users/{admin}", token=token), 403, "not-held")
    problem(world.call("DELETE", f"/api/v1/users/{admin}/roles/admin", token=token), 403, "not-held")
    body = {"name": "n", "scopes": ["audit:read"], "owner": admin}
    problem(world.call("POST", "/api/v1/admin/keys", body, token=token), 403, "not-held")
    key = world.call("POST", "/api/v1/admin/keys", body, token=world.admin).json
    problem(world.call("POST", f"/api/v1/admin/keys/{key['id']}/rotate", {}, token=token), 403, "not-held")
    client = {"client_name": "c", "grant_types": ["client_credentials"], "scope": "api", "roles": ["admin"]}
    problem(world.call("POST", "/api/v1/admin/clients", client, token=token), 403, "not-held")
    made = world.call("POST", "/api/v1/admin/clients", client, token=world.admin).json
    problem(world.call("POST", f"/api/v1/admin/clients/{made['client_id']}/rotate", {}, token=token), 403, "not-held")
    assert world.call("POST", "/api/v1/admin/clients", {**client, "roles": [agent]}, token=token).status == 201
    assert problem(world.call("POST", "/api/v1/admin/clients", {**client, "roles": ["nobody"]}, token=world.admin), 422)
    denied = world.call("GET", f"/api/v1/admin/audit?outcome=denied&actor={boss.id}&limit=1000", token=world.admin).json["items"]
    assert {"user.changed", "role.changed", "apikey.created", "apikey.rotated", "client.created", "client.rotated"} <= {r["action"] for r in denied}


def test_row_69_a_tenant_ends_where_the_next_begins(world):
    chief = make(world, tenant="acme", allow=["roles:*", "pages:*"])
    other = make(world, tenant="other", allow=["pages:read"])
    person, somebody = Person(world, chief, tenant="acme"), Person(world)
    token = person.token()
    assert f"acme/{chief}" in world.call("GET", "/api/v1/users/me", token=token).json["roles"]
    editor = name()
    assert put(world, editor, {"allow": ["pages:edit"]}, token=token, tenant="acme").status == 201
    assert somebody.grant(editor, "acme", token=token).status == 204
    mine = world.call("GET", f"{ROLES}?tenant=acme", token=token).json["items"]
    assert {r["name"] for r in mine} == {chief, editor}
    for path in (f"{ROLES}?tenant=other", ROLES, f"{ROLES}/{other}?tenant=other", "/api/v1/admin/grants", "/api/v1/admin/grants?tenant=other"):
        problem(world.call("GET", path, token=token), 403, "role-missing")
    problem(world.call("GET", f"{ROLES}/{other}?tenant=acme", token=token), 404)
    problem(put(world, other, {}, token=token, tenant="other"), 403)
    problem(put(world, name(), {}, token=token), 403)
    problem(put(world, name(), {"inherits": [other]}, token=token, tenant="acme"), 422)
    problem(somebody.grant(other, "other", token=token), 403)
    problem(somebody.grant(other, "acme", token=token), 422)
    problem(world.call("DELETE", f"{ROLES}/{other}?tenant=other", token=token), 403)
    problem(world.call("GET", "/api/v1/admin/users?tenant=acme", token=token), 403)  # what belongs to no tenant is not asked for in one
    problem(world.call("GET", "/api/v1/admin/audit?tenant=acme", token=token), 403)
    problem(put(world, "operator", {}, tenant="acme"), 409)
    grants = world.call("GET", "/api/v1/admin/grants?tenant=acme", token=token).json["items"]
    assert {(g["user_id"], g["role"], g["tenant"]) for g in grants} == {(person.id, chief, "acme"), (somebody.id, editor, "acme")}


def test_row_69_a_wildcard_is_nothing_to_ask_for(world):
    for wild in ("orders:*", "*:**", "orders:**", "orders", "orders:read:own", "Orders:read", ""):
        reply = world.call("POST", f"{ROLES}/explain", {"roles": ["admin"], "permission": wild}, token=world.admin)
        assert problem(reply, 422)["errors"][0]["pointer"] == "/permission", reply
    checks = [{"roles": ["admin"], "permission": "orders:read"}, {"roles": ["admin"], "permission": "orders:*"}]
    reply = world.call("POST", f"{ROLES}/simulate", {"checks": checks}, token=world.admin)
    assert problem(reply, 422)["errors"][0]["pointer"] == "/checks/1/permission"


def test_row_69_a_registration_brings_no_role(world):
    body = {"email": f"{uuid.uuid4().hex}@example.com", "password": PASSWORD, "name": "M"}
    for extra in ({"role": "admin"}, {"roles": ["admin"]}, {"tenant": "acme"}):
        problem(world.call("POST", "/api/v1/auth/register", {**body, **extra}), 422)


def test_explained_and_simulated(world):
    base = make(world, allow=["tickets:**"])
    top = make(world, inherits=[base], deny=["tickets:delete"])
    person = Person(world, top)
    ask = lambda **q: world.call("POST", f"{ROLES}/explain", {"user_id": person.id, **q}, token=world.admin).json
    assert ask(permission="tickets:close") == {"allowed": True, "reason": "allow", "rule": "tickets:**", "effect": "allow", "path": [top, base]}
    assert ask(permission="tickets:delete")["path"] == [top] and ask(permission="tickets:delete")["effect"] == "deny"
    assert ask(permission="orders:read", owner="self")["path"] == ["customer"] and not ask(permission="orders:read", owner="x")["allowed"]
    assert ask(permission="audit:read") == {"allowed": False, "reason": "deny: no rule allows it", "rule": None, "effect": None, "path": []}
    body = {"checks": [{"user_id": person.id, "permission": "tickets:delete"}, {"user_id": person.id, "permission": "audit:read"}],
            "change": {"roles": [{"name": top, "inherits": [base]}], "grants": [{"user_id": person.id, "role": "operator"}]}}
    results = world.call("POST", f"{ROLES}/simulate", body, token=world.admin).json["results"]
    assert [(r["allowed"], r["now"]["allowed"]) for r in results] == [(True, False), (True, False)]
    assert results[1]["path"] == ["operator"]
    assert world.call("GET", f"{ROLES}/{top}", token=world.admin).json["deny"] == ["tickets:delete"]
    body["change"] = {"roles": [{"name": base, "inherits": [top]}]}
    problem(world.call("POST", f"{ROLES}/simulate", body, token=world.admin), 409)
    problem(world.call("POST", f"{ROLES}/simulate", body, token=person.token()), 403)


def test_pages_and_the_trail(world):
    tenant, made = name(), []
    for _ in range(5):
        made.append(make(world, tenant=tenant, allow=["pages:read"]))
    seen, cursor = [], ""
    while cursor is not None:
        page = world.call("GET", f"{ROLES}?tenant={tenant}&limit=2&cursor={cursor}", token=world.admin).json
        assert len(page["items"]) <= 2
        seen += [r["name"] for r in page["items"]]
        cursor = page["next_cursor"]
    assert seen == sorted(made)
    problem(world.call("GET", f"{ROLES}?limit=0", token=world.admin), 422)
    assert world.call("DELETE", f"{ROLES}/{made[0]}?tenant={tenant}", token=world.admin).status == 204
    records = world.call("GET", f"/api/v1/admin/audit?action=role.changed&object={tenant}/{made[0]}&limit=10", token=world.admin).json["items"]
    assert [r["detail"].split()[0] for r in records] == ["change=set", "change=deleted"] and 'allow=["pages:read"]' in records[0]["detail"]


def test_the_document_names_the_permission_of_each_call(world):
    paths = world.call("GET", "/api/openapi.json", service="backend").json["paths"]
    assert paths[ROLES]["get"]["x-permission"] == "roles:read" and paths[f"{ROLES}/{{name}}"]["put"]["x-permission"] == "roles:write"
    open_to_all = [(p, m) for p, calls in paths.items() if p.startswith("/api/v1/admin/") for m, c in calls.items() if m != "parameters" and not c.get("x-permission")]
    assert not open_to_all, "every call of the administration asks for a permission"


def test_only_services_are_told_all_roles(world):
    for token in (None, world.admin and Person(world, "operator").token()):
        problem(world.call("GET", "/internal/v1/roles", token=token, service="backend"), 401)
    assert world.call("GET", "/internal/v1/roles", token=world.admin).status != 200, "the gateway does not pass it to the backend"
    bearer = (world.state / "admin.token").read_text().strip()
    document = world.call("GET", "/internal/v1/roles", token=bearer, service="backend").json
    have = f"/internal/v1/roles?have={document['version']}"
    assert world.call("GET", have, token=bearer, service="backend").status == 204
    make(world)
    assert world.call("GET", have, token=bearer, service="backend").json["version"] == document["version"] + 1


def test_the_command_line(world, tmp_path):
    def nexus(*words, code=0, token=None):
        env = {**world.env, "NEXUS_TOKEN": token or world.admin, "PATH": os.environ["PATH"]}
        run = subprocess.run([binary("nexus"), "roles", *words], env=env, capture_output=True, text=True, timeout=60)
        assert run.returncode == code, run
        return run.stdout or run.stderr

    base, role, person = name(), name(), Person(world)
    assert f"name        {base}" in nexus("set", base, "--allow", "tickets:**", "--description", "All of them")
    nexus("set", role, "--inherits", base, "--deny", "tickets:delete,tickets:merge")
    shown = json.loads(nexus("set", role, "--deny", "tickets:delete", "--json"))  # what is not said stays
    assert (shown["inherits"], shown["deny"]) == ([base], ["tickets:delete"])
    assert base in nexus("list") and "built in    yes" in nexus("show", "admin") and base not in nexus("list", "--tenant", "acme")
    nexus("grant", role, person.email)
    nexus("grant", "operator", person.id, "--tenant", "acme")
    assert f"role        {role}" in nexus("grants", "--user", person.email) and "tenant      acme" in nexus("grants", "--tenant", "acme", "--role", "operator")
    assert nexus("explain", "tickets:close", "--user", person.email) == f"allowed   allow: {role} > {base}: tickets:**\n"
    assert nexus("explain", "tickets:delete", "--user", person.id) == f"refused   deny: {role}: tickets:delete\n"
    assert nexus("explain", "audit:read", "--user", person.id).startswith("refused") and nexus("explain", "audit:read", "--user", person.id, "--tenant", "acme").startswith("allowed")
    assert nexus("explain", "orders:read", "--roles", "customer", "--owner", "self").startswith("allowed   allow, own object: customer")
    what_if = tmp_path / "what-if.json"
    what_if.write_text(json.dumps({"checks": [{"user_id": person.id, "permission": "tickets:delete"}], "change": {"roles": [{"name": role, "inherits": [base]}]}}))
    assert nexus("simulate", str(what_if)) == f" 0 allowed   allow: {role} > {base}: tickets:**\n   now refused   deny: {role}: tickets:delete\n"
    assert "409" in nexus("delete", role, code=1) and "not hold" in nexus("set", name(), "--allow", "audit:read", code=1, token=Person(world, make(world, allow=["roles:*"])).token())
    nexus("revoke", role, person.email)
    nexus("delete", role)
    assert "404" in nexus("show", role, code=1)
    for words in ((), ("frob",), ("set",), ("explain", "a:b"), ("list", "--what"), ("grant", role)):
        nexus(*words, code=2)
