"""correlation-id: whose identifier counts, how identifiers look, and where they are told."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from kong_gevent.errors import SchemaViolation
from kong_gevent.pdk.testing import InMemoryGateway

Make = Callable[..., InMemoryGateway]
UUID4 = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


@pytest.mark.parametrize(
    ("generator", "form"),
    [
        ("uuid", UUID4),
        ("uuid#counter", UUID4 + "#[0-9]+"),
        ("tracker", r"127\.0\.0\.1-8000-[0-9]+-[0-9]+-1-[0-9]+\.[0-9]{3}"),
    ],
)
def test_identifiers_have_kongs_forms(plugin: Make, generator: str, form: str) -> None:
    made = plugin("correlation-id", generator=generator)
    values = [made.get().upstream.headers["Kong-Request-ID"] for _ in range(3)]
    assert all(re.fullmatch(form, value) for value in values), values
    assert len(set(values)) == 3


def test_the_counter_counts_and_its_seed_stays(plugin: Make) -> None:
    made = plugin("correlation-id")
    first, second = (made.get().upstream.headers["Kong-Request-ID"].split("#") for _ in range(2))
    assert first[0] == second[0]
    assert int(second[1]) == int(first[1]) + 1


def test_the_clients_identifier_is_kept(plugin: Make) -> None:
    run = plugin("correlation-id").get("/", headers={"kong-request-id": "mine"})
    assert run.upstream.headers.all("Kong-Request-ID") == ["mine"]
    assert run.log["correlation_id"] == "mine"


@pytest.mark.parametrize("value", ["", "   ", "\t"])
def test_an_empty_identifier_is_replaced(plugin: Make, value: str) -> None:
    run = plugin("correlation-id").get("/", headers={"Kong-Request-ID": value})
    assert len(run.upstream.headers.all("Kong-Request-ID")) == 1
    assert "#" in run.upstream.headers["Kong-Request-ID"]


def test_the_log_knows_the_identifier(plugin: Make) -> None:
    run = plugin("correlation-id").get()
    assert run.log["correlation_id"] == run.upstream.headers["Kong-Request-ID"]


def test_the_client_is_told_only_where_that_is_wanted(plugin: Make) -> None:
    assert "Kong-Request-ID" not in plugin("correlation-id").get().response.headers
    run = plugin("correlation-id", echo_downstream=True).get()
    assert run.response.headers["Kong-Request-ID"] == run.upstream.headers["Kong-Request-ID"]


def test_the_clients_own_identifier_is_told_back(plugin: Make) -> None:
    run = plugin("correlation-id", echo_downstream=True).get("/", headers={"Kong-Request-ID": "mine"})
    assert run.response.headers.all("Kong-Request-ID") == ["mine"]


@pytest.mark.parametrize("path", ["/terminated", "/nowhere"])
def test_answers_made_here_tell_it_too(plugin: Make, path: str) -> None:
    made = plugin("correlation-id", echo_downstream=True, header_name="X-Id")
    made.use("request-termination", on="route")
    made.update("routes", made.route["id"], paths=["/terminated"])
    run = made.get(path, headers={"X-Id": "mine"})
    assert run.status == {"/terminated": 503, "/nowhere": 404}[path]
    assert run.response.headers["X-Id"] == "mine"
    assert "#" in made.get(path).response.headers["X-Id"]


def test_the_header_can_be_named(plugin: Make) -> None:
    run = plugin("correlation-id", header_name="X-Trace").get()
    assert "X-Trace" in run.upstream.headers
    assert "Kong-Request-ID" not in run.upstream.headers


def test_no_header_name_means_the_usual_one(plugin: Make) -> None:
    assert "Kong-Request-ID" in plugin("correlation-id", header_name=None).get().upstream.headers


@pytest.mark.parametrize(
    ("config", "fields"),
    [
        ({"generator": "dice"}, {"generator": "expected one of: uuid, uuid#counter, tracker"}),
        ({"generator": None}, {"generator": "required field missing"}),
        ({"echo_downstream": 1}, {"echo_downstream": "expected a boolean"}),
        ({"header_name": ""}, {"header_name": "length must be at least 1"}),
    ],
)
def test_bad_settings_are_refused(plugin: Make, config: dict[str, Any], fields: dict[str, str]) -> None:
    with pytest.raises(SchemaViolation) as caught:
        plugin("correlation-id", **config)
    assert caught.value.fields == {"config": fields}


def test_a_header_name_that_cannot_be_one_refuses_requests(plugin: Make) -> None:
    run = plugin("correlation-id", header_name="not a name").get()
    assert (run.status, run.upstreams) == (500, [])


def test_a_stored_configuration_without_generator_has_the_usual_one(plugin: Make) -> None:
    with pytest.raises(SchemaViolation):
        plugin("correlation-id", generator=None)
    run = plugin("correlation-id").get()
    assert re.fullmatch(r"[0-9a-f-]{36}#\d+", run.upstream.headers["Kong-Request-ID"])


def test_a_configuration_of_a_consumer_comes_too_early_to_be_chosen(plugin: Make) -> None:
    made = plugin("key-auth")
    ada = made.consumer("ada", "k")
    made.use("correlation-id", on={"consumer": ada}, header_name="X-Ada", echo_downstream=True)
    run = made.get(headers={"apikey": "k"})
    assert ("X-Ada" in run.upstream.headers, "X-Ada" in run.response.headers) == (False, False)
