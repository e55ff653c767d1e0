"""The real nexus-backend, alone: accounts, tokens, orders, payments, and what it answers to bad input and to kill -9."""
import base64
import http.client
import json
import select
import socket
import threading
import time
import uuid

import pytest
from harness import SLOW, Topology, problem, request, wait_for

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with Topology(tmp_path_factory.mktemp("backend"), ["backend"]) as t:
        yield t


def call(world, method, path, body=None, **options):
    return world.call(method, path, body, service="backend", **options)


def register(world, email=None):
    return world.register(email or f"{uuid.uuid4().hex}@example.com", PASSWORD, service="backend")


def pair(world, email):
    reply = call(world, "POST", "/api/v1/auth/login", {"email": email, "password": PASSWORD})
    assert reply.status == 200, reply
    return reply.json


def new_user(world):
    email = f"{uuid.uuid4().hex}@example.com"
    reply = call(world, "POST", "/api/v1/auth/register", {"email": email, "password": PASSWORD, "name": "Ann"})
    assert reply.status == 201, reply
    return email, reply.json["user"]


def order_body(token="tok_ok", amount=1250, quantity=2, currency="EUR"):
    return {"items": [{"sku": "book-1", "quantity": quantity, "unit_price": {"amount": amount, "currency": currency}}],
            "payment": {"token": token}}


def place(world, token, payment="tok_ok", **options):
    reply = call(world, "POST", "/api/v1/orders", order_body(payment), token=token, **options)
    assert reply.status == 201, reply
    return reply.json


def settled(world, token, order_id, seconds=15):
    def done():
        reply = call(world, "GET", f"/api/v1/orders/{order_id}", token=token)
        assert reply.status == 200, reply
        return reply.json if reply.json["status"] != "pending" else None
    return wait_for(done, seconds, f"order {order_id} settled")


# --- accounts -----------------------------------------------------------------------------------

def test_register_log_in_and_who_am_i(world):
    email, user = new_user(world)
    assert set(user) == {"id", "email", "name"} and user["email"] == email
    tokens = pair(world, email)
    assert tokens["token_type"] == "Bearer" and tokens["expires_in"] == 600
    me = call(world, "GET", "/api/v1/users/me", token=tokens["access_token"])
    assert me.status == 200 and me.json == {"id": user["id"], "email": email, "name": "Ann", "roles": ["customer"]}
    header = json.loads(base64.urlsafe_b64decode(tokens["access_token"].split(".")[0] + "=="))
    assert header["alg"] == "ES256" and header["typ"] == "at+jwt"
    keys = call(world, "GET", "/.well-known/jwks.json")
    assert keys.status == 200 and header["kid"] in [k["kid"] for k in keys.json["keys"]]
    assert "max-age=300" in keys.header("Cache-Control") and all("d" not in k for k in keys.json["keys"])
    again = call(world, "GET", "/.well-known/jwks.json", headers={"If-None-Match": keys.header("ETag")})
    assert again.status == 304


def test_a_known_address_is_a_conflict_whatever_its_case(world):
    email, _ = new_user(world)
    problem(call(world, "POST", "/api/v1/auth/register", {"email": email.upper(), "password": PASSWORD, "name": "B"}), 409,
            "email-taken")


def test_wrong_credentials_look_the_same_for_everybody(world):
    email, _ = new_user(world)
    known = problem(call(world, "POST", "/api/v1/auth/login", {"email": email, "password": "not this one"}), 401)
    unknown = problem(call(world, "POST", "/api/v1/auth/login", {"email": "nobody@example.com", "password": "not this one"}), 401)
    for body in (known, unknown):
        body.pop("instance", None), body.pop("correlation_id", None), body.pop("request_id", None)
    assert known == unknown


def test_many_wrong_passwords_are_throttled(world):
    email, _ = new_user(world)
    for _ in range(5):
        problem(call(world, "POST", "/api/v1/auth/login", {"email": email, "password": "not this one"}), 401)
    reply = call(world, "POST", "/api/v1/auth/login", {"email": email, "password": PASSWORD})
    problem(reply, 429)
    assert int(reply.header("Retry-After")) >= 1
    wait_for(lambda: call(world, "POST", "/api/v1/auth/login", {"email": email, "password": PASSWORD}).status == 200, 5,
             "the login after the wait", every=0.3)


def test_refresh_rotates_and_reuse_ends_the_family(world):
    email, _ = new_user(world)
    first = pair(world, email)["refresh_token"]

    def refresh(token):
        return call(world, "POST", "/api/v1/auth/refresh", {"refresh_token": token})
    second = refresh(first).json["refresh_token"]
    assert second != first
    assert refresh(first).json["refresh_token"] == second, "within the grace the same successor"
    third = refresh(second).json["refresh_token"]
    assert call(world, "POST", "/api/v1/auth/logout", {"refresh_token": third}).status == 204
    problem(refresh(third), 401)
    problem(refresh("x" * 43), 401)


def test_eight_parallel_refreshes_have_one_successor(world):
    email, _ = new_user(world)
    token, got = pair(world, email)["refresh_token"], []

    def one():
        got.append(call(world, "POST", "/api/v1/auth/refresh", {"refresh_token": token}))
    threads = [threading.Thread(target=one) for _ in range(8)]
    [t.start() for t in threads], [t.join() for t in threads]
    assert {r.status for r in got} == {200} and len({r.json["refresh_token"] for r in got}) == 1


def test_password_reset_answers_everybody_alike(world):
    email, _ = new_user(world)
    assert call(world, "POST", "/api/v1/auth/password-reset", {"email": email}).status == 202
    assert call(world, "POST", "/api/v1/auth/password-reset", {"email": "nobody@example.com"}).status == 202
    problem(call(world, "POST", "/api/v1/auth/password-reset/confirm", {"token": "x" * 43, "password": "a new password"}), 400)


def test_the_first_administrator_and_roles(world):
    admin = world.bootstrap_admin() if (world.state / "bootstrap.token").exists() else None
    assert admin, "the one-time token"
    assert not (world.state / "bootstrap.token").exists()
    email, user = new_user(world)
    customer = pair(world, email)["access_token"]
    problem(call(world, "PUT", f"/api/v1/users/{user['id']}/roles/admin", token=customer), 403)
    assert call(world, "PUT", f"/api/v1/users/{user['id']}/roles/operator", token=admin).status == 204
    operator = pair(world, email)["access_token"]
    assert call(world, "GET", "/api/v1/users/me", token=operator).json["roles"] == ["customer", "operator"]
    assert call(world, "GET", "/api/v1/orders?all=true", token=operator).status == 200
    problem(call(world, "GET", "/api/v1/orders?all=true", token=register(world)), 403)
    assert call(world, "DELETE", f"/api/v1/users/{user['id']}/roles/operator", token=admin).status == 204
    problem(call(world, "PUT", f"/api/v1/users/{user['id']}/roles/root", token=admin), 422)
    problem(call(world, "PUT", "/api/v1/users/nobody/roles/admin", token=admin), 404)


# --- attack rows --------------------------------------------------------------------------------

def test_row_55_a_token_comes_in_one_place_only(world):
    token = register(world)
    assert call(world, "GET", "/api/v1/users/me", token=token).status == 200
    problem(call(world, "GET", f"/api/v1/users/me?access_token={token}"), 401)
    problem(call(world, "GET", "/api/v1/users/me", headers={"Cookie": f"access_token={token}"}), 401)
    problem(call(world, "GET", "/api/v1/users/me", headers={"Authorization": f"Basic {token}"}), 401)
    connection = http.client.HTTPConnection("127.0.0.1", world.base + 1)
    connection.putrequest("GET", "/api/v1/users/me")
    connection.putheader("Authorization", f"Bearer {token}")
    connection.putheader("authorization", f"Bearer {token}")
    connection.endheaders()
    assert connection.getresponse().status == 400
    connection.close()


def test_row_65_long_passwords_are_refused_before_they_are_hashed(world):
    body = {"email": "long@example.com", "password": "x" * 1025, "name": "L"}
    problem(call(world, "POST", "/api/v1/auth/register", body), 400, "password-too-long")
    problem(call(world, "POST", "/api/v1/auth/register", {**body, "password": "\u00e4" * 513}), 400, "password-too-long")
    for path, name in (("login", "password"), ("password-reset/confirm", "password")):
        sent = {"login": {"email": "long@example.com"}, "password-reset/confirm": {"token": "x" * 43}}[path]
        problem(call(world, "POST", f"/api/v1/auth/{path}", {**sent, name: "x" * 1025}), 400, "password-too-long")
    problem(call(world, "POST", "/api/v1/auth/login", {"email": "long@example.com", "password": "x" * 200_000}), 413)
    body["password"] = "x" * 1024
    assert call(world, "POST", "/api/v1/auth/register", body).status == 201


@pytest.mark.parametrize("chunked", [False, True])
def test_row_65_ten_megabytes_of_password_are_answered_and_the_answer_can_be_read(world, chunked):
    """Who sends without looking gets the answer and an end, no reset: closed with bytes unread the connection would be reset,
    and the answer lost with it on some systems."""
    body = b'{"email":"long@example.com","password":"' + b"x" * (10 << 20) + b'"}'
    how = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    head = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + how + b"\r\n\r\n"
    data = memoryview(head + (b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if chunked else body))
    with socket.create_connection(("127.0.0.1", world.base + 1)) as s:
        s.setblocking(False)
        sent, answer = 0, b""
        deadline = time.monotonic() + 20 * SLOW
        while True:
            assert time.monotonic() < deadline, answer
            readable, writable, _ = select.select([s], [s] if sent < len(data) else [], [], 1)
            if readable:
                piece = s.recv(65536)  # ConnectionResetError fails the test
                if not piece:
                    break
                answer += piece
            elif writable:
                sent += s.send(data[sent:sent + 65536])
    status, _, rest = answer.partition(b"\r\n")
    assert status.split()[1] in (b"400", b"413"), answer
    assert json.loads(rest.partition(b"\r\n\r\n")[2])["code"] in ("password-too-long", "body-too-large")


def test_row_69_a_role_cannot_be_assigned_along(world):
    for extra in ({"role": "admin"}, {"roles": ["admin"]}, {"disabled": False}, {"id": "1"}):
        body = {"email": f"{uuid.uuid4().hex}@example.com", "password": PASSWORD, "name": "M", **extra}
        problem(call(world, "POST", "/api/v1/auth/register", body), 422)


@pytest.mark.parametrize("text", ["'; DROP TABLE auth_users; --", "' OR '1'='1", "%27; SELECT 1", "\\\"; --", "%_", "\u0000".replace("\u0000", "NUL")])
def test_row_71_sql_is_only_text(world, text):
    email = f"{uuid.uuid4().hex}@example.com"
    made = call(world, "POST", "/api/v1/auth/register", {"email": email, "password": PASSWORD, "name": text})
    assert made.status == 201 and made.json["user"]["name"] == text
    token = pair(world, email)["access_token"]
    body = order_body()
    body["items"][0]["sku"] = text
    order = call(world, "POST", "/api/v1/orders", body, token=token)
    assert order.status == 201 and order.json["items"][0]["sku"] == text
    problem(call(world, "POST", "/api/v1/auth/login", {"email": text + "@x", "password": PASSWORD}), 401)
    assert call(world, "GET", "/api/v1/users/me", token=token).status == 200


# --- orders -------------------------------------------------------------------------------------

def test_an_order_is_confirmed_with_its_history(world):
    token = register(world)
    order = place(world, token)
    assert order["status"] == "pending" and order["total"] == {"amount": 2500, "currency": "EUR"}
    assert order["history"][0]["status"] == "pending" and order["notifications"] == []
    done = settled(world, token, order["id"])
    assert done["status"] == "confirmed" and [h["status"] for h in done["history"]] == ["pending", "confirmed"]
    payment = call(world, "GET", f"/api/v1/payments/{order['id']}", token=token)
    assert payment.status == 200 and payment.json["status"] == "captured" and payment.json["amount"] == 2500


@pytest.mark.parametrize("payment,reason,state", [("tok_declined", "declined", "declined"), ("tok_timeout", "timed", "timed_out")])
def test_an_order_without_its_payment_is_cancelled(world, payment, reason, state):
    token = register(world)
    order = settled(world, token, place(world, token, payment)["id"])
    assert order["status"] == "cancelled" and reason in order["history"][-1]["reason"].replace("_", " "), order
    wait_for(lambda: call(world, "GET", f"/api/v1/payments/{order['id']}", token=token).json["status"] == state,
             what=f"the payment {state}")


def test_the_same_idempotency_key_is_the_same_order(world):
    token, key = register(world), {"Idempotency-Key": uuid.uuid4().hex}
    first = place(world, token, headers=key)
    again = call(world, "POST", "/api/v1/orders", order_body(), token=token, headers=key)
    assert again.status == 201 and again.json == first and again.header("Idempotency-Replayed") == "true"
    problem(call(world, "POST", "/api/v1/orders", order_body(amount=1), token=token, headers=key), 422)
    other = call(world, "POST", "/api/v1/orders", order_body(), token=register(world), headers=key)
    assert other.status == 201 and other.json["id"] != first["id"], "a key is its user's own"
    problem(call(world, "POST", "/api/v1/orders", order_body(), token=token, headers={"Idempotency-Key": "a b"}), 400)


def test_parallel_requests_with_one_key_make_one_order(world):
    token, key, got = register(world), {"Idempotency-Key": uuid.uuid4().hex}, []

    def one():
        got.append(call(world, "POST", "/api/v1/orders", order_body(), token=token, headers=key))
    threads = [threading.Thread(target=one) for _ in range(8)]
    [t.start() for t in threads], [t.join() for t in threads]
    made = {r.json["id"] for r in got if r.status == 201}
    assert len(made) == 1 and {r.status for r in got} <= {201, 409}, got
    assert len(call(world, "GET", "/api/v1/orders", token=token).json["items"]) == 1


def test_nobody_else_can_read_an_order(world):
    order = place(world, register(world))
    other = register(world)
    problem(call(world, "GET", f"/api/v1/orders/{order['id']}", token=other), 404)
    problem(call(world, "GET", f"/api/v1/payments/{order['id']}", token=other), 404)
    problem(call(world, "GET", f"/api/v1/orders/{uuid.uuid4()}", token=other), 404)
    problem(call(world, "GET", f"/api/v1/orders/{order['id']}"), 401)
    assert call(world, "GET", "/api/v1/orders", token=other).json == {"items": [], "next_cursor": None}


def test_lists_page_by_cursor(world):
    token = register(world)
    ids = [place(world, token)["id"] for _ in range(5)]
    seen, cursor = [], ""
    while cursor is not None:
        page = call(world, "GET", f"/api/v1/orders?limit=2&cursor={cursor}", token=token)
        assert page.status == 200 and len(page.json["items"]) <= 2, page
        seen += [o["id"] for o in page.json["items"]]
        cursor = page.json["next_cursor"]
    assert seen == ids[::-1]


def bad_orders():
    yield "mixed currencies", {**order_body(), "items": order_body()["items"] + order_body(currency="USD")["items"]}, "/items/1/unit_price/currency"
    yield "quantity 0", order_body(quantity=0), "/items/0/quantity"
    yield "negative amount", order_body(amount=-1), "/items/0/unit_price/amount"
    yield "fraction", order_body(amount=12.5), "/items/0/unit_price/amount"
    yield "text amount", order_body(amount="12"), "/items/0/unit_price/amount"
    yield "overflow", order_body(amount=2**53, quantity=1000000), "/items/0"
    yield "huge number", order_body(amount=2**63), "/items/0/unit_price/amount"
    yield "no items", {**order_body(), "items": []}, "/items"
    yield "no payment", {"items": order_body()["items"]}, "payment"
    yield "unknown token", order_body("tok_free"), "/payment/token"
    yield "lower case currency", order_body(currency="eur"), "/items/0/unit_price/currency"
    yield "unknown member", {**order_body(), "discount": 100}, "discount"


@pytest.mark.parametrize("body,where", [(b, w) for _, b, w in bad_orders()], ids=[n for n, _, _ in bad_orders()])
def test_an_order_that_cannot_be(world, body, where):
    token = register(world)
    found = problem(call(world, "POST", "/api/v1/orders", body, token=token), 422)
    assert where in json.dumps(found["errors"]), found
    assert call(world, "GET", "/api/v1/orders", token=token).json["items"] == []


POSTS = {"/api/v1/auth/bootstrap": ["token", "email", "password", "name"], "/api/v1/auth/register": ["email", "password", "name"],
         "/api/v1/auth/login": ["email", "password"], "/api/v1/auth/refresh": ["refresh_token"],
         "/api/v1/auth/logout": ["refresh_token"], "/api/v1/auth/password-reset": ["email"],
         "/api/v1/auth/password-reset/confirm": ["token", "password"], "/api/v1/orders": ["items", "payment"]}


@pytest.mark.parametrize("path", POSTS)
def test_bad_input_names_the_field(world, path):
    token = register(world)
    good = {"token": "t" * 43, "email": "a@example.com", "password": PASSWORD, "name": "A", "refresh_token": "r" * 43, **order_body()}
    body = {k: good[k] for k in POSTS[path]}
    json_type = {"Content-Type": "application/json"}
    for field in POSTS[path]:
        for wrong in (None, 7, [], {}):
            found = problem(call(world, "POST", path, {**body, field: wrong}, token=token), 422)
            assert field in json.dumps(found["errors"]), found
        found = problem(call(world, "POST", path, {k: v for k, v in body.items() if k != field}, token=token), 422)
        assert field in json.dumps(found["errors"]), found
    for text in ("{", "", "[1,", '{"a":1,"a":2}', "\xff", '{"email":"\\ud800"}'):
        problem(call(world, "POST", path, text.encode("latin-1"), token=token, headers=json_type), 400)
    problem(call(world, "POST", path, b"a=b", token=token, headers={"Content-Type": "application/x-www-form-urlencoded"}), 415)
    problem(call(world, "GET" if path != "/api/v1/orders" else "PATCH", path, token=token), 405)
    assert call(world, "GET", "/api/v1/users/me", token=token).status == 200, "and it works on"


# --- crashes ------------------------------------------------------------------------------------

def test_kill_in_the_middle_of_the_saga_loses_nothing(tmp_path):
    with Topology(tmp_path, ["backend"]) as t:
        token = register(t)
        for payment, status in (("tok_ok", "confirmed"), ("tok_timeout", "cancelled")):
            orders = [place(t, token, payment)["id"] for _ in range(5)]
            t.servers["backend"].kill()
            t.restart("backend")
            for order in orders:
                done = settled(t, token, order, 40)
                assert done["status"] == status and [h["status"] for h in done["history"]] == ["pending", status], done


def test_what_is_captured_late_is_refunded(tmp_path):
    env = {"NEXUS_PAYMENT_TIMEOUT_MS": "300", "NEXUS_PAYMENT_DELAY_MS": "1500"}
    with Topology(tmp_path, ["backend"], env=env) as t:
        token = register(t)
        order = settled(t, token, place(t, token)["id"])
        assert order["status"] == "cancelled" and "timed" in order["history"][-1]["reason"]
        wait_for(lambda: call(t, "GET", f"/api/v1/payments/{order['id']}", token=token).json.get("status") == "refunded", 15,
                 "the refund")
