"""Certificates made in memory, for tests that need many or unusual ones; PEM texts throughout."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    cert: str
    key: str

    @property
    def serial(self) -> int:
        """The certificate's serial number, by which a client knows which one it has been shown."""
        return x509.load_pem_x509_certificate(self.cert.encode()).serial_number


def pair(*names: str, kind: str = "ec", key: Any = None) -> Pair:
    """A self-signed certificate for these DNS names; `kind`: "ec" or "rsa"; `key`: a private key to use again."""
    private = key or new_key(kind)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + 3650 * _DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, hashes.SHA256())
    )
    return Pair(signed.public_bytes(serialization.Encoding.PEM).decode(), key_text(private))


def new_key(kind: str = "ec") -> Any:
    """A private key."""
    return ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else rsa.generate_private_key(65537, 2048)


def key_text(private: Any) -> str:
    """A private key as PEM."""
    form = serialization.PrivateFormat.PKCS8
    return str(private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode())


def serial_of(der: bytes | None) -> int:
    """The serial number of the certificate that a peer has shown (`getpeercert(binary_form=True)`)."""
    assert der is not None
    return x509.load_der_x509_certificate(der).serial_number


def serials_of(*pairs: Pair) -> Sequence[int]:
    """The serial numbers of several."""
    return [each.serial for each in pairs]
