"""Calling the upstream: build the request, try addresses until one answers, pass the answer on as it comes."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterator
from copy import copy
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from kong_gevent.errors import AnswerError, ConnectionClosed, DeadlineExceeded, HttpError
from kong_gevent.http import problem
from kong_gevent.http.chunked import ChunkedDecoder
from kong_gevent.http.fields import AnswerFields
from kong_gevent.http.heads import AnswerHead
from kong_gevent.http.target import upstream_path
from kong_gevent.pdk import Context
from kong_gevent.pdk.edits import FieldEdits
from kong_gevent.proxy.pool import Lease, Try
from kong_gevent.proxy.resolver import NameNotResolved
from kong_gevent.runtime.answers import AnswerNow, ClientFault
from kong_gevent.runtime.phases import Phases
from kong_gevent.runtime.plan import Endpoint, ServiceEntry, host_header
from kong_gevent.runtime.upload import Upload

if TYPE_CHECKING:
    from kong_gevent.runtime.gateway import Gateway
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


class UpstreamFailed(HttpError):
    """One try failed; `sent` tells whether the upstream may have seen the request."""

    def __init__(self, status: int, reason: str, sent: bool, final: bool = False) -> None:
        super().__init__(status, problem.MESSAGES[status], reason)
        self.sent = sent
        self.final = final
        self.stale = False


class Call:
    """One request on its way to the upstream: where it goes and the bytes of its head."""

    # Defaults live on the class: most calls leave them as they are.
    body: bytes | None = b""
    chunked: bool = False
    upgrade: bool = False
    server_name: str | None = None
    turn: int | None = None

    def __init__(self, gateway: Gateway, ctx: Context) -> None:
        service = ctx.service
        fields = ctx.fields
        self.target: ServiceEntry = service
        self.method = ctx.method
        host: bytes = (_client_host(ctx) if ctx.route.preserve_host else b"") or service.host_header
        prefix, target = self._target(ctx)
        if ctx.override is not None:
            host, target = self._overridden(gateway, ctx, host, target)
        ctx.upstream_target = target
        connection: Any = ctx.connection
        forward = fields.forward_trusted if connection.trusted else fields.forward
        edits = ctx.up
        if edits is not None:
            host = self._edited_host(edits, host)
            forward = edits.apply(fields, forward)
        if self.target.endpoint.context is not None:
            self.server_name = _server_name(host)
        exchange = ctx.exchange
        if exchange.length == 0 and (ctx.override is None or ctx.override.body is None):
            framing = b"Content-Length: 0\r\n" if fields.content_length == 0 else b""
        else:
            framing = self._frame(gateway, ctx)
        options = b"keep-alive"
        if fields.upgrade is not None and ctx.minor and exchange.can_tunnel and fields.upgrade.lower() == b"websocket":
            self.upgrade = True
            options = b"keep-alive, Upgrade\r\nUpgrade: websocket"
        if fields.te_trailers:
            framing += b"TE: trailers\r\n"
        if gateway.sends_id_upstream:
            self.head = b"%b %b HTTP/1.1\r\nHost: %b\r\nConnection: %b\r\n%b%b%bX-Kong-Request-Id: %b\r\n%b\r\n" % (
                self.method,
                target,
                host,
                options,
                forward,
                ctx.identity_lines,
                gateway.forwarding.lines(ctx, prefix),
                ctx.request_id,
                framing,
            )
        else:
            lines = gateway.forwarding.lines(ctx, prefix)
            self.head = b"%b %b HTTP/1.1\r\nHost: %b\r\nConnection: %b\r\n%b%b%b%b\r\n" % (
                self.method,
                target,
                host,
                options,
                forward,
                ctx.identity_lines,
                lines,
                framing,
            )

    @staticmethod
    def _edited_host(edits: FieldEdits, host: bytes) -> bytes:
        """A `Host` that plugins set; it goes into its own place, not among the other fields."""
        if not edits.touches("host"):
            return host
        told = edits.values("host")
        edits.clear("Host")
        return told[0].encode("latin-1") if told else host

    @staticmethod
    def _target(ctx: Context) -> tuple[str, bytes]:
        """The prefix that is stripped and the request target for the upstream."""
        route = ctx.route
        base: str = ctx.service.path
        path = ctx.path
        matched: str = ctx.match.prefix
        prefix = matched if route.strip_path else ""
        if base == "/" and len(prefix) < 2:
            if ctx.plain_target:
                return prefix, ctx.target
            joined = path
        else:
            joined = upstream_path(base, matched, path, route.strip_path)
        target = joined.encode("latin-1")
        return prefix, target if ctx.query is None else b"%b?%b" % (target, ctx.query)

    def _overridden(self, gateway: Gateway, ctx: Context, host: bytes, target: bytes) -> tuple[bytes, bytes]:
        """Apply what plugins changed; the new Host and target."""
        override = ctx.override
        assert override is not None
        if override.method is not None:
            self.method = override.method
        if override.path is not None or override.query is not None:
            path, mark, query = target.partition(b"?")
            if override.path is not None:
                path = override.path.encode("latin-1")
            if override.query is not None:
                mark, query = (b"?", override.query) if override.query else (b"", b"")
            target = path + mark + query
        changed: ServiceEntry = copy(ctx.service)
        self.target = changed
        if override.retries is not None:
            changed.retries = override.retries
        if override.timeouts is not None:
            changed.connect_timeout, changed.write_timeout, changed.read_timeout = override.timeouts
        if override.scheme is not None or override.host is not None:
            protocol = override.scheme or ctx.service.protocol
            name, port = override.host or ctx.service.host, override.port or ctx.service.port
            changed.endpoint = Endpoint(name, port, gateway.contexts.plain_or_tls(protocol, ctx.service.entity))
            if not ctx.route.preserve_host:
                host = host_header(name, port, protocol)
        return host, target

    def _frame(self, gateway: Gateway, ctx: Context) -> bytes:
        """Take the body if it is at hand as a whole; the fields that announce it."""
        override = ctx.override
        exchange = ctx.exchange
        if override is not None and override.body is not None:
            self.body = override.body
        else:
            self.body = exchange.buffered_body(gateway.body_buffer if ctx.route.request_buffering else 0)
        if self.body is not None:
            return b"Content-Length: %d\r\n" % len(self.body)
        if exchange.length > 0:
            return b"Content-Length: %d\r\n" % exchange.length
        self.chunked = True
        return b"Transfer-Encoding: chunked\r\n"


def _client_host(ctx: Context) -> bytes:
    """The host that the client asked for; the authority of an absolute-form target counts (RFC 9112, section 3.2.2)."""
    if ctx.target[:1] in (b"/", b"*"):
        return ctx.fields.host or b""
    _, port, name = ctx.host
    return bytes(name) if port is None else b"%b:%d" % (name, port)


def _server_name(host: bytes) -> str:
    """The name for SNI: the Host without its port."""
    name, colon, port = host.rpartition(b":")
    return (name if colon and port.isdigit() else host).strip(b"[]").decode("latin-1")


def call_upstream(pipeline: Pipeline, ctx: Context, phases: Phases) -> None:
    """Proxy the request and pass the answer on. Raises `HttpError` when there is no answer to pass on."""
    gateway = pipeline.gateway
    call = Call(gateway, ctx)
    turn = 0
    fresh = False
    while True:
        try:
            lease, answer, data, upload = _attempt(gateway, ctx, call, turn, fresh)
            break
        except UpstreamFailed as error:
            if not _may_retry(ctx, call, error) or (turn >= call.target.retries and not error.stale):
                log.error("request %s: %s", ctx.id, error.reason)
                raise
            if error.stale:
                fresh = True  # a kept connection died under the request: that says nothing about the upstream
                continue
            turn += 1
            log.info("request %s: try %d failed: %s", ctx.id, turn, error.reason)
    stream = lease.stream
    exchange = ctx.exchange
    try:
        reusable = _relay(pipeline, ctx, phases, lease, answer, data)
    except BaseException:
        stream.close()
        exchange.awaited = None
        if upload is not None:
            upload.stop()
        raise
    exchange.awaited = None
    if upload is not None:
        upload.stop()
        reusable = reusable and upload.done
    if reusable:
        lease.origin.give(lease)
    else:
        stream.close()


def _may_retry(ctx: Context, call: Call, error: UpstreamFailed) -> bool:
    """Kong's table: never after a malformed answer, once a streamed body has begun, or twice for unsafe methods."""
    if error.final:
        return False
    if call.body is None and ctx.exchange.received:
        return False
    return not error.sent or call.method in _RETRIED_AFTER_SENDING


def _attempt(
    gateway: Gateway, ctx: Context, call: Call, turn: int, fresh: bool
) -> tuple[Lease, AnswerHead, bytes, Upload | None]:
    """Send the request once; the connection, the answer's head, the bytes after it, and the upload still running."""
    service = call.target
    endpoint = service.endpoint
    try:
        origin = endpoint.fixed
        if origin is None:
            if call.turn is None:
                call.turn = endpoint.next_turn()
            origin = endpoint.pick(gateway.resolver, gateway.pool, call.turn + turn, call.server_name)
    except NameNotResolved as error:
        log.warning("request %s: %s", ctx.id, error)
        raise AnswerNow(ctx.error(503, "name resolution failed") if error.missing else ctx.error(500)) from None
    ctx.proxied_at = monotonic()
    lease = upload = None
    try:
        lease = origin.take(service.connect_timeout, fresh)
        stream = lease.stream
        stream.write_timeout = service.write_timeout
        stream.read_timeout = service.read_timeout
        body = call.body
        if body is not None:
            stream.write(call.head + body if body else call.head)
        else:
            stream.write(call.head)
            upload = Upload(ctx.exchange, stream, call.chunked, service.read_timeout)
        ctx.exchange.wait_for(stream)
        answer, data = _read_answer(gateway, ctx, call, stream)
        ctx.first_byte_at = monotonic()
        ctx.lease = lease
        return lease, answer, data, upload
    except BaseException as error:
        if lease is not None:
            lease.stream.close()
        if upload is not None:
            upload.stop()
            if upload.failure is not None:
                raise ClientFault(upload.failure) from error
        if ctx.exchange.gone:
            raise ClientFault(ConnectionClosed("the client left while it was waiting")) from error
        failure = _failure(error, lease is not None, endpoint)
        if failure is None:
            raise
        reused = lease is not None and lease.reused
        failure.stale = reused and failure.status == 502 and not failure.final
        failed = Try(origin.ip, origin.port, reused, time() - monotonic() + ctx.proxied_at, failure.status)
        ctx.failed_tries = [*(ctx.failed_tries or ()), failed]
        raise failure from error


def _failure(error: BaseException, sent: bool, endpoint: Endpoint) -> UpstreamFailed | None:
    """What a try's exception means; None for what is not the upstream's fault."""
    if isinstance(error, AnswerError):
        return UpstreamFailed(502, f"{endpoint.host}:{endpoint.port}: {error}", sent, final=True)
    if isinstance(error, DeadlineExceeded):
        return UpstreamFailed(504, f"{endpoint.host}:{endpoint.port}: {error}", sent)
    if isinstance(error, ssl.SSLError):
        return UpstreamFailed(502, f"{endpoint.host}:{endpoint.port}: TLS: {error}", sent)
    if isinstance(error, (ConnectionClosed, OSError)):
        return UpstreamFailed(502, f"{endpoint.host}:{endpoint.port}: {error}", sent)
    return None


def _read_answer(gateway: Gateway, ctx: Context, call: Call, stream: Any) -> tuple[AnswerHead, bytes]:
    """The final answer's head and the bytes that came behind it."""
    reader = gateway.answers
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
            if not call.upgrade:
                raise AnswerError("an upgrade nobody asked for")
            return answer, rest
        interim += 1
        if interim > MAX_INTERIM:
            raise AnswerError("too many interim answers")
        if answer.status != 100:
            ctx.exchange.interim(answer.status, answer.reason, answer.fields.forward)
        data = rest or stream.read(HEAD_READ)


# --- the way back ---------------------------------------------------------------------------------------------------


def _relay(pipeline: Pipeline, ctx: Context, phases: Phases, lease: Lease, answer: AnswerHead, data: bytes) -> bool:
    fields = ctx.answer = answer.fields
    status = ctx.status = answer.status
    stream = lease.stream
    gateway = pipeline.gateway
    exchange = ctx.exchange
    if status == 101:
        run_filters(ctx, phases)
        exchange.awaited = None
        exchange.tunnel(ctx, _head_lines(pipeline.gateway, ctx, answer.fields), stream, data)
        return False
    bodiless = status in _BODILESS or ctx.method == b"HEAD"
    persistent = not fields.close and (answer.minor == 1 or fields.keep_alive)
    if phases.response or (ctx.override is not None and ctx.override.buffered):
        return _relay_buffered(pipeline, ctx, phases, stream, answer, data, bodiless) and persistent
    if phases.header_filter:
        run_filters(ctx, phases)
    lines = _head_lines(pipeline.gateway, ctx, answer.fields)
    reason = answer.reason if ctx.status == status else gateway.reason(ctx.status)
    if bodiless:
        exchange.start(
            ctx, ctx.status, reason, lines, fields.content_length if fields.content_length >= 0 else None, b""
        )
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
        return persistent and not extra
    exchange.start(ctx, ctx.status, reason, lines, None, b"")
    del lines
    if fields.chunked:
        return _relay_chunked(ctx, stream, data) and persistent
    while data := data or _read_on(exchange, stream):
        exchange.write(data)
        data = b""
    exchange.finish()
    return False


def run_filters(ctx: Context, phases: Phases) -> None:
    """Run `header_filter` of all plugins; an error in one is logged and the others go on."""
    for function, conf in phases.header_filter:
        try:
            function(ctx, conf)
        except Exception:
            log.exception("request %s: a plugin's header_filter failed", ctx.id)


def _head_lines(gateway: Gateway, ctx: Context, fields: AnswerFields) -> bytes:
    """All field lines of the answer but those of framing and connection."""
    down = ctx.down
    lines = fields.ready if down is None else down.apply(fields) + fields.own
    if gateway.common_lines and fields.date:
        return b"%bX-Kong-Upstream-Latency: %d\r\nX-Kong-Proxy-Latency: %d\r\nX-Kong-Request-Id: %b\r\n" % (
            lines,
            (ctx.first_byte_at - ctx.proxied_at) * 1000,
            (ctx.proxied_at - ctx.started) * 1000,
            ctx.request_id,
        )
    return b"%b%b%b" % (lines, gateway.latency_lines(ctx), gateway.proxied_lines(ctx, fields))


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
            while data := data or self._stream.read():
                yield data
                data = b""
            return
        while left:
            data = data or self._more()
            part = data[:left]
            left -= len(part)
            yield part
            self.clean = len(part) == len(data)
            data = b""
        self.clean = self.clean and not data


def _relay_filtered(
    ctx: Context, phases: Phases, stream: Any, answer: AnswerHead, data: bytes, reason: bytes, lines: bytes
) -> bool:
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


def _relay_buffered(
    pipeline: Pipeline, ctx: Context, phases: Phases, stream: Any, answer: AnswerHead, data: bytes, bodiless: bool
) -> bool:
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
    body = (
        filter_body(ctx, phases, ctx.response.body or b"", last=True)
        if phases.body_filter
        else ctx.response.body or b""
    )
    lines = _head_lines(pipeline.gateway, ctx, answer.fields)
    reason = answer.reason if ctx.status == answer.status else pipeline.gateway.reason(ctx.status)
    length: int | None = len(body)
    if bodiless:
        length = answer.fields.content_length if answer.fields.content_length >= 0 else None
    ctx.exchange.start(ctx, ctx.status, reason, lines, length, b"" if bodiless else body)
    ctx.exchange.finish()
    return body_parts.clean or (bodiless and not data)


__all__ = ["Call", "call_upstream", "filter_body", "run_filters"]
