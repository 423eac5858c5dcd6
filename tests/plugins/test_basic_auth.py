"""basic-auth: how passwords are kept, which names and passwords are recognised, and what is refused."""

from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest

from kong_gevent.declarative import Document, read_yaml
from kong_gevent.errors import SchemaViolation, StoreUnavailable
from kong_gevent.pdk.testing import InMemoryGateway, Run
from kong_gevent.plugins.basic_auth import hashed, parsed

Make = Callable[..., InMemoryGateway]
CONSUMER = "7f6b0f4e-2d7a-4d0e-9a55-0c3d8a1b9e21"
TOGETHER = "schema violation (all or none of these fields must be set: 'password', 'consumer.id')"


def basic(text: str, scheme: str = "Basic ") -> str:
    return scheme + b64encode(text.encode()).decode()


def refused(run: Run, realm: str = "service") -> None:
    assert run.upstreams == []
    assert (run.status, run.response.json()["message"]) == (401, "Unauthorized")
    assert run.response.headers["WWW-Authenticate"] == f'Basic realm="{realm}"'
    assert run.response.json()["request_id"]


@pytest.fixture
def gateway(plugin: Make) -> Make:
    def make(**config: Any) -> InMemoryGateway:
        made = plugin("basic-auth", **config)
        made.consumer("Ada", custom_id="c-1")
        made.insert("basicauth_credentials", username="ada", password="s3cret", consumer={"username": "Ada"})
        return made

    return make


@pytest.mark.parametrize(
    ("password", "stored"),
    [
        ("Tr0ub4dor&3", "2111fe1254e27531273a8adcc0e2f9b4a4378e8c"),
        ("pässwort ", "af07fb039f75c3cc4302419534d4695f445db235"),
        ("", "051e17641c78aa8c1e2e453ebb7cb25f2ac64936"),
    ],
)
def test_hashes_are_kongs(password: str, stored: str) -> None:
    assert hashed(password.encode(), CONSUMER) == stored


@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        ("Basic YWRhOnMzY3JldA==", ("ada", b"s3cret")),
        ("basic   YWRhOmE6Yg==", ("ada", b"a:b")),
        ("xBasicYWRhOg==", ("ada", b"")),
        ("Basic Ong=", None),
        ("Basic YWRh", None),
        ("BASIC YWRhOnMzY3JldA==", None),
        ("Basic YWRhOnMzY3JldA", None),
        ("Basic YWRhOnMzY3JldA== x", None),
        ("Basic é", None),
        ("Basic " + b64encode(b"\xff:x").decode(), None),
        ("Basic", None),
        ("Bearer x", None),
    ],
)
def test_what_a_header_means(value: str, meaning: tuple[str, bytes] | None) -> None:
    assert parsed(value) == meaning


class TestStored:
    """The entity."""

    @pytest.fixture
    def made(self, gateway: Make) -> InMemoryGateway:
        return gateway()

    def test_passwords_are_kept_and_shown_as_hashes(self, made: InMemoryGateway) -> None:
        made.insert("consumers", username="eve", id=CONSUMER)
        stored = made.insert("basicauth_credentials", username="e", password="Tr0ub4dor&3", consumer={"id": CONSUMER})
        assert stored["password"] == "2111fe1254e27531273a8adcc0e2f9b4a4378e8c"
        assert made.store.dao("basicauth_credentials").select(stored["id"]) == stored

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({}, "3 schema violations (consumer: required field missing; password: required field missing; "
             "username: required field missing)"),
            ({"username": "x", "password": "", "consumer": {"username": "Ada"}},
             "schema violation (password: length must be at least 1)"),
            ({"username": "x", "password": None, "consumer": {"username": "Ada"}},
             "schema violation (password: required field missing)"),
        ],
    )  # fmt: skip
    def test_bad_credentials(self, made: InMemoryGateway, values: dict[str, Any], message: str) -> None:
        with pytest.raises(SchemaViolation) as caught:
            made.insert("basicauth_credentials", **values)
        assert caught.value.message == message

    def test_a_change_has_password_and_consumer_or_none_of_them(self, made: InMemoryGateway) -> None:
        dao, bob = made.store.dao("basicauth_credentials"), made.consumer("bob")
        stored = dao.select_by("username", "ada")
        assert stored is not None
        for patch in ({"password": "new"}, {"consumer": {"id": bob["id"]}}):
            with pytest.raises(SchemaViolation) as caught:
                dao.update(stored["id"], patch)
            assert caught.value.message == TOGETHER
            assert caught.value.fields == {"@entity": ["all or none of these fields must be set: "
                                                       "'password', 'consumer.id'"]}  # fmt: skip
        assert (
            dao.update(stored["id"], {"username": "a", "consumer": stored["consumer"]})["password"]
            == (stored["password"])
        )
        moved = dao.update(stored["id"], {"password": "x", "consumer": {"id": bob["id"]}})
        assert moved["password"] == hashed(b"x", bob["id"])

    def test_documents_have_passwords_in_clear_or_hashes(self, made: InMemoryGateway) -> None:
        text = (
            f'_format_version: "3.0"\nconsumers: [{{id: {CONSUMER}, username: eve, '
            "basicauth_credentials: [{username: e, password: Tr0ub4dor&3}]}]\n"
        )
        for extra, stored in (("", "2111fe1254e27531273a8adcc0e2f9b4a4378e8c"), ("_transform: false\n", "Tr0ub4dor&3")):
            with Document.load(read_yaml(text + extra), made.store.catalogue) as document:
                (entry,) = document.entries("basicauth_credentials")
                assert document.values(entry)["password"] == stored


def test_the_upstream_learns_who_asks(gateway: Make) -> None:
    made = gateway()
    for _ in range(2):  # the second time from memory
        upstream = made.get(headers={"Authorization": basic("ada:s3cret")}).upstream
        assert upstream.headers["X-Consumer-Username"] == "Ada"
        assert upstream.headers["X-Consumer-Custom-ID"] == "c-1"
        assert upstream.headers["X-Credential-Identifier"] == "ada"
        assert upstream.headers["Authorization"] == basic("ada:s3cret")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer x"},
        {"Authorization": basic("ada:wrong")},
        {"Authorization": basic("bob:s3cret")},
        {"Authorization": basic("ada:")},
        {"Authorization": basic(":s3cret")},
        {"Proxy-Authorization": basic("ada:wrong"), "Authorization": basic("ada:s3cret")},
    ],
    ids=["nothing", "scheme", "password", "name", "empty password", "empty name", "the first name decides"],
)
def test_all_else_is_refused_in_one_way(gateway: Make, headers: dict[str, str]) -> None:
    refused(gateway(realm="x").get(headers=headers), "x")


@pytest.mark.parametrize(
    "headers",
    [
        {"Proxy-Authorization": basic("ada:s3cret")},
        {"Proxy-Authorization": basic("ada:s3cret"), "Authorization": basic("ada:wrong")},
        {"Proxy-Authorization": basic("bob:s3cret"), "Authorization": basic("ada:s3cret")},
        {"Proxy-Authorization": "Bearer x", "Authorization": basic("ada:s3cret")},
    ],
    ids=["proxy", "proxy first", "unknown there", "not parsable there"],
)
def test_where_credentials_are_found(gateway: Make, headers: dict[str, str]) -> None:
    assert gateway().get(headers=headers).status == 200


@pytest.mark.parametrize("password", ["s3cret", "wrong"])
def test_credentials_are_hidden_whether_right_or_wrong(gateway: Make, password: str) -> None:
    made = gateway(hide_credentials=True, anonymous="guest")
    made.consumer("guest")
    for _ in range(2):
        upstream = made.get(headers={"Authorization": basic(f"ada:{password}")}).upstream
        assert "Authorization" not in upstream.headers
        assert upstream.headers["X-Consumer-Username"] == ("Ada" if password == "s3cret" else "guest")


def test_changes_count_at_once(gateway: Make) -> None:
    made = gateway()
    headers = {"Authorization": basic("ada:s3cret")}
    assert made.get(headers=headers).status == 200
    stored = made.store.dao("basicauth_credentials").select_by("username", "ada")
    assert stored is not None
    made.update("basicauth_credentials", stored["id"], password="new", consumer=stored["consumer"])
    refused(made.get(headers=headers))
    assert made.get(headers={"Authorization": basic("ada:new")}).status == 200
    made.delete("consumers", stored["consumer"]["id"])
    refused(made.get(headers={"Authorization": basic("ada:new")}))


def test_a_datastore_that_is_away_lets_nobody_pass(gateway: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = gateway(anonymous="guest")
    made.consumer("guest")

    def away(*arguments: Any) -> Any:
        raise StoreUnavailable("away")

    monkeypatch.setattr(made.store.strategy, "find", away)
    assert made.get(headers={"Authorization": basic("ada:s3cret")}).status == 503


@pytest.mark.parametrize(
    ("config", "fields"),
    [
        ({"realm": None}, {"realm": "required field missing"}),
        ({"realm": ""}, {"realm": "length must be at least 1"}),
        ({"hide_credentials": "yes"}, {"hide_credentials": "expected a boolean"}),
        ({"anonymous": 1}, {"anonymous": "expected a string"}),
    ],
)
def test_bad_configurations(plugin: Make, config: dict[str, Any], fields: dict[str, str]) -> None:
    with pytest.raises(SchemaViolation) as caught:
        plugin("basic-auth", **config)
    assert caught.value.fields == {"config": fields}
