"""admin_tokens: who may use the Admin API. Only the digest of a token is kept; see `kong_gevent.db.tokens`."""

from __future__ import annotations

from kong_gevent.db.catalogue import Entity
from kong_gevent.schema import Record, fields


class AdminToken(Record):
    """Schema of an Admin token."""

    id = fields.UUID(auto=True, metadata={"description": "Identifier of the token."})
    created_at = fields.AutoTimestamp(metadata={"description": "When the token was created (epoch seconds)."})
    name = fields.Utf8Name(
        required=True,
        len_max=255,
        metadata={"description": "Unique name, which the audit log tells who did something by."},
    )
    digest = fields.String(
        required=True, unique=True, len_eq=64, encrypted=True, metadata={"description": "SHA-256 of the token."}
    )
    read_only = fields.Boolean(
        required=True, load_default=False, metadata={"description": "Whether the token may read only."}
    )
    expires_at = fields.Integer(
        gt=0, metadata={"description": "When the token ceases to be valid (epoch seconds); null: never."}
    )


def entity() -> Entity:
    """The catalogue's entry."""
    return Entity(
        "admin_tokens", AdminToken(), collection="admin-tokens", endpoint_key="name", admin=False, exported=False
    )
