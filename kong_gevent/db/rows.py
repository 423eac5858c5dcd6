"""Between entities as the Admin API shows them and rows as strategies store them."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from kong_gevent.db import codec
from kong_gevent.db.catalogue import Entity
from kong_gevent.db.strategies.base import Index, Row

WORKSPACE = "default"


def unique_value(value: Any) -> str:
    """How a unique value is kept in the index: texts as they are, anything else as JSON."""
    return value if isinstance(value, str) else codec.dumps(value).decode()


def combination(entity: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """One text for a combination of fields; references count by their id."""
    return codec.dumps([value["id"] if isinstance(value := entity[name], dict) else value for name in names]).decode()


def index_of(kind: Entity, entity: Mapping[str, Any]) -> Index:
    """The index rows of an entity. Null is never unique by itself, but it is a value of a combination."""
    unique = [(name, unique_value(entity[name])) for name in kind.unique if entity[name] is not None]
    unique += [(",".join(names), combination(entity, names)) for names in kind.unique_together]
    parents = [
        (name, field.reference, entity[name]["id"]) for name, field in kind.foreign.items() if entity[name] is not None
    ]
    return Index(tuple(unique), tuple(parents), tuple(entity["tags"] or ()) if kind.has_tags else ())


def cache_keys(kind: Entity, entity: Mapping[str, Any]) -> list[str]:
    """`<entity>:<field>:<value>` of every key by which a node may have cached an entity, or a list with it."""
    keys = [f"{kind.name}:{name}:{unique_value(entity[name])}" for name in kind.unique if entity[name] is not None]
    keys += [f"{kind.name}:{name}:{entity[name]['id']}" for name in kind.listed_by if entity[name] is not None]
    keys += [f"{kind.name}:{','.join(names)}:{combination(entity, names)}" for names in kind.unique_together]
    return [f"{kind.name}:id:{entity['id']}", *keys]


def encode(entity: Mapping[str, Any]) -> bytes:
    """The stored form."""
    return codec.dumps(entity)


def decode(kind: Entity, row: Row) -> dict[str, Any]:
    """A stored entity with every field; fields that the schema gained since it was stored get their defaults."""
    return kind.schema.fill(codec.loads(row.body))


def show(kind: Entity, row: Row) -> dict[str, Any]:
    """An entity as the Admin API shows it: old names of settings beside the new ones, the seconds it has left."""
    shown = kind.schema.render(decode(kind, row))
    if kind.ttl:
        shown["ttl"] = remaining(row)
    return shown


def remaining(row: Row) -> int | None:
    """Seconds until a row expires, rounded up; None if it never does."""
    return None if row.expires is None else max(0, math.ceil(row.expires - time.time()))
