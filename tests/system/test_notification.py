"""The notification service with the backend beside it: requests, mail at a real SMTP server, signed webhooks, refusals."""
import base64
import hashlib
import hmac
import sys
import uuid

import pytest

from harness import ROOT, Topology, problem, wait_for

sys.path.insert(0, str(ROOT / "tests/unit/notify"))
import peers  # noqa: E402

pytestmark = pytest.mark.skipif(peers.Controller is None, reason="no aiosmtpd (apt install python3-aiosmtpd)")
PATH = "/api/v1/notifications"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    smtp, hooks = peers.Smtp(), peers.Hooks()
    env = {"NEXUS_SMTP_URL": smtp.url, "NEXUS_MAIL_FROM": "shop@example.com", "NEXUS_MAIL_RETRY_MS": "50",
           "NEXUS_WEBHOOK_SCHEDULE_S": "0,0,0"}
    with Topology(tmp_path_factory.mktemp("notification"), ["backend", "notification"], env=env) as topology:
        topology.smtp, topology.hooks = smtp, hooks
        topology.admin = topology.bootstrap_admin()
        topology.customer = topology.register("ok-ada@example.com", service="backend")
        yield topology
    smtp.stop()
    hooks.stop()


def call(world, method, path, body=None, **options):
    options.setdefault("token", world.admin)
    return world.call(method, path, body, service="notification", **options)


def send(world, local, **more):
    reply = call(world, "POST", PATH, {"to": f"{local}@example.com", "template": "order-confirmed",
                                       "data": {"order_id": "o-1"}, **more})
    assert reply.status == 202, reply
    return reply.json["id"]


def ended(world, notification, seconds=15):
    def done():
        view = call(world, "GET", f"{PATH}/{notification}").json
        return view if view["status"] not in ("queued", "sending") else None
    return wait_for(done, seconds, f"the end of {notification}")


@pytest.mark.parametrize("local,status,codes", [
    ("ok", "sent", [250]), ("later", "sent", [450, 250]), ("closing", "sent", [421, 250]), ("gone", "bounced", [550]),
    ("policy", "failed", [550]), ("content", "failed", [554]), ("drop", "unknown", [None])])
def test_each_answer_of_the_mail_server_is_on_record(world, local, status, codes):
    delivery = ended(world, send(world, f"{local}-{uuid.uuid4().hex[:6]}"))["deliveries"][0]
    assert delivery["status"] == status and delivery["channel"] == "email"
    assert [a["code"] for a in delivery["attempts"]] == codes, delivery
    assert all({"at", "ms", "response", "error", "next_at"} <= set(a) for a in delivery["attempts"])


def test_idempotency_key(world):
    key = {"Idempotency-Key": str(uuid.uuid4())}
    body = {"to": "ok@example.com", "content": {"subject": "Hi", "text": "there"}}
    first = call(world, "POST", PATH, body, headers=key)
    again = call(world, "POST", PATH, body, headers=key)
    assert first.status == again.status == 202 and first.json["id"] == again.json["id"]
    assert again.header("Idempotency-Replayed") == "true"
    problem(call(world, "POST", PATH, {**body, "to": "ok-2@example.com"}, headers=key), 422, "idempotency-key-reused")


@pytest.mark.parametrize("channel", ["sms", "push", "slack", "discord"])
def test_channels_not_built_say_so(world, channel):
    body = {"to": "ok@example.com", "template": "order-confirmed", "channels": [channel]}
    answer = problem(call(world, "POST", PATH, body), 422, "channel-not-configured")
    assert answer["errors"][0]["pointer"] == "/channels/0"


@pytest.mark.parametrize("body,pointer", [
    ({"to": "nobody", "template": "order-confirmed"}, "/to/email"),
    ({"to": "a@x.com\r\nBcc: b@x.com", "template": "order-confirmed"}, "/to/email"),
    ({"to": "a@x.com", "template": "none"}, "/template"),
    ({"to": "a@x.com", "content": {"subject": "x\r\nBcc: b@x.com", "text": "t"}}, "/content/subject")])
def test_refusals_name_the_field(world, body, pointer):
    answer = problem(call(world, "POST", PATH, body), 422)
    assert answer["errors"][0]["pointer"] == pointer, answer


def test_who_may_what(world):
    problem(call(world, "GET", PATH, token=None), 401)
    problem(call(world, "GET", PATH, token=world.customer), 403)
    problem(call(world, "POST", PATH, {"to": "ok@example.com", "template": "order-confirmed"}, token=world.customer), 403)
    problem(call(world, "GET", f"{PATH}/{send(world, 'ok')}", token=world.customer), 404)
    problem(call(world, "GET", f"{PATH}/mailbox", token=world.customer), 403)


def signature_is_valid(secret, headers, body):
    text = b".".join([headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body])
    code = hmac.new(base64.b64decode(secret[6:]), text, hashlib.sha256).digest()
    return "v1," + base64.b64encode(code).decode() in headers["webhook-signature"].split()


def place(world, token):
    body = {"items": [{"sku": "book", "quantity": 1, "unit_price": {"amount": 1999, "currency": "EUR"}}],
            "payment": {"token": "tok_ok"}}
    reply = world.call("POST", "/api/v1/orders", body, service="backend", token=token)
    assert reply.status == 201, reply
    return reply.json["id"]


def test_an_order_sends_mail_and_a_signed_webhook_to_its_owner_only(world):
    other = world.register("ok-eve@example.com", service="backend")
    made = {}
    for name, token in (("mine", world.customer), ("hers", other)):
        made[name] = call(world, "POST", f"{PATH}/endpoints", {"url": f"{world.hooks.url}/ok/{name}",
                                                               "events": ["order.confirmed"]}, token=token)
        assert made[name].status == 201, made[name]
    order = place(world, world.customer)
    wait_for(lambda: [m for m in world.smtp.messages if order.encode() in m.content], 15, "the mail")
    wait_for(lambda: [c for c in world.hooks.calls if order.encode() in c[2]], 15, "the webhook")
    calls = [c for c in world.hooks.calls if order.encode() in c[2]]
    assert [c[0] for c in calls] == ["/ok/mine"]
    assert signature_is_valid(made["mine"].json["secret"], calls[0][1], calls[0][2])
    assert b"tok_ok" not in calls[0][2]
    listed = call(world, "GET", f"{PATH}?limit=200").json["items"]
    mine = [n for n in listed if n.get("order_id") == order]
    assert len(mine) == 1
    own = call(world, "GET", f"{PATH}/{mine[0]['id']}", token=world.customer)
    assert own.status == 200 and {d["channel"] for d in own.json["deliveries"]} == {"email", "webhook"}
    problem(call(world, "GET", f"{PATH}/{mine[0]['id']}", token=other), 404)
    shown = world.call("GET", f"/api/v1/orders/{order}", service="backend", token=world.customer)
    wait_for(lambda: mine[0]["id"] in world.call("GET", f"/api/v1/orders/{order}", service="backend",
                                                 token=world.customer).json["notifications"], 15,
             f"the order naming its notification ({shown})")


def test_killed_in_the_middle_the_mail_still_arrives(world):
    order = place(world, world.customer)
    world.servers["notification"].kill()
    world.restart("notification")
    wait_for(lambda: [m for m in world.smtp.messages if order.encode() in m.content], 30, "the mail after the crash")


def test_the_guard_refuses_private_addresses(world):
    body = {"url": "http://10.0.0.1/hook", "events": ["order.*"]}
    problem(call(world, "POST", f"{PATH}/endpoints", body, token=world.customer), 422, "url-refused")


def test_preview(world):
    reply = call(world, "POST", f"{PATH}/templates/order-cancelled/preview", {"data": {"order_id": "o-9"}})
    assert reply.status == 200 and "o-9" in reply.json["subject"] and reply.json["missing"] == []
    reply = call(world, "POST", f"{PATH}/templates/password-reset/preview", {"data": {"email": "ada@example.com"}})
    assert reply.status == 200 and "token" in reply.json["missing"]
    problem(call(world, "POST", f"{PATH}/templates/none/preview", {"data": {}}), 404)


def test_without_smtp_mail_is_captured(tmp_path):
    with Topology(tmp_path, ["backend", "notification"]) as t:
        t.admin = t.bootstrap_admin()
        sent = call(t, "POST", PATH, {"to": "ada@example.com", "template": "order-confirmed", "data": {"order_id": "c-1"}})
        view = ended(t, sent.json["id"])
        assert view["status"] == "captured"
        box = call(t, "GET", f"{PATH}/mailbox").json["items"]
        mail = next(m for m in box if "c-1" in m["subject"])
        shown = call(t, "GET", f"{PATH}/mailbox/{mail['id']}").json
        assert "multipart/alternative" in shown["message"] and "c-1" in shown["text"]
        assert (t.state / "mailbox" / f"{mail['id']}.eml").exists()
