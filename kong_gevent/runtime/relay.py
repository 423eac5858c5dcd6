"""The way back: an upstream's answer on to the client, filtered by plugins, as it comes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kong_gevent.errors import AnswerCut, ConnectionClosed, DeadlineExceeded, HttpError
from kong_gevent.http import problem
from kong_gevent.http.answers import AnswerFields
from kong_gevent.http.chunked import ChunkedDecoder
from kong_gevent.http.heads import AnswerHead
from kong_gevent.pdk import Context, CutAnswer
from kong_gevent.proxy.pool import Lease
from kong_gevent.runtime.phases import Phases

if TYPE_CHECKING:
    from kong_gevent.runtime.gateway import Gateway
    from kong_gevent.runtime.pipeline import Pipeline

log = logging.getLogger("kong_gevent.proxy")
BUFFERED_ANSWER_LIMIT = 64 << 20
"""Bytes of an answer that is read whole because a plugin wants to see it so."""
SPLICE_FROM = 65536
_BODILESS = frozenset((204, 304))


def relay(pipeline: Pipeline, ctx: Context, phases: Phases, lease: Lease, answer: AnswerHead, data: bytes) -> bool:
    """Pass an answer on, of whose body `data` has come; whether the upstream's connection may be used again."""
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
    length = fields.content_length
    if status == 204 and (length > 0 or fields.chunked):
        persistent = False  # what it announces may come all the same, and must not be the next answer
    if ctx.override is not None and ctx.override.method is not None and status not in _BODILESS:
        if ctx.override.method == b"HEAD":
            bodiless = True
        elif ctx.method == b"HEAD":
            persistent = False  # there is a body that nobody reads
    if phases.response or (ctx.override is not None and ctx.override.buffered):
        return _relay_buffered(pipeline, ctx, phases, stream, answer, data, bodiless) and persistent
    if phases.header_filter:
        run_filters(ctx, phases)
    lines = _head_lines(pipeline.gateway, ctx, answer.fields)
    reason = answer.reason if ctx.status == status else gateway.reason(ctx.status)
    if bodiless:
        exchange.start(ctx, ctx.status, reason, lines, _length_without_body(ctx, length), b"")
        return persistent and not data
    if phases.body_filter:
        return _relay_filtered(ctx, phases, stream, answer, data, reason, lines) and persistent
    if length >= 0:
        extra = len(data) > length
        body = data[:length] if extra else data
        exchange.start(ctx, ctx.status, reason, lines, length, body)
        left = length - len(body)
        if left:
            data = body = lines = b""  # a slow client must not pin the first buffers
            extra = not _pump(exchange, stream, left)
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


def _length_without_body(ctx: Context, length: int) -> int | None:
    """What to tell as the length where the upstream sends no body; it told `length` (negative: nothing).

    None of it comes even where the client expects a body: it asked with another method, or gets another status.
    """
    if ctx.method != b"HEAD" and ctx.status not in _BODILESS:
        return 0
    changed = ctx.down is not None and ctx.down.touches("content-length")
    return None if changed or length < 0 else length


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
        return _read(stream)
    except AnswerCut:
        exchange.abort()
        raise


def _read(stream: Any) -> bytes:
    """More of an answer. Raises AnswerCut when that fails."""
    try:
        data: bytes = stream.read()
        return data
    except (OSError, ConnectionClosed, DeadlineExceeded) as error:
        raise AnswerCut(f"the upstream failed within its answer: {error}") from error


def _pump(exchange: Any, stream: Any, left: int) -> bool:
    """Pass `left` more bytes on; False when more came with the last of them."""
    if left >= SPLICE_FROM and stream.plain and exchange.splice_answer(stream, left):
        return True
    while left > 0:
        data = _read_on(exchange, stream)
        if not data:
            exchange.abort()
            raise AnswerCut("the upstream's answer ended early")
        exchange.write(data[:left])
        left -= len(data)
    return left == 0


def _relay_chunked(ctx: Context, stream: Any, data: bytes) -> bool:
    exchange = ctx.exchange
    decoder = ChunkedDecoder()
    while True:
        try:
            body = decoder.feed(data)
        except ValueError as error:
            exchange.abort()
            raise AnswerCut(f"the upstream's answer is malformed: {error}") from error
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
            raise AnswerCut("the upstream's answer ended early")


class BodyParts:
    """The decoded parts of an answer's body, in turn; raises `AnswerCut` when it is cut or malformed.

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
        data = _read(self._stream)
        if not data:
            raise AnswerCut("the upstream's answer ended early")
        return data

    def _chunks(self) -> Iterator[bytes]:
        decoder = ChunkedDecoder()
        data = self._data
        while True:
            try:
                body = decoder.feed(data)
            except ValueError as error:
                raise AnswerCut(f"the upstream's answer is malformed: {error}") from error
            if body:
                yield body
            if decoder.done:
                self.clean = not decoder.rest
                return
            data = self._more()

    def _plain(self) -> Iterator[bytes]:
        data, left = self._data, self._fields.content_length
        if left < 0:
            while data := data or _read(self._stream):
                yield data
                data = b""
            return
        while left:
            data = data or self._more()
            part, data = data[:left], data[left:]
            left -= len(part)
            yield part
        self.clean = not data


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
    size = 0
    try:
        for part in parts:
            filtered = filter_body(ctx, phases, part, last=False)
            size += len(filtered)
            if length is not None and size > length:
                raise AnswerCut("a plugin made the body longer than the Content-Length that it left")
            exchange.write(filtered)
        filtered = filter_body(ctx, phases, b"", last=True)
        if length is not None and size + len(filtered) != length:
            raise AnswerCut("a plugin made the body longer or shorter than the Content-Length that it left")
        exchange.write(filtered)
    except (OSError, ConnectionClosed, DeadlineExceeded):
        exchange.abort()
        raise
    exchange.finish()
    return parts.clean


def filter_body(ctx: Context, phases: Phases, part: bytes, last: bool) -> bytes:
    """Run `body_filter` of all plugins over a part of the body; an error is logged and leaves the part as it is."""
    ctx.received_part = part
    for function, conf in phases.body_filter:
        try:
            replaced = function(ctx, conf, part, last)
        except CutAnswer:
            raise
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
    except AnswerCut as error:
        if ctx.exchange.gone:
            raise
        raise HttpError(502, problem.MESSAGES[502], str(error)) from error
    clean = body_parts.clean or (bodiless and not data)
    ctx.response.body = b"".join(parts)
    for function, conf in phases.response:
        try:
            result = function(ctx, conf)
        except Exception as error:
            result = pipeline.failure(ctx, error)
        if result is not None:
            pipeline.send_exit(ctx, result, phases)
            return clean
    run_filters(ctx, phases)
    body = ctx.response.body or b""
    if phases.body_filter:
        try:
            body = filter_body(ctx, phases, body, last=True)
        except CutAnswer as error:
            raise HttpError(502, problem.MESSAGES[502], str(error)) from error
    lines = _head_lines(pipeline.gateway, ctx, answer.fields)
    reason = answer.reason if ctx.status == answer.status else pipeline.gateway.reason(ctx.status)
    length: int | None = len(body)
    if bodiless:
        length = _length_without_body(ctx, answer.fields.content_length)
    ctx.exchange.start(ctx, ctx.status, reason, lines, length, b"" if bodiless else body)
    ctx.exchange.finish()
    return clean
