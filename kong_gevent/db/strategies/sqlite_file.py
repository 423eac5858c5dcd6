"""Connections to one SQLite file: opened per process and thread, watched, retried when busy, errors in our words."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from gevent import monkey
from gevent.lock import BoundedSemaphore

from kong_gevent.errors import DatabaseError, StoreUnavailable
from kong_gevent.offload import offload

T = TypeVar("T")
BUSY_LIMIT = 10.0
"""Seconds for which a writer waits for another process before the store counts as unavailable."""
WRITERS = 3
"""Writers that may take a thread at a time: those that wait for another process must not keep readers waiting."""

_PRIMARY = 0xFF  # the extended error code's part that tells the kind
_PAUSES = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02)

# This module runs in native threads of the pool, where the patched primitives would start a hub of their own.
_sleep = monkey.get_original("time", "sleep")
_Local = monkey.get_original("threading", "local")
_allocate_lock = monkey.get_original("_thread", "allocate_lock")


class _Thread:
    """The connection of one thread. `busy` is held while it works, so that `close` leaves it alone meanwhile."""

    def __init__(self) -> None:
        self.busy = _allocate_lock()
        self.connection: sqlite3.Connection | None = None
        self.identity: tuple[int, int] | None = None

    def drop(self) -> None:
        """Close the connection; an open transaction is rolled back."""
        connection, self.connection, self.identity = self.connection, None, None
        if connection is not None:
            connection.close()


class _Process:
    """What must not be shared with another process: connections of its threads, and the lock of its writers."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.local = _Local()
        self.threads: list[_Thread] = []
        self.writers = _allocate_lock()

    def turns(self) -> BoundedSemaphore:
        """Turns of writers, among the greenlets of the calling thread."""
        mine: BoundedSemaphore | None = getattr(self.local, "turns", None)
        if mine is None:
            mine = self.local.turns = BoundedSemaphore(WRITERS)
        return mine

    def thread(self) -> _Thread:
        """The calling thread's entry."""
        mine: _Thread | None = getattr(self.local, "mine", None)
        if mine is None:
            mine = self.local.mine = _Thread()
            self.threads.append(mine)
        return mine


class SqliteFile:
    """Runs functions on a connection to the file, in the thread pool.

    The file is never created here but by `create`: a file that vanished or was replaced is noticed, so that nothing is
    written where nobody will look for it.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._process = _Process()
        self._abandoned: list[_Process] = []

    def call(self, function: Callable[..., T], *args: Any, write: bool = False) -> T:
        """Run `function(connection, *args)` off the hub; with `write`, in a transaction that commits or vanishes."""
        if not write:
            return self._call(function, args, write)
        turns = self._mine().turns()
        if not turns.acquire(timeout=BUSY_LIMIT):
            raise StoreUnavailable(f"the store {self.path} is busy")
        try:
            return self._call(function, args, write)
        finally:
            turns.release()

    def _call(self, function: Callable[..., T], args: tuple[Any, ...], write: bool) -> T:
        result, error = offload(self._outcome, function, args, write)
        if error is not None:
            raise error
        return cast("T", result)

    def create(self) -> None:
        """Make an empty file (mode 0600) and its folder, unless they are there."""
        try:
            Path(self.path).parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, stat.S_IRUSR | stat.S_IWUSR))
        except OSError as error:
            raise StoreUnavailable(f"cannot create the store {self.path}: {error.strerror}") from error

    def exists(self) -> bool:
        """Whether there is anything at the path."""
        return os.path.lexists(self.path)

    def close(self) -> None:
        """Close the connections of this process that are idle; the next call opens again. Call it before forking."""
        for thread in self._mine().threads:
            if thread.busy.acquire(blocking=False):
                try:
                    thread.drop()
                finally:
                    thread.busy.release()

    def _mine(self) -> _Process:
        if self._process.pid != os.getpid():
            # Forked: a connection of the parent must neither be used nor closed here, so it is kept for good.
            self._abandoned.append(self._process)
            self._process = _Process()
        return self._process

    def _outcome(
        self, function: Callable[..., T], args: tuple[Any, ...], write: bool
    ) -> tuple[T | None, BaseException | None]:
        """Result and exception: the pool would print an exception that passes through it."""
        try:
            return self._run(function, args, write), None
        except Exception as error:
            return None, error

    def _run(self, function: Callable[..., T], args: tuple[Any, ...], write: bool) -> T:
        process = self._mine()
        until = time.monotonic() + BUSY_LIMIT
        if write and not process.writers.acquire(timeout=BUSY_LIMIT):
            raise StoreUnavailable(f"the store {self.path} is busy")
        try:
            attempt = 0
            while True:
                try:
                    return self._once(process, function, args, write)
                except sqlite3.Error as error:
                    if not _is_busy(error) or time.monotonic() > until:
                        raise self._translated(error) from error
                _sleep(_PAUSES[min(attempt, len(_PAUSES) - 1)])
                attempt += 1
        finally:
            if write:
                process.writers.release()

    def _once(self, process: _Process, function: Callable[..., T], args: tuple[Any, ...], write: bool) -> T:
        thread = process.thread()
        with thread.busy:
            connection = self._connection(thread)
            if not write:
                return function(connection, *args)
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = function(connection, *args)
                connection.execute("COMMIT")
            except BaseException:
                self._rollback(thread, connection)
                raise
            return result

    def _rollback(self, thread: _Thread, connection: sqlite3.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            thread.drop()  # its state is unknown; closing rolls back

    def _connection(self, thread: _Thread) -> sqlite3.Connection:
        try:
            now = os.stat(self.path)
        except OSError as error:
            raise StoreUnavailable(f"cannot open the store {self.path}: {error.strerror}") from error
        identity = (now.st_dev, now.st_ino)
        if thread.connection is None or thread.identity != identity:
            thread.drop()
            thread.connection = self._open()
            thread.identity = identity
        return thread.connection

    def _open(self) -> sqlite3.Connection:
        address = Path(self.path).absolute().as_uri() + "?mode=rw"
        connection = sqlite3.connect(
            address, uri=True, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA journal_size_limit=67108864")
        return connection

    def _translated(self, error: sqlite3.Error) -> DatabaseError:
        code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY
        causes = {
            sqlite3.SQLITE_BUSY: "is locked by another process",
            sqlite3.SQLITE_LOCKED: "is locked by another process",
            sqlite3.SQLITE_FULL: "cannot grow: its disk is full",
            sqlite3.SQLITE_READONLY: "is read-only",
            sqlite3.SQLITE_CANTOPEN: "cannot be opened",
            sqlite3.SQLITE_IOERR: "cannot be read or written (input/output error)",
            sqlite3.SQLITE_CORRUPT: "is damaged",
            sqlite3.SQLITE_NOTADB: "is not an SQLite database",
            sqlite3.SQLITE_PERM: "may not be accessed",
            sqlite3.SQLITE_AUTH: "may not be accessed",
        }
        if code in causes:
            return StoreUnavailable(f"the store {self.path} {causes[code]}: {error}")
        if "no such table" in str(error):
            return StoreUnavailable(f"the store {self.path} needs bootstrapping: run 'migrations bootstrap'")
        return DatabaseError(f"the store {self.path} refused a statement: {error}")


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
