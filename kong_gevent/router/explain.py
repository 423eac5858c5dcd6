"""Why a route wins and others lose: every entry judged by itself, with the predicates and the keys of the router.

Slow (it looks at all routes) and for people who ask; requests go through `Router.match`, which finds the same winner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import nlargest
from os.path import commonprefix
from typing import Any, NamedTuple

from kong_gevent.router.subroutes import RULES, Entry, HeaderLookup, HostPattern, Key, Placement, parts_of

ORDER = ("hosts", "paths", "methods", "headers", "snis")
"""Attributes in the order in which the router looks at them: host and path first, as they are indexed."""


class Asked(NamedTuple):
    """A request as `Router.match` is given it."""

    method: bytes
    path: str
    host: str | None
    port: int
    headers: HeaderLookup
    sni: str | None
    tls: bool


class Asking:
    """Takes a router's place to learn what it would be asked."""

    match = Asked


class Verdict(NamedTuple):
    """One entry against a request: the attributes that do not match, in order, and how many do.

    `common`: characters that its path and the request's begin with alike.
    """

    host: HostPattern
    entry: Entry
    failing: tuple[str, ...]
    held: int
    common: int

    @property
    def nearness(self) -> tuple[bool, int, int, int, Key]:
        """What sorts verdicts: the greatest of those that match is the route that wins."""
        matches = not self.failing
        if matches:
            return True, 0, 0, 0, self.entry.key
        return False, -len(self.failing), self.held, self.common, self.entry.key


def judge(host: HostPattern, entry: Entry, asked: Asked) -> Verdict:
    """Every attribute of an entry against a request."""
    found: dict[str, bool] = {}
    if host.kind != "any":
        found["hosts"] = host.meets(asked.host)
    if entry.regex is not None:
        found["paths"] = entry.regex.end(asked.path.encode()) >= 0
    elif entry.prefix:
        found["paths"] = asked.path.startswith(entry.prefix)
    if entry.conditions is not None:
        for name, holds in entry.conditions.attributes(asked.method, asked.port, asked.headers, asked.sni, asked.tls):
            found[name] = found.get(name, True) and holds
    failing = tuple(name for name in ORDER if found.get(name) is False)
    common = len(commonprefix((entry.prefix, asked.path)))
    return Verdict(host, entry, failing, len(found) - len(failing), common)


def nearest(placements: Iterable[Placement], asked: Asked, count: int, pause: Callable[[], Any]) -> list[Verdict]:
    """For the `count` routes nearest to a request the best verdict of each, the winner first if one matches.

    `pause` is called between two entries: there may be very many.
    """
    best: dict[int, Verdict] = {}
    for host, entry in placements:
        pause()
        verdict = judge(host, entry, asked)
        route = id(entry.payload)
        known = best.get(route)
        if known is None or verdict.nearness > known.nearness:
            best[route] = verdict
    return nlargest(count, best.values(), key=lambda verdict: verdict.nearness)


class Decision(NamedTuple):
    """The first of `RULES` in which two matches differ, and what each has there; the greater value wins."""

    rule: str
    winner: int | str
    loser: int | str


def decision(winner: Key, loser: Key) -> Decision:
    """Why one match comes before another."""
    mine, other = parts_of(winner), parts_of(loser)
    rule = next((rule for rule in RULES if mine[rule] != other[rule]), RULES[-1])
    return Decision(rule, mine[rule], other[rule])
