"""As much of LDAP (RFC 4511) as it takes to check a password: simple bind, StartTLS, unbind.

Strategy: plain sockets, which cooperate with other greenlets, and the node's own TLS parameters. A connection may be
used for one bind after another; idle ones are kept for a while.
"""

from __future__ import annotations

import socket
import ssl
from collections import deque
from collections.abc import Callable
from time import monotonic

SUCCESS = 0
REFUSED = frozenset((32, 34, 48, 49, 53))
"""No such object, no such name, inappropriate authentication, invalid credentials, unwilling to perform (RFC 4511,
appendix A): this user cannot log in with this password."""
START_TLS = b"1.3.6.1.4.1.1466.20037"
MAX_MESSAGE = 1 << 20
_SEQUENCE, _INTEGER, _OCTETS, _ENUMERATED = 0x30, 0x02, 0x04, 0x0A
_BIND, _BIND_DONE, _UNBIND, _EXTENDED, _EXTENDED_DONE = 0x60, 0x61, 0x42, 0x77, 0x78
_SIMPLE, _NAME = 0x80, 0x80
_SPECIAL = frozenset(',+"\\<>;=')


class LdapError(Exception):
    """The server cannot be asked, or says what no server should."""


class TlsFailed(LdapError):
    """No TLS connection could be agreed on."""


def escape(value: str) -> str:
    """A value within a distinguished name (RFC 4514, section 2.4)."""
    escaped = "".join(
        f"\\{character}" if character in _SPECIAL else "\\00" if character == "\0" else character for character in value
    )
    if escaped[:1] in ("#", " "):
        escaped = f"\\{escaped}"
    if escaped.endswith(" ") and len(value) > 1:
        escaped = f"{escaped[:-1]}\\ "
    return escaped


def _encoded(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def _split(data: bytes) -> tuple[int, bytes, bytes]:
    """The tag and content of the first element, and what follows it. Raises LdapError."""
    if len(data) < 2:
        raise LdapError("a cut message")
    size, start = data[1], 2
    if size & 0x80:
        octets = size & 0x7F
        if not 1 <= octets <= 4 or len(data) < 2 + octets:
            raise LdapError("a bad length")
        size, start = int.from_bytes(data[2 : 2 + octets], "big"), 2 + octets
    if len(data) < start + size:
        raise LdapError("a cut message")
    return data[0], data[start : start + size], data[start + size :]


class Connection:
    """One connection to a server; `timeout` in s for each step. Raises LdapError from every method."""

    def __init__(
        self, host: str, port: int, timeout: float | None, tls: ssl.SSLContext | None, start_tls: bool
    ) -> None:
        self._number = 0
        try:
            self._socket = socket.create_connection((host, port), timeout)
        except OSError as error:
            raise LdapError(f"{host}:{port}: {error}") from error
        self.idle_since = monotonic()
        try:
            if start_tls:
                code = self._ask(_encoded(_EXTENDED, _encoded(_NAME, START_TLS)), _EXTENDED_DONE)
                if code != SUCCESS:
                    raise TlsFailed(f"the server refuses StartTLS with code {code}")
            if tls is not None:
                self._secure(tls, host, port)
        except OSError as error:
            self.close()
            raise LdapError(f"{host}:{port}: {error}") from error
        except LdapError:
            self.close()
            raise

    def _secure(self, tls: ssl.SSLContext, host: str, port: int) -> None:
        try:
            self._socket = tls.wrap_socket(self._socket, server_hostname=host)
        except (ssl.SSLError, ConnectionError) as error:  # what speaks no TLS hangs up
            raise TlsFailed(f"{host}:{port}: {error}") from error

    def bind(self, name: str, password: str) -> int:
        """Log in; the result code (RFC 4511, appendix A)."""
        content = _encoded(_INTEGER, b"\x03") + _encoded(_OCTETS, name.encode()) + _encoded(_SIMPLE, password.encode())
        try:
            code = self._ask(_encoded(_BIND, content), _BIND_DONE)
        except OSError as error:
            raise LdapError(f"the connection failed: {error}") from error
        self.idle_since = monotonic()
        return code

    def close(self, unbind: bool = False) -> None:
        """Close the connection, with a word of farewell if wanted."""
        try:
            if unbind:
                self._send(bytes((_UNBIND, 0)))
        except OSError:
            pass
        finally:
            self._socket.close()

    def _send(self, operation: bytes) -> int:
        self._number += 1
        number = self._number.to_bytes(self._number.bit_length() // 8 + 1, "big")
        self._socket.sendall(_encoded(_SEQUENCE, _encoded(_INTEGER, number) + operation))
        return self._number

    def _ask(self, operation: bytes, wanted: int) -> int:
        """Send a request and return the result code of its answer."""
        number = self._send(operation)
        tag, content, _ = _split(self._message())
        kind, told, rest = _split(content)
        if tag != _SEQUENCE or kind != _INTEGER:
            raise LdapError("not an LDAP message")
        if int.from_bytes(told, "big", signed=True) != number:
            raise LdapError("the server ended the connection (notice of disconnection)")
        answer, result, _ = _split(rest)
        kind, code, _ = _split(result)
        if answer != wanted or kind != _ENUMERATED:
            raise LdapError("an answer of another kind")
        return int.from_bytes(code, "big", signed=True)

    def _message(self) -> bytes:
        data = self._receive(2)
        size = data[1]
        if size & 0x80:
            octets = size & 0x7F
            if not 1 <= octets <= 4:
                raise LdapError("a bad length")
            data += self._receive(octets)
            size = int.from_bytes(data[2:], "big")
        if size > MAX_MESSAGE:
            raise LdapError(f"a message of {size} octets")
        return data + self._receive(size)

    def _receive(self, size: int) -> bytes:
        parts: list[bytes] = []
        while size:
            part = self._socket.recv(size)
            if not part:
                raise LdapError("the server closed the connection")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


class Directory:
    """A server with its idle connections; `keep` in s for which they stay usable."""

    MAX_IDLE = 20

    def __init__(self, connect: Callable[[], Connection], keep: float) -> None:
        self._connect = connect
        self._keep = keep
        self._idle: deque[Connection] = deque()

    def accepts(self, name: str, password: str) -> bool:
        """Whether this name may log in with this password. Raises LdapError when that cannot be found out."""
        while (connection := self._take()) is not None:
            try:
                code = connection.bind(name, password)
            except LdapError:
                connection.close()  # it may have been dead already; a new one tells
                continue
            return self._judge(connection, code)
        connection = self._connect()
        try:
            code = connection.bind(name, password)
        except LdapError:
            connection.close()
            raise
        return self._judge(connection, code)

    def _take(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if monotonic() - connection.idle_since < self._keep:
                return connection
            connection.close(unbind=True)
        return None

    def _judge(self, connection: Connection, code: int) -> bool:
        if code != SUCCESS and code not in REFUSED:
            connection.close(unbind=True)
            raise LdapError(f"the server answered a bind with result code {code}")
        if self._keep > 0 and len(self._idle) < self.MAX_IDLE:
            self._idle.append(connection)
        else:
            connection.close(unbind=True)
        return code == SUCCESS

    def close(self) -> None:
        """Close idle connections."""
        while self._idle:
            self._idle.popleft().close(unbind=True)
