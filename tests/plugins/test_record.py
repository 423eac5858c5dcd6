"""The log record: names, units and absences that Kong's users rely on."""

from collections.abc import Callable
from typing import Any

import pytest

from kong_gevent.pdk.record import put
from kong_gevent.pdk.testing import InMemoryGateway, respond

Make = Callable[..., InMemoryGateway]


def test_a_proxied_request(plugin: Make) -> None:
    made = plugin()
    made.update("services", made.service["id"], path="/base")
    made.upstream.respond = respond(201, b"made", {"X-Up": "1"})
    run = made.post("/a?x=1&x=2&y", b"body", headers={"Authorization": "Basic eA==", "X-A": "1"})
    record = run.log
    request = record["request"]
    assert request["uri"] == "/a?x=1&x=2&y"
    assert request["url"] == "http://gateway.test:8000/a?x=1&x=2&y"
    assert request["querystring"] == {"x": ["1", "2"], "y": True}
    assert request["method"] == "POST"
    assert request["headers"]["authorization"] == "REDACTED"
    assert request["headers"]["x-a"] == "1"
    assert request["id"] == run.response.headers["X-Kong-Request-Id"]
    fields = "Host: gateway.test\r\nAuthorization: Basic eA==\r\nX-A: 1\r\nContent-Length: 4\r\n"
    assert request["size"] == len(f"POST /a?x=1&x=2&y HTTP/1.1\r\n{fields}\r\n") + 4
    assert record["upstream_uri"] == "/base/a?x=1&x=2&y"
    assert record["upstream_status"] == "201"
    assert record["response"]["status"] == 201
    assert record["response"]["headers"]["x-up"] == "1"
    assert record["response"]["headers"]["x-kong-request-id"] == request["id"]
    assert record["response"]["headers"]["via"] == "1.1 kong/3.9.1"
    assert record["client_ip"] == "127.0.0.1"
    assert record["source"] == "upstream"
    assert record["workspace_name"] == "default"
    assert record["service"]["id"] == made.service["id"]
    assert record["route"]["id"] == made.route["id"]
    assert [(attempt["ip"], attempt["port"]) for attempt in record["tries"]] == [("127.0.0.1", 80)]
    assert "state" not in record["tries"][0]
    assert set(record["latencies"]) == {"kong", "proxy", "request", "receive"}
    assert record["latencies"]["proxy"] >= 0
    assert {"consumer", "authenticated_entity"}.isdisjoint(record)


def test_an_authenticated_request(plugin: Make) -> None:
    made = plugin("key-auth")
    ada = made.consumer("ada", "k1")
    record = made.get("/", headers={"apikey": "k1"}).log
    credential = made.store.dao("keyauth_credentials").select_by("key", "k1")
    assert record["consumer"]["username"] == "ada"
    assert record["authenticated_entity"] == {"id": credential["id"], "consumer_id": ada["id"]}  # type: ignore[index]


def test_an_anonymous_request_has_no_authenticated_entity(plugin: Make) -> None:
    made = plugin("key-auth", anonymous="guest")
    made.consumer("guest")
    record = made.get().log
    assert record["consumer"]["username"] == "guest"
    assert "authenticated_entity" not in record


@pytest.mark.parametrize(("path", "status"), [("/ended", 503), ("/nowhere", 404)])
def test_an_answer_made_here(plugin: Make, path: str, status: int) -> None:
    made = plugin("request-termination", on="route")
    made.update("routes", made.route["id"], paths=["/ended"])
    record = made.get(path).log
    assert record["response"]["status"] == status
    assert record["source"] == "kong"
    assert (record["upstream_status"], record["upstream_uri"], record["tries"]) == ("", "", [])
    assert (record["latencies"]["proxy"], record["latencies"]["receive"]) == (-1, 0)
    assert ("route" in record) == ("service" in record) == (path == "/ended")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("a", 1, {"a": 1, "o": {"x": 1}}),
        ("o.y", 2, {"o": {"x": 1, "y": 2}}),
        ("o", None, {}),
        ("o.x", None, {"o": {}}),
        ("n.m", 3, {"o": {"x": 1}, "n": {"m": 3}}),
        ("n.m", None, {"o": {"x": 1}}),
        ("o.x", False, {"o": {"x": False}}),
    ],
)
def test_fields_are_set_and_removed(name: str, value: Any, expected: dict[str, Any]) -> None:
    shared = {"x": 1}
    record: dict[str, Any] = {"o": shared}
    put(record, name, value)
    assert record == expected
    assert shared == {"x": 1}


def test_a_name_cannot_lead_through_what_is_no_object() -> None:
    with pytest.raises(ValueError, match="leads through a"):
        put({"a": 1}, "a.b", 2)
