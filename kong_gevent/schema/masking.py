"""Entities without their secrets, for records that outlive them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from kong_gevent.schema import kinds
from kong_gevent.schema.field import UNPUBLISHED
from kong_gevent.schema.record import Deprecated, Record, Shorthand
from kong_gevent.vaults.reference import is_reference

MASK = "******"
_CARRIES = re.compile(r"authorization|cookie|token|secret|password|api[-_]?key", re.IGNORECASE)
"""In the name of a header or argument that carries credentials."""
_SECRET_NAMES = frozenset({"password", "secret", "client_secret", "access_token", "refresh_token"})


def masked(schema: Record, values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy in which values of secret fields are `******`; vault references stay, as they tell no secret.

    Secret are fields marked `encrypted`, `referenceable` or `secret`, texts that the gateway makes up itself
    unless told (keys, secrets), and those named like a secret; of `name:value` texts the value when the name is that of
    one.
    """
    variant = schema.variant(values)
    chosen = variant if isinstance(variant, Record) else schema
    fields = {**{name: _meant(chosen, short) for name, short in chosen.shorthand_fields.items()}, **chosen.shape}
    return {name: _masked(name, fields.get(name), value) for name, value in values.items()}


def hides(schema: Record, name: str) -> bool:
    """Whether `masked` hides a field."""
    return name in schema.shape and _is_secret(name, schema.shape[name])


def _meant(schema: Record, shorthand: Shorthand) -> kinds.Field:
    """The field that an old name stands for, since that is the one which is marked."""
    field: kinds.Field | None = None
    if isinstance(shorthand, Deprecated):
        for name in shorthand.path.split("."):
            field = schema.shape.get(name)
            schema = field.schema if isinstance(field, kinds.Record) else schema
    return field or shorthand.field


def _is_secret(name: str, field: kinds.Field) -> bool:
    attributes = field.attributes
    made_up = isinstance(field, kinds.String) and field.auto and not attributes.get("uuid")
    marked = attributes.get("encrypted") or attributes.get("referenceable") or attributes.get(UNPUBLISHED)
    return bool(marked or made_up or (name in _SECRET_NAMES and isinstance(field, kinds.String)))


def _masked(name: str, field: kinds.Field | None, value: Any) -> Any:
    if field is None or value is None or is_reference(value):
        return value
    if _is_secret(name, field):
        return MASK
    if isinstance(field, kinds.String) and isinstance(value, str):
        return _without_credentials(value)
    if isinstance(field, kinds.Record) and isinstance(value, Mapping):
        return masked(field.schema, value)
    if isinstance(field, kinds.Array) and isinstance(value, list):
        return [_masked(name, field.elements, item) for item in value]
    if isinstance(field, kinds.Map) and isinstance(value, Mapping):
        return {key: _masked(key, field.values, item) for key, item in value.items()}
    return value


def _without_credentials(text: str) -> str:
    """A text without the value, when it is `name:value` as transforming plugins have them and the name is telling."""
    name, colon, value = text.partition(":")
    return f"{name}:{MASK}" if colon and value and len(name) < 100 and _CARRIES.search(name) else text
