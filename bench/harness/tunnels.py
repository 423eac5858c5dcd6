"""WebSocket tunnels with messages at a fixed pace both ways, and the CPU time that they cost what is between."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

from harness.load import Target
from harness.process import BenchError, cpu_time
from harness.talker import FROM_CLIENT, FROM_SERVER, MESSAGE

STREAMS = 16
RATE = 1 << 20
"""Bytes per second of a stream, each way."""
STALL_SECONDS = 30.0
PATH = "/tunnel"
OPENING = (
    f"GET {PATH} HTTP/1.1\r\nHost: bench.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
).encode()


@dataclass(frozen=True)
class Passed:
    """Messages that went through, both ways together, within `seconds`; CPU in µs for each."""

    messages: int
    seconds: float
    cpu: float

    @property
    def rate(self) -> float:
        """MiB/s, both ways together."""
        return self.messages * MESSAGE / self.seconds / (1 << 20)


class Stream:
    """The client's end of a tunnel."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), STALL_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(OPENING)
        head = b""
        while b"\r\n\r\n" not in head:
            data = self._socket.recv(4096)
            head += data
            if not data or not head.startswith(b"HTTP/1.1 101 "[: len(head)]):
                raise BenchError(f"no tunnel: {head[:200]!r}")
        self.received = 0
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """The descriptor, for a selector."""
        return self._socket.fileno()

    def say(self) -> None:
        """Send one message; whoever does not take it at once does not keep the pace."""
        try:
            whole = self._socket.send(FROM_CLIENT) == len(FROM_CLIENT)
        except BlockingIOError:
            whole = False
        if not whole:
            raise BenchError("the tunnel does not keep the pace")

    def hear(self) -> None:
        """Take what has come; it must be whole messages of the other side, one after the other."""
        data = self._socket.recv(65536)
        at = self.received % len(FROM_SERVER)
        if not data or not (FROM_SERVER * (len(data) // len(FROM_SERVER) + 2)).startswith(data, at):
            raise BenchError(f"the tunnel ended or passed something else on: {data[:50]!r}")
        self.received += len(data)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def pass_messages(target: Target, seconds: float) -> Passed:
    """Messages of MESSAGE bytes on STREAMS tunnels at the pace of RATE, each answered by one; all must come back."""
    streams = [Stream(target.port) for _ in range(STREAMS)]
    selector = selectors.DefaultSelector()
    for stream in streams:
        selector.register(stream, selectors.EVENT_READ)
    pause = MESSAGE / RATE
    turns = round(seconds / pause)
    try:
        cpu, start = cpu_time(target.workers), time.monotonic()
        for number in range(turns):
            for stream in streams:
                stream.say()
            while (left := start + (number + 1) * pause - time.monotonic()) > 0:
                _hear(selector, left)
        _hear_the_rest(selector, streams, turns)
        elapsed = time.monotonic() - start
        cpu = cpu_time(target.workers) - cpu
    finally:
        selector.close()
        for stream in streams:
            stream.close()
    messages = 2 * turns * len(streams)
    return Passed(messages, elapsed, cpu.total / messages * 1e6)


def _hear(selector: selectors.BaseSelector, seconds: float) -> None:
    for key, _ in selector.select(seconds):
        key.fileobj.hear()  # type: ignore[union-attr]


def _hear_the_rest(selector: selectors.BaseSelector, streams: Sequence[Stream], turns: int) -> None:
    end = time.monotonic() + STALL_SECONDS
    while any(stream.received < turns * len(FROM_SERVER) for stream in streams):
        if time.monotonic() > end:
            raise BenchError(f"messages did not come back within {STALL_SECONDS:.0f} s")
        _hear(selector, 1)
