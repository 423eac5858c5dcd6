"""What a plugin is: a name, a priority, a configuration and the phases it takes part in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from kong_gevent.pdk.client_certificates import CertificateRequest
    from kong_gevent.pdk.context import Context, Exit
    from kong_gevent.pdk.endpoints import Endpoint
    from kong_gevent.pdk.kit import Kit
    from kong_gevent.schema import Config
    from kong_gevent.schema.entity import Entity

HTTP_PROTOCOLS = ("grpc", "grpcs", "http", "https")
PHASES = ("rewrite", "access", "response", "header_filter", "body_filter", "log")
"""The phases of a request, in order. A plugin may define any of them; one it lacks costs nothing."""


class Conf:
    """One configuration of a plugin, ready for use: `conf.minute`, `conf.redis.host`, ….

    Every field of the plugin's `Config` is an attribute; records become nested `Conf` objects, arrays lists, maps
    dicts. `plugin_id`, `route_id`, `service_id`, `consumer_id` (UUID texts or None) and `instance_name` tell where it
    is attached. `Plugin.configure` may add attributes: what costs time is prepared there, once per change.
    """

    plugin_id: str | None
    route_id: str | None
    service_id: str | None
    consumer_id: str | None
    instance_name: str | None
    unused_phases: tuple[str, ...] = ()
    """Phases (after `access`) that this configuration has no use for; set in `configure`, they are not called then."""
    client_certificates: CertificateRequest | None = None
    """That clients are to be asked for a certificate; set in `configure`."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            setattr(self, name, self._wrap(value, name))

    @classmethod
    def _wrap(cls, value: Any, _name: str) -> Any:
        return Record(value) if isinstance(value, Mapping) else value

    if TYPE_CHECKING:

        def __setattr__(self, name: str, value: Any) -> None: ...

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"this configuration has no field {name!r}")

    def __repr__(self) -> str:
        return f"Conf({', '.join(sorted(vars(self)))})"


class Record(dict[str, Any]):
    """A record or map inside a configuration: entries are attributes as well as items."""

    def __getattr__(self, name: str) -> Any:
        try:
            value = self[name]
        except KeyError:
            raise AttributeError(f"this record has no field {name!r}") from None
        return Record(value) if isinstance(value, dict) else value


class Plugin:
    """Base class of all plugins.

    Class attributes: `name` (as in the Admin API), `version`, `priority` (higher runs first in each phase; equal
    priorities: the name that sorts later runs first), `config` (a `Config` subclass), `forbidden_scopes` (of
    "consumer", "service", "route": references that must stay null), `protocols` (default set) and `protocols_allowed`
    ("http-only" or "any").

    One instance lives in each worker; `self.kit` is its door to the node (caches, shared counters, timers, queues).
    Phase methods get the request's context and the configuration chosen for it. `rewrite`, `access` and `response` may
    end the request by *returning* `ctx.exit(…)` or `ctx.error(…)`; later phases of all plugins still run. An exception
    in `access` becomes a 500 and never lets the request pass; in `header_filter`, `body_filter` and `log` it is logged.
    """

    name: ClassVar[str] = ""
    version: ClassVar[str] = "3.9.1"
    priority: ClassVar[int] = 0
    config: ClassVar[type[Config]]
    forbidden_scopes: ClassVar[tuple[str, ...]] = ()
    protocols: ClassVar[tuple[str, ...]] = HTTP_PROTOCOLS
    protocols_allowed: ClassVar[str] = "http-only"
    entities: ClassVar[tuple[Entity, ...]] = ()
    """Kinds of entities that the plugin brings along; storage, Admin endpoints and documents derive from them."""

    def __init__(self, kit: Kit) -> None:
        self.kit = kit

    def init_worker(self) -> None:
        """Called once when a worker starts, before any configuration."""

    def configure(self, conf: Conf) -> None:
        """Called once for each configuration that enters the plan, off the request path; may set attributes on it."""

    def retire(self, conf: Conf) -> None:
        """Called when a configuration has left the plan: close what `configure` opened.

        One that takes its place, with the same `plugin_id`, may have been configured before.
        """

    def credential_names(self, conf: Conf) -> Iterable[str]:
        """Names of header fields and query arguments that carry credentials: they are masked where requests are shown.

        Not needed for what is known as secret everywhere: `Authorization`, cookies, names like `apikey` or `…-token`.
        """
        return ()

    def endpoints(self) -> Iterable[Endpoint]:
        """Paths that the plugin adds to the Admin API or the status listener; asked for once per worker."""
        return ()

    if TYPE_CHECKING:  # the phases, for documentation: defining one of them is what switches it on

        def rewrite(self, ctx: Context, conf: Conf) -> Exit | None:
            """Before routing; configurations of global scope only."""

        def access(self, ctx: Context, conf: Conf) -> Exit | None:
            """After routing, before the upstream is called."""

        def response(self, ctx: Context, conf: Conf) -> Exit | None:
            """The whole upstream answer is there (`ctx.response.body`); makes the exchange buffered."""

        def header_filter(self, ctx: Context, conf: Conf) -> None:
            """Status and fields of the answer may still be changed."""

        def body_filter(self, ctx: Context, conf: Conf, chunk: bytes, last: bool) -> bytes | None:
            """Each piece of the answer's body; return the replacement, or None to leave it as it is."""

        def log(self, ctx: Context, conf: Conf) -> None:
            """After the last byte went out."""
