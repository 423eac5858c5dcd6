"""Classic objects as views of today's entities: one translation by a table of fields, and its special cases."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from kong_gevent.admin.classic import faults
from kong_gevent.admin.classic.fields import ID, Field, Values, parse, parsed
from kong_gevent.db import DAO, Batch, Store, together
from kong_gevent.errors import (
    EntityNotFound,
    ForeignKeyViolation,
    InvalidUnique,
    PrimaryKeyViolation,
    SchemaViolation,
    UniqueViolation,
)

Page = Callable[[int, str | None], tuple[list[Values], str | None]]
"""Reads rows: (size, token of the page) gives the rows and the token of the next page."""


class Kind:
    """One kind of classic object, kept as one kind of entity.

    Objects are dicts of classic names without unset fields. All methods raise `Refused` with the classic answer.
    """

    def __init__(self, store: Store, entity: str, fields: Iterable[Field], key: str | None = None) -> None:
        """`key`: the field that may stand for the id in a path."""
        self.store = store
        self.dao: DAO = store.dao(entity)
        self.fields = tuple(fields)
        self.key = key
        self._names = {field.origin: field.name for field in self.fields}
        self._query = {field.name: field for field in self.fields if field.queryable}

    # Reading

    def find(self, identifier: str) -> Values | None:
        """The object for an id, or for the key: what looks like an id is one."""
        if ID.match(identifier):
            return self.by_id(identifier)
        return self.by_key(identifier) if self.key else None

    def by_id(self, key: str) -> Values | None:
        """The object with an id."""
        row = self.dao.select(key)
        return self.show(row) if row is not None else None

    def by_key(self, value: str) -> Values | None:
        """The object with a name."""
        assert self.key is not None
        row = self._holder(self._origin(self.key), value)
        return self.show(row) if row is not None else None

    def pages(self, filters: Mapping[str, Any]) -> Page:
        """How to read the rows that may pass the filters: by the narrowest of them that the store has an index for."""
        given = [(self._query[name], value) for name, value in filters.items() if isinstance(value, str)]
        for field, value in given:
            if field.name == "id" or field.unique:
                row = self.dao.select(value) if field.name == "id" else self._holder(field.origin, value)
                found = [] if row is None else [row]
                return lambda size, offset: (found, None)
        for field, value in given:
            if field.reference:
                parent = (field.origin, value)
                return lambda size, offset: self.dao.page(size=size, offset=offset, parent=parent)
        return self.every

    def every(self, size: int, offset: str | None) -> tuple[list[Values], str | None]:
        """A page of all rows."""
        return self.dao.page(size=size, offset=offset)

    def query(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The filters among a list's arguments. Raises `Refused` for those that are none."""
        errors = {name: f"{name} is not queryable" for name in arguments if name not in self._query}
        known = {field.name for field in self.fields}
        errors.update({name: f"{name} is an unknown field" for name in errors if name not in known})
        values, wrong = parse(
            self._query.values(), {n: v for n, v in arguments.items() if n in self._query}, partial=True
        )
        errors.update({name: text for name, text in wrong.items() if name in arguments})
        if errors:
            raise faults.invalid(errors)
        return values

    def show(self, row: Mapping[str, Any]) -> Values | None:
        """An entity in its classic shape; None when it has none."""
        shown = {field.name: field.shown(row) for field in self.fields}
        return {name: value for name, value in shown.items() if value is not None}

    # Writing

    def insert(self, given: Mapping[str, Any]) -> Values:
        """Store a new object."""
        values = self.checked(parsed(self.fields, given), None)
        values.setdefault("id", str(uuid4()))
        with self.translated(values):
            return self.current(self.dao.insert(self.entity(values)))

    def replace(self, old: Values, given: Mapping[str, Any]) -> Values:
        """Store an object in place of another one as a whole; what only today's API shows stays."""
        values = self.checked({**parsed(self.fields, given), "id": old["id"]}, old)
        cleared: Values = dict.fromkeys(field.origin for field in self.fields if field.name not in ("id", "created_at"))
        with self.translated(values):
            stored = self.dao.select(old["id"])
            if stored is None:
                raise faults.not_there()
            kept = {name: value for name, value in stored.items() if name not in cleared}
            return self.current(self.dao.upsert(old["id"], {**kept, **self.entity(self._without_time(values))}))

    def change(self, old: Values, given: Mapping[str, Any]) -> Values:
        """Change some fields of an object."""
        patch = parsed(self.fields, given, partial=True)
        values = self.checked(self.merged(old, patch), old)
        kind = self.dao.entity.name
        changed = {self._origin(name) for name in patch if name not in ("id", "created_at")}

        def work(batch: Batch) -> None:
            now = self.current(batch.select(kind, old["id"]))
            latest = values if now == old else self.checked(self.merged(now, patch), now)
            entity = self.entity({**dict.fromkeys(patch), **latest})
            batch.update(kind, old["id"], {name: value for name, value in entity.items() if name in changed})

        with self.translated(values):
            together(self.store, work)
        return self.current(self.dao.select(old["id"]))

    def remove(self, old: Values) -> None:
        """Delete an object with what depends on it."""
        self.dao.delete(old["id"])

    # Hooks

    def checked(self, values: Values, old: Values | None) -> Values:
        """Valid values of a whole object, else `Refused`; `old` is what they replace."""
        errors = {
            field.name: f"{field.name} cannot be updated"
            for field in self.fields
            if old is not None and field.immutable and values.get(field.name) != old.get(field.name)
        }
        if errors:
            raise faults.invalid(errors)
        collisions = self.collisions(values)
        if collisions:
            raise faults.Refused(409, collisions)
        return values

    def merged(self, old: Values, patch: Values) -> Values:
        """An object after a partial update."""
        values = {**old, **patch, "id": old["id"]}
        return {name: value for name, value in values.items() if value is not None}

    def collisions(self, values: Values) -> dict[str, str]:
        """An error for each unique value that another object holds."""
        found = {}
        for field in self.fields:
            value = values.get(field.name)
            if not field.unique or value is None:
                continue
            holder = self._holder(field.origin, value)
            if holder is not None and holder["id"] != values.get("id"):
                found[field.name] = faults.exists(field.name, value)
        return found

    def entity(self, values: Values) -> Values:
        """Classic values as fields of the entity."""
        return {field.origin: field.stored(values[field.name]) for field in self.fields if field.name in values}

    # How

    @contextmanager
    def translated(self, values: Values) -> Iterator[None]:
        """Errors of the store as classic answers."""
        try:
            yield
        except SchemaViolation as error:
            raise self.schema_fault(error, values) from None
        except UniqueViolation as error:
            raise self.taken(error) from None
        except ForeignKeyViolation as error:
            raise faults.dangling(error, self.renamed) from None
        except PrimaryKeyViolation:
            raise faults.Refused(409, {"id": faults.exists("id", values.get("id"))}) from None
        except EntityNotFound:
            raise faults.not_there() from None

    def schema_fault(self, error: SchemaViolation, values: Values) -> faults.Refused:
        """The answer to values that today's schema refuses."""
        return faults.invalid(faults.flat(error.fields, self.entity(values), self.renamed))

    def taken(self, error: UniqueViolation) -> faults.Refused:
        """The answer to a unique value that another writer was faster to take."""
        return faults.taken(error, self.renamed)

    def renamed(self, path: str) -> str:
        """The classic name of a field, or of a dotted path that begins with one."""
        name, dot, rest = path.partition(".")
        field = self._names.get(name, name)
        return field if not dot or rest == "id" else f"{field}.{rest}"

    def current(self, row: Mapping[str, Any] | None) -> Values:
        """What was read as an object. Raises `Refused` when it has been deleted meanwhile, or is none any more."""
        shown = self.show(row) if row is not None else None
        if shown is None:
            raise faults.not_there()
        return shown

    def _without_time(self, values: Values) -> Values:
        return {name: value for name, value in values.items() if name != "created_at"}

    def _origin(self, name: str) -> str:
        return next(field.origin for field in self.fields if field.name == name)

    def _holder(self, field: str, value: str) -> Values | None:
        try:
            return self.dao.select_by(field, value)
        except InvalidUnique:
            return None  # nothing can be called that


class Consumers(Kind):
    """Consumers: one of two names is needed."""

    def checked(self, values: Values, old: Values | None) -> Values:
        """Names of blanks are none."""
        if not (values.get("custom_id") or values.get("username")):
            text = "At least a 'custom_id' or a 'username' must be specified"
            raise faults.invalid({"custom_id": text, "username": text})
        return super().checked(values, old)
