"""The commit log: groups, races, outcomes that are not known, histories that fork, entries that are gone."""

import uuid
from collections.abc import Callable
from typing import Any

import gevent
import pytest

from kong_gevent import errors
from kong_gevent.db import Store
from kong_gevent.db.strategies.base import Change, Delete, Index, Put
from kong_gevent.db.strategies.cassandra import log as commit_log
from tests.cassandra import audit
from tests.cassandra.spy import lwts, statements

Node = Callable[[], Store]


def consumer_puts(number: int, **index: Any) -> tuple[list[Put], list[Change]]:
    ids = [str(uuid.uuid4()) for _ in range(number)]
    puts = [Put("consumers", key, b"{}", Index((("username", key),), **index)) for key in ids]
    return puts, [Change("consumers", key, "create", (f"consumers:username:{key}",)) for key in ids]


# groups


def test_commits_that_wait_go_together_and_fail_by_themselves(store: Store) -> None:
    dao = store.dao("consumers")
    dao.insert({"username": "taken"})
    names = ["taken" if number % 5 == 0 else f"n{number}" for number in range(50)]
    with statements(store) as sent:
        jobs = [gevent.spawn(dao.insert, {"username": name}) for name in names]
        gevent.joinall(jobs)
    assert lwts(sent) < 10
    failures = [job.exception for job in jobs]
    assert [isinstance(failure, errors.UniqueViolation) for failure in failures] == [name == "taken" for name in names]
    assert len(audit.check(store)) == 41
    assert len(store.events_after(0)) == 41


def test_commits_of_a_group_see_each_other(store: Store) -> None:
    strategy = store.strategy
    (first, second), _ = consumer_puts(2)
    key = Put("keyauth_credentials", str(uuid.uuid4()), b"{}", Index((), (("consumer", "consumers", first.id),)))
    taken = Put("consumers", str(uuid.uuid4()), b"{}", second.index)
    calls: list[Any] = [(first,), (first,), (key,), (second,), (taken,), ()]
    with statements(store) as sent:
        strategy.commit([], [])
        base = lwts(sent)
        jobs = [gevent.spawn(strategy.commit, list(operations), []) for operations in calls]
        gevent.joinall(jobs)
    assert [type(job.exception).__name__ for job in jobs] == [
        "NoneType", "Exists", "NoneType", "NoneType", "Duplicate", "NoneType",
    ]  # fmt: skip
    assert lwts(sent) - base <= 2
    assert len(audit.check(store)) == 3


def test_values_may_move_between_rows_within_a_commit(store: Store) -> None:
    one, two = (store.dao("consumers").insert({"username": name})["id"] for name in ("a", "b"))
    rows = [store.strategy.read("consumers", key) for key in (one, two)]
    assert rows[0] and rows[1]
    swapped = [
        Put("consumers", row.id, row.body, Index((("username", name),)), row.version)
        for row, name in zip(rows, ("b", "a"), strict=True)
        if row
    ]
    store.strategy.commit(swapped, [])
    found = store.strategy.find("consumers", "username", "a")
    assert found is not None
    assert found.id == two
    audit.check(store)


def test_a_row_that_is_deleted_and_made_anew_at_once_is_there(store: Store) -> None:
    made = store.dao("consumers").insert({"username": "a", "tags": ["t"]})
    row = store.strategy.read("consumers", made["id"])
    assert row is not None
    jobs = [
        gevent.spawn(store.strategy.commit, [Delete("consumers", row.id, row.version)], []),
        gevent.spawn(store.strategy.commit, [Put("consumers", row.id, b"2", Index((("username", "a"),)))], []),
    ]
    gevent.joinall(jobs, raise_error=True)
    found = store.strategy.find("consumers", "username", "a")
    assert found is not None
    assert (found.body, found.id) == (b"2", row.id)
    assert len(audit.check(store)) == 1


def test_commits_larger_than_a_row_of_the_log(store: Store) -> None:
    strategy = store.strategy
    parent, _ = consumer_puts(1)
    strategy.commit(parent, [])
    keys = [
        Put(
            "keyauth_credentials", str(uuid.uuid4()), b'"' + b"x" * 400 + b'"',
            Index((("key", f"key-{number}"),), (("consumer", "consumers", parent[0].id),), ("t",)),
        )
        for number in range(5000)
    ]  # fmt: skip
    for start in range(0, 5000, 500):
        some = keys[start : start + 500]
        strategy.commit(some, [Change(put.kind, put.id, "create", (put.id,)) for put in some])
    cursor = store.last_event_id()
    assert store.dao("keyauth_credentials").count() == 5000
    rows: list[Any] = []
    while piece := strategy.children(
        ("consumers", parent[0].id), "keyauth_credentials", "consumer", rows[-1].id if rows else None, 700
    ):
        rows += piece
    assert [row.id for row in rows] == sorted(put.id for put in keys)
    held = strategy.read("consumers", parent[0].id)
    assert held is not None
    deletes = [Delete(row.kind, row.id, row.version) for row in (*rows, held)]
    strategy.commit(deletes, [Change(row.kind, row.id, "delete", (row.id,)) for row in deletes])
    assert audit.check(store) == {}
    assert {event.key for event in store.events_after(cursor, 10000)} == {row.id for row in deletes}
    assert store.strategy.event_range()[0] < cursor


# several nodes


def test_nodes_that_write_in_turns_see_each_others_commits(open_node: Node) -> None:
    nodes = [open_node() for _ in range(3)]
    for number in range(9):
        nodes[number % 3].dao("consumers").insert({"username": str(number)})
        for node in nodes:
            with pytest.raises(errors.UniqueViolation):
                node.dao("consumers").insert({"username": str(number)})
    assert {len(node.events_after(0)) for node in nodes} == {9}


def test_a_refusal_is_checked_against_the_newest_state(open_node: Node) -> None:
    one, two = open_node(), open_node()
    made = one.dao("consumers").insert({"username": "a"})
    reader = audit.strategy_of(two)._mine.committer._reader
    real = reader.read

    def late(*arguments: Any) -> Any:
        found = real(*arguments)
        reader.read = real
        one.dao("consumers").delete(made["id"])
        return found

    with pytest.raises(errors.UniqueViolation):
        two.dao("consumers").insert({"username": "a"})
    reader.read = late
    assert two.dao("consumers").insert({"username": "a"})
    assert len(audit.check(one)) == 1


def test_a_commit_that_was_overtaken_is_validated_again(open_node: Node) -> None:
    one, two = open_node(), open_node()
    log = audit.strategy_of(two)._mine.log
    real = log.advance

    def late(entry: Any) -> bool:
        log.advance = real
        one.dao("consumers").insert({"username": "a"})
        return bool(real(entry))

    log.advance = late
    with pytest.raises(errors.UniqueViolation):
        two.dao("consumers").insert({"username": "a"})
    log.advance = late
    with pytest.raises(errors.UniqueViolation):
        one.dao("consumers").insert({"username": "a"})
    log.advance = real
    assert len(audit.check(one)) == 1


# outcomes that are not known


def failing(store: Store, *, before: bool, then: Callable[[], object] = lambda: None, times: int = 1) -> None:
    """Let conditional writes of the log end in doubt: they were run, or (`before`) not."""
    session = audit.strategy_of(store).session
    real = session.run
    left = [times]

    def run(cql: str, values: Any = (), *, level: str = "read", idempotent: bool = True) -> Any:
        if level != "lwt" or not left[0]:
            return real(cql, values, level=level, idempotent=idempotent)
        left[0] -= 1
        if not before:
            real(cql, values, level=level, idempotent=idempotent)
        then()
        raise errors.OutcomeUnknown("no answer came")

    session.run = run


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("meanwhile", [True, False])
def test_a_commit_in_doubt_is_made_once(open_node: Node, before: bool, meanwhile: bool) -> None:
    one, two = open_node(), open_node()
    one.dao("consumers").insert({"username": "first"})

    def other() -> None:
        for number in range(3 if meanwhile else 0):
            two.dao("consumers").insert({"username": f"other-{number}"})

    failing(one, before=before, then=other, times=2 if not meanwhile else 1)
    one.dao("consumers").insert({"username": "a"})
    names = [event.cache_keys[1] for event in one.events_after(0)]
    assert sorted(names) == sorted(set(names))
    assert len(names) == len(audit.check(one)) == (5 if meanwhile else 2)


def test_a_doubt_that_cannot_be_settled_is_told(open_node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = open_node(), open_node()
    one.dao("consumers").insert({"username": "first"})
    monkeypatch.setattr(commit_log, "SETTLE_SECONDS", 0.2)
    failing(one, before=False, times=1000)
    with pytest.raises(errors.OutcomeUnknown, match="may have been made"):
        one.dao("consumers").insert({"username": "a"})
    with pytest.raises(errors.UniqueViolation):
        two.dao("consumers").insert({"username": "a"})
    assert len(audit.check(two)) == 2


def test_a_commit_whose_rows_could_not_be_stored_is_finished_by_the_next(open_node: Node) -> None:
    store = open_node()
    log = audit.strategy_of(store)._mine.log
    real = log.apply

    def away(entry: Any) -> None:
        raise errors.StoreUnavailable("away")

    log.apply = away
    with pytest.raises(errors.OutcomeUnknown, match="becomes visible"):
        store.dao("consumers").insert({"username": "a"})
    log.apply = real
    assert store.dao("consumers").insert({"username": "b"})
    assert len(audit.check(store)) == 2


def test_a_refusal_holds_whatever_becomes_of_the_others_of_its_group(open_node: Node) -> None:
    store = open_node()
    dao, log = store.dao("consumers"), audit.strategy_of(store)._mine.log
    dao.insert({"username": "taken"})
    real = log.apply

    def away(entry: Any) -> None:
        raise errors.StoreUnavailable("away")

    log.apply = away
    jobs = [gevent.spawn(dao.insert, {"username": name}) for name in ("a", "taken", "b")]
    gevent.joinall(jobs)
    log.apply = real
    kinds = [errors.OutcomeUnknown, errors.UniqueViolation, errors.OutcomeUnknown]
    assert [type(job.exception) for job in jobs] == kinds
    assert dao.insert({"username": "c"})
    assert len(audit.check(store)) == 4


def test_a_proposal_that_could_not_be_written_changes_nothing(open_node: Node) -> None:
    store = open_node()
    log = audit.strategy_of(store)._mine.log
    session = audit.strategy_of(store).session
    store.dao("consumers").insert({"username": "first"})
    real = session.run_all

    def away(calls: Any, **options: Any) -> Any:
        if calls[0][0].startswith("INSERT INTO log "):
            raise errors.OutcomeUnknown("no answer came")
        return real(calls, **options)

    session.run_all = away
    with pytest.raises(errors.StoreUnavailable, match="nothing was changed") as caught:
        store.dao("consumers").insert({"username": "a"})
    assert not isinstance(caught.value, errors.OutcomeUnknown)
    session.run_all = real
    assert log.state().applied
    assert store.dao("consumers").insert({"username": "a"})
