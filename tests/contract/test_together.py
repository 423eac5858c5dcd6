"""Several entities in one commit: all or none, whatever the store."""

from uuid import uuid4

import pytest

from kong_gevent.db import Batch, Store, together
from kong_gevent.errors import ForeignKeyViolation, PrimaryKeyViolation, SchemaViolation, UniqueViolation


def service_with_route(batch: Batch, name: str, path: str = "/a") -> str:
    key = str(uuid4())
    batch.insert("routes", {"name": f"{name}-route", "paths": [path], "service": {"id": key}})
    batch.insert("services", {"id": key, "name": name, "host": "h"})
    return key


def content(store: Store) -> tuple[int, int]:
    return store.dao("services").count(), store.dao("routes").count()


def test_a_child_and_its_parent_are_stored_at_once(store: Store) -> None:
    key = together(store, lambda batch: service_with_route(batch, "s"))
    route = store.dao("routes").select_by("name", "s-route")
    assert route is not None and route["service"] == {"id": key}


def test_updates_and_deletions_go_along(store: Store) -> None:
    key = together(store, lambda batch: service_with_route(batch, "s"))
    store.dao("plugins").insert({"name": "key-auth", "service": {"id": key}})
    route = store.dao("routes").select_by("name", "s-route")
    assert route is not None

    def work(batch: Batch) -> None:
        batch.update("services", key, {"name": "t"})
        batch.delete(("routes", route["id"]), ("routes", str(uuid4())))

    together(store, work)
    assert store.dao("services").select_by("name", "t") is not None
    assert content(store) == (1, 0)
    together(store, lambda batch: batch.delete(("services", key)))
    assert content(store) == (0, 0)
    assert store.dao("plugins").count() == 0


def test_parents_go_with_children_that_would_keep_them(store: Store) -> None:
    key = together(store, lambda batch: service_with_route(batch, "s"))
    with pytest.raises(ForeignKeyViolation):
        together(store, lambda batch: batch.delete(("services", key)))
    route = store.dao("routes").select_by("name", "s-route")
    assert route is not None
    together(store, lambda batch: batch.delete(("routes", route["id"]), ("services", key)))
    assert content(store) == (0, 0)


def test_one_refusal_refuses_all(store: Store) -> None:
    together(store, lambda batch: service_with_route(batch, "s"))

    def same_route(batch: Batch) -> None:
        batch.insert("services", {"name": "new", "host": "h"})
        batch.insert("routes", {"name": "s-route", "paths": ["/b"]})

    with pytest.raises(UniqueViolation) as taken:
        together(store, same_route)
    assert taken.value.fields == {"name": "s-route"}

    def dangling(batch: Batch) -> None:
        batch.insert("services", {"name": "new", "host": "h"})
        batch.insert("routes", {"paths": ["/b"], "service": {"id": str(uuid4())}})

    with pytest.raises(ForeignKeyViolation):
        together(store, dangling)

    def invalid(batch: Batch) -> None:
        batch.insert("services", {"name": "new", "host": "h"})
        batch.insert("routes", {"paths": ["b"]})

    with pytest.raises(SchemaViolation):
        together(store, invalid)
    assert content(store) == (1, 1)


def test_an_id_that_is_taken_is_said_so(store: Store) -> None:
    key = together(store, lambda batch: service_with_route(batch, "s"))
    with pytest.raises(PrimaryKeyViolation):
        together(store, lambda batch: batch.insert("services", {"id": key, "host": "h"}))


def test_work_is_done_again_when_another_writer_was_faster(store: Store) -> None:
    key = together(store, lambda batch: service_with_route(batch, "s"))
    turns: list[int] = []

    def work(batch: Batch) -> None:
        found = store.dao("services").select(key)
        assert found is not None
        batch.update("services", key, {"retries": found["retries"] + 1})
        turns.append(1)
        if len(turns) == 1:
            store.dao("services").update(key, {"retries": 10})

    together(store, work)
    found = store.dao("services").select(key)
    assert found is not None and (found["retries"], len(turns)) == (11, 2)
