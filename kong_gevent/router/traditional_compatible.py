"""The router of Kong 3.9's default flavour, `traditional_compatible`, as an index instead of a list of expressions.

Strategy: entries stand in a *bucket* per host pattern, and in it at their path prefix (`index`), grouped by method or
header value (`leaf`). A request looks into the bucket of its host, of the wildcards that its host meets label by label,
and into the one for routes without hosts; in each it climbs from the longest prefix upwards. Whatever is left to choose
is decided by the 64-bit priority, ties by id, so the outcome is that of evaluating all routes in order.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from kong_gevent.router.index import PrefixIndex
from kong_gevent.router.leaf import NOTHING
from kong_gevent.router.regexpool import CHUNK, LOAD_CHUNK, RegexPool
from kong_gevent.router.subroutes import (
    ANY_HOST,
    REGEX_PRIORITY_SHIFT,
    REGEX_SHIFT,
    Entry,
    HeaderLookup,
    HostPattern,
    Match,
    Placement,
    RegexMatch,
    is_served,
    place,
)

RouteEntity = Mapping[str, Any]
_REGEX_TIER = 1 << REGEX_SHIFT - REGEX_PRIORITY_SHIFT


def _ceiling(tier: int) -> int:
    """The greatest priority with these upper bits; less than any priority for the tier -1."""
    return (tier + 1 << REGEX_PRIORITY_SHIFT) - 1


class Bucket:
    """All entries of one host pattern.

    `ceiling` is not less than any priority in it. `flat`: only prefix paths whose priorities differ in nothing but the
    length, so that the first fulfilled one on the way up is the best.
    """

    __slots__ = ("ceiling", "flat", "index", "tiers")

    def __init__(self) -> None:
        self.index = PrefixIndex()
        self.tiers: dict[int, int] = {}
        self.ceiling = NOTHING
        self.flat = True

    def add(self, entry: Entry, chunk_size: int) -> None:
        """Take an entry in; `chunk_size` as in `RegexPool`."""
        node = self.index.insert(entry.prefix)
        if entry.regex is None:
            node.add(entry)
        else:
            if node.regexes is None:
                node.regexes = RegexPool()
            node.regexes.add(entry, entry.regex, chunk_size)
        tier = entry.key[0] >> REGEX_PRIORITY_SHIFT
        self.tiers[tier] = self.tiers.get(tier, 0) + 1
        if self.tiers[tier] == 1:
            self.flat = len(self.tiers) == 1 and entry.regex is None
            self.ceiling = max(self.ceiling, _ceiling(tier))

    def remove(self, entry: Entry) -> None:
        """Forget an entry."""
        node = self.index.find(entry.prefix)
        assert node is not None
        if entry.regex is None:
            node.remove(entry)
        elif node.regexes is not None:
            node.regexes.remove(entry, entry.regex)
            if not node.regexes:
                node.regexes = None
        if node.is_empty:
            self.index.remove(entry.prefix)
        tier = entry.key[0] >> REGEX_PRIORITY_SHIFT
        self.tiers[tier] -= 1
        if not self.tiers[tier]:
            del self.tiers[tier]
            self.flat = not any(tier & _REGEX_TIER for tier in self.tiers) if len(self.tiers) <= 1 else False
            self.ceiling = _ceiling(max(self.tiers, default=NOTHING))

    def prepare(self, entry: Entry) -> None:
        """After `add` or `remove` of `entry`: make what look-ups read."""
        if entry.regex is not None:
            node = self.index.find(entry.prefix)
            if node is not None and node.regexes is not None:
                node.regexes.prepare()

    def pick(
        self,
        best: Match | None,
        path: str,
        method: bytes,
        port: int,
        headers: HeaderLookup,
        sni: str | None,
        tls: bool,
    ) -> Match | None:
        """`best`, or the match in this bucket that comes before it."""
        if not self.flat:
            return self._pick_by_key(best, path, method, port, headers, sni, tls)
        index = self.index
        block = bisect_right(index.starts, path) - 1
        node = index.nodes[block][bisect_right(index.keys[block], path) - 1]
        while True:
            if path.startswith(node.key):
                found = node.solo or node.pick(method, port, headers, sni, tls)
                if found is not None:
                    return found if best is None or found.key > best.key else best
            above = node.parent
            if above is None:
                return best
            node = above

    def _pick_by_key(
        self,
        best: Match | None,
        path: str,
        method: bytes,
        port: int,
        headers: HeaderLookup,
        sni: str | None,
        tls: bool,
    ) -> Match | None:
        bound = NOTHING if best is None else best.key[0]
        index = self.index
        block = bisect_right(index.starts, path) - 1
        node = index.nodes[block][bisect_right(index.keys[block], path) - 1]
        while True:
            if node.top >= bound and path.startswith(node.key):
                found = node.solo or node.pick(method, port, headers, sni, tls)
                if found is not None and (best is None or found.key > best.key):
                    best = found
                    bound = found.key[0]
            regexes = node.regexes
            if regexes is not None and regexes.top >= bound and path.startswith(node.key):
                best = regexes.pick(best, path, method, port, headers, sni, tls)
                if best is not None:
                    bound = best.key[0]
            above = node.parent
            if above is None:
                return best
            node = above


class Router:
    """Finds the route of a request. No method yields to another greenlet, so a look-up sees all of a change or nothing.

    Paths and host names are texts, methods bytes, as they come cheapest out of a request.
    """

    def __init__(self) -> None:
        self._any = Bucket()
        self._exact: dict[str, Bucket] = {}
        self._ends: dict[str, Bucket] = {}
        self._beginnings: dict[str, Bucket] = {}
        self._routes: dict[str, list[Placement]] = {}

    def __len__(self) -> int:
        return len(self._routes)

    def __contains__(self, route_id: str) -> bool:
        return route_id in self._routes

    def placements(self) -> Iterator[Placement]:
        """Every entry with the host pattern that it stands at, as they are now."""
        return chain.from_iterable(list(self._routes.values()))

    # --- changing ------------------------------------------------------------------------------------------------

    def add(self, route: RouteEntity, service: RouteEntity | None, payload: Any) -> None:
        """Take a route in, in the place of one with the same id; `payload` is what its matches carry.

        A route of a disabled service or without an HTTP protocol is only taken out. Raises ValueError with the reason
        for an expression that re2 cannot compile; nothing is changed then.
        """
        placements = place(route, payload) if is_served(route, service) else None
        self.remove(route["id"])
        if placements is not None:
            self._put(route["id"], placements, CHUNK)
            self._prepare(placements)

    def load(
        self, routes: Iterable[tuple[RouteEntity, RouteEntity | None, Any]]
    ) -> list[tuple[RouteEntity, ValueError]]:
        """Add many routes, given as (route, service, payload); returns those that cannot be served, with the reason."""
        refused = []
        loaded: list[Placement] = []
        for route, service, payload in routes:
            try:
                placements = place(route, payload) if is_served(route, service) else None
            except ValueError as error:
                refused.append((route, error))
                continue
            self.remove(route["id"])
            if placements is not None:
                self._put(route["id"], placements, LOAD_CHUNK)
                loaded += [(pattern, entry) for pattern, entry in placements if entry.regex is not None]
        self._prepare(loaded)
        return refused

    def fork(self, each: Callable[[list[Any]], Iterable[Any]]) -> Router:
        """A router with the same routes, to be changed while this one is in use. `each` gives the items of a list."""
        made = Router()
        placements = list(self._routes.items())
        for route_id, placed in each(placements):
            made._put(route_id, placed, LOAD_CHUNK)
        for _, placed in each(placements):
            made._prepare([(pattern, entry) for pattern, entry in placed if entry.regex is not None])
        return made

    def dismantle(self) -> Iterator[None]:
        """Let go of everything step by step: of a hundred thousand routes that takes a while."""
        buckets = [self._any, *self._exact.values(), *self._ends.values(), *self._beginnings.values()]
        for bucket in buckets:
            for nodes in bucket.index.nodes:
                while nodes:
                    nodes.pop()
                    yield
        while self._routes:
            self._routes.popitem()
            yield

    def remove(self, route_id: str) -> None:
        """Take a route out, if it is there."""
        placements = self._routes.pop(route_id, None)
        if placements is None:
            return
        for pattern, entry in placements:
            table = self._table(pattern)
            bucket = self._any if table is None else table[pattern.name]
            bucket.remove(entry)
            if table is not None and not bucket.tiers:
                del table[pattern.name]
            else:
                bucket.prepare(entry)

    def _put(self, route_id: str, placements: list[Placement], chunk_size: int) -> None:
        self._routes[route_id] = placements
        for pattern, entry in placements:
            self._bucket(pattern).add(entry, chunk_size)

    def _prepare(self, placements: list[Placement]) -> None:
        for pattern, entry in placements:
            self._bucket(pattern).prepare(entry)

    def _table(self, pattern: HostPattern) -> dict[str, Bucket] | None:
        if pattern is ANY_HOST:
            return None
        return {"exact": self._exact, "end": self._ends, "beginning": self._beginnings}[pattern.kind]

    def _bucket(self, pattern: HostPattern) -> Bucket:
        table = self._table(pattern)
        if table is None:
            return self._any
        bucket = table.get(pattern.name)
        if bucket is None:
            bucket = table[pattern.name] = Bucket()
        return bucket

    # --- look-up -------------------------------------------------------------------------------------------------

    def match(
        self,
        method: bytes,
        path: str,
        host: str | None,
        port: int,
        headers: HeaderLookup,
        sni: str | None,
        tls: bool,
    ) -> Match | None:
        """The match that comes first, or None.

        `path`: in normal form, without query; `host`: lower case, without port; `port`: that of the Host field, else
        of the listener; `headers`: called only where a route has header conditions.
        """
        best: Match | None = None
        if host:
            bucket = self._exact.get(host)
            if bucket is not None:
                best = bucket.pick(None, path, method, port, headers, sni, tls)
            if self._ends or self._beginnings:
                for bucket in self._wildcards(host):
                    if best is None or bucket.ceiling >= best.key[0]:
                        best = bucket.pick(best, path, method, port, headers, sni, tls)
        bucket = self._any
        if best is None or bucket.ceiling >= best.key[0]:
            return bucket.pick(best, path, method, port, headers, sni, tls)
        return best

    def _wildcards(self, host: str) -> list[Bucket]:
        """Buckets of the wildcards that a host meets, found label by label."""
        ends, beginnings = self._ends, self._beginnings
        found = []
        at = host.find(".")
        while at >= 0:
            if ends and (bucket := ends.get(host[at:])) is not None:
                found.append(bucket)
            if beginnings and (bucket := beginnings.get(host[: at + 1])) is not None:
                found.append(bucket)
            at = host.find(".", at + 1)
        if (bucket := ends.get("")) is not None:
            found.append(bucket)
        return found

    def candidates(
        self,
        method: bytes,
        path: str,
        host: str | None,
        port: int,
        headers: HeaderLookup,
        sni: str | None,
        tls: bool,
    ) -> list[Match]:
        """Every match in order of evaluation, the one that `match` returns first. Not for the path of requests."""
        found: dict[int, Match] = {}
        for bucket in self._buckets(host):
            for entry, match in _matches(bucket, path):
                if entry.conditions is None or entry.conditions.hold(method, port, headers, sni, tls):
                    found[id(entry)] = match
        return sorted(found.values(), key=lambda match: match.key, reverse=True)

    def _buckets(self, host: str | None) -> list[Bucket]:
        buckets = [self._any]
        if host:
            buckets += self._wildcards(host)
            if host in self._exact:
                buckets.append(self._exact[host])
        return buckets


def _matches(bucket: Bucket, path: str) -> Iterator[tuple[Entry, Match]]:
    """Entries of a bucket whose path matches, whatever their other conditions."""
    octets = path.encode()
    for node in bucket.index.prefixes(path):
        for entry in node.entries:
            yield entry, entry
        for leaf in node.regexes or ():
            end = leaf.regex.end(octets)
            if end >= 0:
                for entry in leaf.entries:
                    yield entry, RegexMatch(entry, leaf.regex, path, end)
