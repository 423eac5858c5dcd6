"""Large change sets on their way into a worker's plan: worked into a copy beside the requests, then in force at once.

A request sees all of such a set or nothing. The copy shares what does not change with the plan, which serves meanwhile;
only the router's index is built anew, since nothing of it can be shared with one that is in use. Look-ups are not held
back: what nobody has cached yet is read from the store as it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

from kong_gevent.router import Router
from kong_gevent.runtime.pace import paced
from kong_gevent.runtime.plan import Entity, Plan

if TYPE_CHECKING:
    from kong_gevent.runtime.balancing import Balancer
    from kong_gevent.runtime.caches import LookupCache
    from kong_gevent.runtime.phases import PluginTable

MOST_KEYS = 50_000
"""Look-ups that are forgotten one by one when a set comes into force; when there are more, all are forgotten."""
Rest = Callable[[], float]


class Successor(Plan):
    """What a plan is to become, changed in turns with requests. From `fill` to `succeed` the plan must not change.

    Targets are only noted: the balancers are in use, and taking a target over costs them next to nothing.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__({}, plan._contexts, health=plan._health)
        self._plan = plan
        self._targets: dict[str, Entity | None] = {}
        self.services = dict(plan.services)
        self.balancers = dict(plan.balancers)
        self._upstreams = dict(plan._upstreams)
        self._upstream_of = dict(plan._upstream_of)
        self.asked = plan.asked.fork(self.routes, self._by_service)
        self.certificates = plan.certificates.fork()
        self.server_names = plan.server_names.fork(self.certificates)
        self.authorities = plan.authorities.fork()
        self.table = plan.table.fork(self.asked)
        self._parts = {
            "certificates": self.certificates,
            "snis": self.server_names,
            "ca_certificates": self.authorities,
            "plugins": self.table,
        }

    def fill(self, rest: Rest) -> None:
        """Take over the plan's routes; others have their turn meanwhile."""
        for key, entry in paced(list(self._plan.routes.items()), rest):
            self.routes[key] = entry
            self._by_service.setdefault(entry.service.id if entry.service else None, set()).add(key)
        self.router = self._plan.router.fork(lambda items: paced(items, rest))

    def held(self, kind: str, key: str) -> Mapping[str, Any] | None:
        """See `Plan.held`."""
        if kind == "targets" and key in self._targets:
            return self._targets[key]
        return super().held(kind, key)

    def _apply_target(self, key: str, entity: Entity | None) -> None:
        self._targets[key] = entity

    def succeed(self) -> None:
        """From now on the plan is what this one has become. Nobody else has a turn before that is complete."""
        plan = self._plan
        for key, balancer in self._upstreams.items():
            old = plan._upstreams.get(key)
            if old is not None and old is not balancer:
                balancer.adopt(old)
        plan.router, plan.services, plan.routes = self.router, self.services, self.routes
        plan.balancers, plan._upstreams, plan._upstream_of = self.balancers, self._upstreams, self._upstream_of
        plan._by_service, plan._health = self._by_service, self._health
        plan.asked.become(self.asked)
        plan.certificates.become(self.certificates)
        plan.server_names.become(self.server_names)
        plan.authorities.become(self.authorities)
        self.table.succeed(plan.table, plan.asked)
        plan.table = plan._parts["plugins"] = self.table
        self._change_targets()
        plan.changes += 1

    def _change_targets(self) -> None:
        gone: dict[Balancer, list[str]] = defaultdict(list)
        come: dict[Balancer, list[Entity]] = defaultdict(list)
        for key, target in self._targets.items():
            old = self._upstreams.get(self._upstream_of.pop(key, ""))
            new = self._upstreams.get(target["upstream"]["id"]) if target is not None else None
            if old is not None and old is not new:
                gone[old].append(key)
            if new is not None and target is not None:
                come[new].append(target)
                self._upstream_of[key] = new.entity["id"]
        for balancer, keys in gone.items():
            balancer.remove(*keys)
        for balancer, targets in come.items():
            balancer.put(*targets)


class Coming:
    """Changes that are made ready. `count`: of events; `foreign`: the newest event of another node among them, or 0."""

    def __init__(self, plan: Plan, cache: LookupCache, rest: Rest) -> None:
        self._live = plan
        self._cache = cache
        self._rest = rest
        self._next: Successor | None = None
        self._useless: tuple[PluginTable, Router] | None = None
        self._keys: set[str] = set()
        self.count = 0
        self.foreign = 0
        self.all_lookups = False
        """Whether all look-ups are to be forgotten."""

    @property
    def plan(self) -> Plan:
        """The plan as it will be."""
        return self._next or self._live

    @property
    def successor(self) -> Successor:
        """The same, to be changed."""
        if self._next is None:
            made = Successor(self._live)
            made.fill(self._rest)
            self._next = made
        return self._next

    def forget(self, keys: Iterable[str]) -> None:
        """Look-ups that are not true any more."""
        if not self.all_lookups:
            self._keys.update(keys)
            self.all_lookups = len(self._keys) > MOST_KEYS

    def come_into_force(self) -> bool:
        """All at once; whether the plan has changed. `clean_up` afterwards."""
        if self._next is not None:
            self._useless = (self._live.table, self._live.router)
            self._next.succeed()
        if self.all_lookups:
            self._cache.clear()
        else:
            self._cache.drop_all(self._keys)
        return self._next is not None

    def clean_up(self) -> None:
        """Let go of what is not in force any more, or never was; others have their turn meanwhile."""
        made, self._next = self._next, None
        if made is None:
            return
        table, router = self._useless or (made.table, made.router)
        for _ in paced(chain(table.retire_all_but(self._live.table), router.dismantle()), self._rest):
            pass
