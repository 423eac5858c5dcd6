"""The face of a request's context that shows what goes to the upstream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_letters, digits
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote_plus

import orjson

from kong_gevent.pdk.bodies import is_parsable, without_field
from kong_gevent.pdk.edits import FieldEdits, HeaderTemplate
from kong_gevent.pdk.queries import encode_query
from kong_gevent.pdk.views import NORMAL_NAMES, View

if TYPE_CHECKING:
    from kong_gevent.pdk.context import Override


_QUERY_SAFE = "%/:@!$&'()*+,;=-._~?[]"
_QUERY_BYTES = f"{ascii_letters}{digits}{_QUERY_SAFE}".encode()
"""What may stand in a query as it is."""


class UpstreamView(View):
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
        """The first value that will be sent: what was set here, else what the client sent."""
        values = self.header_values(name)
        return values[0] if values else None

    def header_values(self, name: str) -> list[str]:
        """All values that will be sent under this name, as far as plugins and the client decide it."""
        ctx = self._ctx
        edits = ctx.up
        if ctx.identity is not None:
            edits = ctx.edit_upstream(frozenset((NORMAL_NAMES[name],)))
        if edits is None:
            return ctx.request.header_values(name)
        edited = edits.values(name) or []
        return edited if edits.touches(NORMAL_NAMES[name]) else [*ctx.request.header_values(name), *edited]

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
        self._override().path = quote(path, safe="/%:@!$&'()*+,;=-._~", errors="surrogateescape")

    @property
    def raw_query(self) -> str:
        """The query that will be sent."""
        override = self._ctx.override
        if override is not None and override.query is not None:
            return override.query.decode("latin-1")
        return self._ctx.request.raw_query

    def set_raw_query(self, query: str) -> None:
        """Set the query string; empty removes it."""
        data = query.encode("utf-8", "surrogateescape")
        if data.translate(None, _QUERY_BYTES):
            data = quote(data, safe=_QUERY_SAFE).encode("latin-1")
        self._override().query = data

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
        """Take a form argument, a part of a multipart form or a member of a JSON object out of the body.

        A body that is too large for `ctx.request.body_fields` stays as it is.
        """
        kind = self._ctx.request.header("content-type") or ""
        if is_parsable(kind):
            override = self._override()
            body = self._ctx.request.short_body() if override.body is None else override.body
            if body is not None:
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
