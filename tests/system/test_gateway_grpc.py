"""gRPC of another make (grpc-js, on both sides) through the gateway: HTTP/2 to it and from it, trailers and all."""
import json
import shutil
import subprocess

import pytest

from gateway_harness import EVERYTHING, service_only, start  # noqa: F401 (fixtures)
from harness import ROOT, SLOW

GRPC = ROOT / "tests" / "grpc"
pytestmark = [service_only, pytest.mark.skipif(not (GRPC / "node_modules").is_dir(),
                                               reason="scripts/setup.sh installs @grpc/grpc-js")]


@pytest.fixture
def server():
    process = subprocess.Popen([shutil.which("node"), str(GRPC / "grpc.mjs"), "serve"], stdout=subprocess.PIPE, text=True)
    yield int(process.stdout.readline())
    process.kill()
    process.wait()
    process.stdout.close()


def calls(port):
    run = subprocess.run([shutil.which("node"), str(GRPC / "grpc.mjs"), "call", f"127.0.0.1:{port}"], capture_output=True,
                         text=True, timeout=60 * SLOW)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_every_kind_of_call(start, server):
    g = start({"a": {"targets": [f"http://127.0.0.1:{server}"], "protocol": "h2"}}, EVERYTHING)
    seen, direct = calls(g.port), calls(server)
    assert seen["unary"]["reply"] == "hello" and seen["unary"]["code"] == 0
    assert seen["unary"]["trailers"]["x-sum"] == "5" and bytes(seen["unary"]["trailers"]["x-said-bin"]["data"]) == b"hi"
    assert seen["fail"]["code"] == 9 and seen["fail"]["details"] == "not now: 50 % größer"
    for kind in ("big", "down", "up", "both"):
        assert seen[kind] == direct[kind]


def test_a_server_that_is_not_there_is_an_error_of_grpc(start):
    g = start({"a": {"targets": ["http://127.0.0.1:1"], "protocol": "h2", "retries": 0}}, EVERYTHING)
    run = subprocess.run([shutil.which("node"), str(GRPC / "grpc.mjs"), "call", f"127.0.0.1:{g.port}"], capture_output=True,
                         text=True, timeout=60 * SLOW)
    assert run.returncode != 0 and "UNAVAILABLE" in run.stderr
