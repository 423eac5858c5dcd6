"""The plan: everything a worker needs to proxy, compiled from validated entities.

Entries are immutable; a change replaces entries and the places that point to them, between two greenlet switches, so a
request that is under way keeps what it started with. Chains are compiled when a route is first used after a change.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from kong_gevent.pdk import Plugin
from kong_gevent.router import Router
from kong_gevent.runtime.asked import AskedNames
from kong_gevent.runtime.balancing import Balancer
from kong_gevent.runtime.certificates import AuthorityTable, CertificateTable, ServerNames
from kong_gevent.runtime.entries import RouteEntry, ServiceEntry
from kong_gevent.runtime.health_table import HealthTable
from kong_gevent.runtime.phases import Chain, PluginTable
from kong_gevent.vaults.secrets import Secrets

if TYPE_CHECKING:
    from kong_gevent.runtime.tls import Outgoing

log = logging.getLogger("kong_gevent.plan")
Entity = dict[str, Any]


class TlsContexts(Protocol):
    """Where services get the parameters of their TLS connections from."""

    def for_service(self, service: Entity, upstream: Entity | None = None) -> Outgoing | None:
        """The parameters for an `https` service, whose host may be the name of an upstream; None for clear text."""
        ...


class Part(Protocol):
    """What holds the entities of one kind. `entities`: by id, as they were given."""

    entities: dict[str, Mapping[str, Any]]

    def put(self, entity: Mapping[str, Any]) -> None:
        """Add or replace an entity."""
        ...

    def remove(self, key: str) -> None:
        """Forget an entity."""
        ...


class Plan:
    """All routes, services and plugin configurations of a worker."""

    def __init__(
        self,
        plugins: Mapping[str, Plugin],
        contexts: TlsContexts,
        secrets: Secrets | None = None,
        health: HealthTable | None = None,
    ) -> None:
        self._health = health
        self.router: Router = Router()
        secrets = secrets or Secrets({})
        self.services: dict[str, ServiceEntry] = {}
        self.routes: dict[str, RouteEntry] = {}
        self.balancers: dict[str, Balancer] = {}
        """Upstreams by name."""
        self._upstreams: dict[str, Balancer] = {}
        self._upstream_of: dict[str, str] = {}
        self._by_service: dict[str | None, set[str]] = {}
        self.asked = AskedNames(self.routes, self._by_service)
        self.table = PluginTable(plugins, secrets, self.asked)
        self.changes = 0
        """Counts what has been taken over."""
        self._contexts = contexts
        self.certificates = CertificateTable(secrets)
        self.server_names = ServerNames(self.certificates)
        self.authorities = AuthorityTable()
        self._parts: dict[str, Part] = {
            "certificates": self.certificates,
            "snis": self.server_names,
            "ca_certificates": self.authorities,
            "plugins": self.table,
        }

    # --- loading and changing ------------------------------------------------------------------------------------

    def load(self, kinds: Mapping[str, Iterable[Entity]]) -> None:
        """Fill an empty plan with the entities of each kind. It is empty again when one raises while it is read."""
        try:
            for kind in ("certificates", "snis", "ca_certificates"):
                for entity in kinds[kind]:
                    self._parts[kind].put(entity)
            for upstream in kinds["upstreams"]:
                self._apply_upstream(upstream["id"], upstream)
            for target in kinds["targets"]:
                self._apply_target(target["id"], target)
            for service in kinds["services"]:
                self._put_service(service)
            entries = []
            for route in kinds["routes"]:
                entry = self._make_route(route)
                if entry is not None:
                    entries.append((route, entry.service.entity if entry.service else None, entry))
            for refused, error in self.router.load(entries):
                log.error("route %s is not served: %s", refused["id"], error)
            self.table.fill(kinds["plugins"])
            self.changes += 1
        except BaseException:
            self._clear()
            raise

    def _clear(self) -> None:
        for part in self._parts.values():
            for key in list(part.entities):
                part.remove(key)
        self.router = Router()
        self.services.clear()
        self.routes.clear()
        self.balancers.clear()
        self._upstreams.clear()
        self._upstream_of.clear()
        self._by_service.clear()

    def entities(self) -> dict[str, dict[str, Mapping[str, Any]]]:
        """What the plan was made from: kind → id → entity."""
        return {
            "upstreams": {key: balancer.entity for key, balancer in self._upstreams.items()},
            "targets": {
                key: target for balancer in self._upstreams.values() for key, target in balancer.targets.items()
            },
            "services": {key: entry.entity for key, entry in self.services.items()},
            "routes": {key: entry.entity for key, entry in self.routes.items()},
            **{kind: dict(part.entities) for kind, part in self._parts.items()},
        }

    def held(self, kind: str, key: str) -> Mapping[str, Any] | None:
        """The entity that one part of the plan was made from."""
        if kind in self._parts:
            return self._parts[kind].entities.get(key)
        if kind == "upstreams":
            return self._upstreams[key].entity if key in self._upstreams else None
        if kind == "targets":
            parent = self._upstreams.get(self._upstream_of.get(key, ""))
            return parent.targets.get(key) if parent is not None else None
        entry = self.services.get(key) if kind == "services" else self.routes.get(key)
        return entry.entity if entry is not None else None

    @property
    def empty(self) -> bool:
        """Whether nothing has been put into it."""
        return not (self.services or self.routes or self.table.entities)

    def apply(self, kind: str, key: str, entity: Entity | None) -> None:
        """Take over one changed entity (None: it is gone). Kinds that the plan does not hold are ignored."""
        self.changes += 1
        part = self._parts.get(kind)
        if part is not None:
            if entity is None:
                part.remove(key)
            else:
                part.put(entity)
            return
        handler: Callable[[str, Entity | None], None] | None = {
            "upstreams": self._apply_upstream,
            "targets": self._apply_target,
            "services": self._apply_service,
            "routes": self._apply_route,
        }.get(kind)
        if handler is not None:
            handler(key, entity)

    def _put_service(self, entity: Entity) -> ServiceEntry:
        balancer = self.balancers.get(entity["host"])
        tls = self._contexts.for_service(entity, balancer.entity if balancer is not None else None)
        entry = self.services[entity["id"]] = ServiceEntry(entity, tls, balancer)
        return entry

    def _apply_upstream(self, key: str, entity: Entity | None) -> None:
        """Take over an upstream; services that have its name as their host are made anew."""
        old = self._upstreams.pop(key, None)
        touched = set()
        if old is not None:
            touched.add(old.name)
            if self.balancers.get(old.name) is old:
                del self.balancers[old.name]
        if entity is not None:
            if self._health is None:
                self._health = HealthTable()
            balancer = self._upstreams[key] = self.balancers[entity["name"]] = Balancer(entity, self._health)
            touched.add(balancer.name)
            if old is not None:
                balancer.adopt(old)
        elif old is not None:
            for target in old.targets:
                self._upstream_of.pop(target, None)
        for service in [service for service in self.services.values() if service.host in touched]:
            self._apply_service(service.id, service.entity)

    def _apply_target(self, key: str, entity: Entity | None) -> None:
        """Take over a target; one whose upstream is not there (any more) is nobody's."""
        old = self._upstreams.get(self._upstream_of.pop(key, ""))
        balancer = self._upstreams.get(entity["upstream"]["id"]) if entity is not None else None
        if old is not None and old is not balancer:
            old.remove(key)
        if balancer is not None and entity is not None:
            balancer.put(entity)
            self._upstream_of[key] = balancer.entity["id"]

    def balancer(self, key: str) -> Balancer | None:
        """An upstream by its id."""
        return self._upstreams.get(key)

    def _apply_service(self, key: str, entity: Entity | None) -> None:
        if entity is None:
            self.services.pop(key, None)
            return
        self._put_service(entity)
        for route_id in list(self._by_service.get(key, ())):
            self._apply_route(route_id, self.routes[route_id].entity)

    def _make_route(self, entity: Entity) -> RouteEntry | None:
        """The entry of a route, registered; None when it refers to a service that is not there (yet)."""
        reference = entity["service"]
        service = None
        if reference is not None:
            service = self.services.get(reference["id"])
            if service is None:
                log.warning(
                    "route %s refers to the unknown service %s; it is not served", entity["id"], reference["id"]
                )
                return None
        entry = self.routes[entity["id"]] = RouteEntry(entity, service)
        self._by_service.setdefault(service.id if service else None, set()).add(entry.id)
        self.asked.route_changed(entry.id)
        return entry

    def _apply_route(self, key: str, entity: Entity | None) -> None:
        old = self.routes.get(key)
        if old is not None:
            self._by_service.get(old.service.id if old.service else None, set()).discard(key)
        entry = self._make_route(entity) if entity is not None else None
        if entity is None or entry is None:
            self.routes.pop(key, None)
            self.router.remove(key)
            self.asked.route_changed(key)
            return
        try:
            self.router.add(entity, entry.service.entity if entry.service else None, entry)
        except ValueError as error:
            log.error("route %s is not served: %s", key, error)
            self.router.remove(key)

    # --- use -----------------------------------------------------------------------------------------------------

    def chain_of(self, route: RouteEntry) -> Chain:
        """The compiled plugins of a route."""
        if route.chain_version != self.table.version or route.chain is None:
            route.chain = self.table.compile(route.id, route.service.id if route.service else None)
            route.chain_version = self.table.version
        return route.chain

    @property
    def global_chain(self) -> Chain:
        """The plugins of global scope, for requests that match no route."""
        return self.table.global_chain()
