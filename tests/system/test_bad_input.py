"""Bad input on every documented operation of every service gets a 4xx problem+json that names field and remedy; none
is answered 5xx, and the service answers normally right after. The operations are read from each service's own
/api/openapi.json, so that a new one is covered on the day it is documented."""
import http.client
import json
import re
import socket

import pytest
from harness import OFFSETS, Reply, Topology, problem

SERVICES = ["gateway", "backend", "analytics", "notification", "copilot"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with Topology(tmp_path_factory.mktemp("bad-input")) as topology:
        topology.admin = topology.bootstrap_admin()
        yield topology


def operations(world, service):
    document = world.call("GET", "/api/openapi.json", service=service)
    assert document.status == 200 and document.json["openapi"].startswith("3.1"), document
    for path, methods in document.json["paths"].items():
        for method, operation in methods.items():
            if method in ("get", "post", "put", "patch", "delete"):
                yield method.upper(), path, operation


def concrete(path, value="00000000-0000-7000-8000-000000000000"):
    return re.sub(r"\{[^}]*\}", value, path)


def body_schema(operation):
    return operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")


def example(schema):
    """Some value that has the schema's shape; good enough to be spoilt in one place."""
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) else kind
    if "enum" in schema:
        return schema["enum"][0]
    if kind == "object" or "properties" in schema:
        return {name: example(sub) for name, sub in schema.get("properties", {}).items()}
    if kind == "array":
        return [example(schema.get("items", {}))]
    return {"integer": schema.get("minimum", 1), "number": 1, "boolean": True, "string": "x" * max(1, schema.get("minLength", 1))}.get(kind, "x")


def refused(reply, what):
    assert 400 <= reply.status < 500, f"{what}: {reply}"
    body = problem(reply, reply.status)
    assert body.get("detail"), f"{what}: no remedy in {body}"
    return body


def healthy(world, service):
    assert world.call("GET", "/health", service=service).status == 200, service


def test_there_are_at_least_twenty_documented_operations(world):
    ids = {op.get("operationId") for s in SERVICES for _, _, op in operations(world, s)}
    assert len(ids) >= 20, ids


@pytest.mark.parametrize("service", SERVICES)
def test_no_or_wrong_token(world, service):
    for method, path, operation in operations(world, service):
        if operation.get("security") in ([], None) or "/admin/" in path:
            continue
        for token in (None, "x.y.z", "A" * 9000):
            reply = world.call(method, concrete(path), {} if method != "GET" else None, service=service, token=token)
            body = refused(reply, f"{method} {path} token {str(token)[:5]}")
            assert reply.status in (400, 401, 431), f"{method} {path}: {body}"
    healthy(world, service)


@pytest.mark.parametrize("service", SERVICES)
def test_wrong_method_and_unknown_path(world, service):
    for method, path, _ in operations(world, service):
        reply = world.call("BREW", concrete(path), service=service, token=world.admin)
        refused(reply, f"BREW {path}")
    if service != "gateway":  # the gateway hands what it does not know to the console
        assert refused(world.call("GET", "/no/such/path", service=service, token=world.admin), "unknown path")["status"] == 404
    refused(world.call("GET", "/api/v1/../../etc/%2fpasswd", service=service), "ambiguous path")
    healthy(world, service)


@pytest.mark.parametrize("service", SERVICES)
def test_broken_json_and_wrong_content_type(world, service):
    seen = 0
    for method, path, operation in operations(world, service):
        if not body_schema(operation):
            continue
        seen += 1
        for broken in (b"", b"{", b'{"a":1,"a":2}', b"[1,2", b'{"a":"\xff"}', b'{"a":\x00}', b"[" * 5000, b'{"a":1e999}', b"\xef\xbb\xbf{}"):
            reply = world.call(method, concrete(path), broken, service=service, token=world.admin,
                               headers={"Content-Type": "application/json"})
            refused(reply, f"{method} {path} body {broken[:12]!r}")
        reply = world.call(method, concrete(path), b"<a/>", service=service, token=world.admin,
                           headers={"Content-Type": "application/xml"})
        assert refused(reply, f"{method} {path} as XML")["status"] in (404, 415), reply
    assert seen or service == "gateway"
    healthy(world, service)


@pytest.mark.parametrize("service", SERVICES)
def test_wrong_type_and_missing_field_are_named(world, service):
    for method, path, operation in operations(world, service):
        schema = body_schema(operation)
        if not schema or schema.get("type") != "object":
            continue
        for name in schema.get("required", []):
            body = {k: v for k, v in example(schema).items() if k != name}
            reply = world.call(method, concrete(path), body, service=service, token=world.admin)
            answer = refused(reply, f"{method} {path} without {name}")
            if reply.status == 422:
                assert name in json.dumps(answer), f"{method} {path}: {name} is not named in {answer}"
        for name, sub in schema.get("properties", {}).items():
            if sub.get("type") in ("string", "integer", "object", "array", "boolean", "number"):
                wrong = {"unexpected": "object"} if sub["type"] != "object" else "text"
                reply = world.call(method, concrete(path), {**example(schema), name: wrong}, service=service, token=world.admin)
                answer = refused(reply, f"{method} {path} with {name}={wrong}")
                if reply.status == 422:
                    assert name in json.dumps(answer), f"{method} {path}: {name} is not named in {answer}"
    healthy(world, service)


def announced(world, service, method, path, length):
    """Announces a body without sending it, as curl does with a large one, and reads the answer."""
    with socket.create_connection(("127.0.0.1", world.base + OFFSETS[service]), 15) as s:
        s.sendall((f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {world.admin}\r\n"
                   f"Content-Type: application/json\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n").encode())
        answer = http.client.HTTPResponse(s, method=method)
        answer.begin()
        return Reply(answer.status, answer.headers, answer.read())


@pytest.mark.parametrize("service", SERVICES)
def test_body_over_the_limit(world, service):
    seen = 0
    for method, path, operation in operations(world, service):
        if method not in ("POST", "PUT", "PATCH") or "/admin/" in path:
            continue
        seen += 1
        reply = announced(world, service, method, concrete(path), 100 << 20)
        assert refused(reply, f"{method} {path} 100 MiB")["status"] in (404, 413), reply
    assert seen or service == "gateway"
    if service != "gateway":  # sent without asking: cut off, and the service goes on
        with pytest.raises(OSError):
            with socket.create_connection(("127.0.0.1", world.base + OFFSETS[service]), 15) as s:
                s.sendall(b"POST /admin/v1/loglevel HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999\r\n\r\n")
                for _ in range(400):
                    s.sendall(b"x" * 65536)
    healthy(world, service)


INJECTIONS = ["'; DROP TABLE users; --", "%27", "a' OR '1'='1", "_%", "\r\n{\"level\":\"fatal\"}", "\x1b[31mred", "{{7*7}}", "<script>"]


@pytest.mark.parametrize("service", SERVICES)
def test_injections_are_only_text(world, service):
    for method, path, operation in operations(world, service):
        schema = body_schema(operation)
        for text in INJECTIONS:
            if schema and schema.get("type") == "object":
                body = {k: (text if s.get("type") == "string" else example(s)) for k, s in schema.get("properties", {}).items()}
                reply = world.call(method, concrete(path), body, service=service, token=world.admin)
                assert reply.status < 500, f"{method} {path} {text!r}: {reply}"
    healthy(world, service)
    log = world.servers[service].log.read_text(errors="replace")
    assert "\x1b[31m" not in log and '\n{"level":"fatal"}' not in log
