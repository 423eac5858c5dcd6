"""Client secrets that are kept as hashes (PHC string format, PBKDF2 with SHA-512)."""

from __future__ import annotations

import hashlib
import os
import re
from base64 import b64decode, b64encode
from hmac import compare_digest

ITERATIONS = 10_000
LENGTH = 32
PREFIX = f"$pbkdf2-sha512$i={ITERATIONS},l={LENGTH}$"
DECOY = f"{PREFIX}{'A' * 22}${'A' * 43}"
"""The stored form of a secret that nobody knows."""
_HASH = re.compile(r"\$pbkdf2-(sha256|sha512)\$i=(\d{1,7}),l=(\d{1,3})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)")


def _text(data: bytes) -> str:
    return b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return b64decode(text + "=" * (-len(text) % 4))


def hash_secret(secret: str, salt: bytes | None = None) -> str:
    """The stored form of a secret. Takes some milliseconds: call it in the thread pool."""
    salt = os.urandom(16) if salt is None else salt
    return f"{PREFIX}{_text(salt)}${_text(hashlib.pbkdf2_hmac('sha512', secret.encode(), salt, ITERATIONS, LENGTH))}"


def is_hash(stored: str) -> bool:
    """Whether a stored secret is a hash."""
    return _HASH.fullmatch(stored) is not None


def matches(secret: str, stored: str) -> bool:
    """Whether a secret is the one that was hashed. Takes some milliseconds: call it in the thread pool."""
    match = _HASH.fullmatch(stored)
    if match is None:
        return False
    digest, iterations, length, salt, _ = match.groups()
    derived = hashlib.pbkdf2_hmac(digest, secret.encode(), _bytes(salt), int(iterations), int(length))
    return compare_digest(stored.rpartition("$")[2], _text(derived))


def outdated(stored: str) -> bool:
    """Whether a hash was made with other parameters than today's."""
    return is_hash(stored) and not stored.startswith(PREFIX)
