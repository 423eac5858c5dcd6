"""What can go wrong between a client and an Admin API: it cannot be reached, or it says no."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kong_gevent.errors import GatewayError


class ClientError(GatewayError):
    """Base of all errors of the client."""


class Unreachable(ClientError):
    """There was no (complete) answer: wrong address, TLS trouble, a time limit, a connection cut within the answer.

    A write may or may not have happened then.
    """


class ApiError(ClientError):
    """The API refused a request.

    `status` of the answer; `code` and `name` of a coded error (None otherwise); `message`; `fields`, which mirrors the
    entity with a text at each wrong place; `body`, the whole answer.
    """

    def __init__(self, method: str, path: str, status: int, body: Any) -> None:
        told: Mapping[str, Any] = body if isinstance(body, Mapping) else {}
        self.method = method
        self.path = path
        self.status = status
        self.code: int | None = told.get("code")
        self.name: str | None = told.get("name")
        self.message: str = told.get("message") or (body if isinstance(body, str) and body else f"HTTP status {status}")
        self.fields: Mapping[str, Any] = told.get("fields") or {}
        self.options: Mapping[str, Any] = told.get("options") or {}
        self.body = body
        super().__init__(f"{method} {path}: {status} {self.message}")


class Invalid(ApiError):
    """400, 405, 413, 415: the request breaks a rule; `fields` says where."""


class Unauthorized(ApiError):
    """401, 403: no token, an unknown, revoked or expired one, or one that may only read."""


class NotFound(ApiError):
    """404: no such path or entity."""


class Conflict(ApiError):
    """409: a unique value is taken."""


class ServerFault(ApiError):
    """429 and 5xx that retries did not help against; 503 says that the datastore is away."""


_KINDS: Mapping[int, type[ApiError]] = {401: Unauthorized, 403: Unauthorized, 404: NotFound, 409: Conflict}


def refusal(method: str, path: str, status: int, body: Any) -> ApiError:
    """The error for an answer that is none of success."""
    kind = _KINDS.get(status) or (ServerFault if status >= 500 or status == 429 else Invalid)
    return kind(method, path, status, body)
