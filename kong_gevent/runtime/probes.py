"""Active health checks: one worker of a node asks the peers of all upstreams that want it, the others read the result.

Peers that are served are asked every `healthy.interval`, the others every `unhealthy.interval`. The first question
comes after one interval.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

import gevent
from gevent.pool import Pool

from kong_gevent.balancer.algorithms import Peer
from kong_gevent.balancer.health import SUCCESS, TCP_FAILURE, TIMEOUT
from kong_gevent.dns import NameNotResolved
from kong_gevent.errors import ConnectionClosed, DeadlineExceeded
from kong_gevent.proxy.connecting import connect
from kong_gevent.proxy.stream import Stream
from kong_gevent.proxy.tls import TlsStream
from kong_gevent.runtime.balancing import Balancer
from kong_gevent.runtime.call import server_name
from kong_gevent.runtime.checks import Checks
from kong_gevent.runtime.tls import IdentityUnusable

if TYPE_CHECKING:
    from kong_gevent.runtime.gateway import Gateway

log = logging.getLogger("kong_gevent.health")
TICK = 0.1
"""Granularity of intervals, in s."""
IDLE_TICK = 1.0
TOUCH = 60.0
"""Seconds between two times that a worker tells that it has its peers still."""
STATUS_LINE = 64
MAX_AT_ONCE = 1000
"""Probes of an upstream, whatever its `concurrency` is."""
DEFAULT_TIMEOUT = 60
"""Seconds for a probe whose timeout is 0."""
TLS_KINDS = ("https", "grpcs")
_Round = tuple[str, bool]
"""The name of an upstream, and whether it is the round over those that are served."""


class Prober:
    """One worker's part in active checks. `chosen`: whether it is this worker that asks."""

    def __init__(self, gateway: Gateway, chosen: Callable[[], bool]) -> None:
        self._gateway = gateway
        self._chosen = chosen
        self._due: dict[_Round, float] = {}
        self._asked: set[Peer] = set()
        self._under_way: set[tuple[Checks, bool]] = set()
        self._touch_at = 0.0

    def run(self) -> None:
        """Ask whenever it is time; never returns."""
        while True:
            gevent.sleep(TICK if self._due else IDLE_TICK)
            try:
                self._tick(monotonic())
            except Exception:
                log.exception("health checks could not be made this time")

    def _tick(self, now: float) -> None:
        balancers = self._gateway.plan.balancers.values()
        checked = [(balancer, balancer.checks) for balancer in balancers if balancer.checks is not None]
        if now >= self._touch_at:
            self._touch_at = now + TOUCH
            for _, checks in checked:
                checks.touch()
        active = [(balancer, checks) for balancer, checks in checked if checks.active.probes]
        due: dict[_Round, float] = {}
        if active and self._chosen():
            for balancer, checks in active:
                self._begin(balancer, checks, now, due)
        self._due = due

    def _begin(self, balancer: Balancer, checks: Checks, now: float, due: dict[_Round, float]) -> None:
        """Begin the rounds of an upstream that are due; `due` gets the times of the next ones."""
        for served, interval in ((True, checks.active.interval_healthy), (False, checks.active.interval_unhealthy)):
            if interval <= 0:
                continue
            key = (balancer.name, served)
            at = min(self._due.get(key, now + interval), now + interval)
            if now >= at:
                at = now + interval
                if (checks, served) not in self._under_way:  # else it takes longer than the interval
                    self._under_way.add((checks, served))
                    gevent.spawn(self._round, balancer, checks, served)
            due[key] = at

    def _round(self, balancer: Balancer, checks: Checks, served: bool) -> None:
        """Ask all peers of an upstream that are served, or all that are not; one that still thinks is left in peace.

        No more than `concurrency` of a kind think at once, those of earlier rounds included.
        """
        try:
            balancer.refresh(self._gateway.resolver)
            pool = checks.probing.get(served)
            if pool is None:
                pool = checks.probing[served] = Pool(min(checks.settings["concurrency"], MAX_AT_ONCE))
            for peer in checks.peers():
                pool.wait_available()
                if self._gateway.plan.balancers.get(balancer.name) is not balancer:
                    return  # another one has taken its place
                if peer.weight and checks.available(peer) is served and peer not in self._asked:
                    self._asked.add(peer)
                    pool.spawn(self._ask, checks, peer)
        except Exception:
            log.exception("upstream %s: its health checks failed", balancer.name)
        finally:
            self._under_way.discard((checks, served))

    def _ask(self, checks: Checks, peer: Peer) -> None:
        """Ask one peer, and report what came of it."""
        report: int | None
        try:
            report = self._probe(checks, peer)
        except DeadlineExceeded:
            report = TIMEOUT
        except (OSError, ConnectionClosed, ValueError) as error:
            log.debug("upstream %s: %s:%d: %s", checks.name, peer.ip, peer.port, error)
            report = TCP_FAILURE
        except IdentityUnusable as error:
            if not checks.complained:
                log.error("upstream %s: it cannot be checked: %s", checks.name, error)
            checks.complained = True
            report = TCP_FAILURE
        finally:
            self._asked.discard(peer)
        checks.report(peer, checks.active, report)

    def _probe(self, checks: Checks, peer: Peer) -> int | None:
        """What the answer to a probe is to be reported as; None for one that says nothing.

        Raises `DeadlineExceeded`, `ConnectionClosed`, `OSError` (also `ssl.SSLError`), `IdentityUnusable`, ValueError
        for a name that TLS cannot take.
        """
        settings = checks.settings
        timeout = settings["timeout"] or DEFAULT_TIMEOUT
        host = checks.host or peer.name
        sock = connect(*self._address(peer), timeout)
        if settings["type"] == "tcp":
            sock.close()
            return SUCCESS
        try:
            stream = self._stream(sock, checks, host)
        except BaseException:
            sock.close()
            raise
        try:
            stream.read_timeout = stream.write_timeout = timeout
            if isinstance(stream, TlsStream):
                stream.handshake()
            stream.write(request_of(settings, host))
            status = status_of(_first_line(stream))
        finally:
            stream.close()
        return None if status is None else checks.active.report_of(status)

    def _address(self, peer: Peer) -> tuple[int, tuple[str, int]]:
        """Where to connect to. Raises ConnectionError for a name that leads nowhere."""
        if peer.family:
            return peer.family, (peer.ip, peer.port)
        try:
            place = self._gateway.resolver.look(peer.name).places[0]
        except NameNotResolved as error:
            raise ConnectionError(str(error)) from None
        return place.family, (place.ip, place.port or peer.port)

    def _stream(self, sock: Any, checks: Checks, host: str) -> Stream:
        if checks.settings["type"] not in TLS_KINDS:
            return Stream(sock, self._gateway.streams)
        if checks.tls is None:
            checks.tls = self._gateway.contexts.for_probes(checks.upstream)
        name = checks.settings["https_sni"] or server_name(host.encode())
        return TlsStream(sock, self._gateway.streams, checks.tls.get(), name)


def request_of(settings: Mapping[str, Any], host: str) -> bytes:
    """A probe's request, HTTP/1.0 so that the answer's end is the connection's."""
    lines = [f"GET {settings['http_path']} HTTP/1.0"]
    for name, values in (settings["headers"] or {}).items():
        lines += [f"{name}: {' '.join(value.split())}" for value in values]
    if not any(name.lower() == "host" for name in settings["headers"] or ()):
        lines.append(f"Host: {host}")
    return "\r\n".join((*lines, "Connection: close", "", "")).encode()


def _first_line(stream: Stream) -> bytes:
    """The bytes up to the end of the answer's first line, or as many as are enough for its status."""
    data = b""
    while b"\n" not in data and len(data) < STATUS_LINE:
        more = stream.read()
        if not more:
            raise ConnectionClosed("the connection was closed before an answer")
        data += more
    return data


def status_of(line: bytes) -> int | None:
    """The status in an answer's first line; None when it is not one of HTTP/1."""
    version, _, rest = line.partition(b" ")
    digits = rest[:3]
    return int(digits) if version[:7] == b"HTTP/1." and len(digits) == 3 and digits.isdigit() else None
