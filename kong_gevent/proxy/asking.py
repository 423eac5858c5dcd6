"""TLS that asks clients for a certificate and accepts whichever they show; whom to believe is decided afterwards.

The ssl module verifies within the handshake, against authorities that are known beforehand, so that a client with
another certificate would only see a broken connection. pyOpenSSL leaves the verdict to us. Its connections are given
the face of `ssl.SSLObject` here. The module, which takes several MiB, is loaded when the first client is asked.

Strategy: OpenSSL gets one whole record at a time, so that what it has not looked at yet stays in our hands, and
`pending` can tell of it (see `proxy.tls`). A session is never resumed: each connection proves its certificate anew.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

from OpenSSL import SSL, crypto

_HEADER = 5
_TYPES = range(20, 25)
"""Types of records (RFC 8446, section 5.1, and heartbeats)."""
_MAX_RECORD = 16384 + 2048
_CHUNK = 65536
_PROTOCOL = b"http/1.1"


class AskingContext:
    """What `AskingSide`s have in common. Options, versions and ciphers are those of `like`; no certificate yet."""

    def __init__(self, like: ssl.SSLContext) -> None:
        context = self._context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(_version(like.minimum_version))
        context.set_max_proto_version(_version(like.maximum_version))
        context.set_options(int(like.options) | SSL.OP_NO_TICKET)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_session_id(b"kong_gevent")
        names = [cipher["name"] for cipher in like.get_ciphers() if not cipher["name"].startswith("TLS_")]
        context.set_cipher_list(":".join([*names, f"@SECLEVEL={like.security_level}"]).encode())
        context.set_verify(SSL.VERIFY_PEER, _accept)
        context.set_alpn_select_callback(_choose_protocol)

    def load_cert_chain(self, certificate: str, key: str, password: Any = None) -> None:
        """As `ssl.SSLContext.load_cert_chain`. Raises `ssl.SSLError`."""
        try:
            self._context.use_certificate_chain_file(certificate)
            self._context.use_privatekey_file(key)
            self._context.check_privatekey()
        except SSL.Error as error:
            raise _translated(error) from None

    def load_dh_params(self, path: str) -> None:
        """As `ssl.SSLContext.load_dh_params`."""
        self._context.load_tmp_dh(path)

    def name_authority(self, text: str) -> None:
        """Tell clients that certificates of this authority (PEM) are welcome. Raises `ssl.SSLError`."""
        try:
            self._context.add_client_ca(crypto.load_certificate(crypto.FILETYPE_PEM, text.encode()))
        except (SSL.Error, crypto.Error) as error:
            raise _translated(error) from None

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = True,
        server_hostname: str | None = None,
    ) -> AskingSide:
        """As `ssl.SSLContext.wrap_bio`, for servers."""
        return AskingSide(SSL.Connection(self._context, None), incoming, outgoing)


class AskingSide:
    """One connection's TLS, with as much of `ssl.SSLObject` as a `ServerTlsStream` and its connection use."""

    def __init__(self, connection: SSL.Connection, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
        self._connection = connection
        self._incoming = incoming
        self._outgoing = outgoing
        self._unseen = b""
        connection.set_accept_state()

    def do_handshake(self) -> None:
        """As `ssl.SSLObject.do_handshake`."""
        self._call(self._connection.do_handshake)

    def read(self, size: int) -> bytes:
        """As `ssl.SSLObject.read`."""
        data: bytes = self._call(self._connection.recv, size)
        return data

    def write(self, data: bytes | memoryview) -> int:
        """As `ssl.SSLObject.write`; memory takes all of it."""
        self._call(self._connection.sendall, data)
        return len(data)

    def unwrap(self) -> None:
        """As `ssl.SSLObject.unwrap`, without waiting for the other side."""
        self._call(self._connection.shutdown)

    def pending(self) -> int:
        """Bytes that can be read, or may become so, without anything coming from the client."""
        return self._connection.pending() or self._record_size()

    def version(self) -> str | None:
        """As `ssl.SSLObject.version`."""
        return self._connection.get_protocol_version_name()

    def cipher(self) -> tuple[str, str, int] | None:
        """As `ssl.SSLObject.cipher`."""
        connection = self._connection
        name = connection.get_cipher_name()
        if name is None:
            return None
        return name, connection.get_cipher_version() or "", connection.get_cipher_bits() or 0

    def selected_alpn_protocol(self) -> str | None:
        """As `ssl.SSLObject.selected_alpn_protocol`."""
        return self._connection.get_alpn_proto_negotiated().decode() or None

    def getpeercert(self, binary_form: bool = False) -> bytes | None:
        """The certificate that the client has shown (DER); nothing in the other form, which is for verified ones."""
        return next(iter(self.client_chain()), None) if binary_form else None

    def client_chain(self) -> tuple[bytes, ...]:
        """The certificate that the client has shown and those it sent along (DER); nothing of it has been verified."""
        first = self._connection.get_peer_certificate()
        if first is None:
            return ()
        # OpenSSL leaves the first one out on this side of a connection.
        others = self._connection.get_peer_cert_chain() or []
        return tuple(crypto.dump_certificate(crypto.FILETYPE_ASN1, each) for each in (first, *others))

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Have OpenSSL do something, giving it records as it asks for them. Raises the errors of the ssl module."""
        try:
            while True:
                try:
                    return function(*arguments)
                except SSL.WantReadError:
                    size = self._record_size()
                    if size:
                        record, self._unseen = self._unseen[:size], self._unseen[size:]
                        self._connection.bio_write(record)
                    elif self._incoming.eof:
                        raise ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "EOF occurred in violation of protocol") from None
                    else:
                        raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "more is needed") from None
        except SSL.ZeroReturnError:
            raise ssl.SSLZeroReturnError(ssl.SSL_ERROR_ZERO_RETURN, "TLS has been closed") from None
        except SSL.Error as error:
            raise _translated(error) from None
        finally:
            self._pass_on()

    def _record_size(self) -> int:
        """Bytes of the next record, 0 while it is not wholly here. What is no record is OpenSSL's to complain of."""
        if self._incoming.pending:
            self._unseen += self._incoming.read()
        unseen = self._unseen
        if unseen and unseen[0] not in _TYPES:
            return len(unseen)
        size = _HEADER + int.from_bytes(unseen[3:_HEADER])
        if len(unseen) >= _HEADER and size > _HEADER + _MAX_RECORD:
            return len(unseen)
        return size if len(unseen) >= size else 0

    def _pass_on(self) -> None:
        """Give what OpenSSL wants to send to the stream."""
        try:
            while True:
                self._outgoing.write(self._connection.bio_read(_CHUNK))
        except SSL.WantReadError:
            return


def _accept(_connection: Any, _certificate: Any, _error: int, _depth: int, _ok: int) -> bool:
    """Any certificate will do for the handshake; that the client has its key, OpenSSL has made sure of."""
    return True


def _choose_protocol(_connection: Any, offered: list[bytes]) -> Any:
    return _PROTOCOL if _PROTOCOL in offered else SSL.NO_OVERLAPPING_PROTOCOLS


def _version(version: ssl.TLSVersion) -> int:
    return max(0, int(version))  # the ends of what OpenSSL has are zero there, and negative in the ssl module


def _translated(error: Exception) -> ssl.SSLError:
    """The ssl module's error for one of pyOpenSSL, whose arguments are a list of (library, function, reason)."""
    told = error.args[0] if error.args and isinstance(error.args[0], list) and error.args[0] else [("", "", str(error))]
    if isinstance(error, SSL.SysCallError):
        return ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "EOF occurred in violation of protocol")
    made = ssl.SSLError(ssl.SSL_ERROR_SSL, str(told[-1][-1]))
    made.reason = str(told[-1][-1]).upper().replace(" ", "_")
    return made
