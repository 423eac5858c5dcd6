"""services: the upstream APIs that routes lead to."""

from __future__ import annotations

import re
from typing import Any

from kong_gevent.db.catalogue import Entity
from kong_gevent.schema import Record, checks, fields

CLASSIC_API = "classic-api"
"""The tag of services that are APIs of the classic model."""
_PLAIN = {"one_of": ["tcp", "tls", "udp", "grpc", "grpcs"]}
_NO_TLS = {"not_one_of": ["https", "tls"]}
_NULL = {"eq": None}
_MILLISECONDS = [1, 2147483646]
_PORTS = {"http": 80, "https": 443}


_SCHEMES = {80: "http", 443: "https"}
# Of RFC 3986, appendix B, with the authority required: a service needs a host. The parts are judged by their fields.
_URL = re.compile(r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):)?//(?P<authority>[^/?#]*)(?P<path>[^?#]*)", re.DOTALL)
_HOST = re.compile(r"(?P<host>\[[^\]]*\]|[^:]*)(?::(?P<port>[0-9]*))?\Z", re.DOTALL)


def expand_url(url: str | None) -> dict[str, Any]:
    """The fields that a URL stands for; a port it lacks becomes the default, other parts null."""
    match = (_URL.match(url) or _URL.match(f"//{url}")) if url is not None else None
    if match is None:
        return {"protocol": None, "host": None, "port": None, "path": None}
    authority = match["authority"].rpartition("@")[2]
    parts = _HOST.match(authority)
    host = parts["host"] if parts else authority
    # A number that is too long for a port stays a text, which the field refuses.
    port = parts["port"] if parts else None
    number = int(port) if port and len(port) <= 9 else port or None
    scheme = match["scheme"]
    protocol = scheme.lower() if scheme else _SCHEMES.get(number, "http") if isinstance(number, int) else "http"
    return {
        "protocol": protocol,
        "host": host or None,
        "port": number if number is not None else _PORTS.get(protocol, 80),
        "path": match["path"] or None,
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
