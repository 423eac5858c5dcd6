"""key_sets: groups of keys."""

from __future__ import annotations

from kong_gevent.db.catalogue import Entity
from kong_gevent.schema import Record, fields


class KeySet(Record):
    """Schema of a key set."""

    id = fields.UUID(auto=True, metadata={"description": "Identifier of the key set."})
    name = fields.String(unique=True, metadata={"description": "Unique name of the key set."})
    tags = fields.Tags(metadata={"description": "Labels for grouping and filtering."})
    created_at = fields.AutoTimestamp(metadata={"description": "When the key set was created (epoch seconds)."})
    updated_at = fields.AutoTimestamp(metadata={"description": "When the key set was last changed (epoch seconds)."})


def entity() -> Entity:
    """The catalogue's entry."""
    return Entity("key_sets", KeySet(), collection="key-sets", endpoint_key="name", cache_key=("id",))
