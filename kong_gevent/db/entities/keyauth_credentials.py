"""keyauth_credentials: the keys of consumers, for the key-auth plugin."""

from __future__ import annotations

from kong_gevent.db.catalogue import Entity
from kong_gevent.schema import Record, fields


class KeyauthCredential(Record):
    """Schema of a key."""

    id = fields.UUID(auto=True, metadata={"description": "Identifier of the credential."})
    created_at = fields.AutoTimestamp(metadata={"description": "When the credential was created (epoch seconds)."})
    consumer = fields.Foreign(
        "consumers", required=True, on_delete="cascade", metadata={"description": "Consumer that the key identifies."}
    )
    key = fields.String(unique=True, auto=True, metadata={"description": "The key; 32 random characters if not given."})
    tags = fields.Tags(metadata={"description": "Labels for grouping and filtering."})


def entity() -> Entity:
    """The catalogue's entry."""
    return Entity(
        "keyauth_credentials",
        KeyauthCredential(),
        collection="key-auths",
        nested="key-auth",
        endpoint_key="key",
        cache_key=("key",),
        ttl=True,
        plugin="key-auth",
    )
