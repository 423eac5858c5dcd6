"""The Admin endpoints of credentials: the same for every kind, below their consumer and by themselves."""

from collections.abc import Iterator
from typing import Any

import pytest

from kong_gevent.pdk.testing import InMemoryGateway

KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "key-auth": ("key-auths", "key", {}),
    "basic-auth": ("basic-auths", "username", {"password": "secret"}),
    "hmac-auth": ("hmac-auths", "username", {"secret": "secret"}),
    "jwt": ("jwts", "key", {"secret": "secret"}),
    "oauth2": ("oauth2", "client_id", {"name": "app"}),
}
"""Name below a consumer: collection, field that stands for it in paths, what else is needed."""


@pytest.fixture(scope="module")
def made() -> Iterator[InMemoryGateway]:
    gateway = InMemoryGateway()
    for name in ("ada", "bob"):
        gateway.consumer(name)
    yield gateway
    gateway.close()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_below_their_consumer(made: InMemoryGateway, kind: str) -> None:
    collection, field, more = KINDS[kind]
    path = f"/consumers/ada/{kind}"
    created = made.admin("POST", path, json={field: "one", **more})
    assert created.status_code == 201
    identifier = created.json["id"]
    assert [entity["id"] for entity in made.admin("GET", path).json["data"]] == [identifier]
    for name in ("one", identifier):
        assert made.admin("GET", f"{path}/{name}").json["id"] == identifier
        assert made.admin("GET", f"{path}/{name}/").status_code == 200
        assert made.admin("PATCH", f"{path}/{name}", json={"tags": ["t"]}).json["tags"] == ["t"]
        assert made.admin("GET", f"/consumers/bob/{kind}/{name}").status_code == 404
        assert made.admin("DELETE", f"/consumers/bob/{kind}/{name}").status_code == 404
    assert [entity["id"] for entity in made.admin("GET", f"/{collection}?tags=t").json["data"]] == [identifier]
    replaced = made.admin("PUT", f"{path}/one", json=more)
    assert (replaced.status_code, replaced.json[field], replaced.json["tags"]) == (200, "one", None)
    assert [made.admin("DELETE", f"{path}/one").status_code for _ in range(2)] == [204, 404]
    made.admin("DELETE", f"/{collection}/{replaced.json['id']}")


def test_by_themselves(made: InMemoryGateway, kind: str) -> None:
    collection, field, more = KINDS[kind]
    owner = {"id": made.admin("GET", "/consumers/ada").json["id"]}
    missing = made.admin("POST", f"/{collection}", json={field: "two", **more})
    assert missing.status_code == 400
    assert missing.json["message"] == "schema violation (consumer: required field missing)"
    created = made.admin("PUT", f"/{collection}/two", json={"consumer": owner, **more})
    assert (created.status_code, created.json[field]) == (200, "two")
    again = made.admin("POST", f"/{collection}", json={field: "two", "consumer": owner, **more})
    assert (again.status_code, again.json["code"], again.json["name"]) == (409, 5, "unique constraint violation")
    assert made.admin("GET", f"/{collection}/two").json["id"] == created.json["id"]
    assert made.admin("GET", f"/{collection}/two/consumer").json["username"] == "ada"
    assert made.admin("PATCH", f"/{collection}/two/consumer", json={"custom_id": kind}).json["custom_id"] == kind
    assert [made.admin("DELETE", f"/{collection}/two").status_code for _ in range(2)] == [204, 204]
    assert made.admin("GET", f"/{collection}/two").status_code == 404


def test_values_are_made_for_those_that_are_not_given(made: InMemoryGateway) -> None:
    for kind, fields in (
        ("key-auth", ("key",)),
        ("jwt", ("key", "secret")),
        ("oauth2", ("client_id", "client_secret")),
    ):
        entity = made.admin("POST", f"/consumers/bob/{kind}", json={"name": "app"} if kind == "oauth2" else {}).json
        for field in fields:
            assert len(entity[field]) == 32
            assert entity[field].isalnum()


def test_groups_go_by_their_name_below_a_consumer(made: InMemoryGateway) -> None:
    path = "/consumers/bob/acls"
    first = made.admin("PUT", f"{path}/staff", json={})
    assert (first.status_code, first.json["group"]) == (200, "staff")
    assert made.admin("PUT", f"{path}/staff", json={}).json["id"] == first.json["id"]
    for name in ("staff", first.json["id"]):
        assert made.admin("GET", f"{path}/{name}").json["group"] == "staff"
    assert made.admin("GET", f"/acls/{first.json['id']}").status_code == 200
    assert made.admin("GET", "/acls/staff").status_code == 400
    assert made.admin("GET", "/consumers/ada/acls/staff").status_code == 404
    taken = made.admin("POST", path, json={"group": "staff"})
    assert (taken.status_code, taken.json["code"]) == (409, 5)
    assert made.admin("POST", path, json={}).json["fields"] == {"group": "required field missing"}
    for method in ("GET", "PATCH", "DELETE"):
        assert made.admin(method, f"{path}/none", json={"group": "x"}).status_code == 404
    assert made.admin("DELETE", f"{path}/staff").status_code == 204


def test_keys_may_have_a_time_to_live(made: InMemoryGateway) -> None:
    path = "/consumers/bob/key-auth"
    assert made.admin("POST", path, json={"key": "short", "ttl": 500}).json["ttl"] == 500
    assert 490 <= made.admin("GET", "/key-auths/short").json["ttl"] <= 500
    assert made.admin("PATCH", "/key-auths/short", json={"ttl": 1000}).json["ttl"] == 1000
    assert made.admin("PUT", f"{path}/short", json={"ttl": 20}).json["ttl"] == 20
    assert made.admin("PUT", f"{path}/short", json={}).json["ttl"] is None
    refused = made.admin("POST", path, json={"key": "bad", "ttl": -1})
    assert (refused.status_code, list(refused.json["fields"])) == (400, ["ttl"])


def test_a_consumers_credentials_go_with_it(made: InMemoryGateway) -> None:
    made.consumer("eve", "key of eve")
    assert made.admin("GET", "/key-auths/key of eve").status_code == 200
    assert made.admin("DELETE", "/consumers/eve").status_code == 204
    assert made.admin("GET", "/key-auths/key of eve").status_code == 404
