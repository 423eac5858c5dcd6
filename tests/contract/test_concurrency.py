"""Several writers at once: threads, greenlets, processes; and a writer that is killed."""

import json
import os
import signal
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gevent
import gevent.os
import pytest

from kong_gevent import errors
from kong_gevent.db import Store
from kong_gevent.db.strategies.base import Delete, Stale
from tests.contract.backends import Backend, output


def outcome(store: Store, name: str) -> str:
    try:
        store.dao("consumers").insert({"username": name})
    except errors.UniqueViolation:
        return "refused"
    return "stored"


def test_one_greenlet_wins_each_name(store: Store) -> None:
    jobs = [gevent.spawn(outcome, store, f"n{number % 10}") for number in range(60)]
    gevent.joinall(jobs, raise_error=True)
    results = [job.value for job in jobs]
    assert (results.count("stored"), results.count("refused")) == (10, 50)
    assert store.dao("consumers").count() == 10
    assert len(store.events_after(0)) == 10


def test_one_thread_wins_each_name(sqlite_store: Store) -> None:
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda number: outcome(sqlite_store, f"n{number % 10}"), range(60)))
    assert (results.count("stored"), results.count("refused")) == (10, 50)
    assert sqlite_store.dao("consumers").count() == 10


def test_changes_of_one_entity_are_not_lost(store: Store) -> None:
    made = store.dao("services").insert({"host": "h"})
    names = ("retries", "port", "connect_timeout", "read_timeout", "write_timeout")
    jobs = [gevent.spawn(store.dao("services").update, made["id"], {name: 77}) for name in names]
    gevent.joinall(jobs, raise_error=True)
    found = store.dao("services").select(made["id"])
    assert found is not None
    assert [found[name] for name in names] == [77] * len(names)


def test_upserts_of_one_key_make_one_entity(store: Store) -> None:
    dao = store.dao("consumers")
    jobs = [gevent.spawn(dao.upsert_by, "username", "a", {"custom_id": str(number)}) for number in range(12)]
    gevent.joinall(jobs, raise_error=True)
    assert dao.count() == 1
    assert {job.value["id"] for job in jobs} == {dao.page()[0][0]["id"]}


def test_one_writer_of_two_processes_wins_each_name(shared_store: Store, shared_backend: Backend) -> None:
    code = """
store.connect()
wins = []
def write(names):
    for name in names:
        try:
            store.dao("consumers").insert({"username": name})
            wins.append(name)
        except errors.UniqueViolation:
            pass
names = [f"n{number}" for number in range(60)]
gevent.joinall([gevent.spawn(write, names[start:] + names[:start]) for start in range(0, 60, 6)], raise_error=True)
print(json.dumps(wins))
"""
    with shared_backend.process(code) as one, shared_backend.process(code) as two:
        wins = [json.loads(output(child)) for child in (one, two)]
    assert sorted(wins[0] + wins[1]) == sorted(f"n{number}" for number in range(60))
    rows = list(shared_store.dao("consumers").each())
    assert len(rows) == shared_store.dao("consumers").count() == 60
    assert all(shared_store.dao("consumers").select_by("username", row["username"]) == row for row in rows)
    events = shared_store.events_after(0)
    assert sorted(event.key for event in events) == sorted(row["id"] for row in rows)
    assert [event.id for event in events] == sorted({event.id for event in events})


def test_of_all_who_delete_a_row_one_is_told_that_it_did(shared_store: Store, shared_backend: Backend) -> None:
    """What is used up by its deletion, as a code that is exchanged for a token, is used once."""
    code = """
store.connect()
wins = []
def remove(names):
    for name in names:
        if store.dao("consumers").delete_by("username", name):
            wins.append(name)
names = [f"n{number}" for number in range(60)]
gevent.joinall([gevent.spawn(remove, names) for _ in range(12)], raise_error=True)
print(json.dumps(wins))
"""
    names = [f"n{number}" for number in range(60)]
    for name in names:
        shared_store.dao("consumers").insert({"username": name})
    with shared_backend.process(code) as one, shared_backend.process(code) as two:
        wins = [json.loads(output(child)) for child in (one, two)]
    assert sorted(wins[0] + wins[1]) == sorted(names)
    assert shared_store.dao("consumers").count() == 0
    deleted = [event for event in shared_store.events_after(0, 1000) if event.op == "delete"]
    assert len(deleted) == len(names)


def test_a_child_never_points_at_a_parent_that_is_gone(shared_store: Store, shared_backend: Backend) -> None:
    code = """
store.connect()
for number in range(80):
    try:
        store.dao("keyauth_credentials").insert({"consumer": {"username": "a"}})
    except (errors.ForeignKeysUnresolved, errors.ForeignKeyViolation):
        pass
"""
    with shared_backend.process(code) as writer:
        while writer.poll() is None:
            made = shared_store.dao("consumers").upsert_by("username", "a", {})
            shared_store.dao("consumers").delete(made["id"])
    assert writer.returncode == 0
    shared_store.dao("consumers").delete_by("username", "a")
    assert list(shared_store.dao("keyauth_credentials").each()) == []


def test_a_killed_writer_leaves_whole_entities_only(shared_store: Store, shared_backend: Backend) -> None:
    code = """
store.connect()
number = 0
while True:
    number += 1
    service = store.dao("services").insert({"host": "h", "name": f"{os.getpid()}-{number}", "tags": ["t"]})
    store.dao("plugins").insert({"name": "key-auth", "service": {"id": service["id"]}})
    print(service["id"], flush=True)
"""
    acknowledged: list[str] = []
    for round_number in range(4):
        with shared_backend.process(code) as writer:
            assert writer.stdout is not None
            for _ in range(5 + 3 * round_number):
                acknowledged.append(writer.stdout.readline().strip())
            os.kill(writer.pid, signal.SIGKILL)
            acknowledged += [line.strip() for line in writer.stdout if line.endswith("\n")]
    services = {row["id"]: row for row in shared_store.dao("services").each()}
    assert set(acknowledged) <= set(services)
    for row in services.values():
        assert shared_store.dao("services").select_by("name", row["name"]) == row
    assert {entry["entity_id"] for entry in shared_store.tags.each()} == set(services)
    created = [event.key for event in shared_store.events_after(0, 10000) if event.entity == "services"]
    assert sorted(created) == sorted(services)
    for row in shared_store.dao("plugins").each():
        assert row["service"]["id"] in services


def test_processes_may_bootstrap_at_once(shared_backend: Backend) -> None:
    code = """
print(json.dumps(store.migrations.bootstrap()))
store.connect()
store.dao("consumers").insert({"custom_id": str(os.getpid())})
"""
    with ExitStack() as stack:
        children = [stack.enter_context(shared_backend.process(code)) for _ in range(5)]
        ran = [json.loads(output(child)) for child in children]
    assert sorted(ran, key=len) == [[], [], [], [], ["000_base"]]
    store = shared_backend.open()
    assert store.dao("consumers").count() == 5
    store.close()


def test_a_store_opened_before_a_fork_works_on_both_sides(sqlite_store: Store) -> None:
    sqlite_store.dao("consumers").insert({"username": "before"})
    pid = gevent.os.fork_gevent()
    if pid == 0:
        code = 1
        try:
            sqlite_store.dao("consumers").insert({"username": "child"})
            code = 0
        finally:
            os._exit(code)
    sqlite_store.dao("consumers").insert({"username": "parent"})
    assert os.waitpid(pid, 0)[1] == 0
    assert {row["username"] for row in sqlite_store.dao("consumers").each()} == {"before", "child", "parent"}


def test_a_writer_waits_for_another_process_without_blocking_the_hub(
    sqlite_store: Store, sqlite_backend: Backend
) -> None:
    code = """
import sqlite3
connection = sqlite3.connect(store.strategy.path, isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
while not os.path.exists(store.strategy.path + ".go"):
    time.sleep(0.01)
connection.execute("COMMIT")
"""
    with sqlite_backend.process(code) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        job = gevent.spawn(sqlite_store.dao("consumers").insert, {"username": "a"})
        for _ in range(6):
            gevent.sleep(0.005)
            assert not job.ready()
        Path(sqlite_store.strategy.path + ".go").touch()  # type: ignore[attr-defined]
        assert job.get(timeout=30)["username"] == "a"


def test_a_store_that_stays_locked_is_unavailable(sqlite_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kong_gevent.db.strategies.sqlite_file.BUSY_LIMIT", 0.1)
    done = threading.Event()
    held = threading.Event()

    def hold(path: str) -> None:
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        held.set()
        done.wait(30)
        connection.close()

    path: Any = sqlite_store.strategy.path  # type: ignore[attr-defined]
    holder = threading.Thread(target=hold, args=(path,))
    holder.start()
    try:
        assert held.wait(10)
        with pytest.raises(errors.StoreUnavailable, match="is locked by another process"):
            sqlite_store.dao("consumers").insert({"username": "a"})
        assert sqlite_store.dao("consumers").count() == 0
    finally:
        done.set()
        holder.join()
    assert sqlite_store.dao("consumers").insert({"username": "a"})


def test_writers_that_wait_for_another_process_keep_no_reader_waiting(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kong_gevent.db.strategies.sqlite_file.BUSY_LIMIT", 300)
    dao, path = sqlite_store.dao("consumers"), sqlite_store.strategy.path  # type: ignore[attr-defined]
    dao.insert({"username": "before"})
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        writers = [gevent.spawn(dao.insert, {"username": f"w{number}"}) for number in range(30)]
        gevent.sleep(0.1)
        assert gevent.spawn(dao.select_by, "username", "before").get(timeout=30)
        assert not any(writer.ready() for writer in writers)
    finally:
        holder.execute("COMMIT")
        holder.close()
    gevent.joinall(writers, timeout=60, raise_error=True)
    assert dao.count() == 31


def test_memory_of_reading_everything_is_bounded(sqlite_store: Store) -> None:
    largest = 0
    for number in range(50):
        sqlite_store.dao("consumers").insert({"username": str(number)})
    real = sqlite_store.strategy.page

    def spy(*arguments: Any, **options: Any) -> Any:
        nonlocal largest
        found = real(*arguments, **options)
        largest = max(largest, len(found))
        return found

    sqlite_store.strategy.page = spy  # type: ignore[method-assign]
    assert len(list(sqlite_store.dao("consumers").each(size=8))) == 50
    assert largest == 8


def test_a_row_made_anew_is_not_taken_for_the_one_that_was_read(store: Store) -> None:
    first = store.dao("consumers").insert({"username": "a"})
    read = store.strategy.read("consumers", first["id"])
    assert read is not None
    store.dao("consumers").delete(first["id"])
    store.dao("consumers").insert({"id": first["id"], "username": "a"})
    with pytest.raises(Stale):
        store.strategy.commit([Delete("consumers", first["id"], read.version)], [])
