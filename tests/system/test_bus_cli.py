"""What the command line says of the bus, and does to it, while a server owns it."""
import json
import os
import subprocess
import sys

import pytest

from harness import BUILD, ROOT, SLOW, Topology, binary


@pytest.fixture(scope="module")
def topology(tmp_path_factory):
    with Topology(tmp_path_factory.mktemp("bus"), ["backend", "notification"]) as t:
        yield t


def nexus(t, *words):
    env = {**t.env, "PATH": os.environ["PATH"]}
    return subprocess.run([binary("nexus"), *words], env=env, capture_output=True, text=True, timeout=60 * SLOW)


def test_groups_and_why_they_do_not_move(topology):
    said = nexus(topology, "events", "groups", "--json")
    assert said.returncode == 0, said
    groups = {g["name"]: g for g in json.loads(said.stdout)}
    assert groups and all(g["state"] in ("CAUGHT_UP", "MOVING", "NOTHING_MATCHES") for g in groups.values()), groups
    shown = nexus(topology, "events", "groups").stdout.splitlines()
    assert shown[0].split()[:3] == ["name", "state", "lag"] and len(shown) == len(groups) + 1


@pytest.mark.skipif("asan" in BUILD.name, reason="a sanitized library needs a sanitized interpreter")
def test_dead_letters_are_looked_at_handed_out_again_and_removed(topology):
    os.environ["NEXUS_LIBRARY"] = str(BUILD / "lib/libnexus.so")
    sys.path.insert(0, str(ROOT / "bindings/python"))
    binding = pytest.importorskip("nexus")
    with binding.Bus(f"file:{topology.state}/bus") as bus, bus.group("shop", types="shop.*") as group:
        for i in range(4):
            said = nexus(topology, "events", "publish", "shop.sale", json.dumps({"n": i}), "--subject", f"till-{i % 2}")
            assert said.returncode == 0 and json.loads(said.stdout)["position"] > 0
        taken = 0
        while taken < 4:
            for delivery in group.fetch(4, wait_ms=2000):
                delivery.term("drawer is stuck")
                taken += 1
        listed = nexus(topology, "dlq", "list", "shop")
        assert listed.returncode == 0 and listed.stdout.count("shop.sale  till-0  after 1: drawer is stuck") == 2
        letters = json.loads(nexus(topology, "dlq", "list", "shop", "--key", "till-1", "--json").stdout)
        assert [x["event"]["data"]["n"] for x in letters] == [1, 3]
        first = str(letters[0]["pos"])
        assert json.loads(nexus(topology, "dlq", "show", "shop", first).stdout)[0]["event"]["data"] == {"n": 1}
        dry = nexus(topology, "dlq", "redrive", "shop", "--type", "shop.*", "--dry-run", "--json")
        assert json.loads(dry.stdout) == {"matched": 4, "redriven": 0}
        edited = nexus(topology, "dlq", "redrive", "shop", "--pos", first, "--data", '{"n":100}')
        assert edited.returncode == 0 and "1 match, 1 handed out again" in edited.stdout
        (again,) = group.fetch(1, wait_ms=2000)
        assert again.event["data"] == {"n": 100} and again.attempt == 1
        again.ack()
        refused = nexus(topology, "dlq", "purge", "shop", "--expect", "4")
        assert refused.returncode == 1 and "3 dead letters match, not 4" in refused.stderr
        assert nexus(topology, "dlq", "purge", "shop", "--expect", "3").returncode == 0
        assert nexus(topology, "dlq", "list", "shop", "--json").stdout.strip() == "[]"


@pytest.mark.skipif("asan" in BUILD.name, reason="a sanitized library needs a sanitized interpreter")
def test_a_group_is_explained_stopped_and_moved(topology):
    os.environ["NEXUS_LIBRARY"] = str(BUILD / "lib/libnexus.so")
    sys.path.insert(0, str(ROOT / "bindings/python"))
    binding = pytest.importorskip("nexus")
    with binding.Bus(f"file:{topology.state}/bus") as bus, bus.group("till", types="till.*") as group:
        for i in range(3):
            assert nexus(topology, "events", "publish", "till.sale", json.dumps({"n": i}), "--subject", f"t-{i}").returncode == 0
        first = group.fetch(3, wait_ms=2000)
        while len(first) < 3:
            first += group.fetch(3, wait_ms=2000)
        for delivery in first:
            delivery.ack()
        assert nexus(topology, "events", "pause", "till").returncode == 0
        said = json.loads(nexus(topology, "events", "explain", "till", "--json").stdout)
        assert said["state"] == "PAUSED" and said["lag"] == 0
        assert "PAUSED" in nexus(topology, "events", "explain", "till").stdout
        start = str(first[0].event["pos"])
        dry = json.loads(nexus(topology, "events", "seek", "till", "--from", start, "--dry-run", "--json").stdout)
        assert dry["again"] == 3 and dry["skipped"] == 0
        assert nexus(topology, "events", "resume", "till").returncode == 0
        assert group.fetch(1, wait_ms=0) == []
        assert "3 come again" in nexus(topology, "events", "seek", "till", "--from", start).stdout
        (again,) = group.fetch(1, wait_ms=2000)
        assert again.event["data"] == {"n": 0}
        again.ack()
        assert nexus(topology, "events", "seek", "till", "--from", "end").returncode == 0
        noted = json.loads(nexus(topology, "events", "audit", "till").stdout)
        assert [x["what"] for x in noted] == ["pause", "resume", "seek", "seek"]
        assert nexus(topology, "events", "seek", "till", "--from", "yesterday").returncode == 1
        page = "".join(topology.call("GET", "/metrics", service=s).body.decode() for s in ("backend", "notification"))
        assert 'nexus_bus_group_lag{group="till"} 0' in page and 'nexus_bus_events_total{category="t"} 3' in page


@pytest.mark.parametrize("words", [("dlq",), ("dlq", "list"), ("dlq", "paint", "g"), ("dlq", "purge", "g"), ("dlq", "show", "g"),
                                   ("events",), ("events", "publish", "x"), ("events", "groups", "x"), ("events", "seek", "g"), ("events", "explain")])
def test_wrong_words_are_usage(topology, words):
    said = nexus(topology, *words)
    assert said.returncode == 2 and "usage" in said.stderr, said


def test_a_group_that_is_not_there(topology):
    said = nexus(topology, "dlq", "list", "nobody")
    assert said.returncode == 1 and "there is no group nobody" in said.stderr


def test_the_files_of_a_stopped_bus_are_verified_and_repaired(tmp_path):
    env = {"PATH": os.environ["PATH"], "NEXUS_STATE_DIR": str(tmp_path), "HOME": str(tmp_path)}

    def run(*words):
        return subprocess.run([binary("nexus"), *words], env=env, capture_output=True, text=True, timeout=60 * SLOW)

    assert run("bus", "verify").returncode == 3
    assert run("bus", "polish").returncode == 2
    (tmp_path / "t").mkdir()
    with Topology(tmp_path / "t", ["backend"]) as t:
        said = nexus(t, "events", "publish", "shop.sale", json.dumps({"secret": "MARKED-DATA"}))
        assert said.returncode == 0, said
        position = str(json.loads(said.stdout)["position"])
        for i in range(3):
            assert nexus(t, "events", "publish", "shop.sale", json.dumps({"n": i})).returncode == 0
        held = nexus(t, "bus", "verify")
        assert held.returncode == 3 and "another process" in held.stderr
        told = nexus(t, "bus", "stats")  # of an open bus its owner tells
        assert told.returncode == 0 and json.loads(told.stdout)["durability"] == "always", told
        assert json.loads(told.stdout)["last"] >= 4
        bus = t.state / "bus"
    words = ["--dir", str(bus)]
    whole = run("bus", "verify", *words, "--json")
    assert whole.returncode == 0 and json.loads(whole.stdout)["bad"] == [], whole
    (log,) = [p for p in bus.glob("seg-*.log") if b"MARKED-DATA" in p.read_bytes()]
    data = bytearray(log.read_bytes())
    data[data.index(b"MARKED-DATA")] ^= 1
    log.write_bytes(data)
    bad = run("bus", "verify", *words)
    assert bad.returncode == 1 and f"{log.name} at " in bad.stdout and f"positions {position} to {position}" in bad.stdout
    asked = run("bus", "repair", *words)
    assert asked.returncode == 1 and "--yes" in asked.stderr and run("bus", "verify", *words).returncode == 1
    assert run("bus", "repair", "--yes", *words).returncode == 0
    assert run("bus", "verify", *words).returncode == 0 and run("bus", "stats", *words).returncode == 0


def test_replay_prints_what_was_stored_and_the_dry_run_counts_it(topology):
    for i in range(5):
        said = nexus(topology, "events", "publish", "replayed.sale" if i % 2 else "replayed.refund", json.dumps({"n": i}), "--subject", "till-9")
        assert said.returncode == 0, said
    positions = [int(json.loads(line)["pos"]) for line in nexus(topology, "events", "replay", "--type", "replayed.*").stdout.splitlines()]
    assert len(positions) == 5 and positions == sorted(positions)
    said = nexus(topology, "events", "replay", "--stream", "till-9", "--from", str(positions[1]), "--to", str(positions[3]), "--rate", "1000", "--json")
    assert [json.loads(line)["data"]["n"] for line in said.stdout.splitlines()] == [1, 2, 3]
    progress = json.loads(said.stderr.splitlines()[-1])
    assert progress["events"] == 3 and progress["position"] == progress["to"] == positions[3]
    counted = json.loads(nexus(topology, "events", "replay", "--type", "replayed.sale", "--factor", "1", "--dry-run", "--json").stdout)
    assert counted["events"] == 2 and counted["first"] == positions[1] and counted["last"] == positions[3]
    assert json.loads(nexus(topology, "events", "replay", "--from", "2100-01-01T00:00:00Z", "--dry-run", "--json").stdout)["events"] == 0
    assert nexus(topology, "events", "replay", "--factor", "fast").returncode == 2


def test_asyncapi_names_every_type(topology):
    said = nexus(topology, "bus", "asyncapi", "--title", "Shop")
    assert said.returncode == 0, said
    doc = json.loads(said.stdout)
    assert doc["asyncapi"] == "3.0.0" and doc["info"]["title"] == "Shop"
    assert {"order.created", "user.login", "payment.processed"} <= set(doc["channels"])
    reference = doc["channels"]["order.created"]["messages"]["order.created.rev1"]["$ref"].removeprefix("#/components/messages/")
    assert doc["components"]["messages"][reference]["payload"]["schema"]["required"] == ["order_id", "amount", "currency"]
    assert nexus(topology, "bus", "dance").returncode == 2
