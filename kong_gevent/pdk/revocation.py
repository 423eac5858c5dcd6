"""Whether certificates have been revoked: the lists (RFC 5280, section 5) that they name and their issuers sign.

Strategy: a list is fetched when it is first needed, and whoever needs it waits. Afterwards it is fetched anew in the
background, and the old one counts until its own end while that fails. As `pdk.trust`, import it where it is needed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from math import inf
from time import monotonic, time
from typing import NamedTuple

import gevent
import requests
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from gevent.event import Event

from kong_gevent.offload import offload
from kong_gevent.pdk.trust import Untrusted, Verified

log = logging.getLogger("kong_gevent.plugins")
RETRY_SECONDS = 10.0
"""How long a list that could not be had is not asked for again."""
MAX_LISTS = 100
MAX_BYTES = 32 << 20
"""The largest list that is read."""


class StatusUnknown(Exception):  # noqa: N818 (a verdict)
    """It cannot be found out whether a certificate has been revoked; the text says why."""


class Fetching(NamedTuple):
    """How lists are fetched: `timeout` s for one, `ttl` s until it is asked for again, `proxies` by scheme."""

    timeout: float
    ttl: float
    proxies: Mapping[str, str]


class _Held:
    """A list, once it could be had, and what is known about fetching it."""

    def __init__(self) -> None:
        self.found: x509.CertificateRevocationList | None = None
        self.failure = ""
        self.due = 0.0
        self.loading: Event | None = None

    @property
    def outdated(self) -> bool:
        """Whether there is none that could still be believed."""
        return self.found is None or _ends(self.found) <= datetime.now(UTC)


class RevocationLists:
    """The lists of a worker, by URL."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}

    def check(self, verified: Verified, fetching: Fetching, *, strict: bool) -> float:
        """Look up all certificates that a client has brought; the epoch time in s until which the answer counts.

        Raises `Untrusted` when one of them has been revoked and, if `strict`, when that cannot be found out.
        """
        until = inf
        for certificate, issuer in zip(verified.chain[: verified.given], verified.chain[1:], strict=False):
            try:
                places = list(_places(certificate))
                if places or strict:
                    self._look_up(certificate, issuer, places, fetching, strict)
                    until = min(until, time() + fetching.ttl)
            except StatusUnknown as error:
                if strict:
                    raise Untrusted(f"it may have been revoked: {error}") from None
                until = min(until, time() + RETRY_SECONDS)
        return until

    def _look_up(
        self,
        certificate: x509.Certificate,
        issuer: x509.Certificate,
        places: list[str],
        fetching: Fetching,
        strict: bool,
    ) -> None:
        """Raises `Untrusted`, `StatusUnknown`."""
        why = "it names no list that can be fetched"
        for url in places:
            try:
                answer = offload(_is_listed, self._get(url, fetching, strict), url, certificate, issuer)
            except StatusUnknown as error:
                why = str(error)
                continue
            if answer is True:
                raise Untrusted(f"it has been revoked, as {url} says")
            if answer is False:
                return
            why = f"{url} {answer}"
        raise StatusUnknown(why)

    # --- fetching ----------------------------------------------------------------------------------------------------

    def _get(self, url: str, fetching: Fetching, patient: bool) -> x509.CertificateRevocationList:
        """The list of a URL. Who is not `patient` waits for the first attempt only. Raises `StatusUnknown`."""
        held = self._held.get(url)
        if held is None:
            patient = True
            while len(self._held) >= MAX_LISTS:
                del self._held[next(iter(self._held))]
            held = self._held[url] = _Held()
        if held.loading is None and monotonic() >= held.due:
            held.loading = Event()
            gevent.spawn(self._load, held, held.loading, url, fetching)
        if held.loading is not None and held.outdated and (patient or not held.failure):
            held.loading.wait()
        if held.found is None:
            raise StatusUnknown(f"{url} {held.failure}")
        return held.found

    @staticmethod
    def _load(held: _Held, done: Event, url: str, fetching: Fetching) -> None:
        try:
            held.found = _fetch(url, fetching)
            held.due = monotonic() + fetching.ttl
            held.failure = ""
        except StatusUnknown as error:
            held.failure = str(error)
            held.due = monotonic() + RETRY_SECONDS
            log.warning("revocation list %s %s", url, error)
        finally:
            held.loading = None
            done.set()


def _fetch(url: str, fetching: Fetching) -> x509.CertificateRevocationList:
    """Raises `StatusUnknown`."""
    limit = gevent.Timeout(fetching.timeout)
    limit.start()
    try:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(url, timeout=fetching.timeout, proxies=dict(fetching.proxies), stream=True)
            if answer.status_code != 200:
                raise StatusUnknown(f"is not there: status {answer.status_code}")
            data = bytearray()
            for part in answer.iter_content(1 << 16):
                data += part
                if len(data) > MAX_BYTES:
                    raise StatusUnknown(f"has more than {MAX_BYTES} bytes")
    except gevent.Timeout as error:
        if error is not limit:
            raise
        raise StatusUnknown(f"cannot be had within {fetching.timeout:g} s") from None
    except (requests.RequestException, ValueError) as error:
        raise StatusUnknown(f"cannot be had: {error}") from None
    finally:
        limit.close()
    made = offload(_parse, bytes(data))
    if made is None:
        raise StatusUnknown("is not a revocation list")
    return made


def _parse(data: bytes) -> x509.CertificateRevocationList | None:
    load = x509.load_pem_x509_crl if data.lstrip().startswith(b"-----BEGIN") else x509.load_der_x509_crl
    try:
        return load(data)
    except ValueError:
        return None


# --- reading ----------------------------------------------------------------------------------------------------------


def _places(certificate: x509.Certificate) -> Iterator[str]:
    """URLs of complete lists of a certificate's own issuer."""
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except (x509.ExtensionNotFound, ValueError):
        return
    for point in points:
        if point.crl_issuer or point.reasons:
            continue
        for name in point.full_name or ():
            if isinstance(name, x509.UniformResourceIdentifier) and name.value.startswith(("http://", "https://")):
                yield name.value


def _ends(found: x509.CertificateRevocationList) -> datetime:
    return found.next_update_utc or found.last_update_utc


def _is_listed(
    found: x509.CertificateRevocationList, url: str, certificate: x509.Certificate, issuer: x509.Certificate
) -> bool | str:
    """Whether a list names a certificate; a text that says why the list tells nothing about it. For a thread."""
    try:
        why = _why_not(found, url, certificate, issuer)
        return why or found.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        return f"makes no sense: {error}"


def _why_not(
    found: x509.CertificateRevocationList, url: str, certificate: x509.Certificate, issuer: x509.Certificate
) -> str:
    now = datetime.now(UTC)
    if found.issuer != certificate.issuer:
        return "is of another authority"
    if not _may_sign(issuer) or not found.is_signature_valid(issuer.public_key()):  # type: ignore[arg-type]
        return "is not signed by the authority"
    if _ends(found) <= now:
        return "is outdated"
    if found.last_update_utc > now:
        return "is not valid yet"
    for extension in found.extensions:
        if isinstance(extension.value, x509.IssuingDistributionPoint):
            if not _covers(extension.value, url, certificate):
                return "does not cover the certificate"
        elif extension.critical:
            return f"has the unknown extension {extension.oid.dotted_string}"
    return ""


def _may_sign(issuer: x509.Certificate) -> bool:
    try:
        return issuer.extensions.get_extension_for_class(x509.KeyUsage).value.crl_sign
    except x509.ExtensionNotFound:
        return True


def _covers(scope: x509.IssuingDistributionPoint, url: str, certificate: x509.Certificate) -> bool:
    """Whether a list that is about some certificates only is about this one (RFC 5280, section 6.3.3)."""
    try:
        authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        authority = False
    if scope.indirect_crl or scope.only_some_reasons or scope.only_contains_attribute_certs or scope.relative_name:
        return False
    if scope.only_contains_ca_certs if not authority else scope.only_contains_user_certs:
        return False
    names = [name.value for name in scope.full_name or () if isinstance(name, x509.UniformResourceIdentifier)]
    return scope.full_name is None or url in names
