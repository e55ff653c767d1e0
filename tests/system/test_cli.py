"""The command line against a stand-in for the HTTP API, so that its own habits are tested alone: exit codes, the
session, imports that resume, ids that stay the same. tests/system/test_main_job.py runs it against the real servers."""
import http.server
import json
import os
import stat
import subprocess
import threading

import pytest
from harness import binary, free_port


class Api(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body, **headers):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def handle_one(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.calls.append((self.command, self.path, dict(self.headers.items()), body))
        handler = self.server.routes.get((self.command, self.path.split("?")[0]))
        if handler:
            handler(self, json.loads(body) if body else None)
        else:
            self.answer(404, {"title": "Not Found", "status": 404, "detail": "no such thing"})

    do_GET = do_POST = do_PUT = handle_one

    def log_message(self, *_):
        pass


class World:
    def __init__(self, folder):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
        self.server.calls, self.server.routes, self.events = [], {}, {}
        self.fail_after, self.batches = None, 0
        self.server.routes["POST", "/api/v1/ingest/events/batch"] = self.batch
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.folder, self.state = folder, folder / "state"
        self.state.mkdir(mode=0o700)
        (self.state / "write.key").write_text("nxw_0123456789abcdef\n")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("NEXUS_")}
        self.env.update(NEXUS_URL=f"http://127.0.0.1:{self.server.server_port}", NEXUS_STATE_DIR=str(self.state),
                        XDG_CONFIG_HOME=str(folder / "config"), NEXUS_PORT_BASE="1")

    def batch(self, request, body):
        """Accepts each id once; events called "bad" are refused."""
        self.batches += 1
        if self.fail_after is not None and self.batches > self.fail_after:
            request.answer(500, {"title": "Internal Server Error", "status": 500, "detail": "broken"})
            return
        accepted, duplicate, results = 0, 0, []
        for index, event in enumerate(body["events"]):
            if event.get("event") == "bad":
                results.append({"index": index, "status": "rejected", "field": "/event", "message": "is bad"})
            elif event["id"] in self.events:
                duplicate += 1
            else:
                self.events[event["id"]] = event
                accepted += 1
        request.answer(200, {"accepted": accepted, "duplicate": duplicate, "rejected": len(results), "results": results})

    def run(self, *argv, code=0, stdin=None, **env):
        done = subprocess.run([binary("nexus"), *map(str, argv)], env={**self.env, **env}, text=True,
                              capture_output=True, timeout=60, input=stdin)
        assert done.returncode == code, f"nexus {argv}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def file(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return path


@pytest.fixture
def world(tmp_path):
    w = World(tmp_path)
    yield w
    w.server.shutdown()
    w.server.server_close()


LINES = "".join(json.dumps({"id": f"e{i}", "ts": "2015-05-17T10:05:03Z", "user": f"u{i % 7}", "event": "page_view",
                            "props": {"path": f"/{i % 3}"}}) + "\n" for i in range(2500))
MAP = ("--map", "user=user_id,ts=timestamp,props=properties")


def test_ndjson_is_mapped_and_sent_in_batches(world):
    run = world.run("ingest", *MAP, world.file("a.ndjson", LINES))
    assert "2500 accepted, 0 known already, 0 failed" in run.stdout
    assert world.events["e8"] == {"id": "e8", "timestamp": "2015-05-17T10:05:03Z", "user_id": "u1", "event": "page_view",
                                  "properties": {"path": "/2"}}
    assert world.batches == 3
    assert world.server.calls[0][2]["X-Write-Key"] == "nxw_0123456789abcdef"
    again = world.run("ingest", *MAP, world.folder / "a.ndjson", "--json")
    assert json.loads(again.stdout)["duplicate"] == 2500 and len(world.events) == 2500


def test_an_interrupted_import_goes_on_where_it_stopped(world):
    path = world.file("a.ndjson", LINES)
    world.fail_after = 1
    stopped = world.run("ingest", *MAP, path, code=1)
    assert "after line 1000" in stopped.stderr and "broken" in stopped.stderr
    world.fail_after = None
    resumed = json.loads(world.run("ingest", *MAP, path, "--json").stdout)
    assert resumed["accepted"] == 1500 and resumed["duplicate"] == 0 and len(world.events) == 2500
    assert not list((world.state / "ingest").iterdir()), "a complete import leaves nothing behind"


def test_bad_lines_are_named_and_the_others_sent(world):
    path = world.file("b.ndjson", '{"id":"1","event":"a","user_id":"u"}\nnot json\n\n[1]\n{"id":"5","event":"bad"}\n'
                                  '{"event":"a","user_id":"u","extra":1}\n')
    run = world.run("ingest", path, code=1)
    assert ":2: " in run.stderr and ":4: not a JSON object" in run.stderr and ":5: /event: is bad" in run.stderr
    assert "2 accepted, 0 known already, 3 failed" in run.stdout
    errors = json.loads(world.run("ingest", path, "--json", code=1).stdout)["errors"]
    assert [e["line"] for e in errors] == [2, 4, 5]
    assert {"extra": 1} in [e["properties"] for e in world.events.values()]


COMBINED = r'''127.0.0.1 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 512 "-" "curl/7.88"
127.0.0.2 - ada [17/May/2015:10:05:04 -0130] "GET /a?q=%22x%22 HTTP/1.1" 404 12 "http://x/" "A \"quoted\" \x41gent"
127.0.0.1 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 512 "-" "curl/7.88"
127.0.0.1 - - [17/Mai/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 512
127.0.0.1 - - [17/May/2015:10:05:03 +0000] "GET /c HTTP/1.1" 500 -
'''


def test_access_logs_have_ids_by_place_and_content(world):
    path = world.file("access.log", COMBINED)
    run = world.run("ingest", "--format", "combined", path, code=1)
    assert ":4: no time of the form" in run.stderr and "4 accepted" in run.stdout, "equal lines are two hits"
    seen = list(world.events.values())
    assert seen[1] == {"id": seen[1]["id"], "event": "page_view", "timestamp": "2015-05-17T10:05:04-01:30", "user_id": "127.0.0.2",
                       "properties": {"method": "GET", "path": "/a", "query": "q=%22x%22", "status": 404, "bytes": 12,
                                      "referrer": "http://x/", "ua": 'A "quoted" Agent', "remote_user": "ada"}}
    assert "bytes" not in seen[3]["properties"] and seen[3]["properties"]["status"] == 500
    with path.open("a") as log:
        log.write('127.0.0.9 - - [17/May/2015:11:00:00 +0000] "GET /d HTTP/1.1" 200 1\n')
    again = json.loads(world.run("ingest", "--format", "combined", path, "--json", code=1).stdout)
    assert (again["accepted"], again["duplicate"]) == (1, 4), "a log that grew adds what is new"


def test_login_keeps_a_private_session_and_refreshes_it(world):
    refreshed = []

    def login(request, body):
        if body != {"email": "a@example.com", "password": "pass phrase"}:
            return request.answer(401, {"title": "Unauthorized", "status": 401, "detail": "wrong e-mail or password"})
        return request.answer(200, {"access_token": "t1", "refresh_token": "r1", "expires_in": 1, "token_type": "Bearer"})

    def refresh(request, body):
        refreshed.append(body["refresh_token"])
        request.answer(200, {"access_token": "t2", "refresh_token": "r2", "expires_in": 600, "token_type": "Bearer"})

    def shown(request, _):
        request.answer(200, {"id": "n1", "status": "sent"})

    world.server.routes.update({("POST", "/api/v1/auth/login"): login, ("POST", "/api/v1/auth/refresh"): refresh,
                                ("GET", "/api/v1/notifications/n1"): shown})
    wrong = world.run("login", "--email", "a@example.com", "--password-stdin", code=1, stdin="nope\n")
    assert "wrong e-mail or password" in wrong.stderr
    assert "nexus login" in world.run("notify", "show", "n1", code=1).stderr
    world.run("login", "--email", "a@example.com", "--password-stdin", stdin="pass phrase\n")
    session = world.folder / "config/nexus/session.json"
    assert stat.S_IMODE(session.stat().st_mode) == 0o600
    for _ in range(2):
        assert json.loads(world.run("notify", "show", "n1").stdout)["status"] == "sent"
    assert refreshed == ["r1"] and world.server.calls[-1][2]["Authorization"] == "Bearer t2"
    world.run("notify", "show", "n1", NEXUS_TOKEN="t3")
    assert world.server.calls[-1][2]["Authorization"] == "Bearer t3"
    world.run("login", "--logout")
    assert not session.exists()


@pytest.mark.parametrize("argv,code,words", [
    ((), 2, "usage"),
    (("frobnicate",), 2, 'no command is called "frobnicate"'),
    (("ingest",), 2, "usage: nexus ingest"),
    (("ingest", "--nope", "x"), 2, "unknown option"),
    (("ingest", "/does/not/exist"), 2, "cannot open"),
    (("ingest", "--map", "a=nonsense", "x"), 2, "no field of an event"),
    (("events", "sprint"), 2, "usage: nexus events"),
    (("explain", "GET"), 2, "usage"),
    (("completion", "fish"), 2, "bash or zsh"),
    (("status",), 3, "no service answers"),
    (("check", "/does/not/exist"), 2, "cannot open"),
])
def test_wrong_calls_say_what_is_wrong(world, argv, code, words):
    run = world.run(*argv, code=code)
    assert words in run.stderr


def test_nobody_listening_is_exit_3(world):
    path = world.file("a.ndjson", LINES)
    run = world.run("ingest", *MAP, path, code=3, NEXUS_URL=f"http://127.0.0.1:{free_port()}")
    assert "cannot be reached" in run.stderr


def test_help_and_completion(world):
    assert "nexus ingest" in world.run("--help").stdout
    script = world.file("c.bash", world.run("completion", "bash").stdout)
    out = subprocess.run(["bash", "-c", f"source {script}; COMP_WORDS=(nexus in); COMP_CWORD=1; _nexus; echo ${{COMPREPLY[@]}}"],
                         text=True, capture_output=True)
    assert out.stdout.strip() == "ingest", out


def test_the_settings_in_force_are_printed_without_secrets(tmp_path):
    secret = tmp_path / "pepper"
    secret.write_text("correct horse battery staple\n")
    env = {"PATH": os.environ["PATH"], "NEXUS_PASSWORD_PEPPER": "${file:%s}" % secret, "NEXUS_STATE_DIR": str(tmp_path),
           "NEXUS_DATABASE_URL": "postgresql://ann:hunter2@db.example/nexus"}
    shown = subprocess.run([binary("nexus"), "config", "print", "--hash-queue=77"], env=env, capture_output=True, text=True)
    assert shown.returncode == 0, shown
    settings = json.loads(shown.stdout)
    assert settings["backend"]["password_pepper"] == "[redacted]" and settings["backend"]["hash_queue"] == 77
    assert settings["database_url"] == "postgresql://ann:[redacted]@db.example/nexus" and settings["gateway"]
    assert "horse" not in shown.stdout and "hunter2" not in shown.stdout
    assert subprocess.run([binary("nexus"), "config", "frob"], env=env, capture_output=True).returncode == 2
    wrong = subprocess.run([binary("nexus"), "config", "print", "--hash-queu=7"], env=env, capture_output=True, text=True)
    assert wrong.returncode == 2 and "hash-queue" in wrong.stderr, wrong
