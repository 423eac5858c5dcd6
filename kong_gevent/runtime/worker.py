"""The gunicorn worker: gunicorn's arbiter, signals and heartbeat around our own accept and connection loop."""

from __future__ import annotations

import _socket
import errno
import logging
import signal
import socket
from collections.abc import Iterable
from time import monotonic
from typing import Any

import gevent
from gevent import get_hub, getcurrent
from greenlet import greenlet
from gunicorn.workers.ggevent import GeventWorker

from kong_gevent.proxy.stream import Stream
from kong_gevent.proxy.tls import ServerTlsStream
from kong_gevent.runtime.announced import AnnouncedConnection, AnnouncedTlsConnection
from kong_gevent.runtime.clients import ClientLimits
from kong_gevent.runtime.connection import Connection
from kong_gevent.runtime.listener import Listener
from kong_gevent.runtime.secure import TlsConnection
from kong_gevent.runtime.shared import ACCEPTED, ACTIVE, REQUESTS, SERVING, SLOW_HEADS, WAITING, WRITING

log = logging.getLogger("kong_gevent.worker")
HEARTBEAT = 0.1
COUNTED = 5
"""Connections are counted at one heartbeat in so many: there may be tens of thousands."""
MAX_FREE = 1000
ACCEPT_BATCH = 64
UNEVEN = 8
"""Connections that a worker may have more than another before it lets that one accept first."""
YIELD_PAUSE = 0.003
"""Seconds that it leaves the others to do so."""
CUT = ("slow_heads", "slow_bodies", "slow_readers", "refused", "bad_preambles", "slow_handshakes")
"""Numbers of `Gateway.cut`, in the order of their words in the lane."""
CUT_SECONDS = 1.0
"""Seconds that requests get to notice that they are cut off."""
FULL_PAUSE = 0.05
"""Seconds without accepting when the process has run out of file descriptors."""

KINDS: dict[tuple[bool, bool], type[Connection]] = {
    (False, False): Connection,
    (True, False): TlsConnection,
    (False, True): AnnouncedConnection,
    (True, True): AnnouncedTlsConnection,
}
"""The connections of a listener: with TLS, with PROXY protocol headers."""
NO_ROOM = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 34\r\n"
    b'Connection: close\r\n\r\n{"message":"Too many connections"}'
)


class GatewayWorker(GeventWorker):
    """Serves all listeners of a node; which application a connection meets depends on the address it came to."""

    gateway: Any
    node: Any

    def run(self) -> None:
        """Build the gateway, serve until told to stop, then leave without losing a request."""
        from kong_gevent.runtime.boot import boot_worker
        from kong_gevent.runtime.master import master

        self._hub = get_hub()
        self._free: list[greenlet] = []
        self._connections: set[Connection] = set()
        self._serial = 0
        self._watchers: list[Any] = []
        self._single = self.cfg.workers == 1
        self._leaving_at: float | None = None
        self._yielded = False
        self._beats = 0
        self.node = boot_worker(self)
        self.gateway = self.node.gateway
        self.lane = self.node.lane
        self._counts = self.lane.words()
        self._siblings = [lane for lane in self.node.shared.lanes() if lane.index != self.lane.index]
        trusts = self.gateway.forwarding.trusts
        limits = ClientLimits(self.gateway.settings, master().addresses, self.lane, self._siblings, trusts)
        self._limits: ClientLimits | None = limits if limits.active else None
        self.gateway.admits = self._admits
        listeners = [(sock, self.node.listener_of(sock)) for sock in self.sockets]
        while self.alive and not self.node.loaded:
            # Somebody has to tell that the node is not ready. One that is says so itself, by its other workers.
            if not self._watchers and not self.node.others_serve():
                self._listen_all(listener for listener in listeners if listener[1].role != "proxy")
            self._beat()
        self._listen_all(listeners)
        self.lane[SERVING] = 1
        while self.alive:
            self._beat()
        self._leave()

    def _beat(self) -> None:
        """Tell the arbiter that this worker lives, and the node what it does."""
        self.notify()
        counts = self._counts
        counts[REQUESTS] = self.gateway.handled
        for word, name in enumerate(CUT, SLOW_HEADS):
            counts[word] = getattr(self.gateway.cut, name)
        self._beats += 1
        if not self._beats % COUNTED:
            idle = sum(1 for connection in self._connections if connection.stream.idle is not None)
            counts[ACTIVE] = len(self._connections)
            counts[WAITING] = idle
            counts[WRITING] = len(self._connections) - idle
        gevent.sleep(HEARTBEAT)

    # --- accepting -------------------------------------------------------------------------------------------------

    def _listen_all(self, listeners: Iterable[tuple[Any, Listener]]) -> None:
        known = [listener for _, _, listener in self._watchers]
        for sock, listener in listeners:
            if listener not in known:
                self._listen(sock, listener)

    def _listen(self, sock: Any, listener: Listener) -> None:
        raw = sock._sock if hasattr(sock, "_sock") else sock
        raw.setblocking(False)
        watcher = self._hub.loop.io(raw.fileno(), 1)
        watcher.start(self._accept, raw, listener, watcher)
        self._watchers.append((watcher, raw, listener))

    def _accept(self, raw: Any, listener: Listener, watcher: Any) -> None:
        """Take new connections: many at a time when alone, one at a time when other workers want some too."""
        if not self._single and self.alive and self._has_more_than_its_share():
            self._pause_accepting(watcher, raw, listener, YIELD_PAUSE)
            return
        for _ in range(ACCEPT_BATCH if self._single or not self.alive else 1):
            try:
                fd, address = raw._accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    log.error("cannot accept connections: %s; raise the limit of open files", error.strerror)
                    self._pause_accepting(watcher, raw, listener, FULL_PAUSE)
                    return
                continue  # the client is gone already
            self._adopt(fd, address, raw, listener)

    def _has_more_than_its_share(self) -> bool:
        """Whether another worker has clearly fewer connections; every second time in a row the answer is no.

        On a quiet node the same worker would always be first, and one that keeps connections open would get all.
        """
        if self._yielded:
            self._yielded = False
            return False
        mine = len(self._connections)
        if mine <= UNEVEN:
            return False
        least = min((lane[ACTIVE] for lane in self._siblings if lane[SERVING]), default=mine)
        self._yielded = mine > least + UNEVEN
        return self._yielded

    def _pause_accepting(self, watcher: Any, raw: Any, listener: Listener, seconds: float) -> None:
        watcher.stop()
        pause = self._hub.loop.timer(seconds)
        pause.start(self._resume_accepting, watcher, raw, listener, pause)

    def _resume_accepting(self, watcher: Any, raw: Any, listener: Listener, pause: Any) -> None:
        pause.close()
        if watcher.fd >= 0 and any(watcher is known for known, _, _ in self._watchers):
            watcher.start(self._accept, raw, listener, watcher)

    def _adopt(self, fd: int, address: Any, raw: Any, listener: Listener) -> None:
        sock = _socket.socket(raw.family, raw.type, raw.proto, fd)
        sock.setblocking(False)
        if raw.family == socket.AF_UNIX:
            peer = ("", 0)
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer = (address[0], address[1])
        limits = self._limits
        if limits is not None:
            why = limits.full(len(self._connections)) or limits.enter(self._serial + 1, peer[0])
            if why:
                self._turn_away(sock, listener, peer[0], why)
                sock.close()
                return
        self._serial += 1
        context = listener.context
        streams = self.gateway.streams
        stream = Stream(sock, streams) if context is None else ServerTlsStream(sock, streams, context)
        connection = KINDS[context is not None, listener.announced](stream, listener, peer, self._serial)
        self._connections.add(connection)
        stream.owner = connection
        stream.deadline = monotonic() + self.gateway.header_timeout
        stream.idle = self._wake
        self._counts[ACCEPTED] += 1
        self._counts[ACTIVE] = len(self._connections)

    def _admits(self, connection: Connection) -> bool:
        """See `Gateway.admits`."""
        limits = self._limits
        why = limits.enter(connection.serial, connection.client_ip) if limits is not None else ""
        if why:
            self._turn_away(connection.stream.sock, connection.listener, connection.client_ip, why)
        return not why

    def _turn_away(self, sock: Any, listener: Listener, address: str, why: str) -> None:
        """Say that there is no room, as far as that takes no waiting; the socket is to be closed then."""
        self.gateway.cut.refused += 1
        log.info("client %s: 503 refused: %s", address, why)
        try:
            if listener.context is None:
                sock.send(NO_ROOM)
            sock.shutdown(socket.SHUT_WR)
            sock.recv(65536)  # what is left unread makes the kernel reset the connection, and the answer may be lost
        except OSError:
            pass  # nothing to read yet, or it has gone already

    # --- serving ---------------------------------------------------------------------------------------------------

    def _wake(self, stream: Stream) -> None:
        """An idle connection has something to say: lend it a greenlet. Called in the hub."""
        connection = stream.owner
        if stream.fault is not None:
            self._forget(connection)
            return
        free = self._free
        if not free:
            # What a greenlet begins with it holds until its end: it begins with nothing.
            greenlet(self._serve_connections, self._hub).switch()
        free.pop().switch(connection)

    def _serve_connections(self) -> None:
        """The body of a pooled greenlet: wait for a connection, serve it until it is idle, then wait for the next."""
        current = getcurrent()
        free = self._free
        wake = self._wake
        streams = self.gateway.streams
        keepalive_timeout = self.gateway.keepalive_timeout
        hub_switch = greenlet.switch.__get__(self._hub)  # gevent's own looks whether the hub would wait for itself
        while len(free) < MAX_FREE:
            free.append(current)
            connection = hub_switch()
            try:
                stays = connection.run()
            except Exception:
                log.exception("a connection failed")
                stays = False
            except BaseException:
                self._forget(connection)
                raise
            stream = connection.stream
            if stays and stream.fault is None and (self._leaving_at is None or monotonic() < self._leaving_at):
                stream.deadline = streams.tick + keepalive_timeout
                stream.idle = wake
                if stream.pending:
                    stream.resume()
            else:
                self._forget(connection)
            del stream, connection

    def _forget(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if self._limits is not None:
            self._limits.leave(connection.serial)
        connection.stream.owner = None
        connection.stream.close()

    # --- leaving ---------------------------------------------------------------------------------------------------

    def _leave(self) -> None:
        """Drain: answer on, but close each connection after its answer; then stop listening; then wait for the rest."""
        settings = self.gateway.settings
        began = monotonic()
        self.lane[SERVING] = 0
        self.gateway.draining = True
        self._leaving_at = began + settings.drain_grace
        log.info("worker leaves: %d connections", len(self._connections))
        handed_over = self.node.others_serve
        while monotonic() < self._leaving_at:
            self._beat()
            if handed_over():
                break
        for watcher, _, _ in self._watchers:
            watcher.stop()
            watcher.close()
        watchers, self._watchers = self._watchers, []
        for _, raw, listener in watchers:
            self._take_queued(raw, listener)
        for sock in self.sockets:
            sock.close()
        last_chance = monotonic() + settings.drain_grace
        until = began + settings.drain_timeout
        while self._connections and monotonic() < until:
            if monotonic() > min(last_chance, until):
                self._close_idle()
            self._beat()
        if self._connections:
            log.warning(
                "worker leaves with %d connections still busy after %s s",
                len(self._connections),
                settings.drain_timeout,
            )
            self._cut_off()
        self.node.shut_down()

    def _cut_off(self) -> None:
        """End what is still under way, so that it is logged like any other request that breaks off."""
        self._close_idle()
        for connection in list(self._connections):
            connection.cut_off()
        until = monotonic() + CUT_SECONDS
        while self._connections and monotonic() < until:
            self._beat()

    def _take_queued(self, raw: Any, listener: Listener) -> None:
        """Serve what is in the accept queue; other workers may still listen there, which does no harm."""
        while True:
            try:
                fd, address = raw._accept()
            except OSError:
                return
            self._adopt(fd, address, raw, listener)

    def _close_idle(self) -> None:
        for connection in list(self._connections):
            if connection.stream.idle is not None:
                self._forget(connection)

    # --- signals ---------------------------------------------------------------------------------------------------

    def init_signals(self) -> None:
        """As gunicorn's workers, except that SIGQUIT lets requests finish, as SIGTERM does."""
        super().init_signals()
        signal.signal(signal.SIGQUIT, self.handle_exit)

    def handle_usr1(self, sig: int, frame: Any) -> None:
        """Reopen the logs."""
        gevent.spawn(self._reopen_logs)

    def _reopen_logs(self) -> None:
        self.log.reopen_files()
        self.node.reopen_logs()

    def handle_quit(self, sig: int, frame: Any) -> None:
        """Leave at once."""
        self.alive = False
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        gevent.spawn_later(0, self._exit_now)

    def _exit_now(self) -> None:
        import os

        self.node.shut_down()
        os._exit(0)
