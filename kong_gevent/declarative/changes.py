"""What has to change so that a store holds what a document says: worked out as a whole, committed as a whole."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from kong_gevent.db import codec, rows
from kong_gevent.db.cascade import Deletion
from kong_gevent.db.catalogue import Entity
from kong_gevent.db.strategies.base import Change, Operation, Put, Row
from kong_gevent.db.transfer import Incoming, Transfer, batches, prepare
from kong_gevent.declarative.document import Document
from kong_gevent.errors import GatewayError
from kong_gevent.schema.masking import hides, masked

if TYPE_CHECKING:
    from kong_gevent.db.store import Store

MOST = 50_000
"""Operations of one change set: all of them are in memory, and in one transaction of the store."""
LISTED = 1000
"""Changes that are told one by one."""
Advance = Callable[[int], None]


class TooManyChanges(GatewayError):
    """A change set would be larger than `MOST`; nothing of it was done."""

    def __init__(self) -> None:
        super().__init__(
            f"a change set has at most {MOST:,} changes, since it is one commit; divide the document, or move it with "
            "'config db_import', which makes as many commits as it needs"
        )


class Record(NamedTuple):
    """One change, as the history keeps it. `before`: the stored row, None for a new one; `after`: digest of the new."""

    kind: str
    id: str
    op: str
    name: str | None
    before: bytes | None
    expires: float | None
    after: str | None

    def shown(self) -> dict[str, Any]:
        """For people: what happened to what."""
        return {"op": self.op, "entity": self.kind, "id": self.id, "name": self.name}


@dataclass
class Changes:
    """Operations and events of a commit, and what they mean."""

    operations: list[Operation] = field(default_factory=list)
    events: list[Change] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    unchanged: int = 0
    shown: list[dict[str, Any]] = field(default_factory=list)
    """The first `LISTED` changes for people; of updates the fields with their old and new values."""

    def add(self, kind: Entity, operation: Operation, event: Change, row: Row | None) -> None:
        """One operation; `row`: what is stored now. Raises `TooManyChanges`."""
        if len(self.operations) == MOST:
            raise TooManyChanges
        body = operation.body if isinstance(operation, Put) else None
        self.operations.append(operation)
        self.events.append(event)
        values = codec.loads(body if body is not None else row.body if row is not None else b"{}")
        key = kind.endpoint_key
        name = values.get(key) if key and not hides(kind.schema, key) else None
        before, expires = (row.body, row.expires) if row is not None else (None, None)
        after = digest(body) if body is not None else None
        record = Record(operation.kind, operation.id, event.op, name, before, expires, after)
        self.records.append(record)
        if len(self.shown) < LISTED:
            self.shown.append(record.shown())
            if row is not None and body is not None:
                old = codec.loads(row.body)
                fields = [key for key in values if key != "updated_at" and values[key] != old.get(key)]
                before_it, after_it = masked(kind.schema, old), masked(kind.schema, values)
                self.shown[-1]["fields"] = {key: [before_it.get(key), after_it[key]] for key in fields}

    def before(self) -> dict[tuple[str, str], bytes]:
        """What is stored now of the entities that are there already."""
        return {(record.kind, record.id): record.before for record in self.records if record.before is not None}

    def summary(self) -> dict[str, int]:
        """Numbers of entities."""
        ops = [record.op for record in self.records]
        found = {
            done: ops.count(op) for op, done in (("create", "created"), ("update", "updated"), ("delete", "deleted"))
        }
        return {**found, "unchanged": self.unchanged}


def _in_safe_order(changes: Changes) -> None:
    """Events are applied one after the other: a route is to come after its plugins, and go before them."""

    def rank(event: Change) -> int:
        if event.op == "delete":
            return {"routes": 0, "services": 1}.get(event.entity, 5)
        return {"services": 2, "routes": 4}.get(event.entity, 3)

    changes.events.sort(key=rank)


def digest(body: bytes) -> str:
    """What tells one stored form from another."""
    return hashlib.sha256(body).hexdigest()[:32]


class Adopter:
    """Finds, for an entity of a document that has no id, the stored one that it means: by its unique values."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._transfer = Transfer(store, lambda count: None)
        self._empty: dict[str, bool] = {}
        self._held: dict[tuple[str, str], str | None] = {}

    def look_ahead(self, kind: Entity, entities: Iterable[dict[str, Any]]) -> None:
        """These are asked for next; what others hold of their values is read together."""
        self._held = {}
        if not self._is_empty(kind):
            wanted = list(dict.fromkeys(pair for values in entities for pair in _identifying(kind, values)))
            found = self._store.strategy.find_many(kind.name, wanted)
            self._held = {pair: row.id if row is not None else None for pair, row in zip(wanted, found, strict=True)}

    def find(self, kind: Entity, values: dict[str, Any]) -> str | None:
        """The id of the stored entity, of those that were looked for ahead."""
        if self._is_empty(kind):
            return None
        return next((key for pair in _identifying(kind, values) if (key := self._held[pair]) is not None), None)

    def _is_empty(self, kind: Entity) -> bool:
        if kind.name not in self._empty:
            self._empty[kind.name] = self._transfer.is_empty(kind)
        return self._empty[kind.name]


def _identifying(kind: Entity, values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Index entries by which an entity can be recognised, the strongest first."""
    for name in dict.fromkeys([*([kind.endpoint_key] if kind.endpoint_key else []), *kind.unique]):
        if isinstance(values.get(name), str) and _storable(values[name]):
            yield name, values[name]
    for names in kind.unique_together:
        given = {name: values.get(name) for name in names}
        if all(given[name] is not None for name in names if kind.fields[name].wanted) and _storable(*given.values()):
            yield ",".join(names), rows.combination(given, names)


def _storable(*values: Any) -> bool:
    """Whether values that nobody has validated yet can be looked for."""
    for value in values:
        text = value.get("id") if isinstance(value, dict) else value
        if text is None and value is None:
            continue
        if not isinstance(text, str) or "\0" in text or text.encode(errors="ignore").decode() != text:
            return False
    return True


def plan(store: Store, document: Document, *, prune: bool, tags: Sequence[str] = (), advance: Advance) -> Changes:
    """The changes that a document means. `prune`: what the store has beyond it goes (of those with all `tags` only).

    Raises `TooManyChanges`, `ForeignKeyViolation`, `StoreUnavailable`.
    """
    return _Planner(store, document, prune, tags, advance).run()


class _Planner:
    def __init__(self, store: Store, document: Document, prune: bool, tags: Sequence[str], advance: Advance) -> None:
        self._store = store
        self._document = document
        self._prune = prune
        self._tags = tags
        self._transfer = Transfer(store, advance)
        self._advance = advance
        self._changes = Changes()

    def run(self) -> Changes:
        for name in self._document.kinds:
            self._put(self._store.catalogue[name])
        if self._prune:
            self._delete([found for name in reversed(self._document.kinds) for found in self._beyond(name)])
        _in_safe_order(self._changes)
        return self._changes

    def _put(self, kind: Entity) -> None:
        fresh = self._transfer.is_empty(kind)
        incoming = (Incoming(entry.id, entry.body, entry.given, entry.expires) for entry in self._entries(kind))
        for batch in batches(incoming):
            stored = {} if fresh else self._transfer.stored(kind, [entity.id for entity in batch])
            for entity in batch:
                row = stored.get(entity.id)
                prepared = prepare(kind, entity, row)
                if prepared is None:
                    self._changes.unchanged += 1
                else:
                    self._changes.add(kind, *prepared, row)
                self._advance(1)

    def _entries(self, kind: Entity) -> Iterator[Any]:
        return self._document.entries(kind.name)

    def _beyond(self, name: str) -> Iterator[tuple[Entity, Row]]:
        """What the store has of a kind and the document has not."""
        kind = self._store.catalogue[name]
        if not (kind.exported and kind.pruned) or (self._tags and not kind.has_tags):
            return
        for row in self._transfer.read(kind, self._tags):
            if not self._document.has(name, row.id):
                yield kind, row

    def _delete(self, going: list[tuple[Entity, Row]]) -> None:
        """Delete rows with what depends on them; about what it has itself the document decides."""
        known = {(row.kind, row.id): row for _, row in going}
        deletion = Deletion(self._store, going, self._document.has)
        for operation, event in zip(deletion.operations, deletion.changes, strict=True):
            key = (operation.kind, operation.id)
            held = known.get(key) or self._store.strategy.read(*key)
            self._changes.add(self._store.catalogue[operation.kind], operation, event, held)
