"""One list of entities with Kong's verbs: the same for services, plugins, credentials and what plugins bring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from kong_gevent.client.errors import NotFound
from kong_gevent.client.transport import Argument, Transport

Entity = dict[str, Any]
"""An entity as the API shows it: every field is there, null when unset; references are `{"id": …}` or None."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list; `offset` asks for the next one and is None on the last."""

    data: list[Entity]
    offset: str | None


def path_of(*parts: str) -> str:
    """A path of quoted segments: `path_of("consumers", "a/b")` is `/consumers/a%2Fb`."""
    return "".join("/" + quote(part, safe="") for part in parts)


class Collection:
    """The entities below one path. `key` is an id or the entity's key (name, username, …).

    Methods take further query arguments by keyword, for instance `dry_run=True`. All raise `ApiError` (`Invalid`,
    `Conflict`, `NotFound`, `Unauthorized`, `ServerFault`) and `Unreachable`.
    """

    def __init__(self, transport: Transport, *parts: str) -> None:
        self._transport = transport
        self._parts = parts
        self.path = path_of(*parts)

    def __repr__(self) -> str:
        return f"<Collection {self._transport.url}{self.path}>"

    def of(self, key: str, name: str) -> Collection:
        """The collection `name` below one entity: `collection("consumers").of("bob", "key-auth")`."""
        return Collection(self._transport, *self._parts, key, name)

    def list(
        self, *, size: int | None = None, offset: str | None = None, tags: str | None = None, **query: Argument
    ) -> Page:
        """One page. `tags`: `a,b` for entities with all of them, `a/b` for entities with one of them."""
        found = self._send("GET", query={"size": size, "offset": offset, "tags": tags, **query})
        return Page(found["data"], found.get("offset"))

    def iterate(self, *, size: int = 1000, tags: str | None = None, **query: Argument) -> Iterator[Entity]:
        """Every entity, read page by page; entities that come or go meanwhile may or may not be among them."""
        offset: str | None = None
        while True:
            page = self.list(size=size, offset=offset, tags=tags, **query)
            yield from page.data
            offset = page.offset
            if offset is None:
                return

    def get(self, key: str, **query: Argument) -> Entity:
        """One entity. Raises `NotFound`."""
        return self._entity("GET", key, None, query)

    def find(self, key: str, **query: Argument) -> Entity | None:
        """One entity, or None."""
        try:
            return self.get(key, **query)
        except NotFound:
            return None

    def create(self, entity: Mapping[str, Any], **query: Argument) -> Entity:
        """Store a new entity; the answer has its defaults. It is never sent twice: see `upsert` for that."""
        made: Entity = self._send("POST", body=entity, query=query)
        return made

    def update(self, key: str, changes: Mapping[str, Any], **query: Argument) -> Entity:
        """Change the given fields; records merge, lists are replaced, None clears. Raises `NotFound`."""
        return self._entity("PATCH", key, changes, query)

    def upsert(self, key: str, entity: Mapping[str, Any], **query: Argument) -> Entity:
        """Replace an entity as a whole, or create it under this id or key; safe to repeat."""
        return self._entity("PUT", key, entity, query)

    def delete(self, key: str, **query: Argument) -> None:
        """Remove an entity; one that is not there is fine (below a parent: `NotFound`)."""
        self._send("DELETE", key, query=query)

    def _entity(self, method: str, key: str, body: Mapping[str, Any] | None, query: Mapping[str, Argument]) -> Entity:
        found: Entity = self._send(method, key, body=body, query=query)
        return found

    def _send(self, method: str, *key: str, body: Any = None, query: Mapping[str, Argument] | None = None) -> Any:
        return self._transport.send(method, self.path + path_of(*key), body, query)[1]
