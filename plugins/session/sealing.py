"""Sealing a session into text that only we can read: AES-256-GCM with a key derived from the secret."""

from __future__ import annotations

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import orjson

_VERSION = b"\x01"
_NONCE = 12


class Seal:
    """Seals and opens values; `purpose` keeps what was sealed for one use from being opened for another."""

    def __init__(self, secret: str, purpose: str) -> None:
        # Loaded when a configuration needs it: it takes as much memory as a tenth of a worker.
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        derived = HKDF(SHA256(), 32, None, b"kong-gevent session").derive(secret.encode())
        self._cipher = AESGCM(derived)
        self._purpose = purpose.encode()
        self._refused = (InvalidTag, ValueError)

    def close(self, value: Any) -> str:
        """The sealed form of a JSON value: letters, digits, `-` and `_`."""
        nonce = os.urandom(_NONCE)
        sealed = self._cipher.encrypt(nonce, orjson.dumps(value), self._purpose)
        return urlsafe_b64encode(_VERSION + nonce + sealed).rstrip(b"=").decode()

    def open(self, text: str) -> Any:
        """The value, or None for what was not sealed with this secret and for this purpose."""
        try:
            data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except ValueError:
            return None
        if data[:1] != _VERSION:
            return None
        try:
            return orjson.loads(self._cipher.decrypt(data[1 : 1 + _NONCE], data[1 + _NONCE :], self._purpose))
        except self._refused:
            return None
