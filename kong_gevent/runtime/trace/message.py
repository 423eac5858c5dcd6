"""A finished request as the message that a trace sends."""

from __future__ import annotations

import os
from time import monotonic, time
from typing import TYPE_CHECKING, Any

import orjson

from kong_gevent.errors import GatewayError
from kong_gevent.observe.secrets import shown_fields, shown_target
from kong_gevent.runtime.trace.board import MESSAGE_BYTES
from kong_gevent.runtime.trace.recording import Recording

if TYPE_CHECKING:
    from kong_gevent.pdk import Context

Row = dict[str, Any]


def message_of(ctx: Context, recording: Recording, node_id: str) -> bytes:
    """The message, without secrets; one that would be too long loses its details."""
    recording.mask()
    ended = monotonic()
    target = shown_target(ctx.target.decode("latin-1"), recording.secrets)
    made: Row = {
        "type": "request",
        "request_id": ctx.id,
        "node_id": node_id,
        "worker": os.getpid(),
        "started_at": round((time() - ended + ctx.started) * 1000),
        "client_ip": ctx.client_ip,
        "method": ctx.method.decode("latin-1"),
        "host": ctx.host[0],
        "target": target,
        "headers": shown_fields(_sent(ctx), recording.secrets),
        "route": _named(ctx.matched_route),
        "service": _named(ctx.matched_service),
        "consumer": _named(ctx.consumer),
        "status": ctx.status,
        **_end(ctx, recording),
        "took_us": recording.at(ended),
        "router": recording.router,
        "steps": recording.steps,
        "tries": _tries(ctx, recording),
        "upstream": _upstream(ctx, recording, ended),
        "bytes": {"received": ctx.request_size, "sent": ctx.response_size},
    }
    data = orjson.dumps(made)
    if len(data) > MESSAGE_BYTES:
        data = orjson.dumps({**made, "target": target[:1000], "headers": [], "steps": [], "truncated": True})
    return data


def _sent(ctx: Context) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in ctx.fields.lines]


def _named(entity: Any) -> Row | None:
    return None if entity is None else {"id": entity["id"], "name": entity.get("name") or entity.get("username")}


def _end(ctx: Context, recording: Recording) -> Row:
    """Where the request ended: at a plugin, at the upstream, with the client gone, or with an error of the gateway."""
    failure = recording.failure
    if failure is not None:
        gone = isinstance(failure, (GatewayError, OSError))
        return {"ended": "client_gone" if gone else "error", "ended_by": None, "reason": str(failure)}
    if recording.exit_by is not None:
        return {"ended": "plugin", "ended_by": recording.exit_by, "reason": None}
    if ctx.answer is not None:
        return {"ended": "upstream", "ended_by": None, "reason": None}
    return {"ended": "error", "ended_by": None, "reason": "answered by the gateway"}


def _tries(ctx: Context, recording: Recording) -> list[Row]:
    offset = time() - monotonic()
    return [
        {
            "ip": one.ip,
            "port": one.port,
            "reused": one.reused,
            "at_us": recording.at(one.began - offset),
            "took_us": round(one.lasted * 1e6),
            "status": one.code,
            "failed": one.code is not None,
        }
        for one in ctx.tries
    ]


def _upstream(ctx: Context, recording: Recording, ended: float) -> Row | None:
    """When the last try began, when its answer's head was there, and how long it took until all was over."""
    if not ctx.proxied_at:
        return None
    first = ctx.first_byte_at
    return {
        "target": shown_target(ctx.upstream_target.decode("latin-1"), recording.secrets),
        "at_us": recording.at(ctx.proxied_at),
        "waited_us": round((first - ctx.proxied_at) * 1e6) if first else None,
        "received_us": round((ended - first) * 1e6) if first else None,
    }
