"""More than the memory it may use: the gateway refuses the next, keeps what it has, and is back the moment there is room."""
import socket
import threading

import pytest

from gateway_harness import PROXY, resident_kib, start, up, upstream  # noqa: F401
from harness import SLOW, problem, wait_for

pytestmark = pytest.mark.skipif(PROXY, reason="needs nexus-gateway, not the example proxy")
CAP_MIB = 16


class BlackHole:
    """Accepts everything and reads nothing."""

    def __init__(self):
        self.listener, self.held = socket.create_server(("127.0.0.1", 0), backlog=4096), []
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                self.held.append(self.listener.accept()[0])
            except OSError:
                return

    def close(self):
        self.listener.close()
        for s in self.held:
            s.close()


def test_overload_is_refused_and_over_at_once(start, upstream):
    hole = BlackHole()
    g = start({"a": up(upstream), "hole": up(hole, max_connections=100000, ejection=False,
                                             timeouts_ms={"first_byte": 600000, "total": 600000, "idle": 600000})},
              [{"id": "hole", "path": "/hole", "upstream": "hole"}, {"id": "all", "prefix": "/", "upstream": "a"}],
              env={"NEXUS_MEMORY_MAX_MIB": str(CAP_MIB), "NEXUS_BODY_WINDOW_MS": "600000"})
    assert g.call("GET", "/x").status == 200
    before, clients, refused = resident_kib(g.server.process.pid), [], None
    upload = b"POST /hole HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"a" * 30000
    try:
        for _ in range(4000):
            s = socket.create_connection(("127.0.0.1", g.port), 10)
            clients.append(s)
            s.sendall(upload)
            if len(clients) % 50 == 0:
                refused = g.call("GET", "/x")
                if refused.status == 503:
                    break
        body = problem(refused, 503, "overloaded")
        assert refused.header("Retry-After") == "1" and "memory" in body["detail"]
        assert g.call("GET", "/livez").status == 200, "alive, and says so"
        used = resident_kib(g.server.process.pid) - before
        assert used < (CAP_MIB + 8 * SLOW) * 1024, f"{used} KiB more than at rest"
        answers = [g.call("GET", "/x").status for _ in range(50)]
        assert set(answers) <= {200, 503} and answers.count(503) >= 10, answers  # at the mark, every other one may find room
        for s in clients[: len(clients) // 2]:
            s.close()
        wait_for(lambda: g.call("GET", "/x").status == 200, 2, "room again")
        assert [g.call("GET", "/x").status for _ in range(50)] == [200] * 50
        assert len(clients) > 100, "it took many to get there"
    finally:
        for s in clients:
            s.close()
        hole.close()
