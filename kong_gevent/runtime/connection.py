"""A client's connection in the gateway's own worker: reads requests, serves them in turn, writes the answers.

Strategy: an idle connection holds no greenlet. When bytes arrive, a greenlet from a free list serves requests until the
connection is idle again. The connection itself is the *exchange* of the request it is serving.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Any

import gevent

from kong_gevent.errors import AnswerCut, ConnectionClosed, DeadlineExceeded, HttpError, ProtocolError
from kong_gevent.http import problem
from kong_gevent.http.chunked import ChunkedDecoder, encode_chunk, last_chunk
from kong_gevent.http.fields import RequestFields
from kong_gevent.pdk import Context
from kong_gevent.proxy.splice import SourceFailed, splice
from kong_gevent.proxy.stream import Stream
from kong_gevent.runtime.received import ReceivedBody
from kong_gevent.runtime.tunnel import run_tunnel

if TYPE_CHECKING:
    from kong_gevent.pdk.client_certificates import ClientCertificate
    from kong_gevent.runtime.listener import Listener

log = logging.getLogger("kong_gevent.connection")
READ_SIZE = 16384
FAIR = 16
"""Requests that a client may have served in a row before others get a turn."""
LINGER_SECONDS = 2.0
LINGER_BYTES = 1 << 20
NO_FIELDS = RequestFields(b"")
_BODILESS = frozenset((204, 304))


class Connection(ReceivedBody):
    """One client connection and, while it serves a request, that request's exchange (see `runtime.exchange`)."""

    __slots__ = (
        "_bodiless",
        "_chunked_answer",
        "_minor",
        "awaited",
        "can_tunnel",
        "client_ip",
        "client_port",
        "forwarded_for",
        "forwarded_lines",
        "gone",
        "last",
        "listener",
        "peer_bytes",
        "described",
        "peer_ip",
        "peer_port",
        "port",
        "requests",
        "sent",
        "serial",
        "server_ip",
        "tls",
        "trusted",
    )

    server_name: str | None = None
    """The name that the client asked for in its TLS handshake."""
    client_subject: str | None = None
    """Subject of the certificate that the client has shown, and that was verified."""
    client_certificate: ClientCertificate | None = None
    """The certificate that the client has shown, and that nobody has verified yet."""

    def __init__(self, stream: Stream, listener: Listener, peer: tuple[str, int], serial: int) -> None:
        gateway = listener.gateway
        self.stream = stream
        self.listener = listener
        self.gateway = gateway
        self.peer_ip, self.peer_port = self.client_ip, self.client_port = peer
        self.peer_bytes = self.peer_ip.encode() or b"unix:"
        self.server_ip = listener.server_ip
        self.port = listener.port
        self.tls = listener.tls
        self.described = b""  # its TLS in log records (see `pdk.record`), once it was asked for
        self.trusted = gateway.forwarding.trusts(self.peer_ip)
        self.forwarded_lines = b""
        self.forwarded_for: Any = None
        self.serial = serial
        self.requests = 0
        self.can_tunnel = True
        self.keep = True
        self._data = b""
        self._linger = False
        self._decoder: ChunkedDecoder | None = None
        self._limit: tuple[int, int, str, type[HttpError]] | None = None
        self.trailers: list[tuple[bytes, bytes]] = []
        self.awaited: Stream | None = None
        self.gone = self.last = False
        self._expect_body(1, NO_FIELDS)
        stream.write_timeout = gateway.send_timeout
        stream.credit_to_send = gateway.streams.sending.credit
        stream.credit_to_take = gateway.streams.taking.credit

    # --- the loop --------------------------------------------------------------------------------------------------

    def run(self) -> bool:
        """Serve requests while there are any; whether the connection stays open (idle) afterwards."""
        stream = self.stream
        try:
            data = self._data
            if not data:
                try:
                    data = stream.recv(READ_SIZE)
                except BlockingIOError:
                    return True
                if not data:
                    return False
            in_a_row = 0
            while True:
                self._data = b""
                if not self._serve_one(data):
                    self._end()
                    return False
                data = self._data
                if data or stream.pending:
                    in_a_row += 1
                    self._pipelined(in_a_row)
                if data:
                    continue
                if stream.pending:
                    stream.resume()
                    try:
                        data = stream.recv(READ_SIZE)
                    except BlockingIOError:
                        return True
                    if not data:
                        return False
                    continue
                return True
        except (ConnectionClosed, DeadlineExceeded, OSError):
            if stream.untaken:
                self.gateway.cut.slow_readers += 1
                log.info("client %s: it does not take its answer: %d bytes were sent", self.client_ip, self.sent)
                stream.reset()  # nobody will take what the kernel still holds
            return False

    def _pipelined(self, in_a_row: int) -> None:
        """The next request has come before the answer of the last: fairness, and an end to it."""
        if in_a_row >= self.gateway.max_pipelined:
            self.last = True
        if not in_a_row % FAIR:
            gevent.sleep(0)

    def _serve_one(self, data: bytes) -> bool:
        """Read a head (its first bytes are in `data`), serve the request; whether another may follow."""
        gateway = self.gateway
        began = monotonic()
        self.started = False
        self.sent = 0
        try:
            head = gateway.requests.scan(data)
            if head is None:
                head, data = self._read_head(data, began)
                if head is None:
                    return False
        except ProtocolError as error:
            self._refuse(error, began)
            return False
        except DeadlineExceeded as error:
            self.stream.fault = None
            gateway.cut.slow_heads += 1
            self._refuse(ProtocolError(408, problem.MESSAGES[408], f"the head did not come in time: {error}"), began)
            return False
        self.requests += 1
        _, _, minor, fields, size = head
        self._minor = minor
        self._data = data[size:] if len(data) > size else b""
        if self._had_body or not fields.bodiless:
            self._expect_body(minor, fields)
        self.keep = (
            not fields.close
            and (minor == 1 or fields.keep_alive)
            and not gateway.draining
            and self.requests < gateway.keepalive_requests
            and not self.last
        )
        try:
            self.listener.serve(self, head, began)
        except AnswerCut:
            self.keep = False
        return self.keep and self.body_done()

    def _read_head(self, data: bytes, began: float) -> tuple[Any, bytes]:
        """Read on until the head is complete, within one time limit for all of it."""
        stream = self.stream
        timeout = self.gateway.header_timeout
        while True:
            stream.read_timeout = max(0.001, began + timeout - monotonic())
            more = stream.read(READ_SIZE)
            if not more:
                return None, b""
            data += more
            head = self.gateway.requests.scan(data)
            if head is not None:
                return head, data

    def _refuse(self, error: ProtocolError, began: float) -> None:
        """Answer a request whose head cannot be used; nothing more is read from this connection."""
        self.keep = False
        self._minor = 1
        self._expect_body(1, NO_FIELDS)
        self._linger = True
        gateway = self.gateway
        log.info("client %s: %d %s", self.client_ip, error.status, error.reason)
        ctx = Context(gateway, self, self, (b"-", b"-", 1, NO_FIELDS, 0), began)
        gateway.pipeline.refuse(ctx, error)

    def _end(self) -> None:
        """Say goodbye so that the client can still read the answer: half-close, then read what it goes on sending."""
        stream = self.stream
        if not self._linger and self.body_done() and not self._data and not stream.pending:
            return
        if stream.closed:
            return
        stream.shutdown_write()
        until = monotonic() + LINGER_SECONDS
        left = LINGER_BYTES
        while left > 0:
            stream.read_timeout = max(0.001, until - monotonic())
            data = stream.read()
            if not data:
                return
            left -= len(data)

    # --- the client while an answer is awaited ---------------------------------------------------------------------

    def wait_for(self, upstream: Stream) -> None:
        """See `Exchange.wait_for`."""
        self.awaited = upstream
        if self.stream.pending:
            self.heard()

    def heard(self) -> None:
        """Something came while nobody reads: the next request, or the end of the connection. Called in the hub.

        A client that closes its side while it waits for an answer has gone, as Kong's server layer sees it; the
        upstream need not go on working for it.
        """
        upstream = self.awaited
        if upstream is None or self._data:
            return
        try:
            gone = self.stream.has_ended()
        except OSError:
            gone = True
        if gone:
            self.gone = True
            upstream.close()

    def cut_off(self) -> None:
        """The worker leaves: whoever serves this connection finds both sides closed."""
        if self.awaited is not None:
            self.gone = True
            self.awaited.close()
        self.stream.close()

    # --- the answer ------------------------------------------------------------------------------------------------

    def start(self, ctx: Context, status: int, reason: bytes, lines: bytes, length: int | None, body: bytes) -> None:
        """See `Exchange.start`."""
        self.started = True
        keep = self.keep
        bodiless = self._bodiless = status in _BODILESS or ctx.method == b"HEAD"
        self._chunked_answer = False
        if keep and self._had_body and not self.body_done():
            self._settle_body(status)
            keep = self.keep
        stream = self.stream
        if keep and length is not None and not bodiless and status != 426:  # by far the most frequent form
            head = b"HTTP/1.1 %d %b\r\n%bContent-Length: %d\r\nConnection: keep-alive\r\n\r\n%b" % (
                status,
                reason,
                lines,
                length,
                body,
            )
        else:
            head = self._unusual_head(status, reason, lines, length)
            if body and not bodiless:
                head += encode_chunk(body) if self._chunked_answer else body
        self.sent += len(head)
        stream.write(head)

    def _unusual_head(self, status: int, reason: bytes, lines: bytes, length: int | None) -> bytes:
        """The head of an answer with its framing and connection fields; decides both."""
        if length is not None:
            framing = b"" if status == 204 else b"Content-Length: %d\r\n" % length
        elif self._bodiless:
            framing = b""
        elif self._minor:
            framing = b"Transfer-Encoding: chunked\r\n"
            self._chunked_answer = True
        else:
            framing = b""
            self.keep = False
        if not self.keep:
            connection = b"Connection: close\r\n"
        else:  # the field of a 426 names the upgrade, and has been set with the others
            connection = b"" if status == 426 else b"Connection: keep-alive\r\n"
        return b"HTTP/1.1 %d %b\r\n%b%b%b\r\n" % (status, reason, lines, framing, connection)

    def write(self, data: bytes) -> None:
        """See `Exchange.write`."""
        if data and not self._bodiless:
            framed = encode_chunk(data) if self._chunked_answer else data
            self.sent += len(framed)
            self.stream.write(framed)

    def splice_answer(self, source: Stream, count: int) -> bool:
        """See `Exchange.splice_answer`."""
        if self._chunked_answer or self._bodiless or not self.stream.plain:
            return False
        try:
            return splice(source, self.stream, count, self._answered)
        except SourceFailed as failure:
            self.abort()
            raise AnswerCut(f"the upstream failed within its answer: {failure}") from failure

    def _answered(self, count: int) -> None:
        self.sent += count

    def finish(self, trailers: list[tuple[bytes, bytes]] | None = None) -> None:
        """See `Exchange.finish`."""
        if self._chunked_answer:
            end = last_chunk(trailers)
            self.sent += len(end)
            self.stream.write(end)

    def _settle_body(self, status: int) -> None:
        """What becomes of a request body that has not been read when the answer begins.

        One that is passed on right now goes on being so, unless the answer is a refusal; one that is here already is
        dropped; for any other the connection ends with the answer.
        """
        if self.uploading and status < 400:
            return
        if not self.uploading and self._decoder is None and len(self._data) >= self._left:
            self._data = self._data[self._left :]
            self._pushed = b""
            self._left = 0
        else:
            self.keep = False
            self._linger = True

    def abort(self) -> None:
        """See `Exchange.abort`.

        Only clients of HTTP/1.0 need a reset to see it. It could take earlier answers along: the others get an end.
        """
        self.keep = False
        self._linger = self._minor > 0
        if not self._minor:
            self.stream.reset()

    def interim(self, status: int, reason: bytes, lines: bytes) -> None:
        """See `Exchange.interim`."""
        if self._minor:
            self.stream.write(b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, reason, lines))

    def tunnel(self, ctx: Context, lines: bytes, upstream: Stream, first: bytes) -> None:
        """See `Exchange.tunnel`."""
        early = self.switch(lines, first)
        if early:
            upstream.write(early)
        received, answered = run_tunnel(self.gateway, self.stream, upstream)
        self.received = len(early) + received
        self.sent += answered

    def switch(self, lines: bytes, first: bytes = b"") -> bytes:
        """Answer 101, then `first` in the new protocol; what the client has sent of it already."""
        self.started = True
        self.keep = False
        head = b"HTTP/1.1 101 Switching Protocols\r\n%bConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" % lines
        self.stream.write(head + first)
        self.sent += len(head) + len(first)
        early, self._data = self._data, b""
        return early
