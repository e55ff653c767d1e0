"""HTTP Message Signatures (RFC 9421) at the gateway: who signs is let in once; whatever else is done to a request is not."""
import base64
import hashlib
import hmac
import json
import os
import secrets
import time

import pytest
from gateway_harness import service_only, start, up, upstream  # noqa: F401: fixtures
from harness import problem

SECRET = secrets.token_bytes(32)
pytestmark = service_only


@pytest.fixture
def gateway(start, upstream, tmp_path):  # noqa: F811
    keys = tmp_path / "callers.jwks"
    k = base64.urlsafe_b64encode(SECRET).rstrip(b"=").decode()
    keys.write_text(json.dumps({"keys": [{"kty": "oct", "alg": "HS256", "kid": "till-7", "k": k}]}))
    os.chmod(keys, 0o600)
    return start({"a": up(upstream)}, [{"id": "all", "prefix": "/", "upstream": "a", "auth": "signature"}],
                 {"NEXUS_GATEWAY_SIGNATURE_KEYS": str(keys)})


def signed(g, method, path, body=None, nonce=None, created=None, keyid="till-7", secret=SECRET, leave_out=()):
    values = {"@method": method, "@target-uri": f"http://127.0.0.1:{g.port}{path}"}
    headers = {}
    if body is not None:
        headers["Content-Digest"] = f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"
        values["content-digest"] = headers["Content-Digest"]
    names = [n for n in values if n not in leave_out]
    params = "(" + " ".join(f'"{n}"' for n in names) + f');created={int(time.time()) if created is None else created};keyid="{keyid}"'
    params += f';alg="hmac-sha256";nonce="{nonce or secrets.token_hex(16)}"'
    base = "".join(f'"{n}": {values[n]}\n' for n in names) + f'"@signature-params": {params}'
    code = base64.b64encode(hmac.new(secret, base.encode(), hashlib.sha256).digest()).decode()
    return {**headers, "Signature-Input": f"sig={params}", "Signature": f"sig=:{code}:"}


def test_who_signs_is_known_to_upstream_with_and_without_a_body(gateway):
    reply = gateway.call("GET", "/things?a=1", headers=signed(gateway, "GET", "/things?a=1"))
    assert reply.status == 200 and reply.json["headers"]["x-nexus-user"] == "till-7", reply
    body = b'{"n": 1}'
    reply = gateway.call("POST", "/things", body, headers=signed(gateway, "POST", "/things", body))
    assert reply.status == 200 and reply.json["body"] == body.decode(), reply


def test_a_request_that_was_taken_passes_once(gateway, upstream):  # noqa: F811
    headers = signed(gateway, "GET", "/once", nonce="the-same")
    assert gateway.call("GET", "/once", headers=headers).status == 200
    problem(gateway.call("GET", "/once", headers=headers), 401, "replayed")
    problem(gateway.call("GET", "/once", headers=signed(gateway, "GET", "/once", nonce="the-same")), 401, "replayed")
    assert len([s for s in upstream.seen if s[1] == "/once"]) == 1


def test_what_was_not_signed_is_refused(gateway, upstream):  # noqa: F811
    g, body, now = gateway, b"pay 1", int(time.time())
    problem(g.call("GET", "/x"), 401, "unauthorized")
    for method, path, sent, headers in (
            ("DELETE", "/x", None, signed(g, "GET", "/x")),
            ("GET", "/y", None, signed(g, "GET", "/x")),
            ("GET", "/x?a=2", None, signed(g, "GET", "/x?a=1")),
            ("GET", "/x", None, signed(g, "GET", "/x", secret=b"0" * 32)),
            ("GET", "/x", None, signed(g, "GET", "/x", keyid="till-8")),
            ("GET", "/x", None, signed(g, "GET", "/x", created=now - 400)),
            ("GET", "/x", None, signed(g, "GET", "/x", created=now + 400)),
            ("GET", "/x", None, signed(g, "GET", "/x", leave_out=("@method",))),
            ("POST", "/x", body, signed(g, "POST", "/x", body, leave_out=("content-digest",)))):
        problem(g.call(method, path, sent, headers=headers), 401, "invalid-signature")
    problem(g.call("POST", "/x", b"pay 9", headers=signed(g, "POST", "/x", body)), 401, "invalid-digest")
    half = {k: v for k, v in signed(g, "GET", "/x").items() if k != "Signature"}
    problem(g.call("GET", "/x", headers=half), 400, "invalid-signature-fields")
    assert not [s for s in upstream.seen if s[1].startswith(("/x", "/y"))]
