"""audit_requests: what was changed over the Admin API, by whom; see `kong_gevent.db.audit`."""

from __future__ import annotations

from kong_gevent.db.catalogue import Entity
from kong_gevent.schema import Record, fields


class AuditRequest(Record):
    """Schema of one write."""

    id = fields.UUID(auto=True, metadata={"description": "Identifier of the record; later ones come first."})
    at = fields.Number(required=True, metadata={"description": "When the answer was ready (epoch seconds)."})
    node_id = fields.String(metadata={"description": "The node that was asked."})
    request_id = fields.String(metadata={"description": "Identifier of the request, as in the access log."})
    who = fields.String(
        required=True, metadata={"description": "Name of the token, subject of the certificate, or address."}
    )
    who_kind = fields.Choice(
        "token", "certificate", "address", required=True, metadata={"description": "What `who` is."}
    )
    client_ip = fields.String(len_min=0, metadata={"description": "Address that the request came from."})
    method = fields.String(required=True, metadata={"description": "Method of the request."})
    path = fields.String(required=True, metadata={"description": "Path of the request, without its query."})
    status = fields.Integer(required=True, metadata={"description": "Status of the answer."})
    changes = fields.Json(metadata={"description": "Each entity that was written, before and after, secrets masked."})


def entity() -> Entity:
    """The catalogue's entry."""
    return Entity("audit_requests", AuditRequest(), collection="audit/requests", admin=False, exported=False, ttl=True)
