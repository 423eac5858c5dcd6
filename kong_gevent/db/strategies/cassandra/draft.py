"""Validation of commits over what was read: which rows and index rows there would be after a group of commits.

Nothing here talks to the database. A group is validated commit by commit, each over the outcome of those before it; a
refused one leaves nothing behind. What remains at the end is the difference to the stored state.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from kong_gevent.db.strategies.base import (
    Delete,
    Duplicate,
    Exists,
    Index,
    MissingParent,
    Operation,
    Put,
    Referenced,
    Row,
    Stale,
)
from kong_gevent.db.strategies.cassandra.records import Stored, pack

EntityKey: TypeAlias = tuple[str, str]
OwnerKey: TypeAlias = tuple[str, str, str]
LinkKey: TypeAlias = tuple[str, str, str]
Links: TypeAlias = dict[LinkKey, float | None]
"""(kind, field, id) of rows that refer to a parent → when they expire (epoch s, 0 never); None: the link is gone."""
Drop: TypeAlias = tuple[str, ...]
"""A row to remove: "e" kind id, "u" kind field value, "l" parent-kind parent-id kind field id, or "t" tag kind id."""


@dataclass(slots=True)
class Needs:
    """What must be read before operations can be validated: rows, holders of unique values, referrers of parents."""

    entities: set[EntityKey] = field(default_factory=set)
    owners: set[OwnerKey] = field(default_factory=set)
    parents: set[EntityKey] = field(default_factory=set)

    def add(self, operations: Iterable[Operation]) -> None:
        """Widen by some operations."""
        for operation in operations:
            self.entities.add((operation.kind, operation.id))
            if isinstance(operation, Delete):
                self.parents.add((operation.kind, operation.id))
                continue
            self.owners.update((operation.kind, name, value) for name, value in operation.index.unique)
            self.entities.update((kind, key) for _, kind, key in operation.index.parents)


@dataclass(slots=True)
class Snapshot:
    """What was read. Rows that are not there are absent."""

    entities: dict[EntityKey, Stored] = field(default_factory=dict)
    owners: dict[OwnerKey, Stored] = field(default_factory=dict)
    links: dict[EntityKey, Links] = field(default_factory=dict)


@dataclass(slots=True)
class Difference:
    """What a group changes: rows as they are to be stored, and index rows (and rows) to remove. They never overlap."""

    puts: list[Stored]
    drops: list[Drop]


class Draft:
    """The state after the commits accepted so far. `now`: epoch seconds by which expiry is judged."""

    def __init__(self, snapshot: Snapshot, now: float) -> None:
        self._snapshot = snapshot
        self._now = now
        self._entities: dict[EntityKey, Stored | None] = {}
        self._owners: dict[OwnerKey, Stored | None] = {}
        self._links: dict[EntityKey, Links] = {}
        self._before: dict[EntityKey, Stored | None] = {}

    def add(self, operations: Sequence[Operation], version: int) -> None:
        """Apply one commit; its rows get this version. Raises `CommitRefused`, and nothing of it remains."""
        trial = _Trial(self, version)
        trial.run(operations)
        self._entities.update(trial.entities.maps[0])
        self._owners.update(trial.owners.maps[0])
        for parent, links in trial.links.items():
            self._links.setdefault(parent, {}).update(links)
        for key, stored in trial.before.items():
            self._before.setdefault(key, stored)

    def difference(self) -> Difference:
        """What has to be written so that the store is as drafted."""
        puts = [stored for key in self._before if (stored := self._entities.get(key)) is not None]
        kept = {drop for stored in puts for drop in _places(stored.key, stored.index)}
        drops = dict.fromkeys(
            drop
            for key, stored in self._before.items()
            if stored is not None
            for drop in _places(key, stored.index)
            if drop not in kept
        )
        return Difference(puts, list(drops))


class _Trial:
    """One commit over a draft."""

    def __init__(self, draft: Draft, version: int) -> None:
        snapshot = draft._snapshot
        self.entities: ChainMap[EntityKey, Stored | None] = ChainMap({}, draft._entities, snapshot.entities)  # type: ignore[arg-type]
        self.owners: ChainMap[OwnerKey, Stored | None] = ChainMap({}, draft._owners, snapshot.owners)  # type: ignore[arg-type]
        self.links: dict[EntityKey, Links] = {}
        self.before: dict[EntityKey, Stored | None] = {}
        self._outer = (snapshot.links, draft._links)
        self._now = draft._now
        self._version = version

    def run(self, operations: Sequence[Operation]) -> None:
        # All rows give up unique values before any claims one, so that values may change places.
        for operation in sorted(operations, key=lambda operation: isinstance(operation, Put)):
            self._take(operation)
        for operation in operations:
            if isinstance(operation, Put):
                self._put(operation)
        for operation in operations:
            self._check(operation)

    def _take(self, operation: Operation) -> None:
        """Remove what is to go, or to be replaced."""
        held = self._held((operation.kind, operation.id))
        live = held if held and held.live(self._now) else None
        if (live.row.version if live else None) != operation.version:
            raise (Exists if operation.version is None else Stale)(operation.kind, operation.id)
        if held:
            self._remove(held)

    def _put(self, put: Put) -> None:
        if self._held((put.kind, put.id)):
            raise Exists(put.kind, put.id)
        for name, value in put.index.unique:
            self._claim(put.kind, name, value)
        self._store(pack(Row(put.kind, put.id, put.body, self._version, put.expires), put.index))

    def _held(self, key: EntityKey) -> Stored | None:
        return self.entities.get(key)

    def _claim(self, kind: str, name: str, value: str) -> None:
        owner = self.owners.get((kind, name, value))
        if owner is None:
            return
        if owner.live(self._now):
            raise Duplicate(kind, name, value)
        self._remove(owner)

    def _store(self, stored: Stored) -> None:
        kind, key = stored.key
        self.before.setdefault(stored.key, None)
        self.entities[stored.key] = stored
        for name, value in stored.index.unique:
            self.owners[kind, name, value] = stored
        for name, parent_kind, parent_id in stored.index.parents:
            self.links.setdefault((parent_kind, parent_id), {})[kind, name, key] = stored.row.expires or 0.0

    def _remove(self, stored: Stored) -> None:
        kind, key = stored.key
        self.before.setdefault(stored.key, stored)
        self.entities[stored.key] = None
        for name, value in stored.index.unique:
            self.owners[kind, name, value] = None
        for name, parent_kind, parent_id in stored.index.parents:
            self.links.setdefault((parent_kind, parent_id), {})[kind, name, key] = None

    def _check(self, operation: Operation) -> None:
        if isinstance(operation, Delete):
            parent = (operation.kind, operation.id)
            links: Links = {}
            for layer in (*self._outer, self.links):
                links.update(layer.get(parent, {}))
            for (kind, _, _), expires in links.items():
                if expires is not None and (not expires or expires > self._now):
                    raise Referenced(operation.kind, operation.id, kind)
            return
        for name, parent_kind, parent_id in operation.index.parents:
            held = self._held((parent_kind, parent_id))
            if held is None or not held.live(self._now):
                raise MissingParent(operation.kind, name, parent_kind, parent_id)


def _places(key: EntityKey, index: Index) -> Iterable[Drop]:
    """Every row that an entity occupies."""
    yield ("e", *key)
    for name, value in index.unique:
        yield ("u", key[0], name, value)
    for name, parent_kind, parent_id in index.parents:
        yield ("l", parent_kind, parent_id, key[0], name, key[1])
    for tag in index.tags:
        yield ("t", tag, *key)
