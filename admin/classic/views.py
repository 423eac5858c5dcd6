"""The verbs of classic collections and objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from flask import Blueprint, Response

from kong_gevent.admin import routing
from kong_gevent.admin.classic import described, faults
from kong_gevent.admin.classic.fields import Values
from kong_gevent.admin.classic.kinds import Kind
from kong_gevent.admin.node import NodeFacade
from kong_gevent.admin.render import JSON, empty, encode
from kong_gevent.admin.request import current
from kong_gevent.db import paging
from kong_gevent.schema.rules import is_uuid

SCAN = 100
"""Rows read at a time at least: some of them may not be shown."""
_METHODS = "GET,HEAD,PUT,PATCH,POST,DELETE"
_PAGING = ("size", "offset")


class Parent(NamedTuple):
    """The object below which others are listed: its place in the path, and the field of the others that names it."""

    parameter: str
    kind: Kind
    field: str


def shown(body: Mapping[str, Any], status: int = 200) -> Response:
    """A JSON answer, ended by a newline."""
    return Response(encode(body) + b"\n", status, content_type=JSON)


def options(**_values: str) -> Response:
    """Browsers may do everything."""
    made = empty(204)
    made.headers["Access-Control-Allow-Methods"] = _METHODS
    made.headers["Access-Control-Allow-Headers"] = "Content-Type"
    return made


def add_path(
    blueprint: Blueprint, path: str, handlers: Mapping[str, routing.Handler], told: Mapping[str, Any] | None = None
) -> None:
    """Register a path: no HEAD, OPTIONS with fixed answers."""
    routing.add_path(blueprint, path, {**handlers, "HEAD": _no_head, "OPTIONS": options}, told)


def _no_head(**_values: str) -> Response:
    return empty(405)


def parameters() -> Values:
    """Arguments of body and query as one set, texts without blanks around them."""
    client = current()
    query = client.query_arguments()
    body = _trimmed(client.sent, client.is_form)
    return {**_trimmed(query, True), **body}


def _trimmed(value: Any, from_text: bool) -> Any:
    """`from_text`: the decoder of forms says None for the empty text."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, dict):
        return {name: _trimmed(item, from_text) for name, item in value.items()}
    if isinstance(value, list):
        return [_trimmed(item, from_text) for item in value]
    return "" if value is None and from_text else value


class Views:
    """A collection and its objects, below a parent or not."""

    def __init__(self, node: NodeFacade, kind: Kind, path: str, parent: Parent | None = None) -> None:
        self.node = node
        self.kind = kind
        self.path = path
        self.parent = parent
        self._many = described.collection(kind.fields)

    def register(self, blueprint: Blueprint, *, without: str = "") -> None:
        """Add the paths; `without`: a method that the objects do not have."""
        add_path(blueprint, self.path, {"GET": self.list_all, "POST": self.create, "PUT": self.put}, self._many)
        verbs: dict[str, routing.Handler] = {"GET": self.read, "PATCH": self.change, "DELETE": self.delete}
        verbs.pop(without, None)
        add_path(blueprint, f"{self.path}/<object>", verbs, described.one(self.kind.fields))

    def register_list(self, blueprint: Blueprint) -> None:
        """Add the path of the collection, read only."""
        add_path(blueprint, self.path, {"GET": self.list_all}, self._many)

    def list_all(self, **values: str) -> Response:
        """`?size=` and `?offset=` page, everything else filters."""
        arguments = _trimmed(current().query_arguments(), True)
        filters = self.kind.query({name: value for name, value in arguments.items() if name not in _PAGING})
        filters.update(self._owner(values))
        found, following = self._page(filters, arguments)
        body: Values = {"data": found}
        if following is not None:
            body["next"] = _address({**arguments, "offset": following})
        return shown(body)

    def _page(self, filters: Values, arguments: Values) -> tuple[list[Values], str | None]:
        """The objects of a page, and the token of the next one if there are more."""
        size: int = paging.check_size(arguments.get("size"))
        read, token = self.kind.pages(filters), arguments.get("offset")
        found: list[Values] = []
        while True:
            rows, token = read(max(size, SCAN), token)
            for row in rows:
                item = self.kind.show(row)
                if item is None or any(item.get(name) != value for name, value in filters.items()):
                    continue
                if len(found) == size:
                    return found, paging.encode_offset([found[-1]["id"]])
                found.append(item)
            if token is None:
                return found, None

    def create(self, **values: str) -> Response:
        """POST: a new object."""
        return self._insert({**parameters(), **self._owner(values)})

    def _insert(self, given: Values) -> Response:
        made = self.kind.insert(given)
        self.node.published()
        return shown(made, 201)

    def put(self, **values: str) -> Response:
        """PUT: an object in place of the one with its id, or a new one."""
        owner = self._owner(values)
        given = {**parameters(), **owner}
        old = self.kind.by_id(given["id"]) if is_uuid(given.get("id")) else None
        if old is None:
            return self._insert(given)
        if any(old.get(name) != value for name, value in owner.items()):
            raise faults.not_there()
        made = self.kind.replace(old, given)
        self.node.published()
        return shown(made)

    def read(self, **values: str) -> Response:
        """GET an object."""
        return shown(self._object(values))

    def change(self, **values: str) -> Response:
        """PATCH an object."""
        old = self._object(values)
        made = self.kind.change(old, {**parameters(), **self._owner(values)})
        self.node.published()
        return shown(made)

    def delete(self, **values: str) -> Response:
        """DELETE an object with what depends on it."""
        self.kind.remove(self._object(values))
        self.node.published()
        return empty()

    def _owner(self, values: Mapping[str, str]) -> Values:
        """What the path says about the parent. Raises `Refused` when it is not there."""
        if self.parent is None:
            return {}
        found = self.parent.kind.find(values[self.parent.parameter])
        if found is None:
            raise faults.not_there()
        return {self.parent.field: found["id"]}

    def _object(self, values: Mapping[str, str]) -> Values:
        owner = self._owner(values)
        found = self.find(values["object"], owner)
        if found is None or any(found.get(name) != value for name, value in owner.items()):
            raise faults.not_there()
        return found

    def find(self, identifier: str, owner: Values) -> Values | None:
        """The object for the last part of the path; `owner` is what the parent's part says."""
        return self.kind.find(identifier)


def _address(arguments: Mapping[str, Any]) -> str:
    """The absolute address of this path with other arguments."""
    client = current()
    path = routing.raw_path(client.environ).rstrip("/")
    return f"{client.host_url.rstrip('/')}{path}/?{urlencode(arguments, doseq=True)}"
