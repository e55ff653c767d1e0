"""What system tests share: the real servers on free ports with state in a temporary folder, and a small HTTP client.

    with Topology(tmp_path, ["backend", "gateway"]) as t:
        reply = t.call("POST", "/api/v1/auth/login", {"email": …}, service="backend")
"""
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from ports import free_port, free_port_base  # noqa: E402, F401
BUILD = Path(os.environ.get("NEXUS_BUILD", ROOT / "build"))
DATA = ROOT.parent / "shared" / "data"
OFFSETS = {"gateway": 0, "backend": 1, "console": 2, "analytics": 3, "notification": 4, "copilot": 5}
SLOW = 4 if "asan" in BUILD.name else 1  # sanitizer builds get more patience


def binary(name):
    """The path of a built program, by its installed name."""
    found = [p for p in (BUILD / "servers").rglob(name) if p.is_file() and os.access(p, os.X_OK)]
    assert found, f"{name} is not built in {BUILD}"
    return str(found[0])


def wait_for(condition, seconds=10.0, what="the condition", every=0.02):
    """Polls until condition() is truthy and returns its value; fails loudly otherwise."""
    deadline = time.monotonic() + seconds * SLOW
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true in {seconds * SLOW:.0f} s")
        time.sleep(every)


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def header(self, name):
        return self.headers.get(name)

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.body[:500]!r}>"


def request(method, url, body=None, token=None, headers=None, timeout=15.0):
    """One HTTP request on a connection of its own. A dict or list body goes as JSON, bytes and str as they are."""
    parts = urlsplit(url)
    headers = dict(headers or {})
    if isinstance(body, (dict, list)):
        body = json.dumps(body).encode()
        headers.setdefault("Content-Type", "application/json")
    elif isinstance(body, str):
        body = body.encode()
    if token:
        headers["Authorization"] = f"Bearer {token}"
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout * SLOW)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target or "/", body=body, headers=headers)
        answer = connection.getresponse()
        return Reply(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


class Server:
    """One running program; its output is in `log`."""

    def __init__(self, argv, env, log):
        self.argv, self.env, self.log = argv, env, Path(log)
        self.process = None

    def start(self):
        with open(self.log, "ab") as out:
            self.process = subprocess.Popen(self.argv, env=self.env, stdin=subprocess.DEVNULL, stdout=out,
                                            stderr=subprocess.STDOUT)
        return self

    def kill(self):
        """kill -9: what a crash looks like."""
        self.process.kill()
        self.process.wait()

    def stop(self, seconds=30):
        """SIGTERM and the exit status; a server that does not end in time is killed and fails the test."""
        if self.process is None or self.process.poll() is not None:
            return self.process.returncode if self.process else None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds * SLOW)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.argv[0]} did not end on SIGTERM: {self.tail()}")

    def tail(self, lines=25):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class Topology:
    """A set of the reference servers in development mode, with a state folder and a port range of their own."""

    def __init__(self, folder, services=tuple(OFFSETS), env=None):
        self.folder = Path(folder)
        self.state = self.folder / "state"
        self.base = free_port_base()
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("NEXUS_")}
        self.env.update(NEXUS_ENV="development", NEXUS_PORT_BASE=str(self.base), NEXUS_STATE_DIR=str(self.state),
                        NEXUS_OUTBOUND_ALLOW="127.0.0.0/8", **(env or {}))
        self.servers = {s: Server([binary(f"nexus-{s}")], self.env, self.folder / f"{s}.log") for s in services}

    def __enter__(self):
        self.state.mkdir(mode=0o700, exist_ok=True)
        try:
            for server in self.servers.values():
                server.start()
            for service in self.servers:
                self.wait_ready(service)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_):
        failures = []
        for server in reversed(self.servers.values()):
            try:
                server.stop()
            except AssertionError as failure:
                failures.append(str(failure))
        assert not failures, "\n".join(failures)

    def url(self, service, path=""):
        return f"http://127.0.0.1:{self.base + OFFSETS[service]}{path}"

    def call(self, method, path, body=None, service="gateway", **options):
        return request(method, self.url(service, path), body, **options)

    def wait_ready(self, service, seconds=20):
        server = self.servers[service]

        def ready():
            assert server.process.poll() is None, f"{service} ended with {server.process.returncode}:\n{server.tail()}"
            try:
                return self.call("GET", "/health/ready", service=service, timeout=2).status == 200
            except OSError:
                return False

        try:
            wait_for(ready, seconds, f"{service} ready")
        except AssertionError as failure:
            raise AssertionError(f"{failure}\n{server.tail()}") from None

    def restart(self, service):
        self.servers[service].start()
        self.wait_ready(service)

    def bootstrap_admin(self, email="admin@example.com", password="correct horse battery"):
        """Makes the first administrator with the one-time token and returns an access token."""
        token = wait_for(lambda: (self.state / "bootstrap.token").exists() and (self.state / "bootstrap.token").read_text().strip(),
                         what="the bootstrap token")
        service = "gateway" if "gateway" in self.servers else "backend"
        reply = self.call("POST", "/api/v1/auth/bootstrap",
                          {"token": token, "email": email, "password": password, "name": "Admin"}, service=service)
        assert reply.status in (200, 201), reply
        return self.login(email, password, service)

    def login(self, email, password, service="gateway"):
        reply = self.call("POST", "/api/v1/auth/login", {"email": email, "password": password}, service=service)
        assert reply.status == 200, reply
        return reply.json["access_token"]

    def register(self, email, password="correct horse battery", name="A Customer", service="gateway"):
        reply = self.call("POST", "/api/v1/auth/register", {"email": email, "password": password, "name": name},
                          service=service)
        assert reply.status == 201, reply
        return self.login(email, password, service)


def problem(reply, status, code=None):
    """Asserts an application/problem+json answer with this status (and code) and returns it."""
    assert reply.status == status, reply
    assert (reply.header("Content-Type") or "").startswith("application/problem+json"), reply.headers
    body = reply.json
    assert body["status"] == status and body["title"], body
    if code:
        assert body["code"] == code, body
    return body
