"""What oauth2 keeps: clients, tokens, authorization codes."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any
from urllib.parse import urlsplit

from kong_gevent.pdk import Entity, Errors, Record, fields, offload
from kong_gevent.plugins.oauth2.hashing import hash_secret

CODE_SECONDS = 300
"""Life of an authorization code."""


def _redirect_error(uri: str) -> str | None:
    try:
        parts = urlsplit(uri)
    except ValueError:
        return f"cannot parse '{uri}'"
    if not parts.scheme or not parts.hostname:
        return f"cannot parse '{uri}'"
    return f"fragment not allowed in '{uri}'" if "#" in uri else None


class Client(Record):
    """Schema of a client (application)."""

    id = fields.UUID(auto=True, metadata={"description": "Identifier of the client."})
    created_at = fields.AutoTimestamp(metadata={"description": "When the client was created (epoch seconds)."})
    consumer = fields.Foreign(
        "consumers",
        required=True,
        on_delete="cascade",
        metadata={"description": "Consumer that the client is of."},
    )
    name = fields.String(required=True, metadata={"description": "Name of the client."})
    client_id = fields.String(
        required=False, auto=True, unique=True, metadata={"description": "What the client calls itself by."}
    )
    client_secret = fields.String(
        required=False, auto=True, encrypted=True, metadata={"description": "The client's secret, or its hash."}
    )
    hash_secret = fields.Boolean(
        required=True, load_default=False, metadata={"description": "Whether the secret is kept as a hash."}
    )
    redirect_uris = fields.Array(
        fields.String(custom_validator=_redirect_error),
        metadata={"description": "Where users may be sent back to; the first one is the default."},
    )
    tags = fields.Tags(metadata={"description": "Labels for grouping and filtering."})
    client_type = fields.Choice(
        "confidential",
        "public",
        required=True,
        load_default="confidential",
        metadata={"description": "Whether the client can keep a secret."},
    )


def _hash(values: dict[str, Any], given: AbstractSet[str], stored: Mapping[str, Any] | None) -> Errors:
    """Keep the secret as a hash where that is wanted."""
    named = {"client_secret", "hash_secret"} & set(given)
    if stored is not None and len(named) == 1:
        return {"@entity": ["all or none of these fields must be set: 'hash_secret', 'client_secret'"]}
    if values["hash_secret"] and values["client_secret"] is not None and (stored is None or named):
        values["client_secret"] = offload(hash_secret, values["client_secret"])
    return {}


class Token(Record):
    """Schema of an access token, with its refresh token if there is one."""

    id = fields.UUID(auto=True, metadata={"description": "Identifier of the token."})
    created_at = fields.AutoTimestamp(metadata={"description": "When the token was made (epoch seconds)."})
    service = fields.Foreign(
        "services", on_delete="cascade", metadata={"description": "Service that the token is for; none: for all."}
    )
    credential = fields.Foreign(
        "oauth2_credentials",
        required=True,
        on_delete="cascade",
        metadata={"description": "The client."},
    )
    token_type = fields.Choice(
        "bearer", required=True, load_default="bearer", metadata={"description": "How the token is used."}
    )
    expires_in = fields.Integer(
        required=True, metadata={"description": "Seconds for which the token is good; 0: forever."}
    )
    access_token = fields.String(
        required=False, auto=True, unique=True, metadata={"description": "The token that requests carry."}
    )
    refresh_token = fields.String(
        required=False, unique=True, metadata={"description": "The token that gets another access token."}
    )
    authenticated_userid = fields.String(
        required=False, metadata={"description": "The user who allowed it, as the application calls them."}
    )
    scope = fields.String(metadata={"description": "What the token allows, separated by blanks."})


class Code(Record):
    """Schema of an authorization code."""

    id = fields.UUID(auto=True, metadata={"description": "Identifier of the code."})
    created_at = fields.AutoTimestamp(metadata={"description": "When the code was made (epoch seconds)."})
    service = fields.Foreign(
        "services", on_delete="cascade", metadata={"description": "Service that the code is for; none: for all."}
    )
    credential = fields.Foreign(
        "oauth2_credentials",
        required=True,
        on_delete="cascade",
        metadata={"description": "The client."},
    )
    code = fields.String(required=False, auto=True, unique=True, metadata={"description": "The code."})
    authenticated_userid = fields.String(required=False, metadata={"description": "The user who allowed it."})
    scope = fields.String(metadata={"description": "What is allowed, separated by blanks."})
    challenge = fields.String(required=False, metadata={"description": "PKCE: the challenge (RFC 7636)."})
    challenge_method = fields.String(
        required=False, one_of=["S256"], metadata={"description": "PKCE: how the challenge was made."}
    )
    plugin = fields.Foreign(
        "plugins", on_delete="cascade", metadata={"description": "Configuration of the plugin that made the code."}
    )


CLIENTS = Entity(
    "oauth2_credentials",
    Client(),
    collection="oauth2",
    nested="oauth2",
    endpoint_key="client_id",
    cache_key=("client_id",),
    transform=_hash,
    shown_once=("client_secret",),
)
TOKENS = Entity(
    "oauth2_tokens",
    Token(),
    nested="oauth2_tokens",
    endpoint_key="access_token",
    cache_key=("access_token",),
    ttl=True,
    pruned=False,
)
CODES = Entity("oauth2_authorization_codes", Code(), ttl=True, admin=False, exported=False)
