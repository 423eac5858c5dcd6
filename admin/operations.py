"""What the paths take and answer that are not generated from entities: the one table for `/openapi.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kong_gevent.admin.access import EXPLAIN, TRACE
from kong_gevent.admin.audit import FILTERS
from kong_gevent.admin.explain import QUESTION
from kong_gevent.admin.jsonschema import UUID, taken, taken_record
from kong_gevent.admin.node import SERVER_COUNTERS
from kong_gevent.admin.trace import FILTERS as FILTERED
from kong_gevent.schema import Record

Json = dict[str, Any]
JSON = "application/json"
FORMS = (JSON, "application/x-www-form-urlencoded", "multipart/form-data")
YAML = ("application/yaml", "text/yaml")


@dataclass(frozen=True, slots=True)
class Told:
    """What is to be said of one operation beyond what holds for all.

    `answers`: status → JSON Schema of the body, None where there is none; `query`: parameters; `body`: JSON Schema of
    what it takes, None for nothing in particular; `bodies`: content types of it; `media`: content type of what is
    answered below 400; `others`: it may answer anything else as well; `error`: schema of what 4xx have.
    """

    answers: Mapping[int, Json | None]
    query: tuple[Json, ...] = ()
    body: Json | None = None
    bodies: tuple[str, ...] = FORMS
    media: str = JSON
    others: bool = False
    error: str = "Error"


# --- schemas ---------------------------------------------------------------------------------------------------------


def ref(name: str) -> Json:
    """A schema by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def record(**properties: Json) -> Json:
    """An object that has all of these members, and no others."""
    return {
        "type": "object", "properties": properties, "required": sorted(properties), "additionalProperties": False,
    }  # fmt: skip


def array(items: Json) -> Json:
    """A list."""
    return {"type": "array", "items": items}


def listing(items: Json, **more: Json) -> Json:
    """A page of a list; `offset` is absent on the last one."""
    made = record(data=array(items), next={"type": ["string", "null"]}, **more)
    return {**made, "properties": {**made["properties"], "offset": TEXT}}


def open_record(**properties: Json) -> Json:
    """An object that has all of these members, and perhaps others."""
    return {"type": "object", "properties": properties, "required": sorted(properties)}


def parameter(name: str, schema: Json, text: str = "") -> Json:
    """A query argument."""
    made: Json = {"name": name, "in": "query", "schema": schema}
    return {**made, "description": text} if text else made


ANY: Json = {}
TEXT: Json = {"type": "string"}
NUMBER: Json = {"type": "number"}
WHOLE: Json = {"type": "integer"}
OBJECT: Json = {"type": "object"}
MESSAGE = record(message=TEXT)
WORDS = ("1", "true", "on", "yes", "0", "false", "off", "no")
_ANY_CASE = ("".join(f"[{c}{c.upper()}]" if c.isalpha() else c for c in word) for word in WORDS)
YES_OR_NO: Json = {"type": "string", "pattern": f"^({'|'.join(_ANY_CASE)})?$"}
SIZE = parameter("size", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100})
OFFSET = parameter("offset", TEXT, "Token of a page.")
TAGS = parameter("tags", TEXT, "`a,b`: both; `a/b`: one of them.")
PAGES = (SIZE, OFFSET)
DRY_RUN = parameter("dry_run", YES_OR_NO, "Only tell what would happen.")
_TIMEOUT = parameter("timeout", {"type": "number", "minimum": 0, "default": 60}, "Seconds; 0: for good.")
ERROR: Json = {
    "type": "object",
    "properties": {
        "message": {"type": ["string", "null"]},
        "code": WHOLE,
        "name": TEXT,
        "fields": {"type": ["object", "array"]},
        "options": OBJECT,
        "request_id": TEXT,
    },
    "required": ["message"],
    "additionalProperties": False,
}
_COUNTS = record(**dict.fromkeys(("created", "updated", "deleted", "unchanged"), WHOLE))
_SIZE_OF: Json = {"type": ["string", "integer"]}
_WORKERS: Json = record(id=WHOLE, count=WHOLE)
_HEALTH: Json = {"type": "string", "enum": ["HEALTHY", "UNHEALTHY", "HEALTHCHECKS_OFF", "DNS_ERROR"]}

SCHEMAS: Mapping[str, Json] = {
    "Error": ERROR,
    "ClassicError": {"type": "object", "additionalProperties": {"anyOf": [TEXT, array(TEXT)]}, "minProperties": 1},
    "Schema": record(fields=array(OBJECT), entity_checks=array(OBJECT)),
    "Tag": record(tag=TEXT, entity_name=TEXT, entity_id=TEXT),
    "ChangeSet": record(
        id=UUID, author=TEXT, source=TEXT, hash={"type": ["string", "null"]}, at=NUMBER,
        summary=_COUNTS, rollback_of=array(TEXT),
    ),
    "Outcome": record(
        id={**UUID, "type": ["string", "null"]}, hash={"type": ["string", "null"]},
        summary=_COUNTS, changes=array(OBJECT),
    ),
    "Node": open_record(
        tagline=TEXT, version=TEXT, edition=TEXT, hostname=TEXT, node_id=UUID, lua_version=TEXT,
        timers=open_record(running=WHOLE, pending=WHOLE), configuration=OBJECT,
        plugins=record(
            available_on_server={"type": "object", "additionalProperties": record(version=TEXT, priority=NUMBER)},
            enabled_in_cluster=array(TEXT),
        ),
        pids=record(master=WHOLE, workers=array(WHOLE)),
    ),
    "Status": open_record(
        memory=record(
            workers_lua_vms=array(record(pid=WHOLE, http_allocated_gc=_SIZE_OF)),
            lua_shared_dicts={
                "type": "object", "additionalProperties": record(capacity=_SIZE_OF, allocated_slabs=_SIZE_OF),
            },
        ),
        server=record(**dict.fromkeys(SERVER_COUNTERS, WHOLE)),
    ),
    "Timers": record(
        worker=_WORKERS,
        stats=record(
            flamegraph=record(running=TEXT, pending=TEXT, elapsed_time=TEXT),
            sys=record(**dict.fromkeys(("total", "runs", "running", "pending", "waiting"), WHOLE)),
            timers=OBJECT,
        ),
    ),
    "TargetHealth": open_record(
        id=UUID, target=TEXT, health=_HEALTH,
        data=open_record(host=TEXT, port=WHOLE, dns=TEXT, nodeWeight=WHOLE, weight=OBJECT, addresses=array(OBJECT)),
    ),
    "UpstreamHealth": record(id=UUID, health=_HEALTH, balancer_health=_HEALTH, details=OBJECT),
}  # fmt: skip
"""Schemas that are not those of entities."""


# --- operations ------------------------------------------------------------------------------------------------------


def _refused(*statuses: int) -> Told:
    """An operation that is always refused with one of these."""
    return Told(dict.fromkeys(statuses, ref("Error")), body=OBJECT)


def _get(schema: Json, *query: Json) -> Told:
    return Told({200: schema}, query)


def _arguments(asked: Record) -> tuple[Json, ...]:
    """The fields of a record as query arguments."""
    return tuple({**parameter(name, taken(field)), "required": field.required} for name, field in asked.shape.items())


def _asking(question: Record) -> dict[str, Told]:
    """A path that is asked something: by query arguments, or by a body with the same fields."""
    answers = {200: OBJECT, 501: ref("Error")}
    return {"GET": Told(answers, _arguments(question)), "POST": Told(answers, body=taken_record(question))}


_LEVEL = Told({200: MESSAGE, 400: MESSAGE}, (_TIMEOUT,), body=OBJECT)
_SET_HEALTH = Told({204: None}, body=OBJECT)
_DOCUMENT_ERROR: Json = {**ERROR, "properties": {**ERROR["properties"], "flattened_errors": array(OBJECT)}}
_FILTERS = tuple(parameter(name, TEXT) for name in (*FILTERS, "entity", "entity_id"))
_TIMES = tuple(parameter(name, {"type": "number", "minimum": 0}, "Epoch seconds.") for name in ("after", "before"))
_TARGETS = "/upstreams/{upstreams}/targets"

OPERATIONS: Mapping[str, Mapping[str, Told]] = {
    "/": {"GET": _get(ref("Node"))},
    "/endpoints": {"GET": _get(record(data=array(TEXT)))},
    "/timers": {"GET": _get(ref("Timers"))},
    "/plugins/enabled": {"GET": _get(record(enabled_plugins=array(TEXT)))},
    "/robots.txt": {"GET": Told({200: TEXT}, media="text/plain")},
    "/openapi.json": {"GET": _get(open_record(openapi=TEXT, info=OBJECT, paths=OBJECT, components=OBJECT))},
    "/status": {
        "GET": _get(
            ref("Status"),
            parameter("unit", {"type": "string", "enum": [*"bBkKmMgG"], "default": "m"}),
            parameter("scale", {"type": "number", "minimum": 0, "default": 2}, "Digits after the point."),
        )
    },
    "/status/dns": {"GET": Told({200: record(worker=_WORKERS, stats=OBJECT), 501: MESSAGE})},
    "/status/ready": {"GET": Told({200: MESSAGE, 503: MESSAGE}), "POST": Told({204: None}, body=OBJECT)},
    "/schemas/{name}": {"GET": _get(ref("Schema"))},
    "/schemas/plugins/{name}": {"GET": _get(ref("Schema"))},
    "/schemas/vaults/{name}": {"GET": _get(ref("Schema"))},
    "/schemas/filters/{name}": {"GET": _refused(404)},
    "/plugins/schema/{name}": {"GET": _get(open_record(fields=array(OBJECT)))},
    "/debug/node/log-level": {"GET": _get(MESSAGE)},
    "/debug/node/log-level/{log_level}": {"PUT": _LEVEL},
    "/debug/cluster/log-level/{log_level}": {"PUT": _LEVEL},
    EXPLAIN: _asking(QUESTION),
    TRACE: {"GET": Told({101: None, 403: MESSAGE, 426: ref("Error"), 501: ref("Error")}, _arguments(FILTERED))},
    "/cache": {"DELETE": Told({204: None})},
    "/cache/{key}": {"GET": _get({"type": ["object", "array"]}), "DELETE": Told({204: None})},
    "/clustering/data-planes": {"GET": _refused(400)},
    "/clustering/status": {"GET": _refused(400)},
    "/tags": {"GET": _get(listing(ref("Tag")), *PAGES), "POST": _refused(400)},
    "/tags/{tags}": {"GET": _get(listing(ref("Tag")), *PAGES)},
    "/config": {
        "GET": _get(record(config=TEXT)),
        "POST": Told(
            {
                200: ref("Outcome"),
                201: OBJECT,
                304: None,
                400: _DOCUMENT_ERROR,
                409: ref("Error"),
                413: ref("Error"),
                429: ref("Error"),
            },
            (
                parameter("check_hash", TEXT, "`1`: answer 304 when this very document is what the node has."),
                parameter("flatten_errors", YES_OR_NO, "Tell errors by entity as well."),
                parameter("prune", YES_OR_NO, "Remove what the document does not have."),
                parameter("tags", TEXT, "Prune only what has all of these tags (`a,b`)."),
                DRY_RUN,
            ),
            body=OBJECT,
            bodies=(*FORMS, *YAML),
        ),
    },
    "/config/progress": {
        "GET": _get(
            record(
                doing={"type": ["string", "null"]},
                done={"type": ["integer", "null"]},
                total={"type": ["integer", "null"]},
            )
        )
    },
    "/config/history": {"GET": _get(record(data=array(ref("ChangeSet")), next={"type": "null"}))},
    "/config/history/{change_sets}": {
        "GET": _get(
            record(
                **SCHEMAS["ChangeSet"]["properties"],
                changes=array(OBJECT),
            )
        )
    },
    "/config/rollback": {
        "POST": Told(
            {
                200: ref("Outcome"),
                404: ref("Error"),
                409: {"anyOf": [record(message=TEXT, problems=array(TEXT)), ref("Error")]},
                429: ref("Error"),
            },
            (DRY_RUN,),
            body={"type": "object", "properties": {"id": {"type": ["string", "null"]}}},
        )
    },
    "/audit/requests": {
        "GET": _get(listing(ref("audit_requests")), *PAGES, *_FILTERS, *_TIMES),
    },
    "/audit/requests/{audit_requests}": {"GET": _get(ref("audit_requests"))},
    f"{_TARGETS}/all": {"GET": _get(listing(ref("targets")), *PAGES)},
    "/upstreams/{upstreams}/health": {
        "GET": _get(
            {
                "anyOf": [
                    listing(ref("TargetHealth"), node_id=UUID),
                    record(data=ref("UpstreamHealth"), next={"type": "null"}, node_id=UUID),
                ]
            },
            *PAGES,
            parameter("balancer_health", TEXT, "`1`: the health of the upstream as a whole."),
        )
    },
    **{
        f"{_TARGETS}/{{targets}}{address}/{word}": {"PUT": _SET_HEALTH}
        for address in ("", "/{address}")
        for word in ("healthy", "unhealthy")
    },
}
"""Path → method → what is to be said of it."""

ABSENT = ("/targets", "/snis/{snis}/certificate")
"""Beginnings of paths that are listed, and answer that there is nothing."""
WITHOUT_WASM = ("/filter-chains", "/filters/")
"""Parts of paths that this build refuses."""
NOWHERE = _refused(404)
NO_WASM = _refused(400)
