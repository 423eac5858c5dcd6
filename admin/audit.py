"""The audit log of this API: one record per write that succeeded, and `GET /audit/requests` to read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import Blueprint, Response

from kong_gevent.admin import paging
from kong_gevent.admin.access import READING
from kong_gevent.admin.discreet import Discreet
from kong_gevent.admin.node import NodeFacade
from kong_gevent.admin.render import answer, message, not_found
from kong_gevent.admin.request import AdminRequest, current
from kong_gevent.admin.routing import add_path
from kong_gevent.db import audit
from kong_gevent.db.audit import KIND, AuditLog
from kong_gevent.db.paging import check_size, encode_offset
from kong_gevent.schema.rules import is_uuid

FILTERS = ("who", "who_kind", "client_ip", "method", "path", "status", "request_id", "node_id")
"""Query arguments that a record's field has to equal."""
MOST_READ = 10_000
"""Records that one request looks at; a filter that finds less than a page among them goes on at `next`."""
_NUMBERS = ("after", "before")


class Recorder:
    """Listens to the writes of a request and keeps a record of them."""

    def __init__(self, node: NodeFacade, discreet: Discreet) -> None:
        self._node = node
        self._discreet = discreet
        self.log = AuditLog(node.store, node.settings.audit_log_ttl) if node.settings.audit_log else None

    def begin(self, method: str) -> None:
        """A request begins."""
        if self.log is not None and method not in READING:
            audit.begin()

    def end(self, request: AdminRequest, status: int) -> None:
        """It has been answered: keep a record if it was a write and was not refused."""
        changes = audit.taken()
        who = request.who
        if changes is None or self.log is None or who is None or status >= 400:
            return
        path = self._discreet.path(request)
        if not changes and path.rstrip("/").endswith("/validate"):
            return
        self.log.add(
            {
                "node_id": self._node.node_id,
                "request_id": request.environ.get("kong.request_id"),
                "who": who.name,
                "who_kind": who.kind,
                "client_ip": request.environ.get("REMOTE_ADDR") or None,
                "method": request.environ["REQUEST_METHOD"],
                "path": path,
                "status": status,
            },
            changes,
        )


class Records:
    """The records, latest first."""

    def __init__(self, node: NodeFacade) -> None:
        self._dao = node.store.dao(KIND)

    def list_all(self) -> Response:
        """`GET /audit/requests?who=…&method=…&path=…&entity=…&entity_id=…&after=…&before=…&size=…&offset=…`."""
        arguments = current().query_arguments()
        times = {name: _time(arguments[name]) for name in _NUMBERS if name in arguments}
        if None in times.values():
            return message(400, "after and before must be numbers (epoch seconds)")
        size = check_size(paging.page_options(arguments).get("size"))
        offset = arguments.get("offset")
        if offset is None and times.get("before") is not None:
            offset = encode_offset([audit.id_at(times["before"] or 0, b"\xff" * 8)])
        rows, following = self._search(_matcher(arguments), times.get("after"), size, offset)
        made = paging.listed(rows, following, "/audit/requests", arguments)
        if following is not None:
            kept = {name: value for name, value in arguments.items() if name not in ("offset", "size", "tags")}
            made["next"] += "".join(f"&{_quoted(name)}={_quoted(value)}" for name, value in kept.items())
        return answer(made)

    def _search(
        self, matches: Callable[[Mapping[str, Any]], bool], after: float | None, size: int, offset: Any
    ) -> tuple[list[dict[str, Any]], str | None]:
        found: list[dict[str, Any]] = []
        read = 0
        while True:
            page, following = self._dao.page(size, offset)
            for row in page:
                read += 1
                if after is not None and row["at"] <= after:
                    return found, None
                if matches(row):
                    found.append(row)
                    if len(found) == size:
                        more = following is not None or row is not page[-1]
                        return found, encode_offset([row["id"]]) if more else None
            if following is None or read >= MOST_READ:
                return found, following
            offset = following

    def read(self, audit_requests: str) -> Response:
        """`GET /audit/requests/{id}`."""
        row = self._dao.select(audit_requests) if is_uuid(audit_requests) else None
        return not_found() if row is None else answer(row)


def _quoted(value: Any) -> str:
    from urllib.parse import quote

    return quote(value if isinstance(value, str) else "", safe="")


def _time(value: Any) -> float | None:
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        return None
    return seconds if 0 <= seconds < 1e11 else None


def _matcher(arguments: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], bool]:
    wanted = {name: str(arguments[name]) for name in FILTERS if name in arguments}
    parts = {field: str(arguments[name]) for name, field in _PARTS.items() if name in arguments}

    def matches(row: Mapping[str, Any]) -> bool:
        if any(str(row[name]) != value for name, value in wanted.items()):
            return False
        return not parts or any(
            all(change.get(field) == value for field, value in parts.items()) for change in row["changes"] or ()
        )

    return matches


_PARTS = {"entity": "entity", "entity_id": "id"}


def blueprint(node: NodeFacade) -> Blueprint:
    """The two paths."""
    made = Blueprint("audit", __name__)
    views = Records(node)
    add_path(made, "/audit/requests", {"GET": views.list_all})
    add_path(made, f"/audit/requests/<{KIND}>", {"GET": views.read})
    return made
