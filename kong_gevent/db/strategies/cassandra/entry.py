"""What one entry of the commit log says, how it is cut into rows of bounded size, and which statements carry it out."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from kong_gevent.db import codec
from kong_gevent.db.batches import grouped
from kong_gevent.db.strategies.base import Change, Event
from kong_gevent.db.strategies.cassandra.draft import Drop
from kong_gevent.db.strategies.cassandra.records import Stored, bucket_of, tag_bucket, unique_key, unpack

PART_SIZE = 256 * 1024
"""Bytes after which an entry goes on in another row of the log."""
TTL_MARGIN = 10
"""Seconds for which the server keeps an expired row: the gateway's clock decides what is visible."""
BUNCH, BUNCH_SIZE = 16, 4096
"""Rows and bytes that are stored by one statement, if they share a partition: servers warn of larger ones."""
_LONGEST_TTL = 20 * 365 * 24 * 3600

Call = tuple[str, tuple[Any, ...]]

_PUTS = {
    "e": "INSERT INTO entities (kind, bucket, id, expires, data) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?",
    "u": "INSERT INTO unique_keys (kind, field, value, data) VALUES (?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?",
    "l": "INSERT INTO links (parent_kind, parent_id, kind, field, id, expires, data) VALUES (?, ?, ?, ?, ?, ?, ?) "
    "USING TIMESTAMP ? AND TTL ?",
    "t": "INSERT INTO tags (bucket, tag, kind, id, expires) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?",
}
_DROPS = {
    "e": "DELETE FROM entities USING TIMESTAMP ? WHERE kind = ? AND bucket = ? AND id = ?",
    "u": "DELETE FROM unique_keys USING TIMESTAMP ? WHERE kind = ? AND field = ? AND value = ?",
    "l": "DELETE FROM links USING TIMESTAMP ? "
    "WHERE parent_kind = ? AND parent_id = ? AND kind = ? AND field = ? AND id = ?",
    "t": "DELETE FROM tags USING TIMESTAMP ? WHERE bucket = ? AND tag = ? AND kind = ? AND id = ?",
}


@dataclass(frozen=True, slots=True)
class Point:
    """A place in the log: the id of the last event up to there, the entry that ends there, and when it was written.

    `seq` is the write timestamp of what the entry stores, too; `at` is in epoch seconds.
    """

    seq: int
    entry: UUID
    at: int


@dataclass(slots=True)
class Note:
    """An event as the log keeps it; `offset`: how far its id is from the end of the entry before."""

    offset: int
    change: Change
    origin: str


@dataclass(slots=True)
class Part:
    """One row of an entry."""

    puts: list[bytes] = field(default_factory=list)
    drops: list[Drop] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def encoded(self) -> tuple[list[bytes], bytes, bytes]:
        """The three columns."""
        notes = [
            (note.offset, note.change.entity, note.change.key, note.change.op, note.change.cache_keys, note.origin)
            for note in self.notes
        ]
        return self.puts, codec.dumps(self.drops), codec.dumps(notes)


@dataclass(slots=True)
class Entry:
    """A group of commits that is stored, and becomes visible, as one. `before`: the entry that it follows."""

    point: Point
    before: Point
    puts: list[Stored]
    drops: list[Drop]
    notes: list[Note]

    def parts(self) -> list[Part]:
        """The rows; at least one."""
        parts = [Part()]
        size = 0

        def room(more: int) -> Part:
            nonlocal size
            if size and size + more > PART_SIZE:
                parts.append(Part())
                size = 0
            size += more
            return parts[-1]

        for stored in self.puts:
            room(len(stored.data)).puts.append(stored.data)
        for drop in self.drops:
            room(sum(map(len, drop)) + 16).drops.append(drop)
        for note in self.notes:
            change = note.change
            room(sum(map(len, change.cache_keys)) + len(change.entity) + len(change.key) + 80).notes.append(note)
        return parts

    def statements(self, now: float) -> Iterator[Call]:
        """What stores it. Idempotent, in any order, at any time: later entries have later timestamps."""
        seq = self.point.seq
        yield from _rows(self.puts, seq, now)
        for stored in self.puts:
            yield from _index_rows(stored, seq, now)
        for drop in self.drops:
            yield _drop(drop, seq)


def read_puts(columns: Iterable[Sequence[bytes] | None]) -> list[Stored]:
    """The inverse of a part's first column, for all parts."""
    return [unpack(bytes(data)) for column in columns for data in column or ()]


def read_drops(columns: Iterable[bytes]) -> list[Drop]:
    """The inverse of a part's second column, for all parts."""
    return [tuple(drop) for column in columns for drop in codec.loads(bytes(column))]


def read_events(columns: Iterable[bytes], base: int) -> list[Event]:
    """The events in the third column of all parts; `base`: id of the last event before the entry."""
    return [
        Event(base + offset, entity, key, op, tuple(cache_keys), origin)
        for column in columns
        for offset, entity, key, op, cache_keys, origin in codec.loads(bytes(column))
    ]


def time_to_live(expires: float | None, now: float) -> int:
    """Seconds for which the server is to keep a row; 0: for good."""
    if expires is None:
        return 0
    return min(max(math.ceil(expires - now), 0) + TTL_MARGIN, _LONGEST_TTL)


def _rows(puts: Iterable[Stored], seq: int, now: float) -> Iterator[Call]:
    """The rows themselves. Those of one partition go together: that is one write for the server."""
    partitions: defaultdict[tuple[str, int], list[Stored]] = defaultdict(list)
    for stored in puts:
        partitions[stored.row.kind, bucket_of(stored.row.id)].append(stored)
    for (kind, bucket), held in partitions.items():
        for some in grouped(held, lambda stored: len(stored.data), BUNCH, BUNCH_SIZE):
            values: list[Any] = []
            for stored in some:
                row = stored.row
                values += (kind, bucket, row.id, row.expires or 0.0, stored.data, seq, time_to_live(row.expires, now))
            statement = _PUTS["e"]
            if len(some) > 1:
                statement = f"BEGIN UNLOGGED BATCH {'; '.join([statement] * len(some))}; APPLY BATCH"
            yield statement, tuple(values)


def _index_rows(stored: Stored, seq: int, now: float) -> Iterator[Call]:
    kind, key = stored.key
    expires, data = stored.row.expires or 0.0, stored.data
    using = (seq, time_to_live(stored.row.expires, now))
    for name, value in stored.index.unique:
        yield _PUTS["u"], (kind, name, unique_key(value), data, *using)
    for name, parent_kind, parent_id in stored.index.parents:
        yield _PUTS["l"], (parent_kind, parent_id, kind, name, key, expires, data, *using)
    for tag in stored.index.tags:
        yield _PUTS["t"], (tag_bucket(tag), tag, kind, key, expires, *using)


def _drop(drop: Drop, seq: int) -> Call:
    table, *key = drop
    values: tuple[Any, ...] = tuple(key)
    if table == "e":
        values = (key[0], bucket_of(key[1]), key[1])
    elif table == "u":
        values = (key[0], key[1], unique_key(key[2]))
    elif table == "t":
        values = (tag_bucket(key[0]), *key)
    return _DROPS[table], (seq, *values)
