"""Statements against Cassandra: opened per process on first use, prepared once, failing fast, errors in our words."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar, cast

from cassandra import OperationTimedOut, Unauthorized
from cassandra.cluster import NoHostAvailable
from cassandra.query import SimpleStatement

from kong_gevent.db.strategies.cassandra import faults, keyspace
from kong_gevent.db.strategies.cassandra.cluster import data_centers, leave_to_parent, on_greenlets, open_cluster
from kong_gevent.db.strategies.cassandra.options import CassandraOptions
from kong_gevent.db.strategies.cassandra.requests import DriverRequests, GreenletRequests, Row
from kong_gevent.errors import DatabaseError, StoreUnavailable
from kong_gevent.offload import offload

log = logging.getLogger("kong_gevent.cassandra")

T = TypeVar("T")
Call = tuple[str, Sequence[Any]]
RETRY_AFTER = 1.0
"""Seconds after a failed attempt to connect before the next one; calls in between fail at once."""
REOPEN_AFTER = 10.0
"""Seconds without any node after which the contact points are looked up again: all nodes may have moved."""


class _Process:
    """What belongs to one process: the driver's objects, prepared statements, the last failure to connect."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.cluster: Any = None
        self.session: Any = None
        self.requests: Any = None
        self.in_keyspace = False
        self.prepared: dict[str, Any] = {}
        self.failure: StoreUnavailable | None = None
        self.failed_at = 0.0
        self.lost_at: float | None = None
        self.trying = False
        self.closed = False


class CassandraSession:
    """Runs statements in one keyspace. May be used from any greenlet, or from any thread of an unpatched process.

    Opened by the first call in each process, never before a fork. While no node answers every call fails at once with
    StoreUnavailable; the driver, or a new attempt to connect, goes on in the background.
    """

    def __init__(self, options: CassandraOptions) -> None:
        self.options = options
        self._process: _Process | None = None
        self._abandoned: list[_Process] = []

    def connect(self, keyspace: bool = True) -> None:
        """Try to connect now; with `keyspace`, also enter it. Bounded by a few times `options.timeout`.

        Raises StoreUnavailable, StoreMisconfigured (waiting is no use) or SchemaMissing (no such keyspace).
        """
        self._here(self._connect, keyspace)

    def close(self) -> None:
        """Close all connections of this process; the next call opens again. Call it before forking."""
        process, self._process = self._process, None
        if process is None or process.pid != os.getpid():
            return
        process.closed = True
        if process.cluster is not None:
            self._here(process.cluster.shutdown)

    def ensure_keyspace(self) -> None:
        """Create the keyspace unless it exists, as the settings say how; harmless when several processes do it.

        Raises StoreMisconfigured when the role may not, or when the cluster cannot hold that many copies.
        """
        self._here(self._ensure_keyspace)

    def run(self, cql: str, values: Sequence[Any] = (), *, level: str = "read", idempotent: bool = True) -> list[Row]:
        """Run one statement with `?` for values; returns all rows. A conditional write's first column is `applied`.

        `level`: one of `cluster.LEVELS`. Statements that are not `idempotent`, and conditional writes, never run twice;
        they raise OutcomeUnknown when they may have been run. Changes of the schema ("ddl") take no values and return
        when all nodes agree.
        """
        return self._here(self._run, cql, values, level, idempotent)

    def run_all(self, calls: Sequence[Call], *, level: str = "read", window: int = 128) -> list[list[Row]]:
        """Run idempotent statements, at most `window` at a time; returns their rows in order or raises an error.

        When it raises, some of the others may have been run.
        """
        return self._here(self._run_all, calls, level, window)

    def pages(self, cql: str, values: Sequence[Any] = (), *, level: str = "read", size: int = 1000) -> Iterator[Row]:
        """All rows of a query, fetched `size` at a time as they are used."""
        process, result = self._here(self._first_page, cql, values, level, size)
        while True:
            yield from result.current_rows
            if not result.has_more_pages:
                return
            self._here(self._guarded, process, result.fetch_next_page)

    # -- where it runs

    def _here(self, function: Callable[..., T], *args: Any) -> T:
        """Call the driver: on this greenlet, or in a native thread where blocking would block the hub."""
        if on_greenlets():
            return function(*args)
        result, error = offload(_outcome, function, args)
        if error is not None:
            raise error
        return cast("T", result)

    def _mine(self) -> _Process:
        process = self._process
        if process is None or process.pid != os.getpid():
            if process is not None:
                # Forked: connections of the parent must be neither used nor closed here.
                self._abandoned.append(process)
            process = self._process = _Process()
        return process

    # -- connecting

    def _connect(self, enter: bool) -> None:
        process = self._mine()
        if process.session is None:
            self._open(process)
        if enter:
            self._enter(process)

    def _ready(self) -> _Process:
        """An open session in the keyspace. Waits for the first attempt to connect, but not again once that failed."""
        process = self._mine()
        if process.session is None:
            failure = process.failure
            if failure is None:
                self._open(process)
            else:
                self._try_in_background(process)
                raise type(failure)(failure.message)
        if not process.in_keyspace:
            self._enter(process)
        return process

    def _open(self, process: _Process) -> None:
        asked_at = time.monotonic()
        with process.lock:
            if process.session is not None:
                return
            if process.failure is not None and process.failed_at > asked_at:
                raise type(process.failure)(process.failure.message)
            process.trying = True
            try:
                cluster, session = open_cluster(self.options)
                if process.closed:
                    cluster.shutdown()
                    raise StoreUnavailable("the connection to Cassandra was closed while it was being made")
                kind = GreenletRequests if on_greenlets() else DriverRequests
                process.cluster, process.requests, process.session = cluster, kind(session), session
                process.failure = None
                leave_to_parent(cluster)
            except StoreUnavailable as error:
                process.failure, process.failed_at = error, time.monotonic()
                raise
            finally:
                process.trying = False

    def _try_in_background(self, process: _Process) -> None:
        """Connect anew, unless that is under way or was tried just now."""
        if process.trying or time.monotonic() - process.failed_at < RETRY_AFTER:
            return
        process.trying = True
        threading.Thread(target=self._replace, args=(process,), daemon=True).start()

    def _replace(self, process: _Process) -> None:
        """Put a new connection in the place of one that failed, or that has lost all its nodes."""
        fresh = _Process()
        try:
            self._open(fresh)
        except StoreUnavailable as error:
            log.debug("still no connection: %s", error)
            process.failed_at = time.monotonic()
            if process.session is None:
                process.failure = error
        else:
            process.closed, unwanted = True, process.closed
            if not unwanted and self._process is process:
                self._process, fresh = fresh, process
            if fresh.cluster is not None:
                fresh.cluster.shutdown()
        finally:
            process.trying = False

    def _lost(self, process: _Process) -> None:
        """No node took a statement. The driver goes on trying those it knows, and later they are looked up again."""
        now = time.monotonic()
        if process.lost_at is None:
            process.lost_at = now
        elif now - process.lost_at >= REOPEN_AFTER:
            self._try_in_background(process)

    def _enter(self, process: _Process) -> None:
        with process.lock:
            if not process.in_keyspace:
                self._guarded(process, process.session.set_keyspace, self.options.keyspace)
                process.in_keyspace = True

    def _ensure_keyspace(self) -> None:
        options, process = self.options, self._mine()
        if process.session is None:
            self._open(process)
        nodes = data_centers(process.cluster)
        existing = self._guarded(process, keyspace.find, process.session, options.keyspace)
        if existing is not None:
            keyspace.judge(options, existing, nodes)
            return
        statement = keyspace.creation(options, keyspace.wanted(options, nodes))
        try:
            self._change(process, statement, True)
        except DatabaseError as error:
            if isinstance(error.__cause__, Unauthorized):
                raise keyspace.not_allowed(options, statement, error.__cause__) from error
            raise

    # -- running

    def _run(self, cql: str, values: Sequence[Any], level: str, idempotent: bool) -> list[Row]:
        process = self._ready()
        if level == "ddl":
            return self._change(process, cql, idempotent)
        harmless = idempotent and level != "lwt"

        def fetch() -> list[Row]:
            rows: list[Row] = process.requests.run(self._prepared(process, cql), values, level, harmless)
            return rows

        return self._guarded(process, fetch, settled=harmless)

    def _run_all(self, calls: Sequence[Call], level: str, window: int) -> list[list[Row]]:
        process = self._ready()

        def fetch() -> list[list[Row]]:
            prepared = [(self._prepared(process, cql), values) for cql, values in calls]
            rows: list[list[Row]] = process.requests.run_all(prepared, level, window)
            return rows

        return self._guarded(process, fetch) if calls else []

    def _first_page(self, cql: str, values: Sequence[Any], level: str, size: int) -> tuple[_Process, Any]:
        process = self._ready()

        def first() -> Any:
            bound = self._prepared(process, cql).bind(values)
            bound.fetch_size, bound.is_idempotent = size, True
            return process.session.execute(bound, execution_profile=level)

        return process, self._guarded(process, first)

    def _prepared(self, process: _Process, cql: str) -> Any:
        prepared = process.prepared.get(cql)
        if prepared is None:
            try:
                prepared = process.session.prepare(cql)
            except OperationTimedOut:
                prepared = process.session.prepare(cql)  # the next node's turn
            process.prepared[cql] = prepared
        return prepared

    def _change(self, process: _Process, cql: str, idempotent: bool) -> list[Row]:
        def change() -> list[Row]:
            statement = SimpleStatement(cql, is_idempotent=idempotent)
            future = process.session.execute_async(statement, execution_profile="ddl")
            rows = list(future.result())
            if not (future.is_schema_agreed or process.cluster.control_connection.wait_for_schema_agreement()):
                raise StoreUnavailable(
                    f"the Cassandra nodes did not agree on the schema within {self.options.schema_timeout:g} s after "
                    f"'{' '.join(cql.split())[:60]}': see 'nodetool describecluster', then run it again"
                )
            return rows

        return self._guarded(process, change, settled=idempotent)

    def _guarded(self, process: _Process, function: Callable[..., T], *args: Any, settled: bool = True) -> T:
        """Call `function`; what the driver raises becomes one of our errors."""
        try:
            result = function(*args)
        except DatabaseError:
            raise
        except Exception as error:
            if isinstance(error, NoHostAvailable):
                self._lost(process)
            raise faults.statement(error, self.options, settled) from error
        process.lost_at = None
        return result


def _outcome(function: Callable[..., T], args: tuple[Any, ...]) -> tuple[T | None, BaseException | None]:
    """Result and exception: the pool would print an exception that passes through it."""
    try:
        return function(*args), None
    except Exception as error:
        return None, error
