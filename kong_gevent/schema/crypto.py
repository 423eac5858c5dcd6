"""Certificates and keys as texts: the checks behind the fields that hold them. Nothing secret appears in a message.

OpenSSL's test of a private key takes up to a tenth of a second, so that it runs in a thread.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kong_gevent.offload import offload

if TYPE_CHECKING:  # the library is large, and only who stores certificates or keys pays for loading it
    from cryptography import x509

_BEGIN = b"-----BEGIN CERTIFICATE-----"


def load_certificate(text: str) -> x509.Certificate:
    """The first certificate of a PEM text. Raises `ValueError`."""
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(text.encode())
    except ValueError as error:
        raise ValueError(_first_line(error)) from None


def load_private_key(text: str) -> Any:
    """The private key of a PEM text. Raises `ValueError`, for a key with a passphrase too."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    return _in_thread(lambda: load_pem_private_key(text.encode(), None))


def load_public_key(text: str) -> Any:
    """The public key of a PEM text. Raises `ValueError`."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        return load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError(_first_line(error)) from None


def _in_thread(make: Callable[[], Any]) -> Any:
    """Make a key in a thread. Raises `ValueError` with a short text, here and not there."""
    from cryptography.exceptions import UnsupportedAlgorithm

    def attempt() -> Any:
        try:
            return make()
        except (ValueError, KeyError, TypeError, UnsupportedAlgorithm) as error:
            return ValueError(_first_line(error))

    made = offload(attempt)
    if isinstance(made, ValueError):
        raise made
    return made


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].partition(". ")[0] or "unknown format"


def certificate_error(text: str) -> str | None:
    """A PEM text that begins with a certificate."""
    try:
        load_certificate(text)
    except ValueError as error:
        return f"invalid certificate: {error}"
    return None


def private_key_error(text: str) -> str | None:
    """A private key in PEM, without passphrase."""
    try:
        load_private_key(text)
    except ValueError as error:
        return f"invalid key: {error}"
    return None


def public_bytes(key: Any) -> bytes:
    """A public key, or that of a private one, in a form that can be compared."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = key.public_key() if hasattr(key, "public_key") else key
    encoded: bytes = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


def _certified(text: str) -> Any:
    """The public key of a valid certificate; None for one of a kind that is not known here, which no key fits."""
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return load_certificate(text).public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None


def belong_together(certificate: str, key: str) -> bool:
    """Whether a valid key is that of a valid certificate."""
    certified = _certified(certificate)
    return certified is not None and public_bytes(certified) == public_bytes(load_private_key(key))


def same_kind(certificate: str, other: str) -> bool:
    """Whether two certificates have keys of one kind (RSA, elliptic curve, …)."""
    return type(_certified(certificate)) is type(_certified(other))


def digest(certificate: str) -> str | None:
    """SHA-256 of a certificate (DER) as hexadecimal digits; None when it is no certificate."""
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        return load_certificate(certificate).fingerprint(SHA256()).hex()
    except ValueError:
        return None


def authority_error(text: str) -> str | None:
    """One certificate that may sign others and has not expired."""
    from cryptography import x509

    if text.encode().count(_BEGIN) > 1:
        return "please submit only one certificate at a time"
    certificate = load_certificate(text)
    if certificate.not_valid_after_utc < datetime.now(UTC):
        return 'certificate expired, "Not After" time is in the past'
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        constraints = None
    if constraints is None or not constraints.ca:
        return 'certificate does not appear to be a CA because it is missing the "CA" basic constraint'
    return None


# JSON web keys (RFC 7517, 7518 section 6, 8037)


def load_jwk(key: Mapping[str, Any]) -> Any:
    """The private or public key that a decoded JWK holds. Raises `ValueError`."""
    makers = {"RSA": _rsa, "EC": _elliptic, "OKP": _octet_pair}
    maker = makers.get(str(key.get("kty")))
    if maker is None:
        raise ValueError("unknown key type")
    return _in_thread(lambda: maker(key))


def _octets(key: Mapping[str, Any], name: str) -> bytes:
    """A member in base64url without padding."""
    text = key[name]
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _number(key: Mapping[str, Any], name: str) -> int:
    return int.from_bytes(_octets(key, name), "big")


def _rsa(key: Mapping[str, Any]) -> Any:
    from cryptography.hazmat.primitives.asymmetric import rsa

    public = rsa.RSAPublicNumbers(_number(key, "e"), _number(key, "n"))
    if "d" not in key:
        return public.public_key()
    private = _number(key, "d")
    p, q = (
        (_number(key, "p"), _number(key, "q"))
        if "p" in key
        else rsa.rsa_recover_prime_factors(public.n, public.e, private)
    )
    numbers = rsa.RSAPrivateNumbers(
        p, q, private, rsa.rsa_crt_dmp1(private, p), rsa.rsa_crt_dmq1(private, q), rsa.rsa_crt_iqmp(p, q), public
    )
    return numbers.private_key()


def _elliptic(key: Mapping[str, Any]) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec

    curves: dict[str, Callable[[], ec.EllipticCurve]] = {
        "P-256": ec.SECP256R1, "P-384": ec.SECP384R1, "P-521": ec.SECP521R1, "secp256k1": ec.SECP256K1,
    }  # fmt: skip
    public = ec.EllipticCurvePublicNumbers(_number(key, "x"), _number(key, "y"), curves[key["crv"]]())
    if "d" not in key:
        return public.public_key()
    return ec.EllipticCurvePrivateNumbers(_number(key, "d"), public).private_key()


def _octet_pair(key: Mapping[str, Any]) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ed448, ed25519, x448, x25519

    curves: dict[str, tuple[Any, Any]] = {
        "Ed25519": (ed25519.Ed25519PublicKey, ed25519.Ed25519PrivateKey),
        "Ed448": (ed448.Ed448PublicKey, ed448.Ed448PrivateKey),
        "X25519": (x25519.X25519PublicKey, x25519.X25519PrivateKey),
        "X448": (x448.X448PublicKey, x448.X448PrivateKey),
    }
    public_type, private_type = curves[key["crv"]]
    public = public_type.from_public_bytes(_octets(key, "x"))
    if "d" not in key:
        return public
    private = private_type.from_private_bytes(_octets(key, "d"))
    if public_bytes(private) != public_bytes(public):
        raise ValueError("its halves do not belong together")
    return private
