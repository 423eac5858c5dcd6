"""Writes that are tried and not made: they see the store, and one another, and nobody sees them.

with trying(store):
    store.dao("services").insert({…})   # answers, and refuses, as a real one would
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from kong_gevent.db.strategies.base import (
    Change,
    Duplicate,
    Exists,
    Index,
    MissingParent,
    Operation,
    Put,
    Referenced,
    Row,
    Stale,
    Strategy,
)

if TYPE_CHECKING:
    from kong_gevent.db.catalogue import Catalogue
    from kong_gevent.db.store import Store

_CURRENT: ContextVar[Overlay | None] = ContextVar("overlay", default=None)
Key = tuple[str, str]


class Overlay:
    """A strategy as it would be after some commits. What it does not do itself, the strategy below it does."""

    def __init__(self, base: Strategy, catalogue: Catalogue) -> None:
        self.base = base
        self._catalogue = catalogue
        self._rows: dict[Key, tuple[Row, Index] | None] = {}
        self._version = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.base, name)

    def read(self, kind: str, key: str) -> Row | None:
        """See `Strategy.read`."""
        if (kind, key) in self._rows:
            held = self._rows[kind, key]
            return held[0] if held else None
        return self.base.read(kind, key)

    def read_many(self, kind: str, keys: Sequence[str]) -> list[Row | None]:
        """See `Strategy.read_many`."""
        return [self.read(kind, key) for key in keys]

    def find(self, kind: str, field: str, value: str) -> Row | None:
        """See `Strategy.find`."""
        for row, index in self._of(kind):
            if (field, value) in index.unique:
                return row
        found = self.base.find(kind, field, value)
        return found if found is not None and (kind, found.id) not in self._rows else None

    def find_many(self, kind: str, values: Sequence[tuple[str, str]]) -> list[Row | None]:
        """See `Strategy.find_many`."""
        return [self.find(kind, *pair) for pair in values]

    def page(
        self, kind: str, after: str | None, size: int, tags: Sequence[str] = (), match_all: bool = True
    ) -> list[Row]:
        """See `Strategy.page`."""
        wanted = all if match_all else any
        mine = [row for row, index in self._of(kind) if not tags or wanted(tag in index.tags for tag in tags)]
        return self._merged(self.base.page(kind, after, size + len(self._rows), tags, match_all), mine, after, size)

    def children(self, parent: Key, kind: str, field: str, after: str | None, size: int) -> list[Row]:
        """See `Strategy.children`."""
        mine = [row for row, index in self._of(kind) if (field, *parent) in index.parents]
        found = self.base.children(parent, kind, field, after, size + len(self._rows))
        return self._merged(found, mine, after, size)

    def commit(self, operations: Sequence[Operation], changes: Sequence[Change], origin: str = "") -> None:
        """See `Strategy.commit`; nothing is written, and no event."""
        before = dict(self._rows)
        try:
            # All rows give up unique values before any claims one, so that values may change places.
            for operation in sorted(operations, key=lambda operation: isinstance(operation, Put)):
                self._take(operation)
            for operation in operations:
                if isinstance(operation, Put):
                    self._put(operation)
            for operation in operations:
                self._check(operation)
        except BaseException:
            self._rows = before
            raise

    def _of(self, kind: str) -> Iterator[tuple[Row, Index]]:
        return (held for (name, _), held in self._rows.items() if name == kind and held is not None)

    def _merged(self, found: list[Row], mine: list[Row], after: str | None, size: int) -> list[Row]:
        merged = [row for row in found if (row.kind, row.id) not in self._rows]
        for row in mine:
            if after is None or row.id > after:
                insort(merged, row, key=lambda row: row.id)
        return merged[:size]

    def _take(self, operation: Operation) -> None:
        row = self.read(operation.kind, operation.id)
        if (row.version if row else None) != operation.version:
            raise (Exists if operation.version is None else Stale)(operation.kind, operation.id)
        self._rows[operation.kind, operation.id] = None

    def _put(self, put: Put) -> None:
        if self.read(put.kind, put.id) is not None:
            raise Exists(put.kind, put.id)
        for field, value in put.index.unique:
            if self.find(put.kind, field, value) is not None:
                raise Duplicate(put.kind, field, value)
        self._version -= 1
        self._rows[put.kind, put.id] = (Row(put.kind, put.id, put.body, self._version, put.expires), put.index)

    def _check(self, operation: Operation) -> None:
        if isinstance(operation, Put):
            for field, kind, key in operation.index.parents:
                if self.read(kind, key) is None:
                    raise MissingParent(operation.kind, field, kind, key)
            return
        for child, field, _ in self._catalogue.referrers.get(operation.kind, []):
            if self.children((operation.kind, operation.id), child.name, field, None, 1):
                raise Referenced(operation.kind, operation.id, child.name)


@contextmanager
def trying(store: Store) -> Iterator[None]:
    """Writes of this greenlet to the store are only tried until the end of the block."""
    token = _CURRENT.set(Overlay(store.strategy, store.catalogue))
    try:
        yield
    finally:
        _CURRENT.reset(token)


def overlay_of(base: Strategy) -> Overlay | None:
    """What this greenlet sees instead of a strategy, if it only tries."""
    current = _CURRENT.get()
    return current if current is not None and current.base is base else None


def active() -> bool:
    """Whether this greenlet only tries."""
    return _CURRENT.get() is not None
