"""keys: public or private keys, as JSON web keys or in PEM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kong_gevent.db import codec
from kong_gevent.db.catalogue import Entity
from kong_gevent.schema import Record, checks, crypto, fields


def jwk_error(values: Mapping[str, Any]) -> str | None:
    """The text must be a JSON web key, and name itself as the entity does."""
    text = values["jwk"]
    if text is None:
        return None
    try:
        decoded = codec.loads(text)
    except ValueError:
        decoded = None
    if not isinstance(decoded, dict):
        return "could not json decode jwk string"
    if decoded.get("kid") != values["kid"]:
        return "kid in jwk.kid must be equal to keys.kid"
    try:
        crypto.load_jwk(decoded)
    except ValueError:
        return "could not load JWK, likely not a valid key"
    return None


def pem_error(values: Mapping[str, Any]) -> str | None:
    """Both halves must be keys, of one pair."""
    public, private = values["public_key"], values["private_key"]
    try:
        public_key = crypto.load_public_key(public) if public else None
    except ValueError:
        return "could not load public key"
    try:
        private_key = crypto.load_private_key(private) if private else None
    except ValueError:
        return "could not load private key"
    if public_key and private_key and crypto.public_bytes(public_key) != crypto.public_bytes(private_key):
        return "public key does not match private key"
    return None


class Pem(Record):
    """A key in PEM, one half or both."""

    private_key = fields.String(referenceable=True, encrypted=True, metadata={"description": "The private key (PEM)."})
    public_key = fields.String(referenceable=True, metadata={"description": "The public key (PEM)."})

    checks = (
        checks.AtLeastOneOf("private_key", "public_key"),
        checks.Custom("private_key", "public_key", function=pem_error),
    )


class Key(Record):
    """Schema of a key."""

    id = fields.UUID(auto=True, metadata={"description": "Identifier of the key entity."})
    set = fields.Foreign("key_sets", on_delete="cascade", metadata={"description": "Key set that it belongs to."})
    name = fields.String(unique=True, metadata={"description": "Unique name of the key entity."})
    kid = fields.String(required=True, metadata={"description": "Identifier of the key itself, unique in its set."})
    jwk = fields.String(
        referenceable=True, encrypted=True, metadata={"description": "The key as a JSON web key, in one text."}
    )
    pem = fields.Record(Pem, required=False, metadata={"description": "The key in PEM."})
    tags = fields.Tags(metadata={"description": "Labels for grouping and filtering."})
    created_at = fields.AutoTimestamp(metadata={"description": "When the key was stored (epoch seconds)."})
    updated_at = fields.AutoTimestamp(metadata={"description": "When the key was last changed (epoch seconds)."})

    checks = (
        checks.MutuallyExclusive("jwk", "pem"),
        checks.AtLeastOneOf("jwk", "pem"),
        checks.Custom("jwk", "kid", function=jwk_error),
    )


def entity() -> Entity:
    """The catalogue's entry."""
    return Entity(
        "keys",
        Key(),
        nested="keys",
        endpoint_key="name",
        unique_together=(("kid", "set"),),
        cache_key=("kid", "set"),
    )
