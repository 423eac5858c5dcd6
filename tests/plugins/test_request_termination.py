"""request-termination: which answer is given, and when."""

from collections.abc import Callable
from typing import Any

import pytest

from kong_gevent.errors import SchemaViolation
from kong_gevent.pdk.testing import InMemoryGateway

Make = Callable[..., InMemoryGateway]


@pytest.mark.parametrize(
    ("config", "status", "body", "kind"),
    [
        ({}, 503, b'{"message":"Service unavailable"}', "application/json; charset=utf-8"),
        ({"status_code": 401}, 401, b'{"message":"Unauthorized"}', "application/json; charset=utf-8"),
        ({"status_code": 404}, 404, b'{"message":"Not found"}', "application/json; charset=utf-8"),
        ({"status_code": 405}, 405, b'{"message":"Method not allowed"}', "application/json; charset=utf-8"),
        ({"status_code": 500}, 500, b'{"message":"An unexpected error occurred"}', "application/json; charset=utf-8"),
        ({"status_code": 502}, 502, b'{"message":"Bad Gateway"}', "application/json; charset=utf-8"),
        ({"status_code": 403}, 403, b"", None),
        ({"status_code": 200, "message": "so long"}, 200, b'{"message":"so long"}', "application/json; charset=utf-8"),
        ({"status_code": 200, "body": "<p>"}, 200, b"<p>", None),
        ({"body": "<p>", "content_type": "text/html"}, 503, b"<p>", "text/html"),
        ({"body": '{"a":"ü"}', "content_type": "application/json"}, 503, '{"a":"ü"}'.encode(), "application/json"),
    ],
)
def test_the_answer_is_the_configured_one(
    plugin: Make, config: dict[str, Any], status: int, body: bytes, kind: str | None
) -> None:
    run = plugin("request-termination", **config).get()
    assert run.upstreams == []
    assert (run.status, run.response.body, run.response.headers.get("Content-Type")) == (status, body, kind)
    assert run.response.headers["Content-Length"] == str(len(body))


def test_no_content_has_no_length(plugin: Make) -> None:
    run = plugin("request-termination", status_code=204).get()
    assert (run.status, "Content-Length" in run.response.headers) == (204, False)


def test_head_gets_no_body(plugin: Make) -> None:
    assert plugin("request-termination").request("HEAD", "/").response.headers["Content-Length"] == "33"


def test_the_format_is_not_negotiated(plugin: Make) -> None:
    run = plugin("request-termination").get("/", headers={"Accept": "text/html"})
    assert run.response.json() == {"message": "Service unavailable"}


class TestTrigger:
    @pytest.mark.parametrize(
        ("path", "headers"),
        [("/", {"X-Stop": "1"}), ("/", {"x_stop": ""}), ("/?x-stop=1", {}), ("/?x-stop", {}), ("/?x-stop=", {})],
    )
    def test_a_header_or_argument_of_that_name_triggers(self, plugin: Make, path: str, headers: dict[str, str]) -> None:
        assert plugin("request-termination", trigger="x-stop").get(path, headers=headers).status == 503

    @pytest.mark.parametrize("path", ["/", "/?x-stopped=1", "/x-stop"])
    def test_other_requests_pass(self, plugin: Make, path: str) -> None:
        assert plugin("request-termination", trigger="x-stop").get(path).status == 200


def test_echo_tells_what_was_received(plugin: Make) -> None:
    made = plugin("request-termination", echo=True, status_code=200)
    made.update("routes", made.route["id"], paths=[r"~/(?<kind>\w+)/(\d+)"])
    headers = {"Content-Type": "application/json", "X-A": "1"}
    told = made.post("/items/7?a=1&a=2&b", '{"q": 1}', headers=headers).response.json()
    assert told["message"] is None
    assert told["kong"] == {
        "node_id": made.kit.node_id,
        "worker_pid": made.kit.worker_pid,
        "hostname": made.kit.hostname,
    }
    request = told["request"]
    assert request.pop("headers")["x-a"] == "1"
    assert request == {
        "scheme": "http",
        "host": "gateway.test",
        "port": 8000,
        "query": {"a": ["1", "2"], "b": True},
        "body": {"q": 1},
        "raw_body": '{"q": 1}',
        "method": "POST",
        "path": "/items/7",
        "uri_captures": {"named": {"kind": "items"}, "unnamed": ["items", "7"]},
    }
    assert told["matched_route"]["id"] == made.route["id"]
    assert told["matched_service"]["id"] == made.service["id"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ('{"n": 123456789012345678901234567890}', {"n": 123456789012345678901234567890}),
        ('{"a":' * 400 + "1" + "}" * 400, None),
        ('{"a": "\\ud800"}', None),
    ],
    ids=["large number", "deep", "half a pair"],
)
def test_echo_tells_odd_bodies(plugin: Make, body: str, told: Any) -> None:
    made = plugin("request-termination", echo=True, status_code=200)
    run = made.post("/?a=%ff", body, headers={"Content-Type": "application/json", "X-A": "\xff"})
    request = run.response.json()["request"]
    assert (run.status, request["raw_body"], request["query"]) == (200, body, {"a": "\ufffd"})
    assert told is None or request["body"] == told


def test_grpc_requests_get_grpcs_way_of_refusing(plugin: Make) -> None:
    run = plugin("request-termination", message="closed").post("/", b"", headers={"Content-Type": "application/grpc"})
    assert (run.status, run.response.body) == (503, b"")
    assert run.response.headers["grpc-status"] == "14"
    assert run.response.headers["grpc-message"] == "closed"
    assert run.response.headers["Content-Type"] == "application/grpc"


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({"message": "m", "body": "b"}, "message cannot be used with content_type or body"),
        ({"message": "m", "content_type": "c"}, "message cannot be used with content_type or body"),
        ({"content_type": "c"}, "content_type requires a body"),
        ({"echo": True, "body": "b"}, "echo cannot be used with content_type and body"),
        ({"status_code": 99}, {"status_code": "value should be between 100 and 599"}),
        ({"status_code": 600}, {"status_code": "value should be between 100 and 599"}),
        ({"status_code": 200.5}, {"status_code": "expected an integer"}),
        (
            {"trigger": "a b"},
            {"trigger": "bad header name 'a b', allowed characters are A-Z, a-z, 0-9, '_', and '-'"},
        ),
    ],
)
def test_bad_settings_are_refused(plugin: Make, config: dict[str, Any], error: Any) -> None:
    with pytest.raises(SchemaViolation) as caught:
        plugin("request-termination", **config)
    assert caught.value.fields == {"config": error}
