"""The fields that tell the upstream who asks, prepared once per identity and reused while its entities are the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kong_gevent.pdk.edits import HeaderTemplate

MAX_PREPARED = 4096
"""Identities kept ready per worker; one costs about 1 KiB."""
NAMES = (
    "X-Consumer-ID",
    "X-Consumer-Custom-ID",
    "X-Consumer-Username",
    "X-Credential-Identifier",
    "X-Anonymous-Consumer",
)

_Entity = Mapping[str, Any] | None
_prepared: dict[Any, tuple[_Entity, _Entity, str | None, HeaderTemplate]] = {}


def identity_fields(consumer: _Entity, credential: _Entity, identifier: str | None) -> HeaderTemplate:
    """The `X-Consumer-*` and related fields of an identity; those without a value are removed.

    What is kept holds only for the very objects it was made from: a changed consumer or credential is a new object.
    """
    entity = credential or consumer
    key = entity.get("id") if entity else None
    found = _prepared.get(key)
    if found is not None and found[0] is consumer and found[1] is credential and found[2] == identifier:
        return found[3]
    template = _prepare(consumer, credential, identifier)
    if len(_prepared) >= MAX_PREPARED:
        _prepared.clear()
    _prepared[key] = (consumer, credential, identifier, template)
    return template


def _prepare(consumer: _Entity, credential: _Entity, identifier: str | None) -> HeaderTemplate:
    known = consumer or {}
    values = (
        known.get("id"),
        known.get("custom_id"),
        known.get("username"),
        identifier if credential else None,
        "true" if consumer and not credential else None,
    )
    fields = [(name, HeaderTemplate.constant(value)) for name, value in zip(NAMES, values, strict=True) if value]
    return HeaderTemplate(fields, cleared=NAMES)
