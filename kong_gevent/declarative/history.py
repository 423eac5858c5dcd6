"""The history of applied change sets: who, when, what; kept in the store, in the same commit as the changes."""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from kong_gevent.db import codec, rows
from kong_gevent.db.strategies.base import Change, Delete, Index, Operation, Put, Row
from kong_gevent.declarative.changes import Changes, Record, digest
from kong_gevent.declarative.document import in_order
from kong_gevent.errors import GatewayError

if TYPE_CHECKING:
    from kong_gevent.db.store import Store

SETS, PARTS = "change_sets", "change_set_parts"
"""Kinds of rows. They are in no catalogue: what they hold is not a part of the configuration."""
KEPT = 20
"""Change sets that are kept; older ones cannot be undone any more."""
_PART_BYTES = 200 * 1024
_PART_RECORDS = 500
_READ = 200
"""Rows that are read at a time."""


class NoSuchChangeSet(GatewayError):
    """The history has no change set with this id, or none at all."""


class RollbackRefused(GatewayError):
    """Entities are not any more what a change set made of them; `problems` has a line for each."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(problems))


@dataclass
class ChangeSet:
    """A line of the history. `at`: epoch s; `hash`: that of the document's text; `rollback_of`: ids that it undid."""

    author: str
    source: str
    hash: str | None = None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    at: float = field(default_factory=time.time)
    summary: dict[str, int] = field(default_factory=dict)
    rollback_of: list[str] = field(default_factory=list)
    parts: int = 0

    def shown(self) -> dict[str, Any]:
        """As the API and the command line show it."""
        return {name: value for name, value in asdict(self).items() if name != "parts"}


def entries(store: Store) -> list[ChangeSet]:
    """The history, newest first."""
    found = [ChangeSet(**codec.loads(row.body)) for row in store.strategy.page(SETS, None, 10 * KEPT)]
    return sorted(found, key=lambda entry: (entry.at, entry.id), reverse=True)


def find(store: Store, key: str | None) -> ChangeSet:
    """A change set by id or by the beginning of one; the newest without. Raises `NoSuchChangeSet`."""
    known = entries(store)
    found = [entry for entry in known if key is None or entry.id.startswith(key.lower())]
    if not found:
        raise NoSuchChangeSet("no change set has been applied" if key is None else f"there is no change set '{key}'")
    if key is not None and len(found) > 1:
        raise NoSuchChangeSet(f"'{key}' is the beginning of {len(found)} ids")
    return found[0]


def records(store: Store, entry: ChangeSet) -> Iterator[Record]:
    """What a change set did."""
    for number in range(entry.parts):
        row = store.strategy.read(PARTS, _part_id(entry.id, number))
        if row is None:
            raise NoSuchChangeSet(f"the change set {entry.id} is no longer complete")
        for kind, key, op, name, before, expires, after in codec.loads(row.body):
            yield Record(kind, key, op, name, None if before is None else base64.b64decode(before), expires, after)


def remember(store: Store, entry: ChangeSet, changes: Changes) -> tuple[list[Operation], list[Change]]:
    """Operations and events that add a change set to the history, and take what is too old out of it."""
    operations: list[Operation] = []
    for body in _pieces(changes.records):
        operations.append(Put(PARTS, _part_id(entry.id, entry.parts), body, Index()))
        entry.parts += 1
    entry.summary = changes.summary()
    operations.append(Put(SETS, entry.id, codec.dumps(asdict(entry)), Index()))
    for old in entries(store)[KEPT - 1 :]:
        keys = [(PARTS, _part_id(old.id, number)) for number in range(old.parts)]
        for kind, key in [*keys, (SETS, old.id)]:
            row = store.strategy.read(kind, key)
            if row is not None:
                operations.append(Delete(kind, key, row.version))
    return operations, [Change(SETS, entry.id, "create")]


def _part_id(key: str, number: int) -> str:
    return str(uuid.uuid5(uuid.UUID(key), str(number)))


def _pieces(found: Iterable[Record]) -> Iterator[bytes]:
    piece: list[Any] = []
    size = 0
    for record in found:
        before = None if record.before is None else base64.b64encode(record.before).decode()
        piece.append([*record[:4], before, *record[5:]])
        size += len(before or "") + 200
        if size > _PART_BYTES or len(piece) == _PART_RECORDS:
            yield codec.dumps(piece)
            piece, size = [], 0
    if piece:
        yield codec.dumps(piece)


def since(store: Store, first: ChangeSet) -> Iterator[ChangeSet]:
    """The change sets from the newest back to this one."""
    for entry in entries(store):
        yield entry
        if entry.id == first.id:
            return


def size(store: Store, first: ChangeSet) -> int:
    """Number of changes since before a change set, at most: some may be about the same entity."""
    counted = ("created", "updated", "deleted")
    return sum(entry.summary[name] for entry in since(store, first) for name in counted)


def undo(store: Store, last: ChangeSet, advance: Callable[[int], None]) -> tuple[Changes, list[str]]:
    """The changes that lead back to what was before a change set, and the ids of those that they undo.

    Those are the change set and all later ones. `advance` hears of entities that were dealt with. Raises
    `RollbackRefused` when somebody changed something since, and `TooManyChanges`.
    """
    wanted: dict[tuple[str, str], Record] = {}
    latest: dict[tuple[str, str], str | None] = {}
    undone: list[str] = []
    for entry in since(store, last):
        undone.append(entry.id)
        for record in records(store, entry):
            key = (record.kind, record.id)
            latest.setdefault(key, record.after)
            wanted[key] = record
            advance(0)
    changes, problems = Changes(), []
    for record, row in _with_rows(store, wanted):
        problem = _restore(store, record, latest[record.kind, record.id], row, changes)
        if problem:
            problems.append(f"{record.kind} {record.name or record.id}: {problem}")
        advance(1)
    if problems:
        raise RollbackRefused(problems)
    return changes, undone


def _with_rows(store: Store, wanted: dict[tuple[str, str], Record]) -> Iterator[tuple[Record, Row | None]]:
    """Records with what is stored now, parents first."""
    by_kind: dict[str, list[Record]] = {}
    for record in wanted.values():
        by_kind.setdefault(record.kind, []).append(record)
    order = {name: position for position, name in enumerate(in_order(store.catalogue))}
    for kind in sorted(by_kind, key=lambda name: order.get(name, -1)):
        found = by_kind[kind]
        for start in range(0, len(found), _READ):
            part = found[start : start + _READ]
            yield from zip(part, store.strategy.read_many(kind, [record.id for record in part]), strict=True)


def _restore(store: Store, record: Record, latest: str | None, row: Row | None, changes: Changes) -> str | None:
    """Add what brings one entity back to `changes`; why that cannot be, as a text. `row`: what is stored now."""
    kind = store.catalogue.get(record.kind)
    if kind is None:
        return "no plugin that is enabled knows this kind of entity"
    if (digest(row.body) if row is not None else None) != latest:
        return "was deleted since" if row is None else "was changed since"
    if record.before is None:
        if row is not None:
            keys = tuple(rows.cache_keys(kind, rows.decode(kind, row)))
            event = Change(kind.name, row.id, "delete", keys)
            changes.add(kind, Delete(kind.name, row.id, row.version), event, row)
        return None
    if row is not None and row.body == record.before:
        return None
    filled = kind.schema.fill(codec.loads(record.before))
    keys = tuple(rows.cache_keys(kind, filled))
    if row is not None:
        keys = tuple(dict.fromkeys([*rows.cache_keys(kind, rows.decode(kind, row)), *keys]))
    version = row.version if row is not None else None
    put = Put(kind.name, record.id, record.before, rows.index_of(kind, filled), version, record.expires)
    changes.add(kind, put, Change(kind.name, put.id, "update" if row else "create", keys), row)
    return None
