"""JSON Schema of entities, made from their own schemas: of what a request may say, and of what an answer shows.

Requests: whatever breaks such a schema is refused, but not all that follows it is accepted; rules that JSON Schema
cannot say are left out. Answers: everything that is shown follows it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from kong_gevent.schema import kinds
from kong_gevent.schema.record import Record

Json = dict[str, Any]
_PLAIN = {"string": "string", "number": "number", "integer": "integer", "boolean": "boolean"}
_REFERENCE = {"type": "string", "pattern": r"^\{vault://"}
UUID: Json = {"type": "string", "format": "uuid"}


# --- requests --------------------------------------------------------------------------------------------------------


def taken(field: kinds.Field, partial: bool = False) -> Json:
    """What a request may say about a field. `partial`: records may be incomplete, as they are merged."""
    made = {**_taken_type(field, partial), **_limits(field)}
    if field.default is not kinds.UNSET:
        made["default"] = field.default
    return _noted(field, _alternatives(field, made))


def taken_record(schema: Record, *, partial: bool = False, free: Mapping[str, Json] | None = None) -> Json:
    """What a request may say about an entity or a record.

    `free`: fields about which the path decides, or which are no fields of the schema, with what they may be.
    """
    properties = {name: taken(field, partial) for name, field in schema.shape.items()}
    for name, shorthand in schema.shorthand_fields.items():
        properties[name] = {**_nullable(taken(shorthand.field)), "writeOnly": True}
    properties.update(free or {})
    made: Json = {"type": "object", "properties": properties, "additionalProperties": False}
    # A shorthand may stand for a field that has to be there.
    wanted = [name for name, field in schema.shape.items() if field.required and not schema.shorthand_fields]
    wanted = [name for name in wanted if name not in (free or {})]
    if wanted and not partial:
        made["required"] = wanted
    return made


def _taken_type(field: kinds.Field, partial: bool) -> Json:
    if isinstance(field, kinds.Record):
        # An empty array is an empty record, and the other way round: Lua, and so Kong's clients, cannot tell.
        return {**taken_record(field.schema, partial=partial), "type": ["object", "array"], "maxItems": 0}
    if isinstance(field, kinds.Array):
        most = {} if getattr(field, "takes_objects", False) else {"maxProperties": 0}
        return {"type": ["array", "object"], "items": taken(field.elements), **most}
    if isinstance(field, kinds.Map):
        return {"type": ["object", "array"], "additionalProperties": taken(field.values), "maxItems": 0}
    if isinstance(field, kinds.Foreign):
        text = f"Reference to one of {field.reference}: its id, or another unique field."
        properties = {"id": {**UUID, "type": ["string", "null"]}}
        return {"type": "object", "properties": properties, "description": text}
    kind = _PLAIN.get(field.type_name)
    return {"type": kind} if kind else {}


def by_name(configs: Mapping[str, Json], *, others: bool) -> Json:
    """That `config` follows the schema of what `name` says. `others`: there may be further names, with any settings."""
    cases = [
        {"properties": {"name": {"const": name}, "config": config}, "required": ["name"]}
        for name, config in configs.items()
    ]
    if others:
        cases.append({"properties": {"name": {"not": {"enum": list(configs)}}}})
    return {"anyOf": cases}


def form(asked: Json) -> Json:
    """What a form may say where JSON may say `asked`: the same names, alone or with the rest of a path behind them.

    The values are texts, which get their types from the entity's schema, so nothing is said of them here.
    """
    properties: Mapping[str, Json] = asked.get("properties", {})
    kept = ("description", "deprecated", "writeOnly")
    told = {name: {key: each[key] for key in kept if key in each} for name, each in properties.items()}
    made: Json = {"type": "object", "properties": told}
    if asked.get("additionalProperties") is False:
        paths: Json = {rf"^{re.escape(name)}[.\[]": {} for name, each in properties.items() if _is_container(each)}
        made |= {"patternProperties": paths, "additionalProperties": False}
    return made


def _is_container(schema: Json) -> bool:
    kinds_of = [schema, *schema.get("anyOf", ())]
    return any("type" not in each or {"array", "object"} & {*_listed(each["type"])} for each in kinds_of)


def _listed(kind: str | list[str]) -> list[str]:
    return [kind] if isinstance(kind, str) else kind


def _limits(field: kinds.Field) -> Json:
    """Rules that JSON Schema has. Lengths of texts count octets here and characters there: only upper ones hold."""
    attributes = field.attributes
    made: Json = {}
    if attributes.get("between"):
        made["minimum"], made["maximum"] = attributes["between"]
    if attributes.get("gt") is not None:
        made["exclusiveMinimum"] = attributes["gt"]
    if attributes.get("uuid"):
        made["format"] = "uuid"
    if isinstance(field, kinds.String):
        if attributes.get("len_min") != 0:
            made["minLength"] = 1
        longest = attributes.get("len_eq") or attributes.get("len_max") or field.longest
        if longest:
            made["maxLength"] = longest
        if attributes.get("starts_with"):
            made["pattern"] = "^" + re.escape(attributes["starts_with"])
    elif isinstance(field, kinds.Array) and not isinstance(field, kinds.Set) and attributes.get("len_max"):
        made["maxItems"] = attributes["len_max"]
    return made


# --- answers ---------------------------------------------------------------------------------------------------------


def shown(field: kinds.Field) -> Json:
    """What an answer shows of a field."""
    made = _shown_type(field)
    if field.attributes.get("uuid"):
        made["format"] = "uuid"
    return _noted(field, _alternatives(field, made))


def shown_record(schema: Record, *, more: Mapping[str, Json] | None = None, without: tuple[str, ...] = ()) -> Json:
    """What an answer shows of an entity or a record. `more`: what is shown beside its fields."""
    properties = {name: shown(field) for name, field in schema.shape.items() if name not in without}
    for name, shorthand in schema.shorthand_fields.items():
        if shorthand.document():  # an old name, which is shown beside the new one
            properties[name] = {**_nullable(shown(shorthand.field)), "deprecated": True}
    properties.update(more or {})
    return {
        "type": "object", "properties": properties, "required": sorted(properties), "additionalProperties": False,
    }  # fmt: skip


def _shown_type(field: kinds.Field) -> Json:
    if isinstance(field, kinds.Record):
        return shown_record(field.schema)
    if isinstance(field, kinds.Array):
        return {"type": "array", "items": shown(field.elements)}
    if isinstance(field, kinds.Map):
        return {"type": "object", "additionalProperties": shown(field.values)}
    if isinstance(field, kinds.Foreign):
        return {"type": "object", "properties": {"id": UUID}, "required": ["id"], "additionalProperties": False}
    kind = _PLAIN.get(field.type_name)
    return {"type": kind} if kind else {}


# --- both ------------------------------------------------------------------------------------------------------------


def _alternatives(field: kinds.Field, made: Json) -> Json:
    """The values of a choice, references to secrets, and null."""
    choices = field.attributes.get("one_of")
    if choices and not field.referenceable:
        made["enum"] = list(choices)
    if field.referenceable and not isinstance(field, kinds.String):
        made = {"anyOf": [made, _REFERENCE]}
    return made if field.wanted and not field.auto else _nullable(made)


def _nullable(made: Json) -> Json:
    kind = made.get("type")
    if "anyOf" in made:
        return {**made, "anyOf": [*made["anyOf"], {"type": "null"}]}
    if kind is None or kind == "null" or "null" in kind:
        return made
    made = {**made, "type": [*([kind] if isinstance(kind, str) else kind), "null"]}
    if "enum" in made:
        made["enum"] = [*made["enum"], None]
    return made


def _noted(field: kinds.Field, made: Json) -> Json:
    if field.attributes.get("description"):
        made["description"] = field.attributes["description"]
    return made
