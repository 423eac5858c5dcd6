"""redirect: where clients are sent."""

from collections.abc import Callable
from typing import Any

import pytest

from kong_gevent.errors import SchemaViolation
from kong_gevent.pdk.testing import InMemoryGateway

Make = Callable[..., InMemoryGateway]


@pytest.mark.parametrize("status", [301, 302, 307, 308, 200, 599])
def test_status_body_and_location(plugin: Make, status: int) -> None:
    run = plugin("redirect", location="https://new.example/a?b=1#c", status_code=status).get("/x?y=1")
    assert (run.status, run.response.body, run.upstreams) == (status, b"redirecting", [])
    assert run.response.headers["Location"] == "https://new.example/a?b=1#c"
    assert "Content-Type" not in run.response.headers


def test_301_is_the_default(plugin: Make) -> None:
    assert plugin("redirect", location="http://new.example").get().status == 301


@pytest.mark.parametrize(
    ("location", "asked", "told"),
    [
        ("https://new.example/old?x=1", "/a/b?c=d&e", "https://new.example/a/b?c=d&e"),
        ("https://new.example/old?x=1", "/a", "https://new.example/a"),
        ("https://new.example/old?x=1", "/a?", "https://new.example/a"),
        ("https://new.example", "/", "https://new.example/"),
        ("http://new.example:8443/old#part", "/a?b", "http://new.example:8443/a?b#part"),
        ("https://new.example", "/a%20b/%C3%BC?q=%22", "https://new.example/a%20b/%C3%BC?q=%22"),
        ("https://new.example", "/a/../b", "https://new.example/b"),
    ],
)
def test_path_and_query_of_the_request_can_be_kept(plugin: Make, location: str, asked: str, told: str) -> None:
    run = plugin("redirect", location=location, keep_incoming_path=True).get(asked)
    assert run.response.headers["Location"] == told


def test_what_clients_ask_for_cannot_begin_a_field_nor_leave_the_place(plugin: Make) -> None:
    made = plugin("redirect", location="https://new.example/old", keep_incoming_path=True)
    for asked in ("//evil.example/a", "/%0d%0aX-Evil:1", "/@evil.example", "/\\evil.example"):
        headers = made.get(asked).response.headers
        assert headers["Location"].startswith("https://new.example/")
        assert "X-Evil" not in headers


def test_head_is_told_the_same(plugin: Make) -> None:
    run = plugin("redirect", location="https://new.example").request("HEAD", "/")
    assert (run.status, run.response.headers["Location"], run.response.body) == (301, "https://new.example", b"")


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({}, {"location": "required field missing"}),
        ({"location": "/a"}, {"location": "missing host in url"}),
        ({"location": "//a"}, {"location": "missing scheme in url"}),
        ({"location": "http://a", "status_code": 99}, {"status_code": "value should be between 100 and 599"}),
        ({"location": "http://a", "status_code": 600}, {"status_code": "value should be between 100 and 599"}),
        ({"location": "http://a", "status_code": None}, {"status_code": "required field missing"}),
    ],
)
def test_bad_settings_are_refused(plugin: Make, config: dict[str, Any], error: Any) -> None:
    with pytest.raises(SchemaViolation) as caught:
        plugin("redirect", **config)
    assert caught.value.fields == {"config": error}
