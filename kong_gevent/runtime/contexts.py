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
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

import gevent
from gevent import monkey
from gevent.event import Event
from gevent.lock import BoundedSemaphore

from kong_gevent.conf import certificates
from kong_gevent.errors import ConfigurationError
from kong_gevent.offload import offload
from kong_gevent.proxy.hello import server_name as name_in_hello
from kong_gevent.runtime.asked import AskedNames
from kong_gevent.runtime.certificates import AuthorityTable, Certificate, CertificateTable, ServerNames
from kong_gevent.runtime.pace import REST, paced

if TYPE_CHECKING:
    from kong_gevent.conf import Settings
    from kong_gevent.proxy.asking import AskingContext

    Made = ssl.SSLContext | AskingContext | None

log = logging.getLogger("kong_gevent.tls")
AT_ONCE = 20
"""Contexts that are let go of in one go; each takes about 15 µs. More are, beside the requests."""
_SETTINGS = (
    "ssl_cipher_suite",
    "ssl_ciphers",
    "ssl_protocols",
    "ssl_prefer_server_ciphers",
    "ssl_session_tickets",
    "admin_ssl_client_verify",
)
Key = tuple[str, tuple[str, ...] | None]
"""Id of a certificate ("": the default one), and `ServerSide.authorities`."""
_NOT_READY = ssl.ALERT_DESCRIPTION_INTERNAL_ERROR  # never sent: the handshake begins anew


class ServerSide(ssl.SSLObject):
    """A connection's TLS, which remembers the name that the client asked for."""

    asked_for: str | None = None
    chosen = False
    """Whether it has its certificate. Clients may be told to say hello again (RFC 8446, section 4.1.4): it stays."""
    unready = False
    """Whether the handshake only ended so that it can begin anew."""
    authorities: tuple[str, ...] | None = None
    """Whose certificates the client is to be asked for when the handshake begins anew; None: it is not asked."""
    heard: Sequence[bytes] = ()
    """What the client has said so far."""
    resumes_another: bool = False
    """Whether the client wants to resume a session of another name, which must not be (RFC 6066, section 3)."""


class ListenerContexts:
    """The contexts with which handshakes begin, by role, with the default certificates. They outlive reloads."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[bytes, ssl.SSLContext]] = {}

    def update(self, settings: Settings) -> None:
        """Make those that the settings need and that are not there already. Raises ConfigurationError."""
        for role, prefix in certificates.PREFIXES.items():
            if not certificates.listens_with_tls(settings, role):
                continue
            try:
                self.get(settings, role)
            except (OSError, ValueError) as error:  # SSLError is an OSError
                files = ", ".join(file for pair in certificates.default_pairs(settings.prefix, role) for file in pair)
                which = "what it names" if settings.get(f"{prefix}ssl_cert") else f"one of {files}"
                raise ConfigurationError(
                    f"{prefix}ssl_cert: {which} cannot be used: {certificates.reason_of(error)}"
                ) from error

    def get(self, settings: Settings, role: str) -> ssl.SSLContext:
        """The context of a role (proxy, admin, status). Raises `ssl.SSLError`, `ValueError`, `OSError`."""
        pairs = settings.certificate_pairs(role)
        authorities = [settings.pem(entry) for entry in _client_authorities(settings, role)]
        own = [settings.get(name) for name in _SETTINGS]
        parts = [own, certificates.dh_parameters(settings, settings.pem), pairs, authorities]
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
    """What a worker's TLS listeners show to whom, and whom they ask for a certificate.

    Contexts are made one at a time: however many names are asked for at once, as after a start, each waits for its
    turn, and neither requests nor other work that goes to threads wait behind them.
    """

    def __init__(
        self,
        settings: Settings,
        table: CertificateTable,
        names: ServerNames,
        listeners: ListenerContexts | None = None,
        *,
        asked: AskedNames | None = None,
        authorities: AuthorityTable | None = None,
    ) -> None:
        self._settings = settings
        self._names = names
        self._listeners = listeners or ListenerContexts()
        self._asked = asked or AskedNames({}, {})
        self._authorities = authorities or AuthorityTable()
        self._capacity: int = settings.ssl_cert_cache_size
        self._ready: OrderedDict[Key, Made] = OrderedDict()
        self._asking_ready: set[Key] = set()
        self._making: dict[Key, Event] = {}
        self._one_at_a_time = BoundedSemaphore()
        self._changes = 0  # of authorities
        table.on_change.append(self._forget)
        self._authorities.on_change.append(self._forget_authorities)

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
        if tls.chosen:
            return None
        if tls.session_reused:  # before TLS 1.3 OpenSSL tells the name of the session
            told, server_name = server_name, name_in_hello(b"".join(tls.heard))
            tls.resumes_another = told != server_name
        tls.asked_for = server_name
        certificate = self._find(server_name)
        if self._asked.names:
            tls.authorities = self._asked.find(server_name)  # if it is to be asked, another library takes over
        key = (certificate.id, None) if certificate is not None else None
        if tls.authorities is not None or tls.resumes_another or (key is not None and key not in self._ready):
            tls.unready = True
            return _NOT_READY
        tls.chosen = True
        if key is not None:
            self._ready.move_to_end(key)
            made: Any = self._ready[key]
            if made is not None:
                tls.context = made
        return None

    def _find(self, server_name: str | None) -> Certificate | None:
        """The certificate for a name as it is now; None: the default one."""
        return _usable(self._names.find(server_name))

    def begin_anew(self, tls: ServerSide) -> Made:
        """The context with which a handshake that failed begins anew; None: it just failed. May wait.

        Raises `Overloaded`, and `ssl.SSLError` when a client that is to be asked for a certificate cannot be.
        """
        if not tls.unready:
            return None
        if tls.authorities is not None:
            import kong_gevent.proxy.asking  # noqa: F401 (loaded by nodes that need it, and not in a thread)
        while True:
            certificate = self._find(tls.asked_for)
            context = self._context_for(tls, certificate)
            if self._find(tls.asked_for) is certificate:  # and not another one, after the wait
                return context

    def _context_for(self, tls: ServerSide, certificate: Certificate | None) -> Made:
        key = certificate.id if certificate is not None else ""
        if tls.authorities is not None:
            return self._get((key, tls.authorities), self._make_asking)
        if tls.resumes_another:
            # This context cannot read the session's ticket, so that the handshake is done in full.
            made = certificate and self._get((key, None), self._make)
            return made or self._get(("", None), self._make)
        if certificate is not None:
            self._get((key, None), self._make)
        return tls.context

    def _get(self, key: Key, make: Callable[[Any, Key], Made]) -> Made:
        """The context for a key, which `make` makes; many who wait for the same wait for one. None: it has gone."""
        while key not in self._ready:
            under_way = self._making.get(key)
            if under_way is None:
                return self._make_ready(key, make)
            under_way.wait()
        self._ready.move_to_end(key)
        return self._ready[key]

    def _make_ready(self, key: Key, make: Callable[[Any, Key], Made]) -> Made:
        done = self._making[key] = Event()
        try:
            with self._one_at_a_time:
                changes, certificate = self._changes, _usable(self._names.certificate(key[0]))
                if certificate is None and key[0]:
                    return None
                made = offload(make, certificate, key)
        finally:
            del self._making[key]
            done.set()
        if changes == self._changes and _usable(self._names.certificate(key[0])) is certificate:
            self._keep(key, made)
        return made

    def _keep(self, key: Key, made: Made) -> None:
        self._ready[key] = made
        if key[1] is not None:
            self._asking_ready.add(key)
        while len(self._ready) > self._capacity:
            self._asking_ready.discard(self._ready.popitem(last=False)[0])

    def warm_up(self, rest: Callable[[], float]) -> int:
        """Make certificates that have a name ready before clients ask, while there is room; how many that were.

        Others may have a turn of `rest` seconds after each. Raises `Overloaded`.
        """
        count = 0
        for key in paced(dict.fromkeys(name["certificate"]["id"] for name in self._names.entities.values()), rest):
            if len(self._ready) >= self._capacity:
                break
            if (key, None) not in self._ready:
                count += self._get((key, None), self._make) is not None
        return count

    def _make(self, certificate: Certificate | None, _key: Key) -> ssl.SSLContext | None:
        """The context of a certificate; None, with the reason in the log, for one that OpenSSL does not take."""
        if certificate is None:
            return new_context(self._settings, self._settings.certificate_pairs("proxy"))
        try:
            return new_context(self._settings, certificate.pairs())
        except (ssl.SSLError, ValueError) as error:
            _complain(certificate, error)
            return None

    def _make_asking(self, certificate: Certificate | None, key: Key) -> AskingContext:
        """A context that asks clients for a certificate. Raises `ssl.SSLError`, `ValueError`, `OSError`."""
        if certificate is not None:
            try:
                return self._asking(certificate.pairs(), key)
            except (ssl.SSLError, ValueError) as error:
                _complain(certificate, error)
        return self._asking(self._settings.certificate_pairs("proxy"), key)

    def _asking(self, pairs: list[tuple[bytes, bytes]], key: Key) -> AskingContext:
        from kong_gevent.proxy.asking import AskingContext

        context = AskingContext(self._settings.server_context())
        certificates.load_dh_parameters(context, self._settings, self._settings.pem)
        for certificate, secret in pairs:
            certificates.load_pair(context, certificate, secret)
        for authority in key[1] or ():
            entity = self._authorities.entities.get(authority)
            if entity is not None:
                context.name_authority(entity["cert"])
        return context

    def _forget(self, certificates: AbstractSet[str]) -> None:
        self._drop((key, None) for key in certificates)
        self._drop([key for key in self._asking_ready if key[0] in certificates])

    def _forget_authorities(self, authorities: AbstractSet[str]) -> None:
        self._changes += 1
        self._drop([key for key in self._asking_ready if not authorities.isdisjoint(key[1] or ())])

    def _drop(self, keys: Iterable[Key]) -> None:
        gone = []
        for key in keys:
            if key in self._ready:
                gone.append(self._ready.pop(key))
                self._asking_ready.discard(key)
        if len(gone) > AT_ONCE:
            gevent.spawn(_let_go, gone)


def _let_go(contexts: list[Made]) -> None:
    for _ in paced(range(len(contexts)), lambda: REST):
        contexts.pop()


def _usable(certificate: Certificate | None) -> Certificate | None:
    """None also for one whose secrets are not there."""
    return certificate if certificate is not None and certificate.text is not None else None


def _complain(certificate: Certificate, error: Exception) -> None:
    log.error(
        "certificate %s cannot be used: %s; the default certificate is shown in its place",
        certificate.id,
        certificates.reason_of(error),
    )


def _note_name(tls: Any, server_name: str | None, context: ssl.SSLContext) -> None:
    tls.asked_for = server_name
