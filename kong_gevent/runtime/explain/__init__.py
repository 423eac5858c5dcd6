"""What would become of a request, without sending it: the worker's own router, plan and call, asked and not used.

Nothing is counted and no plugin runs, so what plugins would change or answer is not foreseen; it says which would run.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

import orjson

from kong_gevent.errors import HttpError
from kong_gevent.http.imagined import ImaginedRequest
from kong_gevent.observe.secrets import shown_target
from kong_gevent.pacing import Pacer
from kong_gevent.pdk import Context, Exit, Identity
from kong_gevent.router.explain import Asked, Asking
from kong_gevent.runtime.explain import routes, upstream
from kong_gevent.runtime.explain.plugins import PluginsExplained
from kong_gevent.runtime.explain.stage import context_of

if TYPE_CHECKING:
    from kong_gevent.runtime.gateway import Gateway

Row = dict[str, Any]
_SOME_CREDENTIAL = {"id": None}
"""Stands for whatever a consumer has shown when no credential is named: without any it would be the anonymous one."""


class Explainer:
    """Explains requests by what this worker serves. `health_of`: the health of an upstream by its id."""

    def __init__(self, gateway: Gateway, health_of: upstream.HealthOf) -> None:
        self._gateway = gateway
        self._health_of = health_of

    def explain(self, request: ImaginedRequest, consumer: Row | None, credential: Row | None, near: int) -> Row:
        """Everything about one request; `consumer` and `credential` (with its `kind`): who is assumed to ask.

        `near`: how many routes are told that do not win.
        """
        told: Row = {
            "request": {
                "method": request.method,
                "scheme": request.scheme,
                "target": shown_target(request.target),
                "client_ip": request.client_ip,
                "sni": request.sni,
            },
            "outcome": None,
            "route": None,
            "match": None,
            "candidates": [],
            "service": None,
            "plugins": {"order": [], "phases": {}},
            "without_effect": [],
            "upstream": None,
            "upstream_request": None,
            "consumer": None,
            "notes": [],
        }
        try:
            ctx = context_of(self._gateway, request, monotonic())
            self._gateway.pipeline.read_target(ctx)
            if self._gateway.body_limit:
                self._gateway.pipeline.limit_body(ctx, self._gateway.body_limit)
        except HttpError as error:
            told["outcome"] = {
                "kind": "refused", "status": error.status, "message": error.message, "reason": error.reason or None,
            }  # fmt: skip
            return told
        told["request"].update(host=ctx.host[0], port=ctx.host[1] or ctx.connection.port, path=ctx.path)
        plugins = PluginsExplained(self._gateway, consumer, credential)
        answer = self._follow(ctx, told, plugins, credential, near)
        told["outcome"] = {"kind": "proxied"} if answer is None else _answered(ctx, answer)
        told["consumer"] = routes.named(plugins.known)
        told["notes"] = _notes(told, plugins, consumer)
        return told

    def _follow(
        self, ctx: Context, told: Row, plugins: PluginsExplained, credential: Row | None, near: int
    ) -> Exit | None:
        """The way of the request through the gateway; the answer that ends it before the upstream."""
        pipeline, plan, pause = self._gateway.pipeline, self._gateway.plan, Pacer()
        asked: Asked = pipeline.find(ctx, Asking)
        match = plan.router.match(*asked)
        told["match"], told["candidates"] = routes.describe(plan, asked, match, near, pause)
        if match is None:
            told["plugins"] = plugins.describe(plan.global_chain, access=False)
            told["without_effect"] = plugins.without_effect(None, None, pause)
            return pipeline.no_route(ctx)
        route = match.payload
        ctx.match, ctx.route = match, route
        told["route"] = route.entity
        told["service"] = route.service.entity if route.service else None
        refusal = pipeline.check_protocol(ctx, route) if route.https_only or route.grpc else None
        told["plugins"] = plugins.describe(plan.chain_of(route), access=refusal is None)
        told["without_effect"] = plugins.without_effect(route.id, route.service.id if route.service else None, pause)
        if refusal is not None:
            return refusal
        if route.service is None:
            return pipeline.no_service(ctx)
        if plugins.known is not None:
            ctx.identity = Identity(
                plugins.known, credential or _SOME_CREDENTIAL, credential["id"] if credential else None
            )
        way, refusal = upstream.describe(self._gateway, ctx, self._health_of)
        told.update(way)
        return refusal


def _answered(ctx: Context, answer: Exit) -> Row:
    """An answer of the gateway's own."""
    lines = [line.partition(": ") for line in answer.headers.added().decode("latin-1").split("\r\n") if line]
    text = answer.body.decode("utf-8", "replace")
    try:
        message = orjson.loads(text)["message"]
    except (ValueError, KeyError, TypeError):
        message = text or None
    headers = [{"name": name, "value": value} for name, _, value in lines]
    return {"kind": "answered", "status": answer.status, "message": message, "headers": headers}


def _notes(told: Row, plugins: PluginsExplained, consumer: Row | None) -> list[str]:
    """What a reader should know who trusts the rest."""
    notes = []
    if plugins.authenticating and consumer is None:
        names = ", ".join(plugins.authenticating)
        notes.append(f"{names} asks who sends the request; credentials are not checked here: name a consumer")
    if consumer is not None and plugins.known is None and told["route"] is not None:
        notes.append("no plugin of this route can find out that it is this consumer: it is not considered")
    if told["plugins"]["phases"].get("rewrite"):
        notes.append("plugins run before the route is looked for; what they would change is not considered")
    return notes
