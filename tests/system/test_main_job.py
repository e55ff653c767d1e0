"""The main job, items 1-8 of the mission, through the gateway of a running topology: real SMTP server, real webhook
receiver, real traffic. One topology for the whole module; the tests build on each other in file order."""
import base64
import collections
import hashlib
import hmac
import http.server
import json
import re
import subprocess
import threading
import time
import uuid
from pathlib import Path

import pytest
from harness import DATA, SLOW, Topology, binary, free_port, problem, wait_for

aiosmtpd = pytest.importorskip("aiosmtpd.controller")
PAGEVIEWS = DATA / "pageviews.ndjson"


class Mailbox:
    """Handler of a real SMTP server: keeps what was delivered."""

    def __init__(self):
        self.messages = []

    async def handle_DATA(self, server, session, envelope):
        self.messages.append(envelope)
        return "250 2.0.0 taken"


class Receiver(http.server.BaseHTTPRequestHandler):
    """A webhook receiver that checks the signature as Standard Webhooks says before it believes a body."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.calls.append((dict(self.headers.items()), body))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


def signature_is_valid(secret, headers, body):
    headers = {k.lower(): v for k, v in headers.items()}
    key = base64.b64decode(secret.removeprefix("whsec_"))
    text = b".".join([headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body])
    expected = "v1," + base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
    return expected in headers["webhook-signature"].split()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("main-job")
    mailbox = Mailbox()
    smtp = aiosmtpd.Controller(mailbox, hostname="127.0.0.1", port=free_port())
    smtp.start()
    receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    receiver.calls = []
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    env = {"NEXUS_SMTP_URL": f"smtp://127.0.0.1:{smtp.port}", "NEXUS_MAIL_FROM": "shop@example.com"}
    with Topology(folder, env=env) as topology:
        topology.mailbox, topology.receiver = mailbox, receiver
        topology.admin = topology.bootstrap_admin()
        topology.customer = topology.register("ada@example.com")
        yield topology
    receiver.shutdown()
    receiver.server_close()
    smtp.stop()


def order_body(token="tok_ok", amount=1250, quantity=2):
    return {"items": [{"sku": "book-1", "quantity": quantity, "unit_price": {"amount": amount, "currency": "EUR"}}],
            "payment": {"token": token}}


def place(world, token="tok_ok", who=None, **options):
    reply = world.call("POST", "/api/v1/orders", order_body(token), token=who or world.customer, **options)
    assert reply.status == 201, reply
    return reply.json


def settled(world, order_id, seconds=15):
    def done():
        reply = world.call("GET", f"/api/v1/orders/{order_id}", token=world.customer)
        assert reply.status == 200, reply
        return reply.json if reply.json["status"] != "pending" else None
    return wait_for(done, seconds, f"order {order_id} settled")


def cli(world, *argv, token=None, check=0):
    env = dict(world.env, NEXUS_TOKEN=token or world.admin)
    run = subprocess.run([binary("nexus"), *map(str, argv)], env=env, text=True, capture_output=True, timeout=120 * SLOW)
    assert check is None or run.returncode == check, f"nexus {argv}: exit {run.returncode}\n{run.stdout}\n{run.stderr}"
    return run


# --- 1 ----------------------------------------------------------------------------------------

def test_who_am_i_needs_a_token(world):
    me = world.call("GET", "/api/v1/users/me", token=world.customer)
    assert me.status == 200 and me.json["email"] == "ada@example.com" and me.json["roles"] == ["customer"]
    problem(world.call("GET", "/api/v1/users/me"), 401)
    problem(world.call("GET", "/api/v1/users/me", token=world.customer[:-4] + "AAAA"), 401)


def test_every_service_checks_the_token_itself(world):
    for service, path in (("backend", "/api/v1/orders"), ("analytics", "/api/v1/analytics/dashboard?range=24h"),
                          ("notification", "/api/v1/notifications")):
        problem(world.call("GET", path, service=service), 401)
        problem(world.call("GET", path, service=service, headers={"X-Nexus-User": "admin", "X-Nexus-Roles": "admin"}), 401)


# --- 2 ----------------------------------------------------------------------------------------

def test_same_idempotency_key_is_the_same_order(world):
    key = {"Idempotency-Key": str(uuid.uuid4())}
    first = place(world, headers=key)
    again = world.call("POST", "/api/v1/orders", order_body(), token=world.customer, headers=key)
    assert again.status == 201 and again.json["id"] == first["id"]
    assert again.header("Idempotency-Replayed") == "true"
    problem(world.call("POST", "/api/v1/orders", order_body(amount=99), token=world.customer, headers=key), 422)
    other = world.register("eve@example.com")
    problem(world.call("GET", f"/api/v1/orders/{first['id']}", token=other), 404)
    assert first["total"] == {"amount": 2500, "currency": "EUR"}
    settled(world, first["id"])


# --- 3 ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("token,status,reason", [("tok_ok", "confirmed", None), ("tok_declined", "cancelled", "declined"),
                                                 ("tok_timeout", "cancelled", "timed")])
def test_saga_decides(world, token, status, reason):
    order = settled(world, place(world, token)["id"])
    assert order["status"] == status, order
    statuses = [h["status"] for h in order["history"]]
    assert statuses[0] == "pending" and statuses[-1] == status
    if reason:
        assert reason in " ".join(str(h.get("reason")) for h in order["history"]).lower().replace("_", " "), order
    wait_for(lambda: world.call("GET", f"/api/v1/orders/{order['id']}", token=world.customer).json["notifications"],
             what="the order naming its notification")


# --- 4 ----------------------------------------------------------------------------------------

def test_mail_and_webhook_arrive_and_are_accounted_for(world):
    made = world.call("POST", "/api/v1/notifications/endpoints",
                      {"url": f"http://127.0.0.1:{world.receiver.server_port}/hook", "events": ["order.confirmed", "order.cancelled"]},
                      token=world.customer)
    assert made.status == 201 and made.json["secret"].startswith("whsec_"), made
    order = settled(world, place(world)["id"])

    def mail():
        return [m for m in world.mailbox.messages if order["id"].encode() in m.content]
    wait_for(mail, 15, "the customer's e-mail")
    assert mail()[0].rcpt_tos == ["ada@example.com"] and mail()[0].mail_from == "shop@example.com"
    wait_for(lambda: [b for _, b in world.receiver.calls if order["id"].encode() in b], 15, "the webhook")
    headers, body = next((h, b) for h, b in world.receiver.calls if order["id"].encode() in b)
    assert signature_is_valid(made.json["secret"], headers, body)
    assert not signature_is_valid("whsec_" + base64.b64encode(b"x" * 32).decode(), headers, body)

    def all_sent():
        ids = world.call("GET", f"/api/v1/orders/{order['id']}", token=world.customer).json["notifications"]
        views = [world.call("GET", f"/api/v1/notifications/{i}", token=world.admin).json for i in ids]
        deliveries = [d for v in views for d in v["deliveries"]]
        channels = {d["channel"] for d in deliveries if d["status"] in ("sent", "delivered")}
        return deliveries if {"email", "webhook"} <= channels else None
    for delivery in wait_for(all_sent, 15, "both deliveries sent"):
        assert delivery["attempts"] and all({"at", "ms", "code"} <= set(a) for a in delivery["attempts"]), delivery


# --- 5 ----------------------------------------------------------------------------------------

def dashboard(world):
    reply = world.call("GET", "/api/v1/analytics/dashboard?range=24h", token=world.admin)
    assert reply.status == 200, reply
    return reply.json


def test_dashboard_and_metrics_count_the_order_within_a_second(world):
    before = dashboard(world)["orders"]["confirmed"]
    order = settled(world, place(world)["id"])
    wait_for(lambda: dashboard(world)["orders"]["confirmed"] == before + 1, 2, f"the dashboard counting {order['id']}")
    text = world.call("GET", "/metrics", service="backend").body.decode()
    assert re.search(r'^nexus_orders_total\{[^}]*status="confirmed"[^}]*\} [1-9]', text, re.M), text[:2000]
    problem(world.call("GET", "/api/v1/analytics/dashboard?range=24h", token=world.customer), 403)


def test_domain_events_reach_analytics_by_themselves(world):
    world.call("POST", "/api/v1/auth/password-reset", {"email": "ada@example.com"})
    wanted = {"user.registered", "user.login", "order.created", "payment.processed", "order.confirmed", "order.cancelled",
              "notification.sent"}
    # one event of each other type, as the services would publish them
    def names():
        top = world.call("POST", "/api/v1/analytics/query",
                         {"measures": [{"agg": "count"}], "group_by": ["event"], "limit": 50}, token=world.admin)
        assert top.status == 200, top
        return json.dumps(top.json)
    wait_for(lambda: all(f'"{n}"' in names() for n in wanted), 10, f"analytics knowing {wanted}")


# --- 6 ----------------------------------------------------------------------------------------

def query(world, body):
    reply = world.call("POST", "/api/v1/analytics/query", body, token=world.admin)
    assert reply.status == 200, reply
    return reply.json


def grouped(answer):
    """{label: value} of a one-measure, one-group answer."""
    return {str(next(iter(r["labels"].values()))): next(iter(r["values"].values())) for r in answer["rows"]}


def single(answer):
    """The number of a one-measure answer without groups."""
    return next(iter(answer["rows"][0]["values"].values()))


@pytest.mark.skipif(not PAGEVIEWS.exists(), reason=f"{PAGEVIEWS} is not there")
def test_real_traffic_equals_an_independent_count(world):
    argv = ("ingest", "--map", "user=user_id,ts=timestamp,props=properties", PAGEVIEWS)
    cli(world, *argv)
    rows = [json.loads(line) for line in PAGEVIEWS.open()]
    window = {"from": "2015-05-17T00:00:00Z", "to": "2015-05-21T00:00:00Z",
              "filters": [{"field": "event", "op": "eq", "value": "page_view"}]}

    def check():
        assert single(query(world, {**window, "measures": [{"agg": "count"}]})) == len(rows) == 9999
        assert single(query(world, {**window, "measures": [{"agg": "uniques"}]})) == len({r["user"] for r in rows}) == 1753
        paths = grouped(query(world, {**window, "measures": [{"agg": "count"}], "group_by": ["properties.path"], "limit": 10}))
        expected = collections.Counter(r["props"]["path"] for r in rows).most_common(10)
        assert paths[expected[0][0]] == expected[0][1] == 807
        assert sorted(paths.values()) == sorted(n for _, n in expected)
        hours = query(world, {**window, "measures": [{"agg": "count"}], "interval": "1h"})["series"][0]["points"]
        per_hour = collections.Counter(r["ts"][:13] for r in rows)
        got = {time.strftime("%Y-%m-%dT%H", time.gmtime(t / 1000)): v for t, v in hours if v}
        assert got == dict(per_hour)
        classes = grouped(query(world, {**window, "measures": [{"agg": "count"}], "group_by": ["properties.status"],
                                        "bucket": {"properties.status": 100}}))
        want = collections.Counter(str(r["props"]["status"] // 100 * 100) for r in rows)
        assert classes == dict(want), classes
    check()
    cli(world, *argv)  # importing it twice changes nothing
    check()


COMBINED = '''127.0.0.1 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 512 "-" "curl/7.88"
127.0.0.2 - ada [17/May/2015:10:05:04 +0000] "GET /a?q=%22x%22 HTTP/1.1" 404 12 "http://x/" "A \\"quoted\\" agent"
127.0.0.1 - - [17/May/2015:12:05:05 +0200] "POST /b HTTP/1.1" 500 - "-" "-"
'''


def test_access_logs_that_everybody_has(world, tmp_path):
    log = tmp_path / "access.log"
    log.write_text(COMBINED + "this line is no log line\n")
    run = cli(world, "ingest", "--format", "combined", log, check=1)
    assert "4" in run.stderr + run.stdout, "the bad line is named"
    run = cli(world, "ingest", "--format", "combined", log, check=None)
    window = {"from": "2015-05-17T10:00:00Z", "to": "2015-05-17T11:00:00Z",
              "filters": [{"field": "properties.path", "op": "in", "value": ["/a", "/b"]}]}
    counts = grouped(query(world, {**window, "measures": [{"agg": "count"}], "group_by": ["properties.path"]}))
    assert counts.get("/a", 0) >= 1 and counts["/b"] == 1, counts


# --- 7 ----------------------------------------------------------------------------------------

def test_copilot_answers_with_number_and_query(world):
    asked = world.call("POST", "/api/v1/copilot/chat", {"message": "how many orders were confirmed today?"}, token=world.admin)
    assert asked.status == 200, asked
    confirmed = dashboard(world)["orders"]["confirmed"]
    assert asked.json["value"] == confirmed and str(confirmed) in asked.json["answer"]
    assert asked.json["citations"][0]["value"] == confirmed and asked.json["citations"][0]["query"]
    problem(world.call("POST", "/api/v1/copilot/chat", {"message": "x"}, token=world.customer), 403)


# --- 8 and the rest ---------------------------------------------------------------------------

def test_console_needs_nothing_from_outside(world):
    page = world.call("GET", "/")
    assert page.status == 200 and b"<html" in page.body.lower()
    assert "default-src 'self'" in page.header("Content-Security-Policy") or "default-src 'none'" in page.header("Content-Security-Policy")
    assert not re.search(rb'(?:src|href)=["\']?(?:https?:)?//', page.body), "an external resource"


def test_one_trace_through_logs_and_events_of_an_order(world):
    trace = uuid.uuid4().hex
    order = place(world, headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
    settled(world, order["id"])
    for service in ("gateway", "backend", "notification"):
        log = world.servers[service].log
        wait_for(lambda: trace in log.read_text(errors="replace"), 10, f"the trace id in the log of {service}")


def test_nexus_demo_walks_the_main_job(world):
    run = cli(world, "demo", check=None)
    assert run.returncode == 0, run.stdout + run.stderr
    assert len([l for l in run.stdout.splitlines() if l.strip()]) >= 8


@pytest.mark.parametrize("service", ["backend", "notification", "analytics", "gateway", "copilot", "console"])
def test_kill_and_restart_loses_nothing_acknowledged(world, service):
    """An order is acknowledged, then a server dies with -9 in the middle of the saga and comes back."""
    order = place(world)
    world.servers[service].kill()
    world.restart(service)
    done = settled(world, order["id"], 40)
    assert done["status"] == "confirmed", done
    wait_for(lambda: [m for m in world.mailbox.messages if order["id"].encode() in m.content], 40, "the e-mail after the crash")
    wait_for(lambda: order["id"] in json.dumps(query(world, {"measures": [{"agg": "count"}], "group_by": ["properties.order_id"],
             "filters": [{"field": "event", "op": "eq", "value": "order.confirmed"}], "limit": 100})), 20,
             "analytics counting the order")
