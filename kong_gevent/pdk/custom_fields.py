"""Log fields that users compute with small programs (`custom_fields_by_lua`), for every logging plugin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from logging import Logger
from typing import TYPE_CHECKING, Any

from kong_gevent.pdk.expression_values import LIBRARY, Native
from kong_gevent.pdk.expressions import ExpressionError, Program
from kong_gevent.schema import fields

if TYPE_CHECKING:
    from kong_gevent.pdk.context import Context

Getter = Callable[..., Any]
_REQUEST: Mapping[str, Getter] = {
    "get_forwarded_host": lambda ctx: ctx.request.forwarded_host,
    "get_forwarded_port": lambda ctx: ctx.request.forwarded_port,
    "get_forwarded_scheme": lambda ctx: ctx.request.forwarded_scheme,
    "get_header": lambda ctx, name: ctx.request.header(name),
    "get_headers": lambda ctx: ctx.request.headers(),
    "get_host": lambda ctx: ctx.request.host,
    "get_http_version": lambda ctx: ctx.request.http_version,
    "get_method": lambda ctx: ctx.request.method,
    "get_path": lambda ctx: ctx.request.path,
    "get_path_with_query": lambda ctx: "?".join(filter(None, (ctx.request.raw_path, ctx.request.raw_query))),
    "get_port": lambda ctx: ctx.request.port,
    "get_query": lambda ctx: ctx.request.query_args(),
    "get_query_arg": lambda ctx, name: _first(ctx.request.query_arg(name)),
    "get_raw_path": lambda ctx: ctx.request.raw_path,
    "get_raw_query": lambda ctx: ctx.request.raw_query,
    "get_scheme": lambda ctx: ctx.request.scheme,
}
_RESPONSE: Mapping[str, Getter] = {
    "get_header": lambda ctx, name: ctx.response.header(name),
    "get_headers": lambda ctx: ctx.response.headers(),
    "get_source": lambda ctx: ctx.response.source,
    "get_status": lambda ctx: ctx.response.status,
}
_CLIENT: Mapping[str, Getter] = {
    "get_consumer": lambda ctx: ctx.client.consumer,
    "get_credential": lambda ctx: ctx.client.credential,
    "get_forwarded_ip": lambda ctx: ctx.client.ip,
    "get_ip": lambda ctx: ctx.client.peer_ip,
}
_ROUTER: Mapping[str, Getter] = {
    "get_route": lambda ctx: ctx.matched_route,
    "get_service": lambda ctx: ctx.matched_service,
}
_FUNCTIONS = {"request": _REQUEST, "response": _RESPONSE, "client": _CLIENT, "router": _ROUTER}


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) else value


def _bound(getter: Getter, ctx: Context) -> Native:
    return Native(lambda *arguments: getter(ctx, *arguments))


def names_for(ctx: Context) -> dict[str, Any]:
    """What a program may use for a request: `kong.request.get_header("x")`, `kong.ctx.shared.x`, … and `LIBRARY`."""
    kong: dict[str, Any] = {
        group: {name: _bound(getter, ctx) for name, getter in functions.items()}
        for group, functions in _FUNCTIONS.items()
    }
    kong["ctx"] = {"shared": ctx.shared}
    return {**LIBRARY, "kong": kong}


def _error(source: str) -> str | None:
    try:
        Program(source)
    except ExpressionError as error:
        return f"Error parsing function: {error}"
    return None


def field() -> fields.Map:
    """The setting `custom_fields_by_lua` of a logging plugin."""
    return fields.Map(
        keys=fields.String(len_min=1),
        values=fields.String(len_min=1, custom_validator=_error),
        metadata={"description": "Names of log fields, and the program whose result each of them gets."},
    )


class CustomFields:
    """The programs of one configuration, parsed."""

    __slots__ = ("_programs",)

    def __init__(self, sources: Mapping[str, str] | None) -> None:
        self._programs = [(name, Program(source)) for name, source in (sources or {}).items()]

    def apply(self, ctx: Context, log: Logger) -> None:
        """Set the fields in this request's log record; a program that fails leaves its field as it is."""
        if not self._programs:
            return
        offered = names_for(ctx)
        for name, program in self._programs:
            try:
                ctx.log[name] = program.run(offered)
            except ExpressionError as error:
                log.error("request %s: custom field %s: %s", ctx.id, name, error)
