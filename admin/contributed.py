"""Endpoints that plugins bring, served like our own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from flask import Blueprint, Response

from kong_gevent.admin.operations import JSON, Told
from kong_gevent.admin.render import answer, empty
from kong_gevent.admin.request import current
from kong_gevent.admin.routing import Handler, add_path


class Call(Protocol):
    """See `kong_gevent.pdk.endpoints.AdminCall`."""

    def __call__(self, method: str, query: Mapping[str, Any], body: Mapping[str, Any], headers: Any) -> Any:
        """Make one."""


class Contributed(Protocol):
    """See `kong_gevent.pdk.endpoints.Endpoint`."""

    @property
    def path(self) -> str:
        """With parameters in braces."""

    @property
    def handlers(self) -> Mapping[str, Any]:
        """By method."""

    @property
    def answers(self) -> Mapping[str, Mapping[int, Any]]:
        """Method → status → JSON Schema of the body."""

    @property
    def listeners(self) -> tuple[Any, ...]:
        """Where it is served."""


def blueprint(endpoints: Iterable[Contributed], listener: str, call: Call) -> Blueprint:
    """The endpoints that belong on a listener (`admin` or `status`); `call` makes what their handlers are given."""
    made = Blueprint("plugins' endpoints", __name__)
    for endpoint in endpoints:
        if listener in endpoint.listeners:
            path = endpoint.path.replace("{", "<").replace("}", ">")
            views = {name: _view(handler, call) for name, handler in endpoint.handlers.items()}
            add_path(made, path, views, {name: _told(endpoint.answers.get(name)) for name in endpoint.handlers})
    return made


def _told(answers: Mapping[int, Any] | None) -> Told:
    """What the plugin says of its answers; nothing said leaves all open."""
    if answers is None:
        return Told({}, body={}, others=True)
    schemas = {status: None if said is None else dict(said) for status, said in answers.items()}
    texts = any((schema or {}).get("type") == "string" for schema in schemas.values())
    return Told(schemas, body={"type": "object"}, media="text/plain" if texts else JSON)


def _view(handler: Any, call: Call) -> Handler:
    def view(**values: str) -> Response:
        asked = current()
        body = asked.sent if isinstance(asked.sent, Mapping) else {}
        return _response(handler(call(asked.method, asked.query_arguments(), body, asked.headers), **values))

    return view


def _response(reply: Any) -> Response:
    body = reply.body
    if body is None:
        return empty(204 if reply.status == 200 else reply.status)
    if isinstance(body, (Mapping, list)):
        return answer(body, reply.status)
    if isinstance(body, (str, bytes)):
        return Response(body, reply.status, content_type=reply.content_type)
    return Response(_octets(body), reply.status, content_type=reply.content_type)


def _octets(pieces: Iterable[str | bytes]) -> Iterator[bytes]:
    return (piece if isinstance(piece, bytes) else piece.encode() for piece in pieces)
