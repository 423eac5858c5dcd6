"""Who may use the Admin API: tokens, and what a client without one is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Response

from kong_gevent.admin.node import NodeFacade
from kong_gevent.admin.render import message
from kong_gevent.admin.routing import WORKSPACE
from kong_gevent.db import tokens
from kong_gevent.db.tokens import KIND

READING = frozenset({"GET", "HEAD", "OPTIONS"})
_VALIDATE = "/validate"
EXPLAIN = "/debug/explain"
TRACE = "/debug/trace"
PROTOCOL = "kong.trace"
"""WebSocket subprotocol of traces; beside it a browser, which can set no header, sends `bearer.TOKEN`."""
_BEARER = "bearer."


@dataclass(frozen=True, slots=True)
class Who:
    """Who sent a request: the name of a token, the subject of a certificate, or just an address."""

    name: str
    kind: str
    read_only: bool = False


class Access:
    """Recognises clients by the tokens of the store, and by that of the setting `admin_token`."""

    def __init__(self, node: NodeFacade) -> None:
        self._node = node
        self._required: bool = node.settings.admin_auth == "token"
        self._given: str | None = node.settings.admin_token

    def check(self, environ: dict[str, Any], path: str) -> tuple[Who | None, Response | None]:
        """Who it is, and the refusal if the request may not go on.

        Preflights of browsers carry no credentials and reveal nothing, so OPTIONS is free. Raises `StoreUnavailable`.
        """
        method = environ["REQUEST_METHOD"]
        sent = token_of(environ)
        who = self._recognise(sent) if sent else None
        if who is None and self._required and method != "OPTIONS":
            return None, _unauthorized()
        if who is not None and who.read_only and method not in READING and not only_asks(path):
            return who, message(403, "This token may only read")
        return who or _by_connection(environ), None

    def _recognise(self, token: str) -> Who | None:
        if len(token) > tokens.LONGEST:
            return None
        if self._given and tokens.same(token, self._given):
            return Who("admin_token", "token")
        row = self._node.lookup(KIND, "digest", tokens.digest_of(token))
        if row is None or not tokens.valid(row, token):
            return None
        return Who(row["name"], "token", row["read_only"])


def token_of(environ: dict[str, Any]) -> str | None:
    """The token of a request: `Authorization: Bearer …`, `Kong-Admin-Token: …` as clients of Kong send it, or
    `Sec-WebSocket-Protocol: bearer.…`."""
    scheme, _, value = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return str(value.strip())
    return environ.get("HTTP_KONG_ADMIN_TOKEN") or next(
        (name.removeprefix(_BEARER) for name in protocols(environ) if name.startswith(_BEARER)), None
    )


def protocols(environ: dict[str, Any]) -> list[str]:
    """The WebSocket subprotocols that a client offers."""
    return [name.strip() for name in environ.get("HTTP_SEC_WEBSOCKET_PROTOCOL", "").split(",")]


def _by_connection(environ: dict[str, Any]) -> Who:
    subject = environ.get("SSL_CLIENT_S_DN")
    return Who(subject, "certificate") if subject else Who(environ.get("REMOTE_ADDR") or "unix:", "address")


def only_asks(path: str) -> bool:
    """Whether a POST changes nothing: it asks whether something would be accepted, or what would happen."""
    path = path.removeprefix(f"/{WORKSPACE}")
    return path == EXPLAIN or (path.startswith("/schemas/") and path.endswith(_VALIDATE))


def _unauthorized() -> Response:
    refused = message(401, "Unauthorized")
    refused.headers["WWW-Authenticate"] = 'Bearer realm="kong-admin"'
    return refused
