"""The embedded store: one SQLite file in WAL mode, shared by the workers of a node and by gateways of one machine.

Every commit reaches the disk before it returns (`synchronous=FULL`). Uniqueness is the primary key of a table, so that
of two processes one wins. Blocking calls run in the thread pool.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Mapping, Sequence
from typing import Any

from kong_gevent.db import codec
from kong_gevent.db.strategies.base import (
    EVENT_LIFETIME,
    Change,
    Delete,
    Duplicate,
    Event,
    Exists,
    Index,
    Meta,
    MissingParent,
    Operation,
    Put,
    Referenced,
    Row,
    Stale,
    Strategy,
)
from kong_gevent.db.strategies.sqlite_file import SqliteFile
from kong_gevent.errors import DatabaseError, EventsLost, StoreUnavailable

PRUNE_INTERVAL = 60.0
_log = logging.getLogger(__name__)
_ROW = "e.kind, e.id, e.body, e.version, e.expires"
_LIVE = "(e.expires IS NULL OR e.expires > ?)"
_TABLES = ("schema_meta", "settings", "locks", "entities", "unique_keys", "links", "tags", "events", "counts")
_PUSH = (
    "INSERT INTO counts (key, origin, total, expires) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (key, origin) DO UPDATE SET total = max(total, excluded.total)"
)
_KEYS_PER_QUERY = 500
_META_TABLES = """
CREATE TABLE IF NOT EXISTS schema_meta (name TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS locks (name TEXT PRIMARY KEY, owner TEXT NOT NULL, until REAL NOT NULL) WITHOUT ROWID;
"""


class SqliteStrategy(Strategy):
    """See the module. `path` is opened at the first use in each process, so an instance may be made before forking."""

    name = "sqlite"

    def __init__(self, path: str) -> None:
        self.path = path
        self._file = SqliteFile(path)
        self._pruned = 0.0

    def connect(self) -> None:
        """Read something, so that an unusable file shows now."""
        self.ping()

    def close(self) -> None:
        """Drop the connections of this process."""
        self._file.close()

    def ping(self) -> None:
        """Read the file's header."""
        self._file.call(_fetch, "SELECT count(*) FROM schema_meta", ())

    def read(self, kind: str, key: str) -> Row | None:
        query = f"SELECT {_ROW} FROM entities e WHERE e.kind = ? AND e.id = ? AND {_LIVE}"
        return _first(self._file.call(_fetch, query, (kind, key, time.time())))

    def find(self, kind: str, field: str, value: str) -> Row | None:
        query = (
            f"SELECT {_ROW} FROM unique_keys u JOIN entities e ON e.kind = u.kind AND e.id = u.id "
            f"WHERE u.kind = ? AND u.field = ? AND u.value = ? AND {_LIVE}"
        )
        return _first(self._file.call(_fetch, query, (kind, field, value, time.time())))

    def page(
        self, kind: str, after: str | None, size: int, tags: Sequence[str] = (), match_all: bool = True
    ) -> list[Row]:
        start = after if after is not None else ""
        values: tuple[Any, ...]
        if not tags:
            source, values = "entities e WHERE e.kind = ? AND e.id > ?", (kind, start)
        elif match_all:
            more = " AND EXISTS (SELECT 1 FROM tags x WHERE x.tag = ? AND x.kind = t.kind AND x.id = t.id)"
            source = (
                "tags t JOIN entities e ON e.kind = t.kind AND e.id = t.id WHERE t.tag = ? AND t.kind = ? AND t.id > ?"
                + more * (len(tags) - 1)
            )
            values = (tags[0], kind, start, *tags[1:])
        else:
            marks = ", ".join("?" * len(tags))
            source = (
                "entities e WHERE e.kind = ? AND e.id IN "
                f"(SELECT id FROM tags WHERE tag IN ({marks}) AND kind = ? AND id > ?)"
            )
            values = (kind, *tags, kind, start)
        query = f"SELECT {_ROW} FROM {source} AND {_LIVE} ORDER BY e.id LIMIT ?"
        return _rows(self._file.call(_fetch, query, (*values, time.time(), size)))

    def children(self, parent: tuple[str, str], kind: str, field: str, after: str | None, size: int) -> list[Row]:
        query = (
            f"SELECT {_ROW} FROM links l JOIN entities e ON e.kind = l.kind AND e.id = l.id "
            f"WHERE l.parent_kind = ? AND l.parent_id = ? AND l.kind = ? AND l.field = ? AND l.id > ? AND {_LIVE} "
            "ORDER BY l.id LIMIT ?"
        )
        return _rows(self._file.call(_fetch, query, (*parent, kind, field, after or "", time.time(), size)))

    def count(self, kind: str) -> int:
        query = f"SELECT count(*) FROM entities e WHERE e.kind = ? AND {_LIVE}"
        return int(self._file.call(_fetch, query, (kind, time.time()))[0][0])

    def tagged(self, tag: str | None, after: tuple[str, str, str] | None, size: int) -> list[tuple[str, str, str]]:
        conditions, values = ["(t.tag, t.kind, t.id) > (?, ?, ?)"], list(after or ("", "", ""))
        if tag is not None:
            conditions.append("t.tag = ?")
            values.append(tag)
        query = (
            "SELECT t.tag, t.kind, t.id FROM tags t JOIN entities e ON e.kind = t.kind AND e.id = t.id "
            f"WHERE {' AND '.join(conditions)} AND {_LIVE} ORDER BY t.tag, t.kind, t.id LIMIT ?"
        )
        return self._file.call(_fetch, query, (*values, time.time(), size))

    def commit(self, operations: Sequence[Operation], changes: Sequence[Change], origin: str = "") -> None:
        self._file.call(_Commit(operations, changes, origin), write=True)
        if time.time() - self._pruned > PRUNE_INTERVAL:
            self._pruned = time.time()
            try:
                self.prune()
            except DatabaseError as error:
                # The commit itself is done and must not look failed; the next interval tries again.
                _log.warning("could not remove what has expired: %s", error)

    def events_after(self, cursor: int, limit: int) -> list[Event]:
        return self._file.call(_events_after, cursor, limit)

    def event_range(self) -> tuple[int, int]:
        return self._file.call(_event_range)

    def push_counts(self, origin: str, counts: Mapping[str, tuple[int, float]]) -> None:
        values = [(key, origin, total, expires) for key, (total, expires) in counts.items()]
        self._file.call(_execute_many, _PUSH, values, write=True)

    def read_counts(self, keys: Sequence[str]) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        for start in range(0, len(keys), _KEYS_PER_QUERY):
            some = keys[start : start + _KEYS_PER_QUERY]
            query = f"SELECT key, origin, total FROM counts WHERE key IN ({', '.join('?' * len(some))}) AND expires > ?"
            for key, origin, total in self._file.call(_fetch, query, (*some, time.time())):
                found.setdefault(key, {})[origin] = total
        return found

    def prune(self) -> None:
        while self._file.call(_prune, write=True):
            pass

    def meta(self) -> Meta:
        return self._file.call(_meta) if self._file.exists() else Meta()

    def prepare(self) -> None:
        self._file.create()
        self._file.call(_prepare)

    def migrate(self, name: str, state: str, step: Any) -> None:
        self._file.call(_migrate, name, state, step, write=True)

    def set_value(self, name: str, value: str) -> str:
        return self._file.call(_set_value, name, value, write=True)

    def lock(self, name: str, owner: str, seconds: float) -> bool:
        return self._file.call(_lock, name, owner, seconds, write=True)

    def unlock(self, name: str, owner: str) -> None:
        self._file.call(_execute, "DELETE FROM locks WHERE name = ? AND owner = ?", (name, owner), write=True)

    def reset(self) -> None:
        if self._file.exists():
            self._file.call(_reset, write=True)


class _Commit:
    """One commit, run inside a write transaction."""

    def __init__(self, operations: Sequence[Operation], changes: Sequence[Change], origin: str) -> None:
        self._operations = operations
        self._changes = changes
        self._origin = origin

    def __call__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute
        self._now = time.time()
        # Rows that go give up their unique values before rows that come claim theirs.
        for operation in sorted(self._operations, key=lambda operation: isinstance(operation, Put)):
            self._apply(operation)
        for operation in self._operations:
            self._check(operation)
        connection.executemany(
            "INSERT INTO events (at, entity, key, op, cache_keys, origin) VALUES (?, ?, ?, ?, ?, ?)",
            [
                (self._now, change.entity, change.key, change.op, codec.dumps(change.cache_keys), self._origin)
                for change in self._changes
            ],
        )

    def _apply(self, operation: Operation) -> None:
        kind, key = operation.kind, operation.id
        held = self._execute(
            "SELECT version, expires, idx FROM entities WHERE kind = ? AND id = ?", (kind, key)
        ).fetchone()
        live = held is not None and (held[1] is None or held[1] > self._now)
        if (held[0] if live else None) != operation.version:
            raise (Exists if operation.version is None else Stale)(kind, key)
        old = _index(held[2]) if held else Index()
        new = operation.index if isinstance(operation, Put) else Index()
        self._change_index(kind, key, old, new)
        if isinstance(operation, Put):
            # Any number that this row never had before will do as a version.
            version = max(time.time_ns(), (held[0] if held else 0) + 1)
            self._execute(
                "INSERT OR REPLACE INTO entities (kind, id, body, idx, version, expires) VALUES (?, ?, ?, ?, ?, ?)",
                (kind, key, operation.body, codec.dumps(_plain(new)), version, operation.expires),
            )
        elif held:
            self._execute("DELETE FROM entities WHERE kind = ? AND id = ?", (kind, key))

    def _change_index(self, kind: str, key: str, old: Index, new: Index) -> None:
        execute = self._execute
        for field, value in old.unique:
            if (field, value) not in new.unique:
                execute("DELETE FROM unique_keys WHERE kind = ? AND field = ? AND value = ?", (kind, field, value))
        for field, value in new.unique:
            if (field, value) not in old.unique:
                self._claim(kind, key, field, value)
        for field, parent_kind, parent_id in old.parents:
            if (field, parent_kind, parent_id) not in new.parents:
                execute(
                    "DELETE FROM links WHERE parent_kind = ? AND parent_id = ? AND kind = ? AND field = ? AND id = ?",
                    (parent_kind, parent_id, kind, field, key),
                )
        for field, parent_kind, parent_id in new.parents:
            if (field, parent_kind, parent_id) not in old.parents:
                execute("INSERT INTO links VALUES (?, ?, ?, ?, ?)", (parent_kind, parent_id, kind, field, key))
        for tag in old.tags:
            if tag not in new.tags:
                execute("DELETE FROM tags WHERE tag = ? AND kind = ? AND id = ?", (tag, kind, key))
        for tag in new.tags:
            if tag not in old.tags:
                execute("INSERT INTO tags VALUES (?, ?, ?)", (tag, kind, key))

    def _claim(self, kind: str, key: str, field: str, value: str) -> None:
        owner = self._execute(
            "SELECT e.id, e.expires, e.idx FROM unique_keys u JOIN entities e ON e.kind = u.kind AND e.id = u.id "
            "WHERE u.kind = ? AND u.field = ? AND u.value = ?",
            (kind, field, value),
        ).fetchone()
        if owner is not None:
            if owner[1] is None or owner[1] > self._now:
                raise Duplicate(kind, field, value)
            _erase(self, kind, owner[0], _index(owner[2]))
        self._execute("INSERT OR REPLACE INTO unique_keys VALUES (?, ?, ?, ?)", (kind, field, value, key))

    def _check(self, operation: Operation) -> None:
        if isinstance(operation, Delete):
            child = self._execute(
                "SELECT l.kind FROM links l JOIN entities e ON e.kind = l.kind AND e.id = l.id "
                f"WHERE l.parent_kind = ? AND l.parent_id = ? AND {_LIVE} LIMIT 1",
                (operation.kind, operation.id, self._now),
            ).fetchone()
            if child:
                raise Referenced(operation.kind, operation.id, child[0])
            return
        for field, parent_kind, parent_id in operation.index.parents:
            parent = self._execute(
                f"SELECT 1 FROM entities e WHERE e.kind = ? AND e.id = ? AND {_LIVE}",
                (parent_kind, parent_id, self._now),
            ).fetchone()
            if parent is None:
                raise MissingParent(operation.kind, field, parent_kind, parent_id)


def _erase(commit: _Commit, kind: str, key: str, index: Index) -> None:
    commit._change_index(kind, key, index, Index())
    commit._execute("DELETE FROM entities WHERE kind = ? AND id = ?", (kind, key))


def _fetch(connection: sqlite3.Connection, query: str, values: Sequence[Any]) -> list[Any]:
    return connection.execute(query, values).fetchall()


def _execute(connection: sqlite3.Connection, query: str, values: Sequence[Any]) -> None:
    connection.execute(query, values)


def _execute_many(connection: sqlite3.Connection, query: str, values: Sequence[Any]) -> None:
    connection.executemany(query, values)


def _rows(found: Sequence[Any]) -> list[Row]:
    return [Row(*entry) for entry in found]


def _first(found: Sequence[Any]) -> Row | None:
    return Row(*found[0]) if found else None


def _plain(index: Index) -> list[Any]:
    return [index.unique, index.parents, index.tags]


def _index(stored: bytes) -> Index:
    unique, parents, tags = codec.loads(stored)
    return Index(
        tuple((field, value) for field, value in unique),
        tuple((field, kind, key) for field, kind, key in parents),
        tuple(tags),
    )


def _event_range(connection: sqlite3.Connection) -> tuple[int, int]:
    # One statement, so that both numbers belong to one moment.
    last, oldest = connection.execute(
        "SELECT (SELECT seq FROM sqlite_sequence WHERE name = 'events'), (SELECT min(id) FROM events)"
    ).fetchone()
    last = last or 0
    return (oldest if oldest is not None else last + 1), last


def _events_after(connection: sqlite3.Connection, cursor: int, limit: int) -> list[Event]:
    connection.execute("BEGIN")  # a read snapshot: the pruner must not take rows between the two queries
    try:
        oldest, last = _event_range(connection)
        if cursor + 1 < oldest or cursor > last:
            raise EventsLost(f"events {cursor + 1} to {oldest - 1} are gone")
        found = connection.execute(
            "SELECT id, entity, key, op, cache_keys, origin FROM events WHERE id > ? ORDER BY id LIMIT ?",
            (cursor, limit),
        ).fetchall()
    finally:
        connection.execute("COMMIT")
    return [Event(n, entity, key, op, tuple(codec.loads(keys)), origin) for n, entity, key, op, keys, origin in found]


def _prune(connection: sqlite3.Connection) -> bool:
    """Remove at most 1000 rows of each sort; whether there may be more."""
    now = time.time()
    oldest = connection.execute("SELECT id, at FROM events ORDER BY id LIMIT 1000").fetchall()
    ended = connection.execute(
        "DELETE FROM counts WHERE (key, origin) IN (SELECT key, origin FROM counts WHERE expires <= ? LIMIT 1000)",
        (now,),
    )
    gone = [number for number, at in oldest if at < now - EVENT_LIFETIME]
    if gone:
        connection.execute("DELETE FROM events WHERE id <= ?", (gone[-1],))
    expired = connection.execute(
        "SELECT kind, id, idx FROM entities WHERE expires IS NOT NULL AND expires <= ? LIMIT 1000", (now,)
    ).fetchall()
    commit = _Commit((), (), "")
    commit._execute = connection.execute
    for kind, key, index in expired:
        _erase(commit, kind, key, _index(index))
    return len(gone) == 1000 or len(expired) == 1000 or ended.rowcount == 1000


def _meta(connection: sqlite3.Connection) -> Meta:
    known = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "schema_meta" not in known:
        return Meta()
    rows = connection.execute("SELECT name, state FROM schema_meta ORDER BY name").fetchall()
    values = connection.execute("SELECT name, value FROM settings").fetchall()
    return Meta(dict(rows) or None, dict(values))


def _prepare(connection: sqlite3.Connection) -> None:
    if connection.execute("PRAGMA journal_mode=WAL").fetchone()[0] != "wal":
        raise StoreUnavailable("the store's file system does not support SQLite's write-ahead log")
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in _META_TABLES.strip().split(";\n"):
            connection.execute(statement)
    finally:
        connection.execute("COMMIT")


def _migrate(connection: sqlite3.Connection, name: str, state: str, step: Any) -> None:
    if callable(step):
        step(connection)
    else:
        for statement in (step or "").split(";\n"):
            if statement.strip():
                connection.execute(statement)
    connection.execute("INSERT OR REPLACE INTO schema_meta VALUES (?, ?)", (name, state))


def _set_value(connection: sqlite3.Connection, name: str, value: str) -> str:
    connection.execute("INSERT OR IGNORE INTO settings VALUES (?, ?)", (name, value))
    return str(connection.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()[0])


def _lock(connection: sqlite3.Connection, name: str, owner: str, seconds: float) -> bool:
    now = time.time()
    held = connection.execute("SELECT owner, until FROM locks WHERE name = ?", (name,)).fetchone()
    if held and held[0] != owner and held[1] > now:
        return False
    connection.execute("INSERT OR REPLACE INTO locks VALUES (?, ?, ?)", (name, owner, now + seconds))
    return True


def _reset(connection: sqlite3.Connection) -> None:
    for table in _TABLES:
        connection.execute(f"DROP TABLE IF EXISTS {table}")
