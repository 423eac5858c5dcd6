"""What the SQL stores have in common: the queries, what a commit writes, shared counts, locks, what is pruned when.

A dialect says how statements reach its database (`_fetch`, `_change`, `_commit`) and the few expressions in which
databases differ. Statements are written with `?` for values.
"""

from __future__ import annotations

import logging
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from kong_gevent.db import codec
from kong_gevent.db.strategies.base import EVENT_LIFETIME, Change, Event, Meta, Operation, Row, Strategy
from kong_gevent.db.strategies.judge import LIVE, Judge, load_index
from kong_gevent.errors import DatabaseError, EventsLost

PRUNE_INTERVAL = 60.0
"""Seconds between two looks of a process for what has expired."""
PORTION = 1000
"""Rows of each sort that are pruned in one transaction, so that nobody waits long for it."""
TABLES = ("schema_meta", "settings", "locks", "heads", "entities", "unique_keys", "links", "tags", "events", "counts")

_log = logging.getLogger(__name__)
_BACKLOG_INTERVAL = 1.0
_KEYS_PER_QUERY = 500
_ROWS_PER_QUERY = 100
ROW = "e.kind, e.id, e.body, e.version, e.expires"
READ = f"{ROW} FROM entities e WHERE e.kind = ? AND e.id = ? AND {LIVE}"
_FIND_MANY = (
    f"{ROW} FROM unique_keys u JOIN entities e ON e.kind = u.kind AND e.id = u.id WHERE u.kind = ? AND u.field = ?"
)
FIND = f"{_FIND_MANY} AND u.value = ? AND {LIVE}"
_CHILDREN = (
    f"SELECT {ROW} FROM links l JOIN entities e ON e.kind = l.kind AND e.id = l.id "
    f"WHERE l.parent_kind = ? AND l.parent_id = ? AND l.kind = ? AND l.field = ? AND l.id > ? AND {LIVE} "
    "ORDER BY l.id LIMIT ?"
)
_EXPIRED = "SELECT kind, id, idx FROM entities WHERE expires IS NOT NULL AND expires <= ? LIMIT ?"
_OLDEST_EVENTS = "SELECT id, at FROM events ORDER BY id LIMIT ?"
_DELETE_EVENTS = "DELETE FROM events WHERE id <= ?"
_ENDED = "SELECT key, origin FROM counts WHERE expires <= ? LIMIT ?"
_DELETE_COUNT = "DELETE FROM counts WHERE key = ? AND origin = ? AND expires <= ?"
PUT_STATE = (
    "INSERT INTO schema_meta (name, state) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET state = excluded.state"
)

Run = Callable[[str, Sequence[Sequence[Any]]], None]
"""Runs a statement once for each row of values, inside a transaction."""


class RelationalStrategy(Strategy):
    """The part of a strategy that is the same SQL everywhere."""

    clock = "?"
    """Expression for the time of the one clock that locks are kept by, epoch s."""

    def __init__(self) -> None:
        self._pruned = float("-inf")

    # What a dialect does

    @abstractmethod
    def _fetch(self, query: str, values: Sequence[Any]) -> list[Any]:
        """Run a query that changes nothing."""

    @abstractmethod
    def _change(self, statement: str, values: Sequence[Any]) -> list[Any]:
        """Run one statement durably; what it returns."""

    @abstractmethod
    def _commit(self, operations: Sequence[Operation], changes: Sequence[Change], origin: str) -> None:
        """See `commit`."""

    @abstractmethod
    def _prune(self) -> bool:
        """Prune one portion; whether there may be more."""

    def stored_value(self, value: str) -> str:
        """How a unique value is kept."""
        return value

    # Reading

    def connect(self) -> None:
        """Read something, so that an unusable store shows now."""
        self.ping()

    def ping(self) -> None:
        """Read one of the tables."""
        self._fetch("SELECT count(*) FROM schema_meta", ())

    def read(self, kind: str, key: str) -> Row | None:
        return first(self._fetch(f"SELECT {READ}", (kind, key, time.time())))

    def read_many(self, kind: str, keys: Sequence[str]) -> list[Row | None]:
        found: dict[str, Row] = {}
        for start in range(0, len(keys), _ROWS_PER_QUERY):
            some = keys[start : start + _ROWS_PER_QUERY]
            query = (
                f"SELECT {ROW} FROM entities e WHERE e.kind = ? AND e.id IN ({', '.join('?' * len(some))}) AND {LIVE}"
            )
            found.update((row.id, row) for row in rows(self._fetch(query, (kind, *some, time.time()))))
        return [found.get(key) for key in keys]

    def find(self, kind: str, field: str, value: str) -> Row | None:
        return first(self._fetch(f"SELECT {FIND}", (kind, field, self.stored_value(value), time.time())))

    def find_many(self, kind: str, values: Sequence[tuple[str, str]]) -> list[Row | None]:
        wanted = [(field, self.stored_value(value)) for field, value in values]
        found: dict[tuple[str, str], Row] = {}
        for field in dict.fromkeys(field for field, _ in wanted):
            these = list(dict.fromkeys(value for name, value in wanted if name == field))
            for start in range(0, len(these), _ROWS_PER_QUERY):
                some = these[start : start + _ROWS_PER_QUERY]
                query = f"SELECT u.value, {_FIND_MANY} AND u.value IN ({', '.join('?' * len(some))}) AND {LIVE}"
                for value, *row in self._fetch(query, (kind, field, *some, time.time())):
                    found[field, value] = Row(*row)
        return [found.get(pair) for pair in wanted]

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
        query = f"SELECT {ROW} FROM {source} AND {LIVE} ORDER BY e.id LIMIT ?"
        return rows(self._fetch(query, (*values, time.time(), size)))

    def children(self, parent: tuple[str, str], kind: str, field: str, after: str | None, size: int) -> list[Row]:
        return rows(self._fetch(_CHILDREN, (*parent, kind, field, after or "", time.time(), size)))

    def count(self, kind: str) -> int:
        query = f"SELECT count(*) FROM entities e WHERE e.kind = ? AND {LIVE}"
        return int(self._fetch(query, (kind, time.time()))[0][0])

    def tagged(self, tag: str | None, after: tuple[str, str, str] | None, size: int) -> list[tuple[str, str, str]]:
        conditions, values = ["(t.tag, t.kind, t.id) > (?, ?, ?)"], list(after or ("", "", ""))
        if tag is not None:
            conditions.append("t.tag = ?")
            values.append(tag)
        query = (
            "SELECT t.tag, t.kind, t.id FROM tags t JOIN entities e ON e.kind = t.kind AND e.id = t.id "
            f"WHERE {' AND '.join(conditions)} AND {LIVE} ORDER BY t.tag, t.kind, t.id LIMIT ?"
        )
        return [(found, kind, key) for found, kind, key in self._fetch(query, (*values, time.time(), size))]

    def read_counts(self, keys: Sequence[str]) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        for start in range(0, len(keys), _KEYS_PER_QUERY):
            some = keys[start : start + _KEYS_PER_QUERY]
            query = f"SELECT key, origin, total FROM counts WHERE key IN ({', '.join('?' * len(some))}) AND expires > ?"
            for key, origin, total in self._fetch(query, (*some, time.time())):
                found.setdefault(key, {})[origin] = total
        return found

    # Writing

    def commit(self, operations: Sequence[Operation], changes: Sequence[Change], origin: str = "") -> None:
        self._commit(operations, changes, origin)
        self._tidy()

    def push_counts(self, origin: str, counts: Mapping[str, tuple[int, float]]) -> None:
        if counts:
            # Sorted, so that two that push the same keys never wait for each other.
            self._push([(key, origin, total, expires) for key, (total, expires) in sorted(counts.items())])
            self._tidy()

    @abstractmethod
    def _push(self, counts: Sequence[tuple[str, str, int, float]]) -> None:
        """Raise the totals: (key, origin, total, expires)."""

    def _tidy(self) -> None:
        """Prune a portion now and then; more often while a backlog is there."""
        if time.monotonic() - self._pruned < PRUNE_INTERVAL:
            return
        self._pruned = time.monotonic()
        try:
            if self._prune():
                self._pruned -= PRUNE_INTERVAL - _BACKLOG_INTERVAL
        except DatabaseError as error:
            # What was asked for is done and must not look failed; the next interval tries again.
            _log.warning("could not remove what has expired: %s", error)

    def prune(self) -> None:
        while self._prune():
            pass

    def set_value(self, name: str, value: str) -> str:
        self._change("INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING", (name, value))
        return str(self._fetch("SELECT value FROM settings WHERE name = ?", (name,))[0][0])

    def lock(self, name: str, owner: str, seconds: float) -> bool:
        statement = (
            f"INSERT INTO locks (name, owner, until) VALUES (?, ?, {self.clock} + ?) "
            "ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until = excluded.until "
            f"WHERE locks.owner = excluded.owner OR locks.until <= {self.clock} RETURNING owner"
        )
        return bool(self._change(statement, (name, owner, seconds)))

    def unlock(self, name: str, owner: str) -> None:
        self._change("DELETE FROM locks WHERE name = ? AND owner = ?", (name, owner))


def rows(found: Sequence[Any]) -> list[Row]:
    """What a query for `ROW` found."""
    return [Row(*entry) for entry in found]


def first(found: Sequence[Any]) -> Row | None:
    """The only row that a query for `ROW` found."""
    return Row(*found[0]) if found else None


def meta_of(states: Sequence[Any], values: Sequence[Any]) -> Meta:
    """From the content of the migrations' tables."""
    return Meta(dict(states) or None, dict(values))


def event_rows(
    at: float, number: int | None, changes: Sequence[tuple[Change, str]]
) -> Iterator[tuple[int | None, float, str, str, str, bytes, str]]:
    """Values of the columns id, at, entity, key, op, cache_keys, origin; ids begin at `number`, None: left open."""
    for position, (change, origin) in enumerate(changes):
        identity = None if number is None else number + position
        yield identity, at, change.entity, change.key, change.op, codec.dumps(change.cache_keys), origin


def events_of(cursor: int, oldest: int | None, last: int, found: Sequence[Any]) -> list[Event]:
    """Rows of (id, entity, key, op, cache_keys, origin) as events. Raises `EventsLost` when some are gone already.

    `oldest`: id of the oldest event kept, None: none is; `last`: of the newest one written.
    """
    oldest = last + 1 if oldest is None else oldest
    if cursor + 1 < oldest or cursor > last:
        raise EventsLost(f"events {cursor + 1} to {oldest - 1} are gone")
    return [Event(n, entity, key, op, tuple(codec.loads(keys)), origin) for n, entity, key, op, keys, origin in found]


def prune_portion(judge: Judge, run: Run) -> bool:
    """Remove at most `PORTION` rows of each sort, inside a transaction; whether there may be more."""
    fetch, now = judge.facts.fetch, judge.facts.now
    events = fetch(_OLDEST_EVENTS, (PORTION,))
    gone = [number for number, at in events if at < now - EVENT_LIFETIME]
    if gone:
        run(_DELETE_EVENTS, [(gone[-1],)])
    ended = fetch(_ENDED, (now, PORTION))
    if ended:
        run(_DELETE_COUNT, [(key, origin, now) for key, origin in sorted(ended)])
    expired = fetch(_EXPIRED, (now, PORTION))
    for kind, key, index in expired:
        judge.erase((kind, key), load_index(index))
    for table, rows_gone, _ in judge.writes.changes(judge.facts.stored_value):
        if rows_gone:
            run(table.delete_one, rows_gone)
    return PORTION in (len(gone), len(ended), len(expired))


def statements_of(step: str | None) -> list[str]:
    """The statements of a migration's half; each ends in a semicolon at the end of a line."""
    return [statement.strip().rstrip(";") for statement in (step or "").split(";\n") if statement.strip()]
