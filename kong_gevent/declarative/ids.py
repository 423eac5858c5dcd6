"""Ids for entities that a document gives none: the same document leads to the same ids, on every node and every time.

The namespace of an entity is UUIDv5(N0, its name); the id is UUIDv5 of the entity's key in that namespace. The key of
what others refer to by name is that name. What is cached by a combination of fields (plugins, credentials) has
`<entity>:*:<first>:<second>…`, references by the id of the entity that they lead to, absent fields empty. An entity
without a key has a random id, a new one at every import.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from kong_gevent.db.catalogue import Entity

ROOT = uuid.UUID("fd02801f-0957-4a15-a55a-c8d9606f30b5")
WORKSPACE = "*"


def id_of(kind: Entity, values: Mapping[str, Any]) -> str:
    """The id for an entity; references are `{"id": …}` or None."""
    key = key_of(kind, values)
    return str(uuid.uuid5(uuid.uuid5(ROOT, kind.name), key)) if key is not None else str(uuid.uuid4())


def key_of(kind: Entity, values: Mapping[str, Any]) -> str | None:
    """What identifies an entity without its id, None when nothing does."""
    if kind.cache_key and kind.cache_key != ("id",):
        return _combined(kind, values)
    name = values.get(kind.endpoint_key) if kind.endpoint_key else None
    return name if isinstance(name, str) else None


def _combined(kind: Entity, values: Mapping[str, Any]) -> str | None:
    parts = []
    for name in kind.cache_key:
        value, field = values.get(name), kind.fields[name]
        if isinstance(value, Mapping):
            value = value.get("id")
        if value is None:
            if field.auto or field.wanted:
                return None
            value = ""
        parts.append(str(value))
    return ":".join((kind.name, WORKSPACE, *parts))
