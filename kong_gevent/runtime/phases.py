"""Which plugin configuration runs for a request, compiled to flat chains.

For each plugin at most one configuration runs, the most specific one (Kong 3.9): with a consumer those of consumer,
route and service together come first. Only plugins that have configurations for consumers are decided per request; all
others are decided when the chain is compiled.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from kong_gevent.pdk import Conf, Context, Plugin
from kong_gevent.vaults import Unresolved
from kong_gevent.vaults.secrets import Secrets

if TYPE_CHECKING:
    from kong_gevent.runtime.asked import AskedNames

log = logging.getLogger("kong_gevent.plugins")
HTTP_PROTOCOLS = frozenset(("http", "https", "grpc", "grpcs"))
Scope = tuple[str | None, str | None, str | None]
"""Ids of route, service and consumer; None where a configuration is not bound to one."""
Function = Callable[..., Any]
_MAX_DECISIONS = 4096


def scopes_in_order(route: str | None, service: str | None, consumer: str | None) -> list[Scope]:
    """The scopes that may apply, most specific first."""
    order: list[Scope] = []
    if consumer is not None:
        order += [(route, service, consumer), (route, None, consumer), (None, service, consumer)]
    order.append((route, service, None))
    if consumer is not None:
        order.append((None, None, consumer))
    order += [(route, None, None), (None, service, None), (None, None, None)]
    return [
        scope
        for position, scope in enumerate(order)
        if scope not in order[:position] and (scope == (None, None, None) or any(scope))
    ]


class Configured:
    """One plugin configuration in the plan."""

    __slots__ = ("conf", "id", "plugin", "scope")

    def __init__(self, entity: Mapping[str, Any], plugin: Plugin) -> None:
        def reference(name: str) -> str | None:
            value = entity.get(name)
            return value["id"] if value else None

        self.id: str = entity["id"]
        self.plugin = plugin
        self.scope: Scope = (reference("route"), reference("service"), reference("consumer"))
        conf = Conf(entity["config"])
        conf.plugin_id = self.id
        conf.route_id, conf.service_id, conf.consumer_id = self.scope
        conf.instance_name = entity.get("instance_name")
        plugin.configure(conf)
        self.conf = conf


class Step:
    """One plugin's place in a chain: a configuration that is known, or the choice by consumer."""

    __slots__ = ("_decisions", "_scoped", "fixed", "lazy", "route", "service")

    def __init__(self, scoped: dict[Scope, Configured], route: str | None, service: str | None, lazy: bool) -> None:
        self._scoped = scoped
        self._decisions: dict[str, Configured | None] = {}
        self.route, self.service = route, service
        self.lazy = lazy
        self.fixed = self._resolve(None)

    def applicable(self, consumer: str | None) -> Iterator[Configured]:
        """The configurations that apply for a consumer's id (None: nobody is known), the one that runs first."""
        for scope in scopes_in_order(self.route, self.service, consumer):
            found = self._scoped.get(scope)
            if found is not None:
                yield found

    def _resolve(self, consumer: str | None) -> Configured | None:
        return next(self.applicable(consumer), None)

    def choose(self, consumer: Mapping[str, Any] | None) -> Configured | None:
        """The configuration for this consumer, if any applies."""
        if consumer is None or not self.lazy:
            return self.fixed
        key = consumer["id"]
        try:
            return self._decisions[key]
        except KeyError:
            if len(self._decisions) >= _MAX_DECISIONS:
                self._decisions.clear()
            found = self._decisions[key] = self._resolve(key)
            return found


Bind = Callable[[Plugin, str], Function]
"""Gives the function that is called for a phase of a plugin: the method itself, or what stands in for it."""


class Phases:
    """The later phases for one choice of configurations: flat lists of (function, configuration)."""

    __slots__ = ("body_filter", "chosen", "header_filter", "log", "response")

    def __init__(self, chosen: list[tuple[Plugin, Conf]], bind: Bind = getattr) -> None:
        self.chosen = chosen
        self.response = self._of("response", bind)
        self.header_filter = self._of("header_filter", bind)
        self.body_filter = self._of("body_filter", bind)
        self.log = self._of("log", bind)

    def _of(self, phase: str, bind: Bind) -> list[tuple[Function, Conf]]:
        return [
            (bind(plugin, phase), conf)
            for plugin, conf in self.chosen
            if hasattr(plugin, phase) and phase not in conf.unused_phases
        ]


class Chain:
    """All plugins of one route. `fixed` holds the phases when no choice depends on the consumer."""

    __slots__ = ("_bind", "access", "fixed", "steps")

    def __init__(self, steps: list[Step], bind: Bind = getattr) -> None:
        self.steps = steps
        self._bind = bind
        self.fixed: Phases | None = None
        self.access: list[tuple[Function, Conf]] = []
        if not any(step.lazy for step in steps):
            self.fixed = self.phases_without_access()
            self.access = [
                (bind(plugin, "access"), conf) for plugin, conf in self.fixed.chosen if hasattr(plugin, "access")
            ]

    def run_choosing(self, ctx: Context) -> tuple[Any, Phases]:
        """Run `access` of all plugins until one answers, choosing each configuration when its turn comes.

        Returns the answer (None, an `Exit`, or the exception that was raised) and the phases that follow. After an
        answer the other plugins are still chosen, since their later phases run.
        """
        chosen: list[tuple[Plugin, Conf]] = []
        result = None
        for step in self.steps:
            configured = step.choose(ctx.consumer)
            if configured is None:
                continue
            chosen.append((configured.plugin, configured.conf))
            if result is None and hasattr(configured.plugin, "access"):
                try:
                    result = self._bind(configured.plugin, "access")(ctx, configured.conf)
                except Exception as error:  # handled by the pipeline, once everything has been chosen
                    result = error
        return result, Phases(chosen, self._bind)

    def phases_without_access(self) -> Phases:
        """The phases when `access` never ran: choices without a consumer."""
        if self.fixed is not None:
            return self.fixed
        fixed = [step.fixed for step in self.steps if step.fixed is not None]
        return Phases([(configured.plugin, configured.conf) for configured in fixed], self._bind)


class PluginTable:
    """All plugin configurations by name and scope; `version` changes whenever compiled chains become stale."""

    def __init__(self, plugins: Mapping[str, Plugin], secrets: Secrets, asked: AskedNames | None = None) -> None:
        self._plugins = plugins
        self._secrets = secrets
        self._asked = asked
        self._shapes = {name: type(plugin).config().shape for name, plugin in plugins.items()}
        self._referring: set[str] = set()
        self._order = sorted(plugins.values(), key=lambda plugin: (plugin.priority, plugin.name), reverse=True)
        self._scoped: dict[str, dict[Scope, Configured]] = {}
        self._personal: Counter[str] = Counter()
        """How many configurations of a plugin are for one consumer."""
        self._compiled: set[str] = set()
        """Names of plugins whose configurations chains look at: these are replaced as a whole, not changed."""
        self._by_id: dict[str, Configured] = {}
        self.entities: dict[str, Mapping[str, Any]] = {}
        """All configurations by id as they were given, also those that are not in force."""
        self._global: Chain | None = None
        self._bind: Bind = getattr
        self._origin: PluginTable | None = None
        self.version = 0
        self.rewrite: list[tuple[Function, Conf]] = []

    def put(self, entity: Mapping[str, Any]) -> None:
        """Add or replace a configuration; one that is disabled or for other protocols is as if absent."""
        self._forget(entity["id"])
        configured = self._take(entity)
        if configured is not None:
            self._own(configured.plugin.name)[configured.scope] = configured
        self._changed()

    def _own(self, name: str) -> dict[Scope, Configured]:
        """The configurations of a plugin by scope, to be changed: no chain that was compiled so far looks at them."""
        if name in self._compiled:
            self._compiled.discard(name)
            self._scoped[name] = dict(self._scoped[name])
        return self._scoped.setdefault(name, {})

    def fill(self, entities: Iterable[Mapping[str, Any]]) -> None:
        """Put many configurations into an empty table."""
        for entity in entities:
            configured = self._take(entity)
            if configured is not None:
                self._scoped.setdefault(configured.plugin.name, {})[configured.scope] = configured
        self._changed()

    def _take(self, entity: Mapping[str, Any]) -> Configured | None:
        """The prepared form of a configuration, noted; None for one that has no effect."""
        self.entities[entity["id"]] = entity
        plugin = self._plugins.get(entity["name"])
        if plugin is None:
            log.error("plugin %s (%s) is configured but not enabled on this node", entity["name"], entity["id"])
            return None
        if not entity["enabled"] or not HTTP_PROTOCOLS & set(entity["protocols"]):
            return None
        try:
            configured = Configured(self._with_secrets(entity), plugin)
        except Unresolved as error:
            log.error("plugin %s (%s): %s; requests for it are refused", entity["name"], entity["id"], error)
            configured = self._broken(entity, plugin)
        except Exception:
            log.exception(
                "plugin %s (%s) could not be configured; requests for it are refused", entity["name"], entity["id"]
            )
            configured = self._broken(entity, plugin)
        self._by_id[configured.id] = configured
        request = configured.conf.client_certificates
        if request is not None and self._asked is not None:
            self._asked.put(configured.id, *configured.scope[:2], request)
        self._personal[configured.plugin.name] += configured.scope[2] is not None
        return configured

    def _with_secrets(self, entity: Mapping[str, Any]) -> Mapping[str, Any]:
        """The entity with secrets in place of references to them; it must not be kept. Raises `Unresolved`."""
        self._referring.add(entity["id"])
        config, found = self._secrets.filled(self._shapes[entity["name"]], entity["config"])
        if not found:
            self._referring.discard(entity["id"])
            return entity
        return {**entity, "config": config}

    def configured(self, key: str) -> Configured | None:
        """The prepared form of a configuration by its id; None for one that has no effect."""
        return self._by_id.get(key)

    def configure_again(self) -> None:
        """Vaults have changed: prepare all configurations with references once more."""
        for entity in [self.entities[key] for key in self._referring]:
            self.put(entity)

    @staticmethod
    def _broken(entity: Mapping[str, Any], plugin: Plugin) -> Configured:
        """A stand-in that fails closed, for a configuration that the plugin itself could not prepare."""
        return Configured({**entity, "config": {}}, _Broken(plugin))

    def remove(self, key: str) -> None:
        """Forget a configuration."""
        if self._forget(key):
            self._changed()

    def _forget(self, key: str) -> bool:
        self.entities.pop(key, None)
        self._referring.discard(key)
        old = self._by_id.pop(key, None)
        if old is None:
            return False
        if self._asked is not None:
            self._asked.remove(key)
        self._personal[old.plugin.name] -= old.scope[2] is not None
        scoped = self._own(old.plugin.name)
        if scoped.get(old.scope) is old:
            del scoped[old.scope]
        self._retire(old)
        return True

    def _retire(self, configured: Configured) -> None:
        if self._origin is not None and self._origin.configured(configured.id) is configured:
            return  # another table still uses it
        try:
            configured.plugin.retire(configured.conf)
        except Exception:
            log.exception("plugin %s failed to retire a configuration", configured.plugin.name)

    # --- large changes -----------------------------------------------------------------------------------------------

    def fork(self, asked: AskedNames) -> PluginTable:
        """A copy, to be changed while this one is in use; nothing that this one uses is retired."""
        made = PluginTable(self._plugins, self._secrets, asked)
        made._origin, made._bind, made.version = self, self._bind, self.version
        made.entities, made._by_id = dict(self.entities), dict(self._by_id)
        made._referring, made._personal = set(self._referring), Counter(self._personal)
        made._scoped, made._compiled = dict(self._scoped), set(self._scoped)
        made._changed()
        return made

    def succeed(self, origin: PluginTable, asked: AskedNames) -> None:
        """Take the place of the table that this one was forked from; chains of both are stale."""
        self._origin, self._asked, self._bind = None, asked, origin._bind
        self.version = max(self.version, origin.version)
        self._changed()

    def retire_all_but(self, other: PluginTable) -> Iterator[None]:
        """This table is not used any more: let go of what is not in the other one, step by step."""
        self._origin = None
        for key, configured in self._by_id.items():
            if other.configured(key) is not configured:
                self._retire(configured)
            yield

    def close(self) -> None:
        """Let go of what the configurations hold; the table is not used any more."""
        for configured in self._by_id.values():
            self._retire(configured)

    def _changed(self) -> None:
        self.version += 1
        self._global = None
        self.rewrite = [
            (self._bind(configured.plugin, "rewrite"), configured.conf)
            for plugin in self._order
            if (configured := self._scoped.get(plugin.name, {}).get((None, None, None))) is not None
            and hasattr(configured.plugin, "rewrite")
        ]

    def bind_with(self, bind: Bind) -> None:
        """Compile all chains anew, with other functions for the plugins' phases."""
        self._bind = bind
        self._changed()

    def compile(self, route: str | None, service: str | None) -> Chain:
        """The chain of a route that belongs to a service; either may be None."""
        steps = []
        for plugin in self._order:
            scoped = self._scoped.get(plugin.name)
            if not scoped:
                continue
            self._compiled.add(plugin.name)
            step = Step(scoped, route, service, self._personal[plugin.name] > 0)
            if step.lazy or step.fixed is not None:
                steps.append(step)
        return Chain(steps, self._bind)

    def global_chain(self) -> Chain:
        """The chain of requests without a route."""
        if self._global is None:
            self._global = self.compile(None, None)
        return self._global


class _Broken(Plugin):
    """Takes the place of a plugin whose configuration cannot be used: every request is refused."""

    def __init__(self, plugin: Plugin) -> None:
        super().__init__(plugin.kit)
        self.name = plugin.name  # type: ignore[misc]
        self.priority = plugin.priority  # type: ignore[misc]

    def access(self, ctx: Context, conf: Conf) -> Any:
        """Fail closed."""
        return ctx.error(500)
