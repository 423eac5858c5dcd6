"""ca_certificates: authorities that upstreams' and clients' certificates may chain to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kong_gevent.db.catalogue import Entity, Reader
from kong_gevent.errors import ReferencedByOthers
from kong_gevent.schema import Record, checks, crypto, fields


class CaCertificate(Record):
    """Schema of an authority's certificate."""

    id = fields.UUID(auto=True, metadata={"description": "Identifier of the certificate."})
    created_at = fields.AutoTimestamp(metadata={"description": "When the certificate was stored (epoch seconds)."})
    updated_at = fields.AutoTimestamp(metadata={"description": "When it was last changed (epoch seconds)."})
    cert = fields.Certificate(required=True, metadata={"description": "The authority's certificate (PEM)."})
    cert_digest = fields.String(
        unique=True, metadata={"description": "SHA-256 of the certificate in hexadecimal digits, computed."}
    )
    tags = fields.Tags(metadata={"description": "Labels for grouping and filtering."})

    checks = (checks.Custom("cert", function=lambda values: crypto.authority_error(values["cert"])),)


def prepare(values: dict[str, Any], stored: Mapping[str, Any] | None) -> dict[str, Any]:
    """The values with the digest, whatever was sent for it."""
    given = values.get("cert")
    return {**values, "cert_digest": crypto.digest(given) if isinstance(given, str) else None}


def unused(values: Mapping[str, Any], reader: Reader) -> None:
    """Raises `ReferencedByOthers` while a service or a plugin lists the certificate."""
    for kind, listed in (("services", _of_service), ("plugins", _of_plugin)):
        for other in reader.each(kind):
            if values["id"] in (listed(other) or ()):
                raise ReferencedByOthers(
                    f"ca certificate {values['id']} is still referenced by {kind} (id = {other['id']})"
                )


def _of_service(service: Mapping[str, Any]) -> Any:
    return service["ca_certificates"]


def _of_plugin(plugin: Mapping[str, Any]) -> Any:
    return plugin["config"].get("ca_certificates")


def entity() -> Entity:
    """The catalogue's entry."""
    return Entity("ca_certificates", CaCertificate(), cache_key=("id",), prepare=prepare, check_delete=unused)
