"""The routes of one path: chosen among by method, header value or other conditions without trying them all."""

from __future__ import annotations

from bisect import bisect_left, insort
from operator import attrgetter
from typing import TypeVar

from kong_gevent.router.subroutes import Conditions, Entry, HeaderLookup

K = TypeVar("K")
_by_key = attrgetter("key")
_by_top = attrgetter("top")
NOTHING = -1
"""Upper bound of priorities where there is no entry."""


def _insert(entries: list[Entry], entry: Entry) -> None:
    insort(entries, entry, key=_by_key)


def _discard(entries: list[Entry], entry: Entry) -> None:
    at = bisect_left(entries, entry.key, key=_by_key)
    while at < len(entries) and entries[at].key == entry.key:
        if entries[at] is entry:
            del entries[at]
            return
        at += 1


def _discard_from(table: dict[K, list[Entry]], key: K, entry: Entry) -> None:
    group = table.get(key)
    if group is not None:
        _discard(group, entry)
        if not group:
            del table[key]


class Bag:
    """Entries of one path, each in one group: by a plain header value, by method, or in the list that is walked.

    Every list is in ascending order of keys and walked from its end.
    """

    __slots__ = ("by_header", "by_method", "entries", "walked")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.walked: list[Entry] = []
        self.by_method: dict[bytes, list[Entry]] = {}
        self.by_header: dict[str, dict[str, list[Entry]]] = {}

    def add(self, entry: Entry) -> None:
        """Take an entry in."""
        _insert(self.entries, entry)
        conditions = entry.conditions
        name = self._header_for(conditions) if conditions is not None and conditions.headers else None
        if conditions is None:
            _insert(self.walked, entry)
        elif name is not None:
            table = self.by_header.setdefault(name, {})
            for value in self._values(conditions, name):
                _insert(table.setdefault(value, []), entry)
        elif conditions.methods is not None:
            for method in conditions.methods:
                _insert(self.by_method.setdefault(method, []), entry)
        else:
            _insert(self.walked, entry)

    def remove(self, entry: Entry) -> None:
        """Forget an entry."""
        _discard(self.entries, entry)
        _discard(self.walked, entry)
        conditions = entry.conditions
        if conditions is None:
            return
        for method in conditions.methods or ():
            _discard_from(self.by_method, method, entry)
        for condition in conditions.headers:
            table = self.by_header.get(condition.name)
            if table is not None:
                for value in condition.values:
                    _discard_from(table, value, entry)
                if not table:
                    del self.by_header[condition.name]

    def _header_for(self, conditions: Conditions) -> str | None:
        """The header to group an entry by: of those without patterns the one with the least crowded values."""
        best, least = None, -1
        for condition in conditions.headers:
            if condition.patterns:
                continue
            table = self.by_header.get(condition.name, {})
            crowd = sum(len(table.get(value, ())) for value in condition.values)
            if best is None or crowd < least:
                best, least = condition.name, crowd
        return best

    @staticmethod
    def _values(conditions: Conditions, name: str) -> frozenset[str]:
        return next(condition.values for condition in conditions.headers if condition.name == name)

    def pick(self, method: bytes, port: int, headers: HeaderLookup, sni: str | None, tls: bool) -> Entry | None:
        """The entry with the greatest key whose conditions hold."""
        best: Entry | None = None
        for entry in reversed(self.walked):
            conditions = entry.conditions
            if conditions is None or conditions.hold(method, port, headers, sni, tls):
                best = entry
                break
        if self.by_method:
            best = _better(best, self.by_method.get(method), method, port, headers, sni, tls)
        if self.by_header:
            for name, table in self.by_header.items():
                for value in headers(name) or ():
                    best = _better(best, table.get(value), method, port, headers, sni, tls)
        return best


def _better(
    best: Entry | None,
    group: list[Entry] | None,
    method: bytes,
    port: int,
    headers: HeaderLookup,
    sni: str | None,
    tls: bool,
) -> Entry | None:
    """`best`, or an entry of `group` that comes before it and whose conditions hold."""
    if group is not None:
        for entry in reversed(group):
            if best is not None and entry.key < best.key:
                break
            if entry.conditions is None or entry.conditions.hold(method, port, headers, sni, tls):
                return entry
    return best


class Leaf:
    """All entries of one path. `top`: the greatest priority among them; `solo`: the first of them, if it asks for
    nothing but host and path."""

    __slots__ = ("bag", "solo", "top")

    def __init__(self) -> None:
        self.bag: Bag | None = None
        self.solo: Entry | None = None
        self.top = NOTHING

    @property
    def entries(self) -> list[Entry]:
        """In ascending order of keys."""
        if self.bag is not None:
            return self.bag.entries
        return [] if self.solo is None else [self.solo]

    def add(self, entry: Entry) -> None:
        """Take an entry in."""
        if self.bag is None:
            if self.solo is None and entry.conditions is None:
                self.solo = entry
                self.top = entry.key[0]
                return
            self.bag = Bag()
            if self.solo is not None:
                self.bag.add(self.solo)
        self.bag.add(entry)
        self._settle(self.bag)

    def remove(self, entry: Entry) -> None:
        """Forget an entry."""
        if self.bag is None:
            if self.solo is entry:
                self.solo = None
                self.top = NOTHING
            return
        self.bag.remove(entry)
        self._settle(self.bag)

    def _settle(self, bag: Bag) -> None:
        if not bag.entries:
            self.bag = self.solo = None
            self.top = NOTHING
            return
        first = bag.entries[-1]
        self.top = first.key[0]
        self.solo = first if first.conditions is None else None
        if self.solo is not None and len(bag.entries) == 1:
            self.bag = None

    def pick(self, method: bytes, port: int, headers: HeaderLookup, sni: str | None, tls: bool) -> Entry | None:
        """The entry with the greatest key whose conditions hold."""
        if self.solo is not None:
            return self.solo
        return None if self.bag is None else self.bag.pick(method, port, headers, sni, tls)
