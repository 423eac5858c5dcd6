"""Several entities written in one commit: all of them, or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from kong_gevent.db import audit, codec
from kong_gevent.db.cascade import Deletion
from kong_gevent.db.dao import Draft
from kong_gevent.db.refusals import retry
from kong_gevent.db.strategies.base import Change, CommitRefused, Duplicate, Operation, Put, Row, Stale

if TYPE_CHECKING:
    from kong_gevent.db.store import Store

T = TypeVar("T")


class Batch:
    """Writes that wait for their common commit. They do not see one another, but may refer to one another."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._operations: list[Operation] = []
        self._changes: list[Change] = []
        self._before: dict[tuple[str, str], bytes] = {}
        self._rows: dict[tuple[str, str], Row | None] = {}

    def select(self, kind: str, pk: str) -> dict[str, Any] | None:
        """An entity as it is now, or None; if it is updated, the commit is refused when it is not so any more."""
        row = self._read(kind, pk)
        return self._store.dao(kind).shown(row) if row is not None else None

    def insert(self, kind: str, entity: Mapping[str, Any]) -> None:
        """A new entity. Raises `SchemaViolation`."""
        self._stage(self._store.dao(kind).draft_insert(entity))

    def update(self, kind: str, pk: str, partial: Mapping[str, Any]) -> None:
        """A partial entity merged into the stored one. Raises `EntityNotFound`, `SchemaViolation`."""
        row = self._read(kind, pk)
        if row is not None:
            self._before[kind, row.id] = row.body
        self._stage(self._store.dao(kind).draft_update(row, pk, partial))

    def delete(self, *keys: tuple[str, str]) -> None:
        """Entities (kind, id) with what depends on them; children before their parents. Those that are gone are fine.

        Raises `ForeignKeyViolation` while others refer to one that neither go with it nor can do without it.
        """
        roots = []
        for kind, pk in keys:
            row = self._store.strategy.read(kind, pk)
            if row is not None:
                self._store.dao(kind).check_delete(row)
                roots.append((self._store.catalogue[kind], row))
        deletion = Deletion(self._store, roots)
        self._operations += deletion.operations
        self._changes += deletion.changes
        self._before |= deletion.before

    def _read(self, kind: str, pk: str) -> Row | None:
        """A row, once: what is decided about it is decided about one state of it."""
        if (kind, pk) not in self._rows:
            self._rows[kind, pk] = self._store.strategy.read(kind, pk)
        return self._rows[kind, pk]

    def _stage(self, drafted: Draft) -> None:
        self._operations += drafted[0]
        self._changes += drafted[1]

    def commit(self) -> None:
        """Store everything. Raises the coded error of the entity that was refused, or `Stale`."""
        if not self._operations:
            return
        try:
            self._store.strategy.commit(self._operations, self._changes, self._store.origin)
        except Stale:
            raise
        except CommitRefused as refusal:
            raise self._store.dao(refusal.kind).coded(refusal, self._refused(refusal)) from None
        audit.note(self._store.catalogue, self._operations, self._before)

    def _refused(self, refusal: CommitRefused) -> Mapping[str, Any]:
        """The entity that a taken value belongs to, as its error names the values of it."""
        if not isinstance(refusal, Duplicate):
            return {}
        claim = (refusal.field, refusal.value)
        for put in self._operations:
            if isinstance(put, Put) and put.kind == refusal.kind and claim in put.index.unique:
                entity: dict[str, Any] = codec.loads(put.body)
                return entity
        return dict.fromkeys(refusal.field.split(","), refusal.value)


def together(store: Store, work: Callable[[Batch], T]) -> T:
    """Run `work` with a batch and commit the batch; once more when another writer came in between.

    `work` reads what it depends on itself, each time.
    """

    def attempt() -> T:
        batch = Batch(store)
        result = work(batch)
        batch.commit()
        return result

    return retry(attempt, "several kinds", (Stale,))
