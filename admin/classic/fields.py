"""Fields of classic objects: their types, rules and texts, and the fields of today's entities that they stand for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from kong_gevent.admin.classic.faults import invalid
from kong_gevent.db.entities.services import expand_url
from kong_gevent.schema.rules import is_uuid

Type = Literal["id", "string", "boolean", "timestamp", "url", "table"]
Values = dict[str, Any]
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")
"""What counts as an id in a path; anything else is a name."""
_MILLISECONDS = 1000
_LATEST = 1 << 50


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a classic object.

    `source`: the field of today's entity (the same name unless given); `reference`: that field is a reference, of
    which the id is shown; `queryable`: lists may be filtered by it; `first`: it is the first of today's list;
    `aliases`: further names on input; `check`: text of what is wrong with a value, or None.
    """

    name: str
    type: Type = "string"
    source: str = ""
    required: bool = False
    unique: bool = False
    immutable: bool = False
    reference: bool = False
    queryable: bool = False
    first: bool = False
    aliases: tuple[str, ...] = ()
    check: Callable[[str], str | None] | None = None

    @property
    def origin(self) -> str:
        """The field of today's entity."""
        return self.source or self.name

    def shown(self, entity: Mapping[str, Any]) -> Any:
        """The value in an entity, None when it has none."""
        value = entity.get(self.origin)
        if value is None:
            return None
        if self.reference:
            return value["id"]
        if self.first:
            return value[0] if value else None
        return int(value * _MILLISECONDS) if self.type == "timestamp" else value

    def stored(self, value: Any) -> Any:
        """A classic value as the entity keeps it."""
        if value is None:
            return None
        if self.reference:
            return {"id": value}
        if self.first:
            return [value]
        return max(1, value // _MILLISECONDS) if self.type == "timestamp" else value


IDENTITY = (
    Field("id", "id", queryable=True),
    Field("created_at", "timestamp"),
)
"""The fields that every object has."""


def parse(fields: Iterable[Field], given: Mapping[str, Any], *, partial: bool = False) -> tuple[Values, Values]:
    """Typed values of what a client sent, and an error for each field that is wrong.

    `partial`: fields that are absent are left out, and empty ones become None; otherwise required ones are errors.
    """
    known = list(fields)
    names = {alias: field.name for field in known for alias in (field.name, *field.aliases)}
    sent = {names[name]: value for name, value in given.items() if name in names}
    errors = {name: f"{name} is an unknown field" for name in given if name not in names}
    values: Values = {}
    for field in known:
        if field.name not in sent:
            if field.required and not partial:
                errors[field.name] = f"{field.name} is required"
            continue
        value, error = _typed(field, sent[field.name])
        if error is None and value is None and field.required:
            error = f"{field.name} is required"
        if error is not None:
            errors[field.name] = error
        elif value is not None or partial:
            values[field.name] = value
    return values, errors


def parsed(fields: Iterable[Field], given: Mapping[str, Any], *, partial: bool = False) -> Values:
    """Like `parse`; raises `Refused` for any error."""
    values, errors = parse(fields, given, partial=partial)
    if errors:
        raise invalid(errors)
    return values


def _typed(field: Field, value: Any) -> tuple[Any, str | None]:
    read = _READERS[field.type](value)
    if read is _WRONG:
        return None, f"{field.name} is not a {field.type}"
    if read is not None and field.check is not None:
        return read, field.check(read)
    return read, None


_WRONG: Any = object()


def _string(value: Any) -> Any:
    return _WRONG if not isinstance(value, str) else value or None


def _id(value: Any) -> Any:
    return value.lower() if is_uuid(value) else None if value == "" else _WRONG


def _boolean(value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if not isinstance(value, str):
        return _WRONG
    return {"true": True, "false": False, "": None}.get(value.lower(), _WRONG)


def _timestamp(value: Any) -> Any:
    if value == "":
        return None
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,15}", value):
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < _LATEST else _WRONG


def _url(value: Any) -> Any:
    if not isinstance(value, str) or not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", value) or re.search(r"\s", value):
        return _WRONG
    return value if expand_url(value)["host"] else _WRONG


def _table(value: Any) -> Any:
    if isinstance(value, list) and not value:
        return {}
    return value if isinstance(value, dict) else None if value == "" else _WRONG


_READERS: Mapping[Type, Callable[[Any], Any]] = {
    "id": _id,
    "string": _string,
    "boolean": _boolean,
    "timestamp": _timestamp,
    "url": _url,
    "table": _table,
}
