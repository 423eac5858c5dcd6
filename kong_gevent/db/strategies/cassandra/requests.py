"""Prepared statements under way: through the driver's futures where it runs on threads, by a shorter way on greenlets.

The driver's future costs about three times the CPU of the request itself, and takes retries through a pool of threads.
The short way uses the driver's pools and messages, which its documentation does not promise; it is all in this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Any

import gevent
from cassandra import OperationTimedOut
from cassandra.cluster import NoHostAvailable
from cassandra.concurrent import execute_concurrent
from cassandra.connection import ConnectionException
from cassandra.pool import NoConnectionsAvailable
from cassandra.protocol import (
    RESULT_KIND_PREPARED,
    ExecuteMessage,
    IsBootstrappingErrorMessage,
    OverloadedErrorMessage,
    PreparedQueryNotFound,
    PrepareMessage,
    ReadTimeoutErrorMessage,
    ResultMessage,
    ServerError,
    UnavailableErrorMessage,
    WriteTimeoutErrorMessage,
)
from gevent.event import AsyncResult
from gevent.lock import BoundedSemaphore

Row = tuple[Any, ...]
FETCH_SIZE = 5000
"""Rows per page of a result that is read to its end."""
_CANDIDATES = 8
"""Nodes that one statement may be offered to."""
_BORROW = 0.5  # seconds to wait for one of a connection's 32,768 streams
_PASSING = (
    ConnectionException,
    IsBootstrappingErrorMessage,
    OverloadedErrorMessage,
    ReadTimeoutErrorMessage,
    ServerError,
    UnavailableErrorMessage,
    WriteTimeoutErrorMessage,
)


class DriverRequests:
    """Runs statements through the driver's own futures. Blocks the calling thread."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def run(self, prepared: Any, values: Sequence[Any], level: str, harmless: bool) -> list[Row]:
        """All rows of one statement."""
        return list(self._session.execute(_bound(prepared, values, harmless), execution_profile=level))

    def run_all(self, calls: Sequence[tuple[Any, Sequence[Any]]], level: str, window: int) -> list[list[Row]]:
        """The rows of each of several harmless statements; the first error is raised."""
        bound = [(_bound(prepared, values, True), None) for prepared, values in calls]
        done = execute_concurrent(self._session, bound, window, True, execution_profile=level)
        return [list(rows) for _, rows in done]


class GreenletRequests:
    """Runs statements on the hub: the calling greenlet waits, the connection's reader wakes it."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def run(self, prepared: Any, values: Sequence[Any], level: str, harmless: bool) -> list[Row]:
        """All rows of one statement."""
        bound = _bound(prepared, values, harmless)
        rows: list[Row] = []
        paging_state = None
        while True:
            result = AsyncResult()
            _Request(self._session, bound, level, paging_state, result).send()
            page = result.get()
            rows += page.parsed_rows or ()
            paging_state = page.paging_state
            if not paging_state:
                return rows

    def run_all(self, calls: Sequence[tuple[Any, Sequence[Any]]], level: str, window: int) -> list[list[Row]]:
        """The rows of each of several harmless statements; the first error is raised."""
        room = BoundedSemaphore(window)
        failures: list[BaseException] = []

        def finished(result: AsyncResult) -> None:
            room.release()
            if result.exception is not None:
                failures.append(result.exception)

        results = []
        for prepared, values in calls:
            room.acquire()
            if failures:
                raise failures[0]
            result = AsyncResult()
            result.rawlink(finished)
            results.append(result)
            _Request(self._session, _bound(prepared, values, True), level, None, result).send()
        pages = [result.get() for result in results]
        return [
            list(page.parsed_rows or ()) if not page.paging_state else self.run(prepared, values, level, True)
            for page, (prepared, values) in zip(pages, calls, strict=True)
        ]


class _Request:
    """One page of one statement: sent to a node; if harmless, to one more when the first is late or fails."""

    __slots__ = ("_errors", "_harmless", "_hedge", "_last", "_message", "_plan", "_prepared", "_result", "_retried",
                 "_session", "_timeout", "_timer", "_under_way")  # fmt: skip

    def __init__(self, session: Any, bound: Any, level: str, paging_state: bytes | None, result: AsyncResult) -> None:
        profile = session.get_execution_profile(level)
        prepared = bound.prepared_statement
        self._session = session
        self._prepared = prepared
        self._harmless: bool = bound.is_idempotent
        # Read now, not on the way: the driver shuffles the list behind it for other statements as well, so that a node
        # that was asked already might come again.
        plan = profile.load_balancing_policy.make_query_plan(session.keyspace, bound)
        self._plan = iter(tuple(islice(plan, _CANDIDATES)))
        self._message = ExecuteMessage(
            prepared.query_id, bound.values, profile.consistency_level, profile.serial_consistency_level, FETCH_SIZE,
            paging_state, session.cluster.timestamp_generator(), skip_meta=bool(prepared.result_metadata),
        )  # fmt: skip
        self._result = result
        self._retried = False
        self._errors: dict[Any, BaseException] = {}
        self._last: BaseException | None = None
        self._under_way: list[tuple[Any, Any, int]] = []
        self._timeout: float = profile.request_timeout
        self._hedge: float = getattr(profile.speculative_execution_policy, "delay", 0) if self._harmless else 0
        self._timer: Any = None

    def send(self) -> None:
        """Hand it to the first node of the plan that takes it."""
        self._wake_after(self._hedge or self._timeout)
        self._next()

    # -- in a greenlet that may block

    def _next(self) -> None:
        """Send to the next node of the plan; without one, fail unless an answer is still to come."""
        for host in self._plan:
            pool = self._session._pools.get(host)
            if pool is not None and not pool.is_shutdown and self._hand_over(host, pool, self._message):
                return
        if not self._under_way:
            self._fail(self._last or NoHostAvailable("no node takes statements", self._errors))

    def _send_to(self, host: Any, pool: Any, message: Any) -> None:
        """Send to a node that has just answered, else to the next one."""
        if not self._result.ready() and not self._hand_over(host, pool, message):
            self._next()

    def _hand_over(self, host: Any, pool: Any, message: Any) -> bool:
        try:
            connection, stream = pool.borrow_connection(timeout=_BORROW)
        except (NoConnectionsAvailable, ConnectionException) as error:
            self._errors[host] = error
            return False
        under_way = (pool, connection, stream)
        self._under_way.append(under_way)
        handler = self._session.client_protocol_handler
        try:
            connection.send_msg(
                message, stream, partial(self._answered, host, under_way), encoder=handler.encode_message,
                decoder=handler.decode_message, result_metadata=self._prepared.result_metadata,
            )  # fmt: skip
        except Exception as error:
            self._under_way.remove(under_way)
            self._errors[host] = error
            pool.return_connection(connection)
            return False
        return True

    def _expire(self) -> None:
        """All the time is over."""
        if self._result.ready():
            return
        for pool, connection, stream in self._under_way:
            if connection._requests.pop(stream, None) is None:
                continue
            # The node may still answer on this stream, so it cannot be used for anything else until then.
            with connection.lock:
                connection.orphaned_request_ids.add(stream)
                if len(connection.orphaned_request_ids) >= connection.orphaned_threshold:
                    connection.orphaned_threshold_reached = True
            pool.return_connection(connection, stream_was_orphaned=True)
        self._under_way.clear()
        self._fail(OperationTimedOut(self._errors))

    # -- in a connection's reader, or in the hub: these never block

    def _answered(self, host: Any, under_way: tuple[Any, Any, int], response: Any) -> None:
        """A result, an error of the server, or the connection's end."""
        pool, connection, _ = under_way
        _give_back(pool, connection)
        if under_way in self._under_way:
            self._under_way.remove(under_way)
        if self._result.ready():
            return
        if isinstance(response, PreparedQueryNotFound):
            # The node has forgotten the statement, perhaps in a restart, and has not run it.
            gevent.spawn(self._send_to, host, pool, PrepareMessage(self._prepared.query_string))
        elif not isinstance(response, ResultMessage):
            self._failed(host, response)
        elif response.kind == RESULT_KIND_PREPARED:
            self._prepared.result_metadata = response.column_metadata
            gevent.spawn(self._send_to, host, pool, self._message)
        else:
            self._timer.close()
            self._result.set(response)

    def _failed(self, host: Any, response: Any) -> None:
        self._last = response.to_exception() if hasattr(response, "to_exception") else response
        self._errors[host] = self._last
        if self._harmless and not self._retried and isinstance(response, _PASSING):
            self._retried = True
            gevent.spawn(self._next)
        elif not self._under_way:
            self._fail(self._last)

    def _fail(self, error: BaseException) -> None:
        if not self._result.ready():
            self._timer.close()
            self._result.set_exception(error)

    def _wake_after(self, seconds: float) -> None:
        self._timer = gevent.get_hub().loop.timer(seconds)
        self._timer.start(self._late)

    def _late(self) -> None:
        self._timer.close()
        if not self._hedge:
            gevent.spawn(self._expire)
            return
        self._wake_after(self._timeout - self._hedge)
        self._hedge = 0
        if not self._retried:
            self._retried = True
            gevent.spawn(self._next)


def _give_back(pool: Any, connection: Any) -> None:
    """A stream is free again. The pool's own way makes the reader yield for each answer, to wake whoever waits for one
    of 32,768 streams; it is taken where there is more to do.
    """
    if connection.is_closed or connection.is_defunct or pool._trash:
        pool.return_connection(connection)
    else:
        connection.in_flight -= 1


def _bound(prepared: Any, values: Sequence[Any], harmless: bool) -> Any:
    bound = prepared.bind(values)
    bound.is_idempotent = harmless
    return bound
