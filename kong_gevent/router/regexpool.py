"""The regex paths that begin with the same literal text, tried in one pass however many they are."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter

from kong_gevent.router.leaf import NOTHING, Leaf
from kong_gevent.router.regex import PathRegex, RegexSet
from kong_gevent.router.subroutes import Entry, HeaderLookup, Match, RegexMatch

CHUNK = 256
"""Regexes that are tried in one pass; adding one compiles its chunk anew, at about 7 µs for each regex in it."""
LOAD_CHUNK = 2048
"""The same for regexes that are loaded together: fewer passes, and later changes go to chunks of their own."""
FEW = 6
"""Up to so many regexes are tried one after another."""
_by_top = attrgetter("top")


class RegexLeaf(Leaf):
    """All entries of one regex path."""

    __slots__ = ("chunk", "regex")

    def __init__(self, regex: PathRegex, chunk: Chunk) -> None:
        super().__init__()
        self.regex = regex
        self.chunk = chunk


class Chunk:
    """Some regexes of a pool; what look-ups read is made by `prepare` after changes."""

    __slots__ = ("_compiled", "_order", "_set", "_set_is_old", "changed", "leaves", "too_big", "top")

    def __init__(self) -> None:
        self.leaves: list[RegexLeaf] = []
        self.changed = False
        self.too_big = False
        self.top = NOTHING
        self._order: list[RegexLeaf] = []
        self._compiled: list[RegexLeaf] = []
        self._set: RegexSet | None = None
        self._set_is_old = False

    def add(self, leaf: RegexLeaf) -> None:
        """Take a regex in."""
        leaf.chunk = self
        self.leaves.append(leaf)
        self.changed = self._set_is_old = True

    def remove(self, leaf: RegexLeaf) -> None:
        """Forget a regex. The compiled set may keep it: a leaf without entries never wins."""
        self.leaves.remove(leaf)

    def prepare(self) -> None:
        """Bring order and set up to date."""
        self.changed = self.too_big = False
        self._order = sorted(self.leaves, key=_by_top, reverse=True)
        self.top = self._order[0].top if self._order else NOTHING
        if len(self.leaves) <= FEW:
            self._set = None
            self._set_is_old = True
        elif self._set_is_old:
            self._compiled = list(self.leaves)
            try:
                self._set = RegexSet([leaf.regex.pattern for leaf in self._compiled])
                self._set_is_old = False
            except ValueError:
                self._set = None
                self.too_big = True

    def halves(self) -> tuple[Chunk, Chunk]:
        """Two new chunks with the regexes of this one."""
        middle = len(self.leaves) // 2
        parts = Chunk(), Chunk()
        for part, leaves in zip(parts, (self.leaves[:middle], self.leaves[middle:]), strict=True):
            for leaf in leaves:
                part.add(leaf)
        return parts

    def candidates(self, path: bytes) -> list[RegexLeaf]:
        """Leaves to try, by descending `top`: those that match according to the set, else all."""
        found = self._set.matches(path) if self._set is not None else None
        if found is None:
            return self._order
        if len(found) < 2:
            return [self._compiled[at] for at in found]
        return sorted([self._compiled[at] for at in found], key=_by_top, reverse=True)


class RegexPool:
    """Regex entries below one literal prefix; equal regexes share a leaf."""

    __slots__ = ("_chunks", "_leaves", "_only", "top")

    def __init__(self) -> None:
        self._leaves: dict[str, RegexLeaf] = {}
        self._chunks: list[Chunk] = []
        self._only: RegexLeaf | None = None
        self.top = NOTHING

    def __bool__(self) -> bool:
        return bool(self._leaves)

    def __iter__(self) -> Iterator[RegexLeaf]:
        return iter(self._leaves.values())

    def add(self, entry: Entry, regex: PathRegex, chunk_size: int) -> None:
        """Take an entry in, a new regex into a chunk of at most `chunk_size`; `prepare` before the next look-up."""
        leaf = self._leaves.get(regex.pattern)
        if leaf is None:
            chunk = next((chunk for chunk in reversed(self._chunks) if len(chunk.leaves) < chunk_size), None)
            if chunk is None:
                chunk = Chunk()
                self._chunks.append(chunk)
            leaf = self._leaves[regex.pattern] = RegexLeaf(regex, chunk)
            chunk.add(leaf)
        leaf.add(entry)
        leaf.chunk.changed = True

    def remove(self, entry: Entry, regex: PathRegex) -> None:
        """Forget an entry; call `prepare` before the next look-up."""
        leaf = self._leaves[regex.pattern]
        leaf.remove(entry)
        leaf.chunk.changed = True
        if leaf.top == NOTHING:
            del self._leaves[regex.pattern]
            leaf.chunk.remove(leaf)
            if not leaf.chunk.leaves:
                self._chunks.remove(leaf.chunk)

    def prepare(self) -> None:
        """Bring what look-ups read up to date after changes."""
        chunks, self._chunks = self._chunks, []
        while chunks:
            chunk = chunks.pop()
            if chunk.changed:
                chunk.prepare()
            if chunk.too_big:
                chunks += chunk.halves()
            else:
                self._chunks.append(chunk)
        self._only = next(iter(self._leaves.values())) if len(self._leaves) == 1 else None
        self.top = max((chunk.top for chunk in self._chunks), default=NOTHING)

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
        """`best`, or a match by one of these regexes that comes before it."""
        bound = NOTHING if best is None else best.key[0]
        octets = path.encode()
        leaf = self._only
        if leaf is not None:
            entry = leaf.solo or leaf.pick(method, port, headers, sni, tls)
            if entry is not None and (best is None or entry.key > best.key):
                end = leaf.regex.end(octets)
                if end >= 0:
                    return RegexMatch(entry, leaf.regex, path, end)
            return best
        for chunk in self._chunks:
            if chunk.top < bound:
                continue
            for leaf in chunk.candidates(octets):
                if leaf.top < bound:
                    break
                entry = leaf.solo or leaf.pick(method, port, headers, sni, tls)
                if entry is None or (best is not None and entry.key < best.key):
                    continue
                end = leaf.regex.end(octets)
                if end >= 0:
                    best = RegexMatch(entry, leaf.regex, path, end)
                    bound = best.key[0]
        return best
