"""`/openapi.json`: an OpenAPI 3.1 description of this API, made from the paths that exist and the entities' schemas."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flask import Blueprint, Response
from werkzeug.routing import Rule

from kong_gevent import KONG_VERSION
from kong_gevent.admin.access import EXPLAIN, TRACE
from kong_gevent.admin.explain import QUESTION
from kong_gevent.admin.node import NodeFacade
from kong_gevent.admin.render import answer
from kong_gevent.admin.routing import add_path
from kong_gevent.admin.trace import FILTERS
from kong_gevent.db import Catalogue, Entity
from kong_gevent.schema import kinds
from kong_gevent.schema.record import Record

Json = dict[str, Any]
_FORMS = ("application/json", "application/x-www-form-urlencoded", "multipart/form-data")
_VERBS = {"GET": "Read", "POST": "Create", "PUT": "Replace or create", "PATCH": "Change", "DELETE": "Remove"}
_ERRORS = {
    "BadRequest": "The request breaks a rule; `fields` says where.",
    "Unauthorized": "No valid token (setting admin_auth).",
    "Forbidden": "The token may only read.",
    "NotFound": "No such path, or nothing there.",
    "NotAllowed": "The path, or a node without a database, does not know the method.",
    "Conflict": "A unique value is taken.",
    "TooLarge": "The body is too large.",
    "Unsupported": "The content type is not supported; there is no body.",
    "TooMany": "Another configuration is being loaded.",
    "NotImplemented": "This node does not have it.",
    "Unavailable": "The datastore cannot be used now, or the node is not ready.",
}
_ASKED: Mapping[str, Record] = {EXPLAIN: QUESTION, TRACE: FILTERS}
"""Paths that are asked something: by query arguments, or by a body with the same fields."""
_STATUSES = {
    "400": "BadRequest", "401": "Unauthorized", "403": "Forbidden", "404": "NotFound", "405": "NotAllowed",
    "409": "Conflict", "413": "TooLarge", "415": "Unsupported", "429": "TooMany", "501": "NotImplemented",
    "503": "Unavailable",
}  # fmt: skip


# --- schemas ---------------------------------------------------------------------------------------------------------


def field_schema(field: kinds.Field) -> Json:
    """JSON Schema of the values that a field takes. It never refuses what the gateway accepts."""
    made = _typed(field)
    attributes = field.attributes
    if attributes.get("one_of") and not field.referenceable:
        made["enum"] = [*attributes["one_of"], *([] if field.wanted else [None])]
    if attributes.get("between"):
        made["minimum"], made["maximum"] = attributes["between"]
    if attributes.get("uuid"):
        made["format"] = "uuid"
    if field.default is not kinds.UNSET:
        made["default"] = field.default
    if attributes.get("description"):
        made["description"] = attributes["description"]
    if not field.wanted or field.auto:
        made["type"] = [made["type"], "null"] if isinstance(made.get("type"), str) else made.get("type")
        if made["type"] is None:
            del made["type"]
    return made


def _typed(field: kinds.Field) -> Json:
    if isinstance(field, kinds.Record):
        return record_schema(field.schema)
    if isinstance(field, kinds.Array):
        kind: Any = ["array", "object"] if field.takes_objects else "array"
        return {"type": kind, "items": field_schema(field.elements)}
    if isinstance(field, kinds.Map):
        return {"type": "object", "additionalProperties": field_schema(field.values)}
    if isinstance(field, kinds.Foreign):
        text = f"Reference to one of {field.reference}: its id, or another unique field."
        return {"type": "object", "properties": {"id": {"type": "string", "format": "uuid"}}, "description": text}
    kind = {"string": "string", "number": "number", "integer": "integer", "boolean": "boolean"}.get(field.type_name)
    return {"type": kind} if kind else {}


def record_schema(schema: Record, required: bool = True) -> Json:
    """JSON Schema of a record; without `required` for partial updates."""
    properties = {name: field_schema(field) for name, field in schema.shape.items()}
    for name, shorthand in schema.shorthand_fields.items():
        properties[name] = {**field_schema(shorthand.field), "writeOnly": True}
    made: Json = {"type": "object", "properties": properties}
    wanted = [name for name, field in schema.shape.items() if field.required and not schema.shorthand_fields]
    if required and wanted:
        made["required"] = wanted
    return made


# --- paths -----------------------------------------------------------------------------------------------------------


class Description:
    """The document of one API."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def document(self, rules: Iterable[Rule], url: str) -> Json:
        """The whole document, for the address at which the client sees this API."""
        paths: Json = {}
        for rule in sorted(rules, key=lambda rule: rule.rule):
            paths[rule.rule.replace("<", "{").replace(">", "}")] = self._path(rule)
        return {
            "openapi": "3.1.0",
            "info": {"title": "Kong-gevent Admin API", "version": KONG_VERSION, "license": {"name": "Apache-2.0"}},
            "servers": [{"url": url}],
            "security": [{}, {"bearer": []}, {"token": []}],
            "paths": paths,
            "components": {
                "schemas": self._schemas(),
                "responses": {name: _error(name, text) for name, text in _ERRORS.items()},
                "securitySchemes": {
                    "bearer": {"type": "http", "scheme": "bearer"},
                    "token": {"type": "apiKey", "in": "header", "name": "Kong-Admin-Token"},
                },
            },
        }

    def _schemas(self) -> Json:
        found: Json = {"Error": _ERROR_SCHEMA}
        for name, entity in self._catalogue.items():
            found[name] = record_schema(entity.schema)
            found[f"{name}_partial"] = record_schema(entity.schema, required=False)
        return found

    def _path(self, rule: Rule) -> Json:
        names = sorted(rule.arguments, key=lambda name: rule.rule.index(f"<{name}>"))
        made: Json = {}
        if names:
            made["parameters"] = [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
                for name in names
            ]
        entity, many = self._entity(rule.rule)
        for method in sorted((rule.methods or set()) - {"OPTIONS", "HEAD"}):
            made[method.lower()] = self._operation(rule, method, entity, many)
        return made

    def _entity(self, path: str) -> tuple[Entity | None, bool]:
        """The kind of entity that a path is about, and whether it is a list of them."""
        parts = path.strip("/").split("/")
        last = parts[-1]
        if last.startswith("<"):
            return self._catalogue.get(last[1:-1]), False
        if len(parts) == 1 or path == "/audit/requests":
            return self._catalogue.by_collection(path.strip("/")), True
        owner = self._catalogue.get(parts[1][1:-1]) if len(parts) == 3 and parts[1].startswith("<") else None
        if owner is None:
            return None, False
        if last in owner.foreign:
            return self._catalogue.get(owner.foreign[last].reference), False
        children = (child for child, _, _ in self._catalogue.referrers[owner.name])
        return next((child for child in children if last in (child.nested, child.collection)), None), True

    def _operation(self, rule: Rule, method: str, entity: Entity | None, many: bool) -> Json:
        about = entity.name if entity is not None else rule.rule.strip("/").split("/")[0] or "node"
        listing = method == "GET" and many and entity is not None
        made: Json = {
            "operationId": f"{method.lower()}:{rule.endpoint}",
            "summary": f"{'List' if listing else _VERBS.get(method, method)} {about}",
            "tags": [about],
            "responses": self._responses(method, entity, many),
        }
        if listing:
            made["parameters"] = _LIST
        asked = _ASKED.get(rule.rule)
        if asked is not None and method == "GET":
            made["parameters"] = _arguments(asked)
        if method in ("POST", "PUT", "PATCH"):
            made["requestBody"] = {"content": _body(entity, method) if asked is None else _forms_of(asked)}
        return made

    def _responses(self, method: str, entity: Entity | None, many: bool) -> Json:
        shown: Json = {} if entity is None else {"$ref": f"#/components/schemas/{entity.name}_partial"}
        if entity is not None and many and method == "GET":
            shown = _list_of(shown)
        content = {"application/json": {"schema": shown}}
        found: Json = {status: {"$ref": f"#/components/responses/{name}"} for status, name in _STATUSES.items()}
        if method == "DELETE":
            found["204"] = {"description": "Done."}
            return found
        if method == "POST" and entity is not None:
            found["201"] = {"description": "Created.", "content": content}
        else:
            found["200"] = {"description": "The answer.", "content": content}
            if entity is None:
                found["201"] = {"description": "Created.", "content": content}
                found["202"] = {"description": "Begun.", "content": content}
                found["204"] = {"description": "Done."}
                found["304"] = {"description": "Loaded already."}
        return found


def _body(entity: Entity | None, method: str) -> Json:
    name = None if entity is None else f"{entity.name}_partial" if method == "PATCH" else entity.name
    schema: Json = {"type": "object"} if name is None else {"$ref": f"#/components/schemas/{name}"}
    # Texts of forms get their types here, so a schema of JSON types would be wrong about them.
    return {kind: {"schema": schema if kind == _FORMS[0] else {"type": "object"}} for kind in _FORMS}


def _arguments(asked: Record) -> list[Json]:
    """The fields of a record as query arguments."""
    return [
        {"name": name, "in": "query", "schema": field_schema(field), "required": field.required}
        for name, field in asked.shape.items()
    ]


def _forms_of(asked: Record) -> Json:
    return {kind: {"schema": record_schema(asked) if kind == _FORMS[0] else {"type": "object"}} for kind in _FORMS}


def _list_of(item: Json) -> Json:
    properties = {"data": {"type": "array", "items": item}, "next": {"type": ["string", "null"]}}
    return {"type": "object", "properties": {**properties, "offset": {"type": "string"}}, "required": ["data", "next"]}


def _error(name: str, text: str) -> Json:
    if name == "Unsupported":
        return {"description": text}
    return {
        "description": text,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }


_ERROR_SCHEMA: Json = {
    "type": "object",
    "properties": {
        "message": {"type": ["string", "null"]},
        "code": {"type": "integer"},
        "name": {"type": "string"},
        "fields": {"type": ["object", "array"]},
        "options": {"type": "object"},
    },
    "required": ["message"],
}
_LIST: list[Mapping[str, Any]] = [
    {"name": "size", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}},
    {"name": "offset", "in": "query", "schema": {"type": "string"}, "description": "Token of a page."},
    {"name": "tags", "in": "query", "schema": {"type": "string"}, "description": "`a,b`: both; `a/b`: one of them."},
]


def blueprint(node: NodeFacade, rules: Callable[[], Iterable[Rule]]) -> Blueprint:
    """`/openapi.json`. `rules` gives those of the finished app."""
    made = Blueprint("openapi", __name__)
    description = Description(node.store.catalogue)

    def show() -> Response:
        return answer(description.document(rules(), "/"))

    add_path(made, "/openapi.json", {"GET": show})
    return made
