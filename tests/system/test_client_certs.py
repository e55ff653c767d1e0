"""Certificates of TLS clients at the gateway (row G65, attack row 22): who is asked, who passes, what upstream is told, and
that a connection is for one host only."""
import base64
import socket
import ssl
import subprocess
import time

import h2_frames as f
import pytest
from certificates import Certificates, Client, Refused, ask, context, der, openssl
from gateway_harness import Gateway, Upstream, service_only, up
from harness import SLOW, problem, wait_for

pytestmark = service_only


@pytest.fixture(scope="module")
def certs(tmp_path_factory):
    c = Certificates(tmp_path_factory.mktemp("certs"))
    for name in ("servers", "partners", "staff"):
        c.authority(name)
    c.gateway = c.server("gateway", "servers", "DNS:*.test,DNS:localhost,IP:127.0.0.1")
    c.till = c.client("till", "partners", "DNS:till-7.shop.test,URI:spiffe://shop.test/till/7,email:till@Shop.test",
                      subject="/O=Shop, Ltd/CN=till 7")
    c.kiosk = c.client("kiosk", "partners", "DNS:kiosk.shop.test")
    c.ann = c.client("ann", "staff", "email:ann@shop.test")
    c.gone = c.client("gone", "partners", "DNS:gone.shop.test")
    c.server_like = c.make("server-like", "partners", "DNS:till-7.shop.test", ext="extendedKeyUsage=serverAuth\n")
    c.signs_only = c.make("signs-only", "partners", "DNS:till-7.shop.test", ext="keyUsage=critical,keyCertSign\n")
    c.past = c.client("past", "partners", "DNS:till-7.shop.test", days=("-startdate", "20200101000000Z", "-enddate", "20200201000000Z"))
    c.later = c.client("later", "partners", "DNS:till-7.shop.test", days=("-startdate", "20490101000000Z", "-enddate", "20491231000000Z"))
    c.own = c.self_signed("own")
    c.crl = c.revoke("partners", c.gone[0])
    return c


def policies(certs):
    return {"partners.test": {"ca_file": str(certs.path("partners.pem")), "crl_file": str(certs.crl)},
            "*.staff.test": {"ca_file": str(certs.path("staff.pem")), "mode": "optional"},
            "deep.test": {"ca_file": str(certs.path("partners.pem"))},
            "any.test": {"mode": "any"}}


ROUTES = [
    {"id": "tills", "host": "partners.test", "prefix": "/tills", "upstream": "a", "auth": "client_cert", "roles": ["till"],
     "client_cert": {"allow": ["dns:*.shop.test", "uri:spiffe://shop.test/till/*"], "identity": "uri", "roles": ["till"],
                     "forward": "chain"}},
    {"id": "seven", "host": "partners.test", "path": "/seven", "upstream": "a", "auth": "client_cert",
     "client_cert": {"allow": ["dns:till-7.shop.test"]}},
    {"id": "email", "host": "partners.test", "path": "/email", "upstream": "a", "auth": "client_cert",
     "client_cert": {"allow": ["email:till@shop.test"], "identity": "sha256"}},
    {"id": "plain", "host": "partners.test", "prefix": "/", "upstream": "a", "auth": "client_cert"},
    {"id": "deep", "host": "deep.test", "prefix": "/", "upstream": "a", "auth": "client_cert", "client_cert": {"forward": "chain"}},
    {"id": "staff", "host": "*.staff.test", "prefix": "/", "upstream": "a", "auth": "client_cert OR anonymous"},
    {"id": "told", "host": "any.test", "prefix": "/told", "upstream": "a", "client_cert": {"forward": "cert", "forward_unverified": True}},
    {"id": "any", "host": "any.test", "prefix": "/", "upstream": "a", "client_cert": {"forward": "cert"}},
    {"id": "open", "prefix": "/", "upstream": "a"},
]


def tls_settings(certs):
    return {"NEXUS_TLS_CERT": str(certs.gateway[0]), "NEXUS_TLS_KEY": str(certs.gateway[1]), "NEXUS_LOOPS": "2",
            "NEXUS_TRUSTED_PROXIES": "none"}


@pytest.fixture(scope="module")
def world(certs, tmp_path_factory):
    upstream = Upstream()
    g = Gateway(tmp_path_factory.mktemp("gateway"), {"version": 1, "upstreams": {"a": up(upstream)}, "routes": ROUTES,
                                                     "client_certificates": policies(certs)}, tls_settings(certs))
    g.upstream = upstream
    yield g
    assert g.server.stop() == 0, g.server.tail()
    upstream.close()


@pytest.fixture(params=["TLSv1_2", "TLSv1_3"])
def version(request):
    return getattr(ssl.TLSVersion, request.param)


# --- who is let in ---------------------------------------------------------------------------------------------------

def test_a_verified_certificate_is_an_identity_for_upstream(world, certs, version):
    reply = ask(world.port, "partners.test", "/tills/x", certs.till, version=version)
    assert reply.status == 200, reply
    seen = reply.json["headers"]
    assert seen["x-nexus-user"] == "spiffe://shop.test/till/7" and seen["x-nexus-roles"] == "till"
    assert seen["client-cert"] == ":" + base64.b64encode(der(certs.till[0])).decode() + ":"
    reply = ask(world.port, "partners.test", "/other", certs.till, version=version)
    assert reply.json["headers"]["x-nexus-user"] == "CN=till 7,O=Shop\\, Ltd" and "client-cert" not in reply.json["headers"]
    reply = ask(world.port, "partners.test", "/email", certs.till, version=version)
    assert reply.json["headers"]["x-nexus-user"] == openssl("x509", "-in", certs.till[0], "-noout", "-fingerprint", "-sha256") \
        .decode().split("=")[1].strip().replace(":", "").lower()


def test_a_route_lets_in_the_names_it_lists(world, certs):
    problem(ask(world.port, "partners.test", "/seven", certs.kiosk), 403, "certificate-refused")
    assert ask(world.port, "partners.test", "/seven", certs.till).status == 200
    problem(ask(world.port, "partners.test", "/tills/x", certs.kiosk), 403, "certificate-refused")  # it has no URI
    assert ask(world.port, "partners.test", "/plain", certs.kiosk).status == 200


@pytest.mark.parametrize("name", ["none", "ann", "own", "gone", "server_like", "signs_only", "past", "later"])
def test_a_required_certificate_that_is_not_good_ends_the_handshake(world, certs, version, name):
    before = len(world.upstream.seen)
    with pytest.raises(Refused):
        ask(world.port, "partners.test", "/plain", getattr(certs, name, None), version=version)
    assert len(world.upstream.seen) == before


def test_an_optional_certificate_may_be_left_out_but_not_be_bad(world, certs, version):
    reply = ask(world.port, "a.staff.test", "/", certs.ann, version=version)
    assert reply.json["headers"]["x-nexus-user"] == "CN=ann"
    assert ask(world.port, "a.staff.test", "/", version=version).json["headers"]["x-nexus-user"] == "anonymous"
    with pytest.raises(Refused):
        ask(world.port, "a.staff.test", "/", certs.till, version=version)


def test_other_hosts_ask_for_nothing(world, certs):
    assert ask(world.port, "open.test", "/", certs.own).status == 200
    assert "x-nexus-user" not in ask(world.port, "open.test", "/", certs.till).json["headers"]


def test_a_chain_with_an_intermediate_is_told_upstream(world, certs):
    inter = certs.make("inter", "partners", ext="basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n"
                       "subjectKeyIdentifier=hash\n")
    key = certs.key("deep")
    openssl("req", "-new", "-key", key, "-out", certs.path("deep.csr"), "-subj", "/CN=deep")
    certs.path("deep.ext").write_text("subjectAltName=DNS:deep.shop.test,URI:spiffe://shop.test/till/9\nextendedKeyUsage=clientAuth\n")
    openssl("x509", "-req", "-in", certs.path("deep.csr"), "-CA", inter[0], "-CAkey", inter[1], "-CAcreateserial", "-days", "10",
            "-extfile", certs.path("deep.ext"), "-out", certs.path("deep.pem"))
    chain = certs.path("deep-chain.pem")
    chain.write_text(certs.path("deep.pem").read_text() + inter[0].read_text())
    seen = ask(world.port, "deep.test", "/", (chain, key)).json["headers"]
    assert seen["client-cert"] == ":" + base64.b64encode(der(certs.path("deep.pem"))).decode() + ":"
    assert seen["client-cert-chain"] == ":" + base64.b64encode(der(inter[0])).decode() + ":"
    with pytest.raises(Refused):
        ask(world.port, "deep.test", "/", (certs.path("deep.pem"), key))  # the way to the authority is not sent
    # where revocation is checked the list has to be there for each authority of the chain
    with pytest.raises(Refused):
        ask(world.port, "partners.test", "/tills/x", (chain, key))


# --- names that mislead ----------------------------------------------------------------------------------------------

def with_nul(certs, where):
    """A certificate of the authority whose name has a NUL: what stands before it is somebody else's name."""
    name, text = f"nul-{where}", "till-7.shop.test!.evil.test"
    config = {"dns": f"subjectAltName=DER:{der_names(0x82, text)}", "uri": f"subjectAltName=DER:{der_names(0x86, 'spiffe://shop.test/till/7!x')}",
              "email": f"subjectAltName=DER:{der_names(0x81, 'till@shop.test!x')}", "other": f"subjectAltName=DER:{other_name(text)}",
              "subject": "subjectAltName=DNS:till-7.shop.test"}[where]
    key = certs.key(name)
    openssl("req", "-new", "-key", key, "-out", certs.path(f"{name}.csr"), "-subj", "/CN=till 7!x" if where == "subject" else "/CN=x")
    certs.path(f"{name}.ext").write_text(config + "\nextendedKeyUsage=clientAuth\n")
    openssl("x509", "-req", "-in", certs.path(f"{name}.csr"), "-CA", certs.path("partners.pem"), "-CAkey", certs.path("partners.key"),
            "-CAcreateserial", "-days", "10", "-extfile", certs.path(f"{name}.ext"), "-out", certs.path(f"{name}.pem"))
    if where == "subject":
        resign_with_nul(certs, name)
    return certs.path(f"{name}.pem"), key


def tlv(tag, value):
    assert len(value) < 128
    return bytes([tag, len(value)]) + value


def der_names(tag, text):
    return tlv(0x30, tlv(tag, text.replace("!", "\0").encode())).hex(":")


def other_name(text):
    upn = bytes.fromhex("060a2b060104018237140203")
    return tlv(0x30, tlv(0xa0, upn + tlv(0xa0, tlv(0x0c, text.replace("!", "\0").encode())))).hex(":")


def resign_with_nul(certs, name):
    """openssl(1) takes no NUL in a subject: it is put into the signed part, which is then signed again."""
    data = bytearray(der(certs.path(f"{name}.pem")))
    at = bytes(data).rindex(b"till 7!x")
    data[at + 6] = 0
    assert data[1] == 0x82 and data[5] == 0x82, "both lengths have two bytes"
    tbs = bytes(data[4:8 + int.from_bytes(data[6:8], "big")])
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    assert algorithm in tbs, "ECDSA with SHA-256"
    signature = openssl("dgst", "-sha256", "-sign", certs.path("partners.key"), input=tbs)
    body = tbs + algorithm + tlv(0x03, b"\0" + signature)
    whole = b"\x30\x82" + len(body).to_bytes(2, "big") + body
    certs.path(f"{name}.pem").write_bytes(openssl("x509", "-inform", "der", input=whole))


@pytest.mark.parametrize("where", ["dns", "uri", "email", "other", "subject"])
def test_a_name_with_a_nul_is_refused_as_a_whole(world, certs, where):
    with pytest.raises(Refused):
        ask(world.port, "partners.test", "/plain", with_nul(certs, where))
    with pytest.raises(Refused):
        ask(world.port, "any.test", "/", with_nul(certs, where))


# --- what upstream is told ---------------------------------------------------------------------------------------------

def test_nobody_says_client_cert_but_the_gateway(world, certs):
    forged = {"Client-Cert": ":AAAA:", "client_cert": ":AAAA:", "Client-Cert-Chain": ":AAAA:", "Client_Cert-Chain": ":AAAA:"}
    for host, path, cert in (("open.test", "/x", None), ("partners.test", "/seven", certs.till), ("a.staff.test", "/", None)):
        seen = ask(world.port, host, path, cert, headers=forged).json["headers"]
        assert not [name for name in seen if "cert" in name], seen
    seen = ask(world.port, "partners.test", "/tills/x", certs.till, headers=forged).json["headers"]
    assert seen["client-cert"] == ":" + base64.b64encode(der(certs.till[0])).decode() + ":"
    assert not [name for name in seen if "chain" in name]
    reply = ask(world.port, "a.staff.test", "/", headers={"Client-Cert": ":" + base64.b64encode(der(certs.ann[0])).decode() + ":"})
    assert reply.json["headers"]["x-nexus-user"] == "anonymous", "a field from nobody we trust is no certificate"


def test_what_was_not_verified_is_told_only_where_the_route_says_so(world, certs):
    assert "client-cert" not in ask(world.port, "any.test", "/", certs.own).json["headers"]
    assert ask(world.port, "any.test", "/told", certs.own).json["headers"]["client-cert"].strip(":") == \
        base64.b64encode(der(certs.own[0])).decode()


def test_a_trusted_proxy_tells_the_certificate(certs, tmp_path):
    upstream = Upstream()
    routes = {"version": 1, "upstreams": {"a": up(upstream)}, "client_certificates": policies(certs), "routes": ROUTES}
    g = Gateway(tmp_path, routes, {"NEXUS_TRUSTED_PROXIES": "127.0.0.1", "NEXUS_CLIENT_CERT_HEADER": "true"})
    try:
        def told(cert, **more):
            headers = {"Host": "partners.test", "Client-Cert": ":" + base64.b64encode(der(cert[0])).decode() + ":", **more}
            return g.call("GET", "/seven", headers=headers)

        assert told(certs.till).json["headers"]["x-nexus-user"] == "CN=till 7,O=Shop\\, Ltd"
        for wrong in (certs.gone, certs.past, certs.ann, certs.own, certs.server_like):
            problem(told(wrong), 401, "invalid-certificate")
        problem(told(certs.till, **{"Client-Cert-Chain": "junk"}), 401, "unauthorized")
        problem(g.call("GET", "/seven", headers={"Host": "partners.test"}), 401, "unauthorized")
        problem(g.call("GET", "/seven", headers={"Host": "partners.test", "Client-Cert": "AAAA"}), 401, "unauthorized")
    finally:
        assert g.server.stop() == 0, g.server.tail()
        upstream.close()


# --- attack row 22: one connection, one host ----------------------------------------------------------------------------

@pytest.mark.parametrize("host", ["open.test", "b.staff.test", "any.test", "127.0.0.1", "partners.test.evil.test"])
def test_row_22_another_host_on_the_connection_is_421(world, certs, version, host):
    before = len(world.upstream.seen)
    with Client(world.port, "partners.test", certs.till, version) as c:
        problem(c.call("GET", "/", host=host), 421, "misdirected-request")
        assert c.call("GET", "/seven", host="PARTNERS.test:443").status == 200, "the same host, and the connection goes on"
        problem(c.call("GET", "/", host=host), 421, "misdirected-request")
    assert len(world.upstream.seen) == before + 1


def test_row_22_no_certificate_is_got_around_by_the_server_name(world, certs):
    before = len(world.upstream.seen)
    for name in ("open.test", "a.staff.test", "any.test", "unknown.test"):
        problem(ask(world.port, name, "/seven", host="partners.test"), 421, "misdirected-request")
    problem(ask(world.port, None, "/seven", host="partners.test"), 421, "misdirected-request")
    assert ask(world.port, None, "/", host="127.0.0.1").status == 200, "an address has no server name"
    assert ask(world.port, None, "/", host="[::1]:8443").status == 200
    assert len(world.upstream.seen) == before + 2


def test_row_22_http2_connections_are_not_coalesced(world, certs, tmp_path):
    """What a browser does with a certificate for *.test: another host's streams on the connection it has."""
    tls = context(certs.till, alpn=["h2"])
    raw = tls.wrap_socket(socket.create_connection(("127.0.0.1", world.port), 10), server_hostname="partners.test")
    assert raw.selected_alpn_protocol() == "h2"
    c = f.Connection.__new__(f.Connection)
    c.socket, c.rest, c.ended = raw, b"", False
    raw.settimeout(20 * SLOW)
    with c:
        c.send(f.PREFACE + f.frame(f.SETTINGS, 0, 0, b"\0\1\0\0\0\0"))  # no dynamic table
        for stream, host in ((1, "partners.test"), (3, "open.test"), (5, "a.staff.test"), (7, "partners.test:9")):
            c.send(f.frame(f.HEADERS, f.END_HEADERS | f.END_STREAM, stream, f.block(f.request("/seven", authority=host))))
        answers = statuses(c, {1, 3, 5, 7})
    assert answers == {1: 200, 3: 421, 5: 421, 7: 200}


def statuses(c, wanted):
    found = {}
    while set(found) != wanted:
        kind, flags, stream, payload = c.read()
        if kind == 1:
            found[stream] = f.status_of(payload)
    return found


def test_a_gateway_without_such_hosts_takes_any_on_a_connection(certs, tmp_path):
    upstream = Upstream()
    g = Gateway(tmp_path, {"version": 1, "upstreams": {"a": up(upstream)}, "routes": [{"prefix": "/", "upstream": "a"}]}, tls_settings(certs))
    try:
        with Client(g.port, "a.test") as c:
            assert c.call("GET", "/").status == c.call("GET", "/", host="b.test").status == 200
    finally:
        assert g.server.stop() == 0, g.server.tail()
        upstream.close()


# --- sessions ---------------------------------------------------------------------------------------------------------------

def session_of(port, name, tls, path="/"):
    with Client(port, name, tls=tls) as c:
        c.call("GET", path)
        return c.socket.session


def test_no_session_carries_a_client_to_another_host_or_past_its_certificate(world, certs, version):
    for cert, names in ((None, ("open.test",)), (certs.till, ("partners.test",)), (certs.ann, ("a.staff.test",)), (certs.own, ("any.test",))):
        tls = context(cert, version)
        session = session_of(world.port, names[0], tls)
        for name in ("partners.test", "a.staff.test", "any.test"):
            try:
                with Client(world.port, name, tls=tls, session=session) as c:
                    c.call("GET", "/plain")
                    assert not c.socket.session_reused, (names, name)
            except Refused:
                pass
    tls = context(None, version)
    with Client(world.port, "open.test", tls=tls, session=session_of(world.port, "open.test", tls)) as c:
        assert c.socket.session_reused, "where nobody is asked, handshakes are resumed"
        problem(c.call("GET", "/seven", host="partners.test"), 421, "misdirected-request")
    with pytest.raises(Refused):
        with Client(world.port, "partners.test", tls=tls, session=session_of(world.port, "open.test", tls)) as c:
            c.call("GET", "/plain")


def test_there_is_no_renegotiation_and_no_certificate_after_the_handshake(world, certs):
    run = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{world.port}", "-servername", "a.staff.test", "-tls1_2",
                          "-cert", str(certs.ann[0]), "-key", str(certs.ann[1])], input=b"R\n", capture_output=True, timeout=30 * SLOW)
    assert b"no renegotiation" in run.stderr or b"no_renegotiation" in run.stderr, run.stderr[-500:]
    tls = context(certs.ann, ssl.TLSVersion.TLSv1_3)
    tls.post_handshake_auth = True
    with Client(world.port, "open.test", tls=tls) as c:
        assert "x-nexus-user" not in c.call("GET", "/").json["headers"]
        problem(c.call("GET", "/", host="a.staff.test"), 421)


# --- changes ----------------------------------------------------------------------------------------------------------------

def test_who_is_revoked_is_out_on_open_connections_too(certs, tmp_path):
    upstream = Upstream()
    late = certs.client("late", "partners", "DNS:late.shop.test")
    crl = tmp_path / "partners.crl"
    crl.write_bytes(certs.revoke("partners").read_bytes())
    rules = {"partners.test": {"ca_file": str(certs.path("partners.pem")), "crl_file": str(crl)}}
    routes = {"version": 1, "upstreams": {"a": up(upstream)}, "client_certificates": rules, "routes": ROUTES}
    g = Gateway(tmp_path, routes, tls_settings(certs))
    try:
        with Client(g.port, "partners.test", late) as c:
            assert c.call("GET", "/plain").status == 200
            crl.write_bytes(certs.revoke("partners", late[0]).read_bytes())
            assert g.admin("POST", "/admin/v1/reload").status == 200
            deadline = time.monotonic() + 10 * SLOW
            while (reply := c.call("GET", "/plain")).status == 200 and time.monotonic() < deadline:
                pass
            problem(reply, 401, "invalid-certificate")
        with pytest.raises(Refused):
            ask(g.port, "partners.test", "/plain", late)
        assert ask(g.port, "partners.test", "/plain", certs.till).status == 200
        with Client(g.port, "partners.test", certs.till) as c:
            assert c.call("GET", "/plain").status == 200
            g.write({**routes, "client_certificates": {}})
            deadline = time.monotonic() + 10 * SLOW
            while (reply := c.call("GET", "/plain")).status == 200 and time.monotonic() < deadline:
                pass
            problem(reply, 401, "invalid-certificate")
    finally:
        assert g.server.stop() == 0, g.server.tail()
        upstream.close()


@pytest.mark.parametrize("rules,word", [
    ({"a.test": {}}, "ca_file"), ({"a.test": {"mode": "maybe"}}, "optional"), ({"a test": {"mode": "any"}}, "host"),
    ({"a.test": {"mode": "any", "crl_file": "/x"}}, "crl_file"), ({"a.test": {"ca": "/x"}}, "unknown key"), ([], "object")])
def test_mistakes_are_named(world, rules, word):
    text = {"version": 1, "upstreams": {"a": {"targets": ["http://127.0.0.1:1"]}}, "routes": [], "client_certificates": rules}
    reply = world.admin("POST", "/admin/v1/check", text)
    assert reply.status == 422 and word in reply.json["detail"] and "/client_certificates" in reply.json["detail"], reply


@pytest.mark.parametrize("route,word", [
    ({"client_cert": {"allow": ["dns:a"]}}, "auth"), ({"client_cert": {"roles": ["x"]}}, "auth"),
    ({"auth": "client_cert", "client_cert": {"allow": ["cn:a"]}}, "dns:"), ({"auth": "client_cert", "client_cert": {"allow": []}}, "nobody"),
    ({"auth": "client_cert", "client_cert": {"allow": ["sha256:00"]}}, "64"), ({"auth": "client_cert", "client_cert": {"identity": "cn"}}, "subject"),
    ({"auth": "client_cert", "client_cert": {"allow": ["dns:a.*.b"]}}, "name"), ({"client_cert": {"forward": "all"}}, "chain")])
def test_mistakes_on_a_route_are_named(world, route, word):
    text = {"version": 1, "upstreams": {"a": {"targets": ["http://127.0.0.1:1"]}}, "routes": [{"prefix": "/", "upstream": "a", **route}]}
    reply = world.admin("POST", "/admin/v1/check", text)
    assert reply.status == 422 and word in reply.json["detail"], reply


def test_a_host_is_added_and_removed_through_the_admin_api(certs, tmp_path):
    upstream = Upstream()
    g = Gateway(tmp_path, {"version": 1, "upstreams": {"a": up(upstream)}, "client_certificates": {},
                           "routes": [{"prefix": "/", "upstream": "a", "auth": "client_cert OR anonymous"}]}, tls_settings(certs))
    try:
        assert ask(g.port, "late.test", "/").status == 200
        problem(g.admin("PUT", "/admin/v1/client_certificates/late.test", {"mode": "required"}), 422)
        assert g.admin("PUT", "/admin/v1/client_certificates/late.test", {"ca_file": str(certs.path("staff.pem"))}).status == 201
        wait_for(lambda: is_refused(g.port, "late.test"), what="the new rule in force")
        assert ask(g.port, "late.test", "/", certs.ann).json["headers"]["x-nexus-user"] == "CN=ann"
        explained = g.admin("POST", "/admin/v1/explain", {"method": "GET", "target": "https://late.test/"})
        assert explained.status == 200 and "client_cert" in explained.body.decode()
        assert g.admin("DELETE", "/admin/v1/client_certificates/late.test").status in (200, 204)
        wait_for(lambda: not is_refused(g.port, "late.test"), what="the rule gone")
    finally:
        assert g.server.stop() == 0, g.server.tail()
        upstream.close()


def is_refused(port, host):
    try:
        return ask(port, host, "/").status != 200
    except Refused:
        return True


def test_files_that_are_not_there_leave_what_is_in_force(world, certs):
    for name in ("/nonexistent.pem", str(certs.gateway[1])):
        text = {"version": 1, "upstreams": {"a": up(world.upstream)}, "routes": ROUTES, "client_certificates": {"x.test": {"ca_file": name}}}
        assert world.admin("PUT", "/admin/v1/config", text).status == 422
    assert ask(world.port, "partners.test", "/seven", certs.till).status == 200
