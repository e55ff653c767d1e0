"""The servers that the bus is measured beside, each in a folder of its own, on a Unix socket or a free port, with its settings."""
import os
import pwd
import shutil
import socket
import subprocess
import time
from pathlib import Path

PG_BIN = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(condition, what, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"{what} did not start")
        time.sleep(0.05)


class Peers:
    """Starts what is installed; where(name) is how its client program reaches it, None when it is not here."""

    def __init__(self, folder, build):
        self.folder, self.build, self.processes, self.places, self.settings = Path(folder), Path(build) / "tests/bench/bus", [], {}, {}
        self.places["sqlite"] = f"{folder}/events.db"
        self.settings["sqlite"] = "WAL, synchronous=FULL, unique (stream, version), unique time-ordered ids"

    def where(self, name):
        if name not in self.places and (start := getattr(self, f"start_{name}", None)):
            self.places[name] = start()
        return self.places.get(name)

    def run(self, command, **more):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)
        self.processes.append(process)
        return process

    def start_redis(self):
        if not shutil.which("redis-server"):
            return None
        path, self.redis_port = self.folder / "redis", free_port()
        path.mkdir()
        self.settings["redis"] = "appendonly yes, appendfsync everysec (not durable at the ack), Unix socket, XADD in a pipeline"
        self.run(["redis-server", "--port", str(self.redis_port), "--bind", "127.0.0.1", "--unixsocket", f"{path}/socket",
                  "--dir", str(path), "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""])
        wait_for((path / "socket").exists, "redis-server")
        return f"{path}/socket"

    def start_postgres(self):
        if not PG_BIN or not (self.build / "postgres-events").exists():
            return None
        path = self.folder / "pg"
        path.mkdir()
        user = []
        if os.getuid() == 0:  # the server refuses to run as root
            user = ["runuser", "-u", "postgres", "--"]
            os.chmod(self.folder, 0o755)
            os.chown(path, pwd.getpwnam("postgres").pw_uid, -1)
        subprocess.run(user + [f"{PG_BIN}/initdb", "-A", "trust", "-U", "postgres", "-D", f"{path}/data"], check=True,
                       stdout=subprocess.DEVNULL, cwd=path)
        self.settings["postgres"] = "synchronous_commit=on, shared_buffers=512MB, binary COPY, unique (stream, version), unique ids"
        self.run(user + [f"{PG_BIN}/postgres", "-D", f"{path}/data", "-k", str(path), "-c", "listen_addresses=",
                         "-c", "shared_buffers=512MB", "-c", "max_wal_size=4GB"], cwd=path)
        wait_for(lambda: (path / ".s.PGSQL.5432").exists(), "postgres")
        return f"host={path} user=postgres"

    def start_nats(self):
        if not shutil.which("nats-server") or not (self.build / "nats-stream").exists():
            return None
        port = free_port()
        self.settings["nats"] = "JetStream, file storage, Nats-Msg-Id (fsync every 2 minutes: not durable at the ack)"
        self.run(["nats-server", "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", f"{self.folder}/nats"])

        def answers():
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", port)) == 0
        wait_for(answers, "nats-server")
        return f"nats://127.0.0.1:{port}"

    def stop(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
