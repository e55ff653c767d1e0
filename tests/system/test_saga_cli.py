"""Sagas by hand: the order saga of the running backend, and a saga of another process, from the command line."""
import json
import os
import subprocess
import sys
import uuid

import pytest

from harness import BUILD, ROOT, SLOW, Topology, binary, wait_for

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def topology(tmp_path_factory):
    # nobody pays with tok_timeout: an order waits for its payment as long as the saga lets it
    with Topology(tmp_path_factory.mktemp("saga"), ["backend"], {"NEXUS_PAYMENT_TIMEOUT_MS": "600000"}) as t:
        yield t


def nexus(t, *words):
    env = {**t.env, "PATH": os.environ["PATH"]}
    return subprocess.run([binary("nexus"), *words], env=env, capture_output=True, text=True, timeout=60 * SLOW)


def listed(t, saga, *words):
    said = nexus(t, "saga", "list", saga, "--json", *words)
    assert said.returncode == 0, said
    return json.loads(said.stdout)


def waiting_order(t):
    """An order that waits for its payment: (its id, how to read it)."""
    token = t.register(f"{uuid.uuid4().hex}@example.com", PASSWORD, service="backend")
    body = {"items": [{"sku": "book-1", "quantity": 1, "unit_price": {"amount": 1250, "currency": "EUR"}}],
            "payment": {"token": "tok_timeout"}}
    placed = t.call("POST", "/api/v1/orders", body, service="backend", token=token)
    assert placed.status == 201, placed
    order = placed.json["id"]
    wait_for(lambda: order in [i["id"] for i in listed(t, "order")["instances"]], 20, "the order's saga")

    def read():
        return t.call("GET", f"/api/v1/orders/{order}", service="backend", token=token).json
    return order, read


def test_an_order_that_waits_is_listed_shown_and_passed_over_by_hand(topology):
    order, read = waiting_order(topology)
    row = next(i for i in listed(topology, "order", "--status", "running")["instances"] if i["id"] == order)
    assert row["status"] == "running" and row["step"] == "payment" and row["due_at"]
    assert order in nexus(topology, "saga", "list", "order").stdout
    again = nexus(topology, "saga", "retry", "order", order, "--why", "the provider was away")
    assert again.returncode == 0, again
    done = nexus(topology, "saga", "skip", "order", order, "--why", "paid in cash")
    assert done.returncode == 0, done
    assert wait_for(lambda: read()["status"] != "pending" and read(), 20, "the order")["status"] == "confirmed"
    shown = json.loads(nexus(topology, "saga", "show", "order", order).stdout)
    assert shown["status"] == "done"
    assert [(h.get("op"), h.get("why")) for h in shown["history"]] == [
        (None, None), ("retry", "the provider was away"), ("skip", "paid in cash")]
    assert order in [i["id"] for i in listed(topology, "order", "--status", "done")["instances"]]
    over = nexus(topology, "saga", "retry", "order", order, "--why", "once more")
    assert over.returncode == 1 and "is done" in over.stderr


def test_a_waiting_order_survives_kill_9_and_is_ended_by_force(topology):
    order, read = waiting_order(topology)
    topology.servers["backend"].kill()
    topology.restart("backend")
    assert order in [i["id"] for i in listed(topology, "order")["instances"]]
    ended = nexus(topology, "saga", "force", "order", order, "failed", "--why", "the customer has gone")
    assert ended.returncode == 0, ended
    assert json.loads(ended.stdout)["status"] == "failed" and json.loads(ended.stdout)["reason"] == "the customer has gone"
    assert read()["status"] == "pending"  # force undoes nothing


@pytest.mark.skipif("asan" in BUILD.name, reason="a sanitized library needs a sanitized interpreter")
def test_a_failing_compensation_gets_stuck_alerts_and_is_a_dead_letter_until_it_is_passed_over(topology):
    os.environ["NEXUS_LIBRARY"] = str(BUILD / "lib/libnexus.so")
    sys.path.insert(0, str(ROOT / "bindings/python"))
    binding = pytest.importorskip("nexus")
    table = {"name": "trip", "start_types": "trip.wanted", "failed_type": "trip.off", "steps": [
        {"name": "hotel", "command": "hotel.book", "undo_command": "no type\u0001", "undo_attempts": 2, "backoff_ms": 1},
        {"name": "flight", "command": "flight.book", "on_types": "flight.booked", "fail_when": "status=full"}]}
    with binding.Bus(f"file:{topology.state}/bus") as bus, binding.Saga(bus, table), \
            bus.group("watch", types="system.alert,trip.off") as watch:
        bus.publish({"type": "trip.wanted", "subject": "t-1", "data": {}})
        bus.publish({"type": "flight.booked", "subject": "t-1", "data": {"status": "full"}})

        def next_event():
            for delivery in watch.fetch(1, wait_ms=20000):
                delivery.ack()
                return delivery.event
        alert = next_event()
        assert alert["type"] == "system.alert" and "saga trip t-1 is stuck" in alert["data"]["message"]
        stuck = listed(topology, "trip", "--status", "stuck")["instances"]
        assert [(i["id"], i["reason"]) for i in stuck] == [("t-1", "full")] and stuck[0]["error"]
        letters = wait_for(lambda: json.loads(nexus(topology, "dlq", "list", "saga-trip", "--json").stdout), 20, "the letter")
        assert letters[0]["event"]["type"] == "saga.trip.stuck" and "is stuck" in letters[0]["reason"]
        retried = nexus(topology, "saga", "retry", "trip", "t-1", "--why", "perhaps now")
        assert retried.returncode == 0, retried  # an attempt of two has failed again, the second is to come
        assert next_event()["type"] == "system.alert"
        skipped = nexus(topology, "saga", "skip", "trip", "t-1", "--why", "the hotel was called")
        assert skipped.returncode == 0 and json.loads(skipped.stdout)["status"] == "failed", skipped
        assert next_event()["type"] == "trip.off"
        wait_for(lambda: json.loads(nexus(topology, "dlq", "list", "saga-trip", "--json").stdout) == [], 20, "no letter")
        assert [i["id"] for i in binding.saga_list(bus, "trip", "failed")] == ["t-1"]


@pytest.mark.parametrize("words", [(), ("list",), ("show", "order"), ("retry", "order", "1"), ("force", "order", "1", "--why", "x"),
                                   ("force", "order", "1", "perhaps", "--why", "x"), ("paint", "order", "1", "--why", "x")])
def test_wrong_words_are_usage(topology, words):
    said = nexus(topology, "saga", *words)
    assert said.returncode == 2 and "usage" in said.stderr, said


def test_an_instance_that_is_not_there(topology):
    for words in (("show", "order", "nobody"), ("skip", "order", "nobody", "--why", "x")):
        said = nexus(topology, "saga", *words)
        assert said.returncode == 1 and "no instance nobody" in said.stderr, said
