"""The four faces of a request's context: request, upstream, response, client."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote_plus

import orjson

from kong_gevent.errors import PluginLimit
from kong_gevent.http import problem
from kong_gevent.http.fields import MAX_KNOWN_NAMES, normalised_name
from kong_gevent.pdk.bodies import is_parsable, parse_body, without_field
from kong_gevent.pdk.edits import FieldEdits, HeaderTemplate

if TYPE_CHECKING:
    from kong_gevent.pdk.context import Context, Override

QueryValue = str | bool
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


def parse_query(raw: str, limit: int = 100) -> dict[str, QueryValue | list[QueryValue]]:
    """Query arguments by name, decoded: `?a` is True, `?a=` is "", a repeated name gives a list; `limit` arguments."""
    found: dict[str, QueryValue | list[QueryValue]] = {}
    for part in [part for part in raw.split("&") if part][:limit]:
        name, equals, value = part.partition("=")
        decoded: QueryValue = unquote_plus(value) if equals else True
        key = unquote_plus(name)
        earlier = found.get(key)
        if earlier is None:
            found[key] = decoded
        elif isinstance(earlier, list):
            earlier.append(decoded)
        else:
            found[key] = [earlier, decoded]
    return found


def encode_query(arguments: Mapping[str, Any]) -> str:
    """The inverse of `parse_query`: True gives a bare name, lists give repeated names; order is kept."""
    parts = []
    for name, value in arguments.items():
        for item in value if isinstance(value, (list, tuple)) else (value,):
            if item is True:
                parts.append(quote(name, safe=""))
            elif item is not None and item is not False:
                parts.append(f"{quote(name, safe='')}={quote(str(item), safe='')}")
    return "&".join(parts)


class _View:
    __slots__ = ("_ctx",)

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx


class RequestView(_View):
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
        return self._ctx.gateway.forwarding.scheme(self._ctx)  # type: ignore[no-any-return]

    @property
    def forwarded_host(self) -> str:
        """The host name the first trusted hop saw."""
        return self._ctx.gateway.forwarding.host(self._ctx)  # type: ignore[no-any-return]

    @property
    def forwarded_port(self) -> int:
        """The port the first trusted hop saw."""
        return self._ctx.gateway.forwarding.port(self._ctx)  # type: ignore[no-any-return]

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
        return {
            name: values[0] if len(values) == 1 else list(values) for name, values in self._ctx.fields.index.items()
        }

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

    @property
    def captures(self) -> dict[str, Any]:
        """`{"named": {name: text}, "unnamed": [text, …]}` of the route's regex path."""
        match = self._ctx.match
        named, unnamed = match.captures if match is not None and match.captures else ({}, [])
        return {"named": named, "unnamed": unnamed}


class UpstreamView(_View):
    """What the upstream will get."""

    __slots__ = ()

    def _edits(self, name: str) -> FieldEdits:
        return self._ctx.edit_upstream(frozenset((NORMAL_NAMES[name],)))

    def _override(self) -> Override:
        from kong_gevent.pdk.context import Override

        override = self._ctx.override
        if override is None:
            override = self._ctx.override = Override()
        return override

    def header(self, name: str) -> str | None:
        """The value that will be sent: what was set here, else what the client sent."""
        edits = self._ctx.up
        if self._ctx.identity is not None:
            edits = self._ctx.edit_upstream(frozenset((NORMAL_NAMES[name],)))
        edited = edits.values(name) if edits is not None else None
        if edits is None or edited is None or not edits.touches(normalised_name(name)):
            sent = self._ctx.request.header(name)
            if sent is not None or not edited:
                return sent
        return edited[0] if edited else None

    def set_header(self, name: str, value: str | int | Sequence[str]) -> None:
        """Set a field (`Host` included); the client's value goes."""
        self._edits(name).set(name, value)

    def set_all(self, template: HeaderTemplate, values: tuple[Any, ...] = ()) -> None:
        """Set the fields of a prepared template at once."""
        self._ctx.set_upstream(template, values)

    def add_header(self, name: str, value: str | int) -> None:
        """Add a line of a field."""
        self._edits(name).add(name, value)

    def clear_header(self, name: str) -> None:
        """Remove a field, in every spelling."""
        self._edits(name).clear(name)

    def set_method(self, method: str) -> None:
        """Change the method."""
        self._override().method = method.encode("latin-1")

    def set_path(self, path: str) -> None:
        """Set the path sent upstream; it starts with `/`, has no query and is sent as given."""
        if not path.startswith("/"):
            raise ValueError("path must start with /")
        self._override().path = quote(path, safe="/%:@!$&'()*+,;=-._~")

    @property
    def raw_query(self) -> str:
        """The query that will be sent."""
        override = self._ctx.override
        if override is not None and override.query is not None:
            return override.query.decode("latin-1")
        return self._ctx.request.raw_query

    def set_raw_query(self, query: str) -> None:
        """Set the query string; empty removes it."""
        self._override().query = quote(query, safe="%/:@!$&'()*+,;=-._~?[]").encode("latin-1")

    def clear_query_arg(self, name: str) -> None:
        """Remove every argument of this name; the others stay as the client wrote them."""
        parts = self.raw_query.split("&")
        kept = [part for part in parts if unquote_plus(part.partition("=")[0]) != name]
        if len(kept) != len(parts):
            self._override().query = "&".join(kept).encode("latin-1")

    def set_query(self, arguments: Mapping[str, Any]) -> None:
        """Set the query from a mapping, see `encode_query`."""
        self._override().query = encode_query(arguments).encode("latin-1")

    def set_body(self, body: bytes, content_type: str | None = None) -> None:
        """Replace the body."""
        self._override().body = body
        if content_type is not None:
            self.set_header("Content-Type", content_type)

    def clear_body_field(self, name: str) -> None:
        """Take a form argument, a part of a multipart form or a member of a JSON object out of the body."""
        kind = self._ctx.request.header("content-type") or ""
        if is_parsable(kind):
            override = self._override()
            body = self._ctx.request.raw_body() if override.body is None else override.body
            left = without_field(kind, body, name)
            if left is not body:
                override.body = left

    def set_json_body(self, value: Any) -> None:
        """Replace the body by a JSON document."""
        self.set_body(orjson.dumps(value), "application/json")

    def set_target(self, host: str, port: int) -> None:
        """Call this host instead of the service's."""
        if not 0 <= port <= 65535:
            raise ValueError("port must be from 0 to 65535")
        override = self._override()
        override.host, override.port = host, port

    def set_scheme(self, scheme: str) -> None:
        """`http` or `https`."""
        if scheme not in ("http", "https"):
            raise ValueError(f"invalid scheme: {scheme}")
        self._override().scheme = scheme

    def set_retries(self, retries: int) -> None:
        """Number of further tries, 0 to 32767."""
        self._override().retries = retries

    def set_timeouts(self, connect: int, write: int, read: int) -> None:
        """The three timeouts in ms."""
        self._override().timeouts = (connect / 1000, write / 1000, read / 1000)

    def enable_buffering(self) -> None:
        """Read the whole answer before passing it on, so that `header_filter` can see its body."""
        self._override().buffered = True


class ResponseView(_View):
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
        self._ctx.status = status

    @property
    def source(self) -> str:
        """`service` when proxied, `exit` when a plugin answered, `error` for the gateway's own errors."""
        return self._ctx.source

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
        found = {} if answer is None else {name: list(values) for name, values in answer.index.items()}
        if edits is not None:
            edits.merge_into(found)
        return {name: values[0] if len(values) == 1 else values for name, values in found.items()}

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


class ClientView(_View):
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
    def peer_port(self) -> int:
        """The port of the connection's other end."""
        port: int = self._ctx.connection.peer_port
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
    def consumer(self) -> dict[str, Any] | None:
        """The authenticated consumer."""
        return self._ctx.consumer

    @property
    def credential(self) -> dict[str, Any] | None:
        """The authenticated credential."""
        return self._ctx.credential
