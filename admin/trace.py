"""`/debug/trace`: a WebSocket with one message for each request that the node has finished."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

from flask import Blueprint, Response

from kong_gevent.admin.access import PROTOCOL, TRACE, protocols
from kong_gevent.admin.node import NodeFacade
from kong_gevent.admin.origins import origins
from kong_gevent.admin.render import empty, message
from kong_gevent.admin.request import current
from kong_gevent.admin.routing import add_path
from kong_gevent.schema import Record, fields, violation

_MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455, section 1.3."""
_STATUS = re.compile(r"[1-5](?:[0-9][0-9]|xx)")
_LONGEST = 500


class Statuses(fields.Array):
    """Statuses; commas separate several in one text."""

    def convert(self, value: Any) -> list[Any]:
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            value = [part.strip() for item in value for part in item.split(",")]
        return super().convert(value)


class Filters(Record):
    """What a trace shows; all that is given must hold."""

    route = fields.String(len_max=_LONGEST, metadata={"description": "Id or name of the route."})
    service = fields.String(len_max=_LONGEST, metadata={"description": "Id or name of the service."})
    consumer = fields.String(len_max=_LONGEST, metadata={"description": "Id, username or custom_id of the consumer."})
    path = fields.String(
        len_max=_LONGEST, starts_with="/", metadata={"description": "What the path begins with, in normal form."}
    )
    status = Statuses(
        fields.String(
            required=True,
            custom_validator=lambda value: (
                None if _STATUS.fullmatch(value) else "expected a status such as 404, or a class such as 5xx"
            ),
        ),
        len_max=20,
        metadata={"description": "Statuses (404) and classes of them (5xx)."},
    )
    sample = fields.Number(
        required=True, load_default=1, between=[0, 1], metadata={"description": "Share of the requests to look at."}
    )
    limit = fields.Integer(between=[1, 1_000_000], metadata={"description": "End after so many messages."})


FILTERS = Filters()


class Trace:
    """Opens traces."""

    def __init__(self, node: NodeFacade) -> None:
        self._node = node

    def open(self) -> Response:
        """`GET` with the fields of `Filters` as query arguments and an upgrade to WebSocket (RFC 6455, section 4.2)."""
        environ = current().environ
        values, errors = FILTERS.run(FILTERS.infer(current().query_arguments()))
        if errors:
            raise violation(errors)
        key = environ.get("HTTP_SEC_WEBSOCKET_KEY", "")
        if current().method != "GET" or environ.get("HTTP_UPGRADE", "").lower() != "websocket":
            return self._unfit("Use WebSocket")
        if environ.get("HTTP_SEC_WEBSOCKET_VERSION") != "13" or not _is_key(key):
            return self._unfit("Use version 13 of WebSocket")
        if not self._may_come_from(environ.get("HTTP_ORIGIN"), environ.get("HTTP_HOST", "")):
            return message(403, "This origin may not open a trace")
        filters = {name: value for name, value in values.items() if value is not None}
        serve = self._node.trace(filters)
        if serve is None:
            return message(501, "This node does not serve requests")
        environ["kong_gevent.upgraded"] = serve
        made = empty(101)
        accept = hashlib.sha1(f"{key}{_MAGIC}".encode(), usedforsecurity=False).digest()
        made.headers["Sec-WebSocket-Accept"] = base64.b64encode(accept).decode()
        if PROTOCOL in protocols(environ):
            made.headers["Sec-WebSocket-Protocol"] = PROTOCOL
        return made

    @staticmethod
    def _unfit(text: str) -> Response:
        made = message(426, text)
        made.headers["Upgrade"] = "websocket"
        made.headers["Sec-WebSocket-Version"] = "13"
        return made

    def _may_come_from(self, origin: str | None, host: str) -> bool:
        """Pages of other sites must not read a trace just because their visitor can reach this API."""
        if origin is None:
            return True
        return origin.partition("://")[2] == host or origin in origins(self._node.settings.get("admin_gui_url") or [])


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == 16
    except ValueError:
        return False


def blueprint(node: NodeFacade) -> Blueprint:
    """`/debug/trace`."""
    made = Blueprint("trace", __name__)
    add_path(made, TRACE, {"GET": Trace(node).open})
    return made
