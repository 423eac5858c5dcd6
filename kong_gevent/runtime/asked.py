"""For which server names clients are asked for a certificate in the TLS handshake: a part of the plan.

Plugin configurations say that they want one (`Conf.client_certificates`), routes say for which names they may be
called. Strategy: what each route contributes is kept, so that a change of a route or a configuration touches the names
of the routes concerned and nothing else; without any such configuration nothing is kept at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

from kong_gevent.runtime.certificates import EVERY_NAME

if TYPE_CHECKING:
    from kong_gevent.pdk.client_certificates import CertificateRequest
    from kong_gevent.runtime.entries import RouteEntry

_TLS = frozenset(("https", "grpcs", "tls"))
_EVERYTHING = ("", "")
Place = tuple[str, str]
"""What a configuration is bound to: ("route" or "service", its id), or `_EVERYTHING`."""


class AskedNames:
    """`routes` by id and the ids of the `routes_of` each service: the plan's own, looked at when something changes."""

    def __init__(self, routes: Mapping[str, RouteEntry], routes_of: Mapping[str | None, AbstractSet[str]]) -> None:
        self._routes = routes
        self._routes_of = routes_of
        self._requests: dict[Place, dict[str, CertificateRequest]] = {}
        self._place_of: dict[str, Place] = {}
        self._names_of: dict[str, tuple[str, ...]] = {}
        self.names: dict[str, dict[str, tuple[CertificateRequest, ...]]] = {}
        """Server name, as routes have them (`*.a`, `a.*`, `*`: every name) → what each route's plugins ask for."""

    # --- changes -----------------------------------------------------------------------------------------------------

    def put(self, key: str, route: str | None, service: str | None, request: CertificateRequest) -> None:
        """A configuration, by its id, that wants certificates of the clients of a route, of a service, or of all."""
        place = ("route", route) if route else ("service", service) if service else _EVERYTHING
        self._place_of[key] = place
        self._requests.setdefault(place, {})[key] = request
        self._place_changed(place)

    def remove(self, key: str) -> None:
        """This configuration, if it wanted some, wants none any more."""
        place = self._place_of.pop(key, None)
        if place is None:
            return
        del self._requests[place][key]
        if not self._requests[place]:
            del self._requests[place]
        self._place_changed(place)

    def _place_changed(self, place: Place) -> None:
        kind, key = place
        if place == _EVERYTHING:
            self._contribute("", (EVERY_NAME,), tuple(self._requests.get(place, {}).values()))
        elif kind == "route":
            self.route_changed(key)
        else:
            for route in self._routes_of.get(key, ()):
                self.route_changed(route)

    def route_changed(self, key: str) -> None:
        """A route has come, is another, or has gone."""
        if not self._requests and not self._names_of:
            return
        entry = self._routes.get(key)
        if entry is None or not _TLS.intersection(entry.entity["protocols"]):
            self._contribute(key, (), ())
            return
        places = (("route", key), ("service", entry.service.id if entry.service else ""))
        requests = tuple(each for place in places for each in self._requests.get(place, {}).values())
        names = tuple(name.lower().removesuffix(".") for name in entry.entity.get("snis") or (EVERY_NAME,))
        self._contribute(key, names, requests)

    def _contribute(self, route: str, names: tuple[str, ...], requests: tuple[CertificateRequest, ...]) -> None:
        for name in self._names_of.pop(route, ()):
            del self.names[name][route]
            if not self.names[name]:
                del self.names[name]
        if requests:
            self._names_of[route] = tuple(dict.fromkeys(names))
            for name in names:
                self.names.setdefault(name, {})[route] = requests

    def fork(self, routes: Mapping[str, RouteEntry], routes_of: Mapping[str | None, AbstractSet[str]]) -> AskedNames:
        """A copy, to be changed while this one is in use, with the routes of another plan."""
        made = AskedNames(routes, routes_of)
        made._requests = {place: dict(requests) for place, requests in self._requests.items()}
        made._place_of, made._names_of = dict(self._place_of), dict(self._names_of)
        made.names = {name: dict(requests) for name, requests in self.names.items()}
        return made

    def become(self, other: AskedNames) -> None:
        """Have the content of a `fork`, and its routes."""
        vars(self).update(vars(other))

    # --- use ---------------------------------------------------------------------------------------------------------

    def find(self, server_name: str | None) -> tuple[str, ...] | None:
        """What a client that asks for this name is asked for: ids of the authorities to name, maybe none.

        None: it is not asked for a certificate. Authorities are only named when everybody who asks names some: a client
        that holds a certificate of another one would not show it.
        """
        requests = [each for place in self._places(server_name) for several in place.values() for each in several]
        if not requests:
            return None
        if not all(request.authorities for request in requests):
            return ()
        return tuple(sorted({key for request in requests for key in request.authorities}))

    def _places(self, server_name: str | None) -> Iterator[dict[str, tuple[Any, ...]]]:
        """What is asked for under a name: by the name itself, and by wildcards for its first or last labels."""
        known = self.names
        keys = [EVERY_NAME]
        if server_name:
            name = server_name.lower().removesuffix(".")
            dots = [at for at, letter in enumerate(name) if letter == "."]
            keys += [name, *(f"*{name[at:]}" for at in dots), *(f"{name[: at + 1]}*" for at in dots)]
        for key in keys:
            if key in known:
                yield known[key]
