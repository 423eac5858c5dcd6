"""A store in the memory of one process: for tests and for throw-away gateways; nothing survives the process."""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Mapping, Sequence
from typing import Any

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
from kong_gevent.errors import EventsLost


class MemoryStrategy(Strategy):
    """Dictionaries and sorted id lists. No call switches greenlets, so that each one is atomic."""

    name = "memory"

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.reset()

    def connect(self) -> None:
        """Nothing to open."""

    def close(self) -> None:
        """Nothing to release: the content stays."""

    def ping(self) -> None:
        """Always there."""

    def reset(self) -> None:
        """Forget everything."""
        self._rows: dict[str, dict[str, tuple[Row, Index]]] = {}
        self._ids: dict[str, list[str]] = {}
        self._unique: dict[tuple[str, str, str], str] = {}
        self._links: dict[tuple[str, str], list[tuple[str, str, str]]] = {}
        self._tags: list[tuple[str, str, str]] = []
        self._events: list[tuple[float, Event]] = []
        self._last_event = 0
        self._version = 0
        self._meta = Meta()
        self._locks: dict[str, tuple[str, float]] = {}
        self._counts: dict[str, tuple[dict[str, int], float]] = {}

    def _live(self, row: Row | None) -> Row | None:
        if row is None or (row.expires is not None and row.expires <= self._clock()):
            return None
        return row

    def read(self, kind: str, key: str) -> Row | None:
        held = self._rows.get(kind, {}).get(key)
        return self._live(held[0]) if held else None

    def find(self, kind: str, field: str, value: str) -> Row | None:
        key = self._unique.get((kind, field, value))
        return self.read(kind, key) if key is not None else None

    def page(
        self, kind: str, after: str | None, size: int, tags: Sequence[str] = (), match_all: bool = True
    ) -> list[Row]:
        ids = self._ids.get(kind, [])
        rows: list[Row] = []
        for position in range(bisect_right(ids, after) if after is not None else 0, len(ids)):
            row, index = self._rows[kind][ids[position]]
            hits = [tag in index.tags for tag in tags]
            if tags and not (all(hits) if match_all else any(hits)):
                continue
            if self._live(row):
                rows.append(row)
                if len(rows) == size:
                    break
        return rows

    def children(self, parent: tuple[str, str], kind: str, field: str, after: str | None, size: int) -> list[Row]:
        links = self._links.get(parent, [])
        rows: list[Row] = []
        at = bisect_right(links, (kind, field, after)) if after is not None else bisect_left(links, (kind, field, ""))
        while at < len(links) and links[at][:2] == (kind, field) and len(rows) < size:
            row = self.read(kind, links[at][2])
            if row:
                rows.append(row)
            at += 1
        return rows

    def count(self, kind: str) -> int:
        return sum(self._live(row) is not None for row, _ in self._rows.get(kind, {}).values())

    def tagged(self, tag: str | None, after: tuple[str, str, str] | None, size: int) -> list[tuple[str, str, str]]:
        found: list[tuple[str, str, str]] = []
        if after is not None:
            at = bisect_right(self._tags, after)
        else:
            at = bisect_left(self._tags, (tag, "", "")) if tag is not None else 0
        while at < len(self._tags) and len(found) < size:
            entry = self._tags[at]
            if tag is not None and entry[0] != tag:
                break
            if self.read(entry[1], entry[2]):
                found.append(entry)
            at += 1
        return found

    def commit(self, operations: Sequence[Operation], changes: Sequence[Change], origin: str = "") -> None:
        undo: list[tuple[str, str, tuple[Row, Index] | None]] = []
        try:
            # All rows give up unique values before any claims one, so that values may change places.
            for operation in sorted(operations, key=lambda operation: isinstance(operation, Put)):
                undo.append((operation.kind, operation.id, self._rows.get(operation.kind, {}).get(operation.id)))
                self._take(operation)
            for operation in operations:
                if isinstance(operation, Put):
                    self._put(operation)
            for operation in operations:
                self._check(operation)
        except BaseException:
            for kind, key, _ in undo:
                self._drop(kind, key)
            for _, _, held in undo:
                if held:
                    self._hold(*held)
            raise
        now = self._clock()
        for change in changes:
            self._last_event += 1
            event = Event(self._last_event, change.entity, change.key, change.op, change.cache_keys, origin)
            self._events.append((now, event))
        if len(self._events) > 1000 and self._events[0][0] < now - EVENT_LIFETIME:
            self.prune()

    def _take(self, operation: Operation) -> None:
        """Remove what is to go, or to be replaced."""
        held = self._rows.get(operation.kind, {}).get(operation.id)
        live = self._live(held[0]) if held else None
        if (live.version if live else None) != operation.version:
            raise (Exists if operation.version is None else Stale)(operation.kind, operation.id)
        if held:
            self._drop(operation.kind, operation.id)

    def _put(self, put: Put) -> None:
        if self.read(put.kind, put.id):
            raise Exists(put.kind, put.id)
        for field, value in put.index.unique:
            self._claim(put.kind, field, value)
        self._version += 1
        self._hold(Row(put.kind, put.id, put.body, self._version, put.expires), put.index)

    def _claim(self, kind: str, field: str, value: str) -> None:
        owner = self._unique.get((kind, field, value))
        if owner is None:
            return
        if self.read(kind, owner):
            raise Duplicate(kind, field, value)
        self._drop(kind, owner)

    def _check(self, operation: Operation) -> None:
        if isinstance(operation, Delete):
            for kind, _, key in self._links.get((operation.kind, operation.id), []):
                if self.read(kind, key):
                    raise Referenced(operation.kind, operation.id, kind)
        else:
            for field, parent_kind, parent_id in operation.index.parents:
                if not self.read(parent_kind, parent_id):
                    raise MissingParent(operation.kind, field, parent_kind, parent_id)

    def _hold(self, row: Row, index: Index) -> None:
        self._rows.setdefault(row.kind, {})[row.id] = (row, index)
        insort(self._ids.setdefault(row.kind, []), row.id)
        for field, value in index.unique:
            self._unique[row.kind, field, value] = row.id
        for field, parent_kind, parent_id in index.parents:
            insort(self._links.setdefault((parent_kind, parent_id), []), (row.kind, field, row.id))
        for tag in index.tags:
            insort(self._tags, (tag, row.kind, row.id))

    def _drop(self, kind: str, key: str) -> None:
        held = self._rows.get(kind, {}).pop(key, None)
        if held is None:
            return
        index = held[1]
        _remove(self._ids[kind], key)
        for field, value in index.unique:
            self._unique.pop((kind, field, value), None)
        for field, parent_kind, parent_id in index.parents:
            links = self._links[parent_kind, parent_id]
            _remove(links, (kind, field, key))
            if not links:
                del self._links[parent_kind, parent_id]
        for tag in index.tags:
            _remove(self._tags, (tag, kind, key))

    def events_after(self, cursor: int, limit: int, settled: bool = False) -> list[Event]:
        oldest, last = self.event_range()
        if cursor + 1 < oldest or cursor > last:
            raise EventsLost(f"events {cursor + 1} to {oldest - 1} are gone")
        start = cursor + 1 - oldest
        return [event for _, event in self._events[start : start + limit]]

    def event_range(self) -> tuple[int, int]:
        return (self._events[0][1].id if self._events else self._last_event + 1), self._last_event

    def push_counts(self, origin: str, counts: Mapping[str, tuple[int, float]]) -> None:
        for key, (total, expires) in counts.items():
            totals, _ = self._counts.setdefault(key, ({}, expires))
            totals[origin] = max(total, totals.get(origin, 0))

    def read_counts(self, keys: Sequence[str]) -> dict[str, dict[str, int]]:
        now = self._clock()
        held = {key: self._counts[key] for key in keys if key in self._counts}
        return {key: dict(totals) for key, (totals, expires) in held.items() if expires > now}

    def prune(self) -> None:
        now = self._clock()
        self._events = [(when, event) for when, event in self._events if when >= now - EVENT_LIFETIME]
        for kind, rows in self._rows.items():
            for key in [key for key, (row, _) in rows.items() if row.expires is not None and row.expires <= now]:
                self._drop(kind, key)
        self._counts = {key: held for key, held in self._counts.items() if held[1] > now}

    def meta(self) -> Meta:
        return self._meta

    def prepare(self) -> None:
        if self._meta.migrations is None:
            self._meta.migrations = {}

    def migrate(self, name: str, state: str, step: Any) -> None:
        self.prepare()
        assert self._meta.migrations is not None
        if callable(step):
            step(self)
        self._meta.migrations[name] = state

    def set_value(self, name: str, value: str) -> str:
        return self._meta.values.setdefault(name, value)

    def lock(self, name: str, owner: str, seconds: float) -> bool:
        holder, until = self._locks.get(name, ("", 0.0))
        if holder not in ("", owner) and until > self._clock():
            return False
        self._locks[name] = (owner, self._clock() + seconds)
        return True

    def unlock(self, name: str, owner: str) -> None:
        if self._locks.get(name, ("",))[0] == owner:
            del self._locks[name]


def _remove(entries: list[Any], entry: Any) -> None:
    at = bisect_left(entries, entry)
    if at < len(entries) and entries[at] == entry:
        del entries[at]
