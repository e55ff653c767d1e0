"""The gateway as tests run it: nexus-gateway with a routes file, in front of upstreams that say what reached them.

    def test_x(start, upstream):            # both fixtures from here
        g = start({"a": up(upstream)}, EVERYTHING)
"""
import base64
import hashlib
import http.server
import json
import os
import socket
import sys
import threading
import time

import pytest

from harness import BUILD, SLOW, Server, binary, free_port, free_port_base, request, wait_for

PROXY = os.environ.get("NEXUS_TEST_GATEWAY") == "proxy"
service_only = pytest.mark.skipif(PROXY, reason="needs nexus-gateway, not the example proxy")


class Upstream:
    """Records what it gets; the path says how it behaves."""

    def __init__(self, name="one", port=0, host="127.0.0.1"):
        self.name, self.seen, self.connections, self.sockets = name, [], 0, []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 60

            def setup(self):
                super().setup()
                outer.connections += 1
                outer.sockets.append(self.connection)

            def log_message(self, *_):
                pass

            def reply(self, body, status=200, **headers):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("X-Upstream", outer.name)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def body(self):
                """None: the connection ended before it did."""
                if self.headers.get("Transfer-Encoding") == "chunked":
                    data = b""
                    while (line := self.rfile.readline()) and (size := int(line, 16)):
                        data += self.rfile.read(size)
                        self.rfile.readline()
                    return data if line and self.rfile.readline() else None
                size = int(self.headers.get("Content-Length") or 0)
                data = self.rfile.read(size)
                return data if len(data) == size else None

            def answer(self):
                path = self.path.split("?")[0]
                outer.seen.append((self.command, self.path, dict(self.headers.items())))
                data = self.body()
                if data is None:
                    self.close_connection = True
                    return None
                if path.startswith("/upload"):
                    return self.reply(json.dumps({"bytes": len(data), "sha": hashlib.sha256(data).hexdigest()}).encode())
                if path.startswith("/health"):
                    return self.reply(b"{}")
                if path.startswith("/slow"):
                    time.sleep(1.5 * min(SLOW, 2))  # under the time-out for a first byte
                    return self.reply(b"late")
                if path.startswith("/big"):
                    return self.reply(b"0123456789abcdef" * (8 << 16))
                if path.startswith("/chunked"):
                    self.send_response(200)
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    for i in range(50):
                        piece = f"piece {i};".encode() * 100
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                    self.wfile.write(b"0\r\n\r\n")
                    return None
                if path.startswith("/until-close"):
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall there is")
                    self.close_connection = True
                    return None
                if path.startswith("/half"):
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
                    self.close_connection = True
                    return None
                if path.startswith("/bad-reply"):
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd")
                    self.close_connection = True
                    return None
                if path.startswith("/teapot"):
                    return self.reply(b"short and stout", 418, Server="secret/1.0", X_Kept="yes")
                if path.startswith("/error"):
                    return self.reply(b"broken", 500)
                if path.startswith("/ws"):
                    return self.websocket()
                if path.startswith("/sse"):
                    return self.events()
                return self.reply(json.dumps({"upstream": outer.name, "path": self.path, "method": self.command,
                                              "headers": {k.lower(): v for k, v in self.headers.items()},
                                              "body": data.decode("latin1")}).encode(), Content_Type="application/json")

            def websocket(self):
                key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
                self.send_response(101)
                self.send_header("Upgrade", "websocket")
                self.send_header("Connection", "Upgrade")
                self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
                self.end_headers()
                self.close_connection = True
                while data := self.connection.recv(65536):
                    self.connection.sendall(data)

            def events(self):
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for i in range(3):
                    event = b"data: %d\n\n" % i
                    outer.sent = i
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
                    outer.go.wait(5)
                    outer.go.clear()
                self.wfile.write(b"0\r\n\r\n")

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = do_OPTIONS = answer

        class Listener(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 512
            allow_reuse_address = True

            def handle_error(self, request, address):
                if not isinstance(sys.exc_info()[1], ConnectionError):  # a gateway that hangs up is no fault here
                    super().handle_error(request, address)

        self.go, self.sent = threading.Event(), -1
        self.server = Listener((host, port), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        for s in self.sockets:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def up(*targets, **more):
    return {"targets": [f"http://127.0.0.1:{t.port}" for t in targets], **more}


class Gateway:
    def __init__(self, folder, routes, settings=None):
        self.file = folder / "routes.json"
        self.state = folder / "state"
        self.state.mkdir(mode=0o700, exist_ok=True)
        self.write(routes)
        env = {k: v for k, v in os.environ.items() if not k.startswith("NEXUS_")}
        if PROXY:
            self.port = free_port()
            argv = [str(BUILD / "examples" / "proxy"), str(self.file), str(self.port)]
        else:
            self.port = free_port_base()
            argv = [binary("nexus-gateway")]
            env.update({"NEXUS_ENV": "development", "NEXUS_PORT_BASE": str(self.port), "NEXUS_STATE_DIR": str(self.state),
                        "NEXUS_GATEWAY_ROUTES": str(self.file), "NEXUS_GATEWAY_WATCH_MS": "50",
                        "NEXUS_BUS_URL": "memory:", **(settings or {})})  # alone: it would wait for an owner of the bus
        self.server = Server(argv, env, folder / "gateway.log").start()
        try:
            wait_for(self.answers, 20, "the gateway")
        except AssertionError as failure:
            raise AssertionError(f"{failure}\n{self.server.tail()}") from None

    def answers(self):
        assert self.server.process.poll() is None, self.server.tail()
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False

    def write(self, routes):
        new = self.file.with_suffix(".new")
        new.write_text(routes if isinstance(routes, str) else json.dumps(routes))
        os.replace(new, self.file)

    def call(self, method, path, body=None, **options):
        return request(method, f"http://127.0.0.1:{self.port}{path}", body, **options)

    def admin(self, method, path, body=None, token=None, headers=None):
        token = token or (self.state / "admin.token").read_text().strip()
        return request(method, f"http://127.0.0.1:{self.port + 10}{path}", body, token=token, headers=headers)

    def raw(self, data, shut=False, seconds=1.0):
        """Sends bytes and returns everything that comes until the gateway closes or is silent for so long."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as s:
            s.sendall(data)
            if shut:
                s.shutdown(socket.SHUT_WR)
            s.settimeout(seconds * SLOW)
            out = b""
            try:
                while piece := s.recv(65536):
                    out += piece
            except (TimeoutError, ConnectionResetError):
                pass
            return out


@pytest.fixture
def upstream():
    u = Upstream()
    yield u
    u.close()


@pytest.fixture
def start(tmp_path):
    running = []

    def make(upstreams, routes, env=None, **more):
        """more: further members of the routes file"""
        g = Gateway(tmp_path, {"version": 1, "upstreams": upstreams, "routes": routes, **more}, env)
        running.append(g)
        return g

    yield make
    for g in running:
        assert g.server.stop() == 0, g.server.tail()


EVERYTHING = [{"id": "all", "prefix": "/", "upstream": "a"}]


def resident_kib(pid):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))
