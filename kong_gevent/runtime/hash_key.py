"""What of a request is hashed to choose its peer: `hash_on` of an upstream, else its `hash_fallback`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

from kong_gevent.pdk import Context


class HashKey:
    """The inputs of one upstream entity."""

    __slots__ = ("_cookie", "_cookie_path", "_inputs")

    def __init__(self, entity: Mapping[str, Any]) -> None:
        self._inputs = tuple(
            (
                entity[use],
                entity[f"{use}_header"] or "",
                entity[f"{use}_query_arg"] or "",
                entity[f"{use}_uri_capture"] or "",
            )
            for use in ("hash_on", "hash_fallback")
        )
        self._cookie: str = entity["hash_on_cookie"]
        self._cookie_path: str = entity["hash_on_cookie_path"]

    def of(self, ctx: Context) -> bytes:
        """What leads a request to its peer; empty when it has nothing of the kind."""
        for kind, header, argument, capture in self._inputs:
            text = self._input(ctx, kind, header, argument, capture)
            if text is not None:
                return text.encode("utf-8", "surrogateescape")
        return b""

    def _input(self, ctx: Context, kind: str, header: str, argument: str, capture: str) -> str | None:
        request = ctx.request
        if kind == "consumer":
            credential = ctx.credential
            return ctx.consumer_id or (credential.get("id") if credential else None)
        if kind == "ip":
            return ctx.client_ip
        if kind == "header":
            values = request.header_values(header)
            return ", ".join(values) if values else None
        if kind == "path":
            return unquote(ctx.path)
        if kind == "query_arg":
            return _argument(request.query_arg(argument))
        if kind == "uri_capture":
            return _capture(request.captures, capture)
        return self._chosen_before(ctx) if kind == "cookie" else None

    def _chosen_before(self, ctx: Context) -> str:
        """The value of the cookie, which is set when the client has none."""
        for header in ctx.request.header_values("cookie"):
            for pair in header.split(";"):
                key, equals, value = pair.strip().partition("=")
                if equals and key == self._cookie and value:
                    return value
        value = str(uuid4())
        ctx.response.add_header(
            "Set-Cookie", f"{self._cookie}={value}; Path={self._cookie_path}; SameSite=Lax; HttpOnly"
        )
        return value


def _argument(value: Any) -> str | None:
    if value is True:
        return "true"
    if isinstance(value, list):
        return ",".join(sorted("true" if item is True else str(item) for item in value))
    return None if value is None else str(value)


def _capture(captures: dict[str, Any], name: str) -> str | None:
    if name.isascii() and name.isdigit():
        unnamed = captures["unnamed"]
        return unnamed[int(name) - 1] if 0 < int(name) <= len(unnamed) else None
    found: str | None = captures["named"].get(name)
    return found
