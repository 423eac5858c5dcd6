"""Documents as text, entity by entity: YAML in block style, or JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from kong_gevent.db import codec
from kong_gevent.declarative.scalars import scalar


class YamlWriter:
    """Writes a document: `begin`, then for each collection `collection` and its entities, then `end`."""

    def __init__(self, stream: IO[str]) -> None:
        self._write = stream.write

    def begin(self, stored: bool = True) -> None:
        """The head of the document. `stored`: values are as they are stored, not to be transformed again."""
        self._write('_format_version: "3.0"\n' + ("_transform: false\n" if stored else ""))

    def collection(self, name: str) -> None:
        """A list of entities follows."""
        self._write(f"{name}:\n")

    def entity(self, values: Mapping[str, Any]) -> None:
        """One entity of the list."""
        self._write("\n".join(_item(values, "")) + "\n")

    def end(self) -> None:
        """Nothing more comes."""


class JsonWriter:
    """The same as JSON."""

    def __init__(self, stream: IO[str]) -> None:
        self._write = stream.write
        self._open = False
        self._first = True

    def begin(self, stored: bool = True) -> None:
        """The head of the document."""
        self._write('{"_format_version":"3.0"' + (',"_transform":false' if stored else ""))

    def collection(self, name: str) -> None:
        """A list of entities follows."""
        self._close()
        self._write(f',\n"{name}":[')
        self._open = self._first = True

    def entity(self, values: Mapping[str, Any]) -> None:
        """One entity of the list."""
        self._write(("\n" if self._first else ",\n") + codec.dumps(values).decode())
        self._first = False

    def end(self) -> None:
        """Nothing more comes."""
        self._close()
        self._write("}\n")

    def _close(self) -> None:
        if self._open:
            self._write("]")
        self._open = False


def write_all(writer: YamlWriter | JsonWriter, collections: Mapping[str, list[dict[str, Any]]], stored: bool) -> None:
    """Write a document whose entities are all there."""
    writer.begin(stored)
    for name, entities in collections.items():
        if entities:
            writer.collection(name)
        for entity in entities:
            writer.entity(entity)
    writer.end()


def writer_for(path: Path, stream: IO[str]) -> YamlWriter | JsonWriter:
    """The writer that a file's name asks for."""
    return JsonWriter(stream) if path.suffix.lower() == ".json" else YamlWriter(stream)


def _item(value: Any, indent: str) -> Iterator[str]:
    """Lines of a list's entry."""
    first, *rest = _lines(value, indent + "  ")
    yield f"{indent}- {first[len(indent) + 2 :]}"
    yield from rest


def _lines(value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            if isinstance(inner, (Mapping, list)) and inner:
                yield f"{indent}{scalar(name)}:"
                yield from _lines(inner, indent if isinstance(inner, list) else indent + "  ")
            else:
                yield f"{indent}{scalar(name)}: {_short(inner)}"
    elif isinstance(value, list) and value:
        for inner in value:
            yield from _item(inner, indent)
    else:
        yield indent + _short(value)


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{}"
    return "[]" if isinstance(value, list) else scalar(value)
