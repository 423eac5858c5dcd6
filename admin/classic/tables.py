"""How classic names and shapes belong to today's: plugins with their settings, and credentials."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from kong_gevent.admin.classic.fields import IDENTITY, Field

Config = Mapping[str, Any]
PERIODS = ("second", "minute", "hour", "day", "month", "year")


@dataclass(frozen=True, slots=True)
class Shape:
    """The settings of a plugin as the classic API knows them.

    `fields`: dotted names; a renamed one maps to today's dotted name. `single`: fields that hold one value where
    today's hold a list. `defaults`: where they differ from today's. `no_consumer`: no configuration for a consumer.
    `check`: text of what is wrong with today's values as a whole, or None.
    """

    fields: Mapping[str, str] = field(default_factory=dict)
    single: frozenset[str] = frozenset()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    no_consumer: bool = False
    check: Callable[[Config], str | None] = lambda config: None


def _same(names: str, **renamed: str) -> dict[str, str]:
    return {**{name: name for name in names.split()}, **renamed}


def _limits(config: Config) -> str | None:
    given = [(period, config[period]) for period in PERIODS if isinstance(config.get(period), (int, float))]
    if not given:
        return f"You need to set at least one limit: {', '.join(PERIODS)}"
    for (shorter, limit), (longer, greater) in combinations(given, 2):
        if greater < limit:
            return f"The limit for {longer} cannot be lower than the limit for {shorter}"
    return None


def _lists(config: Config) -> str | None:
    allow, deny = bool(config.get("allow")), bool(config.get("deny"))
    if allow and deny:
        return "You cannot set both a whitelist and a blacklist"
    return None if allow or deny else "You must set at least a whitelist or blacklist"


def _edits(kinds: Mapping[str, str]) -> dict[str, str]:
    return {f"{verb}.{old}": f"{verb}.{new}" for verb in ("add", "remove") for old, new in kinds.items()}


_LISTS = {"whitelist": "allow", "blacklist": "deny"}
SHAPES: Mapping[str, Shape] = {
    "acl": Shape(_LISTS, no_consumer=True, check=_lists),
    "basic-auth": Shape(_same("hide_credentials"), no_consumer=True),
    "cors": Shape(
        _same("methods headers exposed_headers max_age credentials preflight_continue", origin="origins"),
        single=frozenset({"origin"}),
        defaults={"methods": ["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE"]},
        no_consumer=True,
    ),
    "file-log": Shape(_same("path")),
    "hmac-auth": Shape(_same("hide_credentials clock_skew"), no_consumer=True),
    "http-log": Shape(_same("http_endpoint method timeout keepalive")),
    "ip-restriction": Shape(_LISTS, check=_lists),
    "jwt": Shape(_same("uri_param_names claims_to_verify"), no_consumer=True),
    "key-auth": Shape(_same("key_names hide_credentials"), no_consumer=True),
    "oauth2": Shape(
        _same(
            "scopes mandatory_scope provision_key token_expiration enable_authorization_code enable_implicit_grant "
            "enable_client_credentials enable_password_grant hide_credentials"
        ),
        defaults={"enable_authorization_code": True},
        no_consumer=True,
    ),
    "rate-limiting": Shape(_same(" ".join(PERIODS)), check=_limits),
    "request-size-limiting": Shape(_same("allowed_payload_size")),
    "request-transformer": Shape(_edits({"headers": "headers", "querystring": "querystring", "form": "body"})),
    "response-ratelimiting": Shape(_same("header_name limits")),
    "response-transformer": Shape(_edits({"headers": "headers", "json": "json"})),
    "tcp-log": Shape(_same("host port timeout keepalive")),
    "udp-log": Shape(_same("host port timeout")),
}
"""Plugins of 2015; all others show all of their settings as they are."""

OWN: Mapping[str, tuple[Field, ...]] = {
    "ssl": (
        Field("cert", required=True),
        Field("key", required=True),
        Field("only_https", "boolean"),
    ),
}
"""Plugins of 2015 that are no plugins today, with their settings; none of them can be for a consumer."""

OLD_NAMES: Mapping[str, str] = {
    "keyauth": "key-auth",
    "basicauth": "basic-auth",
    "ratelimiting": "rate-limiting",
    "tcplog": "tcp-log",
    "udplog": "udp-log",
    "filelog": "file-log",
    "httplog": "http-log",
    "request_transformer": "request-transformer",
    "response_transformer": "response-transformer",
    "requestsizelimiting": "request-size-limiting",
    "ip_restriction": "ip-restriction",
}
"""Names of plugins before 0.5, accepted everywhere and never shown."""

CONSUMER_FIELDS = (
    *IDENTITY,
    Field("custom_id", unique=True, queryable=True),
    Field("username", unique=True, queryable=True),
)
_OWNER = Field("consumer_id", "id", source="consumer", required=True, reference=True, queryable=True)


def _credential(*fields: Field) -> tuple[Field, ...]:
    return (*IDENTITY, _OWNER, *fields)


def _key(name: str, **options: Any) -> Field:
    return Field(name, unique=True, queryable=True, **options)


CREDENTIALS: Mapping[str, tuple[Field, ...]] = {
    "key-auth": _credential(_key("key")),
    "basic-auth": _credential(_key("username", required=True), Field("password")),
    "hmac-auth": _credential(_key("username", required=True), Field("secret")),
    "jwt": _credential(_key("key"), Field("secret")),
    "oauth2": _credential(
        Field("name", required=True),
        _key("client_id"),
        Field("client_secret"),
        Field("redirect_uri", "url", source="redirect_uris", required=True, first=True),
    ),
    "acls": _credential(Field("group", required=True, queryable=True)),
}
"""Credentials by the last part of their path below a consumer."""
FIXED = frozenset({"jwt"})
"""Credentials that cannot be changed, only replaced."""
OLD_PATHS: Mapping[str, str] = {"key-auth": "keyauth", "basic-auth": "basicauth"}
"""Names of these paths before 0.5."""
