"""Lua patterns behave as in Lua; users' expressions run on an engine that cannot hang."""

import pytest

from kong_gevent.regex import regex_error
from kong_gevent.schema.patterns import lua_pattern


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("^[A-Za-z0-9-_]+$", ["a-b_c"], ["a b", "", "a\n"]),
        ("^%u+$", ["AB"], ["aB", "A1"]),
        ("^[^:]+:.*$", ["a:b", "a:"], [":b", "ab"]),
        ("^.*[^:]$", ["a:b"], ["a:", ""]),
        ("%-", ["a-b"], ["ab"]),
        ("^a.-b$", ["ab", "axxb"], ["a"]),
        ("%w*%p*@+%w*%.?%w*", ["me@example.com"], ["me"]),
        ("^%*%.", ["*.a"], ["a.*"]),
        ("^[Hh][Oo]%-$", ["hO-"], ["ho"]),
        ("a$b^", ["a$b^"], ["ab"]),
        ("^[%a_][%w_]*$", ["_a1"], ["1a"]),
        ("^%S+$", ["ab"], ["a b"]),
        ("^[a.]+$", ["a.a"], ["ab"]),
        ("^[^*&%%\\`]+$", ["/tmp/x"], ["a%b", "a\\b", "a`b"]),
    ],
)
def test_lua_patterns(pattern: str, matching: list[str], others: list[str]) -> None:
    expression = lua_pattern(pattern)
    assert [text for text in matching + others if expression.search(text)] == matching


@pytest.mark.parametrize("pattern", ["/a(?=b)", r"/(a)\1", "/(a", "/[z-a]", "/(?<!a)b", "/a{1001}", "/\ud800"])
def test_what_the_engine_lacks_is_an_error(pattern: str) -> None:
    assert regex_error(pattern)


@pytest.mark.parametrize("pattern", ["/(a+)+$", "/(?<name>x)", "/(?P<name>x)", "/\\d+", "/é"])
def test_other_expressions_are_accepted(pattern: str) -> None:
    assert regex_error(pattern) is None
