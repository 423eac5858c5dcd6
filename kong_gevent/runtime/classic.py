"""What is particular to installations of the classic model (2015) on the proxy side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kong_gevent.db.entities.services import CLASSIC_API

if TYPE_CHECKING:
    from kong_gevent.pdk import Context, Exit
    from kong_gevent.runtime.entries import RouteEntry
    from kong_gevent.runtime.plan import Plan

_HOSTS = ("Host", "X-Host-Override")
NOT_FOUND = "API not found with these values"


class ClassicNotFound:
    """The answer of Kong 0.5 to requests that no API takes, as long as all routes are those of APIs."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._judged = -1
        self._alone = False

    def answer(self, ctx: Context) -> Exit | None:
        """The answer; None while there is a route of another kind."""
        if self._judged != self._plan.changes:
            self._judged = self._plan.changes
            self._alone = all(map(_is_of_api, self._plan.routes.values()))
        if not self._alone:
            return None
        hosts = [_name(host) for field in _HOSTS for host in ctx.request.header_values(field)]
        path = ctx.raw_path.decode("latin-1")
        return ctx.exit(404, {"request_path": path, "message": NOT_FOUND, "request_host": hosts})


def _is_of_api(route: RouteEntry) -> bool:
    return route.service is not None and CLASSIC_API in (route.service.entity["tags"] or ())


def _name(host: str) -> str:
    """A host without its port."""
    name, _, port = host.rpartition(":")
    return name if port.isdigit() else host
