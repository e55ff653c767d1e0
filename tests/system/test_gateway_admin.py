"""Changes of the gateway without a restart: file, admin API, versions; and what 1,000 of them do to those who are connected."""
import base64
import hashlib
import json
import os
import selectors
import signal
import socket
import subprocess
import threading

import pytest

from gateway_harness import PROXY, resident_kib, start, up, upstream  # noqa: F401
from harness import SLOW, Server, binary, free_port_base, problem, request, wait_for

pytestmark = pytest.mark.skipif(PROXY, reason="needs nexus-gateway, not the example proxy")

ROUTE = {"id": "x", "path": "/x", "methods": ["GET"], "upstream": "a"}


def test_entries_are_added_changed_and_removed_at_once(start, upstream):
    g = start({"a": up(upstream)}, [ROUTE])
    problem(g.call("GET", "/y"), 404)
    made = g.admin("PUT", "/admin/v1/routes/y", {"path": "/y", "upstream": "a"})
    assert made.status == 201 and made.json["changes"][0]["to"] == {"id": "y", "path": "/y", "upstream": "a"}
    assert wait_for(lambda: g.call("GET", "/y").status == 200, 5)
    assert json.loads(g.file.read_text())["routes"][1]["id"] == "y", "the file is the one source of truth"
    changed = g.admin("PUT", "/admin/v1/routes/y", {"id": "y", "path": "/z", "upstream": "a"})
    assert changed.status == 200 and changed.json["changes"][0]["change"] == "changed"
    assert wait_for(lambda: g.call("GET", "/z").status == 200 and g.call("GET", "/y").status == 404, 5)
    assert g.admin("DELETE", "/admin/v1/routes/y").status == 200
    assert wait_for(lambda: g.call("GET", "/z").status == 404, 5)
    problem(g.admin("DELETE", "/admin/v1/routes/y"), 404)
    problem(g.admin("GET", "/admin/v1/routes/y"), 404)
    listed = g.admin("GET", "/admin/v1/upstreams").json
    assert [i["id"] for i in listed["items"]] == ["a"] and listed["items"][0]["value"]["targets"]


def test_ids_that_are_paths_can_be_addressed(start, upstream):
    g = start({"a": up(upstream)}, [{"path": "/deep/er", "upstream": "a"}])
    assert g.admin("GET", "/admin/v1/routes/deep/er").json["id"] == "/deep/er"


def test_a_refused_change_names_the_place_and_changes_nothing(start, upstream):
    g = start({"a": up(upstream)}, [ROUTE])
    before, text = g.admin("GET", "/admin/v1/config"), g.file.read_text()
    refused = problem(g.admin("PUT", "/admin/v1/routes/y", {"path": "/y", "upstream": "b"}), 422, "routes-refused")
    assert "/routes/1: no upstream \"b\"" in refused["detail"]
    problem(g.admin("PUT", "/admin/v1/routes/y", {"id": "other", "path": "/y", "upstream": "a"}), 422, "routes-refused")
    problem(g.admin("PUT", "/admin/v1/routes/y", "{broken"), 400, "json-invalid")
    problem(g.admin("DELETE", "/admin/v1/upstreams/a"), 422, "routes-refused")
    problem(g.admin("PUT", "/admin/v1/rotes/y", {}), 422, "routes-refused")
    assert g.admin("GET", "/admin/v1/config").header("ETag") == before.header("ETag") and g.file.read_text() == text


def test_etags_guard_against_lost_updates(start, upstream):
    g = start({"a": up(upstream)}, [ROUTE])
    tag = g.admin("GET", "/admin/v1/routes/x").header("ETag")
    assert tag and g.admin("GET", "/admin/v1/routes/x").header("ETag") == tag
    other = {**ROUTE, "methods": ["GET", "PUT"]}
    problem(g.admin("PUT", "/admin/v1/routes/x", other, headers={"If-Match": '"0"'}), 412, "precondition-failed")
    assert g.admin("PUT", "/admin/v1/routes/x", other, headers={"If-Match": tag}).status == 200
    problem(g.admin("DELETE", "/admin/v1/routes/x", headers={"If-Match": tag}), 412)
    problem(g.admin("PUT", "/admin/v1/routes/x", other, headers={"If-None-Match": "*"}), 412, "is-there-already")
    whole = g.admin("GET", "/admin/v1/config")
    version = whole.header("ETag")
    assert g.admin("PUT", "/admin/v1/config", whole.json, headers={"If-Match": version}).status == 200
    problem(g.admin("PUT", "/admin/v1/config", whole.json, headers={"If-Match": version}), 412)
    problem(g.admin("PUT", "/admin/v1/config", whole.json, headers={"If-Match": "nonsense"}), 412)


def test_a_batch_is_all_or_nothing(start, upstream):
    g = start({"a": up(upstream)}, [ROUTE])
    batch = [{"op": "put", "collection": "upstreams", "id": "b", "value": up(upstream)},
             {"op": "put", "collection": "routes", "id": "y", "value": {"path": "/y", "upstream": "b"}},
             {"op": "remove", "collection": "routes", "id": "x"}]
    half = problem(g.admin("POST", "/admin/v1/batch", batch + [{"op": "remove", "collection": "upstreams", "id": "none"}]), 404)
    assert "none" in half["detail"] and g.call("GET", "/x").status == 200 and g.call("GET", "/y").status == 404
    assert "/1/op" in problem(g.admin("POST", "/admin/v1/batch", [batch[0], {**batch[1], "op": "add"}]), 422)["detail"]
    done = g.admin("POST", "/admin/v1/batch", batch)
    assert [c["change"] for c in done.json["changes"]] == ["added", "added", "removed"]
    assert wait_for(lambda: g.call("GET", "/y").status == 200 and g.call("GET", "/x").status == 404, 5)


def test_a_dry_run_judges_and_changes_nothing(start, upstream):
    g = start({"a": up(upstream)}, [ROUTE])
    dry = g.admin("PUT", "/admin/v1/routes/y?dry_run=1", {"path": "/y", "upstream": "a"})
    assert dry.status == 200 and dry.json["dry_run"] and dry.json["changes"][0]["change"] == "added"
    problem(g.admin("POST", "/admin/v1/batch?dry_run=1", [{"op": "remove", "collection": "upstreams", "id": "a"}]), 422)
    assert [e["version"] for e in g.admin("GET", "/admin/v1/config/history").json] == [1]
    problem(g.admin("GET", "/admin/v1/routes/y"), 404)


def test_versions_are_kept_compared_and_brought_back(start, upstream):
    g = start({"a": up(upstream)}, [ROUTE])
    for i in range(12):
        assert g.admin("PUT", f"/admin/v1/routes/r{i}", {"path": f"/r{i}", "upstream": "a"}).status == 201
    history = g.admin("GET", "/admin/v1/config/history").json
    assert [e["version"] for e in history] == list(range(13, 3, -1)), "the last ten"
    assert history[0]["origin"] == "PUT /admin/v1/routes/r11" and history[0]["at"].endswith("Z")
    diff = g.admin("GET", "/admin/v1/config/diff?from=11&to=13").json
    assert [(c["change"], c["id"]) for c in diff["changes"]] == [("added", "r10"), ("added", "r11")]
    problem(g.admin("POST", "/admin/v1/config/rollback", {"version": 2}), 404)
    back = g.admin("POST", "/admin/v1/config/rollback", {"version": 11})
    assert back.json["version"] == 14 and {c["change"] for c in back.json["changes"]} == {"removed"}
    assert wait_for(lambda: g.call("GET", "/r11").status == 404 and g.call("GET", "/r9").status == 200, 5)
    assert g.admin("GET", "/admin/v1/config/history").json[0]["origin"] == "rollback to 11"
    problem(g.admin("POST", "/admin/v1/config/rollback", {"version": "11"}), 422, "invalid")


def test_an_acknowledged_change_survives_kill_9(start, upstream):
    g = start({"a": up(upstream)}, [ROUTE])
    assert g.admin("PUT", "/admin/v1/routes/y", {"path": "/y", "upstream": "a"}).status == 201
    g.server.kill()
    g.server.start()
    wait_for(lambda: g.answers() and g.call("GET", "/y").status == 200, 20, "the edited route after the crash")


def test_edits_of_the_built_in_routes_are_kept_beside_the_state(tmp_path, upstream):
    base, state = free_port_base(), tmp_path / "state"
    env = {k: v for k, v in os.environ.items() if not k.startswith("NEXUS_")}
    env.update(NEXUS_ENV="development", NEXUS_PORT_BASE=str(base), NEXUS_STATE_DIR=str(state))
    state.mkdir(mode=0o700)
    server = Server([binary("nexus-gateway")], env, tmp_path / "log").start()

    def admin(method, path, body=None):
        return request(method, f"http://127.0.0.1:{base + 10}{path}", body, token=(state / "admin.token").read_text().strip())

    def up_again():
        try:
            return admin("GET", "/admin/v1/config").status == 200
        except OSError:
            return False

    try:
        wait_for(up_again, 20, "the gateway")
        assert admin("POST", "/admin/v1/batch", [
            {"op": "put", "collection": "upstreams", "id": "mine", "value": up(upstream)},
            {"op": "put", "collection": "routes", "id": "mine", "value": {"prefix": "/mine", "upstream": "mine"}}]).status == 200
        server.stop()
        server.start()
        wait_for(up_again, 20, "the gateway again")
        assert request("GET", f"http://127.0.0.1:{base}/mine/x").status == 200
    finally:
        server.stop()


def test_an_edit_does_not_run_over_a_file_that_somebody_changed(start, upstream):
    g = start({"a": up(upstream)}, [ROUTE])
    g.write("{broken")
    wait_for(lambda: g.admin("GET", "/admin/v1/status").json["last_error"], 5, "the error")
    ready = g.call("GET", "/health/ready")
    assert ready.status == 200 and ready.json["status"] == "warn" and "routes.json:1:" in ready.json["checks"]["routes"]
    os.utime(g.file, ns=(1, 1))  # and once more, not looked at yet or just looked at: never overwritten either way
    wait_for(lambda: g.admin("PUT", "/admin/v1/routes/y", {"path": "/y", "upstream": "a"}).status in (201, 412), 5)
    g.write({"version": 1, "upstreams": {"a": up(upstream)}, "routes": [ROUTE]})
    wait_for(lambda: g.call("GET", "/health/ready").json["status"] == "pass", 5, "the good file")


def test_the_kernel_tells_of_a_changed_file(tmp_path, upstream, start):
    g = start({"a": up(upstream)}, [ROUTE], env={"NEXUS_GATEWAY_WATCH_MS": "3600000"})  # nobody looks for an hour
    g.admin("GET", "/admin/v1/status")
    g.write({"version": 1, "upstreams": {"a": up(upstream)}, "routes": [{**ROUTE, "path": "/other"}]})
    wait_for(lambda: g.call("GET", "/other").status == 200, 10, "the new routes")


# --- a thousand changes ------------------------------------------------------------------------------------------------

HANDSHAKE = (b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
             b"Sec-WebSocket-Key: " + base64.b64encode(b"0123456789abcdef") + b"\r\n\r\n")


class EchoTunnels:
    """An upstream that says 101 to everybody and then echoes: one thread for a thousand sockets."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self.listener.getsockname()[1]
        self.selector, self.over, self.heads = selectors.DefaultSelector(), False, {}
        self.listener.setblocking(False)
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.over:
            for key, _ in self.selector.select(0.2):
                if key.fileobj is self.listener:
                    peer, _ = self.listener.accept()
                    self.selector.register(peer, selectors.EVENT_READ)
                    self.heads[peer] = b""
                    continue
                data = self.read(key.fileobj)
                if not data:
                    self.selector.unregister(key.fileobj)
                    key.fileobj.close()
                elif key.fileobj in self.heads:
                    self.heads[key.fileobj] += data
                    if b"\r\n\r\n" in self.heads[key.fileobj]:
                        del self.heads[key.fileobj]
                        key.fileobj.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                            b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n\r\n")
                else:
                    key.fileobj.sendall(data)

    @staticmethod
    def read(s):
        try:
            return s.recv(4096)
        except OSError:
            return b""

    def close(self):
        self.over = True
        self.thread.join()
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()


def accept_of(key):
    return base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())


ACCEPT = accept_of(base64.b64encode(b"0123456789abcdef"))


def test_a_thousand_reloads_with_a_thousand_websockets(start, upstream):
    tunnels, reloads = EchoTunnels(), 1000 if SLOW == 1 else 100
    routes = [{"id": "ws", "path": "/ws", "upstream": "w"}, {"id": "all", "prefix": "/", "upstream": "a"}]
    g = start({"a": up(upstream), "w": up(tunnels, max_connections=5000, timeouts_ms={"ping": 0, "idle": 600000})}, routes)
    clients, failures, done, stop = [], [], [0], threading.Event()

    def load():
        try:
            s = socket.create_connection(("127.0.0.1", g.port), 20)
            while not stop.is_set():
                s.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
                answer = s.recv(65536)
                if not answer.startswith(b"HTTP/1.1 200 "):
                    failures.append(answer[:200])
                    return
                while b"}" not in answer.split(b"\r\n\r\n", 1)[-1][-2:]:
                    answer += s.recv(65536)
                done[0] += 1
        except OSError as error:
            failures.append(repr(error))

    try:
        for _ in range(1000):
            s = socket.create_connection(("127.0.0.1", g.port), 20)
            s.sendall(HANDSHAKE)
            clients.append(s)
        for s in clients:
            head = b""
            while b"\r\n\r\n" not in head:
                piece = s.recv(4096)
                assert piece, head
                head += piece
            assert head.startswith(b"HTTP/1.1 101 "), head
        workers = [threading.Thread(target=load) for _ in range(2)]
        [w.start() for w in workers]
        sizes = []
        for i in range(reloads):
            value = {"id": "n", "path": f"/n{i}", "upstream": "a"}
            answer = g.admin("PUT", "/admin/v1/routes/n", value)
            assert answer.status in (200, 201), answer
            if i % 10 == 0:  # the load keeps up with the changes
                before = done[0]
                wait_for(lambda: done[0] > before + 2 or failures, 20, "requests between reloads", every=0.0005)
            if i in (reloads // 5, reloads - 1):
                sizes.append(resident_kib(g.server.process.pid))
        stop.set()
        [w.join() for w in workers]
        assert not failures, failures[:3]
        assert done[0] >= reloads / 10 * 3
        assert sizes[1] - sizes[0] < 4096 * SLOW, f"memory is flat: {sizes} KiB"
        for s in clients:
            s.sendall(b"still there")
        for s in clients:
            got = b""
            while len(got) < 11:
                piece = s.recv(100)
                assert piece, "no tunnel was dropped"
                got += piece
            assert got == b"still there"
    finally:
        stop.set()
        for s in clients:
            s.close()
        tunnels.close()


def test_hangup_reloads_too(start, upstream):
    g = start({"a": up(upstream)}, [ROUTE], env={"NEXUS_GATEWAY_WATCH_MS": "3600000"})
    inner = g.file.read_text().replace('"/x"', '"/hup"')
    with open(g.file, "r+") as f:  # in place, and not closed: only the signal can tell
        f.write(inner)
        f.truncate()
        f.flush()
        g.server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: g.call("GET", "/hup").status == 200, 10, "the new route")


def nexus(g, *words, **options):
    env = {k: v for k, v in os.environ.items() if not k.startswith("NEXUS_")}
    env.update(NEXUS_PORT_BASE=str(g.port), NEXUS_STATE_DIR=str(g.state), NEXUS_ENV="development")
    return subprocess.run([binary("nexus"), *words], env=env, capture_output=True, text=True, timeout=30 * SLOW, **options)


def test_the_command_line_explains_and_changes_routes(start, upstream, tmp_path):
    g = start({"a": up(upstream)}, [{**ROUTE, "limits": [{"name": "burst", "rate": 5, "period_s": 60}]}])
    said = nexus(g, "explain", "GET", "http://x/./x?q=1", "-H", "Accept: text/html")
    assert said.returncode == 0, said
    lines = said.stdout.splitlines()
    assert "path: /x" in lines and "route: x" in lines and "why: exact path" in lines
    assert any(line.strip() == "1. filter: limits" for line in lines) and any("rate: 5" in line for line in lines), said.stdout
    assert json.loads(nexus(g, "explain", "GET", "/x", "--json").stdout)["route"] == "x"
    assert nexus(g, "explain", "GET", "/x", "-H", "nonsense").returncode == 2
    file = tmp_path / "next.json"
    file.write_text(json.dumps({"version": 1, "upstreams": {"a": up(upstream)}, "routes": [{**ROUTE, "path": "/next"}]}))
    dry = nexus(g, "routes", "apply", str(file), "--dry-run")
    assert dry.returncode == 0 and "dry_run: true" in dry.stdout and g.call("GET", "/next").status == 404
    assert nexus(g, "routes", "apply", str(file)).returncode == 0
    wait_for(lambda: g.call("GET", "/next").status == 200, 5)
    assert "origin: PUT /admin/v1/config" in nexus(g, "routes", "history").stdout
    assert "change: changed" in nexus(g, "routes", "diff", "1", "2").stdout
    assert nexus(g, "routes", "rollback", "1").returncode == 0
    wait_for(lambda: g.call("GET", "/x").status == 200, 5)
    assert nexus(g, "routes", "rollback", "77").returncode == 1
    assert nexus(g, "routes", "paint").returncode == 2
    file.write_text('{"upstreams":{},"rotes":[]}')
    refused = nexus(g, "check", str(file))
    assert refused.returncode == 1 and 'next.json:1:17: : unknown key "rotes"' in refused.stderr
    assert nexus(g, "check", str(tmp_path / "none.json")).returncode == 2
