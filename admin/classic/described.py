"""What the classic paths take and answer, from the tables of their fields; for the description of the API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kong_gevent.admin.classic.fields import Field
from kong_gevent.admin.node import SERVER_COUNTERS
from kong_gevent.admin.operations import ANY, OBJECT, SIZE, TEXT, WHOLE, Json, Told, array, parameter, record
from kong_gevent.admin.operations import OFFSET as _OFFSET

ERROR = "ClassicError"
_TYPES: Mapping[str, Json] = {
    "id": TEXT, "string": TEXT, "url": TEXT, "boolean": {"type": "boolean"}, "timestamp": WHOLE, "table": OBJECT,
}  # fmt: skip


def _get(schema: Json) -> Mapping[str, Told]:
    return {"GET": Told({200: schema}, error=ERROR)}


_STRINGS = array(TEXT)
_SCHEMA: Json = {"type": "object", "properties": {"fields": OBJECT, "no_consumer": {"type": "boolean"}}}
INFORMATION: Mapping[str, Mapping[str, Told]] = {
    "/": _get(
        record(
            tagline=TEXT, version=TEXT, hostname=TEXT, lua_version=TEXT,
            plugins=record(available_on_server=_STRINGS, enabled_in_cluster=_STRINGS),
        )
    ),
    "/status": _get(record(**dict.fromkeys(SERVER_COUNTERS, WHOLE))),
    "/plugins/enabled": _get(record(enabled_plugins=_STRINGS)),
    "/plugins/schema/<name>": _get(_SCHEMA),
    "/plugins/<name>/schema": _get(_SCHEMA),
}  # fmt: skip
"""Path → what is said of it."""


def shown(fields: Iterable[Field]) -> Json:
    """A classic object: unset fields are absent."""
    properties = {field.name: _TYPES[field.type] for field in fields}
    return {"type": "object", "properties": properties, "required": ["id"], "additionalProperties": False}


def taken(fields: Iterable[Field]) -> Json:
    """What a request may say; of dotted names, only what stands before the dot. Texts may stand for other types."""
    known = list(fields)
    names = [name for field in known for name in (field.name, *field.aliases)]
    dotted = [f"^{field.name}\\." for field in known if field.type == "table"]
    return {
        "type": "object",
        "properties": dict.fromkeys(names, ANY),
        "patternProperties": dict.fromkeys(dotted, ANY),
        "additionalProperties": False,
    }


def collection(fields: Iterable[Field]) -> Mapping[str, Told]:
    """A list and how to add to it."""
    fields = tuple(fields)
    page: dict[str, Any] = {
        "type": "object", "properties": {"data": array(shown(fields)), "next": TEXT}, "required": ["data"],
        "additionalProperties": False,
    }  # fmt: skip
    filters = tuple(parameter(field.name, TEXT) for field in fields if field.queryable)
    asked = taken(fields)
    return {
        "GET": Told({200: page}, (SIZE, _OFFSET, *filters), error=ERROR),
        "POST": Told({201: shown(fields), **_TAKEN}, body=asked, error=ERROR),
        "PUT": Told({200: shown(fields), 201: shown(fields), **_TAKEN}, body=asked, error=ERROR),
    }


def one(fields: Iterable[Field]) -> Mapping[str, Told]:
    """One object."""
    fields = tuple(fields)
    return {
        "GET": Told({200: shown(fields)}, error=ERROR),
        "PATCH": Told({200: shown(fields), **_TAKEN}, body=taken(fields), error=ERROR),
        "DELETE": Told({204: None}, error=ERROR),
    }


_TAKEN: Mapping[int, Json] = {
    status: {"$ref": f"#/components/schemas/{ERROR}"} for status in (404, 405, 409)
}  # fmt: skip
