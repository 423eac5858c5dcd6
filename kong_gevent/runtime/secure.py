"""Clients that come over TLS: which certificate they are shown, and the handshake before their first request."""

from __future__ import annotations

import logging
import ssl
from typing import TYPE_CHECKING, Any

from gevent import monkey

from kong_gevent.conf import certificates
from kong_gevent.errors import ConnectionClosed, DeadlineExceeded
from kong_gevent.proxy.stream import Stream
from kong_gevent.proxy.tls import ServerTlsStream
from kong_gevent.runtime.connection import Connection

if TYPE_CHECKING:
    from kong_gevent.conf import Settings

log = logging.getLogger("kong_gevent.tls")
_CLEAR_TEXT = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 66\r\n"
    b'Connection: close\r\n\r\n{"message":"The plain HTTP request was sent to a port with HTTPS"}'
)


class _ServerSide(ssl.SSLObject):
    """A connection's TLS, which remembers the name that the client asked for."""

    asked_for: str | None = None


class ServerCertificates:
    """The contexts of a worker's TLS listeners, by role and by the name that a client asks for.

    `context_for` is the place at which certificates of the store come in: it is called in each handshake that names a
    server, and gives a context made by `new_context`, or None for the default certificate of the listener.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._listeners: dict[str, ssl.SSLContext] = {}

    def context_for(self, server_name: str) -> ssl.SSLContext | None:
        """The context for a server name on proxy listeners; None: the default certificate."""
        return None

    def new_context(self, pairs: list[tuple[bytes, bytes]]) -> ssl.SSLContext:
        """A context with the protocols and ciphers of the settings and these (certificate, key) pairs, PEM.

        Raises `ssl.SSLError`, `ValueError`.
        """
        context = self._settings.server_context()
        for certificate, key in pairs:
            certificates.load_pair(context, certificate, key)
        return context

    def listener_context(self, role: str) -> ssl.SSLContext:
        """The context of a role's TLS listeners, with its default certificates. Raises as `new_context`, `OSError`.

        Both Admin APIs have the certificates of the one, and ask for the same of their clients.
        """
        role = "admin" if role == "classic" else role
        context = self._listeners.get(role)
        if context is None:
            pairs = self._settings.certificate_pairs(role)
            loaded = [(certificates.pem_of(certificate), certificates.pem_of(key)) for certificate, key in pairs]
            context = self._listeners[role] = self.new_context(loaded)
            context.sslobject_class = _ServerSide
            if role == "proxy":
                # gevent's own property hands the callback a socket of its kind, which there is none of here.
                monkey.get_original("ssl", "SSLContext").sni_callback.__set__(context, self._choose)
            elif role == "admin":
                self._ask_for_certificate(context)
        return context

    def _choose(self, tls: _ServerSide, server_name: str | None, context: ssl.SSLContext) -> None:
        if server_name is None:
            return
        tls.asked_for = server_name
        found = self.context_for(server_name)
        if found is not None:
            tls.context = found

    def _ask_for_certificate(self, context: ssl.SSLContext) -> None:
        authorities = self._settings.get("admin_ssl_client_ca")
        if not authorities:
            return
        for entry in authorities:
            context.load_verify_locations(cadata=certificates.pem_of(entry).decode())
        required = self._settings.admin_ssl_client_verify == "on"
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL


class TlsConnection(Connection):
    """A client's connection that begins with a handshake."""

    __slots__ = ("client_subject", "server_name", "shaken")

    stream: ServerTlsStream

    def __init__(self, stream: Stream, listener: Any, peer: tuple[str, int], serial: int) -> None:
        super().__init__(stream, listener, peer, serial)
        self.shaken = False
        self.server_name: str | None = None
        self.client_subject: str | None = None

    def run(self) -> bool:
        """See `Connection.run`."""
        if not self.shaken and not self._shake_hands():
            return False
        return super().run()

    def _shake_hands(self) -> bool:
        """Whether client and gateway agree; if not, the log says why in one line."""
        try:
            self.stream.handshake(self.gateway.header_timeout)
        except ssl.SSLError as error:
            if error.reason == "HTTP_REQUEST":
                self._answer_clear_text()
            log.info("client %s: TLS handshake failed: %s", self.peer_ip, (error.reason or str(error)).lower())
            return False
        except DeadlineExceeded:
            log.info("client %s: TLS handshake not done in %g s", self.peer_ip, self.gateway.header_timeout)
            return False
        except (ConnectionClosed, OSError) as error:
            log.info("client %s: TLS handshake failed: %s", self.peer_ip, error)
            return False
        self.shaken = True
        tls = self.stream.tls
        self.server_name = getattr(tls, "asked_for", None)
        shown = tls.getpeercert()
        if shown:
            self.client_subject = subject_text(shown.get("subject", ()))
        return True

    def _answer_clear_text(self) -> None:
        """Tell a client that speaks HTTP without TLS what is wrong, in its own language."""
        try:
            Stream.write(self.stream, _CLEAR_TEXT)
        except (ConnectionClosed, DeadlineExceeded, OSError):
            return  # it has gone


_SHORT = {
    "commonName": "CN",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "stateOrProvinceName": "ST",
    "localityName": "L",
    "domainComponent": "DC",
    "userId": "UID",
}


def subject_text(subject: Any) -> str:
    """A certificate's subject in the form of RFC 4514: `CN=ops,O=Example`, the most specific part first."""
    parts = [
        "+".join(f"{_SHORT.get(name, name)}={_escaped(value)}" for name, value in relative) for relative in subject
    ]
    return ",".join(reversed(parts))


def _escaped(value: str) -> str:
    return "".join(f"\\{letter}" if letter in ',+"\\<>;=' else letter for letter in value)
