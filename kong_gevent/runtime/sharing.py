"""What a worker shares with other nodes on behalf of its plugins: counters in the datastore, Redis servers."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gevent

from kong_gevent.pdk.kit import SharedCounters
from kong_gevent.proxy.deadlines import Streams
from kong_gevent.runtime.counts import CountTable
from kong_gevent.runtime.replicas import Place, Replica, ReplicatedCounters, StorePlace

if TYPE_CHECKING:
    from kong_gevent.runtime.redis import Options, RedisClient

AT_LEAST, AT_MOST = 0.1, 1.0
"""Bounds, in s, of the time between synchronisations with the datastore."""


class Sharing:
    """One worker's shared counters and Redis connections; nothing is connected before it is used.

    `interval`: s between synchronisations with the datastore; `resolve`: addresses of a host name; `tls`: TLS
    parameters for connections that are verified, or not.
    """

    def __init__(
        self,
        table: CountTable,
        store: Any,
        interval: float,
        resolve: Callable[[str], Sequence[tuple[int, str]]],
        tls: Callable[[bool], ssl.SSLContext],
    ) -> None:
        self._table = table
        self._store = store
        self._interval = min(AT_MOST, max(AT_LEAST, interval))
        self._resolve = resolve
        self._tls = tls
        self._streams = Streams()
        self._replicas: dict[Any, Replica] = {}
        self._servers: dict[Options, RedisServer] = {}

    def tls_context(self, verify: bool) -> ssl.SSLContext:
        """See `Kit.tls_context`."""
        return self._tls(verify)

    def store_counters(self, tolerant: bool) -> SharedCounters:
        """See `Kit.shared_counters`."""
        replica = self._replicas.get("store")
        if replica is None:
            place = StorePlace(self._table, self._store.strategy)
            replica = self._replicas["store"] = Replica(self._table, "store", place, self._interval)
        return ReplicatedCounters(replica, tolerant)

    def redis(self, record: Mapping[str, Any]) -> RedisServer:
        """See `Kit.redis`."""
        # Loaded when a configuration needs it: it takes as much memory as a tenth of a worker.
        from kong_gevent.runtime.redis import Options, Outside, RedisClient

        options = Options.from_record(record)
        server = self._servers.get(options)
        if server is None:
            client = RedisClient(options, Outside(self._resolve, self._tls, self._streams))
            server = self._servers[options] = RedisServer(self, client)
        server.users += 1
        return server

    def replica(self, identity: Any, make: Callable[[CountTable], Place], interval: float) -> Replica:
        """The group of counters of this identity, made on first use."""
        replica = self._replicas.get(identity)
        if replica is None:
            replica = self._replicas[identity] = Replica(self._table, identity, make(self._table), interval)
        return replica

    def forget(self, server: RedisServer) -> None:
        """Nobody uses the server any more."""
        options = server.client.options
        self._servers.pop(options, None)
        for identity in [identity for identity in self._replicas if identity[0] == options]:
            del self._replicas[identity]

    def flush(self) -> None:
        """Tell the other nodes what they have not been told."""
        gevent.joinall([gevent.spawn(replica.flush) for replica in self._replicas.values()])

    def close(self) -> None:
        """Stop synchronising and close all connections."""
        for replica in self._replicas.values():
            replica.stop()
        self._replicas.clear()
        for server in self._servers.values():
            server.client.shut()
        self._servers.clear()


class RedisServer:
    """See `kong_gevent.pdk.kit.Redis`."""

    def __init__(self, sharing: Sharing, client: RedisClient) -> None:
        self.client = client
        self.call = client.call
        self.users = 0
        self._sharing = sharing

    def counters(self, sync_rate: float = -1) -> SharedCounters:
        """See `Redis.counters`."""
        from kong_gevent.runtime.redis_counters import RedisCounters, RedisPlace

        client = self.client
        if sync_rate < 0:
            return RedisCounters(client)
        identity = (client.options, sync_rate)
        replica = self._sharing.replica(identity, lambda table: RedisPlace(table, client), sync_rate)
        return ReplicatedCounters(replica, tolerant=False)

    def close(self) -> None:
        """See `Redis.close`."""
        self.users -= 1
        if not self.users:
            self._sharing.forget(self)
            self.client.shut()
