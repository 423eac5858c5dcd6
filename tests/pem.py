"""Keys and certificates for tests, as PEM texts; made once per process."""

import ssl
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID


@cache
def _key(kind: str, number: int) -> Any:
    return rsa.generate_private_key(65537, 2048) if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())


def private_key(kind: str = "ec", number: int = 0) -> str:
    """A private key; the same arguments give the same one."""
    return (
        _key(kind, number)
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        .decode()
    )


def public_key(kind: str = "ec", number: int = 0) -> str:
    """The public half of `private_key`."""
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return str(_key(kind, number).public_key().public_bytes(encoding, form).decode())


@cache
def certificate(kind: str = "ec", number: int = 0, *, ca: bool | None = None, days: int = 1) -> str:
    """A self-signed certificate of that key. `ca`: what its basic constraint says, None: it has none."""
    key = _key(kind, number)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"test {kind} {number}")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=10))
        .not_valid_after(now + timedelta(days=days))
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def altered(text: str, old: bytes, new: bytes) -> str:
    """A certificate with other octets in it; nobody looks at the signature of one that is just stored."""
    octets = ssl.PEM_cert_to_DER_cert(text)
    assert octets.count(old) and len(old) == len(new)
    return ssl.DER_cert_to_PEM_cert(octets.replace(old, new))
