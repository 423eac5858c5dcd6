"""The embedded store: one SQLite file in WAL mode, shared by the workers of a node and by gateways of one machine.

Every commit reaches the disk before it returns (`synchronous=FULL`). Uniqueness is the primary key of a table, so that
of two processes one wins. Blocking calls run in the thread pool.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from typing import Any

from kong_gevent.db.strategies.base import Change, Event, Meta, Operation
from kong_gevent.db.strategies.judge import Facts, Judge
from kong_gevent.db.strategies.relational import (
    PUT_STATE,
    TABLES,
    RelationalStrategy,
    event_rows,
    events_of,
    meta_of,
    prune_portion,
    statements_of,
)
from kong_gevent.db.strategies.sqlite_file import SqliteFile
from kong_gevent.errors import StoreUnavailable
from kong_gevent.turns import with_rests

_PUSH = (
    "INSERT INTO counts (key, origin, total, expires) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (key, origin) DO UPDATE SET total = max(total, excluded.total)"
)
_EVENT = "INSERT INTO events (id, at, entity, key, op, cache_keys, origin) VALUES (?, ?, ?, ?, ?, ?, ?)"
_META_TABLES = """
CREATE TABLE IF NOT EXISTS schema_meta (name TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS locks (name TEXT PRIMARY KEY, owner TEXT NOT NULL, until REAL NOT NULL) WITHOUT ROWID;
"""


class SqliteStrategy(RelationalStrategy):
    """See the module. `path` is opened at the first use in each process, so an instance may be made before forking."""

    name = "sqlite"
    clock = "((julianday('now') - 2440587.5) * 86400.0)"

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        self._file = SqliteFile(path)

    def close(self) -> None:
        """Drop the connections of this process."""
        self._file.close()

    def _fetch(self, query: str, values: Sequence[Any]) -> list[Any]:
        return self._file.call(_fetch, query, values)

    def _change(self, statement: str, values: Sequence[Any]) -> list[Any]:
        return self._file.call(_fetch, statement, values, write=True)

    def _commit(self, operations: Sequence[Operation], changes: Sequence[Change], origin: str) -> None:
        self._file.call(_commit, operations, changes, origin, write=True)

    def _push(self, counts: Sequence[tuple[str, str, int, float]]) -> None:
        self._file.call(_run_many, _PUSH, counts, write=True)

    def events_after(self, cursor: int, limit: int, settled: bool = False) -> list[Event]:
        return self._file.call(_events_after, cursor, limit)

    def event_range(self) -> tuple[int, int]:
        oldest, last = self._file.call(_event_range)
        return (oldest if oldest is not None else last + 1), last

    def _prune(self) -> bool:
        return self._file.call(_prune, write=True)

    def meta(self) -> Meta:
        return self._file.call(_meta) if self._file.exists() else Meta()

    def prepare(self) -> None:
        self._file.create()
        self._file.call(_prepare)

    def migrate(self, name: str, state: str, step: Any) -> None:
        self._file.call(_migrate, name, state, step, write=True)

    def reset(self) -> None:
        if self._file.exists():
            self._file.call(_reset, write=True)


def _fetch(connection: sqlite3.Connection, query: str, values: Sequence[Any]) -> list[Any]:
    return connection.execute(query, values).fetchall()


def _run_many(connection: sqlite3.Connection, statement: str, values: Sequence[Any]) -> None:
    connection.executemany(statement, values)


def _judge(connection: sqlite3.Connection) -> Judge:
    """A judge over what the file holds; versions are any numbers that a row never had before."""
    facts = Facts(lambda query, values: connection.execute(query, values).fetchall(), time.time())
    return Judge(facts, lambda held: max(time.time_ns(), held + 1))


def _commit(
    connection: sqlite3.Connection, operations: Sequence[Operation], changes: Sequence[Change], origin: str
) -> None:
    judge = _judge(connection)
    judge.apply(operations)
    for table, gone, put in judge.writes.changes():
        if gone:
            connection.executemany(table.delete_one, with_rests(gone))
        if put:
            connection.executemany(table.put_one, with_rests(put))
    events = event_rows(judge.facts.now, None, [(change, origin) for change in changes])
    connection.executemany(_EVENT, with_rests(events))


def _prune(connection: sqlite3.Connection) -> bool:
    def run(statement: str, values: Sequence[Sequence[Any]]) -> None:
        connection.executemany(statement, values)

    return prune_portion(_judge(connection), run)


def _event_range(connection: sqlite3.Connection) -> tuple[int | None, int]:
    """Ids of the oldest event kept, and of the newest one written."""
    # One statement, so that both numbers belong to one moment.
    oldest, last = connection.execute(
        "SELECT (SELECT min(id) FROM events), (SELECT seq FROM sqlite_sequence WHERE name = 'events')"
    ).fetchone()
    return oldest, last or 0


def _events_after(connection: sqlite3.Connection, cursor: int, limit: int) -> list[Event]:
    connection.execute("BEGIN")  # a read snapshot: the pruner must not take rows between the two queries
    try:
        oldest, last = _event_range(connection)
        found = connection.execute(
            "SELECT id, entity, key, op, cache_keys, origin FROM events WHERE id > ? ORDER BY id LIMIT ?",
            (cursor, limit),
        ).fetchall()
    finally:
        if connection.in_transaction:  # an error that has ended it is the one to be told
            connection.execute("COMMIT")
    return events_of(cursor, oldest, last, found)


def _meta(connection: sqlite3.Connection) -> Meta:
    known = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "schema_meta" not in known:
        return Meta()
    states = connection.execute("SELECT name, state FROM schema_meta ORDER BY name").fetchall()
    return meta_of(states, connection.execute("SELECT name, value FROM settings").fetchall())


def _prepare(connection: sqlite3.Connection) -> None:
    if connection.execute("PRAGMA journal_mode=WAL").fetchone()[0] != "wal":
        raise StoreUnavailable("the store's file system does not support SQLite's write-ahead log")
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in statements_of(_META_TABLES):
            connection.execute(statement)
    finally:
        connection.execute("COMMIT")


def _migrate(connection: sqlite3.Connection, name: str, state: str, step: Any) -> None:
    if callable(step):
        step(connection)
    else:
        for statement in statements_of(step):
            connection.execute(statement)
    connection.execute(PUT_STATE, (name, state))


def _reset(connection: sqlite3.Connection) -> None:
    for table in TABLES:
        connection.execute(f"DROP TABLE IF EXISTS {table}")
