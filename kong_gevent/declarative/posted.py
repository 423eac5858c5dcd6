"""Documents as they come over HTTP: JSON objects, texts inside JSON or forms, or YAML as it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kong_gevent.db import codec
from kong_gevent.declarative.applying import text_hash
from kong_gevent.declarative.problems import InvalidDocument
from kong_gevent.declarative.reader import Item, parts, read_json, read_yaml, strict_json


class NothingPosted(ValueError):
    """There is no document in the request."""


class Posted:
    """A document and its hash. `textual`: whether the client knows the text that the hash is of."""

    def __init__(self, hash: str, textual: bool, items: Iterator[Item]) -> None:
        self.hash = hash
        self.textual = textual
        self.items = items


def from_text(text: Any) -> Posted:
    """A YAML or JSON text. Raises `NothingPosted`; what is wrong with it shows when `items` are taken."""
    if not isinstance(text, (str, bytes)) or not text:
        raise NothingPosted
    raw = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    items = read_json(raw) if raw.lstrip()[:1] == b"{" else read_yaml(raw)
    return Posted(text_hash(raw), True, items)


def from_json(raw: bytes) -> Posted:
    """A JSON body: the document itself, or an object with its text in `config`.

    Raises `NothingPosted`, `InvalidDocument`.
    """
    document = strict_json(raw)
    if not isinstance(document, dict):
        raise InvalidDocument.unreadable("expected an object")
    if "config" in document:
        return from_text(document["config"])
    if not document:
        raise NothingPosted
    # The same entities in another order of their names are the same document.
    canonical = codec.dumps(_ordered(document))
    return Posted(text_hash(canonical), False, _items(document))


def _items(document: dict[str, Any]) -> Iterator[Item]:
    for key, value in document.items():
        yield from parts(key, value)


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _ordered(value[key]) for key in sorted(value)}
    return [_ordered(inner) for inner in value] if isinstance(value, list) else value
