"""Texts with expressions in them, `v2/$(headers.host)`, parsed once and never handed to `eval`; see `expressions`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from kong_gevent.pdk.expression_values import LIBRARY, text
from kong_gevent.pdk.expressions import Expression, ExpressionError, parse_expression

if TYPE_CHECKING:
    from kong_gevent.pdk.context import Context

BEGIN = "$("


class Template:
    """A text whose `$(expression)` parts are computed; what is missing or false gives nothing.

    `constant` is the text when there is nothing to compute, else None.
    """

    __slots__ = ("_parts", "constant")

    def __init__(self, source: str) -> None:
        """Raises `ExpressionError` with the reason."""
        self._parts: list[str | Expression] = list(_parts(source))
        fixed = [part for part in self._parts if isinstance(part, str)]
        self.constant = "".join(fixed) if len(fixed) == len(self._parts) else None

    @classmethod
    def plain(cls, text: str) -> Template:
        """A text in which `$(` means nothing."""
        made = cls("")
        made._parts, made.constant = [text], text
        return made

    def render(self, names: Mapping[str, Any]) -> str:
        """The text for these names (see `names_for`); raises `ExpressionError`."""
        if self.constant is not None:
            return self.constant
        state = dict(names)
        try:
            return "".join([part if isinstance(part, str) else _shown(part(state)) for part in self._parts])
        except Exception as error:  # of whatever kind, as in `Program.run`
            raise ExpressionError(str(error)) from error


def _parts(source: str) -> Iterator[str | Expression]:
    at = 0
    while (begin := source.find(BEGIN, at)) >= 0:
        if begin > at:
            yield source[at:begin]
        end = _closing(source, begin + len(BEGIN))
        yield parse_expression(source[begin + len(BEGIN) : end])
        at = end + 1
    if at < len(source):
        yield source[at:]


def _closing(source: str, at: int) -> int:
    """The place of the parenthesis that ends an expression; those in quotes do not count."""
    depth, quote = 1, ""
    while at < len(source):
        char = source[at]
        if quote:
            if char == "\\":
                at += 1
            elif char == quote:
                quote = ""
        elif char in "\"'":
            quote = char
        elif char in "()":
            depth += 1 if char == "(" else -1
            if not depth:
                return at
        at += 1
    raise ExpressionError("')' expected near '<eof>'")


def _shown(value: Any) -> str:
    if value is None or value is False:
        return ""
    if isinstance(value, list):
        return ", ".join([text(item) for item in value])
    return text(value)


class _Headers(Mapping[str, Any]):
    """The fields of a request in any spelling: a text, a list when repeated, None when absent."""

    __slots__ = ("_ctx",)

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    def __getitem__(self, name: Any) -> Any:
        found = self._ctx.field(name) if isinstance(name, str) else None
        return [_decoded(value) for value in found] if isinstance(found, list) else found and _decoded(found)

    def get(self, name: Any, default: Any = None) -> Any:
        return self[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._ctx.request.headers())

    def __len__(self) -> int:
        return len(self._ctx.request.headers())


def _decoded(value: str) -> str:
    """A field's value as UTF-8; octets that are none survive the way back."""
    return value if value.isascii() else value.encode("latin-1").decode("utf-8", "surrogateescape")


def names_for(ctx: Context) -> dict[str, Any]:
    """What templates may use: `headers`, `query_params`, `uri_captures` as the client sent them; `shared`; `LIBRARY`.

    `uri_captures` has the groups of a route's regular expression by name and number; 0 is all that it matched.
    """
    captures: dict[str | int, Any] = {}
    match = ctx.match
    if match is not None and match.captures:
        named, unnamed = match.captures
        captures = {0: match.prefix, **dict(enumerate(unnamed, 1)), **named}
    return {
        **LIBRARY,
        "headers": _Headers(ctx),
        "query_params": ctx.request.query_args(),
        "uri_captures": captures,
        "shared": ctx.shared,
    }
