"""The request bodies of a client's connection: framing, limits, reading, passing on without looking."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import gevent

from kong_gevent.errors import ConnectionClosed, DeadlineExceeded, HttpError, ProtocolError
from kong_gevent.http import problem
from kong_gevent.http.chunked import ChunkedDecoder
from kong_gevent.http.fields import RequestFields
from kong_gevent.proxy.splice import SourceFailed, splice
from kong_gevent.proxy.stream import Stream
from kong_gevent.runtime.answers import ClientFault
from kong_gevent.runtime.bodies import BodyBuffer

if TYPE_CHECKING:
    from kong_gevent.runtime.gateway import Gateway

log = logging.getLogger("kong_gevent.connection")
BODY_READ = 262144
CHUNKED_READ, TINY_READ = 65536, 8192
"""Bytes that are read, and decoded in one go, of a body in chunks; the second where more than half is framing."""
FAIR = 8
"""Reads of a body in a row before others get a turn."""
SPLICE_FROM = 65536


class ReceivedBody(BodyBuffer):
    """The part of a connection that reads the body of the request being served, from `_data` and then the socket."""

    __slots__ = (
        "_data",
        "_decoder",
        "_had_body",
        "_linger",
        "_reads",
        "_tiny",
        "_wants_continue",
        "gateway",
        "keep",
        "started",
        "stream",
        "trailers",
        "uploading",
    )

    _data: bytes
    _decoder: ChunkedDecoder | None
    _linger: bool
    gateway: Gateway
    keep: bool
    client_ip: str
    started: bool
    stream: Stream
    trailers: list[tuple[bytes, bytes]]

    def _expect_body(self, minor: int, fields: RequestFields) -> None:
        """Get ready to read a request's body, or to have none after a request that had one."""
        self._had_body = not fields.bodiless
        self.received = self._reads = 0
        self._tiny = False
        self._limit = None
        self._pushed = b""
        self.trailers = []
        self.uploading = False
        self._wants_continue = fields.expect and minor == 1
        if fields.chunked:
            self.length = -1
            self._decoder = ChunkedDecoder()
            self._left = 0
        else:
            self._decoder = None
            self.length = self._left = max(fields.content_length, 0)

    def body_done(self) -> bool:
        """See `Exchange.body_done`."""
        if self._left or self._pushed:
            return False
        return self._decoder is None or self._decoder.done

    def _receive(self) -> bytes:
        """More bytes of the body from the socket."""
        stream = self.stream
        if self._wants_continue:
            self._continue()
        chunked = self._decoder is not None
        if self._reads and (chunked or not self._reads % FAIR):
            gevent.sleep(0)  # a client that is faster than this worker would have it for itself
        self._reads += 1
        size = BODY_READ if not chunked else TINY_READ if self._tiny else CHUNKED_READ
        stream.read_timeout = self.gateway.body_timeout
        try:
            while True:
                try:
                    data = stream.recv(size)
                except BlockingIOError:
                    stream.wait_readable()
                    continue
                break
        except DeadlineExceeded:
            self.keep = False
            raise self._too_slow() from None
        if not data:
            raise ConnectionClosed("the client left within its request's body")
        return data

    def _too_slow(self) -> HttpError:
        """The client has stalled, or sends fewer bytes per second than it has to."""
        self.stream.fault = None
        self.gateway.cut.slow_bodies += 1
        log.info("client %s: 408 the body did not come in time: %d bytes did", self.client_ip, self.received)
        return HttpError(408, problem.MESSAGES[408], "the body did not come in time")

    def _continue(self) -> None:
        """Ask for the body of a client that waits to be asked; too late once the answer has begun."""
        self._wants_continue = False
        if not self.started:
            self.stream.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def read_body(self) -> bytes:
        """See `Exchange.read_body`."""
        if self._pushed:
            pushed, self._pushed = self._pushed, b""
            self._count(len(pushed))
            return pushed
        if self._decoder is not None:
            return self._read_chunked(self._decoder)
        if not self._left:
            return b""
        data = self._data or self._receive()
        self._data = data[self._left :]
        data = data[: self._left]
        self._left -= len(data)
        self._count(len(data))
        return data

    def _read_chunked(self, decoder: ChunkedDecoder) -> bytes:
        while not decoder.done:
            data = self._data or self._receive()
            self._data = b""
            try:
                body = decoder.feed(data)
            except ValueError as error:
                self.keep = False
                self._linger = True
                raise ProtocolError(400, problem.MESSAGES[400], str(error)) from None
            self._tiny = 2 * len(body) < len(data)
            if decoder.done:
                self._data = decoder.rest
                self.trailers = decoder.trailers
            if body:
                self._count(len(body))
                return body
        return b""

    def _count(self, size: int) -> None:
        """Count body bytes against the limits."""
        self.received += size
        limit = self._limit
        if limit is not None and self.received > limit[0]:
            self.keep = False
            self._linger = True
            raise limit[3](limit[1], limit[2], "the body is larger than allowed")

    def buffered_body(self, limit: int) -> bytes | None:
        """See `Exchange.buffered_body`."""
        if self._pushed:
            return self.read_body() if not self._left and self._decoder is None else None
        if self._decoder is None and len(self._data) >= self._left:
            return self.read_body()
        if self._left > limit or not limit:
            return None
        return self._gather(limit)

    def _unframed(self) -> None:
        """See `BodyBuffer`."""
        self._decoder = None

    def _refused(self) -> None:
        """See `BodyBuffer`."""
        self._linger = True

    def splice_body(self, sink: Stream) -> bool:
        """See `Exchange.splice_body`."""
        if (
            self._decoder is not None
            or self._pushed
            or self._left - len(self._data) < SPLICE_FROM
            or not self.stream.plain
        ):
            return False
        if self._limit is not None and self.received + self._left > self._limit[0]:
            return False
        if self._wants_continue:
            self._continue()
        if self._data:
            data, self._data = self._data, b""
            self._spliced(len(data))
            sink.write(data)
        self.stream.read_timeout = self.gateway.body_timeout
        try:
            return splice(self.stream, sink, self._left, self._spliced)
        except SourceFailed as failure:
            self.keep = False
            cause: Exception = failure.cause
            if isinstance(cause, DeadlineExceeded):
                cause = self._too_slow()
            raise ClientFault(cause) from failure

    def _spliced(self, count: int) -> None:
        self.received += count
        self._left -= count
