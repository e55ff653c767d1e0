"""Protected-resource metadata (RFC 9728) of gateway routes: who is refused learns where to read whose tokens are taken, and what
is read there names the resource that was asked for."""
import re

import pytest
from certificates import Certificates, ask
from gateway_harness import Upstream, service_only, start, up, upstream  # noqa: F401: fixtures
from harness import Topology, problem
from test_gateway_access import Issuer, issuer  # noqa: F401: fixture

pytestmark = service_only
WELL_KNOWN = "/.well-known/oauth-protected-resource"
ROUTES = [
    {"id": "orders", "prefix": "/orders", "methods": ["GET"], "upstream": "a", "auth": "jwt", "require": {"all": ["orders:read"]}},
    {"id": "order", "path": "/orders/{id:int}/lines", "upstream": "a", "auth": "jwt", "require": {"any": ["orders:read", "orders:lines"]}},
    {"id": "write", "prefix": "/orders", "methods": ["POST"], "upstream": "a", "auth": "jwt OR anonymous", "priority": 1,
     "resource": {"name": "Orders", "documentation": "https://docs.example/orders", "scopes": ["orders:create"]}},
    {"id": "tools", "host": "tools.example", "prefix": "/", "upstream": "a", "auth": "jwt",
     "resource": {"authorization_servers": ["https://other.example"]}},
    {"id": "silent", "prefix": "/silent", "upstream": "a", "auth": "jwt", "resource": False},
    {"id": "address", "prefix": "/address", "upstream": "a", "auth": "ip", "ip": {"allow": ["127.0.0.0/8"]}},
    {"id": "all", "prefix": "/", "upstream": "a"}]


def metadata_url(reply):
    return re.search(r'Bearer[^,]*(?:, [a-z_]+="[^"]*")*,? resource_metadata="([^"]*)"', reply.header("WWW-Authenticate"))[1]


@pytest.mark.parametrize("path,resource", [("/orders/7", "/orders"), ("/orders", "/orders"), ("/orders/7/lines", "/orders")])
def test_a_refusal_leads_to_the_metadata_of_the_resource(start, upstream, issuer, path, resource):  # noqa: F811
    g = start({"a": up(upstream)}, ROUTES, issuer.env)
    base = f"http://127.0.0.1:{g.port}"
    for token in (None, "x.y.z"):
        refused = g.call("GET", path, token=token)
        problem(refused, 401)
        assert metadata_url(refused) == base + WELL_KNOWN + resource
    told = g.call("GET", WELL_KNOWN + resource)
    assert told.status == 200 and told.header("Content-Type") == "application/json" and "max-age" in told.header("Cache-Control")
    assert told.json == {"resource": base + resource, "authorization_servers": [issuer.url],
                         "scopes_supported": ["orders:read", "orders:lines", "orders:create"], "bearer_methods_supported": ["header"],
                         "resource_name": "Orders", "resource_documentation": "https://docs.example/orders"}
    assert g.call("HEAD", WELL_KNOWN + resource).status == 200
    lacking = g.call("GET", path, token=issuer.token("ada", roles=["nobody"]))
    problem(lacking, 403, "insufficient-scope")
    assert metadata_url(lacking) == base + WELL_KNOWN + resource


def test_a_resource_is_of_its_host(start, upstream, issuer):  # noqa: F811
    g = start({"a": up(upstream)}, ROUTES, issuer.env)
    told = g.call("GET", WELL_KNOWN, headers={"Host": "tools.example:8080"})
    assert told.json["resource"] == "http://tools.example:8080"
    assert told.json["authorization_servers"] == ["https://other.example", issuer.url]
    refused = g.call("GET", "/x", headers={"Host": "tools.example:8080"})
    assert metadata_url(refused) == "http://tools.example:8080" + WELL_KNOWN


def test_what_takes_no_tokens_or_says_nothing_has_none(start, upstream, issuer):  # noqa: F811
    g = start({"a": up(upstream)}, ROUTES, issuer.env)
    assert g.call("GET", "/silent/x").header("WWW-Authenticate") == "Bearer"
    for path in ("", "/silent", "/address", "/nothing", "/orders/7", "/ordersx"):
        g.call("GET", WELL_KNOWN + path)
        assert upstream.seen[-1][1] == WELL_KNOWN + path, "it goes where the routes say"
    g.call("POST", WELL_KNOWN + "/orders", b"{}")
    assert upstream.seen[-1][0] == "POST"


def test_the_public_address_is_what_the_gateway_was_told(start, upstream, issuer):  # noqa: F811
    g = start({"a": up(upstream)}, ROUTES, {**issuer.env, "NEXUS_GATEWAY_PUBLIC_URL": "https://api.example/"})
    assert g.call("GET", WELL_KNOWN + "/orders").json["resource"] == "https://api.example/orders"
    assert metadata_url(g.call("GET", "/orders", headers={"Host": "evil.example"})) == f"https://api.example{WELL_KNOWN}/orders"
    assert g.call("GET", WELL_KNOWN, headers={"Host": "tools.example"}).json["resource"] == "https://tools.example"


def test_the_scheme_is_that_of_the_client(start, upstream, issuer, tmp_path):  # noqa: F811
    certs = Certificates(tmp_path / "certs")
    certs.authority("ca")
    cert, key = certs.server("server", "ca", "DNS:localhost")
    g = start({"a": up(upstream)}, ROUTES, {**issuer.env, "NEXUS_TLS_CERT": str(cert), "NEXUS_TLS_KEY": str(key)},
              client_certificates={"localhost": {"mode": "any"}})
    told = ask(g.port, "localhost", WELL_KNOWN + "/orders", headers={"Accept": "*/*"}).json
    assert told["resource"] == "https://localhost/orders" and told["tls_client_certificate_bound_access_tokens"] is True


def test_a_proxy_tells_the_scheme_when_it_is_trusted(start, upstream, issuer):  # noqa: F811
    g = start({"a": up(upstream)}, ROUTES, {**issuer.env, "NEXUS_TRUSTED_PROXIES": "none"})
    assert g.call("GET", WELL_KNOWN + "/orders", headers={"X-Forwarded-Proto": "https"}).json["resource"].startswith("http://")


def test_our_own_services_lead_to_the_issuers_document(tmp_path):
    with Topology(tmp_path, ["backend", "gateway"]) as t:
        refused = t.call("GET", "/api/v1/orders")
        assert metadata_url(refused) == t.url("gateway", WELL_KNOWN)
        told = t.call("GET", WELL_KNOWN)
        assert told.status == 200 and told.json["resource"] == t.url("gateway")
