"""List arguments, and the body of a list with the address of its next page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from kong_gevent.db import parse_tags


def page_options(arguments: Mapping[str, Any], *, tags: bool = False) -> dict[str, Any]:
    """Query arguments as options of a DAO's `page`, which checks `size` and `offset`.

    Raises `InvalidOptions` for a bad tag filter; without `tags` (nested lists, entities without tags) there is none.
    """
    options: dict[str, Any] = {"offset": arguments.get("offset")}
    if "size" in arguments:
        size = arguments["size"]
        options["size"] = "" if size is None else size
    if tags and "tags" in arguments:
        options["tags"], options["tags_mode"] = parse_tags(arguments["tags"])
    return options


def listed(
    rows: list[Any], offset: str | None, path: str, arguments: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The body of a list. `offset` is None on the last page.

    `path` is the list's own (quoted) path; of `arguments`, those that shape the page go into `next`: tags, then size.
    """
    if offset is None:
        return {"data": rows, "next": None}
    following = f"{path}?offset={quote(offset, safe='')}"
    for name in ("tags", "size"):
        value = (arguments or {}).get(name)
        if isinstance(value, str):
            following += f"&{name}={quote(value, safe='')}"
    return {"data": rows, "next": following, "offset": offset}
