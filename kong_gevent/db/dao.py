"""Data access for one entity: Kong's semantics of insert, upsert, update and delete over any strategy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from marshmallow import ValidationError

from kong_gevent.db import audit, paging, refusals, rows
from kong_gevent.db.cascade import Deletion
from kong_gevent.db.catalogue import Entity
from kong_gevent.db.references import Resolver
from kong_gevent.db.strategies.base import (
    Change,
    CommitRefused,
    Operation,
    Put,
    Row,
    Stale,
    Strategy,
)
from kong_gevent.errors import (
    DaoError,
    EntityNotFound,
    InvalidOffset,
    InvalidPrimaryKey,
    InvalidUnique,
    OperationUnsupported,
    UniqueViolation,
    key_text,
)
from kong_gevent.schema import Errors, fields, merge, violation
from kong_gevent.schema.messages import leaf
from kong_gevent.schema.record import Record
from kong_gevent.schema.rules import is_uuid

if TYPE_CHECKING:
    from kong_gevent.db.store import Store

T = TypeVar("T")
Values = dict[str, Any]
Draft = tuple[list[Operation], list[Change]]
_TTL = fields.Ttl()


class DAO:
    """Access to the entities of one kind.

    Entities are plain dicts in the shape of the Admin API: every field is there, null when unset, references are
    `{"id": …}` or None. Errors are the coded ones of `kong_gevent.errors`. Calls never block the hub.
    """

    def __init__(self, store: Store, entity: Entity, strategy: Strategy | None = None) -> None:
        self.entity = entity
        self._store = store
        self._own_strategy = strategy
        self._resolver = Resolver(store, entity)

    @property
    def _strategy(self) -> Strategy:
        return self._own_strategy or self._store.strategy

    # Reading

    def select(self, pk: str) -> Values | None:
        """The entity with this id, or None. Raises `InvalidPrimaryKey` if the id is no UUID."""
        row = self._strategy.read(self.entity.name, self._primary_key(pk))
        return self._show(row) if row else None

    def select_many(self, pks: Sequence[str]) -> Iterator[Values | None]:
        """The entity, or None, for each of some ids in their order, read together.

        They are bare: without what belongs to other entities and is only shown with these.
        """
        for row in self._strategy.read_many(self.entity.name, pks):
            yield rows.show(self.entity, row) if row else None

    def select_by(self, field: str, value: Any) -> Values | None:
        """The entity with this unique value, or None. Raises `InvalidUnique` if the value breaks the field's rules."""
        row = self._find(field, value)
        return self._show(row) if row else None

    def select_together(self, values: Mapping[str, Any]) -> Values | None:
        """The entity that holds a combination of values which exists once (`Entity.unique_together`), or None."""
        names = next(names for names in self.entity.unique_together if set(names) == set(values))
        row = self._strategy.find(self.entity.name, ",".join(names), rows.combination(values, names))
        return self._show(row) if row else None

    def page(
        self,
        size: Any = None,
        offset: str | None = None,
        tags: Any = None,
        tags_mode: str = "and",
        parent: tuple[str, str] | None = None,
    ) -> tuple[list[Values], str | None]:
        """One page in the order of the ids, and the token of the next one (None: this was the last).

        `tags`: a list, or the text of a filter (`a,b` or `a/b`); `parent`: (foreign field, id). Raises `InvalidSize`,
        `InvalidOffset`, `InvalidOptions`.
        """
        wanted = paging.check_size(size)
        if isinstance(tags, str) and self.entity.has_tags:
            tags, tags_mode = paging.parse_tags(tags)
        after = None
        if offset is not None:
            (after,) = paging.decode_offset(offset)
            if not is_uuid(after):
                raise InvalidOffset(f"'{offset}' is not a valid offset: bad json encoding")
        found = self._page(after, wanted + 1, tags if self.entity.has_tags else None, tags_mode, parent)
        following = paging.encode_offset([found[wanted - 1].id]) if len(found) > wanted else None
        return [self._show(row) for row in found[:wanted]], following

    def each(self, size: int = 1000, parent: tuple[str, str] | None = None, *, bare: bool = False) -> Iterator[Values]:
        """All entities in the order of the ids, read page by page; `bare`: see `select_many`."""
        after: str | None = None
        while True:
            found = self._page(after, size, None, "and", parent)
            for row in found:
                yield rows.show(self.entity, row) if bare else self._show(row)
            if len(found) < size:
                return
            after = found[-1].id

    def count(self) -> int:
        """Number of entities."""
        return self._strategy.count(self.entity.name)

    # Writing

    def validate_insert(self, entity: Mapping[str, Any]) -> Values:
        """What `insert` would store, without looking at other entities. Raises `SchemaViolation`."""
        values, _, errors = self._take(dict(entity))
        if self.entity.has_updated_at:
            values["updated_at"] = None
        return self._validated(values, errors)

    def insert(self, entity: Mapping[str, Any], ttl: float | None = None) -> Values:
        """Store a new entity; the answer has defaults and generated values. `ttl`: seconds to live (ttl entities)."""
        fresh = self._fresh(entity, ttl)
        self._refuse("create")
        return self._write(*fresh)

    def upsert(self, pk: str, entity: Mapping[str, Any], ttl: float | None = None) -> Values:
        """Replace an entity as a whole, or create it under this id."""
        key = self._primary_key(pk)
        self._refuse("create or update")
        return self._retry(lambda: self._replace(key, self._strategy.read(self.entity.name, key), entity, ttl))

    def upsert_by(self, field: str, value: Any, entity: Mapping[str, Any], ttl: float | None = None) -> Values:
        """Replace the entity that holds a unique value (its id stays), or create one with that value."""
        self._refuse("create or update", field)

        def attempt() -> Values:
            row = self._find(field, value)
            # A given id cannot count: the path decides which entity is meant.
            values = {**entity, field: value}
            values.pop("id", None)
            try:
                return self._replace(row.id if row else None, row, values, ttl)
            except UniqueViolation as violated:
                if row is None and list(violated.fields) == [field]:
                    raise Stale(self.entity.name, str(value)) from violated  # another writer was faster: replace its
                raise

        return self._retry(attempt)

    def update(self, pk: str, partial: Mapping[str, Any], ttl: float | None = None) -> Values:
        """Merge a partial entity into the stored one. Raises `EntityNotFound`."""
        key = self._primary_key(pk)
        if self._store.read_only and self._strategy.read(self.entity.name, key) is not None:
            self._refuse("update")
        return self._retry(lambda: self._amend(self._strategy.read(self.entity.name, key), {"id": key}, partial, ttl))

    def update_by(self, field: str, value: Any, partial: Mapping[str, Any], ttl: float | None = None) -> Values:
        """Like `update`, for the entity that holds a unique value."""
        if self._store.read_only and self._find(field, value) is not None:
            self._refuse("update", field)
        return self._retry(lambda: self._amend(self._find(field, value), {field: value}, partial, ttl))

    def delete(self, pk: str) -> bool:
        """Delete an entity with what depends on it; False if there was none.

        Raises `ForeignKeyViolation` while entities refer to it that neither go with it nor can do without it.
        """
        key = self._primary_key(pk)
        self._refuse("remove")
        return self._retry(lambda: self._remove(self._strategy.read(self.entity.name, key)))

    def delete_by(self, field: str, value: Any) -> bool:
        """Like `delete`, for the entity that holds a unique value."""
        self._refuse("remove", field)
        return self._retry(lambda: self._remove(self._find(field, value)))

    # For commits of several entities (`db.together`)

    def draft_insert(self, entity: Mapping[str, Any]) -> Draft:
        """What `insert` would commit."""
        self._refuse("create")
        return self._drafted(*self._fresh(entity, None))

    def draft_update(self, row: Row | None, pk: str, partial: Mapping[str, Any]) -> Draft:
        """What `update` would commit over a row that was read. Raises `EntityNotFound` without one."""
        self._refuse("update")
        return self._drafted(*self._changed(row, {"id": self._primary_key(pk)}, partial, None))

    def shown(self, row: Row) -> Values:
        """A stored entity as `select` gives it."""
        return self._show(row)

    def check_delete(self, row: Row) -> None:
        """Raise the entity's own objection to the deletion of a row."""
        if self.entity.check_delete:
            self.entity.check_delete(rows.decode(self.entity, row), self._store.reader)

    # How

    def _refuse(self, verb: str, field: str | None = None) -> None:
        """Raises `OperationUnsupported`, in Kong's words, when only whole documents change the store."""
        if self._store.read_only:
            by = f" by '{field}'" if field else ""
            raise OperationUnsupported(f"cannot {verb} '{self.entity.name}' entities{by} when not using a database")

    def _primary_key(self, pk: Any) -> str:
        if not is_uuid(pk):
            fault = {"id": "expected a valid UUID"}
            raise InvalidPrimaryKey(f"invalid primary key: '{key_text(fault)}'", fields=fault)
        return str(pk).lower()

    def _find(self, field: str, value: Any) -> Row | None:
        rule = self.entity.fields.get(field)
        if rule is None or field not in self.entity.keys:
            raise ValueError(f"{self.entity.name} cannot be found by {field}")
        try:
            rule.deserialize(value)
        except ValidationError as error:
            raise InvalidUnique(field, str(leaf(error))) from None
        return self._strategy.find(self.entity.name, field, rows.unique_value(value))

    def _page(
        self, after: str | None, size: int, tags: Any, tags_mode: str, parent: tuple[str, str] | None
    ) -> list[Row]:
        name = self.entity.name
        if parent is None:
            return self._strategy.page(name, after, size, tags or (), tags_mode != "or")
        field, key = parent
        return self._strategy.children((self.entity.foreign[field].reference, key.lower()), name, field, after, size)

    def _show(self, row: Row) -> Values:
        """A stored entity as callers see it."""
        return rows.show(self.entity, row)

    def _take(self, values: Values, ttl: float | None = None) -> tuple[Values, Values, Errors]:
        """The entity without what is no field of it, that aside, and what is wrong with it.

        Aside is `expires` (epoch s, None: never) if seconds to live were given.
        """
        if not self.entity.ttl or ("ttl" not in values and ttl is None):
            return values, {}, {}
        try:
            seconds = _TTL.deserialize(values.pop("ttl", ttl))
        except ValidationError as error:
            return values, {}, {"ttl": leaf(error)}
        return values, {"expires": time.time() + seconds if seconds else None}, {}

    def _stamped(self, values: Values) -> Values:
        """With the times of a new or wholly replaced entity; clients may only choose `created_at`."""
        now: Any = None
        for name in ("created_at", "updated_at"):
            if name in self.entity.fields and (name == "updated_at" or values.get(name) is None):
                values[name] = now = now or self.entity.fields[name].generate()
        return values

    def _prepared(self, values: Values, stored: Values | None) -> Values:
        return self.entity.prepare(values, stored) if self.entity.prepare else values

    def _transformed(self, values: Values, given: Mapping[str, Any], stored: Values | None = None) -> Values:
        if self.entity.transform:
            errors = self.entity.transform(values, given.keys(), stored)
            if errors:
                raise violation(errors)
        return values

    def _validated(self, values: Mapping[str, Any], early: Errors, *, updating: bool = False) -> Values:
        stored, errors = self.entity.schema.run(values, updating=updating)
        errors = {**errors, **early}
        if errors:
            raise violation(errors)
        stored["id"] = stored["id"].lower()
        return stored

    def _fresh(self, entity: Mapping[str, Any], ttl: float | None) -> tuple[Values, None, Values]:
        """A valid new entity, the row it replaces (none), and what is kept beside it."""
        values, aside, errors = self._take(dict(entity), ttl)
        values = self._prepared(self._resolver.resolve(self._stamped(values)), None)
        return self._transformed(self._validated(values, errors), entity), None, aside

    def _replace(self, key: str | None, row: Row | None, entity: Mapping[str, Any], ttl: float | None) -> Values:
        values, aside, errors = self._take(dict(entity), ttl)
        if key is not None:
            values["id"] = key
        values = self._prepared(self._resolver.resolve(self._stamped(values)), None)
        return self._write(self._transformed(self._validated(values, errors), entity), row, aside)

    def _amend(self, row: Row | None, key: Mapping[str, Any], partial: Mapping[str, Any], ttl: float | None) -> Values:
        return self._write(*self._changed(row, key, partial, ttl))

    def _changed(
        self, row: Row | None, key: Mapping[str, Any], partial: Mapping[str, Any], ttl: float | None
    ) -> tuple[Values, Row, Values]:
        """The valid entity after a partial update, the row it replaces, and what is kept beside it."""
        if row is None:
            wording = "primary key " if "id" in key else ""
            raise EntityNotFound(f"could not find the entity with {wording}'{key_text(key)}'", fields=dict(key))
        stored = rows.decode(self.entity, row)
        patch, aside, errors = self._take(dict(partial), ttl)
        for name in ("id", "updated_at"):
            patch.pop(name, None)
        if patch.get("created_at", 0) is None:
            del patch["created_at"]
        patch = self._resolver.resolve(patch)
        merged, early = self._merged(stored, patch)
        merged = self._prepared(merged, stored)
        if self.entity.has_updated_at:
            merged["updated_at"] = self.entity.fields["updated_at"].generate()
        entity = self._validated(merged, {**early, **errors, **self._immutable(stored, patch)}, updating=True)
        return self._transformed(entity, patch, stored), row, {"expires": row.expires, **aside}

    def _merged(self, stored: Values, patch: Values) -> tuple[Values, Errors]:
        variant = self.entity.schema.variant({**stored, **patch})
        if not isinstance(variant, Record):
            return {**stored, **patch}, {}
        expanded, errors = variant.expand(patch)
        return merge(stored, expanded, variant.shape), errors

    def _immutable(self, stored: Values, patch: Values) -> Errors:
        return {
            name: "immutable field cannot be updated"
            for name, field in self.entity.fields.items()
            if field.attributes.get("immutable") and name in patch and patch[name] != stored[name]
        }

    def _write(self, entity: Values, row: Row | None, aside: Values) -> Values:
        operations, changes = self._drafted(entity, row, aside)
        self._commit(operations, changes, entity, {(row.kind, row.id): row.body} if row else {})
        return self._show(Row(self.entity.name, entity["id"], rows.encode(entity), 0, aside.get("expires")))

    def _drafted(self, entity: Values, row: Row | None, aside: Values) -> Draft:
        """The operations and events that store a valid entity in place of `row`."""
        kind = self.entity
        if kind.check:
            errors = kind.check(entity, self._store.reader)
            if errors:
                raise violation(errors)
        old = rows.cache_keys(kind, rows.decode(kind, row)) if row else []
        keys = tuple(dict.fromkeys([*old, *rows.cache_keys(kind, entity)]))
        version, expires = row.version if row else None, aside.get("expires")
        put = Put(kind.name, entity["id"], rows.encode(entity), rows.index_of(kind, entity), version, expires)
        operations, changes = self._companions(entity, aside)
        change = Change(kind.name, put.id, "update" if row else "create", keys)
        return [put, *operations], [change, *changes]

    def _companions(self, entity: Values, aside: Values) -> Draft:
        """What else has to be written in the same commit."""
        return [], []

    def _remove(self, row: Row | None) -> bool:
        if row is None:
            return False
        self.check_delete(row)
        deletion = Deletion(self._store, [(self.entity, row)])
        self._commit(deletion.operations, deletion.changes, {"id": row.id}, deletion.before)
        return True

    def _commit(
        self,
        operations: list[Operation],
        changes: list[Change],
        entity: Mapping[str, Any],
        before: Mapping[tuple[str, str], bytes],
    ) -> None:
        try:
            self._strategy.commit(operations, changes, self._store.origin)
        except Stale:
            raise
        except CommitRefused as refusal:
            raise self.coded(refusal, entity) from None
        audit.note(self._store.catalogue, operations, before)

    def coded(self, refusal: CommitRefused, entity: Mapping[str, Any]) -> DaoError | CommitRefused:
        """See `refusals.coded`; an entity may have words of its own."""
        return refusals.coded(refusal, entity, self._store.catalogue)

    def _retry(self, attempt: Callable[[], T]) -> T:
        return refusals.retry(attempt, self.entity.name)
