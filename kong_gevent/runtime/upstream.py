"""Calling the upstream: try addresses until one answers, and hand the answer over."""

from __future__ import annotations

import logging
import ssl
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from kong_gevent.dns import NameNotResolved
from kong_gevent.errors import AnswerError, ConnectionClosed, DeadlineExceeded, HttpError
from kong_gevent.http import problem
from kong_gevent.http.heads import AnswerHead
from kong_gevent.pdk import Context, Exit
from kong_gevent.proxy.pool import Lease, Origin, Try
from kong_gevent.runtime.answers import AnswerNow, ClientFault
from kong_gevent.runtime.balancing import NO_PEER, BalancedEndpoint, NoPeers, finish
from kong_gevent.runtime.call import Call
from kong_gevent.runtime.entries import Endpoint
from kong_gevent.runtime.phases import Phases
from kong_gevent.runtime.relay import relay
from kong_gevent.runtime.tls import IdentityUnusable
from kong_gevent.runtime.upload import Upload

if TYPE_CHECKING:
    from kong_gevent.runtime.gateway import Gateway
    from kong_gevent.runtime.pipeline import Pipeline

log = logging.getLogger("kong_gevent.proxy")
HEAD_READ = 16384
MAX_INTERIM = 16
"""Interim answers of one request; an upstream that sends more is not to be trusted."""
AT_ONCE = 65536
"""Bytes of a body that are sent before the answer is awaited; of more, some wait until the upstream takes them."""
SHORT = 8192
"""Bytes of a request that may wait for others, to be sent together with them: so many never wait for the upstream."""
_RETRIED_AFTER_SENDING = frozenset((b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS"))


class UpstreamFailed(HttpError):
    """One try failed; `sent` tells whether the upstream may have seen the request.

    `again`: where to try once more with a new connection. A kept one died under the request, which says nothing about
    the upstream.
    """

    def __init__(self, status: int, reason: str, sent: bool, final: bool = False) -> None:
        super().__init__(status, problem.MESSAGES[status], reason)
        self.sent = sent
        self.final = final
        self.again: Origin | None = None


def call_upstream(pipeline: Pipeline, ctx: Context, phases: Phases) -> None:
    """Proxy the request and pass the answer on. Raises `HttpError` when there is no answer to pass on."""
    gateway = pipeline.gateway
    call = Call(gateway, ctx)
    turn = 0
    again: Origin | None = None
    try:
        while True:
            try:
                lease, answer, data, upload = _attempt(gateway, ctx, call, turn, again)
                break
            except UpstreamFailed as error:
                if not _may_retry(ctx, call, error) or (turn >= call.target.retries and error.again is None):
                    log.error("request %s: %s", ctx.id, error.reason)
                    _watch_failure(call, error)
                    raise
                again = error.again
                if again is not None:
                    continue
                turn += 1
                _watch_failure(call, error)
                log.info("request %s: try %d failed: %s", ctx.id, turn, error.reason)
        if call.peer is not None and call.peer.watch is not None:
            call.peer.watch.answered(answer.status)
        _pass_on(pipeline, ctx, phases, lease, answer, data, upload)
    finally:
        if call.peer is not None:
            finish(call, ctx)


def no_peer(ctx: Context) -> Exit:
    """The answer when an upstream has nobody who could take the request."""
    return ctx.error(503, NO_PEER)


def unresolved(ctx: Context, error: NameNotResolved) -> Exit:
    """The answer when a host name leads nowhere."""
    return ctx.error(503, "name resolution failed") if error.missing else ctx.error(500)


def _watch_failure(call: Call, error: UpstreamFailed) -> None:
    """Tell the peer's health checks of a failed try."""
    if call.peer is not None and call.peer.watch is not None and error.again is None:
        call.peer.watch.failed(error.status)


def _pass_on(
    pipeline: Pipeline,
    ctx: Context,
    phases: Phases,
    lease: Lease,
    answer: AnswerHead,
    data: bytes,
    upload: Upload | None,
) -> None:
    """Pass the answer on to the client; the connection is kept when it can be used again."""
    stream = lease.stream
    exchange = ctx.exchange
    try:
        if answer.status == 101 and upload is not None:
            upload.complete()
        reusable = relay(pipeline, ctx, phases, lease, answer, data)
    except BaseException:
        stream.close()
        if upload is not None:
            upload.stop()
        exchange.awaited = None
        raise
    if upload is not None:
        upload.stop()
        reusable = reusable and upload.done
    exchange.awaited = None
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
    gateway: Gateway, ctx: Context, call: Call, turn: int, again: Origin | None
) -> tuple[Lease, AnswerHead, bytes, Upload | None]:
    """Send the request once; the connection, the answer's head, the bytes after it, and the upload still running."""
    service = call.target
    endpoint = service.endpoint
    try:
        origin = endpoint.fixed or again
        if origin is None:
            origin = endpoint.origin_for(gateway, ctx, call, turn)
    except NoPeers as error:
        log.error("request %s: upstream %s: %s", ctx.id, endpoint.host, error)
        raise AnswerNow(no_peer(ctx)) from None
    except NameNotResolved as error:
        log.warning("request %s: %s", ctx.id, error)
        raise AnswerNow(unresolved(ctx, error)) from None
    except IdentityUnusable as error:
        raise UpstreamFailed(502, f"{endpoint.host}:{endpoint.port}: TLS: {error}", False, final=True) from None
    ctx.proxied_at = monotonic()
    lease = upload = None
    try:
        body = call.body
        once = body is None or call.method not in _RETRIED_AFTER_SENDING
        lease = origin.take(service.connect_timeout, again is not None, once)
        stream = lease.stream
        stream.write_timeout = service.write_timeout
        stream.read_timeout = service.read_timeout
        if body is not None and len(body) <= AT_ONCE:
            head = call.head + body if body else call.head
            if once or len(head) > SHORT:
                stream.write(head)
            else:
                stream.write_soon(head)
        else:
            stream.write(call.head)
            upload = Upload(ctx.exchange, stream, call.chunked, service.read_timeout, body)
        ctx.exchange.wait_for(stream)
        answer, data = _read_answer(gateway, ctx, call, stream)
        if stream.unsent:
            _check_early(gateway, lease)
        ctx.first_byte_at = monotonic()
        ctx.lease = lease
        return lease, answer, data, upload
    except BaseException as error:
        if lease is not None:
            lease.stream.close()
        if upload is not None:
            upload.stop()
            if upload.failure is not None:
                _note(ctx, origin, lease, None)
                raise ClientFault(upload.failure) from error
        if isinstance(error, ClientFault):
            _note(ctx, origin, lease, None)
            raise
        if ctx.exchange.gone:
            _note(ctx, origin, lease, None)
            raise ClientFault(ConnectionClosed("the client left while it was waiting")) from error
        failure = _failure(error, lease is not None, endpoint)
        if failure is None:
            raise
        if lease is not None and lease.reused and failure.status == 502 and not failure.final:
            failure.again = origin
        _note(ctx, origin, lease, failure.status)
        try:
            raise failure from error
        finally:
            del failure  # it refers to this frame: nothing of the request could go before garbage is collected


def _check_early(gateway: Gateway, lease: Lease) -> None:
    """There is an answer already, although the request is still here.

    On a connection that was kept it belongs to somebody else's request. On a new one it is what a server says to
    everybody, such as that it is overloaded. Raises `ConnectionClosed`.
    """
    if lease.reused:
        raise ConnectionClosed("the upstream answered before it was asked")
    gateway.streams.outbox.flush()


def _note(ctx: Context, origin: Origin, lease: Lease | None, code: int | None) -> None:
    """Remember a try that came to nothing, for the logs; `code` is None when that was the client's doing."""
    now = monotonic()
    reused = lease is not None and lease.reused
    made = Try(origin.ip, origin.port, reused, time() - now + ctx.proxied_at, code, now - ctx.proxied_at)
    ctx.failed_tries = [*(ctx.failed_tries or ()), made]


def _failure(error: BaseException, sent: bool, endpoint: Endpoint | BalancedEndpoint) -> UpstreamFailed | None:
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
            try:
                ctx.exchange.interim(answer.status, answer.reason, answer.fields.forward)
            except (ConnectionClosed, DeadlineExceeded, OSError) as error:
                raise ClientFault(error) from error
        data = rest or stream.read(HEAD_READ)
