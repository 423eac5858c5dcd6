"""Each entity of a document: its references, its id, its schema, its unique values."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from types import NoneType
from typing import Any, Protocol

from marshmallow import ValidationError

from kong_gevent.db import codec, rows
from kong_gevent.db.catalogue import Catalogue, Entity
from kong_gevent.declarative.ids import id_of
from kong_gevent.declarative.problems import Problems
from kong_gevent.declarative.staging import Entry, Raw, Staging
from kong_gevent.errors import DaoError, ProtocolError
from kong_gevent.http.target import normalise_path
from kong_gevent.schema import Errors, fields
from kong_gevent.schema.messages import ENTITY, leaf
from kong_gevent.schema.rules import is_uuid

PAGE = 500
"""Entities whose ids are looked for together."""
_TTL = fields.Ttl()
_TIMES = ("created_at", "updated_at")
_PLAIN_PATH = re.compile(r"[A-Za-z0-9._~/%-]*\Z", re.ASCII)


class Adopt(Protocol):
    """Finds the ids that entities without one have elsewhere."""

    def look_ahead(self, kind: Entity, entities: Iterable[dict[str, Any]]) -> None:
        """These are asked for next."""
        ...

    def find(self, kind: Entity, values: dict[str, Any]) -> str | None:
        """The id of one of them."""
        ...


class Validator:
    """Validates kind by kind, parents first.

    `transform`: values are still to be transformed for storage; `old_paths`: of a format before 3.0, in which regular
    expressions had no mark; `now`: epoch s from which the seconds of `ttl` count; `adopt`: finds the id
    that an entity without one has elsewhere; `tags`: added to every entity.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        staging: Staging,
        problems: Problems,
        *,
        transform: bool,
        old_paths: bool,
        now: float,
        adopt: Adopt | None = None,
        tags: list[str] | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._staging = staging
        self._problems = problems
        self._transform = transform
        self._old_paths = old_paths
        self._now = now
        self._adopt = adopt
        self._tags = tags or []
        self._reader = _StagedReader(catalogue, staging)

    def run(self, name: str, advance: Callable[[int], None]) -> None:
        """Validate all entities of a kind."""
        kind = self._catalogue[name]
        raws = self._staging.raws(name)
        while page := list(islice(raws, PAGE)):
            errors = [self._references(kind, raw, raw.values) for raw in page]
            if self._adopt is not None:
                self._adopt.look_ahead(kind, (raw.values for raw in page if raw.values.get("id") is None))
            for raw, found in zip(page, errors, strict=True):
                self._entity(kind, raw, found)
                advance(1)

    def _entity(self, kind: Entity, raw: Raw, errors: Errors) -> None:
        values = raw.values
        if self._tags and kind.has_tags and isinstance(values.get("tags", []), (list, NoneType)):
            values["tags"] = list(dict.fromkeys([*(values.get("tags") or []), *self._tags]))
        self._own_id(kind, values)
        key = values["id"]
        known = isinstance(key, str) and is_uuid(key)
        name = values.get(kind.endpoint_key) if kind.endpoint_key else None
        if known and isinstance(name, str):
            if self._staging.holder(kind.name, f"@{kind.endpoint_key}", name) is not None:
                self._problems.add(raw.place, _taken(kind, str(kind.endpoint_key), name))
                return
            self._staging.claim(kind.name, f"@{kind.endpoint_key}", name, key.lower())
        if known and not self._staging.identify(kind.name, raw.number, key.lower()):
            self._problems.add(raw.place, _taken(kind, "primary key", key))
            return
        expires = self._take_ttl(kind, values, errors)
        if self._old_paths and kind.name == "routes":
            values["paths"] = _marked(values.get("paths"))
        given = tuple(name for name in _TIMES if values.get(name) is not None)
        entity = self._valid(kind, values, errors)
        if errors:
            self._problems.add(raw.place, errors)
            return
        self._keep(kind, raw, entity, given, expires)

    def _references(self, kind: Entity, raw: Raw, values: dict[str, Any]) -> Errors:
        """Turn references into ids, in place; what names nothing is an error on its field."""
        errors: Errors = {}
        if raw.parent is not None:
            field, number = raw.parent
            implied, stated = self._staging.id_of(number), values.get(field)
            values[field] = {"id": implied or str(uuid.UUID(int=0))}
            if implied is None:
                errors[field] = "the entity that this one is nested in is not valid"
            elif stated is not None and self._resolved(kind, field, stated) != implied:
                errors[field] = "contradicts the entity that this one is nested in"
        for name, foreign in kind.foreign.items():
            value = values.get(name)
            if value is None or (raw.parent is not None and name == raw.parent[0]):
                continue
            key = self._resolved(kind, name, value)
            if key is not None:
                values[name] = {"id": key}
                continue
            shown = _shown(value)
            if shown is not None:
                errors[name] = f"invalid reference '{name}: {shown}' (no such entry in '{foreign.reference}')"
                values[name] = {"id": str(uuid.UUID(int=0))}
        return errors

    def _resolved(self, kind: Entity, field: str, value: Any) -> str | None:
        """The id of the entry that a reference names: by id, or by its name."""
        parent = self._catalogue.get(kind.foreign[field].reference)
        text = _shown(value)
        if parent is None or text is None:
            return None
        if is_uuid(text) and self._staging.has_id(parent.name, text.lower()):
            return text.lower()
        return self._staging.holder(parent.name, f"@{parent.endpoint_key}", text)

    def _own_id(self, kind: Entity, values: dict[str, Any]) -> None:
        if values.get("id") is None:
            adopted = self._adopt.find(kind, values) if self._adopt else None
            values["id"] = adopted or id_of(kind, values)

    def _take_ttl(self, kind: Entity, values: dict[str, Any], errors: Errors) -> float | None:
        if not kind.ttl or "ttl" not in values:
            return None
        try:
            seconds = _TTL.deserialize(values.pop("ttl"))
        except ValidationError as error:
            errors["ttl"] = leaf(error)
            return None
        return self._now + seconds if seconds else None

    def _valid(self, kind: Entity, values: dict[str, Any], errors: Errors) -> dict[str, Any]:
        try:
            if kind.prepare:
                values = kind.prepare(values, None)
            entity, found = kind.schema.run(values)
            if not found and not errors and kind.transform and self._transform:
                found = kind.transform(entity, values.keys(), None)
            if not found and not errors and kind.check:
                found = kind.check(entity, self._reader)
        except DaoError as error:
            entity = {}
            found = dict(error.fields) if isinstance(error.fields, Mapping) else {ENTITY: [error.message]}
        for name, problem in found.items():
            errors.setdefault(name, problem)
        return entity

    def _keep(
        self, kind: Entity, raw: Raw, entity: dict[str, Any], given: tuple[str, ...], expires: float | None
    ) -> None:
        entity["id"] = entity["id"].lower()
        index = rows.index_of(kind, entity)
        for field, value in index.unique:
            if not self._staging.claim(kind.name, field, value, entity["id"]):
                self._problems.add(raw.place, _taken(kind, field, value))
                return
        self._staging.add(Entry(kind.name, entity["id"], rows.encode(entity), given, expires), index)


class _StagedReader:
    """The read side of cross-entity checks, over the document."""

    def __init__(self, catalogue: Catalogue, staging: Staging) -> None:
        self._catalogue = catalogue
        self._staging = staging

    def get(self, entity: str, key: str) -> dict[str, Any] | None:
        """An entity by id."""
        found = self._staging.get(entity, key)
        return codec.loads(found.body) if found else None

    def children(self, entity: str, field: str, parent_id: str) -> Iterator[dict[str, Any]]:
        """Entities whose foreign field refers to a parent."""
        return (codec.loads(found.body) for found in self._staging.children(entity, field, parent_id))

    def each(self, entity: str) -> Iterator[dict[str, Any]]:
        """All entities of a kind."""
        return (codec.loads(found.body) for found in self._staging.entries(entity))


def _shown(value: Any) -> str | None:
    """What a reference says: a text, or an object with one; None when it has another form."""
    if isinstance(value, Mapping) and len(value) == 1:
        (value,) = value.values()
    return value if isinstance(value, str) else None


def _taken(kind: Entity, field: str, value: str) -> str:
    return f"uniqueness violation: '{kind.name}' entity with {field} set to '{value}' already declared"


def _marked(paths: Any) -> Any:
    """Paths of an old format: those that look like regular expressions get the mark, others their normal form."""
    if not isinstance(paths, list):
        return paths
    return [_marked_path(path) if isinstance(path, str) else path for path in paths]


def _marked_path(path: str) -> str:
    if path.startswith("~"):
        return path
    if not _PLAIN_PATH.match(path):
        return f"~{path}"
    try:
        return normalise_path(path)
    except ProtocolError:
        return path  # the schema refuses it with its reason
