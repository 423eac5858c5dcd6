"""proxy-cache: answers from memory what the upstream has answered before."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kong_gevent.pdk import Conf, Config, Context, Endpoint, Exit, Kit, Plugin, fields
from kong_gevent.plugins.proxy_cache.admin import TOPIC, CacheEndpoints
from kong_gevent.plugins.proxy_cache.entries import Entry, cache_key, pack, place_of
from kong_gevent.plugins.proxy_cache.rules import directives, is_fresh, is_kept, matches, media_type, resource_ttl

VERSION = 1
MAX_ENTRY = 8 << 20
"""Bytes of the largest body that is stored."""
MAX_APART, MAX_APART_BYTES = 256, 64 << 10
"""Entries that a worker keeps taken apart, and bytes of each."""
PATIENCE = 10.0
"""Seconds for which a request waits for another one that asks the same."""


def _switch(what: str) -> fields.Boolean:
    return fields.Boolean(load_default=True, metadata={"description": f"Whether clients are told {what}."})


class ProxyCacheConfig(Config):
    """Settings of proxy-cache."""

    response_code = fields.Array(
        fields.Integer(between=[100, 900]),
        required=True,
        load_default=[200, 301, 404],
        len_min=1,
        metadata={"description": "Statuses of answers that are stored."},
    )
    request_method = fields.Array(
        fields.Choice("HEAD", "GET", "POST", "PATCH", "PUT"),
        required=True,
        load_default=["GET", "HEAD"],
        metadata={"description": "Methods of requests whose answers are stored."},
    )
    content_type = fields.Array(
        fields.String(),
        required=True,
        load_default=["text/plain", "application/json"],
        metadata={
            "description": "Media types of answers that are stored, with exactly their parameters; `*` stands for any."
        },
    )
    cache_ttl = fields.Integer(
        load_default=300, gt=0, metadata={"description": "Seconds for which an answer is fresh."}
    )
    strategy = fields.String(required=True, one_of=["memory"], metadata={"description": "Where answers are stored."})
    cache_control = fields.Boolean(
        required=True,
        load_default=False,
        metadata={"description": "Whether `Cache-Control` and `Expires` are heeded (RFC 9111)."},
    )
    ignore_uri_case = fields.Boolean(
        required=False, load_default=False, metadata={"description": "Whether upper and lower case paths are one."}
    )
    storage_ttl = fields.Integer(
        metadata={"description": "Seconds for which an answer stays stored, whatever its freshness."}
    )
    memory = fields.Record(
        {
            "dictionary_name": fields.String(
                required=True, load_default="kong_db_cache", metadata={"description": "Without effect; as Kong has it."}
            )
        },
        metadata={"description": "Settings of strategy `memory`."},
    )
    vary_query_params = fields.Array(
        fields.String(), metadata={"description": "Query arguments that make a difference; all when unset."}
    )
    vary_headers = fields.Array(
        fields.String(), metadata={"description": "Headers that make a difference; none when unset."}
    )
    response_headers = fields.Record(
        {
            "age": _switch("the age of an answer in `Age`"),
            "X-Cache-Status": _switch("how an answer came about in `X-Cache-Status`"),
            "X-Cache-Key": _switch("the key of an answer in `X-Cache-Key`"),
        },
        metadata={"description": "Headers that tell of the cache; requests with `Kong-Debug` get all."},
    )
    collapse_misses = fields.Boolean(
        load_default=False,
        metadata={"description": "Whether of equal requests at a time only one goes to the upstream."},
    )


class ProxyCache(Plugin):
    """Stores answers and serves them again."""

    name = "proxy-cache"
    priority = 100
    config = ProxyCacheConfig
    protocols_allowed = "any"

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self.clock: Callable[[], float] = time.time
        self.entries: dict[bytes, Entry] = {}
        self.plugins: dict[str, Conf] = {}
        self.admin = CacheEndpoints(kit, self.plugins)

    def init_worker(self) -> None:
        """Purge what is purged on other nodes."""
        self.kit.on_signal(TOPIC, self.admin.forget)

    def configure(self, conf: Conf) -> None:
        """Prepare what decides about requests and answers."""
        conf.methods = frozenset(method.encode() for method in conf.request_method)
        conf.statuses = frozenset(conf.response_code)
        conf.types = [parsed for text in conf.content_type if (parsed := media_type(text)) is not None]
        told = conf.response_headers
        conf.shown = tuple(bool(told[name]) for name in ("age", "X-Cache-Status", "X-Cache-Key"))
        conf.keys = {}
        conf.unused_phases = () if conf.collapse_misses else ("log",)
        self.plugins[conf.plugin_id or ""] = conf

    def retire(self, conf: Conf) -> None:
        """Forget that there was this configuration."""
        key = conf.plugin_id or ""
        if self.plugins.get(key) is conf:
            del self.plugins[key]

    def access(self, ctx: Context, conf: Conf) -> Exit | None:
        """Serve a stored answer, or get ready to store one."""
        if ctx.method not in conf.methods:
            ctx.own(self).status = "Bypass"
            return None
        asked: Mapping[str, Any] = {}
        if conf.cache_control:
            asked = directives(ctx.request.header_values("cache-control"))
            if "no-store" in asked or "no-cache" in asked or ctx.request.header("authorization") is not None:
                ctx.own(self).status = "Bypass"
                return None
        key = cache_key(ctx, conf)
        place = place_of(key)
        entry = self._look_up(place)
        if entry is None and conf.collapse_misses and not self._is_first(ctx, place):
            entry = self._look_up(place)
        if entry is None:
            if "only-if-cached" in asked:
                return ctx.exit(504)
            status = "Miss"
        else:
            age = int(self.clock()) - entry.facts["timestamp"]
            if entry.facts["version"] != VERSION:
                self.kit.node_cache.delete(place)
                status = "Bypass"
            elif is_fresh(conf, asked, age, entry.facts["ttl"]):
                shown = conf.shown if ctx.field("kong-debug") is None else (True, True, True)
                template = entry.fields(key, shown)
                values = (max(age, 0),) if shown[0] else ()
                return ctx.serve(entry.facts["status"], entry.body, template, values, entry.facts.get("length"))
            else:
                status = "Refresh"
        own = ctx.own(self)
        own.status, own.key, own.place, own.parts, own.size = status, key, place, [], 0
        own.purges = self.kit.node_cache.purges(place)
        return None

    def _look_up(self, place: bytes) -> Entry | None:
        data = self.kit.node_cache.get(place)
        if data is None:
            return None
        entry = self.entries.get(place)
        if entry is None or entry.stored is not data:
            entry = Entry(data)
            if len(data) <= MAX_APART_BYTES:
                if len(self.entries) >= MAX_APART:
                    self.entries.clear()
                self.entries[place] = entry
        return entry

    def _is_first(self, ctx: Context, place: bytes) -> bool:
        """Whether this request asks the upstream on behalf of equal ones; else one that did has just been answered."""
        first = self.kit.node_cache.claim(place, PATIENCE)
        own = ctx.own(self)
        own.claimed, own.place = first, place
        return first

    def header_filter(self, ctx: Context, conf: Conf) -> None:
        """Decide whether the upstream's answer is stored, and tell how it came about."""
        own = ctx.own(self)
        status = getattr(own, "status", None)
        if status is None:
            return
        key = getattr(own, "key", None)
        own.facts = None
        if key is not None:
            own.facts = self._facts(ctx, conf)
            if own.facts is None:
                status = "Bypass"
                self._let_go(own)
            elif ctx.method == b"HEAD" or ctx.status in (204, 304):
                self._store(conf, own, b"")
        _, tells_status, tells_key = conf.shown if ctx.field("kong-debug") is None else (True, True, True)
        if tells_status:
            ctx.response.set_header("X-Cache-Status", status)
        if tells_key and key is not None:
            ctx.response.set_header("X-Cache-Key", key)

    def _facts(self, ctx: Context, conf: Conf) -> dict[str, Any] | None:
        """What is stored beside the body; None for an answer that may not be stored."""
        answer = ctx.answer
        if answer is None or ctx.source != "service" or ctx.status not in conf.statuses:
            return None
        if ctx.upstream_status:  # a plugin has made something else of it, such as a refusal
            return None
        kind = media_type(ctx.response.upstream_type or "")
        if kind is None or not any(matches(entry, kind) for entry in conf.types):
            return None
        now = int(self.clock())
        ttl = conf.cache_ttl or 300
        if conf.cache_control:
            said = directives(answer.index.get("cache-control") or [])
            if not said.keys().isdisjoint(("private", "no-store", "no-cache")):
                return None
            ttl = resource_ttl(said, ", ".join(answer.index.get("expires") or []), self.clock())
            if ttl <= 0:
                return None
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.lines]
        kept = [(name, value) for name, value in headers if is_kept(name.lower())]
        facts = {"version": VERSION, "status": ctx.status, "headers": kept, "timestamp": now, "ttl": ttl}
        if ctx.method == b"HEAD":
            told = answer.index.get("content-length")
            facts["length"] = int(told[0]) if told else -1
        return facts

    def body_filter(self, ctx: Context, conf: Conf, chunk: bytes, last: bool) -> None:
        """Collect the body as the upstream sent it; on a hit the other plugins change it as they do now."""
        own = ctx.own(self)
        if getattr(own, "facts", None) is None:
            return
        own.size += len(ctx.received_part)
        if own.size > MAX_ENTRY:
            own.facts, own.parts = None, []
            self._let_go(own)
            return
        own.parts.append(ctx.received_part)
        if last:
            self._store(conf, own, b"".join(own.parts))

    def _store(self, conf: Conf, own: Any, body: bytes) -> None:
        facts, own.facts = own.facts, None
        seconds = conf.storage_ttl or facts["ttl"]
        self.kit.node_cache.put(own.place, pack(facts, body), seconds, own.purges)  # none that was purged meanwhile
        self._let_go(own)

    def _let_go(self, own: Any) -> None:
        """Let those go on that wait for the same answer: it has been stored, or will not be."""
        if getattr(own, "claimed", False):
            own.claimed = False
            self.kit.node_cache.release(own.place)

    def log(self, ctx: Context, conf: Conf) -> None:
        """Whatever became of the request, nobody waits for it any longer."""
        self._let_go(ctx.own(self))

    def endpoints(self) -> Iterable[Endpoint]:
        """Those of `CacheEndpoints`."""
        return self.admin.all()
