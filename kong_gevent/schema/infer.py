"""Typing of form bodies and query strings by a schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kong_gevent.schema.record import Record


def infer(schema: Record, data: Mapping[str, Any]) -> dict[str, Any]:
    """Give the texts of a decoded form the types that the schema (or its sub-schema for this value) asks for.

    Numbers and `true`/`false` are converted, a scalar for an array becomes its one element, the empty text is null.
    What cannot be converted is left for validation to refuse. JSON bodies must not be passed through here.
    """
    cleared = _empty_is_null(data)
    variant = schema.variant(cleared)
    chosen = variant if isinstance(variant, Record) else schema
    typed: dict[str, Any] = chosen.infer(cleared)
    return typed


def _empty_is_null(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _empty_is_null(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_empty_is_null(item) for item in value]
    return None if value == "" else value
