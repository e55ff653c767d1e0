"""What the gateway changes of requests and answers, and what it says itself, against the running gateway."""
import gzip
import http.client
import json
import re
import socket
import threading
import zlib

import pytest

from harness import ROOT, SLOW, Topology, free_port, wait_for
from gateway_harness import EVERYTHING, PROXY, Upstream, start, up, upstream  # noqa: F401 (fixtures)

if PROXY:
    pytest.skip("needs nexus-gateway, not the example proxy", allow_module_level=True)

HELMET = {
    "Content-Security-Policy": "default-src 'self';base-uri 'self';font-src 'self' https: data:;form-action 'self';"
                               "frame-ancestors 'self';img-src 'self' data:;object-src 'none';script-src 'self';"
                               "script-src-attr 'none';style-src 'self' https: 'unsafe-inline';upgrade-insecure-requests",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Origin-Agent-Cluster": "?1",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-DNS-Prefetch-Control": "off",
    "X-Download-Options": "noopen",
    "X-Frame-Options": "SAMEORIGIN",
    "X-Permitted-Cross-Domain-Policies": "none",
    "X-XSS-Protection": "0",
}


def refused(start, route, *words):
    """A routes file with this route does not get into force; the message has the words."""
    g = start({"a": {"targets": ["http://127.0.0.1:1"]}}, EVERYTHING)
    reply = g.admin("POST", "/admin/v1/check", json.dumps(
        {"upstreams": {"a": {"targets": ["http://127.0.0.1:1"]}}, "routes": [{"upstream": "a", **route}]}).encode())
    assert reply.status == 422 or reply.status == 400, reply
    for word in words:
        assert word in reply.body.decode(), reply
    return reply


def test_the_example_of_the_documentation_is_one(start):
    page = (ROOT / "docs" / "gateway" / "shape.md").read_text()
    example = re.search(r"```json\n(.*?)```", page, re.S)[1]
    g = start({"a": {"targets": ["http://127.0.0.1:1"]}}, EVERYTHING)
    assert g.admin("POST", "/admin/v1/check", example.encode()).status < 300
    for code in ("bad-header-value", "header-transform", "upstream-body-too-big", "malformed-json", "response-transform"):
        assert f"`{code}`" in page


# --- headers ----------------------------------------------------------------------------------------------------------


def test_headers_are_set_added_and_removed_with_values_of_the_request(start, upstream):
    g = start({"a": up(upstream)}, [{
        "id": "items", "path": "/items/{id:int}/{name}", "upstream": "a",
        "request_headers": {"set": {"X-Item": "{path.id}/{path.name}", "X-Query": "q={query.q}", "X-Gone": "{query.none}",
                                    "X-Agent": "<{header.User-Agent}>", "X-From": "{client.ip} {route.id} {{x}}",
                                    "X-Id": "{request.id}", "X-Who": "{principal.sub}{claim.tenant}"},
                            "add": {"X-Fixed": "one"}, "remove": ["X-Secret"]},
        "response_headers": {"set": {"X-Item": "{path.id}", "X-Upstream": "hidden"}, "add": {"X-Route": "{route.id}"}}}])
    reply = g.call("GET", "/items/7/a%20b?q=1+2", headers={
        "User-Agent": "me", "X-Secret": "s", "X-Item": "forged", "X-Gone": "forged", "X-Who": "forged", "X-Fixed": "own"})
    assert reply.status == 200, reply
    seen = {k.lower(): v for k, v in upstream.seen[-1][2].items()}
    assert seen["x-item"] == "7/a b" and seen["x-query"] == "q=1 2" and seen["x-agent"] == "<me>"
    assert seen["x-from"] == "127.0.0.1 items {x}" and seen["x-id"] == reply.header("X-Request-Id")
    assert "x-gone" not in seen and "x-who" not in seen and "x-secret" not in seen
    assert reply.header("X-Item") == "7" and reply.header("X-Route") == "items"
    assert reply.headers.get_all("X-Upstream") == ["hidden"]


@pytest.mark.parametrize("path", ["/x/a%0d%0aInjected:%201", "/x/a%0a", "/x/a?q=%0d%0aInjected:%201", "/x/a?q=%00", "/x/a?p=a%0Db"])
def test_a_line_break_from_the_client_is_refused_before_upstream_is_asked(start, upstream, path):
    """Attack 30 at headers: what would break a header is 400, nothing of it is sent either way."""
    g = start({"a": up(upstream)}, [{
        "path": "/x/{name}", "upstream": "a", "request_headers": {"set": {"X-Name": "{path.name}", "X-Q": "{query.q}"}},
        "response_headers": {"set": {"X-Page": "{query.p}"}}}])
    answer = g.raw(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\nGET /x/ok HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 400 ") and b"bad-header-value" in answer
    assert b"\r\nInjected" not in answer and b"\r\ninjected" not in answer.lower()
    assert all(seen[1] == "/x/ok" for seen in upstream.seen)


@pytest.mark.parametrize("route,words", [
    ({"prefix": "/", "request_headers": {"set": {"X": "{nothing.x}"}}}, ["/routes/0/request_headers", "{nothing.x}"]),
    ({"prefix": "/", "request_headers": {"set": {"X": "{path.id}"}}}, ["/routes/0", "{path.id}"]),
    ({"path": "/a/{id}", "response_headers": {"set": {"X": "{path.other}"}}}, ["/routes/0", "{path.other}"]),
    ({"prefix": "/", "request_headers": {"set": {"X": "{query.x"}}}, ["brace"]),
    ({"prefix": "/", "request_headers": {"add": {"Content-Length": "{query.x}"}}}, ["Content-Length"]),
    ({"prefix": "/", "security_headers": {"X-Frame-Option": "DENY"}}, ["X-Frame-Options"]),
    ({"prefix": "/", "security_headers": 1}, ["/routes/0/security_headers"]),
])
def test_a_mistake_in_the_routes_file_is_found_when_it_is_loaded(start, route, words):
    refused(start, route, *words)


# --- security headers -------------------------------------------------------------------------------------------------


def test_security_headers_on_own_answers_and_where_a_route_says_so(start, upstream):
    g = start({"a": up(upstream)}, [
        {"prefix": "/plain", "upstream": "a"},
        {"prefix": "/teapot", "upstream": "a", "security_headers": True,
         "response_headers": {"set": {"Referrer-Policy": "origin"}}},
        {"prefix": "/own", "upstream": "a", "security_headers": {"X-Frame-Options": "DENY", "Content-Security-Policy": False}}])
    nowhere = g.call("GET", "/nowhere")
    assert nowhere.status == 404
    for name, value in {**HELMET, "X-Frame-Options": "DENY"}.items():  # the service's own is stricter here
        assert nowhere.headers.get_all(name) == [value], name
    plain = g.call("GET", "/plain")
    assert not [name for name in HELMET if plain.header(name)]
    shaped = g.call("GET", "/teapot")
    assert shaped.status == 418 and shaped.header("X-Kept") == "yes"
    for name, value in {**HELMET, "Referrer-Policy": "origin"}.items():
        assert shaped.headers.get_all(name) == [value], name
    own = g.call("GET", "/own")
    assert own.headers.get_all("X-Frame-Options") == ["DENY"] and not own.header("Content-Security-Policy")
    for reply in (nowhere, plain, shaped, own):
        assert not reply.header("Server")


def test_what_upstream_says_of_security_stays_and_its_product_name_goes(start):
    with Fixed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Powered-By: PHP/5\r\nServer: x\r\nx-frame-options: ALLOW\r\n\r\nok") as f:
        g = start({"a": {"targets": [f.url]}}, [{"prefix": "/", "upstream": "a", "security_headers": True}])
        reply = g.call("GET", "/")
        assert reply.headers.get_all("X-Frame-Options") == ["ALLOW"]
        assert not reply.header("X-Powered-By") and not reply.header("Server")
        assert reply.header("X-Content-Type-Options") == "nosniff"


class Fixed:
    """Answers every request with the same bytes, and closes; requests as they came are in `seen`."""

    def __init__(self, answer, close=True):
        self.answer, self.close, self.seen = answer, close, []

    def __enter__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.talk, args=(connection,), daemon=True).start()

    def talk(self, connection):
        data = b""
        with connection:
            while b"\r\n\r\n" not in data:
                piece = connection.recv(65536)
                if not piece:
                    return
                data += piece
            head, _, body = data.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            while length and len(body) < int(length[1]):
                body += connection.recv(65536)
            self.seen.append((head, body))
            connection.sendall(self.answer)

    def __exit__(self, *_):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


# --- problem documents ------------------------------------------------------------------------------------------------


def dead_port():
    return free_port()  # nobody listens there


@pytest.mark.parametrize("answer,status,error", [
    (b"", 502, "connection_terminated"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 502, "http_protocol_error"),
    (b"nonsense\r\n\r\n", 502, "http_protocol_error"),
])
def test_proxy_status_says_what_went_wrong_behind(start, answer, status, error):
    with Fixed(answer) as f:
        g = start({"a": {"targets": [f.url], "retries": 0}}, EVERYTHING)
        reply = g.call("GET", "/")
        assert reply.status == status and reply.header("Proxy-Status") == f"nexus; error={error}"
        document = reply.json
        assert document["status"] == status and document["code"] and document["title"] and document["type"]
        assert document["detail"] and document["instance"] == "urn:uuid:" + reply.header("X-Request-Id")


def test_proxy_status_of_connections_that_do_not_come_about(start, upstream):
    g = start({"a": {"targets": [f"http://127.0.0.1:{dead_port()}"]},
               "slow": up(upstream, timeouts_ms={"first_byte": 100})},
              [{"prefix": "/a", "upstream": "a"}, {"prefix": "/slow", "upstream": "slow"}])
    reply = g.call("GET", "/a")
    assert reply.status == 502 and reply.header("Proxy-Status") == "nexus; error=connection_refused"
    reply = g.call("GET", "/slow")
    assert reply.status == 504 and reply.header("Proxy-Status") == "nexus; error=http_response_timeout"
    reply = g.call("GET", "/nothing")
    assert reply.status == 404 and not reply.header("Proxy-Status")
    assert reply.header("Content-Type") == "application/problem+json" and reply.json["code"] == "no-route"


def test_a_browser_gets_a_page_and_upstreams_errors_stay_as_they_are(start, upstream):
    g = start({"a": up(upstream)}, [{"prefix": "/teapot", "upstream": "a"}, {"prefix": "/error", "upstream": "a"}])
    page = g.call("GET", "/%3Cb%3E", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert page.status == 404 and page.header("Content-Type") == "text/html; charset=utf-8"
    assert b"Not Found" in page.body and page.header("X-Request-Id").encode() in page.body and b"<b>" not in page.body
    assert page.header("Content-Security-Policy") == "default-src 'none'; frame-ancestors 'none'"
    assert g.call("GET", "/nowhere", headers={"Accept": "application/json, text/html"}).json["code"] == "no-route"
    for path, status, body in (("/teapot", 418, b"short and stout"), ("/error", 500, b"broken")):
        reply = g.call("GET", path, headers={"Accept": "text/html"})
        assert reply.status == status and reply.body == body and not reply.header("Proxy-Status")


# --- bodies of requests -----------------------------------------------------------------------------------------------

JSON = {"Content-Type": "application/json"}


def echoed(reply):
    """What the upstream got: its headers and its body as JSON."""
    assert reply.status == 200, reply
    return reply.json["headers"], json.loads(reply.json["body"])


OPERATIONS = [{"op": "set", "path": "/by", "text": "{path.who}"}, {"op": "remove", "path": "/secret"},
              {"op": "rename", "path": "/old", "to": "new"}, {"op": "pick", "path": "/user", "names": ["id"]},
              {"op": "map", "path": "/items", "ops": [{"op": "set", "path": "/seen", "value": True}]}]


def test_a_request_body_is_changed_and_framed_anew(start, upstream):
    g = start({"a": up(upstream)}, [{"path": "/x/{who}", "upstream": "a", "request_body": OPERATIONS}])
    body = {"secret": 1, "old": 2, "user": {"id": 3, "pw": 4}, "items": [{}, {"a": 1}], "kept": [1, {"x": None}]}
    wanted = {"new": 2, "user": {"id": 3}, "items": [{"seen": True}, {"a": 1, "seen": True}],
              "kept": [1, {"x": None}], "by": 'a"b'}
    reply = g.call("POST", "/x/a%22b", body, headers={"Content-Digest": "sha-256=:AAAA:", "Digest": "x"})
    headers, got = echoed(reply)
    assert got == wanted and int(headers["content-length"]) == len(reply.json["body"])
    assert "content-digest" not in headers and "digest" not in headers
    # chunked, and in pieces
    text = json.dumps(body).encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(text[i:i + 7]), text[i:i + 7]) for i in range(0, len(text), 7))
    answer = g.raw(b"POST /x/q HTTP/1.1\r\nHost: h\r\nContent-Type: application/json; charset=utf-8\r\n"
                   b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + chunks + b"0\r\n\r\n")
    seen = json.loads(json.loads(answer.partition(b"\r\n\r\n")[2])["body"])
    assert seen == {**wanted, "by": "q"}
    # other types pass as they are
    reply = g.call("POST", "/x/q", b'{"secret": 1}', headers={"Content-Type": "text/plain", "Content-Digest": "x"})
    headers, got = echoed(reply)
    assert got == {"secret": 1} and headers["content-digest"] == "x"


def test_a_body_that_comes_slowly_is_waited_for(start, upstream):
    g = start({"a": up(upstream)}, [{"prefix": "/", "upstream": "a", "request_body": [{"op": "set", "path": "/a", "value": 1}]}])
    with socket.create_connection(("127.0.0.1", g.port), 5) as s:
        s.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 8\r\n"
                  b"Expect: 100-continue\r\nConnection: close\r\n\r\n")
        assert s.recv(1000).startswith(b"HTTP/1.1 100 ")
        for c in b'{"b": 2}':
            s.sendall(bytes([c]))
        answer = b""
        while piece := s.recv(65536):
            answer += piece
    assert json.loads(json.loads(answer.partition(b"\r\n\r\n")[2])["body"]) == {"b": 2, "a": 1}
    # the client goes while its body is collected: nothing reaches the upstream, and the gateway lives on
    before = len(upstream.seen)
    with socket.create_connection(("127.0.0.1", g.port), 5) as s:
        s.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 80\r\n\r\n{")
    assert g.call("GET", "/after").status == 200 and len(upstream.seen) == before + 1


def bad(*values):
    return [pytest.param(v, id=name) for name, v in values]


@pytest.mark.parametrize("body", bad(
    ("depth 10,000", b"[" * 10000 + b"]" * 10000), ("duplicate", b'{"a":1,"a":2}'), ("1e999", b'{"a":1e999}'),
    ("-1E400", b"[-1E400]"), ("surrogate", b'{"a":"\\ud800"}'), ("BOM", b"\xef\xbb\xbf{}"), ("NUL", b'{"a":"\\u0000"}'),
    ("raw NUL", b'{"a":"\x00"}'), ("not UTF-8", b'{"a":"\xff"}'), ("cut off", b'{"a":'), ("two values", b"{} {}"),
    ("100,000 members", b"{" + b",".join(b'"%d":0' % i for i in range(100_000)) + b"}")))
@pytest.mark.parametrize("route", [{"validate": {"body": {"type": "object"}}},
                                   {"request_body": [{"op": "remove", "path": "/x"}]}], ids=["validate", "transform"])
def test_json_that_only_some_parsers_read_is_refused(start, upstream, route, body):
    """Attack 36: 400, the upstream is not reached, and a pipelined request behind it is answered on its own."""
    g = start({"a": up(upstream)}, [{"prefix": "/in", "upstream": "a", "body_max_bytes": 16 << 20, **route}])
    reply = g.call("POST", "/in", body, headers=JSON)
    assert reply.status == 400 and reply.json["code"] == "malformed-json", reply
    answer = g.raw(b"POST /in HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
                   + body + b"GET /admin HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ") and answer.count(b"HTTP/1.1 ") <= 2 and b"HTTP/1.1 200" not in answer
    assert not upstream.seen


def test_a_million_members_are_too_many(start, upstream):
    """Attack 36, the rest of it: over the route's limit it is 413 at once, within it 400."""
    body = b"{" + b",".join(b'"%d":0' % i for i in range(1_000_000)) + b"}"
    g = start({"a": up(upstream)}, [
        {"prefix": "/usual", "upstream": "a", "validate": {"body": {}}},
        {"prefix": "/large", "upstream": "a", "validate": {"body": {}}, "body_max_bytes": 64 << 20}])
    assert g.call("POST", "/large", body, headers=JSON).status == 400
    head = b"POST /usual HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert g.raw(head + body[:1000]).startswith(b"HTTP/1.1 413 ")
    assert not upstream.seen


def gzipped(data, level=9):
    return gzip.compress(data, level)


def test_a_compressed_body_is_opened_where_somebody_must_look_into_it(start, upstream):
    g = start({"a": up(upstream)}, [
        {"prefix": "/json", "upstream": "a", "validate": {"body": {"required": ["a"]}}, "request_body": OPERATIONS[1:2]},
        {"prefix": "/plain", "upstream": "a"}])
    for encoding, data in (("gzip", gzipped(b'{"a":1,"secret":2}')), ("deflate", zlib.compress(b'{"a":1,"secret":2}')),
                           ("identity", b'{"a":1,"secret":2}')):
        headers, got = echoed(g.call("POST", "/json", data, headers={**JSON, "Content-Encoding": encoding}))
        assert got == {"a": 1} and "content-encoding" not in headers or encoding == "identity"
    reply = g.call("POST", "/plain", gzipped(b"{}"), headers={**JSON, "Content-Encoding": "gzip"})
    assert reply.json["headers"]["content-encoding"] == "gzip"
    assert g.call("POST", "/json", gzipped(b'{"b":1}'), headers={**JSON, "Content-Encoding": "gzip"}).status == 422
    reply = g.call("POST", "/json", b"{}", headers={**JSON, "Content-Encoding": "gzip"})
    assert reply.status == 400 and reply.json["code"] == "bad-content-encoding"


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "compress"])
def test_an_unknown_encoding_is_refused(start, upstream, encoding):
    """Attack 37: 415."""
    g = start({"a": up(upstream)}, [{"prefix": "/", "upstream": "a", "validate": {"body": {}}}])
    reply = g.call("POST", "/", b"{}", headers={**JSON, "Content-Encoding": encoding})
    assert reply.status == 415 and reply.json["code"] == "unsupported-encoding" and not upstream.seen


@pytest.mark.parametrize("size", [1 << 17, 1 << 20, 100 << 20])
def test_a_compression_bomb_is_not_opened(start, upstream, size):
    """Attack 37: over a hundred times what came, or over the limit, is 413."""
    bomb = gzipped(b"[" + b" " * size + b"]")
    g = start({"a": up(upstream)}, [{"prefix": "/", "upstream": "a", "validate": {"body": {}}}])
    answer = g.raw(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n"
                   b"Content-Length: %d\r\n\r\n" % len(bomb) + bomb + b"GET /admin HTTP/1.1\r\nHost: h\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ") and b"body-too-big" in answer
    assert not [seen for seen in upstream.seen if seen[0] == "POST"]


def test_a_body_over_the_limit_is_refused(start, upstream):
    g = start({"a": up(upstream)}, [{"prefix": "/", "upstream": "a", "request_body": OPERATIONS[1:2]}])
    big = b'{"a":"' + b"x" * (1 << 20) + b'"}'
    assert g.raw(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(big)
                 + big[:1000]).startswith(b"HTTP/1.1 413 ")
    chunk = b"%x\r\n%s\r\n" % (65536, b"x" * 65536)
    assert g.raw(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
                 + chunk * 17).startswith(b"HTTP/1.1 413 ")
    assert not upstream.seen


# --- validation -------------------------------------------------------------------------------------------------------

SCHEMA = {"type": "object", "required": ["name"], "$defs": {"n": {"type": "integer", "minimum": 1}},
          "properties": {"name": {"type": "string", "maxLength": 5}, "count": {"$ref": "#/$defs/n"}}}


@pytest.mark.parametrize("fields", ["allow", "refuse"])
def test_a_body_keeps_to_its_schema(start, upstream, fields):
    g = start({"a": up(upstream)}, [{"prefix": "/", "upstream": "a", "validate": {"body": SCHEMA, "unknown_fields": fields}}])
    assert g.call("POST", "/", {"name": "a", "count": 2}).status == 200
    assert g.call("GET", "/").status == 200
    sent = len(upstream.seen)
    reply = g.call("POST", "/", {"name": "too long", "count": 0})
    assert reply.status == 422 and reply.json["code"] == "invalid-request"
    assert sorted(e["pointer"] for e in reply.json["errors"]) == ["/count", "/name"]
    assert all(e["detail"] for e in reply.json["errors"])
    reply = g.call("POST", "/", {"name": "a", "more": 1})
    assert reply.status == (422 if fields == "refuse" else 200)
    if fields == "refuse":
        assert [e["pointer"] for e in reply.json["errors"]] == ["/more"]
    assert g.call("POST", "/", b"{", headers=JSON).status == 400
    assert g.call("POST", "/", b"", headers=JSON).status == 400
    assert g.call("POST", "/", b"{}", headers={"Content-Type": "text/plain"}).status == 415
    assert len(upstream.seen) == sent + (fields == "allow")


def test_requests_keep_to_an_openapi_document(start, upstream, tmp_path):
    document = {"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "paths": {"/v1/items/{id}": {
        "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}],
        "get": {"parameters": [{"name": "limit", "in": "query", "schema": {"type": "integer", "maximum": 100}},
                               {"name": "X-Tenant", "in": "header", "required": True, "schema": {"minLength": 2}}]},
        "put": {"requestBody": {"required": True, "content": {"application/json": {
            "schema": {"$ref": "#/components/schemas/Item"}}}}}}},
        "components": {"schemas": {"Item": SCHEMA}}}
    (tmp_path / "api.json").write_text(json.dumps(document).replace("#/$defs/n", "#/components/schemas/Item/$defs/n"))
    g = start({"a": up(upstream)}, [{"prefix": "/api", "strip_prefix": "/api", "add_prefix": "/v1", "upstream": "a",
                                     "validate": {"openapi": "api.json", "unknown_fields": "refuse"}}])
    tenant = {"X-Tenant": "acme"}
    assert g.call("GET", "/api/items/7?limit=100", headers=tenant).status == 200
    assert g.call("GET", "/api/elsewhere").status == 200
    assert g.call("PUT", "/api/items/7", {"name": "a"}).status == 200
    sent = len(upstream.seen)
    for method, path, body, headers, status, pointers in [
        ("GET", "/api/items/x", None, tenant, 422, ["path/id"]),
        ("GET", "/api/items/7?limit=101", None, tenant, 422, ["query/limit"]),
        ("GET", "/api/items/7", None, {}, 422, ["header/X-Tenant"]),
        ("PUT", "/api/items/7", {"name": 1}, {}, 422, ["/name"]),
        ("PUT", "/api/items/7", {"name": "a", "more": 1}, {}, 422, ["/more"]),
        ("PUT", "/api/items/7", b"[", JSON, 400, None),
        ("PUT", "/api/items/7", b"", JSON, 400, None),
        ("PUT", "/api/items/7", b"{}", {"Content-Type": "text/html"}, 415, None),
    ]:
        reply = g.call(method, path, body, headers=headers)
        assert reply.status == status, (method, path, reply)
        if pointers:
            assert [e["pointer"] for e in reply.json["errors"]] == pointers
    assert len(upstream.seen) == sent


@pytest.mark.parametrize("validate,words", [
    ({}, ["needs either"]),
    ({"body": {"type": 7}}, ["/routes/0/validate"]),
    ({"openapi": "/nowhere/api.json"}, ["/nowhere/api.json"]),
    ({"body": {}, "unknown_fields": "drop"}, ["allow"]),
    ({"schema": {}}, ["nearest known"]),
])
def test_a_broken_schema_is_a_mistake_of_the_routes_file(start, validate, words):
    refused(start, {"prefix": "/", "validate": validate}, *words)


# --- bodies of answers ------------------------------------------------------------------------------------------------


def answer(body, *fields, status="200 OK", length=True):
    head = [f"HTTP/1.1 {status}", *fields] + ([f"Content-Length: {len(body)}"] if length else ["Connection: close"])
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


CHANGE = [{"op": "remove", "path": "/secret"}, {"op": "set", "path": "/route", "text": "{route.id}"}]


@pytest.mark.parametrize("shape", ["length", "close", "chunked", "gzip"])
def test_an_answer_is_changed_whatever_its_framing(start, shape):
    body = b'{"secret":1,"a":[1,2]}'
    fields = ["Content-Type: application/json", 'ETag: "x"', "Content-Digest: sha-256=:AA:", "Accept-Ranges: bytes"]
    if shape == "chunked":
        reply_bytes = answer(b"", *fields, "Transfer-Encoding: chunked", length=False) + b"".join(
            b"1\r\n%c\r\n" % c for c in body) + b"0\r\nX-Trailer: 1\r\n\r\n"
    elif shape == "gzip":
        reply_bytes = answer(gzipped(body), *fields, "Content-Encoding: gzip")
    else:
        reply_bytes = answer(body, *fields, length=shape == "length")
    with Fixed(reply_bytes) as f:
        g = start({"a": {"targets": [f.url]}}, [{"id": "r", "prefix": "/", "upstream": "a", "response_body": CHANGE}])
        reply = g.call("GET", "/", headers={"Range": "bytes=0-3", "Accept-Encoding": "br"})
        assert reply.status == 200 and reply.json == {"a": [1, 2], "route": "r"}
        assert int(reply.header("Content-Length")) == len(reply.body) and not reply.header("Transfer-Encoding")
        assert reply.header("ETag") == 'W/"x"' and not reply.header("Content-Digest")
        assert not reply.header("Content-Encoding") and not reply.header("Accept-Ranges")
        head = f.seen[0][0].lower()
        assert b"\r\nrange:" not in head and b"accept-encoding: identity" in head


@pytest.mark.parametrize("reply_bytes,status,code", [
    (answer(b"{", "Content-Type: application/json"), 502, "response-transform"),
    (answer(b'{"a":1,"a":2}', "Content-Type: application/json"), 502, "response-transform"),
    (answer(b"x" * 10, "Content-Type: application/json", "Content-Encoding: br"), 502, "upstream-encoding"),
    (answer(b'"' + b"x" * (1 << 20) + b'"', "Content-Type: application/json"), 502, "upstream-body-too-big"),
    (answer(b'"' + b"x" * (1 << 20) + b'"', "Content-Type: application/json", length=False), 502, "upstream-body-too-big"),
    (answer(b'{"a":1}', "Content-Type: application/json", "Content-Range: bytes 0-6/90", status="206 P"), 502, "upstream-partial"),
    (answer(b'{"a":1}', "Content-Type: application/json")[:-2], 502, "upstream-incomplete"),
], ids=["cut", "duplicate", "br", "long", "long until close", "partial", "incomplete"])
def test_an_answer_that_cannot_be_changed_is_not_passed(start, reply_bytes, status, code):
    with Fixed(reply_bytes) as f:
        g = start({"a": {"targets": [f.url], "retries": 0}}, [{"prefix": "/", "upstream": "a", "response_body": CHANGE}])
        reply = g.call("GET", "/")
        assert reply.status == status and reply.json["code"] == code and reply.header("Proxy-Status")


@pytest.mark.parametrize("reply_bytes", [
    answer(b'{"secret":1}', "Content-Type: text/plain"),
    answer(b'{"secret":1}', "Content-Type: application/problem+json", status="404 Not Found"),
    answer(b'{"secret":1}', "Content-Type: application/json", status="500 Oh"),
    answer(b'{"secret":1}'),
])
def test_other_answers_pass_as_they_are(start, reply_bytes):
    with Fixed(reply_bytes) as f:
        g = start({"a": {"targets": [f.url]}}, [{"prefix": "/", "upstream": "a", "response_body": CHANGE}])
        assert g.call("GET", "/").body == b'{"secret":1}'


def test_what_is_connected_is_used_again_after_a_change(start, upstream):
    g = start({"a": up(upstream)}, [{"prefix": "/", "upstream": "a", "response_body": [{"op": "pick", "names": ["path"]}]}])
    connection = http.client.HTTPConnection("127.0.0.1", g.port, timeout=10 * SLOW)  # one, so that one loop serves it
    for i in range(5):
        connection.request("GET", f"/{i}")
        assert json.loads(connection.getresponse().read()) == {"path": f"/{i}"}
    connection.close()
    assert upstream.connections == 1
    head = g.call("HEAD", "/")
    assert head.status == 200 and not head.header("Content-Length")


# --- gzip -------------------------------------------------------------------------------------------------------------

TEXT = b"all work and no play " * 100


def compressed(start, reply_bytes, accept="gzip", conf=True, method="GET"):
    with Fixed(reply_bytes) as f:
        g = start({"a": {"targets": [f.url]}}, [{"prefix": "/", "upstream": "a", "compress": conf}])
        return g.call(method, "/", headers={"Accept-Encoding": accept} if accept else {})


@pytest.mark.parametrize("length", [True, False])
def test_an_answer_is_compressed_for_who_asks(start, length):
    reply = compressed(start, answer(TEXT, "Content-Type: text/plain", 'ETag: "x"', "Digest: y", length=length))
    assert reply.header("Content-Encoding") == "gzip" and reply.header("Vary") == "Accept-Encoding"
    assert reply.header("ETag") == 'W/"x"' and not reply.header("Digest")
    assert gzip.decompress(reply.body) == TEXT and len(reply.body) < len(TEXT) / 5


@pytest.mark.parametrize("accept", ["", "br", "gzip;q=0", "identity, gzip;q=0.3"])
def test_others_get_it_plain(start, accept):
    reply = compressed(start, answer(TEXT, "Content-Type: text/plain", 'ETag: "x"', "Vary: Origin"), accept)
    assert reply.body == TEXT and not reply.header("Content-Encoding") and reply.header("ETag") == '"x"'
    assert reply.headers.get_all("Vary") == ["Origin", "Accept-Encoding"]


@pytest.mark.parametrize("name,reply_bytes", [
    ("small", answer(b"x" * 1023, "Content-Type: text/plain")),
    ("small until close", answer(b"x" * 1023, "Content-Type: image/png", length=False)),
    ("cookie", answer(TEXT, "Content-Type: text/plain", "Set-Cookie: session=1")),
    ("encoded", answer(TEXT, "Content-Type: text/plain", "Content-Encoding: br")),
    ("no-transform", answer(TEXT, "Content-Type: text/plain", "Cache-Control: public, no-transform")),
    ("events", answer(TEXT, "Content-Type: text/event-stream")),
    ("picture", answer(TEXT, "Content-Type: image/png")),
    ("partial", answer(TEXT, "Content-Type: text/plain", "Content-Range: bytes 0-2099/9000", status="206 Partial")),
    ("no type", answer(TEXT)),
])
def test_what_is_not_worth_it_or_not_safe_stays_plain(start, name, reply_bytes):
    reply = compressed(start, reply_bytes)
    assert reply.header("Content-Encoding") in (None, "br")
    assert reply.body == reply_bytes.partition(b"\r\n\r\n")[2]


def test_an_answer_that_never_has_a_body_has_none(start):
    reply = compressed(start, b"HTTP/1.1 204 No Content\r\nContent-Type: text/plain\r\n\r\n")
    assert reply.status == 204 and not reply.header("Content-Encoding")


def test_an_answer_to_head_promises_no_other_body(start):
    reply = compressed(start, answer(TEXT, "Content-Type: text/plain")[:-len(TEXT)], method="HEAD")
    assert reply.status == 200 and not reply.header("Content-Encoding") and not reply.header("Content-Length")
    assert reply.header("Vary") == "Accept-Encoding"


def test_a_stream_is_compressed_piece_by_piece(start):
    """What upstream has sent can be read before it sends more."""
    more = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        connection, _ = listener.accept()
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n")
        for i in range(3):
            connection.sendall(b"5\r\n[%d]\r\n\r\n" % i)
            more.wait(10)
            more.clear()
        connection.sendall(b"0\r\n\r\n")

    threading.Thread(target=serve, daemon=True).start()
    g = start({"a": {"targets": [f"http://127.0.0.1:{listener.getsockname()[1]}"]}}, [{"prefix": "/", "upstream": "a", "compress": True}])
    connection = http.client.HTTPConnection("127.0.0.1", g.port, timeout=10 * SLOW)
    connection.request("GET", "/", headers={"Accept-Encoding": "gzip"})
    reply = connection.getresponse()
    opened, text = zlib.decompressobj(31), b""
    for i in range(3):
        while text.count(b"\n") <= i:
            text += opened.decompress(reply.read1())
        more.set()
    assert text == b"[0]\r\n[1]\r\n[2]\r\n"
    assert reply.read() is not None
    connection.close()
    listener.close()


def test_large_answers_and_both_stages_together(start, upstream):
    g = start({"a": up(upstream)}, [
        {"prefix": "/big", "upstream": "a", "compress": {"types": ["application/octet-stream", "text/"], "level": 1, "min_bytes": 1},
         "response_headers": {}},
        {"prefix": "/", "upstream": "a", "compress": {"min_bytes": 10}, "response_body": [{"op": "pick", "names": ["path"]}]}])
    reply = g.call("GET", "/x", headers={"Accept-Encoding": "gzip"})
    assert reply.header("Content-Encoding") == "gzip" and json.loads(gzip.decompress(reply.body)) == {"path": "/x"}
    assert int(reply.header("Content-Length")) == len(reply.body)
    assert g.call("GET", "/big").body == b"0123456789abcdef" * (8 << 16)


def test_a_large_answer_streams_through_gzip(start):
    import random
    data = bytes(random.Random(7).choices(b"abcdefgh \n", k=3_000_000))
    reply = compressed(start, answer(data, "Content-Type: text/plain"))
    assert gzip.decompress(reply.body) == data


# --- one description of everything ------------------------------------------------------------------------------------


class Described(Upstream):
    """An upstream with a description of its own."""

    def __init__(self, document, port=0):
        super().__init__(port=port)
        body = json.dumps(document).encode()
        handler = self.server.RequestHandlerClass
        plain = handler.do_GET

        def answer(self):
            if self.path == "/docs.json":
                return self.reply(body, Content_Type="application/json")
            return plain(self)

        handler.do_GET = answer


def description(name, *paths):
    return {"openapi": "3.1.0", "info": {"title": name, "version": "1"}, "paths": {
        p: {"get": {"operationId": "list", "tags": ["things"],
                    "responses": {"200": {"description": "ok", "content": {"application/json": {
                        "schema": {"$ref": "#/components/schemas/Thing"}}}}}}} for p in paths},
        "components": {"schemas": {"Thing": {"type": "string", "title": name}}}}


def services_of(document):
    return {s["name"]: s["state"] for s in document["x-nexus-services"]}


def test_descriptions_of_the_services_behind_become_one(start):
    a, b = Described(description("a", "/v1/items/{id}", "/internal")), Described(description("b", "/b/x", "/b/x/{y}"))
    g = start({"a": up(a, openapi="/docs.json"), "b": up(b, openapi="/docs.json")},
              [{"prefix": "/shop", "strip_prefix": "/shop", "add_prefix": "/v1", "upstream": "a"},
               {"prefix": "/b", "upstream": "b", "methods": ["GET"]}], {"NEXUS_GATEWAY_DOCS_MS": "500"})

    def document():
        return g.call("GET", "/api/openapi.json").json

    def states(**wanted):
        return lambda: {**services_of(d := document()), "gateway": ""} == {"gateway": "", **wanted} and d

    d = wait_for(lambda: "x-nexus-services" in document() and states(a="current", b="current")(), 15, "both descriptions")
    assert "/shop/items/{id}" in d["paths"] and "/b/x" in d["paths"] and "/b/x/{y}" in d["paths"]
    assert not [p for p in d["paths"] if "internal" in p or p.startswith("/v1")]
    assert "/health" in d["paths"]  # the gateway's own
    first, second = d["paths"]["/shop/items/{id}"]["get"], d["paths"]["/b/x"]["get"]
    assert (first["operationId"], second["operationId"]) == ("list", "b_list")
    assert (first["tags"], second["tags"]) == (["things"], ["b_things"])
    for operation, name in ((first, "Thing"), (second, "b_Thing")):
        assert operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"] == f"#/components/schemas/{name}"
        assert d["components"]["schemas"][name]["type"] == "string"
    # one goes: its part stays, marked; it comes back
    b.close()
    d = wait_for(states(a="current", b="stale"), 15, "the mark")
    assert d["paths"]["/b/x"]["get"]["x-nexus-stale"] is True and "b is not reachable" in d["info"]["description"]
    assert "x-nexus-stale" not in d["paths"]["/shop/items/{id}"]["get"]
    again = Described(description("b", "/b/new"), b.port)
    d = wait_for(states(a="current", b="current"), 15, "its return")
    assert "/b/new" in d["paths"] and "/b/x" not in d["paths"]
    # the routes change, and with them what is shown
    g.write({"upstreams": {"a": up(a, openapi="/docs.json")}, "routes": [{"prefix": "/internal", "upstream": "a"}]})
    d = wait_for(states(a="current"), 15, "the new routes")
    assert "/internal" in d["paths"] and "/b/new" not in d["paths"]
    for u in (a, again):
        u.close()


def test_the_whole_topology_is_described_at_the_gateway(tmp_path):
    with Topology(tmp_path, ["backend", "notification", "gateway"]) as t:
        d = wait_for(lambda: (d := t.call("GET", "/api/openapi.json").json).get("x-nexus-services")
                     and services_of(d).get("backend") == services_of(d).get("notification") == "current" and d, 20)
        assert services_of(d)["analytics"] == "unknown" and "analytics is not reachable" in d["info"]["description"]
        assert "post" in d["paths"]["/api/v1/orders"] and "post" in d["paths"]["/api/v1/notifications"]
        ids = [o["operationId"] for p in d["paths"].values() for o in p.values() if "operationId" in o]
        assert len(ids) == len(set(ids)) > 20
        assert list(d["components"]["schemas"]) and not [p for p in d["paths"] if p.startswith("/admin/")
                                                          and d["paths"][p].get("x-nexus-service") == "backend"]
        refs = set(re.findall(r'"\$ref": ?"#/components/(\w+)/([^"]+)"', json.dumps(d)))
        assert refs and all(name in d["components"][kind] for kind, name in refs)
        page = t.call("GET", "/api/docs")
        assert page.status == 200 and "script-src 'self'" in page.header("Content-Security-Policy")
        catalog = t.call("GET", "/.well-known/api-catalog")
        assert catalog.status == 200 and catalog.header("Content-Type").startswith("application/linkset+json")
        assert 'rel="api-catalog"' in catalog.header("Link")
        link = catalog.json["linkset"][0]
        assert link["service-desc"][0]["href"].endswith("/api/openapi.json") and link["service-doc"][0]["href"].endswith("/api/docs")
        assert t.call("GET", "/.well-known/jwks.json").json["keys"]
