"""classic_answers: requests that are refused get the statuses and texts of Kong 0.5."""

import hmac
import json
from base64 import b64encode
from collections.abc import Iterator, Mapping
from email.utils import formatdate
from time import time
from typing import Any

import pytest

from kong_gevent.db.entities.services import CLASSIC_API
from kong_gevent.pdk.testing import InMemoryGateway

WRONG = "Invalid authentication credentials"
NO_ISS = "No mandatory 'iss' in claims"
NOT_VERIFIED = "HMAC signature cannot be verified"
NO_DATE = f"{NOT_VERIFIED}, a valid date or x-date header is required for HMAC Authentication"
EXPIRED = {"error": "invalid_request", "error_description": "access_token expired"}
NOW = "now"
"""Stands for the time at which a test runs, which may be long after its parameters were made."""
SIGNED = 'hmac username="{}", algorithm="hmac-sha1", headers="x-date", signature="YQ=="'


def token(secret: str = "s", **claims: Any) -> str:
    """A token of HS256."""
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    signed = b".".join(b64encode(part, b"-_").rstrip(b"=") for part in parts)
    signature = b64encode(hmac.digest(secret.encode(), signed, "sha256"), b"-_").rstrip(b"=")
    return (signed + b"." + signature).decode()


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def basic(text: str) -> dict[str, str]:
    return {"Authorization": f"Basic {b64encode(text.encode()).decode()}"}


def signed(username: str, **more: str) -> dict[str, str]:
    return {"Authorization": SIGNED.format(username), "X-Date": NOW, **more}


REFUSED: list[tuple[str, Mapping[str, str], int, Any]] = [
    ("key-auth", {}, 401, "No API Key found in headers, body or querystring"),
    ("key-auth", {"apikey": "nobody's"}, 403, WRONG),
    ("basic-auth", {}, 401, "Unauthorized"),
    ("basic-auth", basic("ada:wrong"), 403, WRONG),
    ("basic-auth", basic("nobody:p"), 403, WRONG),
    ("basic-auth", {"Authorization": "Bearer x"}, 403, WRONG),
    ("hmac-auth", {}, 401, "Unauthorized"),
    ("hmac-auth", {"Authorization": SIGNED.format("ada")}, 403, NO_DATE),
    ("hmac-auth", signed("ada", Authorization="hmac nothing"), 403, NOT_VERIFIED),
    ("hmac-auth", signed("nobody"), 403, NOT_VERIFIED),
    ("hmac-auth", signed("ada"), 403, "HMAC signature does not match"),
    ("jwt", {}, 401, "Unauthorized"),
    ("jwt", bearer(token()), 401, NO_ISS),
    ("jwt", bearer(token(iss="nobody")), 403, "No credentials found for given 'iss'"),
    ("jwt", bearer(token("wrong", iss="ada", exp=2**40)), 403, "Invalid signature"),
    ("jwt", bearer(token(iss="ada", exp=1)), 403, {"exp": "token expired"}),
    ("jwt", bearer("a.b.c"), 403, "Bad token; invalid JSON"),
    ("oauth2", {}, 403, WRONG),
    ("oauth2", bearer("nobody's"), 403, WRONG),
    ("oauth2", bearer("old"), 400, EXPIRED),
    ("acl", {}, 403, "Cannot identify the consumer, add an authentication plugin to use the ACL plugin"),
    ("ip-restriction", {}, 403, "Your IP address is not allowed"),
]
CONFIG: Mapping[str, Any] = {
    "jwt": {"claims_to_verify": ["exp"]},
    "oauth2": {"enable_client_credentials": True},
    "acl": {"allow": ["friends"]},
    "ip-restriction": {"deny": ["127.0.0.1"]},
}


@pytest.fixture
def gateway() -> Iterator[InMemoryGateway]:
    made = InMemoryGateway(classic_answers="on")
    ada = {"id": made.consumer("ada", "k")["id"]}
    made.insert("basicauth_credentials", consumer=ada, username="ada", password="p")
    made.insert("hmacauth_credentials", consumer=ada, username="ada", secret="s")
    made.insert("jwt_secrets", consumer=ada, key="ada", secret="s")
    client = made.insert("oauth2_credentials", consumer=ada, name="app")
    issued = {"credential": {"id": client["id"]}, "service": {"id": made.service["id"]}, "expires_in": 1}
    made.insert("oauth2_tokens", access_token="old", created_at=1, **issued)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("plugin", "headers", "status", "body"), REFUSED, ids=[f"{row[0]}-{at}" for at, row in enumerate(REFUSED)]
)
def test_refusals(gateway: InMemoryGateway, plugin: str, headers: Mapping[str, str], status: int, body: Any) -> None:
    sent = {name: formatdate(time(), usegmt=True) if value == NOW else value for name, value in headers.items()}
    answer = gateway.use(plugin, **CONFIG.get(plugin, {})).get("/", headers=sent)
    assert not answer.upstreams
    assert (answer.status, answer.response.json()) == (status, body if isinstance(body, dict) else {"message": body})
    assert answer.response.headers["Content-Type"] == "application/json; charset=utf-8"
    assert ("WWW-Authenticate" in answer.response.headers) is (status == 401)


def test_who_is_in_the_wrong_group(gateway: InMemoryGateway) -> None:
    gateway.use("key-auth").use("acl", allow=["friends"])
    answer = gateway.get("/", headers={"apikey": "k"})
    assert (answer.status, answer.response.json()) == (403, {"message": "You cannot consume this service"})


def test_challenges_of_the_time(gateway: InMemoryGateway) -> None:
    assert gateway.use("key-auth").get("/").response.headers["WWW-Authenticate"] == 'Key realm="kong"'


def test_a_text_of_ones_own_stays(gateway: InMemoryGateway) -> None:
    gateway.use("ip-restriction", deny=["127.0.0.1"], status=404, message="nothing here")
    answer = gateway.get("/")
    assert (answer.status, answer.response.json()) == (404, {"message": "nothing here"})


def test_the_anonymous_consumer_is_let_in(gateway: InMemoryGateway) -> None:
    gateway.use("key-auth", anonymous="ada")
    assert gateway.get("/", headers={"apikey": "wrong"}).status == 200


def test_requests_that_no_api_takes(gateway: InMemoryGateway) -> None:
    gateway.update("routes", gateway.route["id"], paths=["/a"])
    modern = {"message": "no Route matched with those values"}
    assert modern.items() <= gateway.get("/b").response.json().items(), "as long as there is a route of today"
    gateway.update("services", gateway.service["id"], tags=[CLASSIC_API])
    sent = {"Host": "foo.test:99", "X-Host-Override": "bar.test"}
    answer = gateway.get("/b%20c?d=e", headers=sent)
    assert answer.response.json() == {
        "request_path": "/b%20c",
        "message": "API not found with these values",
        "request_host": ["foo.test", "bar.test"],
    }
    assert (answer.status, answer.response.headers["Content-Type"]) == (404, "application/json; charset=utf-8")
    other = gateway.insert("routes", hosts=["other.test"])
    assert modern.items() <= gateway.get("/b").response.json().items()
    gateway.delete("routes", other["id"])
    assert gateway.get("/b").response.json()["message"] == "API not found with these values"


def test_without_the_setting_answers_are_those_of_today(plugin: Any) -> None:
    made = plugin("key-auth")
    made.update("services", made.service["id"], tags=[CLASSIC_API])
    made.update("routes", made.route["id"], paths=["/a"])
    assert made.get("/b").response.json()["message"] == "no Route matched with those values"
    assert made.get("/a", headers={"apikey": "x"}).status == 401
