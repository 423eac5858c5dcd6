"""JSON web tokens: their parts, and their signatures by the algorithm of the credential, never by the token's alone."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from hmac import compare_digest, digest
from typing import Any, NamedTuple

import orjson

from kong_gevent.pdk import load_public_key, offload

HMAC = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}
ALGORITHMS = (
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "EdDSA",
)  # fmt: skip
_CURVES = {"ES256": ("secp256r1", 32), "ES384": ("secp384r1", 48), "ES512": ("secp521r1", 66)}
_DEAR = ("ES384", "ES512", "EdDSA")
"""Algorithms whose verification takes so long that it goes to the thread pool."""
_LARGE_KEY = 4096
"""Bits of an RSA key from which on this holds for it too."""
_TO_STANDARD = str.maketrans("-_", "+/")


class Invalid(Exception):
    """The token cannot be accepted; the text says why."""


class Nameless(Invalid):
    """The token does not say whose it is."""


class Token(NamedTuple):
    """The decoded parts; `signed` is what the signature is over."""

    header: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes
    signature: bytes


Verifier = Callable[[bytes, bytes], bool]
"""Tells whether a signature (second) is the one over some bytes (first)."""


def decode(text: str) -> Token:
    """The parts of a token. Raises `Invalid`."""
    parts = text.split(".")
    if len(parts) != 3:
        raise Invalid("Bad token; invalid JSON")
    header, claims = (_json(part) for part in parts[:2])
    if not isinstance(header, dict) or header.get("alg") not in ALGORITHMS:
        raise Invalid("Bad token; invalid alg")
    if not isinstance(claims, dict):
        raise Invalid("Bad token; invalid claims")
    signature = from_base64url(parts[2])
    if not signature:
        raise Invalid("Bad token; invalid signature")
    # The last character has bits without a meaning: two spellings of one signature would be two tokens.
    if b64encode(signature).rstrip(b"=") != parts[2].translate(_TO_STANDARD).rstrip("=").encode():
        raise Invalid("Invalid signature")
    return Token(header, claims, text.rpartition(".")[0].encode(), signature)


def from_base64url(text: str) -> bytes | None:
    """The bytes of a base64url text, with or without padding; None for what is none."""
    try:
        return b64decode(text.translate(_TO_STANDARD) + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        return None


def _json(part: str) -> Any:
    decoded = from_base64url(part)
    try:
        return orjson.loads(decoded or b"")
    except ValueError:
        raise Invalid("Bad token; invalid JSON") from None


def hmac_verifier(algorithm: str, secret: bytes) -> Verifier:
    """For HS256, HS384 and HS512."""
    name = HMAC[algorithm]
    return lambda signed, signature: compare_digest(digest(secret, signed, name), signature)


def public_key_verifier(algorithm: str, pem: str) -> Verifier | None:
    """For all others; None when the key is none, or not one for the algorithm."""
    try:
        key = load_public_key(pem)
    except ValueError:
        return None
    verify = _verifier(algorithm, key)
    if verify is None:
        return None

    def check(signed: bytes, signature: bytes) -> bool:
        from cryptography.exceptions import InvalidSignature

        try:
            verify(signature, signed)
        except InvalidSignature:
            return False
        return True

    if algorithm in _DEAR or getattr(key, "key_size", 0) >= _LARGE_KEY:
        return lambda signed, signature: offload(check, signed, signature)
    return check


def _verifier(algorithm: str, key: Any) -> Callable[[bytes, bytes], Any] | None:
    """A function of signature and data that raises `InvalidSignature`."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa

    if algorithm == "EdDSA":
        if isinstance(key, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)):
            return key.verify
        return None
    hash_ = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}[algorithm[2:]]
    if algorithm in _CURVES:
        curve, width = _CURVES[algorithm]
        if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == curve:
            return lambda signature, data: key.verify(_der(signature, width), data, ec.ECDSA(hash_))
        return None
    if not isinstance(key, rsa.RSAPublicKey):
        return None
    pad = padding.PKCS1v15() if algorithm[0] == "R" else padding.PSS(padding.MGF1(hash_), hash_.digest_size)
    return lambda signature, data: key.verify(signature, data, pad, hash_)


def _der(signature: bytes, width: int) -> bytes:
    """The form of the library for an ECDSA signature that is its two numbers side by side (RFC 7518, section 3.4)."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    if len(signature) != 2 * width:
        raise InvalidSignature
    return encode_dss_signature(int.from_bytes(signature[:width], "big"), int.from_bytes(signature[width:], "big"))
