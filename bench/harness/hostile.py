"""What hundreds of clients that keep the gateway waiting cost a good one."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from harness.bench import Bench
from harness.figures import PLAIN, Figure, Measurement
from harness.meanwhile import CONNECTIONS, Meanwhile
from harness.process import BenchError, free_ports, rss_kib
from harness.ratios import Say

EACH = 300  # clients of each kind
DRIP_SECONDS = 1.0  # between two words of such a client
SETTLE_SECONDS = 3.0  # until they have said their first words, been connected to upstreams, got what they take
STEP_SECONDS = 0.01  # they speak in turn: so often, some of them do
UPLOAD = b"PUT /silent HTTP/1.1\r\nHost: bench\r\n"
KINDS: dict[str, tuple[str, bytes, bytes]] = {
    "head": ("plain", b"GET / HTTP/1.1\r\nHost: bench\r\nX: ", b"x"),
    "body": ("plain", UPLOAD + b"Content-Length: 100000\r\n\r\n", b"x"),
    "chunks": ("plain", UPLOAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "read": ("plain", b"GET /api/files/big HTTP/1.1\r\nHost: bench\r\n\r\n", b""),
    "handshake": ("tls", b"\x16\x03\x01\x02\x00\x01", b""),
    "preamble": ("announced", b"PROXY UNKNOWN ", b"\x20"),
}
"""The listener, what such a client says first, what it says now and again."""
LIMITS = dict.fromkeys(("client_header_timeout", "client_body_timeout", "client_rate_grace"), "3600")
"""Nobody is cut off while there is something to measure: the worst that can happen to a good client."""


def hostile(bench: Bench, say: Say) -> list[Figure]:
    """p99 of proxied requests while slow clients of every kind hang on the gateway, against the same in quiet."""
    plain, tls, announced = free_ports(3)
    listen = f"127.0.0.1:{plain} backlog=8192, 127.0.0.1:{tls} ssl, 127.0.0.1:{announced} proxy_protocol"
    # Where slow bodies go: connections wait there to be accepted, for ever and at no cost.
    silent = socket.create_server(("127.0.0.1", 0), backlog=4096)
    gateway = bench.new_gateway({**LIMITS, "proxy_listen": listen})
    gateway.port = plain
    found = Meanwhile([], [])
    memory = []
    try:
        gateway.start()
        if PLAIN.configure is not None:
            PLAIN.configure(gateway.admin, bench.behind)
        gateway.admin.post("/services", name="silent", url=f"http://127.0.0.1:{silent.getsockname()[1]}")
        gateway.admin.post("/services/silent/routes", paths=["/silent"])
        bench.warm_up(gateway, PLAIN.request)
        for number in range(bench.options.rounds):
            found.quiet.append(bench.drive(gateway, PLAIN, CONNECTIONS, number))
            before = rss_kib(gateway.workers)
            with hanging({"plain": plain, "tls": tls, "announced": announced}):
                found.busy.append(bench.drive(gateway, PLAIN, CONNECTIONS, number, exact=False))
                memory.append((rss_kib(gateway.workers) - before) / (EACH * len(KINDS)))
            say(f"  round {number + 1}: quiet p99 {found.quiet[-1].p99:.2f} ms, with them {found.busy[-1].p99:.2f} ms")
    finally:
        gateway.end()
        silent.close()
    note = f"{found.words()}; {', '.join(KINDS)}; {max(memory):.1f} KiB of memory each"
    title = f"p99 while {EACH} slow clients of each of {len(KINDS)} kinds hang on it, as a multiple of quiet"
    return [Figure("hostile", title, found.ratio, "×", 3.0, note=note)]


@contextmanager
def hanging(ports: dict[str, int]) -> Iterator[None]:
    """The slow clients, connected and dripping. Raises BenchError if the gateway has let go of one at the end."""
    stop = threading.Event()
    socks: list[tuple[socket.socket, bytes]] = []
    problems: list[OSError] = []

    def drip() -> None:
        at, some = 0, round(len(socks) * STEP_SECONDS / DRIP_SECONDS)
        while not stop.wait(STEP_SECONDS):
            for sock, word in (socks[(at + number) % len(socks)] for number in range(some)):
                try:
                    sock.sendall(word)
                except OSError as error:
                    problems.append(error)
            at += some

    dripping = threading.Thread(target=drip)
    try:
        for listener, first, word in KINDS.values():
            for _ in range(EACH):
                sock = socket.socket()
                socks.append((sock, word))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                sock.connect(("127.0.0.1", ports[listener]))
                sock.sendall(first)
        dripping.start()
        time.sleep(SETTLE_SECONDS)
        yield
    finally:
        stop.set()
        if dripping.ident is not None:
            dripping.join()
        for sock, _ in socks:
            sock.close()
    if problems:
        raise BenchError(f"{len(problems)} words of slow clients were refused: {problems[0]}")


HOSTILE: dict[str, tuple[str, Measurement]] = {
    "hostile": (f"p99 while {EACH} slow clients of each kind hang on the gateway", hostile)
}
