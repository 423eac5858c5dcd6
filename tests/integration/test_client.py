"""The Python client against a real gateway, and against servers that do not keep to the protocol."""

import pytest

from kong_gevent.client import (
    ApiError,
    Client,
    ClientError,
    Conflict,
    Invalid,
    NotFound,
    ServerFault,
    Unreachable,
)
from tests.gateway import LOOPBACK, free_ports
from tests.upstream import CLOSE, answer


@pytest.fixture
def api(gateway):
    with Client(gateway.admin_url) as client:
        yield client
    gateway.reset()


def test_the_verbs(api):
    services = api.collection("services")
    made = services.create({"name": "s", "url": "http://127.0.0.1:9/base"})
    assert made["path"] == "/base"
    assert services.get("s") == made
    assert services.update("s", {"retries": 2})["retries"] == 2
    assert services.upsert("s", {"host": "h"})["retries"] == 5
    assert services.upsert(made["id"], {"host": "other"})["id"] == made["id"]
    services.delete(made["id"])
    services.delete(made["id"])
    assert services.find("s") is None


def test_nested_collections_and_keys_with_any_character(api):
    consumers = api.collection("consumers")
    consumers.create({"username": "a/b ü?"})
    keys = consumers.of("a/b ü?", "key-auth")
    assert keys.path == "/consumers/a%2Fb%20%C3%BC%3F/key-auth"
    made = keys.create({"key": "k"})
    assert api.collection("consumers", "a/b ü?", "key-auth").get("k") == made
    with pytest.raises(NotFound):
        keys.delete("other")


def test_lists_go_over_all_pages(api):
    consumers = api.collection("consumers")
    for number in range(7):
        consumers.create({"username": f"u{number}", "tags": ["even" if number % 2 == 0 else "odd", "all"]})
    page = consumers.list(size=3)
    assert len(page.data) == 3
    assert page.offset
    assert len(consumers.list(size=1000).data) == 7
    assert consumers.list(size=1000).offset is None
    assert {row["username"] for row in consumers.iterate(size=2)} == {f"u{number}" for number in range(7)}
    assert len(list(consumers.iterate(size=2, tags="even,all"))) == 4
    assert len(list(consumers.iterate(size=2, tags="even/odd"))) == 7
    assert len(api.tagged("even")) == 4
    assert len(list(api.tags.iterate())) == 14


def test_the_node(api):
    assert api.node()["tagline"] == "Welcome to kong"
    assert api.status(unit="b")["database"] == {"reachable": True}
    assert api.schema("services")["fields"][0] == {"id": api.schema("services")["fields"][0]["id"]}
    assert "config" in [*api.schema("plugins/key-auth")["fields"][-1], *api.schema("plugins/key-auth")["fields"][-2]]
    assert "/services/{services}" in api.endpoints()
    assert api.validate("services", {"host": "h"}) is None
    assert api.request("GET", "/debug/node/log-level") == {"message": "log level: info"}


def test_whole_documents(make_gateway):
    text = '_format_version: "3.0"\nservices:\n- name: one\n  host: h\n'
    with Client(make_gateway(database="off").admin_url) as api:
        (service,) = api.load_config(text, check_hash=True)["services"].values()
        assert (service["name"], service["retries"]) == ("one", 5)
        assert api.load_config(text, check_hash=True) is None, "it is loaded already"
        assert "name: one" in api.config()
        assert api.load_config({"_format_version": "3.0"}) == {}
        with pytest.raises(Invalid) as caught:
            api.load_config({"_format_version": "3.0", "services": [{"name": "two"}]}, flatten_errors=True)
    assert caught.value.body["flattened_errors"][0]["entity_name"] == "two"


def test_errors_carry_what_the_api_said(api):
    consumers = api.collection("consumers")
    consumers.create({"username": "u"})
    with pytest.raises(Conflict) as conflict:
        consumers.create({"username": "u"})
    assert (conflict.value.status, conflict.value.code, conflict.value.name) == (409, 5, "unique constraint violation")
    assert conflict.value.fields == {"username": "u"}
    assert conflict.value.message == """UNIQUE violation detected on '{username="u"}'"""
    with pytest.raises(Invalid) as invalid:
        api.collection("services").create({"host": 5})
    assert (invalid.value.code, invalid.value.fields) == (2, {"host": "expected a string"})
    with pytest.raises(NotFound, match="GET /services/none: 404 Not found"):
        api.collection("services").get("none")
    with pytest.raises(ApiError):
        api.request("POST", "/services", b"x", headers={"Content-Type": "text/plain"})


@pytest.mark.parametrize("url", ["", "127.0.0.1:8001", "ftp://h", "http://", "http:///x"])
def test_addresses_that_are_none(url):
    with pytest.raises(ClientError, match="is no address of an Admin API"):
        Client(url)


def test_nobody_there():
    (port,) = free_ports(1)
    with Client(f"http://{LOOPBACK}:{port}", retries=0) as api, pytest.raises(Unreachable, match="refused"):
        api.node()


def scripted(*answers):
    """These answers in turn; CLOSE: none, the connection is cut."""
    left = iter(answers)
    return lambda request: [next(left), CLOSE]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize("first", [CLOSE, answer(503, headers=[("Retry-After", "0")])], ids=["cut", "busy"])
def test_idempotent_requests_are_tried_again(make_upstream, method, first):
    server = make_upstream(scripted(first, answer(200, b'{"a":1}')))
    with Client(server.url) as api:
        assert api.request(method, "/x") == {"a": 1}
    assert len(server.requests) == 2


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_others_are_not(make_upstream, method):
    server = make_upstream(scripted(CLOSE, answer(200)))
    with Client(server.url) as api, pytest.raises(Unreachable):
        api.request(method, "/x", {})
    assert len(server.requests) == 1


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_nor_those_that_the_api_was_too_busy_for(make_upstream, method):
    server = make_upstream(scripted(answer(503, b'{"message":"later"}')))
    with Client(server.url) as api, pytest.raises(ServerFault, match="later") as fault:
        api.request(method, "/x", {})
    assert (fault.value.status, len(server.requests)) == (503, 1)


def test_a_repeated_delete_that_finds_nothing_has_succeeded(make_upstream):
    server = make_upstream(scripted(CLOSE, answer(404)))
    with Client(server.url) as api:
        api.collection("consumers", "u", "key-auth").delete("k")


def test_tokens_go_nowhere_else(make_upstream):
    other = make_upstream(scripted(answer(200)))
    server = make_upstream(scripted(answer(302, headers=[("Location", other.url)])))
    with Client(server.url, token="secret") as api, pytest.raises(Unreachable, match="redirects to"):
        api.node()
    assert server.requests[0].get("authorization") == "Bearer secret"
    assert other.requests == []


def test_what_is_no_json_is_told_as_it_is(make_upstream):
    server = make_upstream(scripted(answer(502, b"<html>bad</html>")))
    with Client(server.url, retries=0) as api, pytest.raises(ServerFault, match="<html>bad</html>"):
        api.node()
