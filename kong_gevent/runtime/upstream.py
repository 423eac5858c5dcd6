"""Calling the upstream: build the request, try addresses until one answers, pass the answer on as it comes."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterator
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from kong_gevent.errors import AnswerError, ConnectionClosed, DeadlineExceeded, HttpError
from kong_gevent.http import problem
from kong_gevent.http.chunked import ChunkedDecoder, encode_chunk, last_chunk
from kong_gevent.http.heads import AnswerHead
from kong_gevent.http.target import upstream_path
from kong_gevent.pdk import Context
from kong_gevent.proxy.pool import Lease
from kong_gevent.proxy.resolver import NameNotResolved
from kong_gevent.runtime.answers import AnswerNow, ClientFault
from kong_gevent.runtime.phases import Phases
from kong_gevent.runtime.plan import host_header

if TYPE_CHECKING:
    from kong_gevent.runtime.pipeline import Pipeline

log = logging.getLogger("kong_gevent.proxy")
HEAD_READ = 16384
MAX_INTERIM = 16
"""Interim answers of one request; an upstream that sends more is not to be trusted."""
BUFFERED_ANSWER_LIMIT = 64 << 20
"""Bytes of an answer that is read whole because a plugin wants to see it so."""
SPLICE_FROM = 65536
_RETRIED_AFTER_SENDING = frozenset((b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS"))
_BODILESS = frozenset((204, 304))


class Try:
    """One attempt, for the log record: when it began (epoch ns), how long choosing took (ns), and how it failed."""

    __slots__ = ("began", "code", "ip", "port", "reused", "took")

    def __init__(self, ip: str, port: int) -> None:
        self.began = time()
        self.took = 0.0
        self.ip = ip
        self.port = port
        self.code: int | None = None
        self.reused = False


class UpstreamFailed(HttpError):
    """One try failed; `sent` tells whether the upstream may have seen the request."""

    def __init__(self, status: int, reason: str, sent: bool, final: bool = False) -> None:
        super().__init__(status, problem.MESSAGES[status], reason)
        self.sent = sent
        self.final = final


class Call:
    """One request on its way to the upstream: where it goes and the bytes of its head."""

    __slots__ = ("body", "chunked", "connect_timeout", "context", "head", "host", "method", "port", "read_timeout", "retries", "server_name", "write_timeout")

    def __init__(self, pipeline: Pipeline, ctx: Context) -> None:
        service = ctx.service
        override = ctx.override
        self.host: str = service.host
        self.port: int = service.port
        self.context: ssl.SSLContext | None = service.context
        self.connect_timeout: float = service.connect_timeout
        self.write_timeout: float = service.write_timeout
        self.read_timeout: float = service.read_timeout
        self.retries: int = service.retries
        self.method = ctx.method
        host: bytes = ctx.fields.host or b"" if ctx.route.preserve_host and ctx.fields.host else service.host_header
        self.server_name: str | None = None
        prefix, target = self._target(ctx)
        if override is not None:
            host, target = self._overridden(pipeline, ctx, host, target)
        if ctx.up is not None and ctx.up.touches("host"):
            host = (ctx.up.values("host") or [""])[0].encode("latin-1")
            ctx.up.clear("Host")
        if self.context is not None:
            self.server_name = host.rpartition(b":")[0].decode() if host[-1:].isdigit() and b":" in host else host.decode()
        fields = ctx.fields
        forward = fields.forward_trusted if ctx.connection.trusted else fields.forward
        edits = ctx.up
        if edits is not None:
            forward = edits.apply(fields, forward)
        gateway = pipeline.gateway
        self.body, framing = self._framing(pipeline, ctx)
        connection = b"keep-alive"
        if fields.upgrade is not None and ctx.exchange.can_tunnel and fields.upgrade.lower() == b"websocket":
            connection = b"keep-alive, Upgrade\r\nUpgrade: websocket"
        self.head = b"%b %b HTTP/1.1\r\nHost: %b\r\nConnection: %b\r\n%b%b%b%b%b\r\n" % (
            self.method,
            target,
            host,
            connection,
            forward,
            gateway.forwarding.lines(ctx, prefix),
            b"X-Kong-Request-Id: %b\r\n" % ctx.request_id if gateway.sends_id_upstream else b"",
            b"TE: trailers\r\n" if fields.te_trailers else b"",
            framing,
        )
        ctx.upstream_target = target

    @staticmethod
    def _target(ctx: Context) -> tuple[str, bytes]:
        """The prefix that is stripped and the request target for the upstream."""
        route = ctx.route
        base: str = ctx.service.path
        path = ctx.path
        matched: str = ctx.match.prefix
        prefix = matched if route.strip_path else ""
        if base == "/" and not prefix:
            joined = path
        else:
            joined = upstream_path(base, matched, path, route.strip_path)
        target = joined.encode("latin-1")
        return prefix, target if ctx.query is None else b"%b?%b" % (target, ctx.query)

    def _overridden(self, pipeline: Pipeline, ctx: Context, host: bytes, target: bytes) -> tuple[bytes, bytes]:
        """Apply what plugins changed; the new Host and target."""
        override = ctx.override
        assert override is not None
        if override.method is not None:
            self.method = override.method
        path, _, query = target.partition(b"?")
        if override.path is not None:
            path = override.path.encode("latin-1")
        if override.query is not None:
            query = override.query
        elif ctx.query == b"" and override.path is None:
            return host, target
        target = b"%b?%b" % (path, query) if query else path
        if override.retries is not None:
            self.retries = override.retries
        if override.timeouts is not None:
            self.connect_timeout, self.write_timeout, self.read_timeout = override.timeouts
        protocol = override.scheme or ctx.service.protocol
        if override.host is not None and override.port is not None:
            self.host, self.port = override.host, override.port
        if override.scheme is not None or override.host is not None:
            self.context = pipeline.gateway.contexts.plain_or_tls(protocol, ctx.service.entity)
            if not ctx.route.preserve_host:
                host = host_header(self.host, self.port, protocol)
        return host, target

    def _framing(self, pipeline: Pipeline, ctx: Context) -> tuple[bytes | None, bytes]:
        """The body if it is at hand as a whole (empty: none), and the fields that announce it."""
        self.chunked = False
        override = ctx.override
        if override is not None and override.body is not None:
            return override.body, b"Content-Length: %d\r\n" % len(override.body)
        exchange = ctx.exchange
        if exchange.length == 0:
            return b"", b"Content-Length: 0\r\n" if ctx.fields.content_length == 0 else b""
        body = exchange.buffered_body(pipeline.gateway.body_buffer if ctx.route.request_buffering else 0)
        if body is not None:
            return body, b"Content-Length: %d\r\n" % len(body)
        if exchange.length > 0:
            return None, b"Content-Length: %d\r\n" % exchange.length
        self.chunked = True
        return None, b"Transfer-Encoding: chunked\r\n"


def call_upstream(pipeline: Pipeline, ctx: Context, phases: Phases) -> None:
    """Proxy the request and pass the answer on. Raises `HttpError` when there is no answer to pass on."""
    call = Call(pipeline, ctx)
    tries = call.retries + 1
    turn = 0
    fresh = False
    while True:
        try:
            lease, answer, data, complete = _attempt(pipeline, ctx, call, turn, fresh)
            break
        except UpstreamFailed as error:
            stale = fresh is False and ctx.tries is not None and ctx.tries[-1].reused and error.status == 502
            if not _may_retry(ctx, call, error):
                raise
            if stale:
                fresh = True  # a kept connection died under the request: that says nothing about the upstream
                continue
            tries -= 1
            turn += 1
            if tries <= 0:
                raise
            log.info("request %s: try %d failed: %s", ctx.id, turn, error.reason)
    relay_answer(pipeline, ctx, phases, lease, answer, data, complete)


def _may_retry(ctx: Context, call: Call, error: UpstreamFailed) -> bool:
    """Kong's table: never after a malformed answer, once a streamed body has begun, or twice for unsafe methods."""
    if error.final:
        return False
    if call.body is None and ctx.exchange.received:
        return False
    return not error.sent or call.method in _RETRIED_AFTER_SENDING


def _attempt(pipeline: Pipeline, ctx: Context, call: Call, turn: int, fresh: bool) -> tuple[Lease, AnswerHead, bytes, bool]:
    """Send the request once; the connection, the answer's head, the bytes after it, and whether all was sent."""
    gateway = pipeline.gateway
    began = monotonic()
    try:
        addresses = gateway.resolver.resolve(call.host)
    except NameNotResolved as error:
        log.warning("request %s: %s", ctx.id, error)
        raise AnswerNow(ctx.error(503, "name resolution failed") if error.missing else ctx.error(500)) from None
    family, ip = addresses[turn % len(addresses)]
    attempt = Try(ip, call.port)
    if ctx.tries is None:
        ctx.tries = [attempt]
    else:
        ctx.tries.append(attempt)
    origin = gateway.pool.origin(family, ip, call.port, call.context, call.server_name)
    ctx.proxied_at = monotonic()
    attempt.took = ctx.proxied_at - began
    sent = False
    lease = None
    try:
        lease = origin.take(call.connect_timeout, fresh)
        attempt.reused = lease.reused
        stream = lease.stream
        stream.write_timeout = call.write_timeout
        stream.read_timeout = call.read_timeout
        body = call.body
        sent = True
        complete = True
        if body is not None:
            stream.write(call.head + body if body else call.head)
        else:
            stream.write(call.head)
            complete = _send_body(ctx, call, stream)
        answer, data = _read_answer(pipeline, ctx, call, stream)
        ctx.first_byte_at = monotonic()
        return lease, answer, data, complete
    except BaseException as error:
        if lease is not None:
            lease.stream.close()
        failure = _failure(error, sent, call)
        if failure is None:
            raise
        attempt.code = failure.status
        raise failure from error


def _failure(error: BaseException, sent: bool, call: Call) -> UpstreamFailed | None:
    """What a try's exception means; None for what is not the upstream's fault."""
    if isinstance(error, ClientFault):
        return None
    if isinstance(error, AnswerError):
        return UpstreamFailed(502, f"{call.host}:{call.port}: {error}", sent, final=True)
    if isinstance(error, DeadlineExceeded):
        return UpstreamFailed(504, f"{call.host}:{call.port}: {error}", sent)
    if isinstance(error, ssl.SSLError):
        return UpstreamFailed(502, f"{call.host}:{call.port}: TLS: {error}", sent)
    if isinstance(error, (ConnectionClosed, OSError)):
        return UpstreamFailed(502, f"{call.host}:{call.port}: {error}", sent)
    return None


def _send_body(ctx: Context, call: Call, stream: Any) -> bool:
    """Pass the request's body on; False when the upstream answered before it had all of it."""
    exchange = ctx.exchange
    if not call.chunked and stream.plain:
        done = exchange.splice_body(stream)
        if done is not None:
            return bool(done)
    while True:
        try:
            data = exchange.read_body(stream)
        except (ConnectionClosed, DeadlineExceeded, OSError, HttpError) as error:
            raise ClientFault(error) from error
        if data is None:
            return False
        if not data:
            if call.chunked:
                stream.write(last_chunk(exchange.trailers))
            return True
        if not _send_part(stream, encode_chunk(data) if call.chunked else data):
            return False


def _send_part(stream: Any, data: bytes) -> bool:
    """Send a part of a body; False when the upstream has answered instead of reading on."""
    view = memoryview(data)
    while view:
        try:
            sent = stream.write_some(view, stream)
        except (ConnectionClosed, OSError):
            if stream.pending:
                return False
            raise
        if not sent and stream.pending:
            return False
        view = view[sent:]
    return True


def _read_answer(pipeline: Pipeline, ctx: Context, call: Call, stream: Any) -> tuple[AnswerHead, bytes]:
    """The final answer's head and the bytes that came behind it."""
    reader = pipeline.gateway.answers
    data = stream.read(HEAD_READ)
    interim = 0
    while True:
        if not data:
            raise ConnectionClosed("the upstream closed the connection before an answer")
        answer = reader.read(data)
        if answer is None:
            more = stream.read(HEAD_READ)
            if not more:
                raise ConnectionClosed("the upstream closed the connection within an answer's head")
            data += more
            continue
        rest = data[answer.size :]
        if answer.status >= 200:
            return answer, rest
        if answer.status == 101:
            if b"pgrade: websocket" not in call.head:
                raise AnswerError("an upgrade nobody asked for")
            return answer, rest
        interim += 1
        if interim > MAX_INTERIM:
            raise AnswerError("too many interim answers")
        if answer.status != 100:
            ctx.exchange.interim(answer.status, answer.reason, answer.fields.forward)
        data = rest or stream.read(HEAD_READ)


# --- the way back ---------------------------------------------------------------------------------------------------


def relay_answer(pipeline: Pipeline, ctx: Context, phases: Phases, lease: Lease, answer: AnswerHead, data: bytes, complete: bool) -> None:
    """Pass an answer to the client, filtered; the upstream's connection goes back to its pool when that is safe."""
    stream = lease.stream
    try:
        reusable = _relay(pipeline, ctx, phases, lease, answer, data) and complete
    except BaseException:
        stream.close()
        raise
    if reusable:
        lease.origin.give(lease)
    else:
        stream.close()


def _relay(pipeline: Pipeline, ctx: Context, phases: Phases, lease: Lease, answer: AnswerHead, data: bytes) -> bool:
    fields = ctx.answer = answer.fields
    status = ctx.status = answer.status
    stream = lease.stream
    gateway = pipeline.gateway
    exchange = ctx.exchange
    if status == 101:
        run_filters(ctx, phases)
        exchange.tunnel(ctx, _head_lines(pipeline, ctx, answer), stream, data)
        return False
    bodiless = status in _BODILESS or ctx.method == b"HEAD"
    persistent = not fields.close and (answer.minor == 1 or fields.keep_alive)
    if phases.response or (ctx.override is not None and ctx.override.buffered):
        return _relay_buffered(pipeline, ctx, phases, stream, answer, data, bodiless) and persistent
    if phases.header_filter:
        run_filters(ctx, phases)
    lines = _head_lines(pipeline, ctx, answer)
    reason = answer.reason if ctx.status == status else gateway.reason(ctx.status)
    if bodiless:
        exchange.start(ctx, ctx.status, reason, lines, fields.content_length if fields.content_length >= 0 else None, b"")
        exchange.finish()
        return persistent and not data
    length = fields.content_length
    if phases.body_filter:
        return _relay_filtered(ctx, phases, stream, answer, data, reason, lines) and persistent
    if length >= 0:
        extra = len(data) > length
        body = data[:length] if extra else data
        exchange.start(ctx, ctx.status, reason, lines, length, body)
        left = length - len(body)
        if left:
            data = body = lines = b""  # a slow client must not pin the first buffers
            _pump(exchange, stream, left)
        exchange.finish()
        return persistent and not extra
    exchange.start(ctx, ctx.status, reason, lines, None, b"")
    del lines
    if fields.chunked:
        return _relay_chunked(ctx, stream, data) and persistent
    while data:
        exchange.write(data)
        data = _read_on(exchange, stream)
    exchange.finish()
    return False


def run_filters(ctx: Context, phases: Phases) -> None:
    """Run `header_filter` of all plugins; an error in one is logged and the others go on."""
    for function, conf in phases.header_filter:
        try:
            function(ctx, conf)
        except Exception:
            log.exception("request %s: a plugin's header_filter failed", ctx.id)


def _head_lines(pipeline: Pipeline, ctx: Context, answer: AnswerHead) -> bytes:
    """All field lines of the answer but those of framing and connection."""
    fields = answer.fields
    down = ctx.down
    gateway = pipeline.gateway
    lines = fields.forward if down is None else down.apply(fields)
    return b"%b%b%b" % (lines, gateway.latency_lines(ctx), gateway.proxied_lines(ctx, fields, answer.minor))


def _read_on(exchange: Any, stream: Any) -> bytes:
    """More of an answer whose head has gone out; a failure now can only be shown by cutting the connection."""
    try:
        data: bytes = stream.read()
        return data
    except (OSError, ConnectionClosed, DeadlineExceeded) as error:
        exchange.abort()
        raise ConnectionClosed(f"the upstream failed within its answer: {error}") from error


def _pump(exchange: Any, stream: Any, left: int) -> None:
    """Pass `left` more bytes on."""
    if left >= SPLICE_FROM and stream.plain and exchange.splice_answer(stream, left):
        return
    while left > 0:
        data = _read_on(exchange, stream)
        if not data:
            exchange.abort()
            raise ConnectionClosed("the upstream's answer ended early")
        exchange.write(data[:left])
        left -= len(data)


def _relay_chunked(ctx: Context, stream: Any, data: bytes) -> bool:
    exchange = ctx.exchange
    decoder = ChunkedDecoder()
    while True:
        try:
            body = decoder.feed(data)
        except ValueError as error:
            exchange.abort()
            raise ConnectionClosed(f"the upstream's answer is malformed: {error}") from error
        if decoder.done:
            if body:
                exchange.write(body)
            exchange.finish(decoder.trailers if ctx.fields.te_trailers else None)
            return not decoder.rest
        if body:
            exchange.write(body)
        data = _read_on(exchange, stream)
        if not data:
            exchange.abort()
            raise ConnectionClosed("the upstream's answer ended early")


class BodyParts:
    """The decoded parts of an answer's body, in turn; raises `ConnectionClosed` when it is cut or malformed.

    `clean` tells at the end that the connection stands right behind the body and may be used again.
    """

    def __init__(self, stream: Any, answer: AnswerHead, data: bytes) -> None:
        self._stream = stream
        self._fields = answer.fields
        self._data = data
        self.clean = False

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks() if self._fields.chunked else self._plain()

    def _more(self) -> bytes:
        data: bytes = self._stream.read()
        if not data:
            raise ConnectionClosed("the upstream's answer ended early")
        return data

    def _chunks(self) -> Iterator[bytes]:
        decoder = ChunkedDecoder()
        data = self._data
        while True:
            try:
                body = decoder.feed(data)
            except ValueError as error:
                raise ConnectionClosed(f"the upstream's answer is malformed: {error}") from error
            if body:
                yield body
            if decoder.done:
                self.clean = not decoder.rest
                return
            data = self._more()

    def _plain(self) -> Iterator[bytes]:
        data, left = self._data, self._fields.content_length
        if left < 0:
            while data:
                yield data
                data = self._stream.read()
            return
        while left:
            data = data or self._more()
            part = data[:left]
            left -= len(part)
            yield part
            self.clean = len(part) == len(data)
            data = b""
        self.clean = self.clean and not data


def _relay_filtered(ctx: Context, phases: Phases, stream: Any, answer: AnswerHead, data: bytes, reason: bytes, lines: bytes) -> bool:
    """Pass an answer on through `body_filter`; its length stands unless a plugin cleared Content-Length."""
    exchange = ctx.exchange
    length: int | None = answer.fields.content_length
    if length is not None and (length < 0 or (ctx.down is not None and ctx.down.touches("content-length"))):
        length = None
    exchange.start(ctx, ctx.status, reason, lines, length, b"")
    parts = BodyParts(stream, answer, data)
    try:
        for part in parts:
            exchange.write(filter_body(ctx, phases, part, last=False))
        exchange.write(filter_body(ctx, phases, b"", last=True))
    except (OSError, ConnectionClosed, DeadlineExceeded):
        exchange.abort()
        raise
    exchange.finish()
    return parts.clean


def filter_body(ctx: Context, phases: Phases, part: bytes, last: bool) -> bytes:
    """Run `body_filter` of all plugins over a part of the body; an error is logged and leaves the part as it is."""
    for function, conf in phases.body_filter:
        try:
            replaced = function(ctx, conf, part, last)
        except Exception:
            log.exception("request %s: a plugin's body_filter failed", ctx.id)
            continue
        if replaced is not None:
            part = replaced
    return part


def _relay_buffered(pipeline: Pipeline, ctx: Context, phases: Phases, stream: Any, answer: AnswerHead, data: bytes, bodiless: bool) -> bool:
    """Read the whole answer, run `response` (and the filters), then send it with its new length."""
    parts: list[bytes] = []
    body_parts = BodyParts(stream, answer, data)
    size = 0
    try:
        for part in [] if bodiless else body_parts:
            size += len(part)
            if size > BUFFERED_ANSWER_LIMIT:
                raise HttpError(502, problem.MESSAGES[502], "the answer is too large to be read whole")
            parts.append(part)
    except (ConnectionClosed, DeadlineExceeded, OSError) as error:
        raise HttpError(502, problem.MESSAGES[502], str(error)) from error
    ctx.response.body = b"".join(parts)
    for function, conf in phases.response:
        result = function(ctx, conf)
        if result is not None:
            pipeline.send_exit(ctx, result, phases)
            return False
    run_filters(ctx, phases)
    body = filter_body(ctx, phases, ctx.response.body or b"", last=True) if phases.body_filter else ctx.response.body or b""
    lines = _head_lines(pipeline, ctx, answer)
    reason = answer.reason if ctx.status == answer.status else pipeline.gateway.reason(ctx.status)
    length: int | None = len(body)
    if bodiless:
        length = answer.fields.content_length if answer.fields.content_length >= 0 else None
    ctx.exchange.start(ctx, ctx.status, reason, lines, length, b"" if bodiless else body)
    ctx.exchange.finish()
    return body_parts.clean or (bodiless and not data)


__all__ = ["Call", "Try", "call_upstream", "filter_body", "relay_answer", "run_filters"]
