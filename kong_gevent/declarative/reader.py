"""Declarative files as a stream: one entry of a top-level list at a time, so that a large file needs little memory.

YAML is read event by event (version 1.1, aliases and merge keys included); JSON files are read whole.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import yaml
from yaml import events

from kong_gevent.db import codec
from kong_gevent.declarative.problems import InvalidDocument
from kong_gevent.declarative.scalars import typed
from kong_gevent.errors import ConfigurationError

ENDINGS = (".yml", ".yaml", ".json")
MAX_DEPTH = 100
MAX_EXPANDED = 1_000_000
"""Values that aliases may add to a document: a small text must not grow without bounds."""
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Item(NamedTuple):
    """A part of a document: the value of a top-level key, or the entry of its list at `position` (from 1)."""

    key: str
    position: int | None
    value: Any


def read_file(path: Path | str) -> Iterator[Item]:
    """The parts of a file, in order.

    Raises `ConfigurationError` when there is no such file that can be read, `InvalidDocument` for its content.
    """
    path = Path(path)
    if path.suffix.lower() not in ENDINGS:
        raise ConfigurationError(f"{path} is no declarative file: its name must end in {', '.join(ENDINGS)}")
    try:
        with path.open("rb") as stream:
            yield from read_json(stream.read()) if path.suffix.lower() == ".json" else read_yaml(stream)
    except FileNotFoundError:
        raise ConfigurationError(f"no such file: {path}") from None
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error


def read_whole(path: Path | str) -> dict[str, Any]:
    """A file of any content as one object, read by the same strict rules. Raises what `read_file` does."""
    found: dict[str, Any] = {}
    for key, position, value in read_file(path):
        if position is None:
            found[key] = value
        else:
            found.setdefault(key, []).append(value)
    return found


def read_json(text: bytes | str) -> Iterator[Item]:
    """The parts of a JSON text."""
    document = strict_json(text)
    if not isinstance(document, dict):
        raise InvalidDocument.unreadable("expected an object")
    for key, value in document.items():
        yield from parts(key, value)


def strict_json(text: bytes | str) -> Any:
    """A JSON text as a value. Raises `InvalidDocument`, for names that come twice in one object as well."""
    try:
        value = codec.loads(text)
        json.loads(text, object_pairs_hook=_distinct)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InvalidDocument.unreadable(f"malformed JSON in {place}: {error.msg}", error.lineno) from error
    except RecursionError:
        raise InvalidDocument.unreadable(f"malformed JSON: nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        raise InvalidDocument.unreadable(f"malformed JSON: {error}") from error
    if _depth(value) > MAX_DEPTH:
        raise InvalidDocument.unreadable(f"malformed JSON: nested deeper than {MAX_DEPTH} levels")
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise ValueError(f"the key '{twice}' is there twice in one object")
    return found


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level:
        depth += 1
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return depth


def read_yaml(stream: IO[bytes] | bytes | str) -> Iterator[Item]:
    """The parts of a YAML text."""
    try:
        yield from _Reader(yaml.parse(stream, Loader=LOADER)).items()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        line = mark.line + 1 if mark else None
        raise InvalidDocument.unreadable(f"malformed YAML{place}: {error.problem or error.context}", line) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidDocument.unreadable(f"malformed YAML: {' '.join(str(error).split())}") from error


class _Reader:
    """Builds values from the events of one YAML document."""

    def __init__(self, source: Iterator[Any]) -> None:
        self._next = source.__next__
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._built = 0
        self._expanded = 0

    def items(self) -> Iterator[Item]:
        self._next()  # the stream begins
        if not isinstance(self._next(), events.DocumentStartEvent):
            raise InvalidDocument.unreadable("expected an object")
        root = self._next()
        if not isinstance(root, events.MappingStartEvent):
            raise InvalidDocument.unreadable("expected an object")
        seen: set[str] = set()
        while not isinstance(event := self._next(), events.MappingEndEvent):
            key = self._key(event)
            if key in seen:
                raise _error(event, f"the key '{key}' is there twice")
            seen.add(key)
            event = self._next()
            if isinstance(event, events.SequenceStartEvent) and event.anchor is None:
                yield from self._entries(key)
            else:
                yield from parts(key, self._value(event, 1))
        self._next()  # the document ends
        event = self._next()
        if not isinstance(event, events.StreamEndEvent):
            raise _error(event, "a second document begins; only one is allowed")

    def _entries(self, key: str) -> Iterator[Item]:
        position = 0
        while not isinstance(event := self._next(), events.SequenceEndEvent):
            position += 1
            yield Item(key, position, self._value(event, 2))
        if not position:
            yield Item(key, None, [])

    def _key(self, event: Any) -> str:
        """A key as text, whatever type it might have: `on: 1` has the key `on`."""
        if isinstance(event, events.AliasEvent):
            value, _ = self._anchor(event)
        elif isinstance(event, events.ScalarEvent):
            value = event.value
            if event.anchor is not None:
                self._anchors[event.anchor] = (value, 1)
        else:
            value = None
        if not isinstance(value, str):
            raise _error(event, "a key must be a text")
        return value

    def _value(self, event: Any, depth: int) -> Any:
        if isinstance(event, events.AliasEvent):
            value, size = self._anchor(event)
            self._expanded += size
            if self._expanded > MAX_EXPANDED:
                raise _error(event, f"aliases stand for more than {MAX_EXPANDED:,} values")
            return copy.deepcopy(value)
        if depth > MAX_DEPTH:
            raise _error(event, f"nested deeper than {MAX_DEPTH} levels")
        before = self._built + self._expanded
        self._built += 1
        value = self._build(event, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, self._built + self._expanded - before)
        return value

    def _build(self, event: Any, depth: int) -> Any:
        if isinstance(event, events.ScalarEvent):
            return typed(event)
        if event.tag is not None and event.tag not in ("tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"):
            raise _error(event, f"the tag '{event.tag}' is not supported")
        if isinstance(event, events.SequenceStartEvent):
            found = []
            while not isinstance(event := self._next(), events.SequenceEndEvent):
                found.append(self._value(event, depth + 1))
            return found
        return self._mapping(depth)

    def _mapping(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: list[dict[str, Any]] = []
        while not isinstance(event := self._next(), events.MappingEndEvent):
            key = self._key(event)
            if key == "<<" and isinstance(event, events.ScalarEvent) and event.implicit[0]:
                merged += self._merge(self._next(), depth)
                continue
            if key in found:
                raise _error(event, f"the key '{key}' is there twice")
            found[key] = self._value(self._next(), depth + 1)
        for mapping in merged:
            for key, value in mapping.items():
                found.setdefault(key, value)
        return found

    def _merge(self, event: Any, depth: int) -> list[dict[str, Any]]:
        value = self._value(event, depth + 1)
        mappings = value if isinstance(value, list) else [value]
        if not all(isinstance(mapping, dict) for mapping in mappings):
            raise _error(event, "what is merged with '<<' must be a map, or a list of maps")
        return mappings

    def _anchor(self, event: Any) -> tuple[Any, int]:
        try:
            return self._anchors[event.anchor]
        except KeyError:
            raise _error(event, f"the alias '*{event.anchor}' names nothing that came before") from None


def parts(key: str, value: Any) -> Iterator[Item]:
    """One top-level value as items."""
    if isinstance(value, list) and value:
        yield from (Item(key, position, entry) for position, entry in enumerate(value, 1))
    else:
        yield Item(key, None, value)


def _error(event: Any, text: str) -> InvalidDocument:
    line, column = event.start_mark.line + 1, event.start_mark.column + 1
    return InvalidDocument.unreadable(f"malformed YAML in line {line}, column {column}: {text}", line)
