"""nexusd: all six services in one process, on the same ports and state as the six processes."""
import json
import subprocess

from harness import OFFSETS, Server, Topology, binary, wait_for

ORDER = {"items": [{"sku": "book-1", "quantity": 1, "unit_price": {"amount": 700, "currency": "EUR"}}],
         "payment": {"token": "tok_ok"}}


class OneProcess(Topology):
    """The topology as one program: every service name maps to the same process."""

    def __init__(self, folder, env=None):
        super().__init__(folder, (), env)
        server = Server([binary("nexusd")], self.env, self.folder / "nexusd.log")
        self.only = server
        self.servers = dict.fromkeys(OFFSETS, server)

    def __enter__(self):
        self.state.mkdir(mode=0o700, exist_ok=True)
        self.only.start()
        for service in OFFSETS:
            self.wait_ready(service)
        return self

    def __exit__(self, *_):
        assert self.only.stop() == 0, self.only.tail()


def settled(world, token, order):
    return world.call("GET", f"/api/v1/orders/{order}", token=token).json["status"] == "confirmed"


def test_one_binary_serves_the_whole_topology(tmp_path):
    with OneProcess(tmp_path) as one:
        admin = one.bootstrap_admin()
        token = one.register("ada@example.com")
        order = one.call("POST", "/api/v1/orders", ORDER, token=token).json["id"]
        wait_for(lambda: settled(one, token, order), 15, "the order confirmed")
        count = lambda: one.call("GET", "/api/v1/analytics/dashboard?range=24h", token=admin).json["orders"]["confirmed"]
        wait_for(lambda: count() == 1, 5, "the dashboard")

        # a second process on the same state is refused, by name
        rival = subprocess.run([binary("nexusd")], env=one.env, capture_output=True, text=True, timeout=60)
        assert rival.returncode != 0 and str(one.state) in rival.stderr + rival.stdout, rival

    # the six processes go on where nexusd stopped: same state, same users, same orders
    with Topology(tmp_path) as six:
        six.state = one.state
        token = six.login("ada@example.com", "correct horse battery")
        assert settled(six, token, order)


def test_a_subset_of_services(tmp_path):
    topology = Topology(tmp_path, ())
    topology.state.mkdir(mode=0o700)
    server = Server([binary("nexusd"), "--services=backend,gateway"], topology.env, tmp_path / "log").start()
    topology.servers = {"backend": server, "gateway": server}
    try:
        for service in topology.servers:
            topology.wait_ready(service)
        assert topology.call("GET", "/health", service="gateway").status == 200
        log = server.log.read_text()
        assert json.dumps("analytics") not in log
    finally:
        assert server.stop() == 0
