"""What the gateway changes of requests and answers, and what it says itself, against the running gateway."""
import json
import re
import socket
import threading

import pytest

from harness import SLOW, free_port, problem, wait_for
from gateway_harness import EVERYTHING, PROXY, Gateway, start, up, upstream  # noqa: F401 (fixtures)

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
