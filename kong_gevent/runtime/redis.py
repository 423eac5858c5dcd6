"""Redis for plugins: one connection per server and worker, on which concurrent requests share each write and read.

redis-py opens the connection (authentication, database number); then commands are packed and replies read by hiredis
on a stream of ours. A writing greenlet sends all that is waiting once per turn of the loop, a reading one hands the
replies out. When the server fails, everybody who waits is told at once; from then on calls fail without waiting,
while the writing greenlet alone tries to connect again.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from time import monotonic
from typing import Any

import gevent
import hiredis
from gevent import get_hub, getcurrent
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection
from redis.retry import Retry

from kong_gevent.errors import ConnectionClosed, DeadlineExceeded, GatewayError
from kong_gevent.pdk.kit import RedisFailed
from kong_gevent.proxy.connecting import connect
from kong_gevent.proxy.deadlines import NEVER, Streams
from kong_gevent.proxy.stream import Stream
from kong_gevent.proxy.tls import TlsStream

log = logging.getLogger("kong_gevent.redis")
RETRY = 0.5
"""Seconds between attempts to reach a server that failed."""
Word = str | bytes | int | float
"""A part of a command."""
NOTHING = object()
"""What the parser says when a reply is not complete."""


@dataclass(frozen=True)
class Options:
    """A plugin's `redis` record; `timeout` in ms, for a whole call."""

    host: str = "127.0.0.1"
    port: int = 6379
    timeout: int = 2000
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    database: int = 0
    ssl: bool = False
    ssl_verify: bool = False
    server_name: str | None = None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Options:
        """From a record that may lack fields, or hold None in them."""
        given = {known.name: record.get(known.name) for known in fields(cls)}
        return cls(**{name: value for name, value in given.items() if value is not None})


@dataclass(frozen=True)
class Outside:
    """How to get there: addresses of a host, TLS parameters (verified or not), the worker's streams."""

    resolve: Callable[[str], Sequence[tuple[int, str]]]
    tls: Callable[[bool], ssl.SSLContext]
    streams: Streams


def pack(commands: Iterable[Sequence[Word]]) -> bytes:
    """Commands as Redis takes them."""
    return b"".join([hiredis.pack_command(tuple(command)) for command in commands])  # type: ignore[arg-type]


class Refused(Exception):
    """An error reply."""


class _Socket:
    """As much of a socket as redis-py needs while it opens a connection, on a stream."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    def sendall(self, data: bytes) -> None:
        self.stream.write(data)

    def recv_into(self, buffer: bytearray) -> int:
        data = self.stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def settimeout(self, seconds: float | None) -> None:
        """The stream has its own."""

    def shutdown(self, how: int) -> None:
        """Closing is enough."""

    def close(self) -> None:
        self.stream.close()


class _Opening(AbstractConnection):
    """redis-py's connection, up to the point where commands can be sent."""

    def __init__(self, options: Options, outside: Outside) -> None:
        self.port = options.port
        self._options, self._outside = options, outside
        self._stream: Stream | None = None
        password = options.password or None
        super().__init__(
            db=options.database,
            username=options.username if password else None,
            password=password,
            protocol=2,
            driver_info=None,
            retry=Retry(NoBackoff(), 0),
        )

    @property
    def host(self) -> str:
        return self._options.host

    @host.setter
    def host(self, _value: str) -> None:
        """Servers do not move a connection of this protocol version elsewhere."""

    def repr_pieces(self) -> list[tuple[str, Any]]:
        return [("host", self.host), ("port", self.port)]

    def _host_error(self) -> str:
        return f"{self.host}:{self.port}"

    def _connect(self) -> _Socket:
        options, timeout = self._options, self._options.timeout / 1000
        failure: Exception = OSError(f"{options.host} has no address")
        for family, ip in self._outside.resolve(options.host):
            try:
                sock = connect(family, (ip, options.port), timeout)
            except (OSError, DeadlineExceeded) as error:
                failure = error
                continue
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._stream = self._secure(sock, timeout)
            return _Socket(self._stream)
        raise failure

    def _secure(self, sock: Any, timeout: float) -> Stream:
        options = self._options
        if not options.ssl:
            stream = Stream(sock, self._outside.streams)
            stream.read_timeout = stream.write_timeout = timeout
            return stream
        context = self._outside.tls(options.ssl_verify)
        secured = TlsStream(sock, self._outside.streams, context, options.server_name or options.host)
        secured.read_timeout = secured.write_timeout = timeout
        try:
            secured.handshake()
        except BaseException:
            secured.close()
            raise
        return secured

    def open(self) -> Stream:
        """The stream of a connection that is ready. Raises what redis-py and streams raise."""
        self.connect()  # type: ignore[no-untyped-call]
        if self._stream is None:
            raise ConnectionClosed("the connection was not made")
        return self._stream

    def end(self) -> None:
        """Close it."""
        self.disconnect()  # type: ignore[no-untyped-call]


class _Call:
    """The commands of one caller: who waits (None: nobody), replies so far, and how many are outstanding."""

    __slots__ = ("error", "left", "replies", "since", "waiter")

    def __init__(self, waiter: Any, count: int) -> None:
        self.waiter = waiter
        self.left = count
        self.replies: list[Any] = []
        self.since = monotonic()
        self.error: RedisFailed | None = None


class RedisClient:
    """See `kong_gevent.pdk.kit.Redis`; without the counters, which `redis_counters` adds."""

    def __init__(self, options: Options, outside: Outside) -> None:
        self.options = options
        self.name = f"redis {options.host}:{options.port}"
        self._outside = outside
        self._timeout = options.timeout / 1000
        hub = get_hub()
        self._loop = hub.loop
        self._switch = hub.switch
        self._data: list[bytes] = []
        self._unsent: list[_Call] = []
        self._sent: deque[_Call] = deque()
        self._done: list[_Call] = []
        self._stream: Stream | None = None
        self._opening: _Opening | None = None
        self._reader: gevent.Greenlet | None = None
        self._writer: gevent.Greenlet | None = None
        self._parked = False
        self._timer: Any = None
        self._fault: str | None = None

    # --- calls -------------------------------------------------------------------------------------------------------

    def call(self, *commands: Sequence[Word]) -> list[Any]:
        """See `Redis.call`."""
        return self.exchange(pack(commands), len(commands))

    def exchange(self, data: bytes, count: int) -> list[Any]:
        """As `call`, for commands that are packed already; `count`: how many they are."""
        call = self._enqueue(data, count, getcurrent())
        try:
            while call.left and call.error is None:
                self._switch()
        finally:
            call.waiter = None
        if call.error is not None:
            raise call.error
        return call.replies

    def post(self, *commands: Sequence[Word]) -> None:
        """Send commands whose replies nobody waits for."""
        self._enqueue(pack(commands), len(commands), None)

    def _enqueue(self, data: bytes, count: int, waiter: Any) -> _Call:
        if self._fault is not None:
            raise RedisFailed(self._fault)
        call = _Call(waiter, count)
        self._data.append(data)
        self._unsent.append(call)
        if self._parked:
            self._parked = False
            self._loop.run_callback(self._writer.switch)  # type: ignore[union-attr]
        elif self._writer is None:
            self._writer = gevent.spawn(self._write)
        if self._timer is None:
            self._watch(self._timeout)
        return call

    def _deliver(self) -> None:
        """In the hub: let those go on whose replies are there."""
        done, self._done = self._done, []
        for call in done:
            if call.waiter is not None:
                call.waiter.switch()

    def _finish(self, calls: Sequence[_Call]) -> None:
        if not self._done:
            self._loop.run_callback(self._deliver)
        self._done += calls

    # --- time --------------------------------------------------------------------------------------------------------

    def _watch(self, seconds: float) -> None:
        self._timer = self._loop.timer(seconds)
        self._timer.start(self._look_at_clock)

    def _look_at_clock(self) -> None:
        """In the hub: has the oldest call waited too long?"""
        self._timer.close()
        self._timer = None
        oldest = self._sent[0] if self._sent else self._unsent[0] if self._unsent else None
        if oldest is None:
            return
        left = oldest.since + self._timeout - monotonic()
        if left > 0.001:
            self._watch(left)
        else:
            self._fail(f"no answer in {self.options.timeout} ms")
            self._wake_writer()

    # --- connection --------------------------------------------------------------------------------------------------

    def _wake_writer(self) -> None:
        if self._parked:
            self._parked = False
            self._loop.run_callback(self._writer.switch)  # type: ignore[union-attr]

    def _write(self) -> None:
        """The writing greenlet: connect when need be, send what waits, and after a failure find the server again."""
        while True:
            if self._fault is not None:
                gevent.sleep(RETRY)
            elif not self._unsent:
                self._parked = True
                self._switch()
                continue
            try:
                if self._stream is None:
                    self._connect()
                self._send()
            except Exception as error:
                self._fail(str(error) or type(error).__name__)

    def _send(self) -> None:
        calls, self._unsent = self._unsent, []
        data, self._data = self._data, []
        if calls and self._stream is not None:
            self._sent.extend(calls)
            self._stream.write(b"".join(data) if len(data) > 1 else data[0])

    def _connect(self) -> None:
        """Raises what the connection fails of."""
        opening = _Opening(self.options, self._outside)
        with gevent.Timeout(self._timeout, DeadlineExceeded(f"no connection in {self.options.timeout} ms")):
            stream = opening.open()
        stream.read_timeout = NEVER
        stream.deadline = NEVER
        self._opening, self._stream = opening, stream
        self._reader = gevent.spawn(self._read, stream)
        if self._fault is not None:
            self._fault = None
            log.warning("%s answers again", self.name)

    def _read(self, stream: Stream) -> None:
        """The reading greenlet of one connection: hand out replies until it ends."""
        reader = hiredis.Reader(replyError=Refused, notEnoughData=NOTHING)
        reason = "the server has closed the connection"
        try:
            while data := stream.read():
                reader.feed(data)
                self._hand_out(reader.gets)
        except (OSError, GatewayError, hiredis.HiredisError) as error:
            reason = str(error) or type(error).__name__
        if self._stream is not stream:
            return
        if self._sent:
            self._fail(reason)
            self._wake_writer()
        else:
            self._drop()  # nobody has lost anything: the next call connects anew

    def _hand_out(self, gets: Callable[[], Any]) -> None:
        sent, done = self._sent, []
        try:
            while (reply := gets()) is not NOTHING:
                if not sent:
                    raise ConnectionClosed("the server sent what nobody asked for")
                call = sent[0]
                if type(reply) is Refused:
                    call.error = RedisFailed(f"{self.name}: {reply}", unknown=True)
                call.replies.append(reply)
                call.left -= 1
                if not call.left:
                    done.append(sent.popleft())
        finally:  # also of those before the octets that cannot be read
            if done:
                self._finish(done)

    def _drop(self) -> None:
        opening, self._opening, self._stream, self._reader = self._opening, None, None, None
        if opening is not None:
            opening.end()

    def _fail(self, reason: str) -> None:
        """Tell all who wait, and refuse calls until the server has been reached again."""
        if self._fault is None:
            log.error("%s cannot be used, trying again every %g s: %s", self.name, RETRY, reason)
        self._fault = f"{self.name}: {reason}"
        sent, self._sent = list(self._sent), deque()
        unsent, self._unsent, self._data = self._unsent, [], []
        for calls, unknown in ((sent, True), (unsent, False)):
            for call in calls:
                call.error = RedisFailed(self._fault, unknown)
        if sent or unsent:
            self._finish([*sent, *unsent])
        self._drop()

    def shut(self) -> None:
        """Close the connection for good."""
        self._fault = "closed"
        self._fail("closed")
        for greenlet in (self._writer, self._reader):
            if greenlet is not None:
                greenlet.kill(block=False)
        if self._timer is not None:
            self._timer.close()
