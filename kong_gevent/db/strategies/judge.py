"""What a commit means for the rows of a relational store: judged in memory over what the store holds, then written.

The caller holds the store's lock of writers, so that what was read stays true until its transaction ends. Several
commits may be judged one after the other: each sees what those before it changed, and a refused one leaves no trace.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from kong_gevent.db import codec
from kong_gevent.db.strategies.base import (
    Delete,
    Duplicate,
    Exists,
    Index,
    MissingParent,
    Operation,
    Put,
    Referenced,
    Stale,
)
from kong_gevent.turns import with_rests

Fetch = Callable[[str, Sequence[Any]], list[Any]]
Key = tuple[str, str]
"""Kind and id."""
Claim = tuple[str, str, str]
"""Kind, field and value."""
Child = tuple[str, str, str]
"""Kind, field and id of a row that refers to another."""
LIVE = "(e.expires IS NULL OR e.expires > ?)"
_HELD = "SELECT version, expires, idx FROM entities WHERE kind = ? AND id = ?"
_OWNER = (
    "SELECT e.id, e.version, e.expires, e.idx FROM unique_keys u JOIN entities e ON e.kind = u.kind AND e.id = u.id "
    "WHERE u.kind = ? AND u.field = ? AND u.value = ?"
)
_CHILDREN = (
    "SELECT l.kind, l.field, l.id FROM links l JOIN entities e ON e.kind = l.kind AND e.id = l.id "
    f"WHERE l.parent_kind = ? AND l.parent_id = ? AND {LIVE}"
)


@dataclass(frozen=True)
class Table:
    """A table that commits change; the first `key` columns are its primary key."""

    name: str
    columns: tuple[str, ...]
    key: int

    @cached_property
    def delete_one(self) -> str:
        """Statement that removes the row with a key."""
        return f"DELETE FROM {self.name} WHERE {' AND '.join(f'{column} = ?' for column in self.columns[: self.key])}"

    @cached_property
    def put_one(self) -> str:
        """Statement that stores a row, whether there is one with its key or not."""
        return self.put(1)

    def delete(self, number: int) -> str:
        """Statement that removes the rows with so many keys."""
        keys = ", ".join(self.columns[: self.key])
        return f"DELETE FROM {self.name} WHERE ({keys}) IN (VALUES {self._marks(self.key, number)})"

    def put(self, number: int) -> str:
        """Like `put_one`, for so many rows."""
        others = [f"{column} = excluded.{column}" for column in self.columns[self.key :]]
        return (
            f"INSERT INTO {self.name} ({', '.join(self.columns)}) VALUES {self._marks(len(self.columns), number)} "
            f"ON CONFLICT ({', '.join(self.columns[: self.key])}) "
            + (f"DO UPDATE SET {', '.join(others)}" if others else "DO NOTHING")
        )

    @staticmethod
    def _marks(width: int, number: int) -> str:
        return ", ".join([f"({', '.join('?' * width)})"] * number)


ENTITIES = Table("entities", ("kind", "id", "body", "idx", "version", "expires"), 2)
CLAIMS = Table("unique_keys", ("kind", "field", "value", "id"), 3)
LINKS = Table("links", ("parent_kind", "parent_id", "kind", "field", "id"), 5)
TAGS = Table("tags", ("tag", "kind", "id"), 3)
Values = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Held:
    """A stored row as far as judging needs it."""

    version: int
    expires: float | None
    index: Index


def dump_index(index: Index) -> bytes:
    """The column `idx`: which index rows belong to a row."""
    return codec.dumps([index.unique, index.parents, index.tags])


def load_index(stored: bytes) -> Index:
    """The inverse of `dump_index`."""
    unique, parents, tags = codec.loads(stored)
    return Index(
        tuple((name, value) for name, value in unique),
        tuple((name, kind, key) for name, kind, key in parents),
        tuple(tags),
    )


@dataclass
class Facts:
    """What the store holds, as far as anybody has asked. What is absent is read when it is needed.

    `fetch` runs a query with `?` for values; `stored_value` is how the store keeps a unique value.
    """

    fetch: Fetch
    now: float
    stored_value: Callable[[str], str] = str
    rows: dict[Key, Held | None] = field(default_factory=dict)
    owners: dict[Claim, str | None] = field(default_factory=dict)
    children: dict[Key, list[Child]] = field(default_factory=dict)

    def row(self, key: Key) -> Held | None:
        """A row, expired or not."""
        if key not in self.rows:
            found = self.fetch(_HELD, key)
            self.rows[key] = _held(*found[0]) if found else None
        return self.rows[key]

    def owner(self, claim: Claim) -> str | None:
        """The id of the row that holds a unique value, expired or not."""
        if claim not in self.owners:
            kind, name, value = claim
            found = self.fetch(_OWNER, (kind, name, self.stored_value(value)))
            self.learn_owner(claim, found[0] if found else None)
        return self.owners[claim]

    def learn_owner(self, claim: Claim, found: Sequence[Any] | None) -> None:
        """Note who holds a value: id, version, expires, idx; None: nobody."""
        self.owners[claim] = found[0] if found else None
        if found:
            self.rows.setdefault((claim[0], found[0]), _held(*found[1:]))

    def learn_row(self, key: Key, found: Sequence[Any] | None) -> None:
        """Note a row: version, expires, idx; None: there is none."""
        self.rows[key] = _held(*found) if found else None

    def children_of(self, key: Key) -> list[Child]:
        """Rows that refer to one, without the expired."""
        if key not in self.children:
            self.children[key] = [tuple(child) for child in self.fetch(_CHILDREN, (*key, self.now))]
        return self.children[key]

    def live(self, key: Key) -> Held | None:
        """A row that has not expired."""
        held = self.row(key)
        return held if held and (held.expires is None or held.expires > self.now) else None


@dataclass
class Writes:
    """What is to be changed in the tables, by key: the last word counts. Values of `links` and `tags`: is it there."""

    rows: dict[Key, tuple[bytes, bytes, int, float | None] | None] = field(default_factory=dict)
    claims: dict[Claim, str | None] = field(default_factory=dict)
    links: dict[tuple[Key, Child], bool] = field(default_factory=dict)
    tags: dict[tuple[str, str, str], bool] = field(default_factory=dict)

    def changes(self, stored_value: Callable[[str], str] = str) -> Iterator[tuple[Table, list[Values], list[Values]]]:
        """By table the keys of rows to remove and the rows to store; no key is among both."""
        gone: list[Values] = [key for key, row in self.rows.items() if row is None]
        yield ENTITIES, gone, [(*key, *row) for key, row in self.rows.items() if row is not None]
        claims = [((kind, name, stored_value(value)), key) for (kind, name, value), key in self.claims.items()]
        gone = [claim for claim, key in claims if key is None]
        yield CLAIMS, gone, [(*claim, key) for claim, key in claims if key is not None]
        links = [((*parent, *child), there) for (parent, child), there in self.links.items()]
        yield LINKS, [link for link, there in links if not there], [link for link, there in links if there]
        gone = [tag for tag, there in self.tags.items() if not there]
        yield TAGS, gone, [tag for tag, there in self.tags.items() if there]


class Judge:
    """Applies commits to `facts` and gathers what they change in `writes`.

    `next_version` gives the version of a row to be written, from the one that it had before (0: none).
    """

    def __init__(self, facts: Facts, next_version: Callable[[int], int]) -> None:
        self.facts = facts
        self.writes = Writes()
        self._next_version = next_version
        self._links: dict[Key, dict[Child, bool]] = {}  # the links among the writes, by parent
        self._undo: list[tuple[dict[Any, Any], Any, Any]] = []

    def apply(self, operations: Sequence[Operation]) -> None:
        """One commit. Raises a `CommitRefused` when a condition does not hold; nothing of it is kept then."""
        self._undo = []
        before: dict[Key, Held] = {}
        puts = [operation for operation in operations if isinstance(operation, Put)]
        try:
            # All rows give up unique values before any claims one, so that values may change places.
            for operation in with_rests(operations):
                if isinstance(operation, Delete):
                    self.erase((operation.kind, operation.id), self._current(operation, before).index)
            for put in with_rests(puts):
                before[put.kind, put.id] = self._release(put, before)
            for put in with_rests(puts):
                self._put(put, before[put.kind, put.id])
            for operation in with_rests(operations):
                self._check(operation)
        except BaseException:
            for mapping, key, before in reversed(self._undo):
                if before is _ABSENT:
                    del mapping[key]
                else:
                    mapping[key] = before
            raise

    def erase(self, key: Key, index: Index) -> None:
        """Remove a row with its index rows, whoever refers to it: one that has expired."""
        self._give_up(key[0], index, Index())
        self._change_index(key, index, Index())
        self._set(self.facts.rows, key, None)
        self._set(self.writes.rows, key, None)

    def _set(self, mapping: dict[Any, Any], key: Any, value: Any) -> None:
        self._undo.append((mapping, key, mapping.get(key, _ABSENT)))
        mapping[key] = value

    def _current(self, operation: Operation, changed: Container[Key]) -> Held:
        """The row that an operation is about as it is now, empty if there is none. `changed`: by the same commit."""
        key = (operation.kind, operation.id)
        live = self.facts.live(key)
        if (live.version if live else None) != operation.version or key in changed:
            raise (Exists if operation.version is None else Stale)(*key)
        return self.facts.row(key) or _NOTHING

    def _release(self, put: Put, changed: Container[Key]) -> Held:
        """Take from the row that is to be replaced the unique values that it is not to have; how it was."""
        held = self._current(put, changed)
        if put.version is None and held is not _NOTHING:  # it has expired
            self.erase((put.kind, put.id), held.index)
            return _NOTHING
        self._give_up(put.kind, held.index, put.index)
        return held

    def _put(self, put: Put, held: Held) -> None:
        key = (put.kind, put.id)
        self._change_index(key, held.index, put.index)
        version = self._next_version(held.version)
        self._set(self.facts.rows, key, Held(version, put.expires, put.index))
        self._set(self.writes.rows, key, (put.body, dump_index(put.index), version, put.expires))

    def _give_up(self, kind: str, old: Index, new: Index) -> None:
        if old.unique != new.unique:
            for name, value in old.unique:
                if (name, value) not in new.unique:
                    self._own((kind, name, value), None)

    def _change_index(self, key: Key, old: Index, new: Index) -> None:
        """Everything but unique values that are given up."""
        kind, identity = key
        if old.unique != new.unique:
            for name, value in new.unique:
                if (name, value) not in old.unique:
                    self._claim(key, (kind, name, value))
        if old.parents != new.parents:
            for link in old.parents:
                if link not in new.parents:
                    self._link((link[1], link[2]), (kind, link[0], identity), False)
            for link in new.parents:
                if link not in old.parents:
                    self._link((link[1], link[2]), (kind, link[0], identity), True)
        if old.tags != new.tags:
            for tag in old.tags:
                if tag not in new.tags:
                    self._set(self.writes.tags, (tag, kind, identity), False)
            for tag in new.tags:
                if tag not in old.tags:
                    self._set(self.writes.tags, (tag, kind, identity), True)

    def _claim(self, key: Key, claim: Claim) -> None:
        owner = self.facts.owner(claim)
        if owner is not None and owner != key[1]:
            other = (claim[0], owner)
            if self.facts.live(other):
                raise Duplicate(*claim)
            held = self.facts.row(other)
            self.erase(other, held.index if held else Index())
        self._own(claim, key[1])

    def _own(self, claim: Claim, owner: str | None) -> None:
        self._set(self.facts.owners, claim, owner)
        self._set(self.writes.claims, claim, owner)

    def _link(self, parent: Key, child: Child, there: bool) -> None:
        self._set(self.writes.links, (parent, child), there)
        self._set(self._links.setdefault(parent, {}), child, there)

    def _check(self, operation: Operation) -> None:
        if isinstance(operation, Put):
            for name, parent_kind, parent_id in operation.index.parents:
                if not self.facts.live((parent_kind, parent_id)):
                    raise MissingParent(operation.kind, name, parent_kind, parent_id)
            return
        key = (operation.kind, operation.id)
        changed = self._links.get(key, {})
        for child in self.facts.children_of(key):
            if changed.get(child, True):
                raise Referenced(*key, child[0])
        for child, there in changed.items():
            if there and self.facts.live((child[0], child[2])):
                raise Referenced(*key, child[0])


_ABSENT: Any = object()
_NOTHING = Held(0, None, Index())


def _held(version: int, expires: float | None, index: bytes) -> Held:
    return Held(version, expires, load_index(index))
