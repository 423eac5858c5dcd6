"""States, halves, locks and refusals of the migrations."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from kong_gevent import errors
from kong_gevent.db import Store
from kong_gevent.db.migrations import CORE, LOCK, LockHeld, Migrations, MigrationState
from tests.contract.backends import Backend

EXTRA = SimpleNamespace(
    NAME="001_extra",
    UP={
        "sqlite": "CREATE TABLE extra (a TEXT);",
        "postgres": "CREATE TABLE IF NOT EXISTS extra (a text);",
        "cassandra": "CREATE TABLE IF NOT EXISTS extra (a text PRIMARY KEY);",
    },
    FINISH={
        "sqlite": "DROP TABLE extra;",
        "postgres": "DROP TABLE extra;",
        "cassandra": "DROP TABLE IF EXISTS extra;",
        "memory": None,
    },
)
PLAIN = SimpleNamespace(NAME="002_plain", UP={}, FINISH={})


@pytest.fixture
def empty(backend: Backend) -> Iterator[Store]:
    store = backend.open()
    yield store
    store.close()


def test_an_empty_store_needs_bootstrapping(empty: Store) -> None:
    assert empty.needs_bootstrap
    assert empty.migrations.state().to_dict() == {
        "needs_bootstrap": True,
        "new_migrations": [{"subsystem": "core", "namespace": "kong.db.migrations.core", "migrations": ["000_base"]}],
    }


def test_bootstrap_runs_everything_once(empty: Store) -> None:
    assert empty.migrations.bootstrap() == ["000_base"]
    assert empty.migrations.state() == MigrationState(executed=["000_base"])
    assert empty.migrations.bootstrap() == []
    assert empty.migrations.up() == []
    assert empty.migrations.finish() == []


def test_bootstrap_gives_the_cluster_an_id_for_good(empty: Store) -> None:
    empty.migrations.bootstrap()
    first = empty.strategy.meta().values["cluster_id"]
    empty.migrations.bootstrap()
    assert empty.strategy.meta().values["cluster_id"] == first


def test_new_migrations_run_in_two_halves(empty: Store) -> None:
    empty.migrations.bootstrap()
    later = Migrations(empty.strategy, (*CORE, EXTRA, PLAIN))
    assert later.state().new == ["001_extra", "002_plain"]
    with pytest.raises(errors.MigrationError, match="New migrations available"):
        later.check()
    assert later.up() == ["001_extra", "002_plain"]
    state = later.state()
    assert (state.pending, state.new) == (["001_extra"], [])
    later.check()
    with pytest.raises(errors.MigrationError, match="pending migrations; run 'kong migrations finish'"):
        later.up()
    assert later.finish() == ["001_extra"]
    assert later.state() == MigrationState(executed=["000_base", "001_extra", "002_plain"])
    assert later.finish() == []


@pytest.mark.parametrize("command", ["up", "finish"])
def test_an_empty_store_cannot_be_migrated(empty: Store, command: str) -> None:
    with pytest.raises(errors.MigrationError, match="Cannot run migrations: Database needs bootstrapping"):
        getattr(empty.migrations, command)()


def test_a_store_of_a_newer_version_is_refused(store: Store) -> None:
    Migrations(store.strategy, (*CORE, EXTRA)).up()
    assert store.migrations.state().missing == ["001_extra"]
    for call in (store.connect, store.migrations.up, store.migrations.finish, store.migrations.bootstrap):
        with pytest.raises(errors.MigrationError, match=r"newer version \(unknown migrations: 001_extra\)"):
            call()


def test_another_nodes_lock_is_respected_until_it_ends(store: Store) -> None:
    impatient = Migrations(store.strategy, (*CORE, EXTRA), wait=0.0)
    assert store.strategy.lock(LOCK, "other", 30)
    with pytest.raises(LockHeld, match="another node is performing database changes"):
        impatient.up()
    assert store.strategy.lock(LOCK, "other", -1)
    assert impatient.up() == ["001_extra"]


def test_a_lock_is_given_back_by_its_owner_only(store: Store) -> None:
    assert store.strategy.lock("x", "a", 30)
    assert not store.strategy.lock("x", "b", 30)
    store.strategy.unlock("x", "b")
    assert not store.strategy.lock("x", "b", 30)
    store.strategy.unlock("x", "a")
    assert store.strategy.lock("x", "b", 30)


def test_reset_removes_everything(store: Store) -> None:
    store.dao("consumers").insert({"username": "a"})
    store.migrations.reset()
    assert store.needs_bootstrap
    store.migrations.bootstrap()
    assert store.dao("consumers").count() == 0
    assert store.last_event_id() == 0


def test_forced_bootstrap_starts_over(store: Store) -> None:
    store.dao("consumers").insert({"username": "a"})
    assert store.migrations.bootstrap(force=True) == ["000_base"]
    assert store.dao("consumers").count() == 0


def test_a_failing_migration_leaves_no_trace(sqlite_store: Store) -> None:
    broken: Any = SimpleNamespace(NAME="001_x", UP={"sqlite": "CREATE TABLE x (a TEXT);\nCREATE NONSENSE;"}, FINISH={})
    with pytest.raises(errors.DatabaseError, match="NONSENSE"):
        Migrations(sqlite_store.strategy, (*CORE, broken)).up()
    assert sqlite_store.migrations.state() == MigrationState(executed=["000_base"])
    fixed: Any = SimpleNamespace(NAME="001_x", UP={"sqlite": "CREATE TABLE x (a TEXT);"}, FINISH={})
    assert Migrations(sqlite_store.strategy, (*CORE, fixed)).up() == ["001_x"]
