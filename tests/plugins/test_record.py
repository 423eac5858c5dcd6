"""The log record: names, units and absences that Kong's users rely on."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from kong_gevent.pdk import Conf, Config, Context, Kit, Plugin
from kong_gevent.pdk.outcomes import ADMITTED
from kong_gevent.pdk.record import put
from kong_gevent.pdk.testing import InMemoryGateway, respond

Make = Callable[..., InMemoryGateway]


@pytest.mark.parametrize("line", ["TRACE / HTTP/1.1", "GET /%zz HTTP/1.1", "GET / HTTP/9.9"])
def test_a_request_that_is_refused(plugin: Make, line: str) -> None:
    run = plugin().send(f"{line}\r\nHost: gateway.test\r\n\r\n".encode())
    assert run.log["response"]["status"] == run.status >= 400
    assert run.log["source"] == "kong"


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


class Note(Plugin):
    """Adds fields to the record, changes the answer's fields, and keeps the record in both its forms."""

    name = "note"
    config = Config

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self.notes: dict[str, Any] = {}
        self.headers: dict[str, str] = {}
        self.status: int | None = None
        self.kept: list[tuple[dict[str, Any], dict[str, Any]]] = []

    def header_filter(self, ctx: Context, conf: Conf) -> None:
        """Change the answer."""
        for name, value in self.headers.items():
            ctx.response.add_header(name, value)
        if self.status is not None:
            ctx.response.status = self.status

    def log(self, ctx: Context, conf: Conf) -> None:
        """Keep the record."""
        ctx.log.update(self.notes)
        self.kept.append((ctx.record(), orjson.loads(ctx.record_json())))


def note(made: InMemoryGateway) -> Note:
    found = made.plugins["note"]
    assert isinstance(found, Note)
    return found


def noted(made: InMemoryGateway) -> dict[str, Any]:
    """The last record, which is the same in both forms but for the time that has passed between them."""
    record, read = note(made).kept[-1]
    for one in (record, read):
        del one["started_at"], one["tries"], one["latencies"]
    assert record == read
    return read


@pytest.mark.parametrize(
    ("notes", "expected"),
    [
        ({"a": {"b": [1]}, "c": '\u00e9"'}, {"a": {"b": [1]}, "c": '\u00e9"'}),
        ({"source": "me"}, {"source": "me"}),
        ({"a.b": 1, "a.c": 2}, {"a": {"b": 1, "c": 2}}),
    ],
)
def test_the_json_has_the_fields_that_plugins_add(
    plugin: Make, notes: dict[str, Any], expected: dict[str, Any]
) -> None:
    made = plugin(Note)
    note(made).notes = notes
    made.get()
    record = noted(made)
    assert {name: record[name] for name in expected} == expected
    assert record["request"]["method"] == "GET"


def test_the_json_lacks_the_fields_that_plugins_remove(plugin: Make) -> None:
    made = plugin(Note)
    note(made).notes = {"request.headers": None, "service": None}
    made.get(headers={"X-A": "1"})
    record = noted(made)
    assert "service" not in record
    assert "headers" not in record["request"]


def test_the_json_tells_the_fields_of_the_answer_as_they_went_out(plugin: Make) -> None:
    made = plugin(Note)
    note(made).headers = {"X-Up": "2", "X-New": "3"}
    made.upstream.respond = respond(200, b"", {"X-Up": "1", "Date": "Fri, 27 Nov 2026 05:00:00 GMT", "Via": "1.1 up"})
    made.get()
    headers = noted(made)["response"]["headers"]
    assert headers["x-up"] == ["1", "2"]
    assert headers["x-new"] == "3"
    assert headers["via"] == "1.1 up, 1.1 kong/3.9.1"
    assert {"x-kong-proxy-latency", "x-kong-upstream-latency", "x-kong-request-id", "date"} <= set(headers)


@pytest.mark.parametrize("name", ["client_ip.x", "request.method.x", "tries.x"])
def test_a_field_without_a_place_takes_nothing_from_the_others(
    plugin: Make, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    made = plugin(Note)
    note(made).notes = {name: 1, "mine": 2}
    made.get()
    record = noted(made)
    assert (record["mine"], record["client_ip"], record["request"]["method"]) == (2, "127.0.0.1", "GET")
    assert f"the log field {name} leads through " in caplog.text


def test_what_the_upstream_answered_is_told_when_a_plugin_changes_it(plugin: Make) -> None:
    made = plugin(Note)
    note(made).status = 418
    record = made.get().log
    assert (record["upstream_status"], record["response"]["status"], record["source"]) == ("200", 418, "upstream")
    made.use("response-ratelimiting", limits={"a": {"year": 1}})
    note(made).status = None
    made.upstream.respond = respond(203, b"", {"X-Kong-Limit": "a=1"})
    told = [made.get().log for _ in range(2)]
    assert [(record["upstream_status"], record["response"]["status"]) for record in told] == [
        ("203", 203),
        ("203", 429),
    ]


def test_what_is_kept_of_a_request_is_told_of_the_same_request_only(plugin: Make) -> None:
    made = plugin(Note)
    made.upstream.respond = respond(200, b"", {"Date": "Fri, 27 Nov 2026 05:00:00 GMT"})
    asked = [("GET", "/a?x=%22", {"X-A": "1"}), ("PUT", "/a?x=%22", {"X-A": "1"}), ("GET", '/b"\\', {"X-A": '\xe9"'})]
    for _ in range(3 * ADMITTED):
        for method, path, headers in asked:
            made.request(method, path, headers=headers)
            request = noted(made)["request"]
            assert (request["method"], request["uri"], request["headers"]["x-a"]) == (method, path, headers["X-A"])
            assert request["url"] == f"http://gateway.test:8000{path}"


def test_changed_entities_are_told_as_they_are_now(plugin: Make) -> None:
    made = plugin("key-auth").use("file-log", path="/dev/null")
    ada = made.consumer("ada", "k1")
    assert made.get(headers={"apikey": "k1"}).log["consumer"]["username"] == "ada"
    made.update("consumers", ada["id"], username="eve")
    made.update("services", made.service["id"], name="other")
    made.update("routes", made.route["id"], name="way")
    record = made.get(headers={"apikey": "k1"}).log
    told = [record[name].get("name") or record[name].get("username") for name in ("consumer", "service", "route")]
    assert told == ["eve", "other", "way"]


def test_a_request_line_that_is_refused_has_a_record(plugin: Make) -> None:
    made = plugin(Note)
    run = made.request("TRACE", "/a")
    assert run.status == 405
    request = noted(made)["request"]
    assert (request["method"], request["uri"], request["url"]) == ("TRACE", "/a", "http://:8000/a")
