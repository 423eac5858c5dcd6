"""Many entities at once: written in commits of some hundred rows with their events, and read page by page.

A commit per entity would cost a turn of the disk, or of the cluster, each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kong_gevent.db import codec, rows
from kong_gevent.db.batches import grouped
from kong_gevent.db.catalogue import Entity
from kong_gevent.db.strategies.base import Change, Duplicate, Exists, MissingParent, Put, Row, Stale
from kong_gevent.errors import DatabaseError, ForeignKeyViolation, UniqueViolation, key_text

if TYPE_CHECKING:
    from kong_gevent.db.store import Store

COMMIT_ROWS = 200
COMMIT_BYTES = 256 * 1024
PAGE = 500
_ATTEMPTS = 5
_TIMES = ("created_at", "updated_at")


@dataclass(frozen=True, slots=True)
class Incoming:
    """A valid entity to store under its id.

    `given`: those of its automatic times that somebody chose; the others stay as they are in the store. `expires`:
    epoch s.
    """

    id: str
    body: bytes
    given: Sequence[str] = ()
    expires: float | None = None


@dataclass(frozen=True, slots=True)
class Conflict:
    """Another entity in the store holds a unique value."""

    kind: str
    id: str
    field: str
    value: str
    holder: str


class Transfer:
    """Moves entities of one kind at a time; parents have to be moved before their children.

    `advance` hears of entities that were dealt with.
    """

    def __init__(self, store: Store, advance: Callable[[int], None]) -> None:
        self._strategy = store.strategy
        self._origin = store.origin
        self._advance = advance

    def read(self, kind: Entity, tags: Sequence[str] = ()) -> Iterator[Row]:
        """All rows of a kind, or those with all of the tags, in the order of their ids."""
        after: str | None = None
        while True:
            found = self._strategy.page(kind.name, after, PAGE, tags)
            yield from found
            self._advance(len(found))
            if len(found) < PAGE:
                return
            after = found[-1].id

    def conflicts(self, kind: Entity, incoming: Iterable[Incoming]) -> Iterator[Conflict]:
        """Unique values that others in the store hold, so that writing would fail half-way."""
        if self.is_empty(kind):
            return
        for batch in batches(incoming):
            wanted = [
                (entity.id, field, value)
                for entity in batch
                for field, value in rows.index_of(kind, codec.loads(entity.body)).unique
            ]
            found = self._strategy.find_many(kind.name, [(field, value) for _, field, value in wanted])
            for (key, field, value), row in zip(wanted, found, strict=True):
                if row is not None and row.id != key:
                    yield Conflict(kind.name, key, field, value, row.id)

    def write(self, kind: Entity, incoming: Iterable[Incoming]) -> int:
        """Store entities, replacing those with the same ids; how many were new or changed.

        Raises `UniqueViolation`, `ForeignKeyViolation` or `StoreUnavailable`; commits before that stay.
        """
        fresh, changed = self.is_empty(kind), 0
        for batch in batches(incoming):
            changed += self._write(kind, batch, fresh)
            self._advance(len(batch))
        return changed

    def is_empty(self, kind: Entity) -> bool:
        """Whether the store has none of a kind."""
        return not self._strategy.page(kind.name, None, 1)

    def _write(self, kind: Entity, batch: Sequence[Incoming], fresh: bool) -> int:
        for _ in range(_ATTEMPTS):
            stored: dict[str, Row | None] = {} if fresh else self.stored(kind, [entity.id for entity in batch])
            found = [prepared for entity in batch if (prepared := prepare(kind, entity, stored.get(entity.id)))]
            if not found:
                return 0
            puts, changes = [put for put, _ in found], [change for _, change in found]
            try:
                self._strategy.commit(puts, changes, self._origin)
            except (Exists, Stale):
                fresh = False  # somebody else writes at the same time: look again
            except Duplicate as refused:
                held = {refused.field: refused.value}
                text = f"UNIQUE violation: '{kind.name}' with '{key_text(held)}' is there under another id"
                raise UniqueViolation(text, fields=held) from None
            except MissingParent as refused:
                text = f"'{refused.parent_kind}' {refused.parent_id}, to which '{kind.name}' refer, is gone"
                raise ForeignKeyViolation(text, fields={refused.field: {"id": refused.parent_id}}) from None
            else:
                return len(puts)
        raise DatabaseError(f"entities of {kind.name} changed too often while they were written")

    def stored(self, kind: Entity, ids: Sequence[str]) -> dict[str, Row | None]:
        """Rows by id."""
        return dict(zip(ids, self._strategy.read_many(kind.name, ids), strict=True))


def prepare(kind: Entity, entity: Incoming, row: Row | None) -> tuple[Put, Change] | None:
    """What stores an entity over the row that is there; None when nothing would change."""
    values: dict[str, Any] = codec.loads(entity.body)
    keys = rows.cache_keys(kind, values)
    if row is not None:
        old = rows.decode(kind, row)
        kept = {name: old[name] for name in _TIMES if name in values and name not in entity.given}
        if {**values, **kept} == old and _same_time(row.expires, entity.expires):
            return None
        if "created_at" in kept:
            values["created_at"] = kept["created_at"]
        keys = list(dict.fromkeys([*rows.cache_keys(kind, old), *keys]))
    version = row.version if row is not None else None
    put = Put(kind.name, entity.id, rows.encode(values), rows.index_of(kind, values), version, entity.expires)
    return put, Change(kind.name, entity.id, "update" if row is not None else "create", tuple(keys))


def _same_time(one: float | None, other: float | None) -> bool:
    """Whether two times of expiry mean the same: documents have whole seconds."""
    return one == other or (one is not None and other is not None and abs(one - other) < 1)


def batches(incoming: Iterable[Incoming]) -> Iterator[list[Incoming]]:
    """Runs of entities that fit into one commit."""
    return grouped(incoming, lambda entity: len(entity.body), COMMIT_ROWS, COMMIT_BYTES)
