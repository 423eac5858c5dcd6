"""The verbs that every entity has at its own paths, `/C` and `/C/{c}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response

from kong_gevent.admin import paging
from kong_gevent.admin.node import NodeFacade
from kong_gevent.admin.render import answer, empty, not_found
from kong_gevent.admin.request import current
from kong_gevent.admin.routing import add_path
from kong_gevent.db import DAO, Entity
from kong_gevent.errors import InvalidPrimaryKey, key_text
from kong_gevent.schema import infer
from kong_gevent.schema.fields import Ttl
from kong_gevent.schema.rules import is_uuid

Row = dict[str, Any]
_TTL = Ttl()


def typed_body(entity: Entity) -> Row:
    """The request's body; texts of forms get the types of the entity's schema."""
    client = current()
    if not client.is_form:
        return dict(client.sent)
    typed = infer(entity.schema, client.sent)
    if entity.ttl and "ttl" in typed:  # an option of the row rather than a field of the schema
        typed["ttl"] = _TTL.infer(typed["ttl"])
    return typed


class EntityViews:
    """The plain endpoints of one entity: `/C` and `/C/{c}`.

    The methods above "handlers" are the hooks: an entity with habits of its own overrides some of them in a subclass.
    """

    def __init__(self, node: NodeFacade, name: str) -> None:
        self.node = node
        self.entity: Entity = node.store.catalogue[name]
        self.dao: DAO = node.store.dao(name)
        self.name = name

    # -- hooks

    def body(self, stored: Mapping[str, Any] | None = None) -> Row:
        """What the client sent, typed. `stored` is the row that a partial update will change, None otherwise."""
        return typed_body(self.entity)

    def find(self, key: str) -> Row | None:
        """The row for an id or endpoint key. Raises `InvalidPrimaryKey` or `InvalidUnique` for impossible keys."""
        field, value = self.key_of(key)
        return self.dao.select(value) if field == "id" else self.dao.select_by(field, value)

    def key_of(self, key: str) -> tuple[str, str]:
        """Field and value that a path's identifier stands for: a UUID is an id, all else the endpoint key."""
        if is_uuid(key):
            return "id", key.lower()
        if self.entity.endpoint_key:
            return self.entity.endpoint_key, key
        fields = {"id": "expected a valid UUID"}
        raise InvalidPrimaryKey(f"invalid primary key: '{key_text(fields)}'", fields=fields)

    def insert(self, fields: Row) -> Row:
        """Store a new row."""
        return self.dao.insert(fields)

    def upsert(self, key: str, fields: Row) -> Row:
        """Store a row under the identifier of the path, whether or not there is one yet."""
        field, value = self.key_of(key)
        return self.dao.upsert(value, fields) if field == "id" else self.dao.upsert_by(field, value, fields)

    def update(self, key: str, fields: Row) -> Row:
        """Change a stored row. Raises `EntityNotFound`."""
        field, value = self.key_of(key)
        return self.dao.update(value, fields) if field == "id" else self.dao.update_by(field, value, fields)

    def remove(self, key: str) -> bool:
        """Delete a row; False if there was none."""
        field, value = self.key_of(key)
        return self.dao.delete(value) if field == "id" else self.dao.delete_by(field, value)

    def show(self, row: Row) -> Row:
        """A row as clients see it."""
        return row

    def created(self, sent: Row) -> Response:
        """Store a new row and show it."""
        made = self.insert(sent)
        self.node.published()
        once = {name: sent[name] for name in self.entity.shown_once if sent.get(name) is not None}
        return answer({**self.show(made), **once}, 201)

    # -- handlers

    def path(self) -> str:
        """Path of the collection."""
        return f"/{self.entity.collection}"

    def list_all(self) -> Response:
        """`GET /C`."""
        arguments = current().query_arguments()
        rows, offset = self.dao.page(**paging.page_options(arguments, tags=self.entity.has_tags))
        return answer(paging.listed([self.show(row) for row in rows], offset, self.path(), arguments))

    def create(self) -> Response:
        """`POST /C`."""
        return self.created(self.body())

    def read(self, **values: str) -> Response:
        """`GET /C/{c}`."""
        row = self.find(values[self.name])
        return not_found() if row is None else answer(self.show(row))

    def replace(self, **values: str) -> Response:
        """`PUT /C/{c}`."""
        made = self.upsert(values[self.name], self.body())
        self.node.published()
        return answer(self.show(made))

    def change(self, **values: str) -> Response:
        """`PATCH /C/{c}`."""
        made = self.update(values[self.name], self.body())
        self.node.published()
        return answer(self.show(made))

    def delete(self, **values: str) -> Response:
        """`DELETE /C/{c}`: nothing there is fine."""
        if self.remove(values[self.name]):
            self.node.published()
        return empty()

    def register(self, blueprint: Blueprint) -> None:
        """Add the plain paths."""
        add_path(blueprint, self.path(), {"GET": self.list_all, "POST": self.create})
        verbs = {"GET": self.read, "PUT": self.replace, "PATCH": self.change, "DELETE": self.delete}
        add_path(blueprint, f"{self.path()}/<{self.name}>", verbs)
