"""Certificates made in memory, for tests that need many or unusual ones; PEM texts throughout."""

import datetime
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
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

    def files(self, folder: Path) -> tuple[Path, Path]:
        """Both written into files, since the ssl module and curl read nothing else."""
        base = folder / f"{self.serial:x}"
        paths = base.with_suffix(".pem"), base.with_suffix(".key")
        for path, text in zip(paths, (self.cert, self.key), strict=True):
            path.write_text(text)
        return paths

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


class Authority:
    """A certificate authority. `above`: the one that has signed for it, None: it is a root; not `ca`: it only poses."""

    def __init__(
        self,
        name: str = "Test authority",
        above: "Authority | None" = None,
        *,
        days: int = 30,
        ca: bool = True,
        extensions: Sequence[x509.ExtensionType] = (),
    ) -> None:
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.key = new_key()
        self.above = above
        added: list[tuple[x509.ExtensionType, bool]] = [(x509.BasicConstraints(ca=ca, path_length=None), True)]
        added += [(extension, False) for extension in extensions]
        self.certificate = self._signed((above or self), self.name, self.key, days, added)

    @property
    def cert(self) -> str:
        """The authority's certificate."""
        return _pem(self.certificate)

    @property
    def chain(self) -> str:
        """Its certificate and those above it, without the root's."""
        return self.cert + self.above.chain if self.above is not None else ""

    def issue(
        self,
        name: str,
        *names: str,
        days: int = 2,
        begins: int = -10,
        extensions: Sequence[x509.ExtensionType] = (),
        subject: x509.Name | None = None,
        key: Any = None,
    ) -> Pair:
        """A certificate with this common name, these DNS names, addresses, URIs and mail addresses, and its chain.

        It is valid from `begins` days from now until `days` from now: negative `days`, and it has expired.
        """
        key = key or new_key()
        subject = subject or x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        added: list[tuple[x509.ExtensionType, bool]] = [(extension, False) for extension in extensions]
        if names:
            added.append((x509.SubjectAlternativeName([_general(each) for each in names]), False))
        return Pair(_pem(self._signed(self, subject, key, days, added, begins)) + self.chain, key_text(key))

    def revoke(
        self, *pairs: Pair, hours: int = 12, key: Any = None, extensions: Sequence[x509.ExtensionType] = ()
    ) -> bytes:
        """A revocation list (DER) with these certificates. Negative `hours`: an old one; `key`: signed by another."""
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.name)
            .last_update(now - 2 * _DAY)
            .next_update(now + datetime.timedelta(hours=hours))
        )
        for each in pairs:
            revoked = x509.RevokedCertificateBuilder().serial_number(each.serial).revocation_date(now - _DAY).build()
            builder = builder.add_revoked_certificate(revoked)
        for extension in extensions:
            builder = builder.add_extension(extension, critical=True)
        return builder.sign(key or self.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)

    @staticmethod
    def _signed(
        issuer: "Authority",
        subject: x509.Name,
        key: Any,
        days: int,
        extensions: list[tuple[x509.ExtensionType, bool]],
        begins: int = -10,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins * _DAY)
            .not_valid_after(now + days * _DAY)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(issuer.key, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _general(name: str) -> x509.GeneralName:
    if "://" in name:
        return x509.UniformResourceIdentifier(name)
    if "@" in name:
        return x509.RFC822Name(name)
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def server_context(folder: Path, shown: Pair, clients: Authority | None = None) -> ssl.SSLContext:
    """For a server that shows this certificate and, with `clients`, demands one of that authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*shown.files(folder))
    if clients is not None:
        context.load_verify_locations(cadata=clients.cert)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
