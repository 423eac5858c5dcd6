"""What is wrong with a document, as all commands tell it: by its place among the entities, then by that in the text."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kong_gevent.declarative import InvalidDocument


def told(error: InvalidDocument, source: str, text: bytes | None, kinds: Container[str]) -> str:
    """The message of a command. `source`: name of the file; `text`: what it holds, None when that cannot be read."""
    from kong_gevent.declarative.places import located

    lines = ["Failed parsing:", *(f"  {line}" for line in error.lines())]
    if text is not None:
        lines += ["", *located(error, source, text, kinds)]
    return "\n".join(lines)
