"""snis: the server names for which a certificate is shown."""

from __future__ import annotations

from kong_gevent.db.catalogue import Entity
from kong_gevent.schema import Record, fields


class Sni(Record):
    """Schema of a server name."""

    id = fields.UUID(auto=True, metadata={"description": "Identifier of the server name."})
    name = fields.WildcardHost(
        required=True, unique_across_ws=True, metadata={"description": "Host name, with a wildcard at one end at most."}
    )
    created_at = fields.AutoTimestamp(metadata={"description": "When the server name was created (epoch seconds)."})
    updated_at = fields.AutoTimestamp(metadata={"description": "When it was last changed (epoch seconds)."})
    tags = fields.Tags(metadata={"description": "Labels for grouping and filtering."})
    certificate = fields.Foreign(
        "certificates", required=True, on_delete="cascade", metadata={"description": "Certificate that is shown."}
    )


def entity() -> Entity:
    """The catalogue's entry."""
    return Entity("snis", Sni(), nested="snis", endpoint_key="name", cache_key=("name",))
