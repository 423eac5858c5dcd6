"""The log record of a request, as Kong's logging plugins send it: one JSON object with what was asked and answered.

Strategy: most of a record is the same for many requests: what a route, a service and a consumer are, what a client
that sends the same head again has asked, which fields an upstream answers with. The JSON of these parts is made once
and kept with what it describes; a request then costs one joining of texts, and no object of its own.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from time import monotonic, time
from typing import TYPE_CHECKING, Any

import orjson

from kong_gevent.pdk.outcomes import Outcomes
from kong_gevent.pdk.queries import parse_query

if TYPE_CHECKING:
    from kong_gevent.http.answers import AnswerFields
    from kong_gevent.http.fields import RequestFields
    from kong_gevent.pdk.context import Context
    from kong_gevent.pdk.identity import Identity

log = logging.getLogger("kong_gevent.plugins")
REDACTED = "REDACTED"
WORKSPACE_NAME = "default"
WORKSPACE_ID = "0f3f7a6c-6e0d-5b7e-9f59-6d1d5c1c9d0e"
"""There is one workspace; Kong gives it a random id, ours is the same everywhere."""
_SECRET_FIELDS = ("authorization", "proxy-authorization")
_RECORD = (
    b'{"request":{"id":"%b","size":%d,%b%b},"upstream_uri":%b,"upstream_status":"%b",'
    b'"response":{"status":%d,"size":%d,"headers":%b},'
    b'"latencies":{"kong":%d,"proxy":%d,"request":%d,"receive":%d},"tries":[%b],"client_ip":%b,"started_at":%d,'
    b'"source":"%b","workspace":"' + WORKSPACE_ID.encode() + b'","workspace_name":"' + WORKSPACE_NAME.encode() + b'"'
    b"%b%b%b}"
)
_TRY = (
    b'{"ip":%b,"port":%d,"keepalive":%b,"balancer_start":%d,"balancer_start_ns":%d,'
    b'"balancer_latency":0,"balancer_latency_ns":0%b}'
)
_OWN_NAMES = frozenset(
    (
        "request",
        "upstream_uri",
        "upstream_status",
        "response",
        "latencies",
        "tries",
        "client_ip",
        "started_at",
        "source",
        "workspace",
        "workspace_name",
        "route",
        "service",
        "consumer",
        "authenticated_entity",
    )
)


class Recorder:
    """Makes the records of a worker's requests: names, units (ms, bytes) and absences as in Kong 3.9."""

    def __init__(self) -> None:
        self._asked = Outcomes()

    def record(self, ctx: Context) -> dict[str, Any]:
        """The record as an object of the caller's own. Use it in the `log` phase."""
        record: dict[str, Any] = orjson.loads(self._text(ctx, b""))
        for name, value in (ctx.log_fields or {}).items():
            try:
                put(record, name, value)
            except ValueError as error:  # one field that has no place takes nothing from the others
                log.error("request %s: %s", ctx.id, error)
        return record

    def text(self, ctx: Context) -> bytes:
        """The record as JSON, much cheaper than `record`."""
        added = ctx.log_fields
        if not added:
            return self._text(ctx, b"")
        for name, value in added.items():
            if value is None or "." in name or name in _OWN_NAMES:  # goes into what there is, or in its place
                return _dump_any(self.record(ctx))
        return self._text(ctx, b"," + _dump_any(added)[1:-1])

    def _text(self, ctx: Context, added: bytes) -> bytes:
        """The JSON, with `added` at its end."""
        connection, exchange, route, identity = ctx.connection, ctx.exchange, ctx.route, ctx.identity
        request, gateway, proxy, receive = ctx.latencies()
        epoch = time() - monotonic()  # makes a time of day of monotonic time
        key = (ctx.target, ctx.fields, ctx.method, connection.port, connection.tls)
        statuses, tries = _tries(ctx, epoch)
        return _RECORD % (
            ctx.request_id,
            ctx.head_size + exchange.received,
            self._asked.get(key) or self._ask(ctx, key),
            (connection.described or _describe_tls(ctx)) if connection.tls else b"",
            _json(ctx.upstream_target),
            statuses,
            ctx.status,
            exchange.sent,
            _answered(ctx),
            gateway,
            proxy,
            request,
            receive,
            tries,
            _dumps(ctx.client_ip),
            (epoch + ctx.started) * 1000,
            b"upstream" if ctx.source == "service" else b"kong",
            b"" if route is None else route.described or _describe_route(route),
            b"" if identity is None else identity.described or _describe_identity(identity),
            added,
        )

    def _ask(self, ctx: Context, key: Any) -> bytes:
        """What the client asked for, as far as it is the same for all requests with this head; now and then kept."""
        fields: RequestFields = ctx.fields
        path = ctx.raw_path if ctx.query is None else b"%b?%b" % (ctx.raw_path, ctx.query)
        uri = (path or ctx.target).decode("latin-1")
        scheme = "https" if ctx.connection.tls else "http"
        host = ctx.host[0] if ctx.host is not None else ""  # there is none when the request line was refused
        text = b'"uri":%b,"url":%b,"querystring":%b,"method":%b,"headers":%b' % (
            _dumps(uri),
            _dumps(f"{scheme}://{host}:{ctx.connection.port}{uri}"),
            _dumps(parse_query(ctx.query.decode("latin-1"))) if ctx.query else b"{}",
            _json(ctx.method),
            fields.described or _describe_fields(fields),
        )
        self._asked.keep(key, text)
        return text


_dumps = orjson.dumps


def _dump_any(value: dict[str, Any]) -> bytes:
    """JSON also of what plugins have added, whatever it is: one odd field must not take a record with it."""
    try:
        return orjson.dumps(value, default=str)
    except TypeError:  # numbers, names and texts that the fast writer does not take
        return json.dumps(value, default=str, separators=(",", ":")).encode()


def _json(value: bytes) -> bytes:
    """A text of the wire."""
    return _dumps(value.decode("latin-1"))


def _describe_tls(ctx: Context) -> bytes:
    """What was agreed on in the handshake, if that is known, and what became of a certificate of the client."""
    connection = ctx.connection
    tls = getattr(getattr(connection, "stream", None), "tls", None)
    if tls is None:
        return b""
    cipher = tls.cipher()
    facts = {
        "version": tls.version(),
        "cipher": cipher and cipher[0],
        "client_verify": ctx.client_verify if connection.client_subject is None else "SUCCESS",
    }
    text: bytes = b',"tls":%b' % _dumps(facts)
    if connection.client_certificate is None:  # else each request may have its own verdict
        connection.described = text
    return text


def _describe_fields(fields: RequestFields) -> bytes:
    headers = fields.index.texts()
    for name in _SECRET_FIELDS:
        if name in headers:
            headers[name] = REDACTED
    text = fields.described = _dumps(headers)
    return text


def _describe_route(route: Any) -> bytes:
    """A route with its service."""
    text = b',"route":%b' % _dumps(route.entity)
    if route.service is not None:
        text += b',"service":%b' % _dumps(route.service.entity)
    route.described = text
    return text


def _describe_identity(identity: Identity) -> bytes:
    credential, consumer = identity.credential, identity.consumer
    text = b""
    if credential is not None:
        owner = credential.get("consumer") or consumer or {}
        shown = {"id": credential.get("id"), "consumer_id": owner.get("id")}
        text = b',"authenticated_entity":%b' % _dumps(shown)
    if consumer is not None:
        text += b',"consumer":%b' % _dumps(consumer)
    identity.described = text
    return text


def _tries(ctx: Context, epoch: float) -> tuple[bytes, bytes]:
    """The statuses of the attempts to reach the upstream, and the attempts."""
    lease = ctx.lease
    if not ctx.failed_tries:
        if lease is None:
            return b"", b""
        return b"%d" % (ctx.upstream_status or ctx.status), _try(lease.origin, lease.reused, epoch + ctx.proxied_at)
    last = ctx.upstream_status or ctx.status
    codes = [attempt.code or last for attempt in ctx.tries if attempt.code or ctx.first_byte_at]
    tries = [_try(attempt, attempt.reused, attempt.began, attempt.code) for attempt in ctx.tries]
    return b", ".join([b"%d" % code for code in codes]), b",".join(tries)


def _try(place: Any, reused: bool, began: float, code: int | None = None) -> bytes:
    """One attempt; `place` has `ip` and `port`. Kong tells how long choosing it took, which here is no time."""
    return _TRY % (
        _dumps(place.ip),
        place.port,
        b"true" if reused else b"false",
        began * 1e3,
        began * 1e9,
        b"" if code is None else b',"state":"failed","code":%d' % code,
    )


def _answered(ctx: Context) -> bytes:
    """All fields of the answer, those included that the gateway adds to every one."""
    answer, gateway = ctx.answer, ctx.gateway
    if answer is not None and gateway.common_lines and answer.date and ctx.down is None:
        return b'{%b"x-kong-upstream-latency":"%d","x-kong-proxy-latency":"%d","x-kong-request-id":"%b"}' % (
            answer.described if answer.described is not None else _describe_answer(answer),
            (ctx.first_byte_at - ctx.proxied_at) * 1000,
            (ctx.proxied_at - ctx.started) * 1000,
            ctx.request_id,
        )
    headers = ctx.response.headers()
    if answer is None:
        date = b"" if ctx.down is not None and ctx.down.touches("date") else gateway.date_line()
        lines = date + gateway.own_lines(ctx)
    else:
        lines = answer.own + gateway.latency_lines(ctx) + gateway.proxied_lines(ctx, answer)
    _add(headers, lines)
    return _dumps(headers)


def _describe_answer(answer: AnswerFields) -> bytes:
    """The fields that are the same whenever an upstream answers so, with a comma behind each."""
    headers = answer.index.texts()
    _add(headers, answer.own)
    text = answer.described = _dumps(headers)[1:-1] + b"," if headers else b""
    return text


def _add(headers: dict[str, Any], lines: bytes) -> None:
    for line in lines.decode("latin-1").split("\r\n")[:-1]:
        name, _, value = line.partition(": ")
        headers[name.lower()] = value


def put(record: dict[str, Any], name: str, value: Any) -> None:
    """Set a field; dots in its name lead into (new) objects, None removes the field.

    Objects on the way are copied, since plugins may share what they put. Raises ValueError where the way leads through
    something that is no object.
    """
    *parents, last = name.split(".")
    for parent in parents:
        inner = record.get(parent)
        if inner is None:
            if value is None:
                return
            inner = {}
        elif not isinstance(inner, Mapping):
            raise ValueError(f"the log field {name} leads through {parent}, which is no object")
        inner = record[parent] = dict(inner)
        record = inner
    if value is None:
        record.pop(last, None)
    else:
        record[last] = value
