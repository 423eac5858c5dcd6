"""http-log: what is sent, in which batches, what is tried again, and settings that are refused."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kong_gevent.errors import SchemaViolation
from kong_gevent.pdk import logging as logging_kit
from kong_gevent.pdk.testing import InMemoryGateway
from kong_gevent.plugins.http_log import READ
from tests.plugins.sinks import HttpSink

Make = Callable[..., InMemoryGateway]


@pytest.fixture
def sink() -> Iterator[HttpSink]:
    with HttpSink() as server:
        yield server


def test_a_record_is_posted_as_json(plugin: Make, sink: HttpSink) -> None:
    made = plugin("http-log", http_endpoint=f"http://127.0.0.1:{sink.port}/in?a=1")
    run = made.get("/x")
    made.flush()
    ((method, path, fields, body),) = sink.requests
    assert (method, path) == ("POST", "/in?a=1")
    assert fields["content-type"] == "application/json"
    assert fields["host"] == f"127.0.0.1:{sink.port}"
    record = json.loads(body)
    assert record["request"]["uri"] == "/x"
    assert record["request"]["id"] == run.response.headers["X-Kong-Request-Id"]


def test_method_type_and_fields_can_be_chosen(plugin: Make, sink: HttpSink) -> None:
    made = plugin(
        "http-log",
        http_endpoint=f"http://127.0.0.1:{sink.port}",
        method="PUT",
        content_type="application/json; charset=utf-8",
        headers={"X-Key": "k"},
    )
    made.get()
    made.flush()
    method, path, fields, _ = sink.requests[0]
    assert (method, path, fields["content-type"]) == ("PUT", "/", "application/json; charset=utf-8")
    assert fields["x-key"] == "k"


def test_user_and_password_of_the_url_become_basic_authentication(plugin: Make, sink: HttpSink) -> None:
    made = plugin("http-log", http_endpoint=f"http://us%40er:pass@127.0.0.1:{sink.port}/in")
    made.get()
    made.flush()
    fields = sink.requests[0][2]
    assert fields["authorization"] == "Basic " + base64.b64encode(b"us@er:pass").decode()
    assert "@" not in fields["host"]


@pytest.mark.parametrize(
    "settings",
    [{"queue": {"max_batch_size": 3, "max_coalescing_delay": 5}}, {"queue_size": 3, "flush_timeout": 5}],
    ids=["queue", "older names"],
)
def test_batches_are_arrays(plugin: Make, sink: HttpSink, settings: dict[str, Any]) -> None:
    made = plugin("http-log", http_endpoint=f"http://127.0.0.1:{sink.port}", **settings)
    for number in range(4):
        made.get(f"/{number}")
    made.flush()
    uris = [[record["request"]["uri"] for record in body] for body in sink.bodies]
    assert uris == [["/0", "/1", "/2"], ["/3"]]


def test_older_names_with_their_old_defaults_count_nothing(
    plugin: Make, sink: HttpSink, caplog: pytest.LogCaptureFixture
) -> None:
    made = plugin(
        "http-log", http_endpoint=f"http://127.0.0.1:{sink.port}", queue_size=1, flush_timeout=2, retry_count=10
    )
    made.get()
    made.flush()
    assert sink.bodies[0]["request"]["uri"] == "/"
    assert "deprecated" not in caplog.text


def test_older_names_count_more_and_are_warned_of_once_a_minute(
    plugin: Make, sink: HttpSink, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://127.0.0.1:{sink.port}"
    older = {"retry_count": 3, "queue_size": 2, "flush_timeout": 3000}
    made = plugin("http-log", http_endpoint=url, queue={"max_batch_size": 9, "max_coalescing_delay": 0}, **older)
    for number in range(3):
        made.get(f"/{number}")
    made.flush()
    assert [len(body) for body in sink.bodies] == [2, 1]
    warnings = [
        "retry_count is deprecated: it has no effect; see queue.max_retry_time",
        "queue_size is deprecated: use queue.max_batch_size",
        "flush_timeout is deprecated: use queue.max_coalescing_delay",
    ]
    (entity,) = made.store.dao("plugins").each(10)
    for text in warnings:
        assert caplog.text.count(f"[http-log plugin {entity['id']}] {text}") == 1
    for seconds, count in ((59, 1), (61, 2)):
        later = time.monotonic() + seconds
        monkeypatch.setattr(logging_kit, "monotonic", lambda later=later: later)
        made.update("plugins", entity["id"], config={"queue_size": 2, "timeout": 1000 + seconds})
        made.get("/later")
        made.flush()
        assert [caplog.text.count(text) for text in warnings] == [count] * 3


@pytest.mark.parametrize("status", [300, 404, 500])
def test_what_the_server_refuses_is_sent_again(
    plugin: Make, sink: HttpSink, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    sink.statuses = [status, status]
    made = plugin("http-log", http_endpoint=f"http://127.0.0.1:{sink.port}")
    assert made.get().status == 200
    made.flush()
    assert len(sink.requests) == 3
    assert len({body for _, _, _, body in sink.requests}) == 1
    assert f"request to 127.0.0.1:{sink.port} returned status code {status} and body ok" in caplog.text


@pytest.mark.parametrize(("size", "connections"), [(READ, 1), (READ * 100, 2)])
def test_of_a_large_answer_only_the_beginning_is_read(
    plugin: Make, sink: HttpSink, size: int, connections: int
) -> None:
    sink.answer = b"x" * size
    made = plugin("http-log", http_endpoint=f"http://127.0.0.1:{sink.port}")
    for _ in range(2):
        made.get()
        made.flush()
    assert (len(sink.requests), len(sink.clients)) == (2, connections)


def test_header_values_are_utf8(plugin: Make, sink: HttpSink) -> None:
    made = plugin("http-log", http_endpoint=f"http://127.0.0.1:{sink.port}", headers={"X-Key": "\u65e5\u672c"})
    made.get()
    made.flush()
    assert sink.requests[0][2]["x-key"].encode("latin-1").decode() == "\u65e5\u672c"


def test_a_dead_server_costs_no_request_and_the_loss_is_told(plugin: Make, caplog: pytest.LogCaptureFixture) -> None:
    made = plugin("http-log", http_endpoint="http://127.0.0.1:1/", queue={"max_retry_time": 0})
    assert made.get().status == 200
    made.flush()
    assert "could not send entries due to max_retry_time exceeded. 1 queue entries were lost" in caplog.text
    assert "[http-log plugin " in caplog.text


def test_configurations_of_one_place_share_a_queue(plugin: Make, sink: HttpSink) -> None:
    settings: dict[str, Any] = {
        "http_endpoint": f"http://127.0.0.1:{sink.port}",
        "queue": {"max_batch_size": 2, "max_coalescing_delay": 5},
    }
    made = plugin("http-log", on="route", **settings)
    other = made.insert("routes", paths=["/other"], service={"id": made.service["id"]})
    made.use("http-log", on={"route": other}, **settings)
    made.get("/")
    made.get("/other")
    made.flush()
    assert [len(body) for body in sink.bodies] == [2]


def test_configurations_with_other_credentials_share_nothing(plugin: Make, sink: HttpSink) -> None:
    queue = {"max_batch_size": 2, "max_coalescing_delay": 5}
    made = plugin("http-log", on="route", http_endpoint=f"http://a:1@127.0.0.1:{sink.port}", queue=queue)
    other = made.insert("routes", paths=["/other"], service={"id": made.service["id"]})
    made.use("http-log", on={"route": other}, http_endpoint=f"http://a:2@127.0.0.1:{sink.port}", queue=queue)
    made.get("/")
    made.get("/other")
    made.flush()
    assert len({fields["authorization"] for _, _, fields, _ in sink.requests}) == 2


def test_credentials_are_not_in_the_log(plugin: Make, caplog: pytest.LogCaptureFixture) -> None:
    made = plugin("http-log", http_endpoint="http://user:s3cret@127.0.0.1:1/", queue={"max_retry_time": 0})
    made.get()
    made.flush()
    assert "queue entries were lost" in caplog.text
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize(("keepalive", "connections"), [(60000, 1), (0, 2)])
def test_idle_connections_are_kept_for_a_time(plugin: Make, sink: HttpSink, keepalive: int, connections: int) -> None:
    made = plugin("http-log", http_endpoint=f"http://127.0.0.1:{sink.port}", keepalive=keepalive)
    for _ in range(2):
        made.get()
        made.flush()
    assert len(sink.clients) == connections


def test_the_newest_configuration_sends_what_waits(plugin: Make, sink: HttpSink) -> None:
    queue = {"max_batch_size": 9, "max_coalescing_delay": 60}
    made = plugin("http-log", http_endpoint=f"http://127.0.0.1:{sink.port}", headers={"X-Key": "old"}, queue=queue)
    made.get("/1")
    (entity,) = made.store.dao("plugins").each()
    made.update("plugins", entity["id"], config={"headers": {"X-Key": "new"}})
    made.get("/2")
    made.flush()
    ((_, _, fields, body),) = sink.requests
    assert (fields["x-key"], len(json.loads(body))) == ("new", 2)


def test_custom_fields_are_in_the_record(plugin: Make, sink: HttpSink) -> None:
    made = plugin(
        "http-log", http_endpoint=f"http://127.0.0.1:{sink.port}", custom_fields_by_lua={"mine": "return 'x'"}
    )
    made.get()
    made.flush()
    assert sink.bodies[0]["mine"] == "x"


@pytest.mark.parametrize(
    ("config", "fields"),
    [
        ({}, {"http_endpoint": "required field missing"}),
        ({"http_endpoint": "nonsense"}, {"http_endpoint": "missing host in url"}),
        ({"method": "GET"}, {"method": "expected one of: POST, PUT, PATCH"}),
        ({"content_type": "text/plain"}, {"content_type": None}),
        ({"headers": {"Host": "x"}}, {"headers": "cannot contain 'Host' header"}),
        ({"headers": {"content-length": "1"}}, {"headers": "cannot contain 'Content-Length' header"}),
        ({"headers": {"Content-Type": "x"}}, {"headers": "cannot contain 'Content-Type' header"}),
        ({"headers": {"X-A": ""}}, {"headers": "length must be at least 1"}),
        ({"queue": {"max_batch_size": 0}}, {"queue": {"max_batch_size": "value should be between 1 and 1000000"}}),
        ({"queue": {"concurrency_limit": 2}}, {"queue": {"concurrency_limit": "expected one of: -1, 1"}}),
        ({"queue": {"initial_retry_delay": 0}}, {"queue": {"initial_retry_delay": None}}),
    ],
)
def test_bad_settings_are_refused(plugin: Make, config: dict[str, Any], fields: dict[str, Any]) -> None:
    given = config if not config or "http_endpoint" in config else {"http_endpoint": "http://127.0.0.1/", **config}
    with pytest.raises(SchemaViolation) as caught:
        plugin("http-log", **given)
    found = caught.value.fields["config"]
    assert list(found) == list(fields)
    if None not in fields.values() and fields != {"queue": {"initial_retry_delay": None}}:
        assert found == fields


def test_only_one_way_to_authenticate(plugin: Make) -> None:
    with pytest.raises(SchemaViolation) as caught:
        plugin("http-log", http_endpoint="http://a:b@127.0.0.1/", headers={"authorization": "x"})
    text = "specifying both an 'Authorization' header and user info in 'http_endpoint' is not allowed"
    assert text in str(caught.value)
