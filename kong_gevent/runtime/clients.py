"""How many connections clients may have: on a worker, on the node, and from one address of the node.

Strategy: each worker counts its own connections by address in a lane of shared memory that only it writes, and adds the
lanes up when a client comes. A lane has two numbers for each address, in places given by two hashes; the smaller one
counts, so two addresses are only mixed up when both places collide. A lane is wiped when a worker takes it, so
what a killed worker had counted is forgotten.
"""

from __future__ import annotations

import mmap
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from kong_gevent.runtime.shared import ACTIVE, LANES, PID

if TYPE_CHECKING:
    from kong_gevent.conf import Settings
    from kong_gevent.runtime.shared import Lane

PLACES = 1 << 15
"""Places per hash; a power of two."""
_WORD = 4
_INTERFACE_AT = 8
"""Bytes of an IPv6 address before those that name an interface (RFC 4291, section 2.5.1)."""
_MAPPED = bytes(10) + b"\xff\xff"
"""How an IPv6 address begins that stands for one of IPv4 (RFC 4291, section 2.5.5.2)."""
_LANE_BYTES = 2 * PLACES * _WORD


class AddressCounts:
    """Connections by address; made in the master before the first fork. Memory is only taken where it is used."""

    def __init__(self, lanes: int = LANES) -> None:
        self._map = mmap.mmap(-1, lanes * _LANE_BYTES)
        self._words = memoryview(self._map).cast("I")

    def wipe(self, lane: int) -> None:
        """Forget what a lane counts."""
        self._map[lane * _LANE_BYTES : (lane + 1) * _LANE_BYTES] = bytes(_LANE_BYTES)

    def add(self, lane: int, address: str, amount: int) -> None:
        """Count in a lane."""
        words, base = self._words, lane * 2 * PLACES
        for place in _places(address):
            words[base + place] += amount

    def count(self, lanes: list[int], address: str) -> int:
        """Connections of an address in these lanes; hardly ever more than there are, never fewer."""
        words = self._words
        return min(sum(words[lane * 2 * PLACES + place] for lane in lanes) for place in _places(address))


def _places(address: str) -> tuple[int, int]:
    """Hashed with the interpreter's keyed hash, which all workers inherit: no client can choose its places."""
    code = hash(("address", address))
    return code & (PLACES - 1), PLACES + (code >> 20 & (PLACES - 1))


def counted_as(address: str) -> str:
    """Whom an address belongs to, as far as one can tell: of IPv6 a client has a whole network, of 64 bits."""
    if ":" not in address:
        return address
    octets = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
    if octets.startswith(_MAPPED):
        return socket.inet_ntop(socket.AF_INET, octets[len(_MAPPED) :])
    return octets[:_INTERFACE_AT].hex()


class ClientLimits:
    """One worker's doorman. `trusts`: whether an address is exempt from the limit per address."""

    def __init__(
        self, settings: Settings, counts: AddressCounts, lane: Lane, siblings: list[Lane], trusts: Callable[[str], bool]
    ) -> None:
        worker = settings.nginx_events_worker_connections
        self._of_worker: int = 0 if worker == "auto" else int(worker)
        self._of_node: int = settings.client_max_connections
        self._of_address: int = settings.client_max_connections_per_address
        self._counts = counts
        self._lane = lane
        self._siblings = siblings
        self._trusts = trusts
        self._held: dict[int, str] = {}

    @property
    def active(self) -> bool:
        """Whether there is any limit."""
        return bool(self._of_worker or self._of_node or self._of_address)

    def full(self, mine: int) -> str:
        """Why no other connection is accepted, with `mine` of them in this worker; empty when there is room."""
        if self._of_worker and mine >= self._of_worker:
            return f"this worker has {mine} connections"
        if self._of_node:
            others = sum(lane[ACTIVE] for lane in self._siblings if lane[PID] > 0)
            if mine + others >= self._of_node:
                return f"this node has {mine + others} connections"
        return ""

    def enter(self, serial: int, address: str) -> str:
        """Count a connection, by its number, of an address; why it is not let in, or nothing."""
        if not self._of_address or not address or self._trusts(address):
            return ""
        address = counted_as(address)
        lanes = [self._lane.index, *(lane.index for lane in self._siblings if lane[PID] > 0)]
        has = self._counts.count(lanes, address)
        if has >= self._of_address:
            return f"its address has {has} connections"
        self._counts.add(self._lane.index, address, 1)
        self._held[serial] = address
        return ""

    def leave(self, serial: int) -> None:
        """A connection has been closed."""
        address = self._held.pop(serial, None)
        if address is not None:
            self._counts.add(self._lane.index, address, -1)
