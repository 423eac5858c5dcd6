"""targets: the addresses behind an upstream."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from kong_gevent.db.catalogue import Entity
from kong_gevent.schema import Record, fields, names, violation

DEFAULT_PORT = 8000
_INVALID = "not a valid hostname or ip address"


class _Moment(fields.Number):
    """Seconds since 1970, with milliseconds: targets made in one second keep their order."""

    built_in = {"timestamp": True, "auto": True}


def target_error(text: str) -> str | None:
    """A host name or an address; a port may follow."""
    return f"Invalid target ('{text}'); {_INVALID}" if names.parse_host(text).error else None


def normalised(text: str) -> str | None:
    """How a target is stored: with its port, an IPv6 address written out in brackets. None for what is no target."""
    parsed = names.parse_host(text)
    if parsed.error:
        return None
    host = f"[{ipaddress.IPv6Address(parsed.host).exploded}]" if parsed.kind == "ipv6" else parsed.host
    return f"{host}:{parsed.port or DEFAULT_PORT}"


def prepare(values: dict[str, Any], stored: Mapping[str, Any] | None) -> dict[str, Any]:
    """The values with a normalised target. Raises `SchemaViolation`."""
    given = values.get("target")
    if not isinstance(given, str) or not given:
        return values
    target = normalised(given)
    if target is None:
        raise violation({"target": f"Invalid target; {_INVALID}"})
    return {**values, "target": target}


class Target(Record):
    """Schema of a target."""

    id = fields.UUID(auto=True, metadata={"description": "Identifier of the target."})
    created_at = _Moment(metadata={"description": "When the target was created (epoch seconds with fraction)."})
    updated_at = _Moment(metadata={"description": "When the target was last changed (epoch seconds with fraction)."})
    upstream = fields.Foreign(
        "upstreams", required=True, on_delete="cascade", metadata={"description": "Upstream that it belongs to."}
    )
    target = fields.String(
        required=True,
        custom_validator=target_error,
        metadata={"description": "Host and port; without a port it is 8000."},
    )
    weight = fields.Integer(
        between=[0, 65535], load_default=100, metadata={"description": "Share of the load; 0 gets none."}
    )
    tags = fields.Tags(metadata={"description": "Labels for grouping and filtering."})


def entity() -> Entity:
    """The catalogue's entry."""
    return Entity(
        "targets",
        Target(),
        nested="targets",
        nested_key="target",
        unique_together=(("upstream", "target"),),
        cache_key=("upstream", "target"),
        prepare=prepare,
    )
