"""TLS contexts of listeners: the default certificates of each role, and those of the store, made when asked for.

A handshake begins with the context of its listener, whose callback puts the certificate for the server name in its
place. Keys of session tickets belong to the context with which a handshake begins. The master makes those contexts
before it forks, so that a ticket of one worker is good for all of them, for every name, and after a reload.
"""

from __future__ import annotations

import hashlib
import logging
import ssl
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from gevent import monkey
from gevent.event import Event

from kong_gevent.conf import certificates
from kong_gevent.offload import offload
from kong_gevent.runtime.certificates import Certificate, CertificateTable, ServerNames

if TYPE_CHECKING:
    from kong_gevent.conf import Settings

log = logging.getLogger("kong_gevent.tls")
CAPACITY = 1000
"""Certificates of the store that a worker keeps ready; one takes about 20 KiB and 0.6 ms to make."""
_SETTINGS = (
    "ssl_cipher_suite",
    "ssl_ciphers",
    "ssl_protocols",
    "ssl_prefer_server_ciphers",
    "ssl_session_tickets",
    "admin_ssl_client_verify",
)
_NOT_READY = ssl.ALERT_DESCRIPTION_INTERNAL_ERROR  # never sent: the handshake begins anew


class ServerSide(ssl.SSLObject):
    """A connection's TLS, which remembers the name that the client asked for."""

    asked_for: str | None = None
    wanted: Certificate | None = None
    """The certificate to make ready before the handshake begins anew."""


class ListenerContexts:
    """The contexts with which handshakes begin, by role, with the default certificates. They outlive reloads."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[bytes, ssl.SSLContext]] = {}

    def update(self, settings: Settings) -> None:
        """Make those that the settings need and that are not there already. Raises as `get`."""
        for role in certificates.PREFIXES:
            if certificates.listens_with_tls(settings, role):
                self.get(settings, role)

    def get(self, settings: Settings, role: str) -> ssl.SSLContext:
        """The context of a role (proxy, admin, status). Raises `ssl.SSLError`, `ValueError`, `OSError`."""
        pairs = [
            (certificates.pem_of(certificate), certificates.pem_of(key))
            for certificate, key in settings.certificate_pairs(role)
        ]
        authorities = [certificates.pem_of(entry) for entry in _client_authorities(settings, role)]
        own = [settings.get(name) for name in _SETTINGS]
        parts = [own, certificates.dh_parameters(settings), pairs, authorities]
        digest = hashlib.sha256(repr(parts).encode()).digest()
        known = self._made.get(role)
        if known is not None and known[0] == digest:
            return known[1]
        context = new_context(settings, pairs)
        context.sslobject_class = ServerSide
        for authority in authorities:
            context.load_verify_locations(cadata=authority.decode())
        if authorities:
            required = settings.admin_ssl_client_verify == "on"
            context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        self._made[role] = (digest, context)
        return context


def _client_authorities(settings: Settings, role: str) -> list[str]:
    """Whose client certificates a role's listeners accept; none: they do not ask for any."""
    return (settings.get("admin_ssl_client_ca") or []) if role == "admin" else []


def new_context(settings: Settings, pairs: list[tuple[bytes, bytes]]) -> ssl.SSLContext:
    """A context with the protocols and ciphers of the settings and these (certificate, key) pairs, PEM.

    Raises `ssl.SSLError`, `ValueError`.
    """
    context = settings.server_context()
    for certificate, key in pairs:
        certificates.load_pair(context, certificate, key)
    return context


class ServerCertificates:
    """What a worker's TLS listeners show to whom."""

    def __init__(
        self,
        settings: Settings,
        table: CertificateTable,
        names: ServerNames,
        listeners: ListenerContexts | None = None,
        capacity: int = CAPACITY,
    ) -> None:
        self._settings = settings
        self._names = names
        self._listeners = listeners or ListenerContexts()
        self._capacity = capacity
        self._ready: OrderedDict[str, tuple[Certificate, ssl.SSLContext | None]] = OrderedDict()
        self._making: dict[str, Event] = {}
        table.on_change.append(self._forget)

    def listener_context(self, role: str) -> ssl.SSLContext:
        """The context with which a role's handshakes begin. Raises as `ListenerContexts.get`.

        Both Admin APIs have the certificates of the one, and ask for the same of their clients.
        """
        context = self._listeners.get(self._settings, "admin" if role == "classic" else role)
        # gevent's own property hands the callback a socket of its kind, which there is none of here.
        callback = self._choose if role == "proxy" else _note_name
        monkey.get_original("ssl", "SSLContext").sni_callback.__set__(context, callback)
        return context

    def _choose(self, tls: ServerSide, server_name: str | None, context: ssl.SSLContext) -> int | None:
        """OpenSSL's question within a handshake: which certificate? One that is not ready ends it; see `begin_anew`."""
        tls.asked_for = server_name
        certificate = self._names.find(server_name)
        if certificate is None or certificate.text is None:
            return None
        ready = self._ready.get(certificate.id)
        if ready is None:
            tls.wanted = certificate
            return _NOT_READY
        self._ready.move_to_end(certificate.id)
        if ready[1] is not None:
            tls.context = ready[1]
        return None

    def begin_anew(self, tls: ServerSide) -> ssl.SSLContext | None:
        """The context with which a handshake that failed begins anew; None: it just failed. May wait.

        Raises `Overloaded`.
        """
        if tls.wanted is None:
            return None
        self._make_ready(tls.wanted)
        return tls.context

    def _make_ready(self, certificate: Certificate) -> None:
        """Have the context of a certificate; many who wait for the same wait for one."""
        under_way = self._making.get(certificate.id)
        if under_way is not None:
            under_way.wait()
            return
        done = self._making[certificate.id] = Event()
        try:
            made = offload(self._make, certificate)
        finally:
            del self._making[certificate.id]
            done.set()
        if self._names.certificate(certificate.id) is certificate:
            self._ready[certificate.id] = (certificate, made)
            while len(self._ready) > self._capacity:
                self._ready.popitem(last=False)

    def _make(self, certificate: Certificate) -> ssl.SSLContext | None:
        """The context of a certificate; None, with the reason in the log, for one that OpenSSL does not take."""
        try:
            return new_context(self._settings, certificate.pairs())
        except (ssl.SSLError, ValueError) as error:
            reason = getattr(error, "reason", None) or str(error)
            log.error(
                "certificate %s cannot be used: %s; the default certificate is shown in its place",
                certificate.id,
                reason.lower().replace("_", " "),
            )
            return None

    def _forget(self, key: str) -> None:
        self._ready.pop(key, None)


def _note_name(tls: Any, server_name: str | None, context: ssl.SSLContext) -> None:
    tls.asked_for = server_name
