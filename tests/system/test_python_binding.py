"""The Python binding, which is written from the public headers alone: proof that the ABI fits an FFI."""
import os
import sys

import pytest
from harness import BUILD, ROOT

if "asan" in BUILD.name:
    pytest.skip("a sanitized library needs a sanitized interpreter", allow_module_level=True)
os.environ["NEXUS_LIBRARY"] = str(BUILD / "lib/libnexus.so")
sys.path.insert(0, str(ROOT / "bindings/python"))
nexus = pytest.importorskip("nexus")

CLAIMS = {"iss": "https://id", "aud": "shop", "sub": "ada", "iat": 1000, "exp": 1600}


def test_version_is_the_headers():
    header = (ROOT / "include/nexus/version.h").read_text()
    assert f'NEXUS_VERSION "{nexus.__version__}"' in header


@pytest.mark.parametrize("alg", ["ES256", "EdDSA", "RS256"])
def test_token_round_trip(alg):
    key = nexus.Key.generate(alg)
    jwks = nexus.KeySet({"keys": [key.jwk()]})
    token = key.sign(CLAIMS)
    assert jwks.verify(token, "https://id", "shop", now=1200)["sub"] == "ada"
    head, body, signature = token.split(".")
    other = "B" if signature[0] == "A" else "A"  # always another byte: an EdDSA signature may end in "AA" by itself
    for spoilt in (f"{head}.{body}.", f"{head}.{body}.{other}{signature[1:]}", token + "."):
        with pytest.raises(nexus.NexusError) as failure:
            jwks.verify(spoilt, "https://id", "shop", now=1200)
        assert failure.value.name in ("NEXUS_EAUTH", "NEXUS_EINVAL")
    with pytest.raises(nexus.NexusError):
        jwks.verify(token, "https://id", "shop", now=5000)
    with pytest.raises(nexus.NexusError):
        jwks.verify(token, "https://id/", "shop", now=1200)


def test_schema_names_what_is_wrong():
    schema = nexus.Schema({"type": "object", "required": ["sku"], "properties": {"quantity": {"type": "integer", "minimum": 1}}})
    assert schema.errors({"sku": "a", "quantity": 2}) == []
    found = schema.errors({"quantity": 0})
    assert {e["keyword"] for e in found} == {"required", "minimum"}
    assert any(e["pointer"] == "/quantity" for e in found) and all(e["detail"] for e in found)
    assert schema.errors(b"{broken")[0]["keyword"] == "json"
    with pytest.raises(nexus.NexusError):
        nexus.Schema({"type": "nonsense"})


@pytest.mark.parametrize("url", ["memory:", "file:{}/bus"])
def test_publish_fetch_ack(tmp_path, url):
    url = url.format(tmp_path)
    with nexus.Bus(url) as bus, bus.group("billing", types="order.*") as group:
        event = {"id": "e1", "source": "/shop", "type": "order.created", "subject": "order-42", "data": {"total": 1250}}
        assert bus.publish(event) == (1, 1, False)
        assert bus.publish(event) == (1, 1, True), "the same id is stored once"
        bus.publish({"type": "payment.processed", "data": {}})
        (delivery,) = group.fetch(10)
        assert delivery.attempt == 1 and delivery.event["data"] == {"total": 1250}
        delivery.nak(0, "try again")
        delivery.close()
        (again,) = group.fetch(10)
        assert again.attempt == 2
        again.ack()
        again.close()
        assert group.fetch(10, wait_ms=0) == []
        with pytest.raises(nexus.NexusError) as failure:
            bus.publish({"data": {}})
        assert "type" in str(failure.value)


ROUTES = {"version": 1, "upstreams": {"shop": {"targets": ["http://127.0.0.1:9"]}},
          "routes": [{"id": "orders", "path": "/orders/{id}", "upstream": "shop"}]}


@pytest.mark.parametrize("url", ["memory:", "file:{}/bus"])
def test_read_a_stream_and_replay(tmp_path, url):
    with nexus.Bus(url.format(tmp_path)) as bus:
        bus.publish(*({"type": "order.paid" if i % 2 else "order.created", "subject": f"order-{i % 3}", "data": {"n": i}} for i in range(9)))
        with bus.read(stream="order-1") as reader:
            assert [e["data"]["n"] for e in reader] == [1, 4, 7]
            assert reader.next() is None
            bus.publish({"type": "order.paid", "subject": "order-1", "data": {"n": 10}})
            assert reader.next(wait_ms=5000)["data"] == {"n": 10}
        with bus.replay(types="order.paid", start_pos=3, to_pos=8, max_events_s=1e6) as replay:
            events = iter(replay)
            assert next(events)["pos"] == "4"
            replay.rate(factor=1000)
            assert [e["pos"] for e in events] == ["6", "8"]
            assert replay.progress["events"] == 3 and replay.progress["done"] == 1
        with pytest.raises(nexus.NexusError) as failure:
            bus.read(types="order..paid")
        assert failure.value.name == "NEXUS_EINVAL"


def test_gateway_explains_a_request():
    nexus.validate(ROUTES)
    with nexus.Gateway(ROUTES) as gateway:
        answer = gateway.explain("GET", "/orders/./42?x=1", {"Accept": "*/*"})
        assert answer["route"] == "orders" or answer["route"]["id"] == "orders", answer
        assert "/orders/42" in str(answer)


def test_gateway_names_what_is_wrong_with_its_routes():
    with pytest.raises(nexus.NexusError) as failure:
        nexus.validate('{"version":1,\n "routs":[]}', "mine.json")
    assert "mine.json:2:" in str(failure.value) and "routes" in str(failure.value)
