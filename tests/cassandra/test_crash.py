"""A writer is killed at each step of a commit: what it had reported is there, the rest is there as a whole or not at
all, and whoever comes next finishes it.
"""

import json
import signal
import time
from collections.abc import Callable
from operator import itemgetter
from typing import Any

import pytest

from kong_gevent import errors
from kong_gevent.db import Store
from kong_gevent.db.strategies.cassandra.log import LOG_LIFETIME, LOST_AFTER
from tests.cassandra import audit
from tests.contract.backends import Backend

KILL = """
import os, signal
strategy = store.strategy
log = strategy._mine.log

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)

def die_after(name):
    function = getattr(log, name)
    def wrapper(*args):
        function(*args)
        die()
    setattr(log, name, wrapper)

def die_before(name):
    setattr(log, name, die)

def die_within_apply(share):
    def apply(entry):
        calls = sorted(entry.statements(time.time()), key=repr)
        strategy.session.run_all(calls[: int(len(calls) * share)], level="write")
        die()
    log.apply = apply
"""
STEPS = {
    "before the proposal": ("die_before('propose')", False),
    "after the proposal": ("die_after('propose')", False),
    "before anything is stored": ("die_after('advance')", True),
    "when a part is stored": ("die_within_apply(0.3)", True),
    "when most is stored": ("die_within_apply(0.8)", True),
    "before the mark": ("die_before('raise_mark')", True),
    "after the mark": ("die_after('raise_mark')", True),
}
SETUP = """
store.connect()
consumers, keys = store.dao("consumers"), store.dao("keyauth_credentials")
consumer = consumers.insert({"username": "old", "custom_id": "c", "tags": ["a", "b"]})
for name in ("k1", "k2", "k3"):
    keys.insert({"consumer": {"id": consumer["id"]}, "key": name, "tags": ["a"]})
print(json.dumps(consumer["id"]), flush=True)
"""
CHANGES = {
    "insert": 'keys.insert({"consumer": {"id": consumer["id"]}, "key": "new", "tags": ["n"]})',
    "rename": 'consumers.update(consumer["id"], {"username": "new", "custom_id": None, "tags": ["b", "c"]})',
    "cascade": 'consumers.delete(consumer["id"])',
}


def run_and_kill(backend: Backend, step: str, change: str) -> str:
    """The id of the consumer whose writer died at a step of a change."""
    code = f"{KILL}{SETUP}{STEPS[step][0]}\n{CHANGES[change]}\nprint('not killed', flush=True)\n"
    with backend.process(code) as writer:
        assert writer.stdout is not None
        printed = writer.stdout.read().splitlines()
        assert writer.wait() == -signal.SIGKILL
    (acknowledged,) = printed
    return str(json.loads(acknowledged))


def happened(store: Store, change: str, consumer: str) -> bool:
    """Whether a change is there, as every way to look at it says."""
    held = audit.check(store)
    consumers, keys = store.dao("consumers"), store.dao("keyauth_credentials")
    found = {row["key"] for row in keys.each()}
    children = {row["key"] for row in keys.each(parent=("consumer", consumer))}
    assert found == children
    last = store.events_after(0)[-1]
    if change == "insert":
        assert found in ({"k1", "k2", "k3"}, {"k1", "k2", "k3", "new"})
        assert (last.op, last.entity) == ("create", "keyauth_credentials")
        assert len(store.events_after(0)) == len(found) + 1
        return "new" in found
    if change == "rename":
        names = [name for name in ("old", "new") if consumers.select_by("username", name)]
        assert len(names) == 1
        tags = {row["id"]: row["tags"] for row in consumers.page(tags="a/c")[0]}
        assert tags == {consumer: ["a", "b"] if names == ["old"] else ["b", "c"]}
        assert (consumers.select_by("custom_id", "c") is not None) == (names == ["old"])
        assert (last.op == "update") == (names == ["new"])
        return names == ["new"]
    assert len(held) in (0, 4)
    assert (consumers.select(consumer) is None) == (not held)
    assert len(store.events_after(0)) == (4 if held else 8)
    return not held


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("step", STEPS)
def test_a_node_that_starts_finishes_what_a_killed_writer_left(
    backend: Backend, open_node: Callable[[], Store], step: str, change: str
) -> None:
    consumer = run_and_kill(backend, step, change)
    assert happened(open_node(), change, consumer) == STEPS[step][1]


def test_the_next_writer_finishes_it_before_it_validates(backend: Backend, store: Store) -> None:
    store.dao("services").insert({"host": "h"})
    consumer = run_and_kill(backend, "before anything is stored", "rename")
    with pytest.raises(errors.UniqueViolation):
        store.dao("consumers").insert({"username": "new"})
    assert store.dao("consumers").insert({"username": "old"})
    assert store.dao("consumers").select_by("username", "new")
    audit.check(store)
    assert consumer


def test_who_looks_for_events_finishes_it_after_a_while(
    backend: Backend, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    cursor = store.last_event_id()
    run_and_kill(backend, "when a part is stored", "cascade")
    seen = store.events_after(cursor)
    assert [event.op for event in seen] == ["create"] * 4, "an event was told before its rows were stored"
    monkeypatch.setattr("time.monotonic", lambda: 1e9)
    cursor = seen[-1].id
    assert sorted(event.op for event in store.events_after(cursor)) == ["delete"] * 4
    assert audit.check(store) == {}


@pytest.mark.parametrize("step", ["after the proposal", "when a part is stored"])
def test_commits_of_several_rows_of_the_log_survive(
    backend: Backend, open_node: Callable[[], Store], step: str
) -> None:
    code = f"""{KILL}
from kong_gevent.db.strategies.base import Change, Index, Put
import uuid
store.connect()
{STEPS[step][0]}
ids = [str(uuid.uuid4()) for _ in range(300)]
body = b'"' + b"x" * 3000 + b'"'
store.strategy.commit(
    [Put("consumers", key, body, Index((("username", key),), (), ("t",))) for key in ids],
    [Change("consumers", key, "create") for key in ids],
)
"""
    with backend.process(code) as writer:
        assert writer.wait() == -signal.SIGKILL
    store = open_node()
    parts = audit.rows(store, "SELECT parts FROM log")
    assert parts[0][0] == len(parts) > 2
    expected = 300 if STEPS[step][1] else 0
    assert len(audit.check(store)) == expected
    assert len(store.events_after(0)) == expected


@pytest.mark.parametrize("later", ["lost", "expired"])
def test_an_entry_that_cannot_be_read_is_not_passed_over_at_once(
    backend: Backend, open_node: Callable[[], Store], monkeypatch: pytest.MonkeyPatch, later: str
) -> None:
    run_and_kill(backend, "before anything is stored", "insert")
    unopened = backend.open()
    bucket, seq, entry = max(audit.rows(unopened, "SELECT bucket, seq, entry FROM log"), key=itemgetter(1))
    audit.rows(unopened, f"DELETE FROM log WHERE bucket = {bucket} AND seq = {seq} AND entry = {entry}")
    unopened.close()
    store = open_node()
    assert store.dao("consumers").select_by("username", "old")
    with pytest.raises(errors.StoreUnavailable, match="cannot be read yet"):
        store.dao("consumers").insert({"username": "more"})
    clock, shift = ("time.monotonic", LOST_AFTER + 1) if later == "lost" else ("time.time", LOG_LIFETIME + 1)
    then = getattr(time, clock.removeprefix("time."))() + shift
    monkeypatch.setattr(clock, lambda: then)
    assert store.dao("consumers").insert({"username": "more"})
    audit.check(store)


def test_nothing_is_unfinished_when_writers_of_several_processes_are_killed(
    backend: Backend, open_node: Callable[[], Store]
) -> None:
    code = """
store.connect()
import uuid
def work():
    while True:
        name = str(uuid.uuid4())
        consumer = store.dao("consumers").insert({"username": name, "tags": ["t"]})
        store.dao("keyauth_credentials").insert({"consumer": {"id": consumer["id"]}, "key": name})
        print(name, flush=True)
gevent.joinall([gevent.spawn(work) for _ in range(5)])
"""
    acknowledged: list[str] = []
    for _ in range(3):
        with backend.process(code) as one, backend.process(code) as two:
            for writer in (one, two):
                assert writer.stdout is not None
                acknowledged += [writer.stdout.readline().strip() for _ in range(10)]
            for writer in (one, two):
                writer.kill()
                assert writer.stdout is not None
                acknowledged += [line.strip() for line in writer.stdout if line.endswith("\n")]
    store = open_node()
    held = audit.check(store)
    keys: dict[str, Any] = {row["key"]: row for row in store.dao("keyauth_credentials").each()}
    assert set(acknowledged) <= set(keys)
    assert len(store.events_after(0, 10**6)) == len(held)
