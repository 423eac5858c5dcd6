"""`/openapi.json`: an OpenAPI 3.1 description of this API, made from the paths that exist and the entities' schemas."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flask import Blueprint, Response
from werkzeug.routing import Rule

from kong_gevent import KONG_VERSION
from kong_gevent.admin import jsonschema, operations
from kong_gevent.admin.access import READING, only_asks
from kong_gevent.admin.bodies import WITH_BODY
from kong_gevent.admin.node import NodeFacade
from kong_gevent.admin.operations import DRY_RUN, JSON, MESSAGE, OPERATIONS, PAGES, TAGS, Told, listing, ref
from kong_gevent.admin.render import answer
from kong_gevent.admin.routing import add_path
from kong_gevent.db import Catalogue, Entity
from kong_gevent.db.entities.plugins import Plugins
from kong_gevent.db.entities.vaults import Vaults
from kong_gevent.schema import Record, fields, kinds

Json = dict[str, Any]
_VERBS = {"GET": "Read", "POST": "Create", "PUT": "Replace or create", "PATCH": "Change", "DELETE": "Remove"}
_ERRORS = {
    400: ("BadRequest", "The request breaks a rule; `fields` says where."),
    401: ("Unauthorized", "No valid token (setting admin_auth)."),
    403: ("Forbidden", "The token may only read."),
    404: ("NotFound", "Nothing there."),
    405: ("NotAllowed", "A node without a database cannot be written to in this way."),
    409: ("Conflict", "A unique value is taken."),
    413: ("TooLarge", "The body is too large."),
    415: ("Unsupported", "The content type is not supported; there is no body."),
    503: ("Unavailable", "The datastore cannot be used now, or the node is busy."),
}
"""Errors of many operations: name and text."""
_PUBLIC = ("/robots.txt",)


class Description:
    """The document of one API."""

    def __init__(self, catalogue: Catalogue, told: Callable[[Rule], Mapping[str, Told]]) -> None:
        """`told`: what those say of a path who brought it (methods → what is to be said), or nothing."""
        self._catalogue = catalogue
        self._told = told
        self._schemas: Json = {}

    def document(self, rules: Iterable[Rule], url: str) -> Json:
        """The whole document, for the address at which the client sees this API."""
        self._schemas = {name: dict(schema) for name, schema in operations.SCHEMAS.items()}
        for entity in self._catalogue.values():
            self._schemas[entity.name] = self._shown(entity)
        paths = {_path(rule): self._path(rule) for rule in sorted(rules, key=lambda rule: rule.rule)}
        return {
            "openapi": "3.1.0",
            "info": {"title": "Kong-gevent Admin API", "version": KONG_VERSION, "license": {"name": "Apache-2.0"}},
            "servers": [{"url": url}],
            "security": [{}, {"bearer": []}, {"token": []}],
            "paths": paths,
            "components": {
                "schemas": self._schemas,
                "responses": {
                    f"{prefix}{name}": _answer(status, None if status == 415 else ref(f"{prefix}Error"), JSON)
                    for prefix in ("", "Classic")
                    for status, (name, _) in _ERRORS.items()
                },
                "securitySchemes": {
                    "bearer": {"type": "http", "scheme": "bearer"},
                    "token": {"type": "apiKey", "in": "header", "name": "Kong-Admin-Token"},
                },
            },
        }

    # -- schemas

    def _shown(self, entity: Entity) -> Json:
        """An entity as answers have it."""
        more: Json = {}
        if entity.ttl:
            more["ttl"] = {"type": ["number", "null"]}
        if entity.name == "certificates":
            more["snis"] = operations.array(operations.TEXT)
        hidden = ("digest",) if entity.name == "admin_tokens" else ()
        made = jsonschema.shown_record(entity.schema, more=more, without=hidden)
        for name in _open_fields(entity):
            made["properties"][name] = operations.OBJECT
        settings = self._settings(entity, "settings", jsonschema.shown)
        if settings:
            made |= jsonschema.by_name(settings, others=True)  # of plugins that are gone, too
        return made

    def _settings(self, entity: Entity, prefix: str, describe: Callable[[kinds.Field], Json]) -> dict[str, Json]:
        """References to the schemas of `config` by `name`, of entities whose settings depend on it."""
        schema = entity.schema
        if not isinstance(schema, (Plugins, Vaults)):
            return {}
        found = {}
        for name in sorted(schema.names()):
            component = f"{prefix}_{name}"
            found[name] = ref(component)
            if component not in self._schemas:
                variant = schema.variant({"name": name})
                assert isinstance(variant, Record)
                self._schemas[component] = describe(variant.shape["config"])
        return found

    def _taken(self, entity: Entity, method: str, parent: str | None, by_path: bool, *, others: bool = False) -> Json:
        """A reference to the schema of an entity in a request; the path decides about `parent` and the identifier.

        `others`: `name` may say something that cannot be had.
        """
        partial = method == "PATCH"
        free: Json = {}
        if parent is not None:
            free[parent] = {"description": "The path decides."}
        if by_path:
            for name in {"id", entity.endpoint_key, entity.nested_key} - {None}:
                free[str(name)] = {"description": "The path decides."}
        if entity.ttl:
            free["ttl"] = {**jsonschema.taken(fields.Ttl()), "description": "Seconds to live."}
        if entity.name == "certificates":
            free["snis"] = jsonschema.taken(fields.Array(fields.WildcardHost()))
        for name in _open_fields(entity):
            free[name] = {"type": ["object", "array"], "maxItems": 0}
        verb = {"POST": "create", "PUT": "replace", "PATCH": "change"}[method]
        one = "one" if by_path and method == "POST" else ""
        name = "_".join(filter(None, (entity.name, verb, one, parent, "any" if others else "")))
        if name not in self._schemas:
            made = jsonschema.taken_record(entity.schema, partial=partial, free=free)
            settings = {} if partial else self._settings(entity, "config", jsonschema.taken)
            self._schemas[name] = {**made, **(jsonschema.by_name(settings, others=others) if settings else {})}
        return ref(name)

    # -- paths

    def _path(self, rule: Rule) -> Json:
        names = sorted(rule.arguments, key=lambda name: rule.rule.index(f"<{name}>"))
        made: Json = {}
        if names:
            made["parameters"] = [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
                for name in names
            ]
        told = {**self._of_entities(rule), **OPERATIONS.get(_path(rule), {}), **self._told(rule)}
        for method in sorted((rule.methods or set()) - {"OPTIONS", "HEAD"}):
            made[method.lower()] = self._operation(rule, method, told[method])
        return made

    def _operation(self, rule: Rule, method: str, told: Told) -> Json:
        about = rule.rule.strip("/").split("/")[0] or "node"
        listed = method == "GET" and any(one["name"] == "offset" for one in told.query)
        made: Json = {
            "operationId": f"{method.lower()}:{rule.endpoint}",
            "summary": f"{'List' if listed else _VERBS[method]} {_subject(rule)}",
            "tags": [about],
            "responses": self._responses(rule, method, told),
        }
        if told.query:
            made["parameters"] = list(told.query)
        if method in WITH_BODY and told.body is not None:
            made["requestBody"] = {"content": {kind: {"schema": self._body(told.body, kind)} for kind in told.bodies}}
        return made

    def _body(self, asked: Json, kind: str) -> Json:
        """The schema of a body in one of its content types; that of a form stands beside the one it follows."""
        if kind == JSON:
            return asked
        if kind in operations.YAML:
            return {}
        if "$ref" not in asked:
            return jsonschema.form(asked)
        name = asked["$ref"].rpartition("/")[2]
        self._schemas.setdefault(f"{name}_form", jsonschema.form(self._schemas[name]))
        return ref(f"{name}_form")

    def _responses(self, rule: Rule, method: str, told: Told) -> Json:
        """What it answers itself, and the errors that may meet any such request."""
        statuses = [400, 401, 413, 503] if rule.rule not in _PUBLIC else [400, 401, 413]
        if method not in READING and not only_asks(rule.rule):
            statuses += [403]
        if method in WITH_BODY:
            statuses += [415]
        if rule.arguments:
            statuses += [404]
        if method not in READING and DRY_RUN in told.query:
            statuses += [404, 405, 409]
        if method not in READING and rule.rule.startswith("/debug/cluster"):
            statuses += [405]
        prefix = "" if told.error == "Error" else "Classic"
        found: Json = {
            str(status): {"$ref": f"#/components/responses/{prefix}{_ERRORS[status][0]}"} for status in statuses
        }
        if told.others:
            found["default"] = {"description": "What the plugin answers."}
        for status, schema in told.answers.items():
            media = told.media if status < 400 else JSON
            found[str(status)] = _answer(status, schema, media)
        return found

    # -- entities

    def _of_entities(self, rule: Rule) -> dict[str, Told]:
        """What the generated paths of entities take and answer."""
        path = _path(rule)
        if any(part in path for part in operations.WITHOUT_WASM):
            return dict.fromkeys(rule.methods or (), operations.NO_WASM)
        if path.startswith(operations.ABSENT) or path.endswith("/targets/{targets}/upstream"):
            return dict.fromkeys(rule.methods or (), operations.NOWHERE)
        if path.startswith("/classic"):
            return {}
        parts = path.strip("/").split("/")
        if parts[0] == "schemas" and parts[-1] == "validate":
            return {"POST": self._validation(parts[1])}
        found = self._catalogue.get(parts[-1].strip("{}")) if parts[-1].startswith("{") else None
        if found is not None:
            above = self._catalogue.get(parts[1].strip("{}")) if len(parts) == 4 else None
            return self._one(found, self._field(found, above))
        if len(parts) == 1:
            listed = self._catalogue.by_collection(parts[0])
            return {} if listed is None else self._many(listed, None)
        owner = self._catalogue.get(parts[1].strip("{}")) if len(parts) == 3 else None
        if owner is None:
            return {}
        if parts[2] in owner.foreign:
            return self._reference(self._catalogue[owner.foreign[parts[2]].reference])
        children = (child for child, _, _ in self._catalogue.referrers[owner.name])
        child = next((child for child in children if parts[2] in (child.nested, child.collection)), None)
        return {} if child is None else self._many(child, self._field(child, owner))

    def _validation(self, name: str) -> Told:
        """What would be taken as a new entity: of the kind that the path names, or of any kind."""
        named = self._catalogue.get(name)
        entities = [named] if named is not None else self._catalogue.values()
        asked = [self._taken(each, "POST", None, False, others=each.name == "plugins") for each in entities]
        return Told({200: MESSAGE}, (DRY_RUN,), asked[0] if named is not None else {"anyOf": asked})

    def _field(self, child: Entity, parent: Entity | None) -> str | None:
        """The field of the child that names the parent above it in a path."""
        if parent is None:
            return None
        return next(name for name, field in child.foreign.items() if field.reference == parent.name)

    def _many(self, entity: Entity, parent: str | None) -> dict[str, Told]:
        query = PAGES if parent is not None or not entity.has_tags else (*PAGES, TAGS)
        if entity.name == "consumers":
            query = (*query, operations.parameter("custom_id", {"type": "string", "minLength": 1}))
        if entity.name == "admin_tokens":
            return self._tokens(query)
        made = Told({201: ref(entity.name)}, (DRY_RUN,), self._taken(entity, "POST", parent, False))
        return {"GET": Told({200: listing(ref(entity.name))}, query), "POST": made}

    def _one(self, entity: Entity, parent: str | None) -> dict[str, Told]:
        shown = {200: ref(entity.name)}
        put = "PATCH" if entity.name == "targets" else "PUT"  # which makes none
        return {
            "GET": Told(shown),
            "PUT": Told(shown, (DRY_RUN,), self._taken(entity, put, parent, True)),
            "PATCH": Told(shown, (DRY_RUN,), self._taken(entity, "PATCH", None, False)),
            "DELETE": Told({204: None}, (DRY_RUN,)),
        }

    def _reference(self, entity: Entity) -> dict[str, Told]:
        refused = Told(dict.fromkeys((404, 405), ref("Error")), (DRY_RUN,))
        return {**self._one(entity, None), "DELETE": refused}

    def _tokens(self, query: tuple[Json, ...]) -> dict[str, Told]:
        """Admin tokens are shown without their digest, and once with the token itself."""
        entity = self._catalogue["admin_tokens"]
        shown = self._schemas[entity.name]
        made = {
            **shown,
            "properties": {**shown["properties"], "token": operations.TEXT},
            "required": [*shown["required"], "token"],
        }
        asked = jsonschema.taken_record(entity.schema, free={"ttl": jsonschema.taken(fields.Ttl())})
        del asked["properties"]["digest"]
        asked["required"].remove("digest")
        return {
            "GET": Told({200: listing(ref(entity.name))}, query),
            "POST": Told({201: made, 409: ref("Error")}, body=asked),
        }


def _open_fields(entity: Entity) -> list[str]:
    """Records of which the value of another field decides what is in them."""
    return [name for name, field in entity.fields.items() if isinstance(field, kinds.Record) and not field.schema.shape]


def _path(rule: Rule) -> str:
    """A path as OpenAPI writes it."""
    return rule.rule.replace("<", "{").replace(">", "}")


def _subject(rule: Rule) -> str:
    """What a path is about, for people: its last fixed part, or what its parameter names."""
    last = rule.rule.strip("/").split("/")[-1]
    return last.strip("<>") or "node"


def _answer(status: int, schema: Json | None, media: str) -> Json:
    text = _ERRORS[status][1] if status in _ERRORS else _TEXTS[status]
    made: Json = {"description": text}
    return made if schema is None else {**made, "content": {media: {"schema": schema}}}


_TEXTS = {
    101: "The connection is a WebSocket now.", 426: "Only WebSocket connections are served here.",
    200: "The answer.", 201: "Created.", 202: "Begun.", 204: "Done.", 304: "Loaded already.",
    429: "Another configuration is being loaded.", 501: "This node does not have it.",
}  # fmt: skip


def blueprint(
    node: NodeFacade, rules: Callable[[], Iterable[Rule]], told: Callable[[Rule], Mapping[str, Told]]
) -> Blueprint:
    """`/openapi.json`. `rules` gives those of the finished app, `told` what is said of one beside the table."""
    made = Blueprint("openapi", __name__)
    description = Description(node.store.catalogue, told)

    def show() -> Response:
        return answer(description.document(rules(), "/"))

    add_path(made, "/openapi.json", {"GET": show})
    return made
