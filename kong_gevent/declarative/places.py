"""Where in a document's text its problems are: `kong.yml:12: service (orders): host: expected a string`.

Texts are only read for this when there is a problem; what a problem is about is found by the place in its tree.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterator, Mapping
from typing import Any, NamedTuple

import yaml
from yaml import events

from kong_gevent.declarative.problems import InvalidDocument, Place
from kong_gevent.declarative.reader import LOADER
from kong_gevent.schema.messages import ENTITY

_NAMES = ("name", "username", "custom_id", "target", "prefix", "id")
"""By what people know an entity; the first that it has. None of them is a secret."""
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]|[^\s{}\[\]:,"]+', re.DOTALL)


class _Token(NamedTuple):
    """A bracket, or "" for a value; of texts the value; the line, from 1."""

    kind: str
    value: str | None
    line: int


def located(error: InvalidDocument, source: str, text: bytes, kinds: Container[str]) -> list[str]:
    """One line for each problem, in the order of the text. `source`: the file's name; `kinds`: names of entities."""
    if set(error.tree) == {"error"}:
        return [f"{source}:{error.line or 1}: {error.tree['error']}"]
    found = _Walk(error.tree)
    found.through(text)
    lines = []
    for place, problem in _leaves(error.tree, ()):
        depth = _entity_depth(place, kinds)
        about = [found.label(place[:depth])] if depth else []
        field = ".".join(map(str, place[depth:]))
        lines.append((found.line(place), ": ".join([*about, *([field] if field else []), problem])))
    lines.sort(key=lambda entry: entry[0])
    left_out = [f"... and {error.left_out} more problems"] if error.left_out else []
    return [f"{source}:{line}: {words}" for line, words in lines] + left_out


def _leaves(tree: Mapping[Any, Any], place: Place) -> Iterator[tuple[Place, str]]:
    for key, value in tree.items():
        if key == ENTITY:
            yield from ((place, text) for text in value)
        elif isinstance(value, Mapping):
            yield from _leaves(value, (*place, key))
        elif isinstance(value, list):
            yield from _leaves({at: text for at, text in enumerate(value, 1) if text is not None}, (*place, key))
        else:
            yield (*place, key), str(value)


def _entity_depth(place: Place, kinds: Container[str]) -> int:
    """How much of a place leads to the innermost entity: names of lists and positions in turn."""
    depth = 0
    while depth + 1 < len(place) and place[depth] in kinds and isinstance(place[depth + 1], int):
        depth += 2
    return depth


class _Walk:
    """One pass through a text, which notes the lines of those places that a tree has, and the names of entities."""

    def __init__(self, tree: Mapping[Any, Any]) -> None:
        self._tree = tree
        self._lines: dict[Place, int] = {}
        self._names: dict[Place, dict[str, str]] = {}

    def through(self, text: bytes) -> None:
        """Read a text that is known to be readable."""
        decoded = text.decode("utf-8-sig", "replace")
        self._tokens = _json_tokens(decoded) if decoded.lstrip()[:1] == "{" else _yaml_tokens(decoded)
        try:
            self._value(next(self._tokens), self._tree, ())
        except (StopIteration, yaml.YAMLError):
            return  # another text than the problems are of: what is not found gets the line of what it is in

    def line(self, place: Place) -> int:
        """The line of a place, or of the innermost one around it that is there."""
        while place and place not in self._lines:
            place = place[:-1]
        return self._lines.get(place, 1)

    def label(self, place: Place) -> str:
        """An entity as people know it."""
        names = self._names.get(place, {})
        name = next((names[key] for key in _NAMES if names.get(key)), f"entry {place[-1]}")
        return f"{str(place[-2]).removesuffix('s')} ({name})"

    def _value(self, token: _Token, wanted: Any, place: Place) -> None:
        if token.kind == "{":
            self._mapping(wanted, place)
        elif token.kind == "[":
            position = 0
            while (entry := next(self._tokens)).kind != "]":
                position += 1
                self._inner(entry, entry.line, wanted, (*place, position))

    def _mapping(self, wanted: Any, place: Place) -> None:
        while (key := next(self._tokens)).kind != "}":
            value = next(self._tokens)
            if wanted is not None and value.value is not None and key.value in _NAMES:
                self._names.setdefault(place, {})[key.value] = value.value
            self._inner(value, key.line, wanted, (*place, str(key.value)))

    def _inner(self, token: _Token, line: int, wanted: Any, place: Place) -> None:
        if isinstance(wanted, list):
            wanted = dict(enumerate(wanted, 1))
        inner = wanted.get(place[-1]) if isinstance(wanted, Mapping) else None
        if inner is not None:
            self._lines[place] = line
        self._value(token, inner, place if inner is not None else ())


def _yaml_tokens(text: str) -> Iterator[_Token]:
    brackets = {
        events.MappingStartEvent: "{", events.MappingEndEvent: "}",
        events.SequenceStartEvent: "[", events.SequenceEndEvent: "]",
    }  # fmt: skip
    for event in yaml.parse(text, Loader=LOADER):
        line = event.start_mark.line + 1 if event.start_mark is not None else 1
        if type(event) in brackets:
            yield _Token(brackets[type(event)], None, line)
        elif isinstance(event, (events.ScalarEvent, events.AliasEvent)):
            yield _Token("", getattr(event, "value", None), line)


def _json_tokens(text: str) -> Iterator[_Token]:
    line, at = 1, 0
    for match in _TOKEN.finditer(text):
        line += text.count("\n", at, match.start())
        at = match.start()
        token = match.group()
        if token in ("{", "}", "[", "]"):
            yield _Token(token, None, line)
        else:
            yield _Token("", json.loads(token, strict=False) if token[0] == '"' else None, line)
