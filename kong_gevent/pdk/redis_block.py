"""The `redis` record that Kong's plugins have in common, and the flat names that it had before."""

from __future__ import annotations

from typing import Any

from kong_gevent.schema import Config, checks, fields


class RedisServer(Config):
    """A Redis server; the value is what `Kit.redis` takes."""

    host = fields.Host(metadata={"description": "Name or address of the Redis server."})
    port = fields.Port(load_default=6379, metadata={"description": "Port of the Redis server."})
    timeout = fields.Timeout(
        load_default=2000, metadata={"description": "Milliseconds for connecting, sending and receiving."}
    )
    username = fields.String(referenceable=True, metadata={"description": "User for the ACLs of Redis 6 and later."})
    password = fields.String(
        referenceable=True,
        encrypted=True,
        len_min=0,
        metadata={"description": "Password; empty for a server that asks for none."},
    )
    database = fields.Integer(load_default=0, metadata={"description": "Number of the Redis database."})
    ssl = fields.Boolean(required=False, load_default=False, metadata={"description": "Whether to connect with TLS."})
    ssl_verify = fields.Boolean(
        required=False, load_default=False, metadata={"description": "Whether the certificate is checked."}
    )
    server_name = fields.Sni(required=False, metadata={"description": "Server name sent for TLS."})


def redis_record(description: str) -> fields.Record:
    """The record of such a server."""
    return fields.Record(RedisServer, metadata={"description": description})


def redis_needed(
    setting: str, record: str, names: tuple[str, ...] = ("host", "port", "timeout")
) -> tuple[checks.Conditional, ...]:
    """Checks for a plugin's `checks`: the record tells of a server when the setting is `redis`; paths as in errors."""
    return tuple(checks.Conditional(setting, {"eq": "redis"}, f"{record}.{name}", {"required": True}) for name in names)


def policy_fields(**rules: Any) -> tuple[fields.String, fields.Boolean, fields.Record]:
    """`policy`, `fault_tolerant`, `redis` of plugins that count; `rules`: more for `policy`."""
    return (
        fields.String(
            one_of=["local", "cluster", "redis"],
            load_default="local",
            metadata={"description": "Where the counters are: in the node, in the datastore or in Redis."},
            **rules,
        ),
        fields.Boolean(
            required=True,
            load_default=True,
            metadata={
                "description": "Whether requests pass while the counters cannot be reached; else they end with 500."
            },
        ),
        redis_record("The Redis server of policy `redis`."),
    )


def redis_shorthands() -> dict[str, fields.Deprecated]:
    """The old flat names, for a `Config`'s `shorthand_fields`."""
    return {
        "redis_host": fields.Deprecated(fields.String(), "redis.host"),
        "redis_port": fields.Deprecated(fields.Integer(), "redis.port"),
        "redis_password": fields.Deprecated(fields.String(len_min=0), "redis.password"),
        "redis_username": fields.Deprecated(fields.String(), "redis.username"),
        "redis_ssl": fields.Deprecated(fields.Boolean(), "redis.ssl"),
        "redis_ssl_verify": fields.Deprecated(fields.Boolean(), "redis.ssl_verify"),
        "redis_server_name": fields.Deprecated(fields.String(), "redis.server_name"),
        "redis_timeout": fields.Deprecated(fields.Integer(), "redis.timeout"),
        "redis_database": fields.Deprecated(fields.Integer(), "redis.database"),
    }
