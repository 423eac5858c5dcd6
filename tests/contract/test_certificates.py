"""A certificate and its server names change together, in every store."""

import pytest

from kong_gevent import errors
from kong_gevent.db import Store
from tests.pem import certificate, private_key


def body(number: int = 0, **more):
    return {"cert": certificate(number=number), "key": private_key(number=number), **more}


def names(store: Store) -> dict[str, str]:
    return {sni["name"]: sni["certificate"]["id"] for sni in store.dao("snis").each()}


def test_names_follow_their_certificate(store: Store) -> None:
    dao = store.dao("certificates")
    row = dao.insert(body(snis=["a.test", "b.test"]))
    assert names(store) == {"a.test": row["id"], "b.test": row["id"]}
    assert dao.select(row["id"]) == row
    before = store.last_event_id()
    assert dao.update(row["id"], {"snis": ["b.test", "c.test"]})["snis"] == ["b.test", "c.test"]
    changed = {(event.entity, event.op) for event in store.events_after(before)}
    assert changed == {("certificates", "update"), ("snis", "delete"), ("snis", "create")}
    assert dao.upsert(row["id"], body(1))["snis"] == []
    assert dao.upsert(row["id"], body(1, snis=["d.test"]))["snis"] == ["d.test"]
    assert dao.page()[0] == [dao.select(row["id"])]
    assert dao.delete(row["id"])
    assert names(store) == {}


def test_a_taken_name_changes_nothing(store: Store) -> None:
    dao = store.dao("certificates")
    holder = dao.insert(body(snis=["a.test"]))
    own = dao.insert(body(1, snis=["b.test"]))
    text = f"a.test already associated with existing certificate '{holder['id']}'"
    for write in (
        lambda: dao.insert(body(2, snis=["c.test", "a.test"])),
        lambda: dao.update(own["id"], {"snis": ["c.test", "a.test"]}),
        lambda: dao.upsert(own["id"], body(2, snis=["a.test"])),
    ):
        with pytest.raises(errors.SchemaViolation) as caught:
            write()
        assert caught.value.fields == {"snis": text}
    assert names(store) == {"a.test": holder["id"], "b.test": own["id"]}
    assert {row["id"] for row in dao.each()} == {holder["id"], own["id"]}


def test_a_combination_is_found(store: Store) -> None:
    upstream = store.dao("upstreams").insert({"name": "u.test"})
    target = store.dao("targets").insert({"upstream": {"id": upstream["id"]}, "target": "h"})
    found = store.dao("targets").select_together({"target": "h:8000", "upstream": {"id": upstream["id"]}})
    assert found == target
    assert store.dao("targets").select_together({"target": "x:1", "upstream": {"id": upstream["id"]}}) is None
