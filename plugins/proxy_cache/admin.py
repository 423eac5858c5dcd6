"""proxy-cache's endpoints of the Admin API: looking at stored answers, and purging them on all nodes."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from kong_gevent.pdk import AdminCall, AdminReply, Endpoint, Kit
from kong_gevent.plugins.proxy_cache.entries import Entry, place_of

TOPIC = "proxy-cache"
EVERYTHING = "*"
_KEY = re.compile("[0-9a-f]{64}")
NOT_FOUND = AdminReply(None, 404)


class CacheEndpoints:
    """`/proxy-cache`, its entries, and the same below a plugin's id. `plugins`: ids of those in force."""

    def __init__(self, kit: Kit, plugins: Collection[str]) -> None:
        self._kit = kit
        self._plugins = plugins

    def all(self) -> Iterable[Endpoint]:
        """What is contributed to the Admin API."""
        one = {"GET": self._show, "DELETE": self._remove}
        answers: Mapping[str, Any] = {"GET": {200: {"type": "object"}}, "DELETE": {204: None}}
        return (
            Endpoint("/proxy-cache", {"DELETE": self._purge}, answers=answers),
            Endpoint("/proxy-cache/{key}", one, answers=answers),
            Endpoint("/proxy-cache/{plugin}/caches/{key}", one, answers=answers),
        )

    def forget(self, key: str) -> None:
        """Purge an entry, or `EVERYTHING`, on this node."""
        if key == EVERYTHING:
            self._kit.node_cache.clear()
        else:
            self._kit.node_cache.delete(place_of(key))

    def _purge(self, call: AdminCall) -> AdminReply:
        self.forget(EVERYTHING)
        self._kit.signal(TOPIC, EVERYTHING)
        return AdminReply()

    def _remove(self, call: AdminCall, key: str, plugin: str | None = None) -> AdminReply:
        if not self._knows(plugin) or not _KEY.fullmatch(key):
            return NOT_FOUND
        found = self._kit.node_cache.delete(place_of(key))
        self._kit.signal(TOPIC, key)  # other nodes may have the entry even when this one does not
        return AdminReply() if found else NOT_FOUND

    def _show(self, call: AdminCall, key: str, plugin: str | None = None) -> AdminReply:
        data = self._kit.node_cache.get(place_of(key)) if self._knows(plugin) else None
        if data is None:
            return NOT_FOUND
        entry = Entry(data)
        headers: dict[str, Any] = {}
        for name, value in entry.facts["headers"]:
            earlier = headers.get(name)
            headers[name] = (
                value if earlier is None else [*(earlier if isinstance(earlier, list) else [earlier]), value]
            )
        shown: dict[str, Any] = {name: entry.facts[name] for name in ("status", "timestamp", "ttl", "version")}
        shown |= {"headers": headers, "body": entry.body.decode("utf-8", "replace"), "body_len": len(entry.body)}
        shown["req_body"] = ""
        return AdminReply(shown)

    def _knows(self, plugin: str | None) -> bool:
        return plugin is None or plugin in self._plugins
