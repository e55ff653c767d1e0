"""OAuth clients that prove who they are by a certificate, and tokens that are bound to one (RFC 8705): at the backend itself,
and behind a gateway that ends TLS."""
import base64
import http.client
import json
import ssl
import subprocess
from urllib.parse import urlencode

import pytest
from certificates import Certificates, Client, Refused, ask, context, der, thumbprint
from gateway_harness import Upstream, up
from harness import SLOW, Reply, Topology, binary, problem, wait_for

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def certs(tmp_path_factory):
    c = Certificates(tmp_path_factory.mktemp("certs"))
    c.authority("servers")
    c.authority("clients")
    c.authority("others")
    c.server_cert = c.server("server", "servers", "DNS:localhost,DNS:*.test,IP:127.0.0.1")
    c.cron = c.client("cron", "clients", "DNS:cron.example,URI:spiffe://x/cron,email:cron@x.example,IP:10.1.2.3", subject="/O=X/CN=cron")
    c.job = c.client("job", "clients", "DNS:job.example")
    c.forged = c.client("forged", "others", "DNS:cron.example", subject="/O=X/CN=cron")
    c.gone = c.client("gone", "clients", "DNS:cron.example")
    c.own, c.other_own = c.self_signed("own"), c.self_signed("other-own")
    c.crl = c.revoke("clients", c.gone[0])
    return c


class World:
    """A backend with TLS, where clients may have any certificate."""

    def __init__(self, folder, certs, services=("backend",), **env):
        self.topology = Topology(folder, list(services), {"NEXUS_OAUTH_CLIENT_CA": str(certs.path("clients.pem")),
                                                          "NEXUS_OAUTH_CLIENT_CRL": str(certs.crl), **env})

    def add(self, **metadata):
        reply = self.admin_call("POST", "/api/v1/admin/clients", {"client_name": "Cron", "grant_types": ["client_credentials"],
                                                                  "scope": "api", "roles": ["operator"], **metadata})
        assert reply.status == 201, reply
        return reply.json


class Direct(World):
    def __init__(self, folder, certs):
        super().__init__(folder, certs)
        self.env = {"NEXUS_TLS_CERT": str(certs.server_cert[0]), "NEXUS_TLS_KEY": str(certs.server_cert[1]),
                    "NEXUS_TLS_CLIENT_CERT": "any", "NEXUS_OAUTH_MTLS_URL": "https://mtls.example"}
        t = self.topology
        for server in t.servers.values():
            server.env = {**server.env, **self.env}
        t.call = self.plain_call  # it is its own TLS: the topology's readiness check too

    def plain_call(self, method, path, body=None, service="backend", token=None, headers=None, timeout=15, cert=None):
        port = self.topology.base + 1
        data = json.dumps(body).encode() if isinstance(body, (dict, list)) else (body or "").encode()
        fields = {**({"Content-Type": "application/json"} if isinstance(body, (dict, list)) else {}),
                  **({"Authorization": f"Bearer {token}"} if token else {}), **(headers or {})}
        try:
            return ask(port, "localhost", path, cert, method=method, body=data, headers=fields)
        except Refused as why:
            raise ConnectionError(str(why)) from None

    def admin_call(self, method, path, body=None):
        return self.plain_call(method, path, body, token=self.admin)

    def post(self, path, form, cert=None, **headers):
        return self.plain_call("POST", path, urlencode(form), headers={**FORM, **headers}, cert=cert)


@pytest.fixture(scope="module")
def direct(certs, tmp_path_factory):
    w = Direct(tmp_path_factory.mktemp("direct"), certs)
    with w.topology:
        w.admin = w.topology.bootstrap_admin()
        yield w


def refused(reply, error="invalid_client", status=401):
    if error == "invalid_client" and reply.status == 429:
        return  # so many wrong ones; a right one is not held up
    assert reply.status == status and reply.json["error"] == error, reply


def claims(token):
    return json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))


def x5c(cert):
    return {"keys": [{"kty": "EC", "x5c": [base64.b64encode(der(cert[0])).decode()]}]}


def credentials(client, **more):
    return {"grant_type": "client_credentials", "client_id": client["client_id"], **more}


NAMES = [("tls_client_auth_san_dns", "CRON.example"), ("tls_client_auth_san_uri", "spiffe://x/cron"),
         ("tls_client_auth_san_email", "cron@X.example"), ("tls_client_auth_san_ip", "10.1.2.3"),
         ("tls_client_auth_subject_dn", "CN=cron,O=X")]


@pytest.mark.parametrize("member,name", NAMES)
def test_a_name_in_a_verified_certificate_proves_a_client(direct, certs, member, name):
    client = direct.add(token_endpoint_auth_method="tls_client_auth", **{member: name})
    assert client[member] == name and "client_secret" not in client
    reply = direct.post("/oauth/token", credentials(client), certs.cron)
    assert reply.status == 200 and "cnf" not in claims(reply.json["access_token"]), reply
    for wrong in (None, certs.forged, certs.own, certs.gone, certs.job):
        refused(direct.post("/oauth/token", credentials(client), wrong))


def test_a_client_uses_the_one_method_it_has(direct, certs):
    named = direct.add(token_endpoint_auth_method="tls_client_auth", tls_client_auth_san_dns="cron.example")
    secret = direct.add()
    basic = {"Authorization": "Basic " + base64.b64encode(f"{named['client_id']}:x".encode()).decode()}
    refused(direct.post("/oauth/token", credentials(named), certs.cron, **basic))
    refused(direct.post("/oauth/token", credentials(secret), certs.cron))
    refused(direct.post("/oauth/token", {"grant_type": "client_credentials"}, certs.cron))


def test_a_certificate_of_its_own_making_proves_a_client(direct, certs):
    client = direct.add(token_endpoint_auth_method="self_signed_tls_client_auth", jwks=x5c(certs.own))
    assert client["x5t#S256"] == [thumbprint(certs.own[0])]
    assert direct.post("/oauth/token", credentials(client), certs.own).status == 200
    for wrong in (None, certs.other_own, certs.cron):
        refused(direct.post("/oauth/token", credentials(client), wrong))


@pytest.mark.parametrize("metadata,member", [
    ({"token_endpoint_auth_method": "tls_client_auth"}, "tls_client_auth_subject_dn"),
    ({"token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_san_dns": "a", "tls_client_auth_san_ip": "10.0.0.1"}, "tls_client_auth_san_ip"),
    ({"tls_client_auth_san_dns": "a"}, "tls_client_auth_subject_dn"), ({"token_endpoint_auth_method": "self_signed_tls_client_auth"}, "jwks"),
    ({"token_endpoint_auth_method": "self_signed_tls_client_auth", "jwks": {"keys": [{"kty": "EC"}]}}, "jwks"),
    ({"token_endpoint_auth_method": "self_signed_tls_client_auth", "jwks": {"keys": [{"x5c": ["AAAA"]}]}}, "jwks"),
    ({"tls_client_certificate_bound_access_tokens": "yes"}, "tls_client_certificate_bound_access_tokens")])
def test_metadata_that_cannot_be_is_refused_by_its_member(direct, metadata, member):
    reply = direct.admin_call("POST", "/api/v1/admin/clients", {"client_name": "Cron", "grant_types": ["client_credentials"], **metadata})
    assert reply.status == 422 and member in json.dumps(reply.json), reply


def test_a_bound_token_is_good_with_its_certificate_alone(direct, certs):
    client = direct.add(token_endpoint_auth_method="tls_client_auth", tls_client_auth_san_dns="cron.example", resource_server=True,
                        tls_client_certificate_bound_access_tokens=True)
    reply = direct.post("/oauth/token", credentials(client), certs.cron)
    token = reply.json["access_token"]
    assert claims(token)["cnf"] == {"x5t#S256": thumbprint(certs.cron[0])} and reply.json["token_type"] == "Bearer"
    assert direct.plain_call("GET", "/api/v1/orders", token=token, cert=certs.cron).status == 200
    for wrong in (None, certs.job, certs.own):
        stolen = direct.plain_call("GET", "/api/v1/orders", token=token, cert=wrong)
        problem(stolen, 401, "token-invalid")
        assert 'error="invalid_token"' in stolen.header("WWW-Authenticate")
    told = direct.post("/oauth/introspect", {"token": token, "client_id": client["client_id"]}, certs.cron).json
    assert told["active"] and told["cnf"] == {"x5t#S256": thumbprint(certs.cron[0])}
    refused(direct.post("/oauth/introspect", {"token": token, "client_id": client["client_id"]}, certs.job))
    assert direct.post("/oauth/revoke", {"token": token, "client_id": client["client_id"]}, certs.cron).status == 200
    wait_for(lambda: direct.plain_call("GET", "/api/v1/orders", token=token, cert=certs.cron).status == 401, what="the revocation heard")


def test_a_client_with_a_secret_can_have_bound_tokens_too(direct, certs):
    client = direct.add(tls_client_certificate_bound_access_tokens=True)
    basic = {"Authorization": "Basic " + base64.b64encode(f"{client['client_id']}:{client['client_secret']}".encode()).decode()}
    refused(direct.post("/oauth/token", {"grant_type": "client_credentials"}, None, **basic), "invalid_request", 400)
    token = direct.post("/oauth/token", {"grant_type": "client_credentials"}, certs.own, **basic).json["access_token"]
    assert claims(token)["cnf"] == {"x5t#S256": thumbprint(certs.own[0])}
    assert direct.plain_call("GET", "/api/v1/orders", token=token, cert=certs.own).status == 200
    problem(direct.plain_call("GET", "/api/v1/orders", token=token), 401, "token-invalid")


def test_the_metadata_says_so(direct):
    told = direct.plain_call("GET", "/.well-known/openid-configuration").json
    assert told["tls_client_certificate_bound_access_tokens"] is True
    for name in ("token", "revocation", "introspection"):
        methods = told[f"{name}_endpoint_auth_methods_supported"]
        assert {"tls_client_auth", "self_signed_tls_client_auth", "private_key_jwt"} <= set(methods)
    assert told["mtls_endpoint_aliases"] == {"token_endpoint": "https://mtls.example/oauth/token",
                                             "revocation_endpoint": "https://mtls.example/oauth/revoke",
                                             "introspection_endpoint": "https://mtls.example/oauth/introspect",
                                             "userinfo_endpoint": "https://mtls.example/oauth/userinfo"}


def test_a_field_is_no_certificate_for_who_does_not_ask_for_it(direct, certs):
    """client_cert_header is off: whatever a peer says, it has the certificate of its connection."""
    client = direct.add(token_endpoint_auth_method="tls_client_auth", tls_client_auth_san_dns="cron.example")
    forged = {"Client-Cert": ":" + base64.b64encode(der(certs.cron[0])).decode() + ":"}
    refused(direct.post("/oauth/token", credentials(client), None, **forged))
    refused(direct.post("/oauth/token", credentials(client), certs.job, **forged))


# --- behind a gateway ---------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def behind(certs, tmp_path_factory):
    """The gateway ends TLS and tells the backend the certificate; /guarded goes to something that is none of ours."""
    folder, upstream = tmp_path_factory.mktemp("behind"), Upstream()
    w = World(folder, certs, ("backend", "gateway"))
    t = w.topology
    # who sees the certificates is the gateway; the backend believes nobody but it
    issuer = t.servers["gateway"].env["NEXUS_PORT_BASE"]
    common = {"NEXUS_ISSUER": f"http://127.0.0.1:{issuer}"}
    routes = folder / "routes.json"
    forward = {"forward": "chain", "forward_unverified": True}
    routes.write_text(json.dumps({
        "version": 1, "upstreams": {"a": up(upstream), "backend": {"targets": [t.url("backend")]}},
        "client_certificates": {"*": {"mode": "any"}, "partners.test": {"ca_file": str(certs.path("clients.pem"))}},
        "routes": [{"prefix": "/guarded", "upstream": "a", "auth": "jwt"},
                   {"prefix": "/both", "host": "partners.test", "upstream": "a", "auth": "jwt AND client_cert"},
                   {"prefix": "/", "upstream": "backend", "client_cert": forward}]}))
    t.servers["backend"].env = {**t.env, **common, "NEXUS_TRUSTED_PROXIES": "127.0.0.1", "NEXUS_CLIENT_CERT_HEADER": "true"}
    t.servers["gateway"].env = {**t.env, **common, "NEXUS_GATEWAY_ROUTES": str(routes), "NEXUS_TLS_CERT": str(certs.server_cert[0]),
                                "NEXUS_TLS_KEY": str(certs.server_cert[1]), "NEXUS_TRUSTED_PROXIES": "none"}
    plain = t.call

    def call(method, path, body=None, service="gateway", **more):
        if service == "backend":
            return plain(method, path, body, service="backend", **more)
        return Reply(ask(t.base, "localhost", path).status, {}, b"")

    t.call = call
    with t:
        t.servers = {"backend": t.servers["backend"], "gateway": t.servers["gateway"]}
        gateway = t.servers.pop("gateway")
        w.admin = t.bootstrap_admin()
        t.servers["gateway"] = gateway
        w.admin_call = lambda method, path, body=None: plain(method, path, body, service="backend", token=w.admin)
        w.port, w.upstream = t.base, upstream
        w.post = lambda path, form, cert=None, **headers: ask(t.base, "localhost", path, cert, method="POST",
                                                               body=urlencode(form).encode(), headers={**FORM, **headers})
        w.get = lambda path, token, cert=None, host="localhost", **headers: ask(
            t.base, host, path, cert, headers={"Authorization": f"Bearer {token}", **headers})
        yield w
    upstream.close()


def test_behind_a_gateway_the_certificate_comes_by_its_field(behind, certs):
    named = behind.add(token_endpoint_auth_method="tls_client_auth", tls_client_auth_san_dns="cron.example",
                       tls_client_certificate_bound_access_tokens=True)
    own = behind.add(token_endpoint_auth_method="self_signed_tls_client_auth", jwks=x5c(certs.own),
                     tls_client_certificate_bound_access_tokens=True)
    for client, cert, others in ((named, certs.cron, (None, certs.forged, certs.gone, certs.own)), (own, certs.own, (None, certs.cron, certs.other_own))):
        for wrong in others:
            refused(behind.post("/oauth/token", credentials(client), wrong))
            refused(behind.post("/oauth/token", credentials(client), wrong,
                                **{"Client-Cert": ":" + base64.b64encode(der(cert[0])).decode() + ":"}))
        token = behind.post("/oauth/token", credentials(client), cert).json["access_token"]
        assert claims(token)["cnf"] == {"x5t#S256": thumbprint(cert[0])}
        forged = {"Client-Cert": ":" + base64.b64encode(der(cert[0])).decode() + ":"}
        assert behind.get("/api/v1/orders", token, cert).status == 200, "checked by the backend"
        assert behind.get("/guarded/x", token, cert).status == 200, "and by the gateway"
        before = len(behind.upstream.seen)
        for wrong in (w for w in others if w not in (certs.forged, certs.gone)):
            problem(behind.get("/api/v1/orders", token, wrong), 401, "token-invalid")
            problem(behind.get("/api/v1/orders", token, wrong, **forged), 401, "token-invalid")
            stolen = behind.get("/guarded/x", token, wrong, **forged)
            problem(stolen, 401, "invalid-token")
            assert 'error="invalid_token"' in stolen.header("WWW-Authenticate")
        assert len(behind.upstream.seen) == before


def test_token_and_certificate_of_one_host(behind, certs):
    client = behind.add(token_endpoint_auth_method="tls_client_auth", tls_client_auth_san_dns="cron.example",
                        tls_client_certificate_bound_access_tokens=True)
    token = behind.post("/oauth/token", credentials(client), certs.cron).json["access_token"]
    assert behind.get("/both/x", token, certs.cron, "partners.test").status == 200
    problem(behind.get("/both/x", token, certs.job, "partners.test"), 401, "invalid-token")
    problem(ask(behind.port, "partners.test", "/both/x", certs.cron), 401, "unauthorized")


def test_the_command_line_registers_certificates(behind, certs):
    env = {**behind.topology.env, "NEXUS_TOKEN": behind.admin, "NEXUS_URL": behind.topology.url("backend")}

    def add(*words):
        run = subprocess.run([binary("nexus"), "clients", "add", "--name", "Cron", "--grants",
                              "client_credentials", "--scope", "api", "--json", *words], env=env, capture_output=True, text=True, timeout=30 * SLOW)
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)

    client = add("--certificate", str(certs.own[0]), "--bound")
    assert client["x5t#S256"] == [thumbprint(certs.own[0])] and client["tls_client_certificate_bound_access_tokens"] is True
    assert behind.post("/oauth/token", credentials(client), certs.own).status == 200
    client = add("--certificate-name", "san_dns:cron.example")
    assert client["tls_client_auth_san_dns"] == "cron.example"
    assert behind.post("/oauth/token", credentials(client), certs.cron).status == 200
