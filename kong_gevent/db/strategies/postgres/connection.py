"""Connections to PostgreSQL that let other greenlets run while they wait, and that do not wait for ever."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Any, TypeVar

import psycopg
from gevent import monkey
from gevent.socket import wait_read, wait_readwrite
from psycopg.abc import PQGen
from psycopg.waiting import Ready, Wait

from kong_gevent.db.strategies.postgres.faults import Unanswered
from kong_gevent.db.strategies.postgres.options import PostgresOptions

T = TypeVar("T")
MARGIN = 2.0
"""Seconds that the server gets to say itself that a statement took too long."""
_IDLE_IN_TRANSACTION = 10.0
"""Seconds after which the server ends the transaction of a process that stands still: others wait for its lock."""


class GatewayConnection(psycopg.Connection[tuple[Any, ...]]):
    """Waits with the hub, at most `patience` seconds each time; then the connection is closed, its state being unknown.

    The same happens when a greenlet is killed, or times out, while it waits.
    """

    patience = 30.0

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """See `psycopg.Connection.wait`."""
        limit = self.patience if timeout is None else timeout
        if not monkey.is_module_patched("select"):
            return self._block(gen, interval, limit)
        try:
            state = next(gen)
            deadline = monotonic() + limit
            while True:
                ready = self._sleep_until(state, deadline)
                state = gen.send(ready)
        except StopIteration as done:
            result: T = done.value
            return result

    def _sleep_until(self, state: Wait, deadline: float) -> Ready:
        try:
            left = max(0.001, deadline - monotonic())
            if state == Wait.R:
                wait_read(self.pgconn.socket, left, Unanswered("no answer in time"))
                return Ready.R
            wait_readwrite(self.pgconn.socket, left, Unanswered("no answer in time"))
            return Ready.RW
        except BaseException:
            self.pgconn.finish()
            raise

    def _block(self, gen: PQGen[T], interval: float, limit: float) -> T:
        try:
            return super().wait(gen, interval, limit)
        except psycopg.errors._WaitTimeout:
            self.pgconn.finish()
            raise Unanswered("no answer in time") from None


def run_script(connection: GatewayConnection, parts: Sequence[tuple[str, Sequence[Any]]]) -> list[list[Any]]:
    """Run statements (with `?`) and their values in one message, so in one round trip; the rows that each returned.

    The server begins when it has all of it, and a pause behind it counts as idle time of the transaction. (Behind a
    pipeline it does not: a process that stands still would hold its locks for ever.)
    """
    text = "; ".join(statement for statement, _ in parts).replace("?", "%s")
    cursor = psycopg.ClientCursor(connection)
    cursor.execute(text.encode(), [value for _, values in parts for value in values] or None)
    found = []
    for _ in parts:
        found.append(cursor.fetchall() if cursor.description else [])
        cursor.nextset()
    return found


def configure(options: PostgresOptions, connection: GatewayConnection) -> None:
    """Settings of a new session, in one round trip. Raises what psycopg raises."""
    connection.autocommit = True
    connection.patience = options.timeout + MARGIN
    milliseconds = round(options.timeout * 1000)
    lines = [
        f"SET statement_timeout = {milliseconds}",
        f"SET idle_in_transaction_session_timeout = {round(_IDLE_IN_TRANSACTION * 1000)}",
        # The server lets go of what a machine that vanished held.
        "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3",
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
    ]
    if options.schema:
        lines.append(f"SET search_path = {quoted(options.schema)}")
    connection.execute("; ".join(lines).encode())


def quoted(name: str) -> str:
    """A name as it is written in SQL."""
    return '"' + name.replace('"', '""') + '"'
