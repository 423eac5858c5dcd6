"""Health of the node: `/status` on both listeners, `/status/ready` on the status listener."""

from __future__ import annotations

import re
from typing import Any

from flask import Blueprint, Response

from kong_gevent.admin.node import SERVER_COUNTERS, NodeFacade
from kong_gevent.admin.render import answer, empty, message
from kong_gevent.admin.request import current
from kong_gevent.admin.routing import add_path

_UNITS = {"b": (1, "B"), "k": (1 << 10, "KiB"), "m": (1 << 20, "MiB"), "g": (1 << 30, "GiB")}
_MAX_SCALE = 20
NO_CONFIGURATION = "0" * 32
"""`configuration_hash` of a node that has not loaded any."""


class Status:
    """Memory, connections and the datastore."""

    def __init__(self, node: NodeFacade) -> None:
        self._node = node

    def status(self) -> Response:
        """`?unit=b|k|m|g` and `?scale=N` choose how memory is printed (octets are numbers)."""
        arguments = current().query_arguments()
        wanted = arguments.get("unit", "m")
        unit = wanted.lower() if isinstance(wanted, str) else ""
        if unit not in _UNITS:
            shown = wanted if isinstance(wanted, str) else ""
            return message(400, f"invalid unit '{shown}' (expected 'k/K', 'm/M', or 'g/G')")
        scale = _scale(arguments.get("scale", "2"))
        if scale is None:
            return message(400, "scale must be equal or greater than 0")
        return answer({**self._memory(unit, scale), **self._server()})

    def dns(self) -> Response:
        """What the worker that answers knows of names, with `new_dns_client`; the other has nothing to tell in Kong."""
        if not self._node.settings.get("new_dns_client"):
            return message(501, "not implemented with the legacy DNS client")
        return answer({"worker": {"id": 0, "count": len(self._node.workers())}, "stats": self._node.dns()})

    def _memory(self, unit: str, scale: int) -> dict[str, Any]:
        divisor, name = _UNITS[unit]

        def size(octets: int) -> int | str:
            return octets if unit == "b" else f"{octets / divisor:.{scale}f} {name}"

        workers = [{"pid": pid, "http_allocated_gc": size(resident)} for pid, resident in sorted(self._node.workers())]
        shared = {
            segment: {"capacity": size(capacity), "allocated_slabs": size(used)}
            for segment, (capacity, used) in self._node.shared_memory().items()
        }
        return {"memory": {"workers_lua_vms": workers, "lua_shared_dicts": shared}}

    def _server(self) -> dict[str, Any]:
        counted = self._node.statistics()
        shown: dict[str, Any] = {"server": {name: counted.get(name, 0) for name in SERVER_COUNTERS}}
        if self._node.settings.get("database") == "off":
            shown["configuration_hash"] = getattr(self._node.store, "configuration_hash", None) or NO_CONFIGURATION
        else:
            shown["database"] = {"reachable": bool(self._node.store.reachable())}
        return shown


def _scale(wanted: Any) -> int | None:
    if not isinstance(wanted, str) or not re.fullmatch(r"\d{1,9}(\.\d*)?", wanted, re.ASCII):
        return None
    return min(int(float(wanted)), _MAX_SCALE)


class Readiness:
    """Whether load balancers should send traffic here."""

    def __init__(self, node: NodeFacade) -> None:
        self._node = node

    def show(self) -> Response:
        """200 when ready, else 503 with the reason; a node that is ready may have something to say as well."""
        ready, reason = self._node.ready()
        return message(200, reason or "ready") if ready else message(503, reason or "not ready")

    def change(self) -> Response:
        """`status=draining` makes the node report "not ready" while it goes on serving."""
        if current().sent.get("status") != "draining":
            return message(400, "status must be 'draining'")
        self._node.set_draining()
        return empty()


def blueprint(node: NodeFacade) -> Blueprint:
    """`/status` and `/status/dns`."""
    made = Blueprint("status", __name__)
    views = Status(node)
    add_path(made, "/status", {"GET": views.status})
    add_path(made, "/status/dns", {"GET": views.dns})
    return made


def readiness(node: NodeFacade) -> Blueprint:
    """`/status/ready`."""
    made = Blueprint("readiness", __name__)
    views = Readiness(node)
    add_path(made, "/status/ready", {"GET": views.show, "POST": views.change})
    return made
