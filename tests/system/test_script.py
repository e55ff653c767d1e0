"""scripts/start-microservices.sh on a port range and a state folder of its own."""
import json
import os
import shutil
import signal
import socket
import subprocess

import pytest
from harness import BUILD, OFFSETS, ROOT, SLOW, free_port_base, request, wait_for

SCRIPT = ROOT / "scripts/start-microservices.sh"
BUILT = all(any((BUILD / "servers").rglob(f"nexus-{s}")) for s in OFFSETS)


class Script:
    def __init__(self, folder):
        self.base, self.state = free_port_base(), folder / "state"
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("NEXUS_")}
        self.env.update(NEXUS_PORT_BASE=str(self.base), NEXUS_STATE_DIR=str(self.state), NEXUS_BUILD=str(BUILD))

    def run(self, *argv, code=0, **env):
        done = subprocess.run([str(SCRIPT), *argv], env={**self.env, **env}, text=True, capture_output=True, timeout=120 * SLOW)
        assert code is None or done.returncode == code, f"{argv}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def status(self, code):
        return json.loads(self.run("status", "--json", code=code).stdout)

    def pid(self, service):
        return int((self.state / "run" / f"{service}.pid").read_text().split()[0])


@pytest.fixture
def script(tmp_path):
    s = Script(tmp_path)
    yield s
    s.run("stop", code=None)


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
def test_shellcheck_has_nothing_to_say():
    subprocess.run(["shellcheck", str(SCRIPT)], check=True)


@pytest.mark.parametrize("argv", [(), ("frobnicate",), ("start", "nope"), ("status", "--yaml")])
def test_wrong_usage_is_2(script, argv):
    assert script.run(*argv, code=2).stderr


def test_nothing_running(script):
    status = script.status(3)
    assert status["state"] == "none" and [s["name"] for s in status["services"]] == list(OFFSETS)
    assert script.run("stop").returncode == 0


@pytest.mark.skipif(not BUILT, reason="not all six servers are built")
def test_start_status_stop(script):
    started = script.run("start")
    assert f"http://127.0.0.1:{script.base}" in started.stdout and "nexus demo" in started.stdout
    token = (script.state / "bootstrap.token").read_text().strip()
    assert token in started.stdout, "the one-time token is printed"
    status = script.status(0)
    assert status["state"] == "all"
    for service in status["services"]:
        assert service["port"] == script.base + OFFSETS[service["name"]] and service["ready"] is True
        assert service["url"] == f"http://127.0.0.1:{service['port']}" and service["uptime_s"] >= 0
        assert request("GET", service["url"] + "/health").status == 200
    pids = [s["pid"] for s in status["services"]]

    again = script.run("start")
    assert "runs already" in again.stdout and [s["pid"] for s in script.status(0)["services"]] == pids

    os.kill(script.pid("copilot"), signal.SIGKILL)
    wait_for(lambda: script.run("status", code=None).returncode == 1, 5, "status 1 when one is gone")
    assert script.status(1)["state"] == "some"
    script.run("start", "copilot")
    assert script.status(0)["state"] == "all"

    assert "listening" in script.run("logs", "gateway").stdout
    stopped = script.run("stop")
    assert "killed" not in stopped.stdout, "everything drained by itself"
    assert script.status(3)["state"] == "none"


@pytest.mark.skipif(not BUILT, reason="not all six servers are built")
def test_a_taken_port_is_named_with_its_holder(script):
    with socket.create_server(("127.0.0.1", script.base + 1)):
        run = script.run("start", code=1)
    assert f"port {script.base + 1}" in run.stderr and f"(pid {os.getpid()})" in run.stderr
    assert script.status(3)["state"] == "none", "nothing was started"


def test_a_pid_file_of_another_process_is_not_believed(script):
    """After a reboot the number may belong to anybody: the time of birth tells."""
    (script.state / "run").mkdir(parents=True)
    (script.state / "run/gateway.pid").write_text(f"{os.getpid()} 1\n")
    assert script.status(3)["state"] == "none"
    script.run("stop")
    assert not (script.state / "run/gateway.pid").exists()


@pytest.mark.skipif(not BUILT, reason="not all six servers are built")
def test_a_server_that_cannot_start_shows_its_last_words(script):
    run = script.run("start", "backend", code=1, NEXUS_LOG_LEVEL="loud")
    assert 'NEXUS_LOG_LEVEL: "loud" is not one of' in run.stderr
