"""Where the workers of a node learn which traces are wanted, and how messages reach the worker that has the client.

Strategy: a few slots in memory that is mapped before the fork, each with a pair of sockets made at the same time: any
worker writes to one end, and the worker to which the client is connected reads from the other. A full socket drops
messages, which are counted. A slot whose owner gives no sign of life is free again.
"""

from __future__ import annotations

import _socket
import mmap
import os
from socket import AF_UNIX, SOCK_SEQPACKET
from time import monotonic

from kong_gevent.runtime.lock import SharedLock

SLOTS = 8
WORKERS = 128
SPEC_BYTES = 16384
"""Room for the longest filters that the Admin API takes."""
MESSAGE_BYTES = 60_000
SIGN_OF_LIFE = 30.0
"""Seconds after which a slot without a sign of life is nobody's."""
_WORD = 8
_HOLDER, _EPOCH, _FIRST = 0, 1, 2
_SERIAL, _BEAT, _DROPPED, _LENGTH, _SLOT_WORDS = 0, 1, 2, 3, 4
_SEEN = _FIRST + SLOTS * _SLOT_WORDS
_SPECS = (_SEEN + WORKERS) * _WORD


class TraceBoard:
    """The traces of a node. Make it before workers are forked."""

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, _SPECS + SLOTS * SPEC_BYTES)
        whole = memoryview(self._map)
        self._words = whole[:_SPECS].cast("q")
        self._specs = whole[_SPECS:]
        self.lock = SharedLock(self._words, _HOLDER)
        self._pairs = [_pair() for _ in range(SLOTS)]

    def forked(self) -> None:
        """Forget the parent's process id; call it in a new worker."""
        self.lock.forked()

    @property
    def epoch(self) -> int:
        """Changes when a trace begins or ends."""
        return self._words[_EPOCH]

    def seen(self, worker: int, epoch: int) -> None:
        """A worker (by its lane) has taken over what was wanted at this epoch."""
        self._words[_SEEN + worker] = epoch

    def has_seen(self, worker: int, epoch: int) -> bool:
        """Whether a worker has."""
        return self._words[_SEEN + worker] >= epoch

    def open(self, spec: bytes) -> tuple[int, int] | None:
        """Begin a trace: its slot and serial number; None when all slots are taken.

        Raises ValueError for a specification of more than `SPEC_BYTES`.
        """
        if len(spec) > SPEC_BYTES:
            raise ValueError(f"the specification of a trace has {len(spec)} bytes")
        words = self._words
        now = _now()
        with self.lock:
            for slot in range(SLOTS):
                at = _FIRST + slot * _SLOT_WORDS
                if words[at + _LENGTH] and now - words[at + _BEAT] < SIGN_OF_LIFE * 1000:
                    continue
                self._specs[slot * SPEC_BYTES : slot * SPEC_BYTES + len(spec)] = spec
                words[at + _SERIAL] += 1
                words[at + _BEAT], words[at + _DROPPED], words[at + _LENGTH] = now, 0, len(spec)
                words[_EPOCH] += 1
                return slot, words[at + _SERIAL]
        return None

    def close(self, slot: int, serial: int) -> None:
        """End a trace."""
        at = _FIRST + slot * _SLOT_WORDS
        with self.lock:
            if self._words[at + _SERIAL] == serial:
                self._words[at + _LENGTH] = 0
                self._words[_EPOCH] += 1

    def beat(self, slot: int) -> None:
        """The owner lives."""
        self._words[_FIRST + slot * _SLOT_WORDS + _BEAT] = _now()

    def active(self) -> list[tuple[int, int, bytes]]:
        """Slot, serial and specification of each trace that is on."""
        words = self._words
        now = _now()
        with self.lock:
            found = []
            for slot in range(SLOTS):
                at = _FIRST + slot * _SLOT_WORDS
                length = words[at + _LENGTH]
                if length and now - words[at + _BEAT] < SIGN_OF_LIFE * 1000:
                    start = slot * SPEC_BYTES
                    found.append((slot, words[at + _SERIAL], bytes(self._specs[start : start + length])))
            return found

    def send(self, slot: int, serial: int, message: bytes) -> None:
        """Send a message to the owner of a trace, or count it as dropped."""
        try:
            os.write(self._pairs[slot][1], serial.to_bytes(8, "big") + message)
        except OSError:
            with self.lock:
                self._words[_FIRST + slot * _SLOT_WORDS + _DROPPED] += 1

    def receive(self, slot: int, serial: int) -> bytes | None:
        """The next message, None when there is none now; what was meant for an earlier trace is skipped."""
        while True:
            try:
                data = os.read(self._pairs[slot][0], MESSAGE_BYTES + 1024)
            except BlockingIOError:
                return None
            if int.from_bytes(data[:8], "big") == serial:
                return data[8:]

    def descriptor(self, slot: int) -> int:
        """What becomes readable when there are messages."""
        return self._pairs[slot][0]

    def take_dropped(self, slot: int) -> int:
        """How many messages were dropped since this was last asked."""
        at = _FIRST + slot * _SLOT_WORDS + _DROPPED
        if not self._words[at]:
            return 0
        with self.lock:
            count, self._words[at] = self._words[at], 0
            return count


def _pair() -> tuple[int, int]:
    """Descriptors of two sockets that keep the bounds of messages: one to read from, one to write to."""
    ends = _socket.socketpair(AF_UNIX, SOCK_SEQPACKET)
    for end in ends:
        end.setblocking(False)
    return ends[0].detach(), ends[1].detach()


def _now() -> int:
    """Milliseconds of a clock that all processes of the machine share."""
    return int(monotonic() * 1000)
