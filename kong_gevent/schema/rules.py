"""The rules a field may carry, by Kong's names, in the order in which Kong 3.9 tries them; the first failure wins."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kong_gevent.regex import regex_error
from kong_gevent.schema.messages import REQUIRED
from kong_gevent.schema.patterns import lua_pattern

Rule = Callable[[Any], str | None]
"""Takes a value that is not null, returns the text of the failure or None."""

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z", re.IGNORECASE | re.ASCII)


def is_uuid(value: object) -> bool:
    """Whether a value is 36 characters of hexadecimal digits and dashes in UUID form, any version, any case."""
    return isinstance(value, str) and _UUID.match(value) is not None


def show(value: Any) -> str:
    """A value inside a text: integral numbers without fraction, null and booleans in Lua's words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def listed(values: Sequence[Any]) -> str:
    """`a, b, c`."""
    return ", ".join(show(value) for value in values)


def quoted(names: Sequence[str]) -> str:
    """`'a', 'b'`."""
    return ", ".join(f"'{name}'" for name in names)


def size_of(value: Any) -> int:
    """Length as the rules count it: strings in bytes, collections in entries."""
    return len(value.encode(errors="surrogatepass")) if isinstance(value, str) else len(value)


def same(value: Any, other: Any) -> bool:
    """Equality without Python's `True == 1`."""
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


def compiled(pattern: str | re.Pattern[str]) -> re.Pattern[str]:
    """A Lua pattern given as text, or a Python pattern given compiled."""
    return lua_pattern(pattern) if isinstance(pattern, str) else pattern


def _eq(expected: Any) -> Rule:
    return lambda value: None if same(value, expected) else f"value must be {show(expected)}"


def _ne(refused: Any) -> Rule:
    return lambda value: f"value must not be {show(refused)}" if same(value, refused) else None


def _not_one_of(refused: Sequence[Any]) -> Rule:
    text = f"must not be one of: {listed(refused)}"
    return lambda value: text if any(same(value, other) for other in refused) else None


def _one_of(accepted: Sequence[Any]) -> Rule:
    text = f"expected one of: {listed(accepted)}"
    return lambda value: None if any(same(value, other) for other in accepted) else text


def _gt(limit: float) -> Rule:
    return lambda value: None if value > limit else f"value must be greater than {show(limit)}"


def _timestamp(wanted: bool) -> Rule:
    return lambda value: None if not wanted or value > 0 else "expected a valid timestamp"


def _uuid(wanted: bool) -> Rule:
    return lambda value: None if not wanted or is_uuid(value) else "expected a valid UUID"


def _is_regex(wanted: bool) -> Rule:
    return lambda value: None if not wanted or regex_error(value) is None else f"not a valid regex: {value}"


def _between(limits: Sequence[float]) -> Rule:
    low, high = limits
    text = f"value should be between {show(low)} and {show(high)}"
    return lambda value: None if low <= value <= high else text


def _len_eq(size: int) -> Rule:
    return lambda value: None if size_of(value) == size else f"length must be {size}"


def _len_min(size: int) -> Rule:
    # A string has at least as many bytes as characters: counting characters first spares the encoding.
    return lambda value: None if len(value) >= size or size_of(value) >= size else f"length must be at least {size}"


def _len_max(size: int) -> Rule:
    return lambda value: None if size_of(value) <= size else f"length must be at most {size}"


def _starts_with(prefix: str) -> Rule:
    return lambda value: None if value.startswith(prefix) else f"should start with: {prefix}"


def _match(pattern: str | re.Pattern[str]) -> Rule:
    expression = compiled(pattern)
    return lambda value: None if expression.search(value) else f"invalid value: {value}"


def _not_match(pattern: str | re.Pattern[str]) -> Rule:
    expression = compiled(pattern)
    return lambda value: f"invalid value: {value}" if expression.search(value) else None


def _match_none(entries: Sequence[Mapping[str, str]]) -> Rule:
    expressions = [(compiled(entry["pattern"]), entry.get("err")) for entry in entries]

    def rule(value: str) -> str | None:
        for expression, text in expressions:
            if expression.search(value):
                return text or f"invalid value: {value}"
        return None

    return rule


def _match_all(entries: Sequence[Mapping[str, str]]) -> Rule:
    expressions = [(compiled(entry["pattern"]), entry.get("err")) for entry in entries]

    def rule(value: str) -> str | None:
        for expression, text in expressions:
            if not expression.search(value):
                return text or f"invalid value: {value}"
        return None

    return rule


def _match_any(entry: Mapping[str, Any]) -> Rule:
    expressions = [compiled(pattern) for pattern in entry["patterns"]]
    text = entry.get("err")
    return lambda value: None if any(e.search(value) for e in expressions) else text or f"invalid value: {value}"


def _contains(wanted: Any) -> Rule:
    return lambda value: None if wanted in value else f"expected to contain: {show(wanted)}"


def _exclusive_subsets(subsets: Sequence[Sequence[str]]) -> Rule:
    def rule(value: Sequence[Any]) -> str | None:
        used = [subset for subset in subsets if any(item in subset for item in value)]
        if len(used) < 2:
            return None
        return f"these sets are mutually exclusive: ({quoted(used[0])}), ({quoted(used[1])})"

    return rule


def _custom(function: Rule) -> Rule:
    return function


BUILDERS: Mapping[str, Callable[[Any], Rule]] = {
    "eq": _eq,
    "ne": _ne,
    "not_one_of": _not_one_of,
    "one_of": _one_of,
    "gt": _gt,
    "timestamp": _timestamp,
    "uuid": _uuid,
    "is_regex": _is_regex,
    "between": _between,
    "len_eq": _len_eq,
    "len_min": _len_min,
    "len_max": _len_max,
    "starts_with": _starts_with,
    "not_match": _not_match,
    "match_none": _match_none,
    "match": _match,
    "match_all": _match_all,
    "match_any": _match_any,
    "contains": _contains,
    "custom_validator": _custom,
    "mutually_exclusive_subsets": _exclusive_subsets,
}
"""Rule name → maker, in the order of evaluation."""


def compile_rules(attributes: Mapping[str, Any]) -> tuple[Rule, ...]:
    """The rules among some attributes, ready to call, in Kong's order."""
    return tuple(make(attributes[name]) for name, make in BUILDERS.items() if attributes.get(name) is not None)


def matcher(match: Mapping[str, Any]) -> Rule:
    """A test of a value against the `if_match`/`then_match` of an entity check; gives the failure (text) or None.

    Null passes every rule but `eq`, `ne` and `required`, as everywhere in Kong's schemas.
    """
    text = match.get("err")
    rules = compile_rules(match)
    element = matcher(match["elements"]) if "elements" in match else None
    not_null = bool(match.get("required")) or ("ne" in match and match["ne"] is None)
    only_null = "eq" in match and match["eq"] is None

    def null_error() -> str | None:
        if match.get("eq") is not None:
            return text or f"value must be {show(match['eq'])}"
        if not_null:
            return text or (REQUIRED if match.get("required") else "value must not be null")
        return None

    def test(value: Any) -> str | None:
        if value is None:
            return null_error()
        if only_null:
            return text or "value must be null"
        if element is not None:
            failure = next((error for item in value if (error := element(item))), None)
            if failure:
                return text or failure
        failure = next((error for rule in rules if (error := rule(value))), None)
        return (text or failure) if failure else None

    return test
