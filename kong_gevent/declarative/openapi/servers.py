"""The servers of an OpenAPI document as addresses that a service can have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from kong_gevent.declarative.openapi.texts import InvalidOpenApi, Place

PORTS = {"http": 80, "https": 443, "grpc": 80, "grpcs": 443}
_VARIABLE = re.compile(r"\{([^{}]*)\}")


class Target(NamedTuple):
    """Where requests go. `path` is empty for the root."""

    protocol: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The host as it stands before a port."""
        return f"[{self.host}]" if ":" in self.host else self.host


def targets(servers: Any, place: Place, given: str | None) -> list[Target]:
    """The addresses of a list of servers, at least one. `given` takes the place of what has no host.

    Several servers differ in host and port only. Raises `InvalidOpenApi`.
    """
    if servers is None or servers == []:
        servers = [{"url": given or "/"}]
    if not isinstance(servers, list):
        raise InvalidOpenApi(place, "expected a list")
    found = [_target(server, (*place, position), given) for position, server in enumerate(servers)]
    for position, other in enumerate(found[1:], 1):
        if (other.protocol, other.path) != (found[0].protocol, found[0].path):
            text = "servers of one list have to agree in protocol and path, since one service calls them all"
            raise InvalidOpenApi((*place, position), text)
    return list(dict.fromkeys(found))


def _target(server: Any, place: Place, given: str | None) -> Target:
    if not isinstance(server, Mapping) or not isinstance(server.get("url"), str):
        raise InvalidOpenApi((*place, "url"), "expected a text")
    url = _filled(server["url"], server.get("variables"), place)
    try:
        parts = urlsplit(url)
        if not parts.netloc and given:
            base = urlsplit(given)
            parts = base._replace(path=base.path.rstrip("/") + (parts.path if url != given else ""))
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidOpenApi((*place, "url"), f"'{url}' is no address: {error}") from None
    if not host:
        text = f"'{url}' names no host; say where the API is with --server https://host/path"
        raise InvalidOpenApi((*place, "url"), text)
    protocol = parts.scheme or "https"
    if protocol not in PORTS:
        raise InvalidOpenApi((*place, "url"), f"the protocol '{protocol}' is none of {', '.join(PORTS)}")
    return Target(protocol, host, port or PORTS[protocol], parts.path.rstrip("/"))


def _filled(url: str, variables: Any, place: Place) -> str:
    """The address with the defaults of its variables."""

    def value(match: re.Match[str]) -> str:
        variable = variables.get(match[1]) if isinstance(variables, Mapping) else None
        default = variable.get("default") if isinstance(variable, Mapping) else None
        if default is None or isinstance(default, (dict, list, bool)):
            raise InvalidOpenApi((*place, "variables", match[1]), "a variable of an address needs a default")
        return str(default)

    return _VARIABLE.sub(value, url)
