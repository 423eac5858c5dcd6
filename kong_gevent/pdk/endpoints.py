"""Admin API endpoints that plugins bring: `Plugin.endpoints` returns them, the node serves them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Listener = Literal["admin", "status"]


@dataclass(frozen=True, slots=True)
class AdminCall:
    """A request to an endpoint: decoded query arguments, the decoded body (form or JSON object), and header fields."""

    method: str
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AdminReply:
    """The answer: a mapping or list becomes JSON; text, octets or pieces of them go out as `content_type`; None: empty.

    Pieces are sent while they are made, so the status has been told when making one fails: the answer is cut then.
    Without a body the status is 204 unless it says otherwise.
    """

    body: Mapping[str, Any] | list[Any] | str | bytes | Iterable[str | bytes] | None = None
    status: int = 200
    content_type: str = "text/plain; charset=UTF-8"


Handler = Callable[..., AdminReply]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A path of the Admin API: `Endpoint("/things/{name}", {"GET": show, "DELETE": remove})`.

    Handlers get the `AdminCall` and the decoded parts of the path by name. HEAD follows GET, OPTIONS and 405 are
    answered as everywhere in the Admin API. `listeners`: where it is served. `raise` the errors of `kong_gevent.errors`
    for coded bodies; anything else that is raised is a 500. `answers`: method → status → JSON Schema of the body (None
    without one; `{"type": "string"}` for plain text), which `/openapi.json` tells.
    """

    path: str
    handlers: Mapping[str, Handler]
    listeners: tuple[Listener, ...] = ("admin",)
    answers: Mapping[str, Mapping[int, Mapping[str, Any] | None]] = field(default_factory=dict)
