"""Admin tokens: made, kept as digests, recognised.

A token is 256 random bits, so nobody can guess one, and one round of SHA-256 keeps it as well as a slow password hash
would: there is no dictionary to try. A digest that leaks from the store opens nothing.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from kong_gevent.db.store import Store

KIND = "admin_tokens"
PREFIX = "kga_"
"""How tokens begin, so that scanners for leaked secrets know one."""
LONGEST = 512
"""Characters of a text that can be a token; longer ones are not even hashed."""


def new_token() -> str:
    """A random token."""
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(token: str) -> str:
    """What is kept of a token."""
    return sha256(token.encode(errors="surrogateescape")).hexdigest()


def create(store: Store, values: Mapping[str, Any]) -> dict[str, Any]:
    """Store a new token for `values` (name, read_only, expires_at); the answer alone has it as `token`.

    Raises the coded errors of `DAO.insert`.
    """
    token = new_token()
    made = store.dao(KIND).insert({**values, "digest": digest_of(token)})
    return {**shown(made), "token": token}


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """A token without its digest."""
    return {name: value for name, value in row.items() if name != "digest"}


def same(token: str, other: str) -> bool:
    """Whether two tokens are equal, in a time that tells nothing about either."""
    return hmac.compare_digest(digest_of(token), digest_of(other))


def valid(row: Mapping[str, Any] | None, token: str) -> bool:
    """Whether a stored token is the one that was sent, and still counts."""
    if row is None or not hmac.compare_digest(str(row["digest"]), digest_of(token)):
        return False
    return row["expires_at"] is None or bool(row["expires_at"] > time.time())
