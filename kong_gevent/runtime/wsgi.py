"""WSGI in both directions: our own applications on the gateway's connections, and the proxy under any WSGI server."""

from __future__ import annotations

import errno
import io
import logging
import sys
from collections.abc import Callable, Iterable
from itertools import chain
from time import monotonic
from typing import TYPE_CHECKING, Any

from kong_gevent.errors import AnswerCut, ConnectionClosed, DeadlineExceeded, HttpError, ProtocolError
from kong_gevent.http import problem
from kong_gevent.http.fields import RequestFields
from kong_gevent.pdk import Context
from kong_gevent.proxy.stream import Stream
from kong_gevent.runtime.bodies import BodyBuffer
from kong_gevent.runtime.environ import section_of, target_of
from kong_gevent.runtime.reasons import REASONS

if TYPE_CHECKING:
    from kong_gevent.pdk.client_certificates import ClientCertificate
    from kong_gevent.runtime.connection import Connection
    from kong_gevent.runtime.gateway import Gateway

log = logging.getLogger("kong_gevent.wsgi")
Application = Callable[..., Iterable[bytes]]
_BODILESS = frozenset((204, 304))


# --- our applications (Admin API, status) on the gateway's own connections --------------------------------------------


class Body(io.RawIOBase):
    """`wsgi.input` over a connection's request body."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rest = b""

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` with the next bytes of the body."""
        data = self._rest or self._connection.read_body()
        size = len(buffer)
        buffer[: len(data[:size])] = data[:size]
        self._rest = data[size:]
        return min(len(data), size)


def environ_of(connection: Connection, head: Any) -> dict[str, Any]:
    """The WSGI environment (PEP 3333) of a request."""
    method, target, minor, fields, _ = head
    path, _, query = target.partition(b"?")
    if not path.startswith(b"/"):
        path = b"/" + path.partition(b"://")[2].partition(b"/")[2] if b"://" in path else path
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method.decode("latin-1"),
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_latin(path),
        "RAW_URI": target.decode("latin-1"),
        "QUERY_STRING": query.decode("latin-1"),
        "SERVER_NAME": connection.server_ip,
        "SERVER_PORT": str(connection.port),
        "SERVER_PROTOCOL": f"HTTP/1.{minor}",
        "REMOTE_ADDR": connection.client_ip,
        "REMOTE_PORT": str(connection.client_port),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https" if connection.tls else "http",
        "wsgi.input": io.BufferedReader(Body(connection)),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, values in fields.index.items():
        key = name.upper().replace("-", "_")
        environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = ",".join(values)
    if connection.client_subject is not None:
        environ["SSL_CLIENT_S_DN"] = connection.client_subject
    return environ


def unquote_latin(path: bytes) -> str:
    """Percent-decode a path into WSGI's latin-1 form of its bytes."""
    parts = path.split(b"%")
    decoded = [parts[0]]
    for part in parts[1:]:
        try:
            decoded.append(
                bytes((int(part[:2], 16),)) + part[2:] if part[:2].isalnum() and len(part) > 1 else b"%" + part
            )
        except ValueError:
            decoded.append(b"%" + part)
    return b"".join(decoded).decode("latin-1")


class WsgiRole:
    """Serves the requests of a listener with a WSGI application; bodies beyond `limit` bytes are refused (0: none)."""

    def __init__(self, gateway: Gateway, application: Application, limit: int, access_log: Any) -> None:
        self._gateway = gateway
        self._application = application
        self._limit = limit
        self._access_log = access_log

    def __call__(self, connection: Connection, head: Any, began: float) -> None:
        """Serve one request; the connection goes on only after a complete answer."""
        gateway = self._gateway
        ctx = Context(gateway, connection, connection, head, began)
        ctx.source = "exit"
        try:
            self._serve(ctx, connection, head)
        except HttpError as error:
            connection.keep = False
            if not connection.started:
                self._plain_error(ctx, connection, error.status, error.message)
        except (ConnectionClosed, DeadlineExceeded, OSError):
            ctx.status = ctx.status or 499
            raise
        except Exception:
            log.exception("%s: making the answer failed", ctx.target.decode("latin-1"))
            if connection.started:
                connection.abort()  # whoever reads it must not take it for a whole one
            else:
                self._plain_error(ctx, connection, 500, problem.MESSAGES[500])
        finally:
            if self._access_log is not None:
                self._access_log.write(ctx)

    def _serve(self, ctx: Context, connection: Connection, head: Any) -> None:
        if self._limit:
            if ctx.fields.content_length > self._limit:
                raise HttpError(413, problem.MESSAGES[413])
            connection.limit_body(self._limit, 413, problem.MESSAGES[413])
        answer: list[Any] = []

        def start_response(
            status: str, headers: list[tuple[str, str]], exc_info: Any = None
        ) -> Callable[[bytes], None]:
            answer[:] = [status, headers]
            return parts.append

        parts: list[bytes] = []  # what the application writes itself, which Flask's never do
        environ = environ_of(connection, head)
        environ["kong.request_id"] = ctx.id
        result = self._application(environ, start_response)
        logged = environ.get("kong_gevent.logged_target")  # what the application wants to be read in the access log
        if logged is not None:
            ctx.target = logged.encode("latin-1", "replace")
        try:
            serve = environ.get("kong_gevent.upgraded")
            if serve is not None and answer[0].startswith("101"):
                self._upgrade(ctx, connection, answer[1], serve)
                return
            self._answer(ctx, connection, answer, chain(parts, result))
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()

    def _answer(self, ctx: Context, connection: Connection, answer: list[Any], pieces: Iterable[bytes]) -> None:
        """Send an answer: as a whole when its length is told, else piece by piece as they are made."""
        status, headers = answer
        code, _, told = status.partition(" ")
        ctx.status = int(code)
        reason = REASONS.get(ctx.status) or told.encode("latin-1")  # werkzeug shouts its own
        names = {name.lower() for name, _ in headers}
        length: int | None = None
        lines = []
        for name, value in headers:
            lower = name.lower()
            if lower == "content-length":
                length = int(value)
            elif lower not in ("connection", "transfer-encoding"):
                lines.append(b"%b: %b\r\n" % (name.encode("latin-1"), value.encode("latin-1")))
        if "date" not in names:
            lines.append(self._gateway.date_line())
        rest = iter(pieces)
        body = next(rest, b"") if length is None else b"".join(rest)
        connection.start(ctx, ctx.status, reason, b"".join(lines), length, body)
        for piece in rest:
            connection.write(piece)
        connection.finish()

    @staticmethod
    def _upgrade(
        ctx: Context, connection: Connection, headers: list[tuple[str, str]], serve: Callable[[Stream, bytes], None]
    ) -> None:
        """The application has agreed to speak another protocol, and left in its environment what speaks it."""
        ctx.status = 101
        lines = [
            f"{name}: {value}\r\n"
            for name, value in headers
            if name.lower() not in ("connection", "upgrade", "content-length", "transfer-encoding")
        ]
        serve(connection.stream, connection.switch("".join(lines).encode("latin-1")))

    def _plain_error(self, ctx: Context, connection: Connection, status: int, message: str) -> None:
        ctx.status = status
        body = b'{"message":"%b"}' % message.encode()
        lines = b"Content-Type: application/json; charset=utf-8\r\n" + self._gateway.date_line()
        connection.start(ctx, status, REASONS.get(status, b"Unknown"), lines, len(body), body)
        connection.finish()


# --- the proxy under any WSGI server ----------------------------------------------------------------------------------


class WsgiConnection:
    """What a WSGI server tells about the client's connection."""

    server_name: str | None = None
    client_subject: str | None = None
    client_certificate: ClientCertificate | None = None
    described = b""

    def __init__(self, gateway: Gateway, environ: dict[str, Any]) -> None:
        self.peer_ip: str = environ.get("REMOTE_ADDR", "")
        self.peer_port = int(environ.get("REMOTE_PORT") or 0)
        self.client_ip, self.client_port = self.peer_ip, self.peer_port
        self.peer_bytes = self.peer_ip.encode() or b"unix:"
        self.server_ip: str = environ.get("SERVER_NAME", "")
        port = int(environ.get("SERVER_PORT") or 80)
        self.port = gateway.port_map.get(port, port)
        self.tls = environ.get("wsgi.url_scheme") == "https"
        self.trusted = gateway.forwarding.trusts(self.peer_ip)
        self.forwarded_lines = b""
        self.forwarded_for: Any = None
        self.serial = self.requests = 1


class WsgiExchange(BodyBuffer):
    """One request under a WSGI server, as the pipeline's exchange (see `runtime.exchange.Exchange`).

    Interim answers, trailers and tunnels cannot be expressed in WSGI; upgrades are therefore ignored here.
    """

    can_tunnel = False
    gone = False

    def __init__(self, environ: dict[str, Any], start_response: Callable[..., Any], fields: RequestFields) -> None:
        self._input = environ["wsgi.input"]
        self._start_response = start_response
        self._write: Callable[[bytes], Any] | None = None
        self._pushed = b""
        self._limit: tuple[int, int, str, type[HttpError]] | None = None
        self._bodiless = False
        self.length = -1 if fields.chunked else max(fields.content_length, 0)
        self._left = self.length
        self.started = self.uploading = False
        self.awaited: Stream | None = None
        self.keep = True
        self.received = self.sent = 0
        self.trailers: list[tuple[bytes, bytes]] = []

    def wait_for(self, upstream: Stream) -> None:
        """A WSGI server does not tell when its client leaves."""

    def body_done(self) -> bool:
        """See `Exchange`."""
        return not self._left and not self._pushed

    def read_body(self) -> bytes:
        """See `Exchange`."""
        if self._pushed:
            data, self._pushed = self._pushed, b""
        else:
            if not self._left:
                return b""
            size = 65536 if self._left < 0 else min(self._left, 65536)
            try:
                data = self._input.read(size)
            except OSError as error:
                raise ConnectionClosed(f"the client left within its request's body: {error}") from error
            except Exception as error:  # each server has its own for chunks that break the rules
                raise ProtocolError(400, problem.MESSAGES[400], str(error)) from error
            if self._left > 0:
                if not data:
                    raise ConnectionClosed("the client left within its request's body")
                self._left -= len(data)
            elif not data:
                self._left = 0
        self.received += len(data)
        if self._limit is not None and self.received > self._limit[0]:
            raise self._limit[3](self._limit[1], self._limit[2], "the body is larger than allowed")
        return bytes(data)

    def buffered_body(self, limit: int) -> bytes | None:
        """See `Exchange`."""
        if self._pushed and not self._left:
            return self.read_body()
        if self._pushed or not limit or self._left > limit:
            return None if self._left or self._pushed else b""
        return self._gather(limit)

    def _unframed(self) -> None:
        """See `BodyBuffer`."""
        self._left = 0

    def _refused(self) -> None:
        """The server decides what becomes of the connection."""

    def splice_body(self, sink: Stream) -> bool:
        """There is no socket here."""
        return False

    def start(self, ctx: Context, status: int, reason: bytes, lines: bytes, length: int | None, body: bytes) -> None:
        """See `Exchange`; the server frames the body."""
        self.started = True
        self._bodiless = status in _BODILESS or ctx.method == b"HEAD"
        headers = []
        for line in lines.decode("latin-1").split("\r\n"):
            name, colon, value = line.partition(": ")
            if colon and name.lower() not in ("connection", "upgrade"):
                headers.append((name, value))
        if length is not None and status != 204:
            headers.append(("Content-Length", str(length)))
        self._write = self._start_response(f"{status} {reason.decode('latin-1')}", headers)
        if body:
            self.write(body)

    def write(self, data: bytes) -> None:
        """See `Exchange`."""
        if data and not self._bodiless and self._write is not None:
            self.sent += len(data)
            self._write(data)

    def splice_answer(self, source: Stream, count: int) -> bool:
        """There is no socket here."""
        return False

    def finish(self, trailers: list[tuple[bytes, bytes]] | None = None) -> None:
        """See `Exchange`."""

    def abort(self) -> None:
        """The server closes the connection when the application raises."""

    def interim(self, status: int, reason: bytes, lines: bytes) -> None:
        """WSGI has none."""

    def tunnel(self, ctx: Context, lines: bytes, upstream: Stream, first: bytes) -> None:
        """Never called, since `can_tunnel` is False."""
        raise ConnectionClosed("no tunnels under WSGI")


def serve_wsgi(gateway: Gateway, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Serve one request of a WSGI server through the pipeline; the answer is pushed through `write`.

    Raises `AnswerCut`, and `OSError` when the client has gone.
    """
    began = monotonic()
    connection = WsgiConnection(gateway, environ)
    minor = 0 if environ.get("SERVER_PROTOCOL") == "HTTP/1.0" else 1
    method = environ["REQUEST_METHOD"].encode("latin-1")
    try:
        target = target_of(environ)
        gateway.requests.check_target(target)
        section = section_of(environ)
        fields = RequestFields(section)
        if minor and fields.host is None:
            raise ProtocolError(400, problem.MESSAGES[400], "HTTP/1.1 without Host")
    except ProtocolError as error:
        empty = RequestFields(b"")
        exchange = WsgiExchange(environ, start_response, empty)
        ctx = Context(gateway, exchange, connection, (method, b"-", minor, empty, 0), began)
        gateway.pipeline.refuse(ctx, error)
        return []
    exchange = WsgiExchange(environ, start_response, fields)
    ctx = Context(gateway, exchange, connection, (method, target, minor, fields, len(section)), began)
    try:
        gateway.pipeline.handle(ctx)
    except AnswerCut:
        raise
    except ConnectionClosed as error:  # in the form in which servers expect it, and find nothing wrong with us
        raise ConnectionResetError(errno.ECONNRESET, str(error)) from None
    return []
