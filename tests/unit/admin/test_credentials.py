"""Credentials of the bundled plugins through the Admin API: keys below the consumer, hashes, what is taken."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kong_gevent.admin import LocalNode, create_app
from kong_gevent.conf import load
from kong_gevent.db import open_store
from kong_gevent.pdk.loader import load_plugins
from tests.unit.admin.api import Api


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    settings = load(overrides={"database": "memory", "prefix": str(tmp_path)}, environ={})
    store = open_store(settings, load_plugins(["bundled"]))
    store.connect()
    node = LocalNode(settings, store)
    made = Api(create_app(node), node)
    made.make("/consumers", username="ann")
    yield made
    store.close()


def test_groups_are_named_below_their_consumer(api: Api) -> None:
    row = api.make("/consumers/ann/acls", group="staff")
    assert api.get("/consumers/ann/acls/staff") == api.get(f"/acls/{row['id']}") == (200, row)
    assert api.put("/consumers/ann/acls/new", {})[1]["group"] == "new"
    assert api.get("/acls/staff")[0] == 400
    assert api.get("/consumers/ann/acls/other")[0] == api.delete("/consumers/ann/acls/other")[0] == 404
    status, body = api.post("/consumers/ann/acls", {"group": "staff"})
    assert (status, body["fields"]) == (409, {"consumer": row["consumer"], "group": "staff"})
    assert api.delete("/consumers/ann/acls/staff")[0] == 204


def test_passwords_below_their_consumer_need_no_more(api: Api) -> None:
    row = api.make("/consumers/ann/basic-auth", username="a", password="x")
    assert api.patch("/consumers/ann/basic-auth/a", {"username": "b"})[1]["password"] == row["password"]
    changed = api.patch("/consumers/ann/basic-auth/b", {"password": "y"})[1]
    assert changed["password"] not in ("y", row["password"])
    assert api.patch("/basic-auths/b", {"password": "z"})[1]["message"] == (
        "schema violation (all or none of these fields must be set: 'password', 'consumer.id')"
    )


@pytest.mark.parametrize(
    ("nested", "collection", "key", "values"),
    [("basic-auth", "basic-auths", "username", {"password": "x"}), ("hmac-auth", "hmac-auths", "username", {}),
     ("jwt", "jwts", "key", {}), ("key-auth", "key-auths", "key", {})],
)  # fmt: skip
def test_credentials_have_their_paths(api: Api, nested: str, collection: str, key: str, values: dict[str, str]) -> None:
    row = api.make(f"/consumers/ann/{nested}", **{key: "k"}, **values)
    assert api.get(f"/{collection}/k") == api.get(f"/consumers/ann/{nested}/{row['id']}") == (200, row)
    assert api.get(f"/{collection}/k/consumer")[1]["username"] == "ann"
    assert api.delete("/consumers/ann")[0] == 204
    assert api.all(f"/{collection}") == []
