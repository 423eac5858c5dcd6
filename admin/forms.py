"""The notation of form bodies: names such as `config.a[1].b` become nested values; types come later, from a schema."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote_to_bytes

from kong_gevent.errors import HttpError

MAX_ARGUMENTS = 1000
MAX_DEPTH = 64
"""Nested positions in one name; no schema is deeper than ten."""

TOO_MANY = "Too many arguments"
_APPEND = None
Step = str | int | None
"""One step into a value: a key, a 1-based position, or `None` for "next position"."""


def pairs(text: bytes) -> list[tuple[str, str | bool]]:
    """Decode `application/x-www-form-urlencoded` (or a query string) in order; a name without `=` is `True`.

    Raises `HttpError` 400 for more than 1000 arguments, invalid UTF-8 or NUL.
    """
    pieces = [piece for piece in text.split(b"&", MAX_ARGUMENTS + 1) if piece]
    if len(pieces) > MAX_ARGUMENTS:
        raise HttpError(400, TOO_MANY)
    found: list[tuple[str, str | bool]] = []
    for piece in pieces:
        name, equals, value = piece.partition(b"=")
        found.append((_text(name), _text(value) if equals else True))
    return found


def _text(raw: bytes) -> str:
    return text_of(unquote_to_bytes(raw.replace(b"+", b" ")))


def text_of(raw: bytes) -> str:
    """UTF-8 text of a form value; raises `HttpError` 400 for anything a store could not keep."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise HttpError(400, "Cannot parse arguments: invalid utf-8") from None
    if "\0" in text:
        raise HttpError(400, "Cannot parse arguments: invalid character")
    return text


def steps(name: str) -> list[Step]:
    """Split an argument's name into steps: `a[1].b[c.d][]` gives `["a", 1, "b", "c.d", None]`.

    A name that does not follow the notation (leading or trailing dot, unbalanced bracket) is one verbatim key.
    """
    if "." not in name and "[" not in name:
        return [name]
    found: list[Step] = []
    at, size = 0, len(name)
    while at < size:
        end = at
        while end < size and name[end] not in ".[":
            end += 1
        if end == at:
            return [name]  # an empty key: ".a", "a..b", "[x]"
        found.append(name[at:end])
        while end < size and name[end] == "[":
            close = name.find("]", end)
            if close < 0:
                return [name]
            found.append(_bracket(name[end + 1 : close]))
            end = close + 1
        if end < size:
            if name[end] != "." or end + 1 == size:
                return [name]
            end += 1
        at = end
    return found


def _bracket(inside: str) -> Step:
    if not inside:
        return _APPEND
    # Longer numbers are no positions, and int() refuses very long ones.
    return int(inside) if inside.isascii() and inside.isdigit() and len(inside) < 10 else inside


class Positions(dict[int, Any]):
    """Entries given by position; becomes a list, in order, without holes."""

    def append(self, value: Any) -> None:
        """Put a value behind the last position."""
        self[max(self, default=0) + 1] = value


def decode(arguments: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Nested value of a form: dicts and lists of texts (or of values that came typed, such as JSON parts).

    Repeated names make a list; the empty text is null. Raises `HttpError` 400 for names nested beyond `MAX_DEPTH`.
    """
    root: dict[Any, Any] = {}
    grouped: dict[str, Any] = {}
    for name, value in arguments:
        value = None if value == "" else value
        if name in grouped:
            earlier = grouped[name]
            if not isinstance(earlier, _Repeated):
                earlier = grouped[name] = _Repeated([earlier])
            earlier.append(value)
        else:
            grouped[name] = value
    for name, value in grouped.items():
        path = steps(name)
        if len(path) > MAX_DEPTH:
            raise HttpError(400, "Cannot parse arguments: too deeply nested")
        _put(root, path, value)
    plain: dict[str, Any] = _plain(root)
    return plain


class _Repeated(list[Any]):
    """Values of one repeated name."""


def _put(root: dict[Any, Any], path: list[Step], value: Any) -> None:
    container: dict[Any, Any] = root
    for step, following in zip(path, path[1:], strict=False):
        wanted = Positions if following is _APPEND or isinstance(following, int) else dict
        inner = None if step is _APPEND else container.get(step)
        if not isinstance(inner, dict):  # nothing yet, or a scalar that a deeper name replaces
            inner = wanted()
            _set(container, step, inner)
        container = inner
    last = path[-1]
    if last is _APPEND:
        for item in value if isinstance(value, _Repeated) else [value]:
            _set(container, None, item)
    elif not isinstance(container.get(last), dict):
        container[last] = list(value) if isinstance(value, _Repeated) else value


def _set(container: dict[Any, Any], step: Step, value: Any) -> None:
    if step is not None:
        container[step] = value
    elif isinstance(container, Positions):
        container.append(value)
    else:  # "a[]" beside "a.b": keep both apart
        container[""] = value


def _plain(value: Any) -> Any:
    """Turn positions into lists; a container with both positions and keys stays a map with text keys."""
    if isinstance(value, Positions) and all(isinstance(key, int) for key in value):
        return [_plain(value[key]) for key in sorted(value)]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value
