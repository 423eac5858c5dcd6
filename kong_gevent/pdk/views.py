"""Faces of a request's context: request, response, client (for `upstream` see `pdk.upstream`)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kong_gevent.errors import PluginLimit
from kong_gevent.http import problem
from kong_gevent.http.fields import normalised_name
from kong_gevent.http.lines import MAX_KNOWN_NAMES
from kong_gevent.pdk.bodies import is_parsable, parse_body
from kong_gevent.pdk.edits import FieldEdits, HeaderTemplate
from kong_gevent.pdk.queries import QueryValue, parse_query

if TYPE_CHECKING:
    from kong_gevent.pdk.context import Context

DEFAULT_ARGUMENTS = 100
"""Query arguments that are looked at unless a plugin asks for more."""
DEFAULT_BODY_LIMIT = 1 << 20
"""Bytes of a request body that a plugin may look at unless it asks for more."""


class _Names(dict[str, str]):
    """Field name as plugins spell it → the spelling for look-ups; bounded."""

    def __missing__(self, name: str) -> str:
        normalised = normalised_name(name)
        if len(self) < MAX_KNOWN_NAMES and len(name) <= 64:
            self[name] = normalised
        return normalised


NORMAL_NAMES = _Names()


class View:
    """A face of one request's context."""

    __slots__ = ("_ctx",)

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx


class RequestView(View):
    """What the client sent; never changed by plugins."""

    __slots__ = ()

    @property
    def method(self) -> str:
        """The method as sent."""
        return self._ctx.method.decode("latin-1")

    @property
    def scheme(self) -> str:
        """`http` or `https` of the client's own connection."""
        return "https" if self._ctx.connection.tls else "http"

    @property
    def host(self) -> str:
        """The host asked for, lower-case, without port."""
        host: str = self._ctx.host[0]
        return host

    @property
    def port(self) -> int:
        """The listening port, after `port_maps`."""
        port: int = self._ctx.connection.port
        return port

    @property
    def forwarded_scheme(self) -> str:
        """The scheme the first trusted hop saw."""
        return self._ctx.gateway.forwarding.scheme(self._ctx)

    @property
    def forwarded_host(self) -> str:
        """The host name the first trusted hop saw."""
        return self._ctx.gateway.forwarding.host(self._ctx)

    @property
    def forwarded_port(self) -> int:
        """The port the first trusted hop saw."""
        return self._ctx.gateway.forwarding.port(self._ctx)

    def forwarding_field(self, name: str) -> str | None:
        """What was said in a forwarding field (`x-forwarded-proto`, …), believed or not; see `ctx.client.trusted`."""
        value = self._ctx.fields.forwarding.get(name.lower().encode()) if self._ctx.fields.forwarding else None
        return value.decode("latin-1") if value else None

    @property
    def http_version(self) -> float:
        """1.0 or 1.1."""
        return 1.1 if self._ctx.minor else 1.0

    @property
    def path(self) -> str:
        """The normalised path, without query."""
        return self._ctx.path

    @property
    def raw_path(self) -> str:
        """The path as sent, without query."""
        return self._ctx.raw_path.decode("latin-1")

    @property
    def raw_query(self) -> str:
        """The query as sent, without `?`; empty when there is none."""
        query = self._ctx.query
        return query.decode("latin-1") if query else ""

    def header(self, name: str) -> str | None:
        """The first value of a field; names ignore case and take `_` for `-`."""
        values = self._ctx.fields.index.get(NORMAL_NAMES[name])
        return values[0] if values else None

    def header_values(self, name: str) -> list[str]:
        """All values of a field, in order."""
        values = self._ctx.fields.index.get(NORMAL_NAMES[name])
        return list(values) if values else []

    def headers(self) -> dict[str, str | list[str]]:
        """Lower-case names → value, or list of values when repeated."""
        texts: dict[str, str | list[str]] = self._ctx.fields.index.texts()
        return texts

    def query_args(self, limit: int = DEFAULT_ARGUMENTS) -> dict[str, QueryValue | list[QueryValue]]:
        """Decoded arguments by name, see `parse_query`."""
        ctx = self._ctx
        if limit != DEFAULT_ARGUMENTS:
            return parse_query(self.raw_query, limit)
        if ctx.query_arguments is None:
            ctx.query_arguments = parse_query(self.raw_query, limit)
        return ctx.query_arguments

    def query_arg(self, name: str) -> QueryValue | list[QueryValue] | None:
        """One argument: text, True when it has no value, a list when repeated, None when absent."""
        return self.query_args().get(name) if self._ctx.query else None

    @property
    def content_length(self) -> int | None:
        """The announced size of the body in bytes; None when the client announced none."""
        length = self._ctx.fields.content_length
        return length if length >= 0 else None

    @property
    def is_chunked(self) -> bool:
        """Whether the body comes in chunks, so that nobody knows its size before its end."""
        chunked: bool = self._ctx.fields.chunked
        return chunked

    def limit_body(self, limit: int, status: int = 413, message: str | None = None) -> None:
        """Answer `status` as soon as more than `limit` bytes of body have come, while it streams on until then.

        For bodies whose size was not announced; nothing is held back, nothing is read ahead.
        """
        text = problem.default_message(status) if message is None else message
        self._ctx.exchange.limit_body(limit, status, text, PluginLimit)

    def raw_body(self, limit: int = DEFAULT_BODY_LIMIT) -> bytes:
        """The whole body; raises `errors.HttpError` (413) when it has more than `limit` bytes. It is still proxied."""
        ctx = self._ctx
        if ctx.request_bytes is None:
            ctx.request_bytes = ctx.exchange.read_whole_body(limit)
        return ctx.request_bytes

    def body(self, limit: int = DEFAULT_BODY_LIMIT) -> dict[str, Any] | list[Any] | None:
        """The body decoded by its media type (urlencoded, multipart, JSON); None when it is none of these or broken."""
        kind = self.header("content-type") or ""
        return parse_body(kind, self.raw_body(limit)) if is_parsable(kind) else None

    def short_body(self, limit: int = DEFAULT_BODY_LIMIT) -> bytes | None:
        """As `raw_body`, but None for a body of more than `limit` bytes, which streams on."""
        ctx = self._ctx
        if ctx.request_bytes is None:
            ctx.request_bytes = ctx.exchange.read_short_body(limit)
        return ctx.request_bytes

    def body_fields(self) -> dict[str, Any]:
        """The fields of a form or of a JSON object, for who looks for one that may be in the body, such as a key.

        There are none in a body that is neither, is broken, or has more than 1 MiB, as uploads have: they stream on.
        """
        kind = self.header("content-type") or ""
        body = self.short_body() if is_parsable(kind) else None
        found = parse_body(kind, body) if body else None
        return found if isinstance(found, dict) else {}

    @property
    def captures(self) -> dict[str, Any]:
        """`{"named": {name: text}, "unnamed": [text, …]}` of the route's regex path."""
        match = self._ctx.match
        named, unnamed = match.captures if match is not None and match.captures else ({}, [])
        return {"named": named, "unnamed": unnamed}


class ResponseView(View):
    """The answer on its way to the client."""

    __slots__ = ()

    @property
    def body(self) -> bytes | None:
        """The whole body in the `response` phase and in buffered exchanges; assign to replace it there."""
        return self._ctx.buffered_answer

    @body.setter
    def body(self, body: bytes | None) -> None:
        self._ctx.buffered_answer = body

    def _edits(self) -> FieldEdits:
        edits = self._ctx.down
        if edits is None:
            edits = self._ctx.down = FieldEdits()
        return edits

    @property
    def status(self) -> int:
        """The status; 0 before there is an answer."""
        return self._ctx.status

    @status.setter
    def status(self, status: int) -> None:
        if not 100 <= status <= 599:
            raise ValueError("code must be a number between 100 and 599")
        ctx = self._ctx
        if ctx.answer is not None and not ctx.upstream_status:
            ctx.upstream_status = ctx.status
        ctx.status = status

    @property
    def source(self) -> str:
        """`service` when proxied, `exit` when a plugin answered, `error` for the gateway's own errors."""
        return self._ctx.source

    @property
    def upstream_type(self) -> str | None:
        """The upstream's `Content-Type` as it came: without the charset that the gateway adds."""
        answer = self._ctx.answer
        if answer is None:
            return None
        if answer.given_type is not None:
            return answer.given_type.decode("latin-1")
        values = answer.index.get("content-type")
        return values[0] if values else None

    def header(self, name: str) -> str | None:
        """The first value that will be sent under this name."""
        values = self.header_values(name)
        return values[0] if values else None

    def header_values(self, name: str) -> list[str]:
        """All values that will be sent under this name."""
        edits, answer = self._ctx.down, self._ctx.answer
        edited = edits.values(name) or [] if edits is not None else []
        if answer is None or (edits is not None and edits.touches(normalised_name(name))):
            return edited
        return [*(answer.index.get(normalised_name(name)) or ()), *edited]

    def headers(self) -> dict[str, str | list[str]]:
        """Lower-case names → value, or list of values when repeated, of the upstream's answer with all edits."""
        answer, edits = self._ctx.answer, self._ctx.down
        found = {} if answer is None else answer.index.texts()
        if edits is not None:
            edits.merge_into(found)
        return found

    def set_header(self, name: str, value: str | int | Sequence[str]) -> None:
        """Set a field; the upstream's value goes."""
        self._edits().set(name, value)

    def set_all(self, template: HeaderTemplate, values: tuple[Any, ...] = ()) -> None:
        """Set the fields of a prepared template at once."""
        self._edits().set_all(template, values)

    def add_header(self, name: str, value: str | int) -> None:
        """Add a line of a field."""
        self._edits().add(name, value)

    def clear_header(self, name: str) -> None:
        """Remove a field."""
        self._edits().clear(name)


class ClientView(View):
    """Who asks."""

    __slots__ = ()

    @property
    def ip(self) -> str:
        """The client's address after real-ip processing (`trusted_ips`, `real_ip_header`)."""
        ip: str = self._ctx.gateway.forwarding.client_address(self._ctx)
        return ip

    @property
    def peer_ip(self) -> str:
        """The address of the connection's other end; empty for unix sockets."""
        ip: str = self._ctx.connection.peer_ip
        return ip

    @property
    def trusted(self) -> bool:
        """Whether the connection's other end is among `trusted_ips`, so that its forwarding fields are believed."""
        trusted: bool = self._ctx.connection.trusted
        return trusted

    @property
    def peer_port(self) -> int:
        """The port of the connection's other end."""
        port: int = self._ctx.connection.peer_port
        return port

    @property
    def port(self) -> int:
        """The client's port: the peer's, or what a PROXY protocol header says it is (`real_ip_header`)."""
        port: int = self._ctx.connection.client_port
        return port

    @property
    def server_ip(self) -> str:
        """The address of our end."""
        ip: str = self._ctx.connection.server_ip
        return ip

    @property
    def connection_serial(self) -> int:
        """The number of this connection in its worker."""
        serial: int = self._ctx.connection.serial
        return serial

    @property
    def connection_requests(self) -> int:
        """Requests so far on this connection, this one included."""
        requests: int = self._ctx.connection.requests
        return requests

    @property
    def worker_pid(self) -> int:
        """The process that serves the request."""
        return os.getpid()

    @property
    def consumer(self) -> Mapping[str, Any] | None:
        """The authenticated consumer."""
        return self._ctx.consumer

    @property
    def credential(self) -> Mapping[str, Any] | None:
        """The authenticated credential."""
        return self._ctx.credential
