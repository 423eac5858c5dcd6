"""Opening the driver's cluster and session as the gateway needs them, with the checks that connecting allows."""

from __future__ import annotations

import logging
import os
import ssl
import threading
import weakref
from collections.abc import Mapping
from typing import Any

from cassandra import ConsistencyLevel, DriverException, OperationTimedOut
from cassandra import connection as driver_connection
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
from cassandra.policies import (
    ConstantReconnectionPolicy,
    ConstantSpeculativeExecutionPolicy,
    DCAwareRoundRobinPolicy,
    HostStateListener,
    RetryPolicy,
    TokenAwarePolicy,
)
from cassandra.query import tuple_factory
from gevent import monkey

from kong_gevent.db.strategies.cassandra import faults, tls
from kong_gevent.db.strategies.cassandra.connection import PROTOCOL_VERSION, GreenletConnection, ThreadConnection
from kong_gevent.db.strategies.cassandra.options import CassandraOptions
from kong_gevent.db.strategies.cassandra.probe import reachable
from kong_gevent.errors import StoreUnavailable

log = logging.getLogger("kong_gevent.cassandra")

LEVELS = ("read", "near", "write", "serial", "lwt", "ddl")
"""Kinds of statements: reads, reads of any one replica near by, writes, reads that see every conditional write before
them, conditional writes, changes of the schema."""
DDL_TIMEOUT = 60.0
"""Seconds for one change of the schema; agreement on it takes up to `schema_timeout` more."""
RECONNECT_EVERY = 0.5
"""Seconds between attempts to reach a node that is down, for ever."""
HEARTBEAT_EVERY = 5.0
HEARTBEAT_TIMEOUT = 3.0
_TASKS = 32  # attempts to connect and retries at a time; two, as by default, would wait for nodes that do not answer
_HEDGE = 0.4  # of its time a harmless statement waits for one node, before another one is asked as well


class OneRetry(RetryPolicy):
    """Statements that may run twice get another node once; all others fail, because they may have been run."""

    def on_read_timeout(self, query: Any, *_: Any, retry_num: int = 0, **__: Any) -> tuple[int, None]:
        """A replica was late."""
        return self._judge(query, retry_num)

    def on_write_timeout(self, query: Any, *_: Any, retry_num: int = 0, **__: Any) -> tuple[int, None]:
        """A replica was late; the write may be made."""
        return self._judge(query, retry_num)

    def on_unavailable(self, query: Any, *_: Any, retry_num: int = 0, **__: Any) -> tuple[int, None]:
        """The coordinator knows too few replicas alive; another one may know more."""
        return self._judge(query, retry_num)

    def on_request_error(self, query: Any, *_: Any, retry_num: int = 0, **__: Any) -> tuple[int, None]:
        """The connection was lost, or the coordinator had an error of its own."""
        return self._judge(query, retry_num)

    def _judge(self, query: Any, retry_num: int) -> tuple[int, None]:
        again = retry_num == 0 and query is not None and query.is_idempotent
        return (self.RETRY_NEXT_HOST if again else self.RETHROW), None


class _NodeLog(HostStateListener):
    """One line for each change of a node's state."""

    def on_up(self, host: Any) -> None:
        """A node of the cluster answers again."""
        log.info("Cassandra node %s is up", host.endpoint)

    def on_down(self, host: Any) -> None:
        """A node of the cluster does not answer any more."""
        log.warning("Cassandra node %s is down", host.endpoint)

    def on_add(self, host: Any) -> None:
        """A node joined."""
        log.info("Cassandra node %s found", host.endpoint)

    def on_remove(self, host: Any) -> None:
        """A node left."""
        log.info("Cassandra node %s left the cluster", host.endpoint)


def on_greenlets() -> bool:
    """Whether this process is patched, so that the driver runs on greenlets. Raises when it was patched too late."""
    patched = bool(monkey.is_module_patched("threading") and monkey.is_module_patched("socket"))
    if patched and driver_connection.Thread is not threading.Thread:
        raise RuntimeError("cassandra.connection was imported before this process was patched")
    return patched


def open_cluster(options: CassandraOptions) -> tuple[Any, Any]:
    """A connected driver cluster and session, without a keyspace. Blocks; bounded by a few times `options.timeout`.

    Raises StoreUnavailable, or StoreMisconfigured when waiting will not help.
    """
    context = tls.context(options)
    addresses, failures = reachable(options.contact_points, options.port, options.timeout)
    if not addresses:
        raise faults.unreachable(options, failures)
    cluster = _cluster(options, addresses, context)
    try:
        session = _session(options, cluster)
    except BaseException:
        cluster.shutdown()
        raise
    cluster.register_listener(_NodeLog())
    session._default_timeout = options.timeout  # for preparing; the public way is closed to users of profiles
    return cluster, session


def leave_to_parent(cluster: Any) -> None:
    """Should this process fork: the child drops its copies of the connections without touching what the parent sends.

    Greenlets are copied too, and would read the parent's answers; threads are not. The driver's own greenlets are left
    without work, because threads that a fork has ended must not end again.
    """
    if not on_greenlets():
        return
    reference = weakref.ref(cluster)

    def in_child() -> None:
        copy = reference()
        if copy is None or copy.is_shutdown:
            return
        holders = copy.get_connection_holders()
        copy.is_shutdown = copy.control_connection._is_shutdown = True
        for session in tuple(copy.sessions):
            session.is_shutdown = True
        for connection in [each for holder in holders for each in holder.get_connections()]:
            connection.close()
        copy.sessions.clear()
        copy.control_connection._connection = None

    os.register_at_fork(after_in_child=in_child)


def data_centers(cluster: Any) -> dict[str, int]:
    """How many nodes each data centre has, by name."""
    counts: dict[str, int] = {}
    for host in cluster.metadata.all_hosts():
        if host.datacenter:
            counts[host.datacenter] = counts.get(host.datacenter, 0) + 1
    return counts


def _cluster(options: CassandraOptions, addresses: list[str], context: ssl.SSLContext | None) -> Any:
    login = PlainTextAuthProvider(options.username, options.password or "") if options.username else None
    profiles = _profiles(options)
    return Cluster(
        addresses,
        port=options.port,
        protocol_version=PROTOCOL_VERSION,
        connection_class=GreenletConnection if on_greenlets() else ThreadConnection,
        auth_provider=login,
        ssl_context=context,
        execution_profiles=profiles,
        reconnection_policy=ConstantReconnectionPolicy(RECONNECT_EVERY, None),
        idle_heartbeat_interval=HEARTBEAT_EVERY,
        idle_heartbeat_timeout=HEARTBEAT_TIMEOUT,
        connect_timeout=options.timeout,
        control_connection_timeout=options.timeout,
        max_schema_agreement_wait=options.schema_timeout,
        executor_threads=_TASKS,
        prepare_on_all_hosts=False,
        monitor_reporting_enabled=False,
        compression=False,
    )


def _profiles(options: CassandraOptions) -> dict[Any, ExecutionProfile]:
    """A profile per level. Replicas are asked in turn, but always in the same order for conditional writes."""
    level = ConsistencyLevel.name_to_value
    read, write = level[options.read_consistency], level[options.write_consistency]
    serial = level[options.serial_consistency]

    def profile(consistency: int, timeout: float, shuffle: bool = True, hedge: bool = True) -> ExecutionProfile:
        policy = TokenAwarePolicy(DCAwareRoundRobinPolicy(options.local_datacenter or ""), shuffle_replicas=shuffle)
        return ExecutionProfile(
            load_balancing_policy=policy,
            retry_policy=OneRetry(),
            consistency_level=consistency,
            serial_consistency_level=serial,
            request_timeout=timeout,
            row_factory=tuple_factory,
            speculative_execution_policy=ConstantSpeculativeExecutionPolicy(_HEDGE * timeout, 1) if hedge else None,
        )

    reading = profile(read, options.timeout)
    return {
        EXEC_PROFILE_DEFAULT: reading,
        "read": reading,
        "near": profile(level["LOCAL_ONE"], options.timeout),
        "write": profile(write, options.timeout),
        "serial": profile(serial, 2 * options.timeout, shuffle=False, hedge=False),
        "lwt": profile(write, 2 * options.timeout, shuffle=False, hedge=False),
        "ddl": profile(write, DDL_TIMEOUT + options.schema_timeout, shuffle=False, hedge=False),
    }


def _session(options: CassandraOptions, cluster: Any) -> Any:
    try:
        session = cluster.connect()
    except NoHostAvailable as error:
        raise _refusal(options, cluster, error.errors) from error
    except (DriverException, OperationTimedOut, OSError) as error:
        raise faults.refused(options, {options.where: error}) from error
    wrong = faults.wrong_data_center(options, data_centers(cluster))
    for host in cluster.metadata.all_hosts():
        wrong = wrong or faults.too_old(str(host.endpoint), host.release_version)
    if wrong is not None:
        raise wrong
    return session


def _refusal(options: CassandraOptions, cluster: Any, errors: object) -> StoreUnavailable:
    """Why no node could be used. Nodes that the local data centre does not have are no candidates for the driver."""
    if isinstance(errors, Mapping):
        return faults.refused(options, errors)
    existing = data_centers(cluster)
    wrong = faults.wrong_data_center(options, existing)
    if wrong is not None:
        return wrong
    return StoreUnavailable(
        f"no Cassandra node of the data centre '{options.local_datacenter}' answers, though its cluster does at "
        f"{options.where}; bring its nodes back"
    )
