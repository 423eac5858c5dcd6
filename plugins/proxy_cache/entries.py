"""Stored answers, and the keys they are found by."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus

import orjson

from kong_gevent.pdk import Conf, Context, HeaderTemplate

PREFIX = b"proxy-cache:"
MAX_KEYS, MAX_KEY = 4096, 512
"""Keys that a configuration remembers per worker, and bytes of the request target that they may be made of."""


def place_of(key: str) -> bytes:
    """Where the entry with this key is in the node's cache."""
    return PREFIX + key.encode()


class Entry:
    """A stored answer taken apart. `sent` are its fields with a gap for the age, if that is told."""

    __slots__ = ("body", "facts", "sent", "stored")

    def __init__(self, data: bytes) -> None:
        self.stored = data
        size = int.from_bytes(data[:4], "big")
        self.facts: dict[str, Any] = orjson.loads(data[4 : 4 + size])
        self.body = data[4 + size :]
        self.sent: dict[tuple[bool, bool, bool], HeaderTemplate] = {}

    def fields(self, key: str, shown: tuple[bool, bool, bool]) -> HeaderTemplate:
        """What goes out; `shown`: age, status, key."""
        template = self.sent.get(shown)
        if template is None:
            ours = (("Age", "%d"), ("X-Cache-Status", "Hit"), ("X-Cache-Key", key))
            told: list[tuple[str, str | bytes]] = [line for line, tells in zip(ours, shown, strict=True) if tells]
            names = {"age", *(name.lower() for name, _ in told)}  # the upstream's age would be too low by now
            lines = [
                (name, HeaderTemplate.constant(value.encode("latin-1")))
                for name, value in self.facts["headers"]
                if name.lower() not in names
            ]
            template = self.sent[shown] = HeaderTemplate([*lines, *told])
        return template


def pack(facts: Mapping[str, Any], body: bytes) -> bytes:
    """The octets of an entry."""
    head = orjson.dumps(facts)
    return len(head).to_bytes(4, "big") + head + body


def cache_key(ctx: Context, conf: Conf) -> str:
    """What tells answers apart: consumer, route, method, path, query and the headers that vary; hexadecimal."""
    values = tuple(ctx.field(name) for name in conf.vary_headers) if conf.vary_headers else ()
    route = ctx.matched_route
    place = (ctx.consumer_id, route and route["id"], ctx.method, ctx.target, repr(values) if values else "")
    known: str | None = conf.keys.get(place)
    if known is None:
        path = ctx.raw_path.lower() if conf.ignore_uri_case else ctx.raw_path
        parts = (
            f"{place[0]}:{place[1]}" if place[0] else place[1] or "default",
            ctx.method.decode("latin-1"),
            path.decode("latin-1"),
            query_text((ctx.query or b"").decode("latin-1"), conf.vary_query_params),
            place[4],
        )
        known = hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()
        if len(ctx.target) + len(place[4]) <= MAX_KEY:
            if len(conf.keys) >= MAX_KEYS:
                conf.keys.clear()
            conf.keys[place] = known
    return known


def query_text(query: str, names: list[str] | None) -> str:
    """The arguments of a query as they were sent, in one order: all of them, or those of the names in their order."""
    parts = sorted(part for part in query.split("&") if part)
    if names is not None:
        sent = [(unquote_plus(part.partition("=")[0]), part) for part in parts]
        parts = [part for name in names for given, part in sent if given == name]
    return "&".join(parts)
