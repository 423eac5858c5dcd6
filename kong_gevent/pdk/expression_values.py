"""How values behave in the small programs of `expressions`: truth, tables, texts and numbers as in Lua 5.1."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

from kong_gevent.regex import compile_regex
from kong_gevent.schema.patterns import translate

MAX_TEXT = 1 << 18
"""Characters of a text that a program may make: it could double one again and again."""
_DIRECTIVE = re.compile(r"%([-+ #0]*\d{0,2}(?:\.\d{1,2})?)([A-Za-z%])|%")


class Native:
    """A function that programs may call; anything else is not callable for them."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __str__(self) -> str:
        return "function"


def is_true(value: Any) -> bool:
    """Everything but nil and false."""
    return value is not None and value is not False


def type_name(value: Any) -> str:
    """Lua's word for the type."""
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "string"
    return "function" if isinstance(value, Native) else "table"


def text(value: Any) -> str:
    """`tostring`: integral numbers without fraction, nil and booleans by their words."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return format(value, ".14g")
    return value if isinstance(value, str) else str(value) if isinstance(value, int) else type_name(value)


def number(value: Any, base: Any = 10) -> int | float | None:
    """`tonumber`: None for what is no number."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return value
    if not isinstance(value, str) or "_" in value:
        return None
    try:
        if base != 10:
            return int(value, int(base))
        digits = value.strip()
        found = float(int(digits, 16)) if digits[:2] in ("0x", "0X") else float(digits)
        return _plain(found)
    except (ValueError, OverflowError):
        return None


def _plain(value: float) -> int | float:
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def _operand(value: Any) -> int | float:
    found = number(value)
    if found is None:
        raise TypeError(f"attempt to perform arithmetic on a {type_name(value)} value")
    return found


def arithmetic(sign: str, left: Any, right: Any) -> int | float:
    """`+ - * / %` over numbers, and texts that hold numbers."""
    a, b = float(_operand(left)), float(_operand(right))
    if sign == "+":
        return _plain(a + b)
    if sign == "-":
        return _plain(a - b)
    if sign == "*":
        return _plain(a * b)
    return _plain(a / b if sign == "/" else a % b)


def same(left: Any, right: Any) -> bool:
    """`==`: values of different types are never equal."""
    return type_name(left) == type_name(right) and bool(left == right)


def compare(sign: str, left: Any, right: Any) -> bool:
    """`< > <= >=` between two numbers or two texts."""
    kinds = (type_name(left), type_name(right))
    if kinds not in (("number", "number"), ("string", "string")):
        raise TypeError(f"attempt to compare {kinds[0]} with {kinds[1]}")
    return bool({"<": left < right, ">": left > right, "<=": left <= right, ">=": left >= right}[sign])


def concatenate(left: Any, right: Any) -> str:
    """`..` of texts and numbers."""
    for value in (left, right):
        if type_name(value) not in ("string", "number"):
            raise TypeError(f"attempt to concatenate a {type_name(value)} value")
    return _bounded(text(left) + text(right))


def length(value: Any) -> int:
    """`#`: bytes of a text, entries of a list."""
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogateescape"))
    if isinstance(value, (list, tuple)):
        return len(value)
    if isinstance(value, Mapping):
        return 0
    raise TypeError(f"attempt to get length of a {type_name(value)} value")


def index(value: Any, key: Any) -> Any:
    """`value.key` and `value[key]`; lists count from 1, texts have the `string` functions."""
    if isinstance(value, Mapping):
        return value.get(key) if isinstance(key, (str, int, float)) else None
    if isinstance(value, (list, tuple)):
        if isinstance(key, int) and not isinstance(key, bool) and 1 <= key <= len(value):
            return value[key - 1]
        return None
    if isinstance(value, str):
        return STRING.get(key)
    raise TypeError(f"attempt to index a {type_name(value)} value")


def call(function: Any, arguments: list[Any]) -> Any:
    """Call a function that is offered to programs."""
    if not isinstance(function, Native):
        raise TypeError(f"attempt to call a {type_name(function)} value")
    return function.function(*arguments)


def _string(value: Any) -> str:
    if type_name(value) not in ("string", "number"):
        raise TypeError(f"string expected, got {type_name(value)}")
    return text(value)


def _bounded(value: str) -> str:
    if len(value) > MAX_TEXT:
        raise ValueError(f"a text of more than {MAX_TEXT} characters")
    return value


def _sub(value: Any, start: Any, end: Any = -1) -> str:
    whole = _string(value)
    first, last = int(_operand(start)), int(_operand(end))
    first = max(first + len(whole) + 1, 1) if first < 0 else max(first, 1)
    last = last + len(whole) + 1 if last < 0 else min(last, len(whole))
    return whole[first - 1 : max(last, 0)]


def _format(pattern: Any, *values: Any) -> str:
    rest = list(values)

    def directive(match: re.Match[str]) -> str:
        flags, kind = match.groups()
        if kind is None:
            raise ValueError("invalid conversion in a format")
        if kind == "%":
            return "%"
        if not rest or kind not in "sdixXfgec":
            raise ValueError("bad format" if rest else "no value for a format directive")
        value = rest.pop(0)
        if kind == "s":
            return f"%{flags}s" % text(value)
        amount = _operand(value)
        return f"%{flags}{kind}" % (amount if kind in "fge" else int(amount))

    return _bounded(_DIRECTIVE.sub(directive, _string(pattern)))


@functools.lru_cache(256)
def _compiled(pattern: str) -> Any:
    """A Lua pattern on the engine whose time is linear in the text."""
    return compile_regex("(?s)" + translate(pattern, r"\z", captures=True))


def _match(value: Any, pattern: Any) -> str | None:
    found = _compiled(_string(pattern)).search(_string(value))
    if found is None:
        return None
    return str(found.group(1) if found.re.groups else found.group())


def _gsub(value: Any, pattern: Any, replacement: Any, count: Any = None) -> str:
    put, room = _string(replacement), MAX_TEXT

    def replaced(match: Any) -> str:
        nonlocal room

        def part(reference: re.Match[str]) -> str:
            code = reference.group(1)
            return code if not code.isdigit() else match.group(int(code) if match.re.groups or code == "0" else 0) or ""

        made = re.sub(r"%(.)", part, put)
        room -= len(made)
        if room < 0:
            raise ValueError(f"a text of more than {MAX_TEXT} characters")
        return made

    times = 0 if count is None else int(_operand(count))
    if count is not None and times <= 0:
        return _string(value)
    return str(_compiled(_string(pattern)).sub(replaced, _string(value), times))


STRING: Mapping[str, Native] = {
    "lower": Native(lambda value: _string(value).lower()),
    "upper": Native(lambda value: _string(value).upper()),
    "len": Native(lambda value: length(_string(value))),
    "sub": Native(_sub),
    "format": Native(_format),
    "gsub": Native(_gsub),
    "match": Native(_match),
}
LIBRARY: Mapping[str, Any] = {
    "string": STRING,
    "tostring": Native(text),
    "tonumber": Native(number),
    "type": Native(type_name),
}
"""What every program may use."""
