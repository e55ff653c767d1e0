"""How the gateway reaches upstreams: TLS, HTTP/2, discovery, the registry, functions."""
import base64
import concurrent.futures
import hashlib
import http.client
import json
import shutil
import socket
import struct
import subprocess
import threading
from pathlib import Path

import pytest

from gateway_harness import EVERYTHING, service_only, start, up, upstream  # noqa: F401 (fixtures)
from harness import SLOW, problem, wait_for

HERE = Path(__file__).parent


# --- certificates and servers ------------------------------------------------------------------------------------------

def openssl(*args, **more):
    return subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True, **more).stdout


class Certificates:
    """An authority, and what it signs. PEM files in a folder."""

    def __init__(self, folder):
        self.folder = folder
        self.ca = self.authority("ca")
        self.other_ca = self.authority("other")

    def path(self, name):
        return self.folder / name

    def authority(self, name):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                self.path(f"{name}.key"), "-out", self.path(f"{name}.pem"), "-subj", f"/CN={name}", "-days", "30")
        return self.path(f"{name}.pem")

    def make(self, name, san="DNS:api.example.com,IP:127.0.0.1", ca="ca", days=("-days", "30")):
        key, request, cert, ext = (self.path(f"{name}.{e}") for e in ("key", "csr", "pem", "ext"))
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", request,
                "-subj", f"/CN={name}")
        ext.write_text(f"subjectAltName={san}\n")
        openssl("x509", "-req", "-in", request, "-CA", self.path(f"{ca}.pem"), "-CAkey", self.path(f"{ca}.key"),
                "-CAcreateserial", "-out", cert, "-extfile", ext, *days)
        return cert, key

    def pin(self, cert):
        key = openssl("x509", "-in", cert, "-pubkey", "-noout")
        der = openssl("pkey", "-pubin", "-outform", "der", input=key)
        return "sha256/" + base64.b64encode(hashlib.sha256(der).digest()).decode()


@pytest.fixture(scope="module")
def certs(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certs"))


@pytest.fixture
def node():
    running, ports = [], {}

    def end(port):
        ports[port].kill()
        ports[port].wait()

    def make(cert=None, script="h2_upstream.mjs", **options):
        if cert:
            options.update(cert=Path(cert[0]).read_text(), key=Path(cert[1]).read_text())
        process = subprocess.Popen([shutil.which("node"), str(HERE / script), json.dumps(options)],
                                   stdout=subprocess.PIPE, text=True)
        running.append(process)
        port = int(process.stdout.readline())
        ports[port] = process
        return port

    make.end = end
    yield make
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()


def secure(port, tls, host="127.0.0.1", **more):
    return {"targets": [f"https://{host}:{port}"], "tls": tls, **more}


def in_the_clear(port, **more):
    return {"targets": [f"http://127.0.0.1:{port}"], "protocol": "h2", **more}


# --- TLS ---------------------------------------------------------------------------------------------------------------

@service_only
def test_a_verified_upstream_is_reached_and_its_session_resumed(start, certs, node):
    port = node(certs.make("good"), http1=True)
    g = start({"a": secure(port, {"ca_file": str(certs.ca), "server_name": "api.example.com"},
                           pool={"idle_max": 0}, protocol="http1")}, EVERYTHING)
    first = g.call("GET", "/x?y=1")
    assert first.status == 200 and first.json["path"] == "/x?y=1", first
    assert first.json["sni"] == "api.example.com" and first.json["tls"] in ("TLSv1.3", "TLSv1.2")
    assert first.json["headers"]["x-forwarded-proto"] == "http"
    # connections are not kept here, so each is a handshake; with few loops soon one has a ticket
    wait_for(lambda: g.call("GET", "/").json["resumed"], what="a resumed handshake")


@service_only
def test_health_checks_are_verified_as_requests_are(start, certs, node):
    cert = certs.make("checked", san="DNS:api.example.com")
    port = node(cert, http1=True)
    g = start({"a": secure(port, {"ca_file": str(certs.ca), "server_name": "api.example.com"}, protocol="http1", ejection=False,
                           health={"path": "/x", "interval_ms": 50, "down_interval_ms": 50, "fails": 1, "passes": 1})}, EVERYTHING)

    def state():
        (target,) = g.admin("GET", "/admin/v1/status").json["upstreams"][0]["targets"]
        return target["state"]

    assert g.call("GET", "/x").status == 200
    node.end(port)
    wait_for(lambda: state() == "down", 10, "the check to fail")
    assert node(cert, http1=True, port=port) == port
    wait_for(lambda: state() == "up", 10, "the check to pass, by the same authority and name")


@service_only
@pytest.mark.parametrize("case", ["wrong host", "expired", "unknown authority", "not the pinned key", "self made"])
def test_who_does_not_prove_to_be_the_one_asked_for_is_not_talked_to(start, certs, node, case):
    tls = {"ca_file": str(certs.ca)}
    if case == "wrong host":
        cert = certs.make("wrong", san="DNS:other.example.com,IP:127.0.0.9")
    elif case == "expired":
        cert = certs.make("expired", days=("-days", "-1"))
    elif case == "unknown authority":
        cert = certs.make("unknown", ca="other")
    elif case == "not the pinned key":
        cert = certs.make("pinned")
        tls["pins"] = [certs.pin(certs.make("another")[0])]
    else:
        cert, tls = certs.make("own"), {}  # the system's authorities know nothing of ours
    port = node(cert, http1=True)
    g = start({"a": secure(port, tls, retries=0)}, EVERYTHING)
    problem(g.call("GET", "/"), 502, "upstream-certificate")
    assert b"HTTP/1.1 200 " not in g.raw(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /admin HTTP/1.1\r\nHost: a\r\n\r\n")


@service_only
def test_pins_of_the_server_or_its_authority(start, certs, node):
    cert = certs.make("pinned-right")
    port = node(cert, http1=True)
    other = certs.pin(certs.make("another")[0])
    g = start({"leaf": secure(port, {"ca_file": str(certs.ca), "pins": [other, certs.pin(cert[0])]}),
               "authority": secure(port, {"ca_file": str(certs.ca), "pins": [certs.pin(certs.ca)]})},
              [{"prefix": "/leaf", "upstream": "leaf"}, {"prefix": "/authority", "upstream": "authority"}])
    assert g.call("GET", "/leaf").status == 200
    assert g.call("GET", "/authority").status == 200


@service_only
def test_our_own_certificate_is_shown_to_who_asks(start, certs, node):
    ours = certs.make("gateway", san="DNS:gateway")
    port = node(certs.make("mutual"), http1=True, clientCert=True, ca=certs.ca.read_text())
    tls = {"ca_file": str(certs.ca)}
    g = start({"with": secure(port, {**tls, "cert_file": str(ours[0]), "key_file": str(ours[1])}, retries=0),
               "without": secure(port, tls, retries=0)},
              [{"prefix": "/with", "upstream": "with"}, {"prefix": "/without", "upstream": "without"}])
    assert g.call("GET", "/with").json["client"] == "gateway"
    assert g.call("GET", "/without").status == 502


@service_only
def test_insecure_is_for_development_alone(start, certs, node, tmp_path):
    port = node(certs.make("dev", ca="other"), http1=True)
    g = start({"a": secure(port, {"insecure": True})}, EVERYTHING)
    assert g.call("GET", "/").status == 200
    from gateway_harness import Gateway
    folder = tmp_path / "production"
    folder.mkdir()
    (folder / "state").mkdir(mode=0o700)
    with pytest.raises(AssertionError) as refused:
        Gateway(folder, {"version": 1, "upstreams": {"a": secure(port, {"insecure": True})}, "routes": EVERYTHING},
                {"NEXUS_ENV": "production"})
    assert '"insecure" is for development only' in str(refused.value)


@service_only
def test_websockets_and_bodies_through_tls(start, certs, node):
    # the server knows HTTP/2 too; large bodies go both ways
    port = node(certs.make("bodies"))
    g = start({"a": secure(port, {"ca_file": str(certs.ca)})}, EVERYTHING)
    big = g.call("GET", "/big")
    assert big.status == 200 and len(big.body) == 8 << 20 and big.body[:16] == b"0123456789abcdef"
    sent = g.call("POST", "/up", b"x" * (3 << 20))
    assert sent.status == 200 and sent.json["bytes"] == 3 << 20
    assert sent.json["alpn"] == "h2" and sent.json["scheme"] == "https"


# --- HTTP/2 ------------------------------------------------------------------------------------------------------------

@service_only
def test_alpn_decides(start, certs, node):
    both, old = node(certs.make("both")), node(certs.make("old"), http1=True)
    tls = {"ca_file": str(certs.ca)}
    g = start({"both": secure(both, tls), "old": secure(old, tls), "must": secure(old, tls, protocol="h2", retries=0),
               "one": secure(both, tls, protocol="http1", retries=0)},
              [{"prefix": f"/{n}", "upstream": n} for n in ("both", "old", "must", "one")])
    with concurrent.futures.ThreadPoolExecutor(8) as pool:  # at once, while it is not known what the servers speak
        answers = list(pool.map(lambda i: g.call("GET", "/old" if i % 2 else "/both"), range(16)))
    assert [a.status for a in answers] == [200] * 16
    assert g.call("GET", "/both").json["alpn"] == "h2"
    assert g.call("GET", "/old").json["http"] == "1.1"
    assert g.call("GET", "/must").status == 502
    assert g.call("GET", "/one").status == 502


@service_only
def test_prior_knowledge_and_the_form_of_a_request(start, node):
    g = start({"a": in_the_clear(node())}, EVERYTHING)
    seen = g.call("POST", "/a/b?c=d", b"hello", headers={"X-Mine": "1", "TE": "trailers", "Connection": "X-Secret, close",
                                                         "X-Secret": "s"}).json
    assert (seen["method"], seen["path"], seen["scheme"], seen["body"]) == ("POST", "/a/b?c=d", "http", "hello")
    assert seen["authority"].startswith("127.0.0.1:") and seen["te"] == "trailers"
    assert seen["headers"]["x-mine"] == "1" and seen["headers"]["content-length"] == "5"
    assert not {"connection", "x-secret", "transfer-encoding", "host"} & set(seen["headers"])
    assert g.call("GET", "/empty").status == 204
    assert g.call("GET", "/length").body == b"hello"
    assert g.call("HEAD", "/length").header("Content-Length") == "5"
    early = g.raw(b"GET /early HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert early.startswith(b"HTTP/1.1 103 ") and b"</a.css>" in early and early.endswith(b"after\r\n0\r\n\r\n")


@service_only
def test_one_connection_carries_many(start, node):
    g = start({"a": in_the_clear(node())}, EVERYTHING)
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        answers = [a.json for a in pool.map(lambda _: g.call("GET", "/wait"), range(24))]
    assert max(a["most"] for a in answers) > 8, "requests went one after the other"
    assert max(a["sessions"] for a in answers) <= 4, "a connection for each loop, not for each request"


@service_only
def test_more_streams_than_a_server_takes(start, node):
    g = start({"a": in_the_clear(node(streams=2))}, EVERYTHING)
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        assert [a.status for a in pool.map(lambda _: g.call("GET", "/wait"), range(12))] == [200] * 12


@service_only
def test_trailers_reach_a_client_of_http1(start, node):
    g = start({"a": in_the_clear(node())}, EVERYTHING)
    answer = g.raw(b"GET /trailers HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: close\r\n\r\n")
    head, body = answer.split(b"\r\n\r\n", 1)
    assert b"Transfer-Encoding: chunked" in head
    assert body == b"4\r\nbody\r\n0\r\ngrpc-status: 7\r\ngrpc-message: no\r\nx-sum: 12\r\n\r\n"
    seen = g.raw(b"POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
                 b"3\r\nabc\r\n0\r\nX-Sum: 3\r\n\r\n")
    assert b'"x-sum":"3"' in seen and b'"bytes":3' in seen


@service_only
def test_what_a_server_did_not_begin_with_is_asked_again(start, node):
    g = start({"a": in_the_clear(node())}, EVERYTHING)
    post = b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\nonce"
    assert b'"body":"once"' in g.raw(post % b"/refuse-once")  # whatever the method: it had no effect
    assert b'"upstream-refused"' in g.raw(post % b"/refuse")


@service_only
def test_a_stream_that_ends_badly(start, node):
    g = start({"a": in_the_clear(node(), ejection=False)}, EVERYTHING)
    problem(g.call("POST", "/reset", b"x"), 502, "upstream-closed")
    problem(g.call("POST", "/destroy", b"x"), 502, "upstream-closed")
    assert g.call("GET", "/").status == 200


@service_only
def test_goaway_ends_a_connection_without_harm(start, node):
    g = start({"a": in_the_clear(node())}, EVERYTHING)
    numbers = set()
    client = http.client.HTTPConnection("127.0.0.1", g.port, timeout=10 * SLOW)  # one connection: one loop, one session
    for path in ("/goaway", "/") * 3:
        client.request("GET", path)
        answer = client.getresponse()
        numbers.add(json.loads(answer.read())["session"])
        assert answer.status == 200
    client.close()
    assert len(numbers) >= 2


@service_only
def test_a_slow_client_stops_its_stream_alone(start, node):
    g = start({"a": in_the_clear(node())}, EVERYTHING)
    with socket.create_connection(("127.0.0.1", g.port), 5) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        s.sendall(b"GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        s.recv(100)
        for _ in range(20):
            assert g.call("GET", "/").status == 200
        got = 100
        s.settimeout(10 * SLOW)
        while piece := s.recv(1 << 20):
            got += len(piece)
    assert got > 8 << 20


@service_only
def test_an_upstream_of_http2_that_never_answers(start, node):
    g = start({"a": in_the_clear(node(), timeouts_ms={"first_byte": 200}, retries=0)}, EVERYTHING)
    problem(g.call("GET", "/never"), 504, "upstream-timeout")
    assert g.call("GET", "/").status == 200


class RawH2:
    """Frames by hand, for what no honest server sends: answers every request with the bytes that `reply(id, socket)` makes."""

    def __init__(self, reply):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.reply, self.requests = reply, 0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def serve(self, s):
        data = b""
        try:
            s.sendall(frame(4, 0, 0))
            while piece := s.recv(65536):
                data += piece
                if data.startswith(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
                    data = data[24:]
                while len(data) >= 9 and len(data) >= 9 + int.from_bytes(data[:3], "big"):
                    kind, flags, sid = data[3], data[4], int.from_bytes(data[5:9], "big")
                    data = data[9 + int.from_bytes(data[:3], "big"):]
                    if kind == 4 and not flags & 1:
                        s.sendall(frame(4, 1, 0))
                    if kind == 1:
                        self.requests += 1
                        s.sendall(self.reply(sid, s))
        except OSError:
            pass

    def close(self):
        self.listener.close()


def frame(kind, flags, sid, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + struct.pack(">I", sid) + payload


def field(name, value):
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


OK = b"\x88"
BAD_ANSWERS = {
    "CR and LF in a value": lambda i, _: frame(1, 5, i, OK + field(b"x-a", b"1\r\nX-Evil: 1")),
    "NUL in a value": lambda i, _: frame(1, 5, i, OK + field(b"x-a", b"1\x002")),
    "upper case": lambda i, _: frame(1, 5, i, OK + field(b"X-A", b"1")),
    "transfer-encoding": lambda i, _: frame(1, 4, i, OK + field(b"transfer-encoding", b"chunked")) + frame(0, 1, i, b"5\r\n"),
    "connection": lambda i, _: frame(1, 5, i, OK + field(b"connection", b"x-forwarded-for")),
    "two lengths": lambda i, _: frame(1, 4, i, OK + field(b"content-length", b"3") + field(b"content-length", b"4")) +
                             frame(0, 1, i, b"abcd"),
    "a length that is not the body's": lambda i, _: frame(1, 4, i, OK + field(b"content-length", b"9")) + frame(0, 1, i, b"abc"),
    "no status": lambda i, _: frame(1, 5, i, field(b"x-a", b"1")),
    "101": lambda i, _: frame(1, 4, i, field(b":status", b"101")),
    "too many interim answers": lambda i, _: b"".join(frame(1, 4, i, field(b":status", b"103")) for _ in range(12)) +
                                          frame(1, 5, i, OK),
    "a head of 40 KiB": lambda i, _: frame(1, 0, i, OK + field(b"x-a", b"v" * 120) * 90) + b"".join(
        frame(9, 4 if k == 3 else 0, i, field(b"x-a", b"v" * 120) * 90) for k in range(4)),
}


@service_only
@pytest.mark.parametrize("case", BAD_ANSWERS)
def test_answers_of_http2_that_break_the_rules(start, case):  # attack row 16
    server = RawH2(BAD_ANSWERS[case])
    g = start({"a": in_the_clear(server.port, ejection=False)}, EVERYTHING)
    answer = g.raw(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nConnection: close\r\n\r\nb")
    assert b"HTTP/1.1 502 " in answer and b'"upstream-protocol"' in answer
    answers = g.raw(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\nGET /admin HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert answers.count(b"HTTP/1.1 502 ") == 2 and b"X-Evil" not in answers and b"HTTP/1.1 200" not in answers
    server.close()


@service_only
def test_half_an_answer_does_not_look_whole(start):
    seen = threading.Event()

    def reply(sid, s):
        s.sendall(frame(1, 4, sid, OK) + frame(0, 0, sid, b"half"))
        seen.wait(10)
        return frame(3, 0, sid, struct.pack(">I", 2))

    server = RawH2(reply)
    g = start({"a": in_the_clear(server.port, ejection=False)}, EVERYTHING)
    with socket.create_connection(("127.0.0.1", g.port), 5) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        got = b""
        while b"half" not in got:
            got += client.recv(65536)
        seen.set()
        with pytest.raises(ConnectionResetError):
            while piece := client.recv(65536):
                got += piece
    assert not got.endswith(b"0\r\n\r\n")
    server.close()


@service_only
def test_an_http1_server_in_place_of_http2(start, upstream):  # noqa: F811
    g = start({"a": in_the_clear(upstream.port, retries=0)}, EVERYTHING)
    assert g.call("GET", "/").status == 502
    assert upstream.seen == [] or all(path == "*" for _, path, _ in upstream.seen)


# --- loops -------------------------------------------------------------------------------------------------------------

@service_only
def test_a_gateway_that_reaches_itself_says_so(start, upstream):  # noqa: F811 (attack row 34)
    g = start({"a": up(upstream)}, EVERYTHING)
    seen = g.call("GET", "/", headers={"CDN-Loop": "other.example"}).json["headers"]["cdn-loop"]
    assert "nexus-" in seen
    g.write({"version": 1, "upstreams": {"self": {"targets": [f"http://127.0.0.1:{g.port}"]}, "a": up(upstream)},
             "routes": [{"prefix": "/self", "upstream": "self"}, {"prefix": "/", "upstream": "a"}]})
    before = len(upstream.seen)
    wait_for(lambda: g.call("GET", "/self").status == 508, what="the loop found")
    problem(g.call("GET", "/self/x"), 508, "loop-detected")
    assert all(path != "/self/x" for _, path, _ in upstream.seen[before:])
    assert g.call("GET", "/").status == 200


# --- connections that rest ---------------------------------------------------------------------------------------------

@service_only
def test_a_connection_is_not_kept_beyond_its_age(start, upstream, node):  # noqa: F811
    g = start({"old": up(upstream, pool={"max_age_ms": 1}), "h2": in_the_clear(node(), pool={"max_age_ms": 1})},
              [{"prefix": "/old", "upstream": "old"}, {"prefix": "/h2", "upstream": "h2"}])
    wait_for(lambda: g.call("GET", "/old").status == 200 and upstream.connections >= 5, what="new connections")
    wait_for(lambda: g.call("GET", "/h2").json["sessions"] >= 5, what="new connections of HTTP/2")
