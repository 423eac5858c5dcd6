"""The `/schemas/…` documents: a schema in Kong's own attributes, from which clients fill defaults and draw forms."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from kong_gevent.schema import kinds
from kong_gevent.schema.field import UNPUBLISHED
from kong_gevent.schema.record import Record


def document(schema: Record) -> dict[str, Any]:
    """`{"fields": [{name: attributes}, …], "entity_checks": […]}` of an entity; top-level shorthands are left out."""
    return {"fields": fields_of(schema), "entity_checks": [check.document() for check in schema.checks]}


def fields_of(schema: Record) -> list[dict[str, Any]]:
    """The fields of a record as one-key objects, in order of declaration."""
    return [{name: attributes_of(field)} for name, field in schema.shape.items()]


def attributes_of(field: kinds.Field) -> dict[str, Any]:
    """One field's attributes; functions are dropped, collections and records carry their parts."""
    told = {name: value for name, value in field.attributes.items() if name != UNPUBLISHED}
    shown = {name: plain(value) for name, value in told.items() if not callable(value)}
    if isinstance(field, kinds.Array):
        shown["elements"] = attributes_of(field.elements)
    elif isinstance(field, kinds.Map):
        shown["keys"] = attributes_of(field.keys)
        shown["values"] = attributes_of(field.values)
    elif isinstance(field, kinds.Record):
        shown["fields"] = fields_of(field.schema)
        if field.schema.shorthand_fields:
            shown["shorthand_fields"] = [
                {name: {**attributes_of(shorthand.field), **shorthand.document()}}
                for name, shorthand in field.schema.shorthand_fields.items()
            ]
        if field.schema.checks:
            shown["entity_checks"] = [check.document() for check in field.schema.checks]
    return shown


def plain(value: Any) -> Any:
    """A JSON form of an attribute: tuples as lists, compiled patterns as text, infinities as words."""
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items() if not isinstance(item, Callable)}  # type: ignore[arg-type]
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, re.Pattern):
        return value.pattern
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return "inf" if value > 0 else "-inf"
    return value
