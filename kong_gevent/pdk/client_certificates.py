"""Certificates that clients show in the TLS handshake: how a plugin asks for them, and what they say.

Nothing that is in one is true until somebody who is trusted vouches for it: see `kong_gevent.pdk.trust`.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # the library is large, and only who asks clients for certificates pays for loading it
    from cryptography import x509


class CertificateRequest(NamedTuple):
    """What a configuration asks of its clients; set as `conf.client_certificates` in `Plugin.configure`.

    The handshake of every TLS listener of the proxy then asks for a certificate, for the server names of the
    configuration's routes (their `snis`; all names, if a route has none), and goes on with any certificate, or with
    none. `authorities`: ids of CA certificates whose names are told to clients, so that they choose the right one.
    """

    authorities: tuple[str, ...] = ()


class ClientCertificate:
    """The certificate that a client has shown; it holds its key, and that is all that is known so far.

    `chain`: the certificate and what the client sent along, DER. One object for all requests of a connection.
    """

    def __init__(self, chain: Sequence[bytes]) -> None:
        self.chain = tuple(chain)

    @property
    def der(self) -> bytes:
        """The certificate itself."""
        return self.chain[0]

    @cached_property
    def pem(self) -> str:
        """The certificate itself."""
        return ssl.DER_cert_to_PEM_cert(self.der)

    @cached_property
    def key(self) -> bytes:
        """A digest of everything that the client has sent, under which verdicts may be kept."""
        digest = sha256()
        for each in self.chain:
            digest.update(sha256(each).digest())
        return digest.digest()

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate in hexadecimal digits."""
        return sha256(self.der).hexdigest()

    @cached_property
    def parsed(self) -> x509.Certificate:
        """The certificate as an object of the library cryptography. Raises `ValueError` when it makes no sense."""
        from cryptography import x509

        return x509.load_der_x509_certificate(self.der)

    @property
    def serial(self) -> str:
        """The serial number in hexadecimal digits."""
        return f"{self.parsed.serial_number:x}"

    @cached_property
    def subject(self) -> str:
        """The distinguished name in the form of RFC 4514: `CN=ops,O=Example`."""
        return str(self.parsed.subject.rfc4514_string())

    @cached_property
    def common_names(self) -> list[str]:
        """The common names of the subject, mostly one."""
        from cryptography.x509.oid import NameOID

        return [str(each.value) for each in self.parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]

    @cached_property
    def alternative_names(self) -> list[tuple[str, str]]:
        """The subject's alternative names: pairs of a kind (`DNS`, `email`, `URI`, `IP Address`) and a text.

        Raises `ValueError` when they make no sense.
        """
        from cryptography import x509

        try:
            names: Any = self.parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return []
        kinds: dict[type[Any], str] = {
            x509.DNSName: "DNS",
            x509.RFC822Name: "email",
            x509.UniformResourceIdentifier: "URI",
            x509.IPAddress: "IP Address",
        }
        return [(kinds[type(each)], str(each.value)) for each in names if type(each) in kinds]

    def __repr__(self) -> str:
        return f"<ClientCertificate {self.fingerprint}>"
