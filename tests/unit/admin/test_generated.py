"""A schema is all that a new entity needs: endpoints, documents, paging and errors follow from it."""

from types import SimpleNamespace

import pytest

from kong_gevent.admin import LocalNode, create_app
from kong_gevent.admin.generate import blueprints
from kong_gevent.conf import load
from kong_gevent.db import Entity, open_store
from kong_gevent.schema import Config, Record, fields
from tests.unit.admin.api import Api

NOWHERE = "11111111-1111-4111-8111-111111111111"


class Thing(Record):
    """Something without a key, that belongs to a service and goes with it."""

    id = fields.UUID(auto=True)
    service = fields.Foreign("services", on_delete="cascade")
    size = fields.Integer(required=True, load_default=1)
    tags = fields.Tags()


class Shelf(Record):
    """Something with a key, that things cannot do without."""

    id = fields.UUID(auto=True)
    label = fields.Utf8Name()


class Hidden(Record):
    """Something that the API does not offer."""

    id = fields.UUID(auto=True)


@pytest.fixture
def api(tmp_path):
    settings = load(overrides={"database": "memory", "prefix": str(tmp_path)}, environ={})
    extra = [
        Entity("things", Thing(), collection="all-things", nested="things"),
        Entity("shelves", Shelf(), endpoint_key="label"),
        Entity("hidden", Hidden(), admin=False),
    ]
    store = open_store(settings, {"bringer": SimpleNamespace(config=Config, entities=extra)})
    store.connect()
    node = LocalNode(settings, store)
    return Api(create_app(node), node)


def test_paths(api):
    found = api.get("/endpoints")[1]["data"]
    assert {path for path in found if "things" in path or "shelves" in path or "hidden" in path} == {
        "/all-things",
        "/all-things/{things}",
        "/all-things/{things}/service",
        "/services/{services}/things",
        "/services/{services}/things/{things}",
        "/shelves",
        "/shelves/{shelves}",
    }


def test_life_of_a_thing(api):
    service = api.make("/services", name="s", host="h")
    row = api.make("/services/s/things", size=3)
    assert row == {"id": row["id"], "service": {"id": service["id"]}, "size": 3, "tags": None}
    assert api.get(f"/all-things/{row['id']}") == (200, row)
    assert api.get(f"/all-things/{row['id']}/service") == (200, service)
    assert api.form(f"/all-things/{row['id']}", "size=4&tags=a", "PATCH") == (200, {**row, "size": 4, "tags": ["a"]})
    assert api.put(f"/services/s/things/{NOWHERE}", {})[1]["size"] == 1
    assert len(api.all("/services/s/things", 1)) == len(api.all("/all-things", 1)) == 2
    assert api.get("/all-things?tags=a")[1]["data"] == [{**row, "size": 4, "tags": ["a"]}]
    assert api.delete("/services/s")[0] == 204
    assert api.all("/all-things") == []


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_without_a_key_only_ids_are_identifiers(api, method):
    assert api.call(method, "/all-things/x", {} if method in ("PUT", "PATCH") else None) == (
        400,
        {
            "code": 1,
            "name": "invalid primary key",
            "message": "invalid primary key: '{id=\"expected a valid UUID\"}'",
            "fields": {"id": "expected a valid UUID"},
        },
    )


def test_without_tags_the_filter_is_ignored(api):
    row = api.make("/shelves", label="l")
    assert api.get("/shelves?tags=") == (200, {"data": [row], "next": None})
    assert api.get("/shelves/l") == (200, row)


def test_documents(api):
    assert [name for entry in api.get("/schemas/things")[1]["fields"] for name in entry] == list(Thing().shape)
    assert api.post("/schemas/things/validate", {"size": "x"})[1]["fields"] == {"size": "expected an integer"}


def test_hidden_entities(api):
    assert api.get("/hidden") == (404, {"message": "Not found"})


def test_every_entity_has_its_blueprint(api):
    assert {made.name for made in blueprints(api.node)} == {
        f"entity:{name}" for name, entity in api.node.store.catalogue.items() if entity.admin
    }
