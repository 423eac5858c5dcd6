"""Regular expressions of routes, on google-re2: time linear in the input, so no expression can hang a worker.

re2 has no back-references and no look-around; such an expression is refused when the route is added.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import re2

from kong_gevent.regex import compile_regex, options

Span = tuple[int, int]
Spans = list[Span]
Matcher = Callable[[Any, bytes, int, int], Spans]
_LITERAL_LIMIT = 128
"""Bytes of a literal prefix that are looked for at most; a longer one only makes the index coarser."""


class PathRegex:
    """A compiled path expression: anchored at the start, case-sensitive; works on paths in normal form (ASCII).

    `literal` is the text that every matching path begins with, possibly empty.
    """

    __slots__ = ("_anchor", "_match", "_names", "literal", "pattern")

    def __init__(self, pattern: str) -> None:
        """Raises ValueError with re2's reason when it cannot compile `pattern`."""
        self.pattern = pattern
        compiled = _compile(pattern)
        self._match, self._anchor = _matcher(compiled)
        self._names: dict[int, str] = {index: name.decode() for name, index in compiled.groupindex.items()}
        self.literal = _literal_prefix(pattern)

    def __repr__(self) -> str:
        return f"<PathRegex {self.pattern!r}>"

    def end(self, path: bytes) -> int:
        """Length of the text matched at the start of `path`, -1 when it does not match."""
        return self._match(self._anchor, path, 0, len(path))[0][1]

    def captures(self, path: bytes) -> tuple[dict[str, str], list[str | None]]:
        """Named and unnamed captures of a match; `unnamed` has every group in order, None where it took no part."""
        spans = self._match(self._anchor, path, 0, len(path))
        if spans[0][1] < 0:
            return {}, []
        values = [None if start < 0 else path[start:end].decode("latin-1") for start, end in spans]
        named = {name: value for index, name in self._names.items() if (value := values[index]) is not None}
        return named, values[1:]


class RegexSet:
    """Several path expressions tried in one pass over the path. Raises ValueError when they are too much for one."""

    __slots__ = ("_match", "_sentinel")

    def __init__(self, patterns: list[str]) -> None:
        # When re2 runs out of memory it reports no match at all; the empty pattern, which always matches, tells
        # that from "none of them".
        several = re2.Set.MatchSet(options())
        for pattern in patterns:
            several.Add(pattern.encode())
        self._sentinel: int = several.Add(b"")
        try:
            several.Compile()
        except re2.error as error:
            raise ValueError(f"{len(patterns)} regexes do not fit into one set") from error
        self._match: Callable[[bytes], list[int] | None] = several.Match

    def matches(self, path: bytes) -> list[int] | None:
        """Positions of the patterns that match, in no order; None when re2 gave up and each has to be tried."""
        found = self._match(path)
        if found is None:
            return None
        try:
            found.remove(self._sentinel)
        except ValueError:
            return None
        return found


def compile_path_regex(pattern: str) -> PathRegex:
    """Compile the expression of a route path, with or without the `~` that marks it.

    Raises ValueError with the reason when re2 cannot compile it.
    """
    return PathRegex(pattern.removeprefix("~"))


def compile_header_regex(pattern: str) -> Callable[[str], bool]:
    """A test for header values in lower case: found anywhere, without regard to case.

    Raises ValueError with the reason when re2 cannot compile `pattern`.
    """
    search = _compile(pattern, case_sensitive=False).search
    return lambda value: search(value.encode("utf-8", "surrogatepass")) is not None


def _compile(pattern: str, *, case_sensitive: bool = True) -> Any:
    try:
        return compile_regex(pattern.encode(), case_sensitive=case_sensitive)
    except UnicodeEncodeError:
        raise ValueError(f"invalid regex: {pattern!r} (not valid Unicode)") from None
    except ValueError as error:
        raise ValueError(f"invalid regex: {pattern!r} ({error})") from None


def _matcher(compiled: Any) -> tuple[Matcher, Any]:
    """The cheapest way to the spans of a match (start and end -1 when there is none), and its first argument.

    `match` of re2's Python layer costs five times as much as the extension's own method below it; the layer is used
    where a release keeps that method elsewhere.
    """
    match = getattr(getattr(compiled, "_regexp", None), "Match", None)
    anchor = getattr(getattr(re2, "_Anchor", None), "ANCHOR_START", None)
    if match is None or anchor is None:
        return _layered_match, compiled
    return match, anchor


def _layered_match(compiled: Any, text: bytes, start: int, end: int) -> Spans:
    match = compiled.match(text, start, end)
    return [(-1, -1)] if match is None else [match.span(group) for group in range(compiled.groups + 1)]


def _literal_prefix(pattern: str) -> str:
    """What all texts that match at their start begin with: the common beginning of the least and greatest of them."""
    anchored = _compile(f"^(?:{pattern})")
    try:
        least, greatest = anchored.possiblematchrange(_LITERAL_LIMIT)
    except re2.error:
        return ""
    length = 0
    for one, other in zip(least, greatest, strict=False):
        if one != other or one > 127:
            break
        length += 1
    return str(least[:length].decode("ascii"))
