"""Who vouches for a certificate: chains from what a client has shown to authorities that somebody trusts.

OpenSSL builds and judges the chain. What it leaves to TLS libraries is added here: that the certificate is meant for
clients, and that nobody could have made it up (weak keys and digests).

The libraries of this module take several MiB: import it where a configuration needs it, as in `Plugin.configure`.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import crypto

from kong_gevent.offload import offload
from kong_gevent.pdk.client_certificates import ClientCertificate

MAX_BETWEEN = 10
"""Certificates that may stand between a client's and the authority's."""
_WEAK_DIGESTS = ("md5", "sha1")
_MIN_BITS = ((rsa.RSAPublicKey, 2048), (dsa.DSAPublicKey, 2048), (ec.EllipticCurvePublicKey, 224))
_FOR_CLIENTS = frozenset((ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE))


class Untrusted(Exception):  # noqa: N818 (a verdict)
    """Nobody who is trusted vouches for a certificate; the text says why, for the log."""


class Verified(NamedTuple):
    """A certificate that is trusted."""

    chain: tuple[x509.Certificate, ...]
    """From the certificate itself to the authority at the end."""
    given: int
    """So many of them, from the first on, are not trusted by themselves: the client has brought them."""
    authorities: tuple[str, ...]
    """The rest of them, as they were given to `Trust`; the one nearest to the certificate is the first."""
    until: float
    """Epoch time in s at which the first of them expires."""


class Trust:
    """A set of authorities (PEM) and how far they are trusted.

    `partial`: an authority that is not self-signed may be the end of a chain, too; `between`: certificates that may
    stand between a client's and the authority's. `digest` is the same for equal ones.
    """

    def __init__(self, authorities: Iterable[str], *, partial: bool = False, between: int = MAX_BETWEEN) -> None:
        self.authorities = tuple(dict.fromkeys(authorities))
        self.partial = partial
        self.between = between
        self.digest = sha256(repr((self.authorities, partial, between)).encode()).digest()

    def verify(self, certificate: ClientCertificate) -> Verified:
        """The chain to one of the authorities, found in a thread. Raises `Untrusted`, `Overloaded`."""
        verdict = offload(self._verdict, certificate)
        if isinstance(verdict, Untrusted):
            raise verdict
        return verdict

    def _verdict(self, certificate: ClientCertificate) -> Verified | Untrusted:
        """What raises in a thread is printed there, so an `Untrusted` is returned."""
        try:
            return self._verified(certificate)
        except Untrusted as verdict:
            return verdict
        except crypto.X509StoreContextError as error:
            return Untrusted(f"{error} (depth {error.errors[1]})")
        except (crypto.Error, UnsupportedAlgorithm, ValueError, TypeError) as error:
            return Untrusted(f"it makes no sense: {error}")

    def _verified(self, certificate: ClientCertificate) -> Verified:
        store = crypto.X509Store()
        anchors = {x509.load_pem_x509_certificate(text.encode()): text for text in self.authorities}
        for anchor in anchors:
            store.add_cert(crypto.X509.from_cryptography(anchor))
        if self.partial:
            store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
        first, *others = [crypto.load_certificate(crypto.FILETYPE_ASN1, each) for each in certificate.chain]
        found = crypto.X509StoreContext(store, first, others).get_verified_chain()
        chain = tuple(each.to_cryptography() for each in found)
        given = next((number for number, each in enumerate(chain) if each in anchors), len(chain))
        if len(chain) - 2 > self.between:
            raise Untrusted(f"more than {self.between} certificates between it and the authority")
        for each in chain[:given]:
            _check_strength(each)
            _check_purpose(each)
        _check_usage(chain[0])
        authorities = tuple(anchors[each] for each in chain[given:] if each in anchors)
        return Verified(chain, given, authorities, min(each.not_valid_after_utc.timestamp() for each in chain))


def _check_strength(certificate: x509.Certificate) -> None:
    """That nobody but its issuer can have made it."""
    digest = certificate.signature_hash_algorithm
    if digest is not None and digest.name in _WEAK_DIGESTS:
        raise Untrusted(f"it is signed with {digest.name}")
    key = certificate.public_key()
    for kind, bits in _MIN_BITS:
        if isinstance(key, kind) and key.key_size < bits:
            raise Untrusted(f"its key has {key.key_size} bits only")


def _check_purpose(certificate: x509.Certificate) -> None:
    """That the certificate is good for clients, if it says what it is good for (RFC 5280, section 4.2.1.12)."""
    try:
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if _FOR_CLIENTS.isdisjoint(purposes):
        raise Untrusted("its extended key usage does not allow client authentication")


def _check_usage(certificate: x509.Certificate) -> None:
    """That its key may be used in a handshake, if it says what it may be used for (RFC 5280, section 4.2.1.3)."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not (usage.digital_signature or usage.key_agreement):
        raise Untrusted("its key usage does not allow to sign")
