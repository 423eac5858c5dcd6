"""The tags of all entities as a list of their own; it can only be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kong_gevent.db import paging
from kong_gevent.errors import InvalidUnique, OperationUnsupported
from kong_gevent.schema import names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kong_gevent.db.strategies.base import Strategy

_TEXT = "does not support insert/upsert/update/delete operations"


class TagsDAO:
    """Rows are `{"tag", "entity_name", "entity_id"}`, ordered by these three."""

    name = "tags"

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy

    def page(
        self, size: Any = None, offset: str | None = None, tag: str | None = None
    ) -> tuple[list[dict[str, str]], str | None]:
        """One page of all tags, or of one; the token of the next page. Raises `InvalidUnique` for an impossible tag."""
        wanted = paging.check_size(size)
        if tag is not None:
            error = "length must be at least 1" if tag == "" else names.tag(tag)
            if error:
                raise InvalidUnique("tag", error)
        after = None
        if offset is not None:
            first, second, third = paging.decode_offset(offset, 3)
            after = (first, second, third)
        found = self._strategy.tagged(tag, after, wanted + 1)
        following = paging.encode_offset(found[wanted - 1]) if len(found) > wanted else None
        return [_row(*entry) for entry in found[:wanted]], following

    def each(self, size: int = 1000) -> Iterator[dict[str, str]]:
        """All rows, read page by page."""
        after: tuple[str, str, str] | None = None
        while True:
            found = self._strategy.tagged(None, after, size)
            for entry in found:
                yield _row(*entry)
            if len(found) < size:
                return
            after = found[-1]

    def insert(self, entity: Mapping[str, Any]) -> dict[str, Any]:
        """Refused: tags live on their entities."""
        raise OperationUnsupported(f"tags: {_TEXT}", fields={"tags": _TEXT})


def _row(tag: str, kind: str, key: str) -> dict[str, str]:
    return {"tag": tag, "entity_name": kind, "entity_id": key}
