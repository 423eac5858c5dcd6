"""Requests of a threaded WSGI server, served in the one thread that runs the gateway's event loop.

Pools, locks and timers belong to the loop of one thread. A thread of a server that knows no greenlets hands its request
over to that thread and then does what is asked of it there (read the body, start the answer, write), one thing at a
time, until the answer is complete.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import gevent
from gevent import get_hub, getcurrent
from gevent.event import Event

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _Order:
    """A call that the server's thread makes for a greenlet of the gateway's thread, and its outcome."""

    __slots__ = ("arguments", "error", "function", "result", "waiter")

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...], waiter: Any) -> None:
        self.function = function
        self.arguments = arguments
        self.waiter = waiter
        self.result: Any = None
        self.error: BaseException | None = None

    def carry_out(self) -> None:
        """In the server's thread: call, and keep what comes of it."""
        try:
            self.result = self.function(*self.arguments)
        except BaseException as error:  # it is raised where the call was wanted
            self.error = error


class _Job:
    """One request: what the server gave, seen from the gateway's thread. It is also the request's `wsgi.input`."""

    def __init__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> None:
        self.orders: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        self.error: BaseException | None = None
        self.environ = {**environ, "wsgi.input": self}
        self._read = environ["wsgi.input"].read
        self._start_response = start_response

    def _ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        order = _Order(function, arguments, getcurrent())
        self.orders.put(order)
        try:
            get_hub().switch()
        finally:
            order.waiter = None
        if order.error is not None:
            raise order.error
        return order.result

    def read(self, size: int) -> bytes:
        """As `wsgi.input.read`."""
        data: bytes = self._ask(self._read, size)
        return data

    def start_response(self, status: str, headers: list[tuple[str, str]]) -> Callable[[bytes], Any]:
        """As the server's `start_response`."""
        write = self._ask(self._start_response, status, headers)
        return lambda data: self._ask(write, data)


class GatewayThread:
    """Runs the WSGI callable that `build` makes in a thread of its own; call it from any other thread.

    The first call returns when that callable exists. Raises what `build` raises, then and at every later call.
    """

    def __init__(self, build: Callable[[], Application]) -> None:
        self._build = build
        self._posted: deque[_Job | _Order] = deque()
        self._wake: Any = None
        self._application: Application | None = None
        self._failure: BaseException | None = None
        ready = threading.Event()
        threading.Thread(target=self._run, args=(ready,), name="kong-gevent", daemon=True).start()
        ready.wait()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """The WSGI interface."""
        if self._failure is not None:
            raise self._failure
        job = _Job(environ, start_response)
        self._post(job)
        while (order := job.orders.get()) is not None:
            order.carry_out()
            self._post(order)
        if job.error is not None:
            raise job.error
        return []

    def _post(self, item: _Job | _Order) -> None:
        self._posted.append(item)
        self._wake.send()

    def _run(self, ready: threading.Event) -> None:
        """The gateway's thread."""
        self._wake = get_hub().loop.async_()
        self._wake.start(self._take)
        try:
            self._application = self._build()
        except BaseException as error:  # it is raised in the threads that ask
            self._failure = error
            return
        finally:
            ready.set()
        Event().wait()

    def _take(self) -> None:
        """In the loop: begin new requests, go on with those whose orders have been carried out."""
        while self._posted:
            item = self._posted.popleft()
            if isinstance(item, _Job):
                gevent.spawn(self._serve, item)
            elif item.waiter is not None:
                item.waiter.switch()

    def _serve(self, job: _Job) -> None:
        try:
            assert self._application is not None
            self._application(job.environ, job.start_response)
        except BaseException as error:  # it is raised in the server's thread
            job.error = error
        finally:
            job.orders.put(None)
