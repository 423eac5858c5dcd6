"""Entities seen through others: children below a parent, and the entity that another one refers to."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote
from uuid import uuid4

from flask import Blueprint, Response

from kong_gevent.admin import paging
from kong_gevent.admin.entities import EntityViews, Row
from kong_gevent.admin.render import answer, empty, message, not_found
from kong_gevent.admin.request import current
from kong_gevent.admin.routing import add_path
from kong_gevent.errors import GatewayError
from kong_gevent.schema.rules import is_uuid

COLLECTION_METHODS = ("GET", "POST")
ENTITY_METHODS = ("GET", "PUT", "PATCH", "DELETE")


def absent(**_values: str) -> Response:
    """404, for paths that are only listed."""
    return not_found()


class NestedViews:
    """The endpoints of an entity below a parent: `/F/{f}/C` and `/F/{f}/C/{c}`."""

    def __init__(self, child: EntityViews, parent: EntityViews, field: str) -> None:
        self.child = child
        self.parent = parent
        self.field = field
        """Foreign field of the child that names the parent."""

    def path(self) -> str:
        """Path of the collection, in Flask's notation."""
        nested = self.child.entity.nested or self.child.entity.collection
        return f"/{self.parent.entity.collection}/<{self.parent.name}>/{nested}"

    def _find(self, parent: Row, key: str) -> Row | None:
        """The child for an id or key, whether or not it belongs to the parent."""
        nested_key = self._nested_key(key)
        if nested_key is None:
            return self.child.find(key)
        return self.child.dao.select_together({self.field: {"id": parent["id"]}, nested_key: self.key_value(key)})

    def _nested_key(self, key: str) -> str | None:
        """The field that the path's key stands for, if it is one that is unique below the parent only."""
        return None if is_uuid(key) else self.child.entity.nested_key

    def key_value(self, key: str) -> str:
        """How the key of the path is stored."""
        return key

    def _mine(self, parent: Row, key: str) -> Row | None:
        """The child for a key, if it belongs to the parent."""
        row = self._find(parent, key)
        return row if row is not None and self._belongs(row, parent) else None

    def _belongs(self, row: Row, parent: Row) -> bool:
        return bool(row[self.field] == {"id": parent["id"]})

    def list_all(self, **values: str) -> Response:
        """`GET /F/{f}/C`."""
        key = values[self.parent.name]
        parent = self.parent.find(key)
        if parent is None:
            return not_found()
        arguments = current().query_arguments()
        rows, offset = self.child.dao.page(**paging.page_options(arguments), parent=(self.field, parent["id"]))
        path = self.path().replace(f"<{self.parent.name}>", quote(key, safe=""))
        return answer(paging.listed([self.child.show(row) for row in rows], offset, path))

    def create(self, **values: str) -> Response:
        """`POST /F/{f}/C`: the path decides about the parent."""
        parent = self.parent.find(values[self.parent.name])
        if parent is None:
            return not_found()
        return self.child.created({**self.child.body(), self.field: {"id": parent["id"]}})

    def read(self, **values: str) -> Response:
        """`GET /F/{f}/C/{c}`."""
        parent = self.parent.find(values[self.parent.name])
        row = self._mine(parent, values[self.child.name]) if parent else None
        return not_found() if row is None else answer(self.child.show(row))

    def replace(self, **values: str) -> Response:
        """`PUT /F/{f}/C/{c}`: 404 when the child exists elsewhere."""
        parent = self.parent.find(values[self.parent.name])
        if parent is None:
            return not_found()
        key = values[self.child.name]
        row = self._find(parent, key)
        if row is not None and not self._belongs(row, parent):
            return not_found()
        sent = {**self.child.body(), self.field: {"id": parent["id"]}}
        nested_key = self._nested_key(key)
        if nested_key is None:
            made = self.child.upsert(key, sent)
        else:
            made = self.child.upsert(row["id"] if row else str(uuid4()), {**sent, nested_key: self.key_value(key)})
        self.child.node.published()
        return answer(self.child.show(made))

    def change(self, **values: str) -> Response:
        """`PATCH /F/{f}/C/{c}`: may move the child to another parent, or detach it."""
        parent = self.parent.find(values[self.parent.name])
        row = self._mine(parent, values[self.child.name]) if parent else None
        if parent is None or row is None:
            return not_found()
        made = self.child.update(row["id"], {self.field: {"id": parent["id"]}, **self.child.body(row)})
        self.child.node.published()
        return answer(self.child.show(made))

    def delete(self, **values: str) -> Response:
        """`DELETE /F/{f}/C/{c}`."""
        parent = self.parent.find(values[self.parent.name])
        row = self._mine(parent, values[self.child.name]) if parent else None
        if row is None:
            return not_found()
        self.child.remove(row["id"])
        self.child.node.published()
        return empty()

    def register(self, blueprint: Blueprint) -> None:
        """Add the nested paths."""
        add_path(blueprint, self.path(), {"GET": self.list_all, "POST": self.create})
        verbs = {"GET": self.read, "PUT": self.replace, "PATCH": self.change, "DELETE": self.delete}
        add_path(blueprint, f"{self.path()}/<{self.child.name}>", verbs)


class ReferenceViews:
    """The entity that another one refers to: `/C/{c}/<foreign_field>`."""

    def __init__(self, owner: EntityViews, target: EntityViews, field: str) -> None:
        self.owner = owner
        self.target = target
        self.field = field

    def _target(self, values: Mapping[str, str]) -> tuple[Row | None, Row | None]:
        """The owner, and what it refers to."""
        owner = self.owner.find(values[self.owner.name])
        reference = owner.get(self.field) if owner else None
        return owner, self.target.find(reference["id"]) if reference else None

    def read(self, **values: str) -> Response:
        """`GET /C/{c}/<field>`."""
        _, row = self._target(values)
        return not_found() if row is None else answer(self.target.show(row))

    def replace(self, **values: str) -> Response:
        """`PUT /C/{c}/<field>`: replaces the entity referred to, or makes one and links it."""
        owner, row = self._target(values)
        if owner is None:
            return not_found()
        made = self.target.upsert(row["id"] if row else str(uuid4()), self.target.body())
        if row is None:
            self._link(owner, made)
        self.owner.node.published()
        return answer(self.target.show(made))

    def _link(self, owner: Row, made: Row) -> None:
        try:
            self.owner.update(owner["id"], {self.field: {"id": made["id"]}})
        except GatewayError:
            self.target.remove(made["id"])  # nobody refers to it, and the client is told that nothing happened
            raise

    def change(self, **values: str) -> Response:
        """`PATCH /C/{c}/<field>`."""
        _, row = self._target(values)
        if row is None:
            return not_found()
        made = self.target.update(row["id"], self.target.body(row))
        self.owner.node.published()
        return answer(self.target.show(made))

    def delete(self, **values: str) -> Response:
        """`DELETE /C/{c}/<field>` is refused: 404 without the entity, else 405."""
        _, row = self._target(values)
        return not_found() if row is None else message(405, "Method not allowed")

    def path(self) -> str:
        """The path, in Flask's notation."""
        return f"/{self.owner.entity.collection}/<{self.owner.name}>/{self.field}"

    def register(self, blueprint: Blueprint) -> None:
        """Add the path."""
        verbs = {"GET": self.read, "PUT": self.replace, "PATCH": self.change, "DELETE": self.delete}
        add_path(blueprint, self.path(), verbs)


class NoReference(ReferenceViews):
    """A path that is listed, and answers that there is nothing."""

    def register(self, blueprint: Blueprint) -> None:
        """Add the path."""
        add_path(blueprint, self.path(), dict.fromkeys(ENTITY_METHODS, absent))
