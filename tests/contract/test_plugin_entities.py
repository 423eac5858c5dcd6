"""Entities of plugins: keys within a parent, transformed values, lists that nodes keep, plugins that have gone."""

from typing import Any

import pytest

from kong_gevent import errors
from kong_gevent.db import Store, build


@pytest.fixture
def ann(store: Store) -> dict[str, Any]:
    return store.dao("consumers").insert({"username": "ann"})


def group(store: Store, consumer: dict[str, Any], **values: Any) -> dict[str, Any]:
    return store.dao("groups").insert({"consumer": {"id": consumer["id"]}, **values})


def test_a_key_counts_within_its_parent(store: Store, ann: dict[str, Any]) -> None:
    bob = store.dao("consumers").insert({"username": "bob"})
    made = [group(store, consumer, name="admin") for consumer in (ann, bob)]
    dao = store.dao("groups")
    assert dao.select_together({"consumer": {"id": ann["id"]}, "name": "admin"}) == made[0]
    assert dao.select_together({"consumer": {"id": bob["id"]}, "name": "admin"}) == made[1]
    assert dao.select_together({"consumer": {"id": bob["id"]}, "name": "other"}) is None
    with pytest.raises(errors.UniqueViolation) as caught:
        group(store, ann, name="admin")
    assert caught.value.fields == {"consumer": {"id": ann["id"]}, "name": "admin"}


def test_values_are_transformed_once(store: Store, ann: dict[str, Any]) -> None:
    dao, made = store.dao("groups"), group(store, ann, name="a", secret="abc")
    assert made["secret"] == "cba"
    assert dao.update(made["id"], {"name": "b"})["secret"] == "cba"
    assert dao.update(made["id"], {"secret": "cba"})["secret"] == "abc"
    assert dao.upsert(made["id"], {"name": "c", "secret": "xy", "consumer": made["consumer"]})["secret"] == "yx"
    with pytest.raises(errors.SchemaViolation, match=r"^schema violation \(a new consumer needs its secret\)$"):
        dao.update(made["id"], {"consumer": made["consumer"]})


def test_changes_name_the_lists_that_they_touch(store: Store, ann: dict[str, Any]) -> None:
    bob = store.dao("consumers").insert({"username": "bob"})
    made = group(store, ann, name="a")
    cursor = store.last_event_id()
    store.dao("groups").update(made["id"], {"consumer": {"id": bob["id"]}, "secret": "x"})
    store.dao("consumers").delete(bob["id"])
    events = store.events_after(cursor)
    touched = [set(event.cache_keys) for event in events if event.entity == "groups"]
    new, old = f"groups:consumer:{bob['id']}", f"groups:consumer:{ann['id']}"
    assert [{old, new} & keys for keys in touched] == [{old, new}, {new}]


def test_what_entities_of_an_absent_plugin_refer_to_stays(store: Store, ann: dict[str, Any]) -> None:
    group(store, ann, name="a")
    other = Store(store.strategy, build({}))
    with pytest.raises(errors.ForeignKeyViolation) as caught:
        other.dao("consumers").delete(ann["id"])
    assert caught.value.message == "an existing 'groups' entity references this 'consumers' entity"
    assert store.dao("groups").count() == 1
    store.dao("consumers").delete(ann["id"])
    assert store.dao("groups").count() == 0
