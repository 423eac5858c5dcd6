"""request-size-limiting: announced lengths are compared before anything is read, others are counted."""

from collections.abc import Callable
from typing import Any

import pytest

from kong_gevent.errors import SchemaViolation
from kong_gevent.pdk.testing import InMemoryGateway, Run
from tests.gateway import Gateway
from tests.upstream import Upstream

Make = Callable[..., InMemoryGateway]


def refused(run: Run, status: int, message: str) -> None:
    assert run.upstreams == []
    assert (run.status, run.response.json()["message"]) == (status, message)
    assert run.response.headers["Content-Type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize(("unit", "size"), [("bytes", 1), ("kilobytes", 1 << 10), ("megabytes", 1 << 20)])
@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
class TestLimit:
    def test_a_body_of_that_size_passes(self, plugin: Make, unit: str, size: int, chunked: bool) -> None:
        made = plugin("request-size-limiting", allowed_payload_size=3, size_unit=unit)
        run = made.post("/", b"x" * (3 * size), chunked=chunked)
        assert (run.status, len(run.upstream.body)) == (200, 3 * size)

    def test_one_byte_more_is_refused(self, plugin: Make, unit: str, size: int, chunked: bool) -> None:
        made = plugin("request-size-limiting", allowed_payload_size=3, size_unit=unit)
        refused(made.post("/", b"x" * (3 * size + 1), chunked=chunked), 413, "Request size limit exceeded")


def test_an_announced_length_is_enough_to_refuse(plugin: Make) -> None:
    made = plugin("request-size-limiting", allowed_payload_size=1, size_unit="bytes")
    refused(made.get("/", headers={"Content-Length": "99999999999"}), 413, "Request size limit exceeded")


def test_clients_that_ask_first_are_told_by_417(plugin: Make) -> None:
    made = plugin("request-size-limiting", allowed_payload_size=1, size_unit="bytes")
    run = made.post("/", b"xx", headers={"Expect": "100-continue"})
    refused(run, 417, "Request size limit exceeded")


def test_a_body_that_turns_out_to_be_too_large_is_told_by_417_to_who_asked(plugin: Make) -> None:
    made = plugin("request-size-limiting", allowed_payload_size=1, size_unit="bytes")
    run = made.post("/", b"xx", headers={"Expect": "100-continue"}, chunked=True)
    refused(run, 417, "Request size limit exceeded")


def test_of_a_body_that_streams_no_more_than_the_limit_reaches_the_upstream(
    gateway: Gateway, upstream: Upstream
) -> None:
    gateway.reset()
    gateway.route(upstream.url, service={"name": "s"})
    config = {"allowed_payload_size": 100, "size_unit": "kilobytes"}
    gateway.create("/services/s/plugins", name="request-size-limiting", config=config)
    answer = gateway.request("POST", "/", data=(b"x" * 10_000 for _ in range(50)))
    assert (answer.status_code, answer.json()["message"]) == (413, "Request size limit exceeded")
    assert gateway.request("POST", "/", data=(b"x" * 10_000 for _ in range(10))).status_code == 200


def test_requests_without_body_pass(plugin: Make) -> None:
    assert plugin("request-size-limiting", allowed_payload_size=0).get().status == 200


@pytest.mark.parametrize("null", [{}, {"allowed_payload_size": None}])
def test_the_limit_is_128_megabytes_unless_set(plugin: Make, null: dict[str, Any]) -> None:
    made = plugin("request-size-limiting", **null)
    refused(made.get("/", headers={"Content-Length": str((128 << 20) + 1)}), 413, "Request size limit exceeded")


class TestRequiredLength:
    def test_requests_without_one_are_refused(self, plugin: Make) -> None:
        refused(
            plugin("request-size-limiting", require_content_length=True).get(),
            411,
            "A valid Content-Length header is required",
        )

    @pytest.mark.parametrize(("body", "chunked"), [(b"", False), (b"x", False), (b"x", True)])
    def test_others_pass(self, plugin: Make, body: bytes, chunked: bool) -> None:
        made = plugin("request-size-limiting", require_content_length=True)
        assert made.post("/", body, chunked=chunked).status == 200


@pytest.mark.parametrize(
    ("config", "fields"),
    [
        ({"size_unit": "stones"}, {"size_unit": "expected one of: megabytes, kilobytes, bytes"}),
        ({"allowed_payload_size": 1.5}, {"allowed_payload_size": "expected an integer"}),
        ({"require_content_length": "no"}, {"require_content_length": "expected a boolean"}),
    ],
)
def test_bad_settings_are_refused(plugin: Make, config: dict[str, Any], fields: dict[str, str]) -> None:
    with pytest.raises(SchemaViolation) as caught:
        plugin("request-size-limiting", **config)
    assert caught.value.fields == {"config": fields}
