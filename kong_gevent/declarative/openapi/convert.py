"""From an OpenAPI document to services and routes: a service per list of servers, a route per operation.

Names, ids, tags and the `x-kong-…` extensions are those that users of decK's `openapi2kong` know. What is said further
down (path, operation) wins over what is said further up.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kong_gevent.declarative.openapi.servers import Target, targets
from kong_gevent.declarative.openapi.texts import InvalidOpenApi, Place, place_text, route_path, slug

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
PLAIN_PRIORITY, PARAMETERS_PRIORITY = 200, 100
"""`regex_priority` of paths without and with parameters: `/pets/mine` is looked at before `/pets/{id}`."""
_PLUGIN = "x-kong-plugin-"
_MAX_REFERENCES = 20
Entity = dict[str, Any]


def convert(document: Any, *, server: str | None = None, tags: Sequence[str] = ()) -> dict[str, list[Entity]]:
    """Collections of a declarative document. `server`: an address for all that the document says none of (or a relative
    one); `tags`: tags of every entity beside those of `x-kong-tags`.

    Raises `InvalidOpenApi` with the place of what cannot be converted.
    """
    if not isinstance(document, Mapping):
        raise InvalidOpenApi((), "expected an object")
    version = document.get("openapi")
    if not isinstance(version, str) or not version.startswith(("3.0", "3.1")):
        told = document.get("swagger", version)
        raise InvalidOpenApi(("openapi",), f"expected version 3.0 or 3.1, got {told!r}")
    return _Conversion(document, server, tags).run()


class _Level:
    """What extensions say at one level, with that of the levels above."""

    def __init__(self, document: Mapping[str, Any], place: Place, above: _Level | None = None) -> None:
        self.place = place
        self.name: Any = document.get("x-kong-name")
        if self.name is not None and not isinstance(self.name, str):
            raise InvalidOpenApi((*place, "x-kong-name"), "expected a text")
        self.service_defaults: Entity = self._defaults(document, "service", above.service_defaults if above else {})
        self.route_defaults: Entity = self._defaults(document, "route", above.route_defaults if above else {})
        self.upstream_defaults: Entity = self._defaults(document, "upstream", above.upstream_defaults if above else {})
        self.own_plugins = self._plugins(document)

    def _defaults(self, document: Mapping[str, Any], what: str, inherited: Entity) -> Entity:
        key = f"x-kong-{what}-defaults"
        if key not in document:
            return inherited
        found = document[key]
        if not isinstance(found, Mapping):
            raise InvalidOpenApi((*self.place, key), "expected an object")
        return copy.deepcopy(dict(found))

    def _plugins(self, document: Mapping[str, Any]) -> dict[str, Entity | None]:
        """Plugins by name; None takes back what a level above says."""
        found: dict[str, Entity | None] = {}
        for key, value in document.items():
            if not key.startswith(_PLUGIN):
                continue
            name = key[len(_PLUGIN) :].replace("_", "-")
            if value is not None and not isinstance(value, Mapping):
                raise InvalidOpenApi((*self.place, key), "expected an object")
            if isinstance(value, Mapping) and value.get("name", name) != name:
                raise InvalidOpenApi((*self.place, key, "name"), f"expected '{name}'")
            found[name] = None if value is None else {"name": name, **copy.deepcopy(dict(value))}
        return found


class _Conversion:
    """One document."""

    def __init__(self, document: Mapping[str, Any], server: str | None, tags: Sequence[str]) -> None:
        self._document = document
        self._server = server
        self._top = _Level(document, ())
        info = document.get("info")
        title = self._top.name or (info.get("title") if isinstance(info, Mapping) else None)
        if not isinstance(title, str):
            raise InvalidOpenApi(("info", "title"), "expected a text")
        self._base = slug(title)
        own = document.get("x-kong-tags", [])
        if not isinstance(own, list) or not all(isinstance(tag, str) for tag in own):
            raise InvalidOpenApi(("x-kong-tags",), "expected a list of texts")
        self._tags = list(dict.fromkeys([*own, *tags]))
        self._services: dict[str, Entity] = {}
        self._upstreams: list[Entity] = []
        self._names: set[str] = set()

    def run(self) -> dict[str, list[Entity]]:
        paths = self._document.get("paths") or {}
        if not isinstance(paths, Mapping):
            raise InvalidOpenApi(("paths",), "expected an object")
        for path, item in paths.items():
            if path.startswith("x-"):
                continue
            place: Place = ("paths", path)
            if not path.startswith("/"):
                raise InvalidOpenApi(place, "a path begins with a slash")
            self._path(path, self._followed(item, place), place)
        found = {"services": list(self._services.values())}
        return {**found, "upstreams": self._upstreams} if self._upstreams else found

    def _followed(self, item: Any, place: Place) -> Mapping[str, Any]:
        """A path's item, found where its `$ref` says."""
        for _ in range(_MAX_REFERENCES):
            if not isinstance(item, Mapping):
                raise InvalidOpenApi(place, "expected an object")
            reference = item.get("$ref")
            if reference is None:
                return item
            if not isinstance(reference, str) or not reference.startswith("#/"):
                raise InvalidOpenApi((*place, "$ref"), f"only references inside the document work, not {reference!r}")
            item = self._document
            for part in reference[2:].split("/"):
                part = part.replace("~1", "/").replace("~0", "~")
                item = item.get(part) if isinstance(item, Mapping) else None
            if item is None:
                raise InvalidOpenApi((*place, "$ref"), f"{reference} names nothing")
        raise InvalidOpenApi((*place, "$ref"), "references lead in a circle")

    def _path(self, path: str, item: Mapping[str, Any], place: Place) -> None:
        level = _Level(item, place, self._top)
        for method in METHODS:
            if method not in item:
                continue
            operation = item[method]
            here: Place = (*place, method)
            if not isinstance(operation, Mapping):
                raise InvalidOpenApi(here, "expected an object")
            self._operation(path, method, item, operation, level, _Level(operation, here, level))

    def _operation(
        self,
        path: str,
        method: str,
        item: Mapping[str, Any],
        operation: Mapping[str, Any],
        path_level: _Level,
        level: _Level,
    ) -> None:
        path_name = f"{self._base}_{slug(path_level.name or path)}"
        told = level.name or operation.get("operationId")
        if told is not None and not isinstance(told, str):
            raise InvalidOpenApi((*level.place, "operationId"), "expected a text")
        name = f"{self._base}_{slug(told)}" if told else f"{path_name}_{method}"
        if name in self._names:
            raise InvalidOpenApi(level.place, f"another operation has the name '{name}'; give one an x-kong-name")
        self._names.add(name)
        if "servers" in operation:
            service = self._service(name, operation["servers"], level)
        elif "servers" in item:
            service = self._service(path_name, item["servers"], path_level)
        else:
            service = self._service(self._base, self._document.get("servers"), self._top)
        route: Entity = {"name": name, "methods": [method.upper()], "strip_path": False, **level.route_defaults}
        pattern, parameters = route_path(path, level.place)
        route["paths"] = [pattern]
        route.setdefault("regex_priority", PARAMETERS_PRIORITY if parameters else PLAIN_PRIORITY)
        self._tag(route)
        plugins = list(self._route_plugins(service is self._services.get(self._base), path_level, level))
        if plugins:
            route["plugins"] = plugins
        service.setdefault("routes", []).append(route)

    def _route_plugins(self, base: bool, path_level: _Level, level: _Level) -> Iterator[Entity]:
        """Plugins of a route: those of its operation and path; of the document where the service does not have them."""
        merged = {**path_level.own_plugins, **level.own_plugins}
        if not base:
            merged = {**self._top.own_plugins, **merged}
        for name, plugin in merged.items():
            if plugin is not None:
                yield self._tagged(plugin)
            elif base and self._top.own_plugins.get(name):
                yield self._tagged({**self._top.own_plugins[name], "enabled": False})  # type: ignore[dict-item]

    def _service(self, name: str, servers: Any, level: _Level) -> Entity:
        known = self._services.get(name)
        if known is not None:
            return known
        place = (*level.place, "servers")
        found = targets(servers, place, self._server)
        first = found[0]
        service: Entity = {"name": name, **level.service_defaults}
        service.update(protocol=first.protocol, host=first.host, port=first.port)
        if first.path:
            service["path"] = first.path
        if len(found) > 1:
            service["host"] = f"{name}.upstream"
            self._upstreams.append(self._upstream(service["host"], found, level))
        self._tag(service)
        if name == self._base:
            plugins = [self._tagged(plugin) for plugin in self._top.own_plugins.values() if plugin is not None]
            if plugins:
                service["plugins"] = plugins
        self._services[name] = service
        return service

    def _upstream(self, name: str, found: list[Target], level: _Level) -> Entity:
        upstream: Entity = {"name": name, **level.upstream_defaults}
        upstream["targets"] = [self._tagged({"target": f"{one.authority}:{one.port}"}) for one in found]
        return self._tagged(upstream)

    def _tagged(self, entity: Entity) -> Entity:
        self._tag(entity)
        return entity

    def _tag(self, entity: Entity) -> None:
        if self._tags:
            entity["tags"] = list(dict.fromkeys([*self._tags, *(entity.get("tags") or [])]))


__all__ = ["METHODS", "InvalidOpenApi", "convert", "place_text"]
