"""The connections of one process to one PostgreSQL server, and what happens to them when it goes away.

psycopg's pool keeps and renews connections, but who waits in it for a server that is down learns nothing. So a pool
lives from one outage to the next here: a caller opens a connection of its own first, gets the reason if that fails, and
makes the pool if it does not. A connection that breaks, or cannot be added, ends the pool; the next caller begins anew.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from time import monotonic
from typing import Any, Generic, TypeVar

import psycopg
from psycopg.pq import TransactionStatus
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from kong_gevent.db.strategies.postgres import faults
from kong_gevent.db.strategies.postgres.connection import GatewayConnection, configure
from kong_gevent.db.strategies.postgres.options import PostgresOptions
from kong_gevent.errors import StoreUnavailable

T = TypeVar("T")
PAUSE = 0.25
"""Seconds after a failed connection in which others fail at once, with the same reason."""
PROBE_INTERVAL = 0.5
"""Seconds after which another caller tries to connect although one still waits for an answer."""
CONFLICTS = 6
"""How often a transaction that others were in the way of is tried again."""
_IDLE = TransactionStatus.IDLE


class PerProcess(Generic[T]):
    """Something that each process has to make for itself. What a parent made is neither used nor ended in its child."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._pid = os.getpid()
        self._mine = make()
        self._abandoned: list[T] = []

    def __call__(self) -> T:
        if self._pid != os.getpid():
            self._abandoned.append(self._mine)
            self._mine, self._pid = self._make(), os.getpid()
        return self._mine


class _State:
    """Of one process: the pool while the server is there, the fault while it is not, and whose turn it is."""

    def __init__(self, size: int) -> None:
        self.pool: ConnectionPool[GatewayConnection] | None = None
        self.opening = threading.Lock()
        self.fault: StoreUnavailable | None = None
        self.probe_at = 0.0
        self.turns = threading.BoundedSemaphore(size)
        self.waiting = 0


class PostgresPool:
    """Lends connections in autocommit mode; nothing is opened before it is used, and then in the using process."""

    def __init__(self, options: PostgresOptions) -> None:
        self.options = options
        self._state = PerProcess(lambda: _State(options.pool))
        # Its lines would repeat what callers are told, without saying what to do.
        logging.getLogger("psycopg").setLevel(logging.CRITICAL)

    def close(self) -> None:
        """Close the idle connections of this process; the next use opens again."""
        state = self._state()
        pool, state.pool, state.fault = state.pool, None, None
        if pool is not None:
            pool.close()

    def fetch(self, query: str, values: Sequence[Any]) -> list[Any]:
        """Rows of a query with `?` for values that changes nothing; a broken connection costs one more try.

        Raises `StoreUnavailable`, or `DatabaseError` for a statement that is wrong.
        """
        return self.run(lambda connection: connection.execute(sql(query), values, binary=True).fetchall())

    def run(self, work: Callable[[GatewayConnection], T]) -> T:
        """What `work(connection)` returns; it is run again when a connection breaks, or others were in the way."""
        failures = Failures()
        while True:
            try:
                with self.borrow() as connection:
                    return work(connection)
            except Interrupted as error:
                failures.judge(error)

    @contextmanager
    def borrow(self) -> Iterator[GatewayConnection]:
        """A connection; what is left of a transaction is rolled back at the end.

        psycopg's errors come out as `DatabaseError`, or as `Interrupted` when the same again may succeed. When the
        connection broke, all idle ones are closed too, as they probably share its fate.
        """
        with self._turn():
            pool, connection = self._get()
            try:
                yield connection
            except psycopg.Error as error:
                meaning = faults.statement(self.options, error)
                if faults.lost(error, connection):
                    connection.close()
                    self._retire(pool)
                    raise Interrupted(meaning, lost=True) from error
                if error.sqlstate == "25006":
                    self._retire(pool)  # the next connection may lead to the new primary
                if isinstance(error, faults.RETRIED):
                    raise Interrupted(meaning, lost=False) from error
                raise meaning from error
            finally:
                _clean(connection)
                pool.putconn(connection)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One of the turns. Raises `StoreUnavailable` when too many wait already, or it takes too long."""
        state, options = self._state(), self.options
        if not state.turns.acquire(blocking=False):
            if options.backlog is not None and state.waiting >= options.backlog:
                raise self._busy(f"{state.waiting} calls wait already ({options.part}backlog)")
            state.waiting += 1
            try:
                if not state.turns.acquire(timeout=options.semaphore_timeout):
                    raise self._busy(f"none got free within {options.semaphore_timeout:g} s")
            finally:
                state.waiting -= 1
        try:
            yield
        finally:
            state.turns.release()

    def _busy(self, text: str) -> StoreUnavailable:
        options = self.options
        return StoreUnavailable(
            f"all {options.pool} connections to PostgreSQL at {options.where} are busy and {text}; "
            f"raise {options.part}pool_size"
        )

    def _get(self) -> tuple[ConnectionPool[GatewayConnection], GatewayConnection]:
        state = self._state()
        for _ in range(3):
            pool = state.pool or self._open(state)
            try:
                return pool, pool.getconn(timeout=self.options.timeout)
            except PoolClosed:
                continue  # it ended meanwhile: the next round opens a new one, or says why that cannot be
            except PoolTimeout:
                break
            except Exception:
                raise
            except BaseException:
                # A greenlet that is killed in the pool's queue takes the connection that it was to get along.
                self._retire(pool)
                raise
        if state.fault is not None:
            raise _again(state.fault)
        raise StoreUnavailable(
            f"cannot use PostgreSQL at {self.options.where}: no connection within {self.options.timeout:g} s"
        )

    def _open(self, state: _State) -> ConnectionPool[GatewayConnection]:
        if state.fault is not None:
            # Now and then one caller finds out whether it is back; the others need not wait for that.
            if monotonic() < state.probe_at:
                raise _again(state.fault)
            state.probe_at = monotonic() + PROBE_INTERVAL
            return self._probe(state)
        with state.opening:
            if state.pool is not None:
                return state.pool
            if state.fault is not None:
                raise _again(state.fault)
            return self._probe(state)

    def _probe(self, state: _State) -> ConnectionPool[GatewayConnection]:
        """Find out whether the server can be used, and make the pool. Raises `StoreUnavailable` with the reason."""
        try:
            self._handshake()
        except StoreUnavailable as fault:
            state.fault, state.probe_at = fault, monotonic() + PAUSE
            raise
        state.fault = None
        if state.pool is None:
            state.pool = ConnectionPool(
                connection_class=GatewayConnection,
                kwargs=self.options.parameters(),
                min_size=0,
                max_size=self.options.pool,
                configure=partial(configure, self.options),
                timeout=self.options.timeout,
                max_idle=self.options.idle,
                reconnect_timeout=0,
                reconnect_failed=lambda pool: _in_background(self._examine, state, pool),
                num_workers=2,
                open=True,
            )
        return state.pool

    def _handshake(self) -> None:
        try:
            connection = GatewayConnection.connect(**self.options.parameters())
        except psycopg.Error as error:
            raise faults.unreachable(self.options, error) from error
        try:
            configure(self.options, connection)
            fault = faults.unsuitable(self.options, connection)
        except psycopg.Error as error:
            raise faults.unreachable(self.options, error) from error
        finally:
            connection.close()
        if fault:
            raise fault

    def _examine(self, state: _State, pool: ConnectionPool[GatewayConnection]) -> None:
        """Why a connection could not be added: end the pool, which wakes who waits in it, unless it only is full."""
        try:
            self._handshake()
        except StoreUnavailable as fault:
            if faults.crowded(fault) and pool.get_stats()["pool_size"] > 0:
                return
            if state.pool is pool:
                state.fault, state.probe_at = fault, monotonic() + PAUSE
        self._retire(pool)

    def _retire(self, pool: ConnectionPool[GatewayConnection]) -> None:
        state = self._state()
        if state.pool is pool:
            state.pool = None
        if not pool.closed:
            _in_background(pool.close)


class Interrupted(Exception):
    """A transaction came to nothing; another try may succeed.

    `meaning`: what to tell the caller if not; `lost`: the connection broke, otherwise another transaction was in the
    way.
    """

    def __init__(self, meaning: Exception, *, lost: bool) -> None:
        self.meaning = meaning
        self.lost = lost
        super().__init__(str(meaning))


class Failures:
    """How often a transaction was interrupted, and whether it may be tried again."""

    def __init__(self) -> None:
        self._lost = 0
        self._conflicts = 0

    def judge(self, error: Interrupted) -> None:
        """Return when to try again (after a pause where that helps). Raises what the error means otherwise."""
        if error.lost:
            self._lost += 1
        else:
            self._conflicts += 1
        if self._lost > 1 or self._conflicts > CONFLICTS:
            raise error.meaning from error
        if not error.lost:
            time.sleep(random.uniform(0, 0.01 * 2**self._conflicts))


@lru_cache(maxsize=512)
def sql(query: str) -> bytes:
    """A query with psycopg's placeholders."""
    return query.replace("?", "%s").encode()


def _again(fault: StoreUnavailable) -> StoreUnavailable:
    """The same error for another caller: an exception collects the frames that it passes."""
    return type(fault)(fault.message)


def _clean(connection: GatewayConnection) -> None:
    if connection.closed or connection.pgconn.transaction_status == _IDLE:
        return
    try:
        connection.rollback()
    except psycopg.Error:
        connection.close()


def _in_background(work: Callable[..., None], *values: Any) -> None:
    threading.Thread(target=work, args=values, daemon=True).start()
