"""The log record of a request, as Kong's logging plugins send it: one JSON object with what was asked and answered."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic, time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kong_gevent.pdk.context import Context

REDACTED = "REDACTED"
WORKSPACE_NAME = "default"
WORKSPACE_ID = "0f3f7a6c-6e0d-5b7e-9f59-6d1d5c1c9d0e"
"""There is one workspace; Kong gives it a random id, ours is the same everywhere."""
_SECRET_FIELDS = ("authorization", "proxy-authorization")


def serialize(ctx: Context) -> dict[str, Any]:
    """The record: names, units (ms, bytes) and absences as in Kong 3.9. Use it in the `log` phase."""
    now = monotonic()
    tries = ctx.tries
    record: dict[str, Any] = {
        "request": _request(ctx),
        "upstream_uri": ctx.upstream_target.decode("latin-1"),
        "upstream_status": _upstream_status(ctx, tries),
        "response": {"status": ctx.status, "headers": _response_headers(ctx), "size": ctx.response_size},
        "latencies": _latencies(ctx),
        "tries": [_attempt(attempt) for attempt in tries],
        "client_ip": ctx.client.ip,
        "started_at": int((time() - now + ctx.started) * 1000),
        "source": "upstream" if ctx.source == "service" else "kong",
        "workspace": WORKSPACE_ID,
        "workspace_name": WORKSPACE_NAME,
    }
    credential, consumer = ctx.credential, ctx.consumer
    if credential is not None:
        owner = credential.get("consumer") or consumer or {}
        record["authenticated_entity"] = {"id": credential.get("id"), "consumer_id": owner.get("id")}
    for name, entity in (("route", ctx.matched_route), ("service", ctx.matched_service), ("consumer", consumer)):
        if entity is not None:
            record[name] = entity
    if ctx.log_fields:
        for name, value in ctx.log_fields.items():
            put(record, name, value)
    return record


def _request(ctx: Context) -> dict[str, Any]:
    request = ctx.request
    uri = request.raw_path + (f"?{request.raw_query}" if ctx.query is not None else "")
    uri = uri or ctx.target.decode("latin-1")
    headers = request.headers()
    for name in _SECRET_FIELDS:
        if name in headers:
            headers[name] = REDACTED
    return {
        "id": ctx.id,
        "uri": uri,
        "url": f"{request.scheme}://{request.host}:{request.port}{uri}",
        "querystring": request.query_args(),
        "method": request.method,
        "headers": headers,
        "size": ctx.request_size,
    }


def _response_headers(ctx: Context) -> dict[str, Any]:
    """All fields of the answer, those included that the gateway adds to every one."""
    headers = ctx.response.headers()
    gateway = ctx.gateway
    if ctx.answer is None:
        lines = gateway.date_line() + gateway.own_lines(ctx)
    else:
        lines = ctx.answer.own + gateway.latency_lines(ctx) + gateway.proxied_lines(ctx, ctx.answer)
    for line in lines.decode("latin-1").split("\r\n")[:-1]:
        name, _, value = line.partition(": ")
        headers[name.lower()] = value
    return headers


def _latencies(ctx: Context) -> dict[str, int]:
    """All in ms; `proxy` is -1 where no upstream was asked."""
    request, gateway, proxy, receive = ctx.latencies()
    return {"kong": int(gateway), "proxy": int(proxy), "request": int(request), "receive": int(receive)}


def _upstream_status(ctx: Context, tries: list[Any]) -> str:
    statuses = [str(attempt.code or ctx.status) for attempt in tries if attempt.code or ctx.first_byte_at]
    return ", ".join(statuses)


def _attempt(attempt: Any) -> dict[str, Any]:
    shown = {
        "ip": attempt.ip,
        "port": attempt.port,
        "keepalive": attempt.reused,
        "balancer_start": int(attempt.began * 1000),
        "balancer_start_ns": int(attempt.began * 1e9),
        "balancer_latency": int(attempt.took * 1000),
        "balancer_latency_ns": int(attempt.took * 1e9),
    }
    if attempt.code is not None:
        shown["state"] = "failed"
        shown["code"] = attempt.code
    return shown


def put(record: dict[str, Any], name: str, value: Any) -> None:
    """Set a field; dots in its name lead into (new) objects, None removes the field.

    Objects on the way are copied, since a record shares some with the node. Raises ValueError where the way leads
    through something that is no object.
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
