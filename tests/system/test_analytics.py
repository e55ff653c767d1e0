"""Ingestion and analytics over HTTP: what is taken, what is refused and why, what the numbers are, what a crash leaves."""
import collections
import gzip
import http.client
import json
import threading
import time

import pytest
from harness import DATA, SLOW, Topology, problem, wait_for

PAGEVIEWS = DATA / "pageviews.ndjson"
BATCH = "/api/v1/ingest/events/batch"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with Topology(tmp_path_factory.mktemp("analytics"), ["backend", "analytics"]) as topology:
        topology.admin = topology.bootstrap_admin()
        topology.customer = topology.register("ada@example.com", service="backend")
        topology.key = (topology.state / "write.key").read_text().strip()
        yield topology


def call(world, method, path, body=None, token=None, **options):
    return world.call(method, path, body, service="analytics", token=token, **options)


def send(world, body, path="/api/v1/ingest/event", **options):
    return call(world, "POST", path, body, token=options.pop("token", world.key), **options)


def ask(world, question):
    reply = call(world, "POST", "/api/v1/analytics/query", question, token=world.admin)
    assert reply.status == 200, reply
    return reply.json


def total(world, name, **question):
    return ask(world, {"filters": [{"field": "event", "value": name}], **question})["totals"]["count"]


def test_one_event_is_durable_then_a_duplicate(world):
    first = send(world, {"id": "one-1", "event": "one", "user_id": "u"})
    assert first.status == 202 and first.json == {"id": "one-1", "status": "accepted"} and first.header("Nexus-Durability") == "fsync"
    again = send(world, {"id": "one-1", "event": "one", "user_id": "u"})
    assert again.status == 200 and again.json == {"id": "one-1", "status": "duplicate"}
    assert total(world, "one") == 1
    made = send(world, {"event": "one"})
    assert made.status == 202 and len(made.json["id"]) == 36


@pytest.mark.parametrize("body,code,pointer", [
    ({}, "missing_event", "/event"), ({"event": "x" * 201}, "event_too_long", "/event"), ({"event": 1}, "bad_type", "/event"),
    ({"event": "a", "properties": 1}, "bad_type", "/properties"), ({"event": "a", "id": "x" * 65}, "too_large", "/id"),
    ({"event": "a", "properties": {f"k{i}": 1 for i in range(300)}}, "too_many_properties", "/properties"),
    ({"event": "a", "properties": {"x": "y" * 70000}}, "too_large", "")])
def test_invalid_events_have_stable_codes(world, body, code, pointer):
    answer = problem(send(world, body), 422, code)
    assert answer["errors"][0]["code"] == code and answer["errors"][0]["pointer"] == pointer and answer["errors"][0]["detail"]


def announced(world, length):
    """The answer to a body that is only announced: the server says no before it comes."""
    connection = http.client.HTTPConnection("127.0.0.1", world.base + 3, timeout=10)
    connection.putrequest("POST", BATCH)
    for name, value in (("Content-Type", "application/json"), ("Content-Length", str(length)), ("Authorization", f"Bearer {world.key}")):
        connection.putheader(name, value)
    connection.endheaders()
    status = connection.getresponse().status
    connection.close()
    return status


def test_broken_bodies_are_400_or_413_or_415(world):
    json_type = {"Content-Type": "application/json"}
    problem(send(world, b"{", headers=json_type), 400)
    problem(send(world, b"[]", headers=json_type), 400)
    problem(send(world, b'{"events":7}', BATCH, headers=json_type), 400)
    assert announced(world, 21 << 20) == 413
    problem(send(world, b"x", BATCH, headers={**json_type, "Content-Encoding": "br"}), 415)
    problem(send(world, b"not gzip", BATCH, headers={**json_type, "Content-Encoding": "gzip"}), 400)
    problem(send(world, gzip.compress(b"0" * (8 << 20)), BATCH, headers={**json_type, "Content-Encoding": "gzip"}), 413)
    problem(send(world, [{"event": "a"}] * 10001, BATCH), 413)


def test_who_may_write_and_who_may_ask(world):
    event = {"event": "who"}
    problem(send(world, event, token=None), 401)
    problem(send(world, event, token="nxw_wrong"), 401)
    problem(send(world, event, token=world.customer), 403)
    assert send(world, event, token=world.admin).status == 202
    assert send(world, event, token=None, headers={"X-Write-Key": world.key}).status == 202
    assert call(world, "POST", f"/api/v1/ingest/event?key={world.key}", event).status == 202
    for path in ("/api/v1/analytics/dashboard", "/api/v1/ingest/stats", "/api/v1/analytics/metrics", "/api/v1/analytics/events"):
        problem(call(world, "GET", path), 401)
        problem(call(world, "GET", path, token=world.key), 401)
        problem(call(world, "GET", path, token=world.customer), 403)
        assert call(world, "GET", path, token=world.admin).status == 200
    assert (world.state / "write.key").stat().st_mode & 0o777 == 0o600


def test_each_event_of_a_batch_has_its_own_fate(world):
    events = [{"id": "b1", "event": "batch"}, {"id": "b1", "event": "batch"}, {"id": "b2"}, {"id": "b3", "event": "batch", "user_id": "NULL"}]
    answer = send(world, {"events": events}, BATCH)
    assert answer.status == 200, answer
    body = answer.json
    assert (body["accepted"], body["duplicate"], body["rejected"], body["retry"]) == (2, 1, 1, 0)
    assert [(r["index"], r["status"]) for r in body["results"]] == [(1, "duplicate"), (2, "rejected")]
    everything = send(world, [{"id": "b4", "event": "batch", "user_id": "undefined"}], BATCH + "?results=all").json
    assert everything["results"][0]["status"] == "accepted" and everything["results"][0]["warning"] == "illegal_identity"
    refused = problem(send(world, [{"id": "b5", "event": "batch"}, {}], BATCH + "?atomic=true"), 422)
    assert refused["errors"][0]["pointer"] == "/1/event"
    assert total(world, "batch") == 3
    kept = call(world, "GET", "/api/v1/ingest/rejected?code=missing_event", token=world.admin).json["events"]
    assert '{"id": "b2"}' in [e["body"] for e in kept]


def test_lines_and_gzip(world):
    lines = b'{"id":"l1","event":"lines"}\n{oops\n\n{"id":"l2","event":"lines"}\r\n'
    answer = send(world, gzip.compress(lines), BATCH, headers={"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"})
    assert answer.status == 200 and answer.json["accepted"] == 2 and answer.json["results"][0]["code"] == "bad_json", answer
    assert answer.json["results"][0]["index"] == 1


def test_questions_not_understood_name_the_member(world):
    for question, pointer in (({"group_by": ["plan"]}, "/group_by"), ({"from": "later"}, "/from"), ({"tz": "Europe/Berlin"}, "/tz"),
                              ({"order": "sum"}, "/order"), ({"range": "365d", "interval": "1m"}, None)):
        answer = problem(call(world, "POST", "/api/v1/analytics/query", question, token=world.admin), 422)
        assert pointer is None or answer["errors"][0]["pointer"] == pointer, answer
    assert 400 <= call(world, "POST", "/api/v1/analytics/query", {"measure": []}, token=world.admin).status < 500
    problem(call(world, "GET", "/api/v1/analytics/dashboard?range=soon", token=world.admin), 400)


@pytest.mark.skipif(not PAGEVIEWS.exists(), reason=f"{PAGEVIEWS} is not there")
def test_real_traffic_equals_an_independent_count(world):
    rows = [json.loads(line) for line in PAGEVIEWS.open()]
    batch = [{"id": r["id"], "event": r["event"], "user_id": r["user"], "timestamp": r["ts"], "properties": r["props"]} for r in rows]
    view = [{"field": "event", "value": "page_view"}]
    for expected in ((len(rows), 0), (0, len(rows))):
        body = send(world, batch, BATCH, timeout=60).json
        assert (body["accepted"], body["duplicate"]) == expected
        assert ask(world, {"filters": view})["totals"]["count"] == len(rows) == 9999
        assert ask(world, {"filters": view, "measures": [{"agg": "uniques"}]})["totals"]["uniques"] == len({r["user"] for r in rows}) == 1753
        paths = ask(world, {"filters": view, "group_by": ["properties.path"], "limit": 1000})["rows"]
        assert paths[0]["labels"]["properties.path"] == "/favicon.ico" and paths[0]["values"]["count"] == 807
        want = collections.Counter(r["props"]["path"] for r in rows)
        assert all(want[p["labels"]["properties.path"]] == p["values"]["count"] for p in paths) and len(paths) == min(len(want), 1000)
        status = ask(world, {"filters": view, "group_by": ["properties.status"]})["rows"]
        assert {s["labels"]["properties.status"]: s["values"]["count"] for s in status} == \
            {200: 9125, 304: 445, 404: 213, 301: 164, 206: 45, 500: 3, 403: 2, 416: 2}
        classes = ask(world, {"filters": view, "bucket": {"properties.status": 100}})["rows"]
        assert {c["labels"]["properties.status"]: c["values"]["count"] for c in classes} == {200: 9170, 300: 609, 400: 217, 500: 3}
        volume = ask(world, {"filters": view, "measures": [{"agg": "sum", "field": "properties.bytes"}]})["totals"]["sum"]
        assert volume == sum(r["props"]["bytes"] or 0 for r in rows)
        points = ask(world, {"filters": view, "interval": "1h"})["series"][0]["points"]
        per_hour = collections.Counter(r["ts"][:13] for r in rows)
        assert {time.strftime("%Y-%m-%dT%H", time.gmtime(t / 1000)): v for t, v in points if v} == dict(per_hour)
        assert all(b[0] - a[0] == 3600_000 for a, b in zip(points, points[1:])), "silent hours are there, as zero"
    metric = call(world, "GET", "/api/v1/analytics/metrics?metric=page_view&from=2015-05-17&to=2015-05-21&interval=1d", token=world.admin).json
    assert [v for _, v in metric["series"][0]["points"]] == [v for _, v in sorted(collections.Counter(r["ts"][:10] for r in rows).items())]


def test_stats_have_the_documented_shape(world):
    stats = call(world, "GET", "/api/v1/ingest/stats", token=world.admin).json
    assert {"received", "accepted", "duplicate", "rejected", "late", "rate_1s", "rate_1m", "queue", "wal", "dedupe", "lag_ms", "uptime_s"} <= set(stats)
    assert {"depth", "capacity", "oldest_ms"} <= set(stats["queue"]) and {"bytes", "segments", "last_fsync_ms", "p99_fsync_ms"} <= set(stats["wal"])
    assert {"entries", "window_s"} <= set(stats["dedupe"]) and stats["rejected"]["missing_event"] >= 1
    text = call(world, "GET", "/metrics").body.decode()
    assert 'nexus_ingest_events_total{result="accepted"}' in text


def test_domain_events_come_by_themselves(world):
    wait_for(lambda: total(world, "user.registered") >= 2 and total(world, "user.login") >= 2, 10, "the backend's events")
    board = call(world, "GET", "/api/v1/analytics/dashboard?range=24h", token=world.admin).json
    assert {"from", "to", "totals", "series", "top_events", "top_paths", "orders", "revenue", "freshness_ms"} <= set(board)


def test_live_stream(world):
    connection = http.client.HTTPConnection("127.0.0.1", world.base + 3, timeout=20 * SLOW)
    connection.request("GET", "/api/v1/analytics/stream?event=live", headers={"Authorization": f"Bearer {world.admin}"})
    stream = connection.getresponse()
    assert stream.status == 200 and stream.getheader("Content-Type").startswith("text/event-stream")
    threading.Timer(0.2, send, (world, [{"event": "other"}, {"event": "live", "id": "live-1"}], BATCH)).start()
    lines = []
    while not any(l.startswith("data:") for l in lines):
        lines.append(stream.readline().decode())
    event = json.loads(next(l for l in lines if l.startswith("data:"))[5:])
    assert event["event"] == "live" and event["id"] == "live-1"
    connection.close()


def test_kill_9_loses_nothing_acknowledged(world):
    acknowledged, stop = [], threading.Event()

    def writer(n):
        i = 0
        while not stop.is_set():
            ids = [f"k{n}-{i}-{j}" for j in range(20)]
            try:
                reply = send(world, [{"id": x, "event": "crash"} for x in ids], BATCH)
            except OSError:
                return
            if reply.status == 200 and reply.json["accepted"] == 20:
                acknowledged.extend(ids)
            i += 1
    writers = [threading.Thread(target=writer, args=(n,)) for n in range(4)]
    for w in writers:
        w.start()
    wait_for(lambda: len(acknowledged) > 1000, 20, "a thousand acknowledged events")
    world.servers["analytics"].kill()
    stop.set()
    for w in writers:
        w.join()
    world.restart("analytics")
    again = send(world, [{"id": x, "event": "crash"} for x in acknowledged[:10000]], BATCH).json
    assert again["accepted"] == 0 and again["duplicate"] == min(len(acknowledged), 10000)
    assert total(world, "crash") >= len(acknowledged)
    assert total(world, "page_view") in (0, 9999)
