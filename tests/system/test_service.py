"""What every server has from service/, on the smallest one there is: examples/service.c."""
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import threading

import pytest
from harness import BUILD, SLOW, Server, free_port_base, problem, request, wait_for
from otlp_receiver import Receiver

PROGRAM = BUILD / "examples" / "service"


class Hello:
    def __init__(self, folder, *argv, **env):
        self.base, self.state = free_port_base(), folder / "state"
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("NEXUS_")}
        self.env.update(NEXUS_ENV="development", NEXUS_PORT_BASE=str(self.base), NEXUS_STATE_DIR=str(self.state), **env)
        self.server = Server([str(PROGRAM), *argv], self.env, folder / "service.log")

    def __enter__(self):
        self.server.start()
        wait_for(self.ready, 15, "the service ready")
        return self

    def __exit__(self, *_):
        self.server.stop()

    def ready(self):
        assert self.server.process.poll() is None, self.server.tail()
        try:
            return self.call("GET", "/health/ready").status == 200
        except OSError:
            return False

    def call(self, method, path, body=None, **options):
        return request(method, f"http://127.0.0.1:{self.base + 7}{path}", body, **options)

    @property
    def admin_token(self):
        return (self.state / "admin.token").read_text().strip()

    def lines(self):
        return [json.loads(line) for line in self.server.log.read_text().splitlines()]


@pytest.fixture(scope="module")
def hello(tmp_path_factory):
    with Hello(tmp_path_factory.mktemp("service")) as h:
        yield h


def once(*argv, **env):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("NEXUS_")}
    return subprocess.run([str(PROGRAM), *argv], env={**clean, **env}, text=True, capture_output=True, timeout=30 * SLOW)


# --- health, documents --------------------------------------------------------------------------

@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready", "/livez", "/readyz", "/startupz"])
def test_health_is_answered_under_all_its_names(hello, path):
    reply = hello.call("GET", path)
    assert reply.status == 200 and reply.json["service"] == "hello" and reply.json["status"] == "pass"


def test_the_document_describes_the_routes_and_the_page_shows_it(hello):
    document = hello.call("GET", "/api/openapi.json").json
    assert document["openapi"].startswith("3.1") and "get" in document["paths"]["/api/v1/hello"]
    page = hello.call("GET", "/api/docs")
    assert page.status == 200 and "default-src 'none'" in page.header("Content-Security-Policy")
    assert not re.search(rb'(?:src|href)=["\']?(?:https?:)?//', page.body), "an external resource"
    for path in ("/api/docs/docs.js", "/api/docs/docs.css"):
        assert hello.call("GET", path).status == 200


def test_requests_are_held_against_the_document(hello):
    assert hello.call("GET", "/api/v1/hello?name=Ada").body == b"Hello, Ada!\n"
    body = problem(hello.call("GET", "/api/v1/hello?name=" + "x" * 65), 422)
    assert body["errors"][0]["pointer"] == "query/name"
    problem(hello.call("GET", "/nowhere"), 404)
    reply = hello.call("POST", "/api/v1/hello", {})
    problem(reply, 405)
    assert "GET" in reply.header("Allow")


def test_replies_carry_security_headers_and_the_correlation_id(hello):
    reply = hello.call("GET", "/api/v1/hello", headers={"X-Request-Id": "abcdefgh-1"})
    assert reply.header("X-Request-Id") == "abcdefgh-1" and reply.header("X-Content-Type-Options") == "nosniff"
    other = hello.call("GET", "/nowhere", headers={"X-Request-Id": "bad id!"})
    assert re.fullmatch(r"[0-9a-f-]{36}", other.header("X-Request-Id"))


# --- log ----------------------------------------------------------------------------------------

def test_an_access_line_has_the_ids_of_its_request(hello):
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    hello.call("GET", "/api/v1/hello?name=secret", headers={"X-Request-Id": "req-12345678", "traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
    line = wait_for(lambda: [r for r in hello.lines() if r.get("correlation_id") == "req-12345678"], 5, "the access line")[0]
    assert line["trace_id"] == trace and line["span_id"] != "00f067aa0ba902b7" and line["service"] == "hello"
    assert (line["method"], line["path"], line["status"], line["level"]) == ("GET", "/api/v1/hello", 200, "info")
    assert "secret" not in json.dumps(line), "queries stay out of the log"


def test_the_log_level_is_changed_with_the_operators_token_and_reverts(hello):
    problem(hello.call("PUT", "/admin/v1/loglevel", {"level": "debug"}), 401)
    problem(hello.call("PUT", "/admin/v1/loglevel", {"level": "debug"}, token="x" * 43), 401)
    problem(hello.call("PUT", "/admin/v1/loglevel", {"level": "loud"}, token=hello.admin_token), 422)
    problem(hello.call("PUT", "/admin/v1/loglevel", "{", headers={"Content-Type": "application/json"}, token=hello.admin_token), 400)
    assert hello.call("PUT", "/admin/v1/loglevel", {"module": "access", "level": "debug", "ttl_s": 1}, token=hello.admin_token).status == 200

    def probes():
        hello.call("GET", "/health/live")
        return [r for r in hello.lines() if r.get("path") == "/health/live"]
    seen = len(wait_for(probes, 5, "a probe in the log"))
    assert seen

    def quiet():
        before = len([r for r in hello.lines() if r.get("path") == "/health/live"])
        return len(probes()) == before
    wait_for(quiet, 5, "the level reverting")


def test_access_lines_go_to_a_file_of_their_own_or_nowhere(tmp_path):
    target = tmp_path / "access.log"
    with Hello(tmp_path, f"--access-log={target}", "--access-log-sample=0") as h:
        for i in range(20):
            h.call("GET", f"/api/v1/hello?name={i}")
        problem(h.call("GET", "/nowhere"), 404)

        def paths():
            lines = [json.loads(line) for line in target.read_text().splitlines(keepends=True) if line.endswith("\n")]
            return [line["path"] for line in lines if not line["path"].startswith("/health/")]  # which fails while it starts
        wait_for(paths, 5, "the access line")
    assert paths() == ["/nowhere"], "what went well is left out, errors are not"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert not [r for r in h.lines() if r.get("module") == "access"]
    other = tmp_path / "other"
    other.mkdir()
    with Hello(other, "--access-log=off") as h:
        h.call("GET", "/nowhere")
    assert not [r for r in h.lines() if r.get("module") == "access"]


def test_a_share_of_the_access_lines_goes_by_trace(tmp_path):
    with Hello(tmp_path, "--access-log-sample=0.5") as h:
        for first in "08":  # the last four bytes of the trace id decide
            for _ in range(3):
                h.call("GET", "/api/v1/hello", headers={"traceparent": f"00-{'1' * 24}{first}0000000-{'2' * 16}-01"})
        problem(h.call("GET", "/nowhere"), 404)
        wait_for(lambda: [r for r in h.lines() if r.get("path") == "/nowhere"], 5, "the last line")
    lines = [r for r in h.lines() if r.get("path") == "/api/v1/hello"]
    assert [r["trace_id"][-8] for r in lines] == ["0", "0", "0"]


# --- spans --------------------------------------------------------------------------------------

def test_spans_are_sent_with_the_caller_as_parent(tmp_path):
    receiver = Receiver(statuses=[503])  # the first message has to be sent again
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    with Hello(tmp_path, f"--otlp-url={receiver.url}") as h:
        h.call("GET", "/api/v1/hello?name=x", headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01", "X-Request-Id": "req-12345678"})
        h.call("GET", "/api/v1/hello", headers={"traceparent": f"00-{trace[::-1]}-00f067aa0ba902b7-00"})
        problem(h.call("GET", "/nowhere"), 404)
        span = wait_for(lambda: receiver.spans(trace), 20, "the span")[0]
        line = wait_for(lambda: [r for r in h.lines() if r.get("correlation_id") == "req-12345678"], 5, "the line")[0]
        text = wait_for(lambda: b'nexus_spans_total{outcome="sent"}' in (m := h.call("GET", "/metrics").body) and m, 5)
    assert b'nexus_spans_total{outcome="dropped"} 0' in text
    assert span["parentSpanId"] == "00f067aa0ba902b7" and span["spanId"] == line["span_id"] and span["kind"] == 2
    assert span["name"] == "GET /api/v1/hello" and span["service"] == "hello" and span["status"] == {}
    assert span["attrs"]["http.response.status_code"] == 200 and span["attrs"]["url.path"] == "/api/v1/hello"
    assert 0 <= int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"]) < 60e9
    assert not receiver.spans(trace[::-1]), "the caller did not sample it"
    root = [s for s in receiver.spans() if s["attrs"].get("error.type") == "no-route"]
    assert root and "parentSpanId" not in root[0], "sent at the end at the latest"
    assert set(receiver.paths) == {("/v1/traces", "application/json")}
    receiver.close()


def test_a_receiver_that_is_away_holds_up_neither_requests_nor_the_end(tmp_path):
    with Hello(tmp_path, "--otlp-url=http://127.0.0.1:1/v1/traces") as h:
        assert h.call("GET", "/api/v1/hello").status == 200
        wait_for(lambda: [r for r in h.lines() if r.get("module") == "trace"], 10, "the warning")
    assert len([r for r in h.lines() if r.get("module") == "trace"]) == 1, "told once"


def test_spans_go_nowhere_in_clear_text(tmp_path):
    run = once("--dev", "--otlp-url=http://collector.example:4318", NEXUS_STATE_DIR=str(tmp_path))
    assert run.returncode == 1 and "https only" in run.stderr


# --- metrics ------------------------------------------------------------------------------------

@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool (apt: prometheus) is not installed")
def test_metrics_pass_promtool(hello):
    hello.call("GET", "/api/v1/hello")
    text = hello.call("GET", "/metrics").body
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, timeout=30)
    assert checked.returncode == 0 and not checked.stderr, checked.stderr.decode()
    assert b'http_server_request_duration_seconds_count{method="GET",route="/api/v1/hello",status="200"}' in text
    for name in (b"process_cpu_seconds_total", b"process_resident_memory_bytes", b"process_open_fds", b"process_start_time_seconds"):
        assert b"\n" + name + b" " in text


def test_openmetrics_is_given_to_those_who_ask(hello):
    reply = hello.call("GET", "/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"})
    assert reply.header("Content-Type").startswith("application/openmetrics-text") and reply.body.endswith(b"# EOF\n")


def test_routes_are_labelled_by_template_and_strangers_share_one_label(hello):
    for i in range(5):
        hello.call("GET", f"/no/such/{i}")
    text = hello.call("GET", "/metrics").body.decode()
    assert 'route="unmatched",status="404"' in text and "/no/such" not in text


# --- life ---------------------------------------------------------------------------------------

def test_state_is_private(hello):
    assert stat.S_IMODE(hello.state.stat().st_mode) == 0o700
    for name in ("admin.token", "lock", "hello.lock"):
        assert stat.S_IMODE((hello.state / name).stat().st_mode) == 0o600


def test_the_same_service_does_not_run_twice_on_one_state(hello):
    second = once("--port-base", str(free_port_base()), NEXUS_STATE_DIR=str(hello.state))
    assert second.returncode == 1 and f"pid {hello.server.process.pid}" in second.stderr


def test_a_taken_port_is_named_with_its_holder(hello, tmp_path):
    second = once("--dev", f"--port-base={hello.base}", NEXUS_STATE_DIR=str(tmp_path / "other"))
    assert second.returncode == 1 and f"port {hello.base + 7}" in second.stderr and f"pid {hello.server.process.pid}" in second.stderr


def test_settings_errors_end_with_2_and_name_the_remedy(tmp_path):
    config = tmp_path / "nexus.json"
    config.write_text('{\n  "greting": "x"\n}')
    run = once(f"--config={config}")
    assert run.returncode == 2 and f'{config}:2:3: unknown setting "greting"; did you mean "greeting"?' in run.stderr
    assert once("--port-bas=1").returncode == 2
    assert once("--check-config", NEXUS_WRITE_KEY="changeme").returncode == 2
    assert once("--check-config", "--dev").returncode == 0
    assert "--greeting=Hello" in once("--help").stdout
    assert json.loads(once("--print-defaults").stdout)["hello"]["greeting"] == "Hello"


def test_settings_may_refer_to_variables_and_files(tmp_path):
    secret = tmp_path / "greeting"
    secret.write_text("Servus\n")
    refused = once("--check-config", "--dev", "--greeting=${env:NEXUS_TEST_NOBODY}")
    assert refused.returncode == 2 and '--greeting: "greeting" refers to ${env:NEXUS_TEST_NOBODY}' in refused.stderr
    sample = once("--check-config", NEXUS_WRITE_KEY="${env:WORD}", WORD="changeme")
    assert sample.returncode == 2 and "write_key" in sample.stderr and "changeme" not in sample.stderr
    with Hello(tmp_path, "--greeting=${file:%s}" % secret) as h:
        assert h.call("GET", "/api/v1/hello?name=Ada").body == b"Servus, Ada!\n"


def test_flags_reach_the_service(tmp_path):
    with Hello(tmp_path, "--greeting=Servus") as h:
        assert h.call("GET", "/api/v1/hello?name=Ada").body == b"Servus, Ada!\n"


def test_production_keeps_metrics_from_strangers_and_binds_everywhere(tmp_path):
    with Hello(tmp_path, "--env=production") as h:
        assert h.call("GET", "/metrics").status == 200, "this machine may look"
        problem(h.call("GET", "/metrics", headers={"X-Forwarded-For": "203.0.113.9"}), 401)
        assert h.call("GET", "/metrics", headers={"X-Forwarded-For": "203.0.113.9"}, token=h.admin_token).status == 200


def test_term_drains_and_ends_with_0(tmp_path):
    with Hello(tmp_path, "--drain-ms=600000") as h:
        idle = socket.create_connection(("127.0.0.1", h.base + 7))
        idle.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(4096).startswith(b"HTTP/1.1 200")
        h.server.process.send_signal(signal.SIGTERM)
        assert h.server.process.wait(30 * SLOW) == 0, "an idle connection does not hold the process: " + h.server.tail()
        assert idle.recv(4096) == b""
        idle.close()
        assert [r["msg"] for r in h.lines() if r.get("module") == "service"][-2:] == ["draining", "ended"]


def test_no_answer_is_lost_while_it_ends(tmp_path):
    """Clients that ask all the time see whole answers or a refused connection, never half of one."""
    with Hello(tmp_path) as h:
        torn, stop = [], threading.Event()

        def ask():
            while not stop.is_set():
                try:
                    if h.call("GET", "/api/v1/hello").body != b"Hello, stranger!\n":
                        torn.append("short")
                except ConnectionRefusedError:
                    return
                except OSError as error:  # accepted by the kernel, not yet by us, when listening ended
                    if "reset" not in str(error).lower() and "closed" not in str(error).lower():
                        torn.append(repr(error))
                except Exception as error:
                    if "closed connection" not in str(error):
                        torn.append(repr(error))
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for t in threads:
            t.start()
        wait_for(lambda: len([r for r in h.lines() if r.get("path") == "/api/v1/hello"]) > 50, 10, "some traffic")
        assert h.server.stop() == 0
        stop.set()
        for t in threads:
            t.join(10)
        assert not torn, torn[:5]
