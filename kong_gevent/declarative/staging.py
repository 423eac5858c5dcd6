"""Where a document waits between reading and writing: a temporary database on disk, so that its size is no matter.

Its file has no name that anybody could open, and is gone when the process is.
"""

from __future__ import annotations

import pickle
import sqlite3
from collections.abc import Iterator
from typing import Any, NamedTuple

from kong_gevent.db import codec
from kong_gevent.db.strategies.base import Index

_TABLES = """
CREATE TABLE raw (kind TEXT NOT NULL, n INTEGER PRIMARY KEY, body BLOB NOT NULL, id TEXT);
CREATE INDEX raw_kind ON raw (kind, n);
CREATE UNIQUE INDEX raw_id ON raw (kind, id) WHERE id IS NOT NULL;
CREATE TABLE names (kind TEXT NOT NULL, field TEXT NOT NULL, value TEXT NOT NULL, id TEXT NOT NULL,
  PRIMARY KEY (kind, field, value)) WITHOUT ROWID;
CREATE TABLE entries (kind TEXT NOT NULL, id TEXT NOT NULL, body BLOB NOT NULL, given BLOB NOT NULL, expires REAL,
  PRIMARY KEY (kind, id)) WITHOUT ROWID;
CREATE TABLE links (parent TEXT NOT NULL, kind TEXT NOT NULL, field TEXT NOT NULL, id TEXT NOT NULL,
  PRIMARY KEY (parent, kind, field, id)) WITHOUT ROWID;
"""
_PAGE = 500


class Raw(NamedTuple):
    """An entity as the document has it.

    `number`: in the order of the document; `parent`: (foreign field, number of the entity it is nested in).
    """

    kind: str
    number: int
    place: tuple[str | int, ...]
    values: dict[str, Any]
    parent: tuple[str, int] | None


class Entry(NamedTuple):
    """A valid entity. `given`: names of the automatic times that the document has; `expires`: epoch s."""

    kind: str
    id: str
    body: bytes
    given: tuple[str, ...]
    expires: float | None


class Staging:
    """The content of one document, first raw, then valid."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._execute = self._database.execute
        self._execute("PRAGMA journal_mode=OFF")
        self._execute("PRAGMA synchronous=OFF")
        self._database.executescript(_TABLES)
        self._number = 0

    def close(self) -> None:
        """Forget everything."""
        self._database.close()

    def add_raw(
        self, kind: str, place: tuple[str | int, ...], values: dict[str, Any], parent: tuple[str, int] | None
    ) -> int:
        """Keep an entity as it was read; its number."""
        self._number += 1
        body = pickle.dumps((place, values, parent), pickle.HIGHEST_PROTOCOL)
        self._execute("INSERT INTO raw (kind, n, body) VALUES (?, ?, ?)", (kind, self._number, body))
        return self._number

    @property
    def raw_count(self) -> int:
        """Number of entities that were read."""
        return self._number

    def raws(self, kind: str) -> Iterator[Raw]:
        """The entities of a kind as they were read, in order."""
        last = 0
        while True:
            query = "SELECT n, body FROM raw WHERE kind = ? AND n > ? ORDER BY n LIMIT ?"
            found = self._execute(query, (kind, last, _PAGE)).fetchall()
            for number, body in found:
                yield Raw(kind, number, *pickle.loads(body))
            if len(found) < _PAGE:
                return
            last = found[-1][0]

    def identify(self, kind: str, number: int, key: str) -> bool:
        """Give an entity its id; False when another one of its kind has it."""
        try:
            self._execute("UPDATE raw SET id = ? WHERE n = ?", (key, number))
        except sqlite3.IntegrityError:
            return False
        return True

    def id_of(self, number: int) -> str | None:
        """The id of an entity by its number."""
        found = self._execute("SELECT id FROM raw WHERE n = ?", (number,)).fetchone()
        return found[0] if found else None

    def has_id(self, kind: str, key: str) -> bool:
        """Whether an entity of the document, valid or not, has this id."""
        return self._execute("SELECT 1 FROM raw WHERE kind = ? AND id = ?", (kind, key)).fetchone() is not None

    def claim(self, kind: str, field: str, value: str, key: str) -> bool:
        """Note a unique value; False when another entity of the document has it."""
        self._execute("INSERT OR IGNORE INTO names VALUES (?, ?, ?, ?)", (kind, field, value, key))
        return self.holder(kind, field, value) == key

    def holder(self, kind: str, field: str, value: str) -> str | None:
        """The id of the entity that has a unique value."""
        query = "SELECT id FROM names WHERE kind = ? AND field = ? AND value = ?"
        found = self._execute(query, (kind, field, value)).fetchone()
        return found[0] if found else None

    def add(self, entry: Entry, index: Index) -> None:
        """Keep a valid entity."""
        kind, key, body, given, expires = entry
        self._execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?)", (kind, key, body, codec.dumps(given), expires))
        for field, _, parent in index.parents:
            self._execute("INSERT OR IGNORE INTO links VALUES (?, ?, ?, ?)", (parent, kind, field, key))

    def get(self, kind: str, key: str) -> Entry | None:
        """A valid entity by id."""
        found = self._execute("SELECT * FROM entries WHERE kind = ? AND id = ?", (kind, key)).fetchone()
        return _entry(found) if found else None

    def entries(self, kind: str) -> Iterator[Entry]:
        """The valid entities of a kind in the order of their ids."""
        last = ""
        while True:
            query = "SELECT * FROM entries WHERE kind = ? AND id > ? ORDER BY id LIMIT ?"
            found = self._execute(query, (kind, last, _PAGE)).fetchall()
            yield from map(_entry, found)
            if len(found) < _PAGE:
                return
            last = found[-1][1]

    def children(self, kind: str, field: str, parent: str) -> Iterator[Entry]:
        """The valid entities that refer to a parent by a field."""
        query = (
            "SELECT e.* FROM links l JOIN entries e ON e.kind = l.kind AND e.id = l.id "
            "WHERE l.parent = ? AND l.kind = ? AND l.field = ? ORDER BY l.id"
        )
        yield from map(_entry, self._execute(query, (parent, kind, field)).fetchall())

    def count(self, kind: str | None = None) -> int:
        """Number of valid entities, of one kind or of all."""
        query = "SELECT count(*) FROM entries" + (" WHERE kind = ?" if kind is not None else "")
        return int(self._execute(query, () if kind is None else (kind,)).fetchone()[0])


def _entry(row: Any) -> Entry:
    kind, key, body, given, expires = row
    return Entry(kind, key, body, tuple(codec.loads(given)), expires)
