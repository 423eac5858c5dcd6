"""services: the upstream APIs that routes lead to."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from kong_gevent.db.catalogue import Entity
from kong_gevent.schema import Record, checks, fields

_PLAIN = {"one_of": ["tcp", "tls", "udp", "grpc", "grpcs"]}
_NO_TLS = {"not_one_of": ["https", "tls"]}
_NULL = {"eq": None}
_MILLISECONDS = [1, 2147483646]
_PORTS = {"http": 80, "https": 443}


def expand_url(url: str | None) -> dict[str, Any]:
    """The fields that a URL stands for; a port it lacks becomes the default, other parts null."""
    if url is None:
        return {"protocol": None, "host": None, "port": None, "path": None}
    try:
        parts = urlsplit(url if "://" in url else f"//{url}")
        port, host = parts.port, parts.hostname
    except ValueError:
        return {"protocol": None, "host": None, "port": None, "path": None}
    if host:
        # As sent: the library lowers the case.
        at = parts.netloc.lower().rindex(host.lower())
        host = f"[{host}]" if ":" in host else parts.netloc[at : at + len(host)]
    protocol = parts.scheme or {80: "http", 443: "https"}.get(port or 0, "http")
    return {
        "protocol": protocol,
        "host": host or None,
        "port": port if port is not None else _PORTS.get(protocol, 80),
        "path": parts.path or None,
    }


class Service(Record):
    """Schema of a service."""

    id = fields.UUID(auto=True, metadata={"description": "Identifier of the service."})
    created_at = fields.AutoTimestamp(metadata={"description": "When the service was created (epoch seconds)."})
    updated_at = fields.AutoTimestamp(metadata={"description": "When the service was last changed (epoch seconds)."})
    name = fields.Utf8Name(metadata={"description": "Unique name of the service."})
    retries = fields.Integer(
        load_default=5, between=[0, 32767], metadata={"description": "Further attempts after a failed one."}
    )
    protocol = fields.Protocol(
        required=True, load_default="http", metadata={"description": "Protocol spoken with the upstream."}
    )
    host = fields.Host(required=True, metadata={"description": "Host name or address of the upstream."})
    port = fields.Port(required=True, load_default=80, metadata={"description": "Port of the upstream."})
    path = fields.Path(metadata={"description": "Path put before the request's own."})
    connect_timeout = fields.Integer(
        load_default=60000, between=_MILLISECONDS, metadata={"description": "Milliseconds to connect to the upstream."}
    )
    write_timeout = fields.Integer(
        load_default=60000, between=_MILLISECONDS, metadata={"description": "Milliseconds between two writes."}
    )
    read_timeout = fields.Integer(
        load_default=60000, between=_MILLISECONDS, metadata={"description": "Milliseconds between two reads."}
    )
    tags = fields.Tags(metadata={"description": "Labels for grouping and filtering."})
    client_certificate = fields.Foreign(
        "certificates", metadata={"description": "Certificate shown to the upstream when it asks for one."}
    )
    tls_verify = fields.Boolean(metadata={"description": "Whether the upstream's certificate must verify."})
    tls_verify_depth = fields.Integer(
        between=[0, 64], metadata={"description": "Longest chain of certificates accepted from the upstream."}
    )
    ca_certificates = fields.Array(
        fields.UUID(), metadata={"description": "Identifiers of the CA certificates that the upstream's may chain to."}
    )
    enabled = fields.Boolean(
        required=True, load_default=True, metadata={"description": "Whether the service's routes are served."}
    )

    shorthand_fields = {
        "url": fields.Shorthand(
            fields.String(metadata={"description": "Protocol, host, port and path in one."}), expand_url
        )
    }
    checks = (
        checks.Conditional("protocol", _PLAIN, "path", _NULL),
        checks.Conditional("protocol", _NO_TLS, "client_certificate", _NULL),
        checks.Conditional("protocol", _NO_TLS, "tls_verify", _NULL),
        checks.Conditional("protocol", _NO_TLS, "tls_verify_depth", _NULL),
        checks.Conditional("protocol", _NO_TLS, "ca_certificates", _NULL),
    )


def entity() -> Entity:
    """The catalogue's entry."""
    return Entity("services", Service(), nested="services", endpoint_key="name", cache_key=("id",))
