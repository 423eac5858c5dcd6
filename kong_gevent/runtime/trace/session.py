"""One client of a live trace: its WebSocket on this worker, the messages of all workers on it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from time import monotonic
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import gevent
import orjson
from gevent import get_hub
from gevent.event import Event
from geventwebsocket.exceptions import WebSocketError
from geventwebsocket.websocket import Header, WebSocket

from kong_gevent.errors import ConnectionClosed, DeadlineExceeded
from kong_gevent.runtime.shared import PID, SERVING

if TYPE_CHECKING:
    from kong_gevent.proxy.stream import Stream
    from kong_gevent.runtime.node import Node

log = logging.getLogger("kong_gevent.trace")
TICK = 0.5
BEAT = 2.0
PING = 20.0
SILENCE = 60.0
"""Seconds after which a client that answers no ping, or takes no message, has gone."""
PATIENCE = 5.0
"""Seconds that a trace waits at its start for the workers to take it over."""
LONGEST_FRAME = 4096
NORMAL, GOING_AWAY, TRY_LATER = 1000, 1001, 1013


class _Wire:
    """A connection's stream as the file that the frames are read from and written to; `early` has come already."""

    def __init__(self, stream: Stream, early: bytes) -> None:
        self._stream = stream
        self._data = early
        stream.read_timeout = stream.write_timeout = SILENCE

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes, or fewer at the end."""
        if size > LONGEST_FRAME:
            raise WebSocketError("the frame is too long")
        while len(self._data) < size:
            more = self._stream.read()
            if not more:
                break
            self._data += more
        data, self._data = self._data[:size], self._data[size:]
        return data

    def write(self, data: bytes) -> None:
        """Send bytes, waiting while the client does not take them."""
        self._stream.write(bytes(data))


class _Socket(WebSocket):
    """The library's frames; it would leave the status out of a closing one (RFC 6455, section 5.5.1)."""

    closed: bool

    def close(self, code: int = NORMAL, message: bytes | str = b"") -> None:
        """Say that this is the end, once."""
        if self.closed:
            return
        self.closed = True
        reason = message.encode() if isinstance(message, str) else message
        frame = Header.encode_header(True, self.OPCODE_CLOSE, b"", len(reason) + 2, 0)
        try:
            self.raw_write(frame + code.to_bytes(2, "big") + reason)
        except (ConnectionClosed, DeadlineExceeded, OSError):
            pass  # the other side has gone already


class TraceSession:
    """Serves one trace until its socket closes, its limit is reached, or the worker leaves."""

    def __init__(self, node: Node, filters: dict[str, Any]) -> None:
        self._node = node
        self._limit: int = filters.get("limit") or 0
        self._spec = orjson.dumps({name: value for name, value in filters.items() if name != "limit"})
        self._ended = False
        self._wake = Event()

    def __call__(self, stream: Stream, early: bytes) -> None:
        """Serve it on an upgraded connection."""
        handler = SimpleNamespace(logger=log, server=SimpleNamespace(application=None))
        socket = _Socket(None, _Wire(stream, early), handler)
        board = self._node.shared.traces
        opened = board.open(self._spec)
        try:
            if opened is None:
                socket.close(TRY_LATER, "there are too many traces")
                return
            self._node.shared.ring()
            self._node.tracing.refresh()
            helpers = [gevent.spawn(self._listen, socket), gevent.spawn(self._beat, board.beat, opened[0])]
            try:
                self._pass_on(socket, *opened)
            finally:
                self._ended = True
                gevent.killall(helpers, block=False)
                board.close(*opened)
                self._node.shared.ring()
                self._node.tracing.refresh()
            if not socket.closed:
                socket.close(GOING_AWAY if self._node.gateway.draining else NORMAL)
        except (WebSocketError, ConnectionClosed, DeadlineExceeded, OSError) as error:
            log.info("a trace ended: %s", error)
        finally:
            stream.close()

    def _beat(self, beat: Callable[[int], None], slot: int) -> None:
        while True:
            beat(slot)
            gevent.sleep(BEAT)

    def _listen(self, socket: WebSocket) -> None:
        """Read what the client sends until it closes; nothing of it means anything."""
        try:
            while not self._ended and not socket.closed and socket.receive() is not None:
                pass
        except (WebSocketError, ConnectionClosed, DeadlineExceeded, OSError):
            pass
        self._ended = True
        self._wake.set()

    def _pass_on(self, socket: WebSocket, slot: int, serial: int) -> None:
        board = self._node.shared.traces
        self._await_workers()
        self._send(socket, {"type": "started", "node_id": self._node.node_id, "worker": os.getpid(),
                            "workers": self._node.shared.workers()})  # fmt: skip
        watcher = get_hub().loop.io(board.descriptor(slot), 1)
        try:
            self._loop(socket, slot, serial, watcher)
        finally:
            watcher.stop()
            watcher.close()

    def _loop(self, socket: WebSocket, slot: int, serial: int, watcher: Any) -> None:
        """Messages as they come, what was dropped between them, and a ping now and then."""
        board = self._node.shared.traces
        passed = 0
        pinged = monotonic()
        while not self._ended and not self._node.gateway.draining:
            message = board.receive(slot, serial)
            dropped = board.take_dropped(slot)
            if dropped:
                self._send(socket, {"type": "dropped", "count": dropped})
            if message is not None:
                socket.send(message.decode())
                passed += 1
                if passed == self._limit:
                    return
                continue
            if monotonic() - pinged > PING:
                pinged = monotonic()
                socket.send_frame("", WebSocket.OPCODE_PING)
            self._wait(watcher)

    def _wait(self, watcher: Any) -> None:
        """Until there is a message, the client has closed, or some time has passed."""
        watcher.start(self._wake.set)
        self._wake.wait(TICK)
        watcher.stop()
        self._wake.clear()

    def _await_workers(self) -> None:
        """Wait until every worker that serves has taken the trace over, so that none of its requests is missed."""
        board, epoch = self._node.shared.traces, self._node.shared.traces.epoch
        until = monotonic() + PATIENCE
        while monotonic() < until:
            lanes = self._node.shared.lanes()
            if all(board.has_seen(lane.index, epoch) for lane in lanes if lane[PID] > 0 and lane[SERVING]):
                return
            gevent.sleep(0.01)

    @staticmethod
    def _send(socket: WebSocket, message: dict[str, Any]) -> None:
        socket.send(orjson.dumps(message).decode())
