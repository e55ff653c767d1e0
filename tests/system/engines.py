"""Real PostgreSQL, Redis and NATS servers for tests, in a temporary folder on a free port."""
import glob
import os
import shutil
import socket
import subprocess
import tempfile

import pytest
from harness import BUILD, ROOT, free_port, wait_for


def _as_postgres(argv):
    """PostgreSQL refuses to run as root, so its programs run as the package's user there."""
    return ["runuser", "-u", "postgres", "--", *argv] if os.geteuid() == 0 else argv


class Postgres:
    """`with Postgres() as url:` gives postgresql://… of an empty database "nexus"."""

    def __init__(self):
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
        if not found:
            pytest.skip("PostgreSQL's server is not installed (apt-get install postgresql-15)")
        self.bin = os.path.dirname(found[-1])
        self.folder = self.process = None

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="nexus-pg-")
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        data = f"{self.folder}/data"
        run = subprocess.run(_as_postgres([f"{self.bin}/initdb", "-D", data, "-U", "nexus", "-A", "trust", "--no-sync", "-E", "UTF8"]),
                             capture_output=True, text=True, cwd="/")
        assert run.returncode == 0, run.stderr
        port = free_port()
        self.log = open(f"{self.folder}/log", "wb")
        self.process = subprocess.Popen(
            _as_postgres([f"{self.bin}/postgres", "-D", data, "-p", str(port), "-k", self.folder, "-c", "listen_addresses=127.0.0.1",
                          "-c", "max_connections=200", "-c", "fsync=off"]), stdout=self.log, stderr=self.log, cwd="/")
        base = ["psql", "-h", "127.0.0.1", "-p", str(port), "-U", "nexus", "-d", "postgres", "-c"]
        wait_for(lambda: subprocess.run([*base, "select 1"], capture_output=True).returncode == 0, 20, "PostgreSQL")
        subprocess.run([*base, "create database nexus"], check=True, capture_output=True)
        return f"postgresql://nexus@127.0.0.1:{port}/nexus"

    def __exit__(self, *_):
        if self.process:
            subprocess.run(_as_postgres([f"{self.bin}/pg_ctl", "stop", "-D", f"{self.folder}/data", "-m", "fast", "-w"]),
                           capture_output=True, cwd="/")
            self.process.wait(20)
            self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Redis:
    """`with Redis() as url:` gives redis://127.0.0.1:PORT of an empty server."""

    def __init__(self):
        if not shutil.which("redis-server"):
            pytest.skip("redis-server is not installed (apt-get install redis-server)")
        self.process = None

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="nexus-redis-")
        port = free_port()
        self.process = subprocess.Popen(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", self.folder],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def answers():
            try:
                with socket.create_connection(("127.0.0.1", port), 1) as s:
                    s.sendall(b"PING\r\n")
                    return s.recv(16).startswith(b"+PONG")
            except OSError:
                return False
        wait_for(answers, 10, "Redis")
        return f"redis://127.0.0.1:{port}"

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)


class Nats:
    """`with Nats() as url:` gives nats://127.0.0.1:PORT of an empty server with JetStream."""

    def __init__(self):
        if not shutil.which("nats-server"):
            pytest.skip("nats-server is not installed (apt-get install nats-server)")
        self.process = None

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="nexus-nats-")
        port = free_port()
        self.process = subprocess.Popen(["nats-server", "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", self.folder,
                                         "-l", f"{self.folder}/log"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def answers():
            try:
                with socket.create_connection(("127.0.0.1", port), 1) as s:
                    return s.recv(16).startswith(b"INFO")
            except OSError:
                return False
        wait_for(answers, 10, "NATS")
        return f"nats://127.0.0.1:{port}"

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)


class KafkaMock:
    """`with KafkaMock() as url:` gives kafka://127.0.0.1:PORT of librdkafka's mock cluster, with the topics of a bus."""

    def __init__(self):
        self.program = BUILD / "tests/unit/bus/kafka-mock"
        if not self.program.is_file():
            pytest.skip("this build has no Kafka (apt-get install librdkafka-dev)")

    def __enter__(self):
        self.process = subprocess.Popen([self.program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self.process.stdout.readline().strip()

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(10)


def needs_npm(folder, node=20):
    """A mark that skips where tests/FOLDER's packages are not installed, or Node is older than they need."""
    there = (ROOT / "tests" / folder / "node_modules").is_dir() and shutil.which("node")
    version = subprocess.run(["node", "-p", "process.versions.node"], capture_output=True, text=True).stdout if there else "0"
    return pytest.mark.skipif(int(version.split(".")[0]) < node, reason=f"needs Node {node} and scripts/setup.sh's packages of tests/{folder}")
