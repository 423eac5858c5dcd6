"""Clients that come over TLS: the handshake before their first request."""

from __future__ import annotations

import logging
import ssl
import sys
from typing import TYPE_CHECKING, Any

from kong_gevent.errors import ConnectionClosed, DeadlineExceeded, Overloaded
from kong_gevent.pdk.client_certificates import ClientCertificate
from kong_gevent.proxy.stream import Stream
from kong_gevent.proxy.tls import ServerTlsStream
from kong_gevent.runtime.connection import Connection
from kong_gevent.runtime.contexts import ServerSide

if TYPE_CHECKING:
    from kong_gevent.proxy.asking import AskingContext

log = logging.getLogger("kong_gevent.tls")
_CLEAR_TEXT = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 66\r\n"
    b'Connection: close\r\n\r\n{"message":"The plain HTTP request was sent to a port with HTTPS"}'
)


class TlsConnection(Connection):
    """A client's connection that begins with a handshake."""

    __slots__ = ("client_certificate", "client_subject", "server_name", "shaken")

    stream: ServerTlsStream

    def __init__(self, stream: Stream, listener: Any, peer: tuple[str, int], serial: int) -> None:
        super().__init__(stream, listener, peer, serial)
        self.shaken = False
        self.server_name: str | None = None
        self.client_subject: str | None = None
        self.client_certificate: ClientCertificate | None = None

    def run(self) -> bool:
        """See `Connection.run`."""
        if not self.shaken and not self._shake_hands():
            return False
        return super().run()

    def _shake_hands(self) -> bool:
        """Whether client and gateway agree; if not, the log says why in one line."""
        gateway = self.gateway
        gateway.catch_up()
        try:
            self.stream.handshake(gateway.header_timeout, self._begin_anew)
        except ssl.SSLError as error:
            if error.reason == "HTTP_REQUEST":
                self._answer_clear_text()
            log.info("client %s: TLS handshake failed: %s", self.client_ip, _words(error))
            return False
        except DeadlineExceeded:
            gateway.cut.slow_handshakes += 1
            log.info("client %s: TLS handshake not done in %g s", self.client_ip, gateway.header_timeout)
            return False
        except (ConnectionClosed, OSError, Overloaded) as error:
            log.info("client %s: TLS handshake failed: %s", self.client_ip, error)
            return False
        self.shaken = True
        tls = self.stream.tls
        self.server_name = getattr(tls, "asked_for", None) or self.server_name
        shown: Any = tls.getpeercert()
        if shown:
            self.client_subject = subject_text(shown.get("subject", ()))
        chain = tls.client_chain() if hasattr(tls, "client_chain") else ()
        if chain:
            self.client_certificate = ClientCertificate(chain)
        return True

    def _begin_anew(self, tls: Any) -> ssl.SSLContext | AskingContext | None:
        """See `ServerCertificates.begin_anew`; only the side that heard the client's name can do so."""
        if not isinstance(tls, ServerSide):
            return None
        self.server_name = tls.asked_for
        return self.gateway.certificates.begin_anew(tls)

    def _answer_clear_text(self) -> None:
        """Tell a client that speaks HTTP without TLS what is wrong, in its own language."""
        try:
            Stream.write(self.stream, _CLEAR_TEXT)
        except (ConnectionClosed, DeadlineExceeded, OSError):
            return  # it has gone


def _words(error: ssl.SSLError) -> str:
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return "the client has gone"
    if error.reason == "CALLBACK_FAILED":
        return "the server name is not ASCII"  # the only thing that OpenSSL accepts and Python refuses
    return (error.reason or str(error)).lower().replace("_", " ")


def silence_server_names() -> None:
    """Keep tracebacks about server names that are not ASCII off stderr; the handshake's own line tells of them."""
    earlier = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if not (isinstance(unraisable.exc_value, UnicodeDecodeError) and isinstance(unraisable.object, bytes)):
            earlier(unraisable)

    sys.unraisablehook = hook


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
