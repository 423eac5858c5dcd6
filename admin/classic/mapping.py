"""An API as a service with its routes, and back.

One API has up to three routes: by host, by the header `X-Host-Override`, by path. Today's router compares how many
attributes a route sets before anything else, which gives the classic order: the host routes also set a path (`/`), so
they come first, exact hosts before wildcards; the header route and the path route set one attribute, and headers come
before paths; longer paths come before shorter ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from kong_gevent.db.entities.services import CLASSIC_API, expand_url

MARK = CLASSIC_API
"""The tag of services that are APIs, and of their routes."""
OVERRIDE = "X-Host-Override"
Values = dict[str, Any]
_PORTS = {"http": 80, "https": 443}
_DECIDES = ("hosts", "paths", "methods", "headers", "snis", "strip_path", "preserve_host")
"""Fields of a route that say which requests it takes and how they are passed on."""


def service_of(values: Mapping[str, Any]) -> Values:
    """The service's fields for an API."""
    return {"name": values.get("name"), **expand_url(values["upstream_url"])}


def routes_of(values: Mapping[str, Any]) -> dict[str, Values]:
    """The routes of an API by their part: `host`, `override`, `path`."""
    host, path = values.get("request_host"), values.get("request_path")
    found: dict[str, Values] = {}
    if host:
        found["host"] = {"hosts": [host], "paths": ["/"]}
        found["override"] = {"headers": {OVERRIDE: [_override(host.lower())]}}
    if path:
        found["path"] = {"paths": paths_of(path)}
    for part, route in found.items():
        route["name"] = name_of(part, values["request_path" if part == "path" else "request_host"])
        route["strip_path"] = part == "path" and bool(values.get("strip_request_path"))
        route["preserve_host"] = bool(values.get("preserve_host"))
    return found


def name_of(part: str, value: str) -> str:
    """The name of a route, which makes hosts and paths unique; characters that names lack are escaped."""
    if part == "path":
        value = value.replace("~", "~0").replace("/", "~1")
    else:
        value = value.lower().replace("*", "_")  # no host has an underscore
    return f"classic-{part}-{value}"


def paths_of(path: str) -> list[str]:
    """Paths that match `/p` and what is below `/p/`, but not `/pq`."""
    return ["/"] if path == "/" else [f"{path}/", f"~{path.replace('.', chr(92) + '.')}$"]


def _override(host: str) -> str:
    """The value of a header condition for a host; a wildcard stands for one or more characters."""
    if "*" not in host:
        return host
    pattern = ".+".join(re.escape(part) for part in host.split("*"))
    return f"~*^{pattern}(:[0-9]+)?$"


def values_of(service: Mapping[str, Any], routes: Iterable[Mapping[str, Any]]) -> tuple[Values, bool]:
    """The API that a service and its routes make, as far as it can be said, and whether that is all of it."""
    routes = list(routes)
    values: Values = {
        "id": service["id"],
        "name": service["name"],
        "upstream_url": _url_of(service),
        "created_at": service["created_at"],
    }
    by_host = next((route for route in routes if route["hosts"]), None)
    by_path = next((route for route in routes if route["paths"] and not route["hosts"] and not route["headers"]), None)
    if by_host is not None:
        values["request_host"] = by_host["hosts"][0]
    if by_path is not None:
        values["request_path"] = _path_of(by_path["paths"])
        values["strip_request_path"] = by_path["strip_path"] or None
    values["preserve_host"] = any(route["preserve_host"] for route in routes) or None
    return values, _is_whole(values, service, routes)


def _is_whole(values: Values, service: Mapping[str, Any], routes: list[Mapping[str, Any]]) -> bool:
    if service["protocol"] not in _PORTS:
        return False
    expected = [_deciding(route) for route in routes_of(values).values()]
    found = [_deciding(route) for route in routes]
    return len(expected) == len(found) and all(route in found for route in expected)


def _deciding(route: Mapping[str, Any]) -> Values:
    return {name: route.get(name) or None for name in _DECIDES}


def matching(route: Mapping[str, Any], stored: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The stored route that decides as `route` does."""
    return next((found for found in stored if _deciding(found) == _deciding(route)), None)


def _path_of(paths: list[str]) -> str:
    """The path of a path route; of other lists the first."""
    path = paths[0]
    return path[:-1] if len(path) > 1 and path.endswith("/") else path


def _url_of(service: Mapping[str, Any]) -> str:
    protocol, port = service["protocol"], service["port"]
    shown = "" if _PORTS.get(protocol) == port else f":{port}"
    return f"{protocol}://{service['host']}{shown}{service['path'] or ''}"
