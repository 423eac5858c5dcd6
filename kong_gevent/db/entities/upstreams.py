"""upstreams: virtual hosts behind which several targets share the load."""

from __future__ import annotations

from typing import Any

from kong_gevent.db.catalogue import Entity
from kong_gevent.schema import Record, checks, fields, names

ALGORITHMS = ("consistent-hashing", "least-connections", "round-robin", "latency")
HASH_INPUTS = ("none", "consumer", "ip", "header", "cookie", "path", "query_arg", "uri_capture")
_TYPES = ("tcp", "http", "https", "grpc", "grpcs")
_HEALTHY = [200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 306, 307, 308]
_REQUIRED = {"required": True}


def expand_algorithm(algorithm: str | None) -> dict[str, Any]:
    """An algorithm that does not hash clears the choice of what is hashed."""
    return {"algorithm": algorithm, **({"hash_on": None} if algorithm in ("least-connections", "latency") else {})}


def expand_hash_on(hash_on: str | None) -> dict[str, Any]:
    """What is hashed decides the algorithm, as in the days when there was no field for it."""
    if hash_on is None:
        return {"hash_on": "none"}
    return {"hash_on": hash_on, "algorithm": "round-robin" if hash_on == "none" else "consistent-hashing"}


def upstream_name(text: str) -> str | None:
    """A host name: an upstream stands in the place of a service's host."""
    parsed = names.parse_host(text)
    if parsed.error and parsed.error != "invalid port number":
        return f"Invalid name ('{text}'); must be a valid hostname"
    if parsed.kind != "name":
        return f"Invalid name ('{text}'); no ip addresses allowed"
    if parsed.port is not None or parsed.error:
        return f"Invalid name ('{text}'); no port allowed"
    return None


def _seconds(default: float, description: str) -> fields.Number:
    return fields.Number(between=[0, 65535], load_default=default, metadata={"description": description})


def _count(what: str) -> fields.Integer:
    return fields.Integer(between=[0, 255], load_default=0, metadata={"description": f"{what}; 0 switches it off."})


def _statuses(default: list[int], description: str) -> fields.Array:
    return fields.Array(fields.Integer(between=[100, 999]), load_default=default, metadata={"description": description})


def _failures(statuses: list[int]) -> dict[str, fields.Field]:
    return {
        "tcp_failures": _count("Failed connections that make a target unhealthy"),
        "timeouts": _count("Timeouts that make a target unhealthy"),
        "http_failures": _count("Answers with a bad status that make a target unhealthy"),
        "http_statuses": _statuses(statuses, "Statuses that count as failures."),
    }


def _type(description: str) -> fields.Choice:
    return fields.Choice(*_TYPES, load_default="http", metadata={"description": description})


_ACTIVE = {
    "type": _type("Protocol of the probes."),
    "timeout": _seconds(1, "Seconds to wait for a probe."),
    "concurrency": fields.Integer(
        between=[1, 2147483648], load_default=10, metadata={"description": "Probes under way at once."}
    ),
    "http_path": fields.Path(load_default="/", metadata={"description": "Path of the probes."}),
    "https_sni": fields.Sni(metadata={"description": "Server name of the probes' TLS connections."}),
    "https_verify_certificate": fields.Boolean(
        required=True, load_default=True, metadata={"description": "Whether targets' certificates must verify."}
    ),
    "headers": fields.Map(
        fields.HeaderName(), fields.Array(fields.String()), metadata={"description": "Headers of the probes."}
    ),
    "healthy": fields.Record(
        {
            "interval": _seconds(0, "Seconds between probes of healthy targets; 0 switches them off."),
            "successes": _count("Successes that make a target healthy"),
            "http_statuses": _statuses([200, 302], "Statuses that count as successes."),
        }
    ),
    "unhealthy": fields.Record(
        {
            "interval": _seconds(0, "Seconds between probes of unhealthy targets; 0 switches them off."),
            **_failures([429, 404, 500, 501, 502, 503, 504, 505]),
        }
    ),
}
_PASSIVE = {
    "type": _type("Protocol of the traffic that is watched."),
    "healthy": fields.Record(
        {
            "successes": _count("Good answers that make a target healthy"),
            "http_statuses": _statuses(_HEALTHY, "Statuses that count as successes."),
        }
    ),
    "unhealthy": fields.Record(_failures([429, 500, 503])),
}


def _hash_checks() -> tuple[checks.Check, ...]:
    """What is hashed needs its name, and a fallback must differ from what it falls back from."""
    made: list[checks.Check] = [
        checks.Conditional("hash_on", {"one_of": [kind]}, f"hash_on_{kind}", _REQUIRED)
        for kind in ("header", "cookie", "query_arg", "uri_capture")
    ]
    made += [
        checks.Conditional("hash_fallback", {"one_of": [kind]}, field, _REQUIRED)
        for kind, field in {
            "header": "hash_fallback_header",
            "cookie": "hash_on_cookie",
            "query_arg": "hash_fallback_query_arg",
            "uri_capture": "hash_fallback_uri_capture",
        }.items()
    ]
    made += [
        checks.Conditional("hash_on", {"one_of": [kind]}, "hash_fallback", {"one_of": list(fallbacks)})
        for kind, fallbacks in {
            "none": ("none",),
            "cookie": ("none",),
            **{kind: tuple(other for other in HASH_INPUTS if other != kind) for kind in ("consumer", "ip", "path")},
        }.items()
    ]
    made += [
        checks.Distinct(f"hash_on_{kind}", f"hash_fallback_{kind}") for kind in ("header", "query_arg", "uri_capture")
    ]
    return tuple(made)


class Upstream(Record):
    """Schema of an upstream."""

    id = fields.UUID(auto=True, metadata={"description": "Identifier of the upstream."})
    created_at = fields.AutoTimestamp(metadata={"description": "When the upstream was created (epoch seconds)."})
    updated_at = fields.AutoTimestamp(metadata={"description": "When the upstream was last changed (epoch seconds)."})
    name = fields.String(
        required=True,
        unique=True,
        custom_validator=upstream_name,
        metadata={"description": "Unique name, a host name; services whose host it is use the upstream."},
    )
    algorithm = fields.Choice(
        *ALGORITHMS, load_default="round-robin", metadata={"description": "How a target is chosen."}
    )
    hash_on = fields.Choice(*HASH_INPUTS, load_default="none", metadata={"description": "What is hashed."})
    hash_fallback = fields.Choice(
        *HASH_INPUTS, load_default="none", metadata={"description": "What is hashed where the first choice is absent."}
    )
    hash_on_header = fields.HeaderName(metadata={"description": "Header that is hashed."})
    hash_fallback_header = fields.HeaderName(metadata={"description": "Header that is hashed as a fallback."})
    hash_on_cookie = fields.CookieName(metadata={"description": "Cookie that is hashed; it is set when absent."})
    hash_on_cookie_path = fields.Path(load_default="/", metadata={"description": "Path of a cookie that is set."})
    hash_on_query_arg = fields.String(metadata={"description": "Query argument that is hashed."})
    hash_fallback_query_arg = fields.String(metadata={"description": "Query argument that is hashed as a fallback."})
    hash_on_uri_capture = fields.String(metadata={"description": "Named group of the route's path that is hashed."})
    hash_fallback_uri_capture = fields.String(
        metadata={"description": "Named group of the route's path that is hashed as a fallback."}
    )
    slots = fields.Integer(
        between=[10, 65536], load_default=10000, metadata={"description": "Slots of the ring that hashes lead to."}
    )
    healthchecks = fields.Record(
        {
            "threshold": fields.Number(
                between=[0, 100],
                load_default=0,
                metadata={"description": "Percentage of weight that must be available for the upstream to be healthy."},
            ),
            "active": fields.Record(_ACTIVE),
            "passive": fields.Record(_PASSIVE),
        },
        metadata={"description": "Probes of the targets, and what their answers to clients tell."},
    )
    tags = fields.Tags(metadata={"description": "Labels for grouping and filtering."})
    host_header = fields.HostWithOptionalPort(metadata={"description": "Host that the targets see."})
    client_certificate = fields.Foreign(
        "certificates", metadata={"description": "Certificate shown to targets that ask for one."}
    )
    use_srv_name = fields.Boolean(
        load_default=False, metadata={"description": "Whether targets see the name of their SRV record as Host."}
    )

    shorthand_fields = {
        "algorithm": fields.Shorthand(fields.String(), expand_algorithm),
        "hash_on": fields.Shorthand(fields.String(), expand_hash_on),
    }
    checks = _hash_checks()


def entity() -> Entity:
    """The catalogue's entry."""
    return Entity("upstreams", Upstream(), nested="upstreams", endpoint_key="name", cache_key=("id",))
