"""The same servers on a real PostgreSQL and Redis: an order travels, and survives a restart of every server."""
import contextlib

import pytest
from engines import KafkaMock, Nats, Postgres, Redis
from harness import Topology, wait_for

ORDER = {"items": [{"sku": "book-1", "quantity": 1, "unit_price": {"amount": 700, "currency": "EUR"}}],
         "payment": {"token": "tok_ok"}}


def status_of(topology, token, order):
    reply = topology.call("GET", f"/api/v1/orders/{order}", token=token)
    return reply.json.get("status") if reply.status == 200 else None


def confirm_an_order(topology, token):
    placed = topology.call("POST", "/api/v1/orders", ORDER, token=token)
    assert placed.status == 201, placed
    wait_for(lambda: status_of(topology, token, placed.json["id"]) == "confirmed", 20, "the order confirmed")


SERVERS = {"postgresql": Postgres, "redis": Redis, "nats": Nats, "kafka": KafkaMock}


@pytest.mark.parametrize("engine", ["sqlite", *SERVERS])
def test_the_saga_of_an_order_runs_on_another_bus_engine_and_goes_on_with_another_owner(tmp_path, engine):
    with SERVERS.get(engine, contextlib.nullcontext)() as server:
        url = server or f"sqlite:{tmp_path}/bus.db"
        with Topology(tmp_path, ["gateway", "backend", "notification"], env={"NEXUS_BUS_URL": url}) as topology:
            topology.bootstrap_admin()
            token = topology.register("ada@example.com")
            confirm_an_order(topology, token)
            topology.servers["backend"].kill()  # it started first, so it owned the bus: notification takes over
            topology.restart("backend")
            confirm_an_order(topology, token)
        assert not (topology.state / "bus").exists(), "nothing was kept in files beside"


def test_an_order_travels_on_postgresql_and_redis(tmp_path):
    with Postgres() as database, Redis() as cache:
        env = {"NEXUS_DATABASE_URL": database, "NEXUS_REDIS_URL": cache}
        with Topology(tmp_path, env=env) as topology:
            topology.bootstrap_admin()
            token = topology.register("ada@example.com")
            placed = topology.call("POST", "/api/v1/orders", ORDER, token=token)
            assert placed.status == 201, placed
            wait_for(lambda: status_of(topology, token, placed.json["id"]) == "confirmed", 20, "the order confirmed")
            for service in ("backend", "notification"):
                topology.servers[service].kill()
                topology.restart(service)
            token = topology.login("ada@example.com", "correct horse battery")
            assert status_of(topology, token, placed.json["id"]) == "confirmed"
        assert not list(topology.state.glob("*.db")), "nothing was kept in SQLite beside"
