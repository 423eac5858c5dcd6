"""Several authentication plugins on one route: all of them, or one of them."""

from base64 import b64encode
from collections.abc import Callable

import pytest

from kong_gevent.pdk.testing import InMemoryGateway

Make = Callable[..., InMemoryGateway]
KEY = {"apikey": "k1"}
PASSWORD = {"Authorization": "Basic " + b64encode(b"bob:s3cret").decode()}


@pytest.fixture
def gateway(plugin: Make) -> Make:
    def make(anonymous: str | None) -> InMemoryGateway:
        made = plugin("key-auth", anonymous=anonymous).use("basic-auth", anonymous=anonymous)
        made.consumer("ann", "k1")
        made.consumer("bob")
        made.consumer("guest")
        made.insert("basicauth_credentials", username="bob", password="s3cret", consumer={"username": "bob"})
        return made

    return make


@pytest.mark.parametrize(
    ("headers", "challenge"),
    [({}, "Key"), (PASSWORD, "Key"), (KEY, 'Basic realm="service"')],
)
def test_without_anonymous_all_must_succeed(gateway: Make, headers: dict[str, str], challenge: str) -> None:
    run = gateway(None).get(headers=headers)
    assert (run.status, run.response.headers["WWW-Authenticate"]) == (401, challenge)
    assert run.upstreams == []


def test_the_last_one_says_who_it_is(gateway: Make) -> None:
    upstream = gateway(None).get(headers={**KEY, **PASSWORD}).upstream
    assert upstream.headers["X-Consumer-Username"] == "bob"


@pytest.mark.parametrize(
    ("headers", "who"), [(KEY, "ann"), (PASSWORD, "bob"), ({**KEY, **PASSWORD}, "ann"), ({}, "guest")]
)
def test_with_anonymous_the_first_that_succeeds_decides(gateway: Make, headers: dict[str, str], who: str) -> None:
    upstream = gateway("guest").get(headers=headers).upstream
    assert upstream.headers["X-Consumer-Username"] == who
    assert ("X-Anonymous-Consumer" in upstream.headers) == (who == "guest")


def test_nobody_passes_when_the_anonymous_consumer_is_not_there(gateway: Make) -> None:
    assert gateway("nobody").get().status == 500
