"""consumers: those who use the services."""

from __future__ import annotations

from kong_gevent.db.catalogue import Entity
from kong_gevent.schema import Record, checks, fields


class Consumer(Record):
    """Schema of a consumer."""

    id = fields.UUID(auto=True, metadata={"description": "Identifier of the consumer."})
    created_at = fields.AutoTimestamp(metadata={"description": "When the consumer was created (epoch seconds)."})
    updated_at = fields.AutoTimestamp(metadata={"description": "When the consumer was last changed (epoch seconds)."})
    username = fields.String(unique=True, metadata={"description": "Unique name of the consumer, free text."})
    custom_id = fields.String(
        unique=True, metadata={"description": "Unique identifier of the consumer in another system."}
    )
    tags = fields.Tags(metadata={"description": "Labels for grouping and filtering."})

    checks = (checks.AtLeastOneOf("custom_id", "username"),)


def entity() -> Entity:
    """The catalogue's entry."""
    return Entity("consumers", Consumer(), endpoint_key="username", cache_key=("id",))
