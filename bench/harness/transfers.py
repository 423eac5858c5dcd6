"""Uploads and downloads of one big body by a client of our own, and a crowd of idle keep-alive connections."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

from harness.load import Request, Target
from harness.process import BenchError, cpu_time, peak_rss_kib, reset_peak_rss, rss_kib
from harness.secure import connected

CHUNK = 1 << 20
STALL_SECONDS = 60
HEAD_LIMIT = 65536


@dataclass(frozen=True)
class Transfer:
    """One body of `mib` MiB through a target: seconds on the clock, CPU seconds, growth of memory (peak) in KiB."""

    mib: int
    seconds: float
    cpu: float
    growth_kib: int
    rss_kib: int


def _head_of_answer(connection: socket.socket) -> tuple[bytes, bytes]:
    """Read up to the end of an answer's head; return it and what came with it."""
    buffer = b""
    while b"\r\n\r\n" not in buffer:
        data = connection.recv(HEAD_LIMIT)
        if not data or len(buffer) > HEAD_LIMIT:
            raise BenchError(f"the connection closed without a whole answer: {buffer[:200]!r}")
        buffer += data
    head, _, rest = buffer.partition(b"\r\n\r\n")
    return head, rest


def _send_body(connection: socket.socket, path: str, size: int) -> None:
    """PUT `size` bytes; the answer must be the sink's and say that it got them all."""
    connection.sendall(b"PUT %b HTTP/1.1\r\nHost: bench.example\r\nContent-Length: %d\r\n\r\n" % (path.encode(), size))
    block = memoryview(bytes(CHUNK))
    left = size
    while left > 0:
        left -= connection.send(block[: min(left, CHUNK)])
    head, _ = _head_of_answer(connection)
    if b" 204 " not in head[:20] or f"x-received: {size}".encode() not in head.lower():
        raise BenchError(f"the upload of {size} bytes was answered with {head[:300]!r}")


def _receive_body(connection: socket.socket, path: str, size: int) -> None:
    """GET a body of `size` bytes and let the kernel drop it."""
    connection.sendall(b"GET %b HTTP/1.1\r\nHost: bench.example\r\n\r\n" % path.encode())
    head, rest = _head_of_answer(connection)
    if b" 200 " not in head[:20]:
        raise BenchError(f"the download was answered with {head[:300]!r}")
    scrap = bytearray(CHUNK)
    left = size - len(rest)
    while left > 0:
        received = connection.recv_into(scrap, min(left, CHUNK), socket.MSG_TRUNC)
        if not received:
            raise BenchError(f"the download ended {left} bytes too early")
        left -= received


def transfer(target: Target, path: str, mib: int, upload: bool) -> Transfer:
    """Move one body and measure the target's workers meanwhile."""
    size = mib << 20
    before = rss_kib(target.workers)
    reset_peak_rss(target.workers)
    cpu, start = cpu_time(target.workers), time.monotonic()
    with socket.create_connection(("127.0.0.1", target.port), STALL_SECONDS) as connection:
        (_send_body if upload else _receive_body)(connection, path, size)
    seconds = time.monotonic() - start
    cpu = cpu_time(target.workers) - cpu
    return Transfer(mib, seconds, cpu.total, peak_rss_kib(target.workers) - before, rss_kib(target.workers))


@dataclass(frozen=True)
class Idle:
    """Memory for idle keep-alive connections that have had one answer each."""

    connections: int
    kib_each: float
    cpu_share: float  # of a core while nothing is asked
    alive: int
    asked_again: int


def _ask(connection: socket.socket, request: bytes, length: int) -> None:
    connection.sendall(request)
    head, rest = _head_of_answer(connection)
    if b" 200 " not in head[:20]:
        raise BenchError(f"an idle client was answered with {head[:300]!r}")
    while len(rest) < length:
        data = connection.recv(HEAD_LIMIT)
        if not data:
            raise BenchError("an idle client's connection closed within an answer")
        rest += data


def idle_clients(target: Target, asked: Request, count: int, quiet_seconds: float = 3.0) -> Idle:
    """Open `count` connections, one request on each, then leave them alone; at last some of them ask again."""
    request, length = asked.example(), asked.length
    port = target.tls_port if asked.tls else target.port
    before = rss_kib(target.workers)
    clients: list[socket.socket] = []
    try:
        for _ in range(count):
            connection = connected(port, asked.tls, STALL_SECONDS)
            clients.append(connection)
            _ask(connection, request, length)
        cpu = cpu_time(target.workers)
        time.sleep(quiet_seconds)
        cpu = cpu_time(target.workers) - cpu
        after = rss_kib(target.workers)
        alive = _still_answered(random.sample(clients, min(200, count)), request, length)
    finally:
        for connection in clients:
            connection.close()
    return Idle(count, (after - before) / count, cpu.total / quiet_seconds, alive, min(200, count))


def _still_answered(clients: Sequence[socket.socket], request: bytes, length: int) -> int:
    answered = 0
    for connection in clients:
        try:
            _ask(connection, request, length)
        except (OSError, BenchError):
            continue
        answered += 1
    return answered
