"""What is wrong with a document, entity by entity, as clients want it that know their entities but not their places."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kong_gevent.db.catalogue import Catalogue
from kong_gevent.declarative.ids import id_of
from kong_gevent.declarative.reader import Item
from kong_gevent.schema.messages import ENTITY
from kong_gevent.schema.rules import is_uuid

Tree = dict[Any, Any]


def flatten(tree: Mapping[Any, Any], items: Iterable[Item], catalogue: Catalogue) -> tuple[Tree, list[dict[str, Any]]]:
    """The problems that belong to no entity, and one item for each entity that has some. `items`: the same document."""
    left = {key: value for key, value in tree.items() if key not in catalogue or not isinstance(value, Mapping)}
    flattening = _Flattening(catalogue)
    found: list[dict[str, Any]] = []
    for item in items:
        problems = tree.get(item.key)
        if item.key in catalogue and isinstance(problems, Mapping) and item.position in problems:
            found += flattening.entity(item.key, item.value, problems[item.position], {})
    for name in catalogue:
        about = tree.get(name)
        if isinstance(about, Mapping) and ENTITY in about:
            left[name] = {ENTITY: about[ENTITY]}
    return left, found


class _Flattening:
    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._children = {
            name: {
                child.name: field for child, field, _ in reversed(referrers) if child.name not in catalogue[name].fields
            }
            for name, referrers in catalogue.referrers.items()
        }

    def entity(self, kind: str, value: Any, problems: Any, parent: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Items for an entity and its children."""
        children = self._children[kind]
        own = {**value, **parent} if isinstance(value, dict) else value
        inner: list[tuple[str, Any, Any]] = []
        if isinstance(own, dict) and isinstance(problems, Mapping):
            rest = dict(problems)
            for name in children:
                listed, wrong = own.pop(name, None), rest.get(name)
                if isinstance(listed, list) and isinstance(wrong, Mapping):
                    del rest[name]
                    inner += [(name, listed[at - 1], found) for at, found in wrong.items() if isinstance(at, int)]
            problems = rest
        if problems:
            yield {**_heading(kind, own), "entity": own, "errors": list(_errors(problems, ""))}
        if inner:
            reference = {"id": self._id(kind, own)}
            for name, listed, wrong in inner:
                yield from self.entity(name, listed, wrong, {children[name]: reference})

    def _id(self, kind: str, values: dict[str, Any]) -> str:
        given = values.get("id")
        return given if isinstance(given, str) else id_of(self._catalogue[kind], values)


def _heading(kind: str, values: Any) -> dict[str, Any]:
    """Type, and what is valid of id, name and tags."""
    found: dict[str, Any] = {"entity_type": kind.removesuffix("s")}
    if not isinstance(values, dict):
        return found
    key, name, tags = values.get("id"), values.get("name"), values.get("tags")
    if isinstance(key, str) and is_uuid(key):
        found["entity_id"] = key
    if isinstance(name, str) and name:
        found["entity_name"] = name
    if isinstance(tags, list) and tags and all(isinstance(tag, str) for tag in tags):
        found["entity_tags"] = tags
    return found


def _errors(problems: Any, path: str) -> Iterator[dict[str, Any]]:
    if not isinstance(problems, Mapping):
        kind = {"type": "field", "field": path} if path else {"type": "entity"}
        texts = problems if isinstance(problems, list) else [problems]
        yield from ({**kind, "message": text} for text in texts if text is not None)
        return
    for name, inner in problems.items():
        if name == ENTITY:
            kind = {"type": "field", "field": path} if path else {"type": "entity"}
            yield from ({**kind, "message": text} for text in inner)
        elif isinstance(inner, list):
            for position, text in enumerate(inner, 1):
                yield from _errors(text, f"{path}.{name}.{position}".lstrip(".")) if text is not None else ()
        else:
            yield from _errors(inner, f"{path}.{name}".lstrip("."))
