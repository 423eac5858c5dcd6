"""The rules of the router written the slow way: every route is tried on every request, in order of priority."""

import re
from typing import Any

from kong_gevent.router import Router
from kong_gevent.router.subroutes import subroute_id

Route = dict[str, Any]
_UNSET: Route = {
    "protocols": ["http", "https"],
    "methods": None,
    "hosts": None,
    "paths": None,
    "headers": None,
    "snis": None,
    "sources": None,
    "destinations": None,
    "regex_priority": 0,
    "service": None,
}


def uuid(number: int) -> str:
    """The UUID with this number: a greater number is a greater UUID."""
    return f"00000000-0000-4000-8000-{number:012x}"


def make_route(number: int = 1, **fields: Any) -> Route:
    """A route entity with all fields."""
    return {"id": uuid(number), **_UNSET, **fields}


class Request:
    """What `Router.match` is asked with."""

    def __init__(
        self,
        path: str = "/",
        method: bytes = b"GET",
        host: str | None = "example.com",
        port: int = 8000,
        headers: dict[str, list[str]] | None = None,
        sni: str | None = None,
        tls: bool = False,
    ) -> None:
        self.path = path
        self.method = method
        self.host = host
        self.port = port
        self.headers = headers or {}
        self.sni = sni
        self.tls = tls

    @property
    def arguments(self) -> tuple[Any, ...]:
        """In the order of `Router.match`."""
        return self.method, self.path, self.host, self.port, self.headers.get, self.sni, self.tls

    def __repr__(self) -> str:
        return f"Request({vars(self)})"


def load(*routes: Route) -> Router:
    """A router with these routes, whose payloads are their ids."""
    router = Router()
    assert router.load([(route, None, route["id"]) for route in routes]) == []
    return router


def winner(routes: list[Route], request: Request) -> tuple[str, str] | None:
    """Id and matched prefix of the route that serves a request."""
    subroutes = [subroute for route in routes for subroute in _split(route)]
    subroutes.sort(key=lambda subroute: (_priority(subroute), subroute["sub_id"]), reverse=True)
    for subroute in subroutes:
        prefix = _matches(subroute, request)
        if prefix is not None:
            return subroute["id"], prefix
    return None


def _split(route: Route) -> list[Route]:
    groups: dict[int, list[str]] = {}
    for path in route["paths"] or []:
        groups.setdefault(-1 if path.startswith("~") else len(path), []).append(path)
    if len(groups) < 2:
        return [{**route, "sub_id": route["id"]}]
    return [{**route, "paths": paths, "sub_id": subroute_id(route["id"], size)} for size, paths in groups.items()]


def _priority(route: Route) -> int:
    kinds = ["sources", "destinations", "methods", "hosts", "headers", "snis", "paths"]
    paths = route["paths"] or [""]
    regex = paths[0].startswith("~")
    bits = f"{sum(1 for kind in kinds if route[kind]):03b}"
    bits += "1" if route["hosts"] and not any("*" in host for host in route["hosts"]) else "0"
    bits += f"{min(len(route['headers'] or {}), 255):08b}"
    bits += "1" if regex else "0"
    bits += f"{route['regex_priority'] if regex else 0:032b}"
    bits += f"{0 if regex else len(paths[0]):019b}"
    assert len(bits) == 64
    return int(bits, 2)


def _matches(route: Route, request: Request) -> str | None:
    if route["methods"] and request.method.decode() not in route["methods"]:
        return None
    if route["hosts"] and not any(_host_matches(host, request) for host in route["hosts"]):
        return None
    for name, values in (route["headers"] or {}).items():
        sent = request.headers.get(name.lower().replace("_", "-"), [])
        if not any(_value_matches(value, one) for value in values for one in sent):
            return None
    if route["snis"] and request.tls and not any(_name_matches(sni.rstrip("."), request.sni) for sni in route["snis"]):
        return None
    if not route["paths"]:
        return ""
    for path in route["paths"]:
        if path.startswith("~"):
            match = re.match(path[1:], request.path)
            if match:
                return match[0]
        elif request.path.startswith(path):
            return str(path)
    return None


def _host_matches(pattern: str, request: Request) -> bool:
    name, _, port = pattern.partition(":")
    return _name_matches(name, request.host) and (not port or int(port) == request.port)


def _name_matches(pattern: str, name: str | None) -> bool:
    if name is None:
        return False
    if pattern.startswith("*"):
        return name.endswith(pattern[1:])
    if pattern.endswith("*"):
        return name.startswith(pattern[:-1])
    return name == pattern


def _value_matches(pattern: str, value: str) -> bool:
    if pattern.startswith("~*"):
        return re.search(pattern[2:].lower(), value) is not None
    return pattern.lower() == value
