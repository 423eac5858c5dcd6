"""A declarative document: nested entities made flat, ids and references found, everything validated, or nothing at all.

with Document.load(read_file("kong.yml"), catalogue) as document:
    for kind in document.kinds:
        for entry in document.entries(kind): …
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Self

from kong_gevent.db import codec
from kong_gevent.db.catalogue import Catalogue
from kong_gevent.declarative.flatten import Flattener
from kong_gevent.declarative.problems import InvalidDocument, Problems
from kong_gevent.declarative.progress import Begin, unheard
from kong_gevent.declarative.reader import Item
from kong_gevent.declarative.staging import Entry, Staging
from kong_gevent.declarative.validate import Adopt, Validator
from kong_gevent.schema.messages import REQUIRED, UNKNOWN

FORMATS = ("1.1", "2.1", "3.0")


def in_order(catalogue: Catalogue) -> list[str]:
    """The kinds of entities, parents before their children."""
    found: list[str] = []

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in found or name in above:
            return
        for field in catalogue[name].foreign.values():
            if field.reference in catalogue:
                visit(field.reference, (*above, name))
        found.append(name)

    for name in catalogue:
        visit(name, ())
    return found


class Document:
    """The valid content of a document. It holds a temporary file: close it, or use it as a context manager."""

    def __init__(self, catalogue: Catalogue, staging: Staging, select_tags: list[str]) -> None:
        self.kinds = in_order(catalogue)
        self.select_tags = select_tags
        """Tags that all its entities have, and that tell which stored entities it is about (`_info.select_tags`)."""
        self._staging = staging

    @classmethod
    def load(
        cls,
        items: Iterable[Item],
        catalogue: Catalogue,
        advance: Callable[[int], None] | None = None,
        adopt: Adopt | None = None,
        begin: Begin = unheard,
    ) -> Self:
        """Read and validate. `advance` hears of entities that were read, or validated, and `begin` when that begins;
        `adopt` finds the id that an entity without one has elsewhere.

        Raises `InvalidDocument` with every problem; the first parse of the text happens here as well.
        """
        staging = Staging()
        try:
            tags = _Loading(catalogue, staging, advance or _unheard, adopt, begin).run(items)
        except BaseException:
            staging.close()
            raise
        return cls(catalogue, staging, tags)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Remove the temporary file."""
        self._staging.close()

    def entries(self, kind: str) -> Iterator[Entry]:
        """The entities of a kind, by id."""
        return self._staging.entries(kind)

    def count(self, kind: str | None = None) -> int:
        """Number of entities, of one kind or of all."""
        return self._staging.count(kind)

    def has(self, kind: str, key: str) -> bool:
        """Whether the document has an entity with this id."""
        return self._staging.get(kind, key) is not None

    def values(self, entry: Entry) -> dict[str, Any]:
        """An entity as the Admin API takes it."""
        found: dict[str, Any] = codec.loads(entry.body)
        return found


class _Loading:
    """One pass over the text, one over each kind of entity."""

    def __init__(
        self, catalogue: Catalogue, staging: Staging, advance: Callable[[int], None], adopt: Adopt | None, begin: Begin
    ) -> None:
        self._catalogue = catalogue
        self._staging = staging
        self._advance = advance
        self._adopt = adopt
        self._begin = begin
        self._tags: list[str] = []
        self._problems = Problems()
        self._format: Any = None
        self._transform: Any = True

    def run(self, items: Iterable[Item]) -> list[str]:
        """The document's select tags."""
        self._begin("reading", None)
        flattener = Flattener(self._catalogue, self._staging, self._problems)
        for item in items:
            named = self._catalogue.get(item.key)
            if named is not None and (named.admin or named.exported):
                flattener.add(item)
                self._advance(1)
            else:
                self._meta(item)
        self._check_meta()
        validator = Validator(
            self._catalogue, self._staging, self._problems,
            transform=self._transform is not False, old_paths=self._format in FORMATS[:-1], now=time.time(),
            adopt=self._adopt, tags=self._tags,
        )  # fmt: skip
        self._begin("checking", self._staging.raw_count)
        for kind in in_order(self._catalogue):
            validator.run(kind, self._advance)
        self._problems.check()
        return self._tags

    def _meta(self, item: Item) -> None:
        key, value = item.key, item.value
        if key == "_format_version":
            self._format = value
        elif key == "_transform":
            self._transform = value
        elif key == "_comment":
            if value is not None and not isinstance(value, str):
                self._problems.add((key,), "expected a string")
        elif key == "_ignore":
            if item.position is None and value not in (None, []):
                self._problems.add((key,), "expected an array")
        elif key == "_workspace":
            if value not in (None, "default"):
                self._problems.add((key,), "there is one workspace, 'default'")
        elif key == "_info":
            self._info(value)
        elif item.position in (None, 1):
            self._problems.add((key,), UNKNOWN)

    def _info(self, value: Any) -> None:
        """decK's notes on a document: tags of everything in it."""
        if not isinstance(value, dict):
            self._problems.add(("_info",), "expected a record")
            return
        for name, inner in value.items():
            if name != "select_tags":
                self._problems.add(("_info", name), UNKNOWN)
            elif not isinstance(inner, list) or not all(isinstance(tag, str) and tag for tag in inner):
                self._problems.add(("_info", name), "expected an array of texts")
            else:
                self._tags = inner

    def _check_meta(self) -> None:
        if self._format is None:
            self._problems.add(("_format_version",), REQUIRED)
        elif not isinstance(self._format, str):
            self._problems.add(("_format_version",), "expected a string")
        elif self._format not in FORMATS:
            self._problems.add(("_format_version",), f"expected one of: {', '.join(FORMATS)}")
        if not isinstance(self._transform, bool):
            self._problems.add(("_transform",), "expected a boolean")


def _unheard(count: int) -> None:
    """Nobody listens."""


__all__ = ["FORMATS", "Document", "InvalidDocument", "in_order"]
