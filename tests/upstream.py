"""Upstream servers for the tests: each connection has its thread, each request is read strictly and remembered.

    with Upstream() as upstream:                        # answers with JSON that tells what it received
    with Upstream(plain(b"hello")) as upstream:         # one fixed answer
    with Upstream(script(b"HTTP/1.1 200 OK\\r\\n", Pause(1), CLOSE)) as upstream:   # any bytes at any time
    with Upstream(by_path({"/a": plain(b"a"), "/slow": slow(b"x" * 100, 0.1)})) as upstream:

What answers is a function of the request that returns bytes or steps (``Pause``, ``CLOSE``, ``RESET``, ``Take``).
"""

import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from time import sleep
from typing import Self

from tests.wire import Ended, Request, Stream, WireError, read_body, read_request_head, wait_until


@dataclass(frozen=True)
class Pause:
    """Wait so many seconds before the next step."""

    seconds: float


@dataclass(frozen=True)
class Take:
    """Hand the connection to a function (tunnels); it is closed when that returns."""

    serve: Callable[[Stream], None]


class _Close:
    """Close the connection now."""


class _Reset:
    """Reset the connection now."""


CLOSE, RESET = _Close(), _Reset()
Step = bytes | Pause | Take | _Close | _Reset
Respond = Callable[[Request], bytes | Iterable[Step]]


def answer(status: int = 200, body: bytes = b"", headers: Iterable[tuple[str, str]] = (), reason: str = "OK") -> bytes:
    """One answer with a Content-Length."""
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers)]
    if status >= 200 and status not in {204, 304}:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def echo(request: Request) -> bytes:
    """JSON that tells what was received; HEAD is answered without its body."""
    told = {
        "method": request.method,
        "target": request.target,
        "version": request.version,
        "headers": request.headers,
        "body": request.body.decode("latin-1"),
        "size": request.size,
        "trailers": request.trailers,
        "framing": request.framing,
        "connection": request.connection,
    }
    reply = answer(200, json.dumps(told).encode(), [("Content-Type", "application/json")])
    return reply.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if request.method == "HEAD" else reply


def plain(body: bytes = b"ok", status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> Respond:
    """Always the same answer (its head only, for HEAD)."""
    reply = answer(status, body, headers)
    head = reply.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    return lambda request: head if request.method == "HEAD" else reply


def script(*steps: Step) -> Respond:
    """Play these steps for every request."""
    return lambda request: steps


def slow(body: bytes, pause: float, piece: int = 1) -> Respond:
    """The body in pieces with a pause before each."""

    def steps(request: Request) -> Iterable[Step]:
        yield answer(200, body)[: -len(body) or None]
        for start in range(0, len(body), piece):
            yield Pause(pause)
            yield body[start : start + piece]

    return steps


def chunked(*chunks: bytes, trailers: Iterable[tuple[str, str]] = (), pause: float = 0) -> Respond:
    """A chunked answer, chunk by chunk, with trailers."""

    def steps(request: Request) -> Iterable[Step]:
        yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        for chunk in chunks:
            if pause:
                yield Pause(pause)
            yield b"%x\r\n%b\r\n" % (len(chunk), chunk)
        yield b"0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in trailers).encode("latin-1") + b"\r\n"

    return steps


def by_path(handlers: Mapping[str, Respond], otherwise: Respond = echo) -> Respond:
    """Choose by the path of the target (without its query)."""
    return lambda request: handlers.get(request.target.partition("?")[0], otherwise)(request)


class Upstream:
    """A threaded HTTP/1.1 server that remembers what it received.

    requests     complete requests, in order of completion
    malformed    (error, raw bytes) of each connection whose bytes were no request
    aborted      requests whose body never came to its end
    accepted     number of connections so far; ``open`` the number of those still open
    shown        common name of the client certificate on each TLS connection that had one, by its serial number
    early        called with each request before its body is read; what it returns (if anything) is sent first
    """

    def __init__(
        self,
        respond: Respond = echo,
        *,
        early: Callable[[Request], Iterable[Step] | None] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        backlog: int = 512,
    ) -> None:
        self.respond, self.early, self.host, self.tls = respond, early, host, tls
        self.requests: list[Request] = []
        self.malformed: list[tuple[str, bytes]] = []
        self.aborted: list[Request] = []
        self.accepted = 0
        self.shown: dict[int, str] = {}
        self._lock = threading.Lock()
        self._streams: set[Stream] = set()
        self._socket = socket.create_server((host, port), backlog=backlog)
        self.port: int = self._socket.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, name=f"upstream-{self.port}", daemon=True)
        self._acceptor.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Address for a service's ``url``."""
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"

    @property
    def open(self) -> int:
        """Connections open now."""
        with self._lock:
            return len(self._streams)

    def clear(self) -> None:
        """Forget what came so far."""
        with self._lock:
            self.requests, self.malformed, self.aborted = [], [], []

    def wait_for(self, count: int, timeout: float = 10) -> list[Request]:
        """Wait until ``count`` requests have come completely."""
        wait_until(lambda: len(self.requests) >= count, timeout)
        return self.requests

    def drop_connections(self) -> None:
        """Close every open connection, also those that are idle in somebody's pool."""
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            _shut(stream.sock)

    def close(self) -> None:
        """Stop listening and close every connection."""
        _shut(self._socket)
        self._socket.close()
        self._acceptor.join(5)
        self.drop_connections()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._socket.accept()
            except OSError:
                return
            with self._lock:
                self.accepted += 1
                serial = self.accepted
            threading.Thread(target=self._serve, args=(sock, serial), daemon=True).start()

    def _serve(self, sock: socket.socket, serial: int) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if self.tls:
                sock = secure = self.tls.wrap_socket(sock, server_side=True)
                if certificate := secure.getpeercert():
                    self.shown[serial] = certificate["subject"][-1][0][1]
        except (OSError, ssl.SSLError) as error:
            self.malformed.append((str(error), b""))
            sock.close()
            return
        stream = Stream(sock)
        with self._lock:
            self._streams.add(stream)
        try:
            while self._exchange(stream, serial):
                stream.seen.clear()
                stream.seen += stream.buffer
        except WireError as error:
            if stream.seen:
                self.malformed.append((str(error), bytes(stream.seen)))
        except OSError:
            pass  # the gateway left in the middle of an answer; the tests look at its side
        finally:
            with self._lock:
                self._streams.discard(stream)
            sock.close()

    def _exchange(self, stream: Stream, serial: int) -> bool:
        """One request and its answer; False when the connection is to be closed."""
        request = read_request_head(stream)
        request.connection = serial
        if self.early and (steps := self.early(request)) is not None and not self._play(stream, steps):
            return False
        try:
            read_body(stream, request)
        except Ended:
            self.aborted.append(request)
            stream.seen.clear()
            raise
        request.complete = True
        with self._lock:
            self.requests.append(request)
        reply = self.respond(request)
        stays = self._play(stream, [reply] if isinstance(reply, bytes) else reply)
        return stays and "close" not in (request.get("connection") or "").lower()

    def _play(self, stream: Stream, steps: Iterable[Step]) -> bool:
        for step in steps:
            if isinstance(step, bytes):
                stream.sock.sendall(step)
            elif isinstance(step, Pause):
                sleep(step.seconds)
            elif isinstance(step, Take):
                step.serve(stream)
                return False
            else:
                if step is RESET:
                    stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return False
        return True


def _shut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
