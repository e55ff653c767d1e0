"""Attack row 72: the administration does not start where its tokens would pass in the clear; and where it may, it does."""
import os
import subprocess

import pytest
from harness import OFFSETS, SLOW, Server, binary, free_port_base, request, wait_for


def environment(tmp_path, base, **env):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("NEXUS_")}
    (tmp_path / "state").mkdir(mode=0o700, exist_ok=True)
    return {**clean, "NEXUS_ENV": "production", "NEXUS_PORT_BASE": str(base), "NEXUS_STATE_DIR": str(tmp_path / "state"), **env}


@pytest.mark.parametrize("service", ["backend", "console", "gateway"])
@pytest.mark.parametrize("bind", [None, "0.0.0.0", "::"])
def test_row_72_admin_on_every_address_in_the_clear_refuses_to_start(tmp_path, service, bind):
    env = environment(tmp_path, free_port_base(), NEXUS_BUS_URL="memory:", **({"NEXUS_BIND": bind} if bind else {}))
    run = subprocess.run([binary(f"nexus-{service}")], env=env, capture_output=True, text=True, timeout=30 * SLOW)
    assert run.returncode == 1, run
    for word in (service, bind or "0.0.0.0", "NEXUS_BIND=127.0.0.1", "NEXUS_TLS_CERT", "NEXUS_TLS_IN_FRONT=true"):
        assert word in run.stderr, run.stderr


@pytest.mark.parametrize("service,env", [
    ("backend", {"NEXUS_BIND": "127.0.0.1"}), ("backend", {"NEXUS_TLS_IN_FRONT": "true"}),
    ("gateway", {"NEXUS_BIND": "127.0.0.1"}), ("console", {"NEXUS_BIND": "127.0.0.1"})])
def test_it_starts_on_this_machine_or_behind_tls(tmp_path, service, env):
    base = free_port_base()
    server = Server([binary(f"nexus-{service}")], environment(tmp_path, base, NEXUS_BUS_URL="memory:", **env), tmp_path / "log").start()

    def answers():
        assert server.process.poll() is None, server.tail()
        try:
            return request("GET", f"http://127.0.0.1:{base + OFFSETS[service]}/health/live").status == 200
        except OSError:
            return False

    wait_for(answers, 20, f"{service} up")
    assert server.stop() == 0, server.tail()
