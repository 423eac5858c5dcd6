"""standard-webhooks: which messages are genuine."""

import base64
import hmac
import time
from collections.abc import Callable
from typing import Any

import pytest

from kong_gevent.errors import SchemaViolation
from kong_gevent.pdk.testing import InMemoryGateway, Run

Make = Callable[..., InMemoryGateway]
SECRET, BODY = "plain-secret", '{"event":"order.paid","n":3}'
NAME, STAMP = "msg_0001", "1773500966"


def signature(key: bytes, name: str = NAME, stamp: str = STAMP, body: str = BODY) -> str:
    digest = hmac.digest(key, f"{name}.{stamp}.{body}".encode(), "sha256")
    return "v1," + base64.b64encode(digest).decode()


GENUINE = signature(SECRET.encode())


def send(made: InMemoryGateway, body: str = BODY, at: float = 1773500966, **changes: str | None) -> Run:
    made.plugins["standard-webhooks"].clock = lambda: at  # type: ignore[attr-defined]
    fields = {"webhook-id": NAME, "webhook-timestamp": STAMP, "webhook-signature": GENUINE}
    fields.update({f"webhook-{name}": value for name, value in changes.items()})  # type: ignore[misc]
    return made.post("/", body, headers={name: value for name, value in fields.items() if value is not None})


@pytest.fixture
def made(plugin: Make) -> InMemoryGateway:
    return plugin("standard-webhooks", secret_v1=SECRET)


def test_a_known_signature(made: InMemoryGateway) -> None:
    assert GENUINE == "v1,28S+t15YSTlZB6E+m5QA0INpP5Ip7Do7Xn1dGVQoNMw="
    run = send(made)
    assert (run.status, run.upstream.text) == (200, BODY)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": None},
        {"timestamp": None},
        {"signature": None},
        {"id": ""},
        {"id": "msg_0002"},
        {"timestamp": "1773500967"},
        {"timestamp": "yesterday"},
        {"timestamp": "0x" + "f" * 500},
        {"timestamp": "9" * 500},
        {"timestamp": "inf"},
        {"timestamp": "nan"},
        {"signature": GENUINE[:-2] + "A="},
        {"signature": GENUINE.removeprefix("v1,")},
        {"signature": "v2" + GENUINE[2:]},
        {"signature": GENUINE + "x"},
        {"body": ""},
        {"body": BODY + " "},
    ],
)
def test_anything_else_is_a_bad_request(made: InMemoryGateway, changes: dict[str, Any]) -> None:
    run = send(made, **changes)
    assert (run.status, run.response.json()["message"], run.upstreams) == (400, "Bad request", [])


@pytest.mark.parametrize(("age", "status"), [(0, 200), (300, 200), (301, 400), (-100_000, 200)])
def test_old_messages_are_refused_and_future_ones_pass(made: InMemoryGateway, age: int, status: int) -> None:
    assert send(made, at=1773500966 + age).status == status


def test_a_tolerance_of_zero_can_be_set(plugin: Make) -> None:
    made = plugin("standard-webhooks", secret_v1=SECRET, tolerance_second=0)
    assert [send(made, at=1773500966 + age).status for age in (0, 1)] == [200, 400]


def test_a_stamp_that_is_no_number_counts_as_zero(plugin: Make) -> None:
    made = plugin("standard-webhooks", secret_v1=SECRET, tolerance_second=int(time.time() * 2))
    assert send(made, timestamp="x", signature=signature(SECRET.encode(), stamp="0")).status == 200


def test_the_stamp_is_signed_as_a_number(made: InMemoryGateway) -> None:
    assert send(made, timestamp=" 1773500966.0").status == 200


def test_one_of_several_signatures_is_enough(made: InMemoryGateway) -> None:
    assert send(made, signature=f"v1,{'A' * 43}= {GENUINE}").status == 200
    assert send(made, signature=f"v1,{'A' * 43}= v1a,x").status == 400


def test_of_repeated_headers_the_first_counts(made: InMemoryGateway) -> None:
    made.plugins["standard-webhooks"].clock = lambda: 1773500966  # type: ignore[attr-defined]
    right = [("webhook-id", NAME), ("webhook-timestamp", STAMP), ("webhook-signature", GENUINE)]
    wrong = [("webhook-id", "x"), ("webhook-timestamp", "1"), ("webhook-signature", "v1,x")]
    assert made.post("/", BODY, headers=[*right, *wrong]).status == 200
    assert made.post("/", BODY, headers=[*wrong, *right]).status == 400


def test_a_body_of_unknown_length_is_signed_as_well(made: InMemoryGateway) -> None:
    made.plugins["standard-webhooks"].clock = lambda: 1773500966  # type: ignore[attr-defined]
    fields = {"webhook-id": NAME, "webhook-timestamp": STAMP, "webhook-signature": GENUINE}
    assert made.post("/", BODY, headers=fields, chunked=True).upstream.text == BODY


def test_the_secret_may_be_in_the_form_that_senders_are_given(plugin: Make) -> None:
    key = bytes(range(24))
    secret = "whsec_" + base64.b64encode(key).decode()
    made = plugin("standard-webhooks", secret_v1=secret)
    assert send(made, signature=signature(key)).status == 200
    assert send(made, signature=signature(secret.encode())).status == 200
    assert send(made, signature=signature(b"")).status == 400


def test_a_prefix_before_something_else_is_part_of_the_secret(plugin: Make) -> None:
    made = plugin("standard-webhooks", secret_v1="whsec_%%")
    assert send(made, signature=signature(b"whsec_%%")).status == 200
    assert send(made).status == 400


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({}, {"secret_v1": "required field missing"}),
        ({"secret_v1": ""}, {"secret_v1": "length must be at least 1"}),
        ({"secret_v1": "s", "tolerance_second": -1}, {"tolerance_second": "value must be greater than -1"}),
    ],
)
def test_bad_settings_are_refused(plugin: Make, config: dict[str, Any], error: Any) -> None:
    with pytest.raises(SchemaViolation) as caught:
        plugin("standard-webhooks", **config)
    assert caught.value.fields == {"config": error}


def test_consumers_cannot_have_it(plugin: Make) -> None:
    made = plugin()
    with pytest.raises(SchemaViolation) as caught:
        made.use("standard-webhooks", secret_v1="s", on={"consumer": made.consumer("ada")})
    assert caught.value.fields == {"consumer": "value must be null"}
