"""As much of Cassandra's native protocol (version 4) as preparing a server takes: is it ready, log in, run a statement.

Blocking and independent of the driver on purpose: tests judge the driver's use from outside. What a statement returns
are raw cells: bytes in the protocol's encoding, None for null.
"""

from __future__ import annotations

import socket
import ssl
import struct
from typing import Self

from kong_gevent.devtools.certificates import Certificates
from kong_gevent.devtools.errors import ToolError

_VERSION = 0x04
_ERROR, _STARTUP, _READY, _AUTHENTICATE, _OPTIONS, _SUPPORTED, _QUERY, _RESULT = 0, 1, 2, 3, 5, 6, 7, 8
_AUTH_RESPONSE, _AUTH_SUCCESS = 0x0F, 0x10
_ROWS = 2
_LEVELS = {"ONE": 1, "QUORUM": 4, "ALL": 5, "LOCAL_QUORUM": 6, "LOCAL_ONE": 10}
Row = list[bytes | None]


class CqlError(ToolError):
    """The server answered with an error; `code` is the protocol's number of it."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        super().__init__(message)


class Session:
    """One connection to one node: `with Session("127.0.0.1") as cql: cql.run("CREATE KEYSPACE …")`."""

    def __init__(
        self,
        address: str,
        port: int = 9042,
        *,
        user: str = "",
        password: str = "",
        tls: Certificates | None = None,
        timeout: float = 60,
    ) -> None:
        """Connect and log in. Raises OSError (also for TLS) and CqlError."""
        self._socket = connect(address, port, timeout, tls)
        try:
            self._start(user, password)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, statement: str, level: str = "LOCAL_QUORUM") -> list[Row]:
        """Run one statement; returns its rows (first page of 5000). Raises CqlError and OSError."""
        text = statement.encode()
        # Flags: page size.
        body = struct.pack(">I", len(text)) + text + struct.pack(">HBI", _LEVELS[level], 0x04, 5000)
        _, answer = self._ask(_QUERY, body)
        return _rows(answer) if struct.unpack_from(">I", answer)[0] == _ROWS else []

    def close(self) -> None:
        """Leave."""
        self._socket.close()

    def _start(self, user: str, password: str) -> None:
        opcode, _ = self._ask(_STARTUP, _string_map({"CQL_VERSION": "3.0.0"}))
        if opcode == _AUTHENTICATE:
            token = b"\0" + user.encode() + b"\0" + password.encode()
            self._ask(_AUTH_RESPONSE, struct.pack(">I", len(token)) + token)

    def _ask(self, opcode: int, body: bytes) -> tuple[int, bytes]:
        self._socket.sendall(struct.pack(">BBhBI", _VERSION, 0, 0, opcode, len(body)) + body)
        kind, answer = receive(self._socket)
        if kind == _ERROR:
            (code, length) = struct.unpack_from(">IH", answer)
            raise CqlError(code, answer[6 : 6 + length].decode("utf-8", "replace"))
        return kind, answer


def connect(address: str, port: int, timeout: float, tls: Certificates | None = None) -> socket.socket:
    """A connection; over TLS, and with the client's certificate, when there are certificates."""
    plain = socket.create_connection((address, port), timeout)
    if tls is None:
        return plain
    try:
        context = ssl.create_default_context(cafile=str(tls.ca))
        context.load_cert_chain(tls.client, tls.client_key)
        return context.wrap_socket(plain, server_hostname=address)
    except BaseException:
        plain.close()
        raise


def receive(connection: socket.socket) -> tuple[int, bytes]:
    """Opcode and body of the next frame. Raises OSError when the connection ends."""
    head = _exactly(connection, 9)
    opcode, length = struct.unpack(">BI", head[4:])
    body = _exactly(connection, length)
    # Flags: tracing (16 bytes) is never asked for; warnings come first.
    if head[1] & 0x08:
        at = 2
        for _ in range(struct.unpack_from(">H", body)[0]):
            at += 2 + struct.unpack_from(">H", body, at)[0]
        body = body[at:]
    return opcode, body


def answers(address: str, port: int, tls: Certificates | None = None) -> bool:
    """Whether a node speaks CQL; an open port alone is too early."""
    try:
        with connect(address, port, 5, tls) as connection:
            connection.sendall(struct.pack(">BBhBI", _VERSION, 0, 0, _OPTIONS, 0))
            return receive(connection)[0] == _SUPPORTED
    except OSError:
        return False


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise ConnectionResetError("the server closed the connection")
        data += piece
    return data


def _string_map(values: dict[str, str]) -> bytes:
    encoded = [item.encode() for pair in values.items() for item in pair]
    return struct.pack(">H", len(values)) + b"".join(struct.pack(">H", len(item)) + item for item in encoded)


def _rows(body: bytes) -> list[Row]:
    flags, columns = struct.unpack_from(">II", body, 4)
    at = 12
    if flags & 0x02:
        at = _skip_bytes(body, at)
    if flags & 0x01:
        at = _skip_string(body, _skip_string(body, at))
    for _ in range(columns):
        if not flags & 0x01:
            at = _skip_string(body, _skip_string(body, at))
        at = _skip_type(body, _skip_string(body, at))
    (count,) = struct.unpack_from(">I", body, at)
    at += 4
    rows: list[Row] = []
    for _ in range(count):
        row: Row = []
        for _ in range(columns):
            (length,) = struct.unpack_from(">i", body, at)
            row.append(None if length < 0 else body[at + 4 : at + 4 + length])
            at += 4 + max(length, 0)
        rows.append(row)
    return rows


def _skip_bytes(body: bytes, at: int) -> int:
    return at + 4 + max(int(struct.unpack_from(">i", body, at)[0]), 0)


def _skip_string(body: bytes, at: int) -> int:
    return at + 2 + int(struct.unpack_from(">H", body, at)[0])


def _skip_type(body: bytes, at: int) -> int:
    """Behind a column's type: custom, collections, user-defined types and tuples hold more than their number."""
    (kind,) = struct.unpack_from(">H", body, at)
    at += 2
    if kind == 0x00:
        return _skip_string(body, at)
    if kind in (0x20, 0x22):
        return _skip_type(body, at)
    if kind == 0x21:
        return _skip_type(body, _skip_type(body, at))
    if kind == 0x30:
        at = _skip_string(body, _skip_string(body, at))
    if kind in (0x30, 0x31):
        (count,) = struct.unpack_from(">H", body, at)
        at += 2
        for _ in range(count):
            at = _skip_type(body, _skip_string(body, at) if kind == 0x30 else at)
    return at
