"""What a name leads to."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Sequence
from functools import reduce
from math import gcd, lcm
from typing import NamedTuple

from kong_gevent.errors import GatewayError

Address = tuple[int, str]
"""Address family and numeric address."""
MAX_TURNS = 1000
"""Length of a round over weighted places; weights without a common divisor are rounded to fit."""
NEVER = float("inf")


class NameNotResolved(GatewayError):
    """A host name has no address, or no name server answers; `missing` tells the first case."""

    def __init__(self, message: str, missing: bool) -> None:
        self.missing = missing
        super().__init__(message)


class Place(NamedTuple):
    """One address behind a name. SRV records add `port`, `weight` and the `name` of the server; 0 and "" else."""

    family: int
    ip: str
    port: int = 0
    weight: int = 0
    name: str = ""


class Answer:
    """The places behind a name; `kind` is the type of its records, `ttl` in s.

    `places` is the same object as long as look-ups find the same. `turns`: who gets the next request, as positions in
    `places`, as often as weights say.
    """

    __slots__ = ("addresses", "kind", "places", "ttl", "turns")

    def __init__(self, kind: str, places: Iterable[Place], ttl: float) -> None:
        self.kind = kind
        self.places = tuple(sorted(places))
        self.addresses: list[Address] = [(place.family, place.ip) for place in self.places]
        self.turns: Sequence[int] = spread([place.weight for place in self.places])
        self.ttl = ttl

    def take_over(self, other: Answer | None) -> None:
        """Be the same as an earlier answer as far as it says the same."""
        if other is not None and other.kind == self.kind and other.places == self.places:
            self.places, self.addresses, self.turns = other.places, other.addresses, other.turns

    def __repr__(self) -> str:
        return f"<Answer {self.kind} ttl={self.ttl} {[f'{place.ip}:{place.port}' for place in self.places]}>"


def spread(weights: Sequence[int]) -> Sequence[int]:
    """Positions, each as often as its weight says, mixed evenly; without any weights each once."""
    if not any(weights):
        return range(len(weights))
    divisor = max(reduce(gcd, weights), -(-sum(weights) // MAX_TURNS))
    counts = [max(1, weight // divisor) for weight in weights]
    moments = [((turn + 0.5) / count, position) for position, count in enumerate(counts) for turn in range(count)]
    return [position for _, position in sorted(moments)]


class Server(NamedTuple):
    """A record of type SRV; the weight 0 counts as 1."""

    weight: int
    port: int
    name: str


def servers_at(found: Iterable[tuple[Server, Sequence[Address]]]) -> list[Place]:
    """The places of SRV records with the addresses of their servers, which share the weight of their record.

    Where servers have several addresses all weights grow by a common factor, so that they stay whole numbers.
    """
    known = [(server, addresses) for server, addresses in found if addresses]
    factor = lcm(*(len(addresses) for _, addresses in known))
    weights: dict[Place, int] = {}
    for server, addresses in known:
        weight = max(1, server.weight) * factor // len(addresses)
        for family, ip in addresses:
            place = Place(family, ip, server.port, 0, server.name)
            weights[place] = weights.get(place, 0) + weight
    return [place._replace(weight=weight) for place, weight in weights.items()]


def numeric_address(host: str) -> Address | None:
    """`host` as an address when it is one (IPv6 with or without brackets), else None."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
    return (int(socket.AF_INET if address.version == 4 else socket.AF_INET6), str(address))


def kind_of(address: Address) -> str:
    """The type of the records that have such an address."""
    return "A" if address[0] == socket.AF_INET else "AAAA"
