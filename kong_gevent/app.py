"""The proxy as a plain WSGI callable, for any WSGI server: `kong_gevent.app:application`.

Under the gateway's own worker this callable is never called; there the listeners are served directly. Elsewhere the
first request builds a node of one process from the same settings and the same store, and each request looks for
changes first (at most every `db_update_frequency` seconds), since no background work may run in a foreign server.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from time import monotonic
from typing import Any

from gevent import monkey

from kong_gevent import conf
from kong_gevent.runtime.bridge import GatewayThread

STORE_SECONDS = 1.0
"""How long a request waits for the store to tell what has changed; it goes on with what is known then."""


class WsgiNode:
    """A node that lives inside a WSGI server's process, in one event loop."""

    def __init__(self, settings: Any = None) -> None:
        from kong_gevent.observe.accesslog import AccessLog, LineWriter
        from kong_gevent.runtime.boot import build_node
        from kong_gevent.runtime.loading import load_once
        from kong_gevent.runtime.shared import SharedState

        self._settings = settings or conf.load()
        shared = SharedState(counter_slots=1 << 12, cache_bytes=self._settings.mem_cache_size)
        self.node = build_node(self._settings, shared, shared.take_lane())
        load_once(self.node)
        self._frequency = float(self._settings.db_update_frequency)
        self._looked_at = monotonic()
        log = self._settings.access_log("proxy")
        self._writer = LineWriter(log.path) if log.path else None
        if self._writer is not None:
            Path(self._writer.path).parent.mkdir(parents=True, exist_ok=True)
            self.node.gateway.access_log = AccessLog(self._writer, log.format)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Serve one request."""
        from kong_gevent.runtime.balancing import follow_names
        from kong_gevent.runtime.wsgi import serve_wsgi

        if monotonic() - self._looked_at >= self._frequency:
            self._looked_at = monotonic()
            self.node.sync.begin().done.wait(STORE_SECONDS)
            gateway = self.node.gateway
            follow_names(gateway.plan.balancers.values(), gateway.resolver)
            if self._writer is not None:
                self._writer.flush()
        return serve_wsgi(self.node.gateway, environ, start_response)


class Application:
    """Builds the node when the first request comes, after the server has forked.

    Where the server runs on gevent its greenlets call the node themselves; the threads of any other server hand their
    requests over to one thread that belongs to the gateway.
    """

    def __init__(self) -> None:
        self._node: Callable[..., Iterable[bytes]] | None = None
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """The WSGI interface."""
        if self._node is None:
            with self._lock:
                if self._node is None:
                    self._node = WsgiNode() if monkey.is_module_patched("socket") else GatewayThread(WsgiNode)
        return self._node(environ, start_response)


application = Application()
