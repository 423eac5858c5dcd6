"""Asking name servers: over UDP, over TCP when an answer is too long, the next server when one does not answer."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

from gevent import socket
from gevent.lock import Semaphore

from kong_gevent.dns.answers import NameNotResolved
from kong_gevent.dns.system import Asking
from kong_gevent.offload import offload

if TYPE_CHECKING:
    from kong_gevent.dns.wire import Question, Reply

log = logging.getLogger("kong_gevent.dns")
DATAGRAM = 65535
MAX_ALIASES = 8
"""Aliases for which a further question is needed."""
Server = tuple[str, int]


class Client:
    """One worker's client. The server that answered last is asked first, so that a dead one costs little."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self._first = 0
        self._wire: Any = None
        self._loading = Semaphore()

    @property
    def wire(self) -> Any:
        """The module `kong_gevent.dns.wire`, loaded beside the event loop."""
        if self._wire is None:
            with self._loading:
                self._wire = self._wire or offload(_load_wire)
        return self._wire

    def candidates(self, name: str) -> list[str]:
        """The full names that a name may stand for, in order (resolv.conf(5): `search`, `ndots`)."""
        if name.endswith("."):
            return [name]
        searched = [f"{name}.{domain}." for domain in self._asking.search]
        full = f"{name}."
        return [full, *searched] if name.count(".") >= self._asking.ndots else [*searched, full]

    def ask(self, name: str, kind: str) -> tuple[list[Any], float, Reply | None]:
        """The records of a full name with their TTL and the reply that has them; aliases are followed.

        No records: there are none. Raises `NameNotResolved` when there is no usable answer, or the name is no name.
        """
        shortest = float("inf")
        for _ in range(MAX_ALIASES):
            question = self.wire.Question(name, kind)
            reply = self._exchange(question)
            records, ttl, alias = reply.records()
            shortest = min(shortest, ttl)
            if alias is None:
                return records, shortest, reply
            name = alias
        raise NameNotResolved(f"{name}: its aliases lead nowhere", missing=True)

    def _exchange(self, question: Question) -> Reply:
        failure = "no name server"
        for server, timeout in self._tries():
            try:
                reply = self._try(server, question, timeout)
            except OSError as error:  # also TimeoutError
                failure = f"{_shown(server)}: {'no answer' if isinstance(error, TimeoutError) else error}"
            else:
                if reply.failure is None:
                    return reply
                failure = f"{_shown(server)}: {reply.failure}"
            self._failed(server)
        raise NameNotResolved(f"{question.name.rstrip('.')} ({question.kind}): {failure}", missing=False)

    def _tries(self) -> Iterator[tuple[Server, float]]:
        """Whom to ask how long, until somebody answers."""
        asking = self._asking
        servers = asking.servers
        if asking.rotate:
            self._first = (self._first + 1) % len(servers)
        first = self._first
        for attempt in range(asking.attempts):
            timeout = asking.timeout / (1 << asking.attempts - 1 - attempt)
            for step in range(len(servers)):
                yield servers[(first + step) % len(servers)], timeout

    def _failed(self, server: Server) -> None:
        """Others are asked first from now on, until they fail."""
        servers: Sequence[Server] = self._asking.servers
        if servers[self._first] == server:
            self._first = (self._first + 1) % len(servers)

    def _try(self, server: Server, question: Question, timeout: float) -> Reply:
        deadline = monotonic() + timeout
        reply = _over_udp(server, question, deadline)
        if reply.old:
            question.without_extensions()
            reply = _over_udp(server, question, deadline)
        return _over_tcp(server, question, deadline) if reply.truncated else reply


def _load_wire() -> Any:
    from kong_gevent.dns import wire

    return wire


def _shown(server: Server) -> str:
    return f"[{server[0]}]:{server[1]}" if ":" in server[0] else f"{server[0]}:{server[1]}"


def _socket(server: Server, kind: int, deadline: float) -> Any:
    """A connected socket: only what the server sends from the address that was asked is received."""
    family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
    sock = socket.socket(family, kind)
    try:
        _limit(sock, deadline)
        host, _, scope = server[0].partition("%")
        index = socket.if_nametoindex(scope) if scope else 0
        sock.connect((host, server[1], 0, index) if family == socket.AF_INET6 else server)
    except BaseException:
        sock.close()
        raise
    return sock


def _limit(sock: Any, deadline: float) -> None:
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError
    sock.settimeout(left)


def _over_udp(server: Server, question: Question, deadline: float) -> Reply:
    """Raises OSError. Datagrams that are no reply to this question are passed over: somebody may be guessing."""
    with _socket(server, socket.SOCK_DGRAM, deadline) as sock:
        sock.send(question.octets)
        while True:
            _limit(sock, deadline)
            reply = question.read(sock.recv(DATAGRAM))
            if reply is not None:
                return reply


def _over_tcp(server: Server, question: Question, deadline: float) -> Reply:
    """Raises OSError."""
    with _socket(server, socket.SOCK_STREAM, deadline) as sock:
        octets = question.octets
        sock.sendall(len(octets).to_bytes(2, "big") + octets)
        size = int.from_bytes(_exactly(sock, 2, deadline), "big")
        reply = question.read(_exactly(sock, size, deadline))
        if reply is None:
            raise ConnectionError("not the answer to the question")
        return reply


def _exactly(sock: Any, size: int, deadline: float) -> bytes:
    data = b""
    while len(data) < size:
        _limit(sock, deadline)
        more = sock.recv(size - len(data))
        if not more:
            raise ConnectionError("the connection was closed within an answer")
        data += more
    return data
