"""Commits as strategies see them: each condition, several operations at once, all of them or none."""

import time
from collections.abc import Sequence
from itertools import permutations
from uuid import uuid4

import pytest

from kong_gevent.db import Store
from kong_gevent.db.strategies.base import (
    Change,
    Delete,
    Duplicate,
    Exists,
    Index,
    MissingParent,
    Operation,
    Put,
    Referenced,
    Row,
    Stale,
)

KIND, CHILD = "consumers", "keyauth_credentials"


def put(name: str, key: str = "", version: int | None = None, expires: float | None = None) -> Put:
    return Put(KIND, key or str(uuid4()), b'"%s"' % name.encode(), Index((("username", name),)), version, expires)


def child(parent: str, key: str = "", version: int | None = None, expires: float | None = None) -> Put:
    return Put(CHILD, key or str(uuid4()), b"1", Index((), (("consumer", KIND, parent),)), version, expires)


def row(store: Store, operation: Operation) -> Row:
    found = store.strategy.read(operation.kind, operation.id)
    assert found is not None
    return found


def delete(store: Store, operation: Operation) -> Delete:
    return Delete(operation.kind, operation.id, row(store, operation).version)


def commit(store: Store, *operations: Operation) -> None:
    store.strategy.commit(operations, [Change(operation.kind, operation.id, "x") for operation in operations])


def children(store: Store, parent: str) -> list[str]:
    return [found.id for found in store.strategy.children((KIND, parent), CHILD, "consumer", None, 100)]


def holder(store: Store, name: str) -> str | None:
    found = store.strategy.find(KIND, "username", name)
    return found.id if found else None


def test_every_write_gives_a_row_another_version(store: Store) -> None:
    made = put("a")
    versions = []
    commit(store, made)
    for name in ("a", "b", "a"):
        versions.append(row(store, made).version)
        commit(store, put(name, made.id, versions[-1]))
    versions.append(row(store, made).version)
    assert len(set(versions)) == 4


def test_versions_are_conditions(store: Store) -> None:
    made, other = put("a"), put("b")
    commit(store, made)
    version = row(store, made).version
    refused: list[tuple[Operation, type[Exception]]] = [
        (put("c", made.id), Exists),
        (put("c", made.id, version + 1), Stale),
        (put("c", other.id, version), Stale),
        (Delete(KIND, made.id, version + 1), Stale),
        (Delete(KIND, other.id, version), Stale),
    ]
    for operation, refusal in refused:
        with pytest.raises(refusal) as caught:
            commit(store, operation)
        assert (caught.value.kind, caught.value.id) == (KIND, operation.id)  # type: ignore[attr-defined]
    assert holder(store, "a") == made.id
    assert holder(store, "c") is None


def test_a_unique_value_is_a_condition(store: Store) -> None:
    made, other = put("a"), put("b")
    commit(store, made, other)
    for operation in (put("a"), put("a", other.id, row(store, other).version)):
        with pytest.raises(Duplicate) as caught:
            commit(store, operation)
        assert (caught.value.kind, caught.value.field, caught.value.value) == (KIND, "username", "a")


def test_holders_of_many_values_in_the_order_of_the_values(store: Store) -> None:
    long = "x" * 4000
    rows = [put(name) for name in ["a", "b", long, *(f"n{number}" for number in range(250))]]
    commit(store, *rows)
    keys = {name: row.id for row in rows for _, name in row.index.unique}
    names = ["missing", "b", *(f"n{number}" for number in reversed(range(250))), long, "a", "b", "B"]
    wanted = [("username", name) for name in names] + [("custom_id", "a")]
    found = [row.id if row is not None else None for row in store.strategy.find_many(KIND, wanted)]
    assert found == [keys.get(name) for name in names] + [None]
    assert store.strategy.find_many(KIND, []) == []


def test_two_rows_of_one_commit_cannot_hold_one_value(store: Store) -> None:
    with pytest.raises(Duplicate):
        commit(store, put("a"), put("a"))
    assert holder(store, "a") is None


def test_a_value_passes_from_a_row_that_goes_to_one_that_comes(store: Store) -> None:
    made, heir = put("a"), put("a")
    commit(store, made)
    commit(store, heir, delete(store, made))
    assert holder(store, "a") == heir.id
    assert store.strategy.read(KIND, made.id) is None


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_values_change_places_in_one_commit(store: Store, order: Sequence[int]) -> None:
    made = [put(name) for name in "abc"]
    commit(store, *made)
    moved = [put(name, each.id, row(store, each).version) for each, name in zip(made, "bcd", strict=True)]
    commit(store, *(moved[at] for at in order))
    assert [holder(store, name) for name in "abcd"] == [None, *(each.id for each in made)]
    turned = [put(name, each.id, row(store, each).version) for each, name in zip(made, "cdb", strict=True)]
    commit(store, *(turned[at] for at in order))
    assert [holder(store, name) for name in "bcd"] == [made[2].id, made[0].id, made[1].id]
    with pytest.raises(Duplicate):
        commit(store, *(put("b", each.id, row(store, each).version) for each in made[:2]), put("new"))
    assert [holder(store, name) for name in ("b", "c", "d", "new")] == [made[2].id, made[0].id, made[1].id, None]


def test_a_row_is_written_once_in_a_commit(store: Store) -> None:
    made = put("a")
    with pytest.raises(Exists):
        commit(store, made, put("b", made.id))
    commit(store, made)
    version = row(store, made).version
    for again in (put("c", made.id, version), Delete(KIND, made.id, version)):
        with pytest.raises(Stale):
            commit(store, put("b", made.id, version), again)
    assert row(store, made).version == version
    commit(store, Delete(KIND, made.id, version), put("b", made.id))
    assert (holder(store, "a"), holder(store, "b")) == (None, made.id)


def test_a_parent_is_a_condition(store: Store) -> None:
    parent = put("a")
    lost = child(parent.id)
    with pytest.raises(MissingParent) as caught:
        commit(store, lost)
    assert (caught.value.kind, caught.value.field) == (CHILD, "consumer")
    assert (caught.value.parent_kind, caught.value.parent_id) == (KIND, parent.id)
    commit(store, lost, parent)  # in one commit the order does not matter
    assert children(store, parent.id) == [lost.id]


def test_a_parent_that_goes_in_the_same_commit_is_missing(store: Store) -> None:
    parent = put("a")
    commit(store, parent)
    with pytest.raises((MissingParent, Referenced)):
        commit(store, child(parent.id), delete(store, parent))
    assert holder(store, "a") == parent.id


def test_a_row_that_is_referred_to_stays(store: Store) -> None:
    parent, other = put("a"), put("b")
    made = child(parent.id)
    commit(store, parent, other, made)
    with pytest.raises(Referenced) as caught:
        commit(store, delete(store, parent))
    assert (caught.value.kind, caught.value.id, caught.value.child_kind) == (KIND, parent.id, CHILD)
    assert children(store, parent.id) == [made.id]
    moved = child(other.id, made.id, row(store, made).version)
    commit(store, delete(store, parent), moved)
    assert (children(store, parent.id), children(store, other.id)) == ([], [made.id])
    commit(store, delete(store, other), delete(store, made))
    assert store.dao(KIND).count() == store.dao(CHILD).count() == 0


def test_what_has_expired_holds_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    parent, passing = put("a"), put("b", expires=time.time() + 60)
    made = child(parent.id, expires=time.time() + 60)
    commit(store, parent, passing, made)
    version = row(store, passing).version
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 61)
    if store.strategy.name == "memory":
        monkeypatch.setattr(store.strategy, "_clock", time.time)
    with pytest.raises(MissingParent):
        commit(store, child(passing.id))
    with pytest.raises(Stale):
        commit(store, put("c", passing.id, version))
    commit(store, delete(store, parent))
    heir = put("b")
    commit(store, heir)
    assert holder(store, "b") == heir.id


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_refusal_refuses_all(store: Store, place: int) -> None:
    made = put("a")
    commit(store, made)
    last = store.last_event_id()
    operations: list[Operation] = [put("b"), delete(store, made)]
    operations.insert(place, Delete(KIND, str(uuid4()), 1))
    with pytest.raises(Stale):
        commit(store, *operations)
    assert (holder(store, "a"), holder(store, "b")) == (made.id, None)
    assert store.last_event_id() == last


def test_a_commit_of_many_rows(store: Store) -> None:
    parent = put("a")
    many: Sequence[Put] = [child(parent.id) for _ in range(500)]
    commit(store, parent, *many)
    assert len(store.events_after(0)) == 501
    found = store.strategy.children((KIND, parent.id), CHILD, "consumer", None, 1000)
    assert [entry.id for entry in found] == sorted(operation.id for operation in many)
    commit(store, *(Delete(entry.kind, entry.id, entry.version) for entry in found), delete(store, parent))
    assert store.dao(CHILD).count() == 0
