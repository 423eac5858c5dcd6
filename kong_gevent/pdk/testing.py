"""The test kit: a whole gateway in this process, without sockets, with a plugin switched on and an upstream to look at.

    def test_echoes_the_generated_value(plugin):
        run = plugin("correlation-id", echo_downstream=True).get("/")
        assert run.upstream.headers["Kong-Request-ID"] == run.response.headers["Kong-Request-ID"]

`plugin` is a pytest fixture that comes with the package. It takes a plugin's name, or the class of one that is not
installed, and its settings; the gateway it returns sends requests through everything that real ones go through.
"""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

import pytest

from kong_gevent.pdk import ClientCertificate, Plugin
from kong_gevent.pdk.loader import load_plugins
from kong_gevent.pdk.memory import Answer, MemoryStream, MemoryUpstream, Received, read_message, respond

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kong_gevent.pdk import Context
    from kong_gevent.runtime.connection import Connection

__all__ = ["Answer", "InMemoryGateway", "Received", "Run", "plugin", "respond"]


class Run:
    """One request's story: `response` (what the client got), `upstream` (what was asked of it, or None), `log`."""

    def __init__(self, response: Answer, upstream: list[Received], log: dict[str, Any]) -> None:
        self.response = response
        self.upstreams = upstream
        self.log = log

    @property
    def upstream(self) -> Received:
        """The request that the upstream received; fails when it received none."""
        if not self.upstreams:
            raise AssertionError(f"the upstream was not asked; the client got {self.response}")
        return self.upstreams[-1]

    @property
    def status(self) -> int:
        """The status that the client got."""
        return self.response.status

    def __repr__(self) -> str:
        return f"<Run {self.response} {self.upstreams}>"


class LocalCounters:
    """The node's shared counters, for one process."""

    def __init__(self) -> None:
        self.values: dict[Any, tuple[int, float]] = {}

    def consume(self, owner: Any, windows: Sequence[tuple[Any, ...]]) -> tuple[bool, list[int]]:
        """See `kong_gevent.pdk.kit.Counters.consume`."""
        windows = list(windows)
        found = [self.value((owner, window[0])) for window in windows]
        below = all(value < window[1] for value, window in zip(found, windows, strict=True))
        if below:
            for value, window in zip(found, windows, strict=True):
                self.values[owner, window[0]] = (value + 1, window[2])
        return below, found

    def add(self, key: Any, amount: int, expires: float) -> int:
        """See `kong_gevent.pdk.kit.Counters.add`."""
        value = self.value(key) + amount
        self.values[key] = (value, expires)
        return value

    def value(self, key: Any) -> int:
        """See `kong_gevent.pdk.kit.Counters.value`."""
        value, expires = self.values.get(key, (0, 0.0))
        return value if expires > time() or expires < _CLOCK_START else 0


_CLOCK_START = 1_600_000_000
"""Expiry times before this belong to a clock that a test has set back, and never come."""


class _Recorder:
    """Takes the place of the access log: keeps the log record of each request."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    def write(self, ctx: Context) -> None:
        """Keep the record."""
        self.records.append(ctx.record())


class _Parts:
    """As much of a node as serving requests needs: a configuration number that never changes, and a lane for totals."""

    generation = 0
    generation_word = (0,)

    def __init__(self, gateway: Any) -> None:
        self.gateway = gateway
        self.shared = self.lane = self
        self.sync: Any = None

    @staticmethod
    def words() -> list[int]:
        """A lane that nobody reads."""
        return [0] * 16

    @staticmethod
    def found(event: int) -> int:
        """There are no other workers to tell."""
        return 0


class _NodeFacts:
    """A node of which there is nothing to tell but the health of its upstreams' targets."""

    def __init__(self, states: Callable[[], Iterator[tuple[str, str, str, str]]]) -> None:
        self.target_health = states

    def statistics(self) -> Mapping[str, int]:
        """Nothing was counted."""
        return {}

    def workers(self) -> Sequence[tuple[int, int]]:
        """None of its own."""
        return []

    def shared_memory(self) -> Mapping[str, tuple[int, int]]:
        """None."""
        return {}

    def timers(self) -> Mapping[str, int]:
        """None."""
        return {"running": 0, "pending": 0}

    def store_reachable(self) -> bool:
        """It is in memory."""
        return True


class InMemoryGateway:
    """A node with one worker in this process: real schemas, store (in memory), plan, phases and HTTP; no sockets.

    `classes`: plugin classes beyond those that the setting `plugins` names; `settings`: as in `kong.conf`, as texts.
    There is a `service` with a `route` for every path from the start. `upstream.respond` is a function of the request
    that returns the answer's bytes; `respond(status, body, headers)` makes one.
    """

    def __init__(self, *classes: type[Plugin], **settings: str) -> None:
        from kong_gevent.conf import load
        from kong_gevent.db import open_store

        self._stack = ExitStack()
        self.prefix = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="kong-gevent-kit-")))
        self.settings = load(None, {"database": "memory", "prefix": str(self.prefix), **settings}, {})
        known: dict[str, type[Plugin]] = load_plugins(self.settings.plugins)
        known.update({kind.name: kind for kind in classes})
        self.store = open_store(self.settings, known)
        self.store.connect()
        self.counters = LocalCounters()
        self._make_kit()
        self.plugins: dict[str, Plugin] = {name: kind(self.kit) for name, kind in known.items()}
        for instance in self.plugins.values():
            instance.init_worker()
        self._make_gateway()
        self._serial = 0
        self.peer = ("127.0.0.1", 50000)
        self.shows: str | None = None
        """The certificate (PEM, with what stands between) that clients show from now on; their requests are HTTPS."""
        self.service = self.insert("services", name="upstream", host="upstream.test", port=80)
        self.route = self.insert("routes", paths=["/"], service={"id": self.service["id"]})

    def _make_kit(self) -> None:
        """What plugins may use, with memory of this process where a node has shared memory."""
        from kong_gevent.dns import Resolver
        from kong_gevent.runtime.caches import LookupCache
        from kong_gevent.runtime.counts import CountTable
        from kong_gevent.runtime.kit import WorkerKit
        from kong_gevent.runtime.metrics import MetricMemory, WorkerMetrics
        from kong_gevent.runtime.node_cache import NodeCache
        from kong_gevent.runtime.sharing import Sharing

        self._cache = LookupCache()
        self._metrics = MetricMemory(1, 1 << 20)
        self.kit = WorkerKit(
            "00000000-0000-4000-8000-000000000000",
            self.store,
            self._cache,
            self.counters,
            WorkerMetrics(self._metrics, 0),
            Sharing(CountTable(1 << 10), self.store, 0.1, Resolver.of(self.settings).addresses, self._tls),
            runs_programs=self.settings.untrusted_lua != "off",
            classic_answers=self.settings.classic_answers,
        )
        self.kit.node_cache = NodeCache(1 << 20, 1 << 10)

    def _make_gateway(self) -> None:
        """A worker's gateway, but its upstream, its access log and its node are in memory, and it follows the store."""
        from kong_gevent.runtime.boot import ProxyRole
        from kong_gevent.runtime.gateway import Gateway
        from kong_gevent.runtime.health import Health
        from kong_gevent.runtime.listener import Listener
        from kong_gevent.runtime.sync import Synchronizer

        self.gateway = Gateway(self.settings, self.plugins)
        self.upstream = MemoryUpstream()
        self._recorder = _Recorder()
        inside: Any = self.gateway
        inside.pool = inside.resolver = self.upstream
        inside.access_log = self._recorder
        parts: Any = _Parts(self.gateway)
        self.sync = parts.sync = Synchronizer(self.store, self.gateway.plan, self._cache, parts)
        self.sync.listeners = self.kit.listeners
        self._health = Health(inside, self.sync, self.store, lambda: True)
        self.kit.node = _NodeFacts(self._health.states)
        self.sync.load()
        self.kit.publish = self.sync.poll
        serve = ProxyRole(parts).serve
        self._listener = Listener(self.gateway, "proxy", "127.0.0.1", 8000, serve)
        self._tls_listener = Listener(self.gateway, "proxy", "127.0.0.1", 8443, serve)
        self._tls_listener.tls = True

    def _tls(self, verify: bool) -> Any:
        return self.gateway.contexts.outgoing(verify)

    def close(self) -> None:
        """Remove the prefix folder."""
        self.kit.flush(1)
        self.gateway.plan.table.close()
        self.kit.close()
        self.store.close()
        self._metrics.close()
        self._stack.close()

    # entities

    def insert(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Store an entity as the Admin API would; raises the coded errors of `kong_gevent.errors`."""
        entity: dict[str, Any] = self.store.dao(kind).insert(fields)
        self.sync.poll()
        return entity

    def update(self, kind: str, key: str, **fields: Any) -> dict[str, Any]:
        """Change an entity."""
        entity: dict[str, Any] = self.store.dao(kind).update(key, fields)
        self.sync.poll()
        return entity

    def delete(self, kind: str, key: str) -> None:
        """Delete an entity."""
        self.store.dao(kind).delete(key)
        self.sync.poll()

    def use(self, name: str, /, *, on: str | Mapping[str, Any] = "global", **config: Any) -> InMemoryGateway:
        """Switch a plugin on; `on`: "global", "route", "service", or the entities themselves (`{"consumer": …}`)."""
        scope: dict[str, Any] = {}
        if isinstance(on, Mapping):
            scope = {kind: {"id": entity["id"]} for kind, entity in on.items()}
        elif on != "global":
            scope = {on: {"id": getattr(self, on)["id"]}}
        self.insert("plugins", name=name, config=config, **scope)
        return self

    def consumer(self, username: str, *keys: str, **fields: Any) -> dict[str, Any]:
        """A consumer with keys for key-auth."""
        made = self.insert("consumers", username=username, **fields)
        for key in keys:
            self.insert("keyauth_credentials", consumer={"id": made["id"]}, key=key)
        return made

    def admin(self, method: str, path: str, listener: str = "admin", **options: Any) -> Any:
        """Call the Admin API (or the status listener), plugins' endpoints included; options of Flask's test client."""
        from kong_gevent.admin import LocalNode, PluginInfo, contributed, create_app, create_status_app
        from kong_gevent.pdk.endpoints import AdminCall
        from kong_gevent.runtime.explain import Explainer

        plugins = self.plugins.items()
        facts = {name: PluginInfo(plugin.version, plugin.priority, type(plugin)) for name, plugin in plugins}
        node = LocalNode(self.settings, self.store, facts, self.kit.node_id)
        node.explainer = Explainer(self.gateway, self._health.of)
        endpoints = [endpoint for plugin in self.plugins.values() for endpoint in plugin.endpoints()]
        extra = [contributed.blueprint(endpoints, listener, AdminCall)]
        application = create_app(node, extra) if listener == "admin" else create_status_app(node, extra)
        answer = application.test_client().open(path, method=method, **options)
        self.sync.poll()
        return answer

    # requests

    def get(self, path: str = "/", **options: Any) -> Run:
        """GET."""
        return self.request("GET", path, **options)

    def post(self, path: str = "/", body: bytes | str = b"", **options: Any) -> Run:
        """POST."""
        return self.request("POST", path, body=body, **options)

    def request(
        self,
        method: str,
        path: str = "/",
        *,
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        body: bytes | str | None = None,
        chunked: bool = False,
    ) -> Run:
        """Send one request. `Host` and the body's framing are added unless `headers` has them."""
        fields = list(headers.items() if isinstance(headers, Mapping) else headers)
        names = {name.lower() for name, _ in fields}
        data = body.encode() if isinstance(body, str) else body
        if "host" not in names:
            fields.insert(0, ("Host", "gateway.test"))
        if data is not None and chunked:
            fields.append(("Transfer-Encoding", "chunked"))
            data = (b"%x\r\n%b\r\n" % (len(data), data) if data else b"") + b"0\r\n\r\n"
        elif data is not None and "content-length" not in names:
            fields.append(("Content-Length", str(len(data))))
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields)
        return self.send(head.encode("latin-1") + b"\r\n" + (data or b""))

    def send(self, data: bytes) -> Run:
        """Send one request given as bytes."""
        stream: Any = MemoryStream(data)
        asked, logged = len(self.upstream.requests), len(self._recorder.records)
        self._connection(stream).run()
        message = read_message(_without_interim(bytes(stream.written)), data.startswith(b"HEAD "))
        if message is None:
            raise AssertionError(f"the gateway's answer is not complete: {bytes(stream.written)!r}")
        log = self._recorder.records[logged] if len(self._recorder.records) > logged else {}
        return Run(Answer(*message), self.upstream.requests[asked:], log)

    def _connection(self, stream: Any) -> Connection:
        from kong_gevent.runtime.connection import Connection
        from kong_gevent.runtime.secure import TlsConnection

        self._serial += 1
        if self.shows is None:
            return Connection(stream, self._listener, self.peer, self._serial)
        secured = TlsConnection(stream, self._tls_listener, self.peer, self._serial)
        secured.shaken = True
        chain = [f"{text}-----END CERTIFICATE-----\n" for text in self.shows.split("-----END CERTIFICATE-----")[:-1]]
        secured.client_certificate = ClientCertificate([ssl.PEM_cert_to_DER_cert(text.strip()) for text in chain])
        return secured

    def flush(self) -> None:
        """Wait until the queues of all plugins are empty."""
        self.kit.flush(10)


def _without_interim(data: bytes) -> bytes:
    while data.startswith(b"HTTP/1.1 1"):
        data = data.partition(b"\r\n\r\n")[2]
    return data


@pytest.fixture
def plugin() -> Iterator[Callable[..., InMemoryGateway]]:
    """Make a gateway with one plugin: `plugin(name or class, on=…, **settings of the plugin)`."""
    with ExitStack() as stack:

        def make(which: str | type[Plugin] | None = None, /, *, on: Any = "global", **config: Any) -> InMemoryGateway:
            made = InMemoryGateway(*([which] if isinstance(which, type) else []))
            stack.callback(made.close)
            if which is not None:
                made.use(which if isinstance(which, str) else which.name, on=on, **config)
            return made

        yield make
