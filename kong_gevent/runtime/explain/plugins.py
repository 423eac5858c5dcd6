"""Which plugin configurations run for a request, in which order, and which do not because of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from kong_gevent.pdk import Plugin
from kong_gevent.pdk.auth import AuthenticationPlugin
from kong_gevent.pdk.plugin import PHASES
from kong_gevent.runtime.explain.routes import named
from kong_gevent.runtime.phases import HTTP_PROTOCOLS, Chain, Configured, Phases, Step
from kong_gevent.schema import Record
from kong_gevent.schema.masking import masked

if TYPE_CHECKING:
    from kong_gevent.runtime.gateway import Gateway

AFTER_ACCESS = PHASES[2:]
SHOWN = 20
"""Configurations that are not in force, at most so many are told."""
Row = dict[str, Any]


class PluginsExplained:
    """One request's plugins. `consumer`, `credential`: who is to be assumed to ask, once a plugin finds that out."""

    def __init__(self, gateway: Gateway, consumer: Row | None, credential: Row | None) -> None:
        self._gateway = gateway
        self._plan = gateway.plan
        self._consumer = consumer
        self._credential = credential
        self.known: Row | None = None
        """The consumer, once an authentication plugin has been passed that can have found it."""
        self.authenticating: list[str] = []
        """Names of the authentication plugins."""

    def describe(self, chain: Chain, access: bool) -> Row:
        """All that run; without `access` the request is answered before that phase."""
        chosen: list[Configured] = []
        rows = []
        for step in chain.steps:
            known = self.known if access else None
            configured = step.choose(known)
            if configured is None:
                continue
            chosen.append(configured)
            rows.append(self._row(configured, step, known))
            self._authenticates(configured)
        phases: Row = {"rewrite": [_name(function, conf) for function, conf in self._plan.table.rewrite]}
        phases["access"] = [_told(one) for one in chosen if access and hasattr(one.plugin, "access")]
        later = Phases([(one.plugin, one.conf) for one in chosen])
        for phase in AFTER_ACCESS:
            phases[phase] = [_name(function, conf) for function, conf in getattr(later, phase)]
        return {"order": rows, "phases": phases}

    def _authenticates(self, configured: Configured) -> None:
        """Take note of a plugin that finds out who asks."""
        plugin = configured.plugin
        if not isinstance(plugin, AuthenticationPlugin):
            return
        self.authenticating.append(plugin.name)
        kind = self._credential["kind"] if self._credential is not None else None
        if kind is None or kind in {entity.name for entity in plugin.entities}:
            self.known = self._consumer

    def _row(self, configured: Configured, step: Step, known: Row | None) -> Row:
        plugin = self._gateway.plugins[configured.plugin.name]
        applicable = list(step.applicable(known["id"] if known else None))
        row = {
            **self._instance(self._plan.table.entities[configured.id]),
            "priority": plugin.priority,
            "phases": [phase for phase in PHASES if hasattr(plugin, phase)],
            "consumer": named(known),
            "shadows": [self._instance(self._plan.table.entities[other.id]) for other in applicable[1:]],
        }
        if configured.plugin is not plugin:
            row["broken"] = "it could not be configured: requests are refused, see the error log"
        return row

    def _instance(self, entity: Mapping[str, Any]) -> Row:
        """One configuration: what and where it is, and its settings without secrets."""
        plugin = self._gateway.plugins.get(entity["name"])
        scope = {kind: self._reference(kind, entity[kind]["id"]) for kind in ("consumer", "route", "service")
                 if entity.get(kind)}  # fmt: skip
        return {
            "name": entity["name"],
            "id": entity["id"],
            "instance_name": entity.get("instance_name"),
            "scope": "+".join(scope) or "global",
            "scope_entities": scope,
            "config": masked(_schema(plugin), entity["config"]) if plugin is not None else None,
        }

    def _reference(self, kind: str, key: str) -> Row | None:
        if kind == "consumer":
            return named(self._consumer) if self._consumer and self._consumer["id"] == key else {"id": key}
        return named(self._plan.held(f"{kind}s", key)) or {"id": key}

    def without_effect(self, route: str | None, service: str | None, pause: Callable[[], Any]) -> list[Row]:
        """Configurations in reach of the request that do not count, with the reason."""
        consumer = self._consumer["id"] if self._consumer else None
        scope = {"route": route, "service": service, "consumer": consumer}
        rows = []
        for key, entity in list(self._plan.table.entities.items()):
            pause()
            if self._plan.table.configured(key) is not None or not _reaches(entity, scope):
                continue
            rows.append({**self._instance(entity), "reason": self._why(entity)})
            if len(rows) >= SHOWN:
                break
        return rows

    def _why(self, entity: Mapping[str, Any]) -> str:
        if entity["name"] not in self._gateway.plugins:
            return "the plugin is not enabled on this node"
        if not entity["enabled"]:
            return "it is disabled"
        assert not HTTP_PROTOCOLS & set(entity["protocols"])
        return "its protocols are none of http, https, grpc, grpcs"


def _reaches(entity: Mapping[str, Any], scope: Mapping[str, str | None]) -> bool:
    """Whether a configuration would apply to requests of this route, service and consumer."""
    return all(not entity.get(kind) or entity[kind]["id"] == key for kind, key in scope.items())


def _schema(plugin: Plugin) -> Record:
    return type(plugin).config()


def _name(function: Any, conf: Any) -> Row:
    return {"name": function.__self__.name, "id": conf.plugin_id}


def _told(configured: Configured) -> Row:
    return {"name": configured.plugin.name, "id": configured.id}
