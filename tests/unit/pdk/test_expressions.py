"""Small programs in settings: what they mean, what is refused, and that none can hurt."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kong_gevent.pdk.expression_values import LIBRARY, Native
from kong_gevent.pdk.expressions import ExpressionError, Program, parse_expression

NAMES: dict[str, Any] = {
    **LIBRARY,
    "n": 5,
    "t": "Blue",
    "list": ["a", "b"],
    "map": {"x-y": {"z": 1}, "on": True},
    "twice": Native(lambda value: value * 2),
    "attribute": Native(lambda value: value.name),
    "raw": len,
}


def run(source: str) -> Any:
    return Program(source).run(NAMES)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("", None),
        ("return", None),
        ("return nil", None),
        ("return true;", True),
        ("return 'a' -- comment", "a"),
        ("--[[ long\ncomment ]] return [[\nlong text]]", "long text"),
        (r"return 'a\n\65\'\\'", "a\nA'\\"),
        ("return 0x1F", 31),
        ("return 1.5e1", 15),
        ("return 1e999", float("inf")),
        ("return tonumber('0x" + "f" * 300 + "')", None),
        ("return 7 / 2", 3.5),
        ("return 8 / 2", 4),
        ("return -7 % 3", 2),
        ("return 1 + 2 * 3 - 4", 3),
        ("return (1 + 2) * 3", 9),
        ("return - - 3", 3),
        ("return '10' + 5", 15),
        ("return 'a' .. 1 .. 'b'", "a1b"),
        ("return 1 .. ''", "1"),
        ("return 0.5 .. ''", "0.5"),
        ("return #'abc' + #list", 5),
        ("return #'ü'", 2),
        ("return not nil", True),
        ("return not 0", False),
        ("return nil and 1", None),
        ("return false or 'x'", "x"),
        ("return 0 or 'x'", 0),
        ("return n == 5 and t ~= 'blue'", True),
        ("return 1 == '1'", False),
        ("return true == 1", False),
        ("return 'a' < 'b'", True),
        ("return 2 <= 2 and 3 >= 4", False),
        ("return list[1] .. list[2]", "ab"),
        ("return list[3]", None),
        ("return list[0]", None),
        ("return map['x-y'].z", 1),
        ("return map.none", None),
        ("return unknown", None),
        ("return twice(n)", 10),
        ("return t:lower() .. t:upper() .. string.len(t)", "blueBLUE4"),
        ("return ('hello'):sub(2, 3)", "el"),
        ("return string.sub('hello', -3)", "llo"),
        ("return string.sub('hello', 4, 2)", ""),
        ("return string.format('%05.1f|%s|%d|%x|%%', 2.25, 'x', 3, 255)", "002.2|x|3|ff|%"),
        ("return tostring(nil) .. tostring(true) .. tostring(12)", "niltrue12"),
        ("return tonumber('0x10') + tonumber('7')", 23),
        ("return tonumber('x')", None),
        ("return tonumber('ff', 16)", 255),
        ("return type(n) .. type(t) .. type(list) .. type(nil) .. type(true)", "numberstringtablenilboolean"),
        ("local a = 1 local b = a + 1 return b", 2),
        ("local a return a", None),
        ("if n > 3 then return 'big' end return 'small'", "big"),
        ("if n > 9 then return 1 elseif n > 4 then return 2 else return 3 end", 2),
        ("local r = 'out' if map.on then local r = 'in' end return r", "out"),
        ("if nil then end", None),
    ],
)
def test_programs_mean_what_lua_means(source: str, value: Any) -> None:
    result = run(source)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("retur 1", "line 1: unexpected symbol near 'retur'"),
        ("return (", "line 1: unexpected symbol near '<eof>'"),
        ("return 1 2", "line 1: <eof> expected near '2'"),
        ("return\n\n@", "line 3: unexpected symbol near '@'"),
        ("return 'a", "line 1: unexpected symbol near '''"),
        ("x = 1", "line 1: unexpected symbol near 'x'"),
        ("local if = 1", "line 1: <name> expected near 'if'"),
        ("if 1 then return 2", "line 1: 'end' expected near '<eof>'"),
        ("for i = 1, 2 do end", "line 1: this statement is not available here near 'for'"),
        ("while true do end", "line 1: this statement is not available here near 'while'"),
        ("return function() end", "line 1: unexpected symbol near 'function'"),
        ("return {}", "line 1: unexpected symbol near '{'"),
        ("return " + "(" * 1000, "line 1: too deeply nested near '('"),
        ("return " + "not " * 1000 + "1", "line 1: too deeply nested near 'not'"),
        ("return " + "'a' .." * 1000 + "'a'", "line 1: too deeply nested"),
        ("if 1 then " * 1000, "line 1: too deeply nested"),
        ("return '" + "a" * 20000 + "'", "more than 10000 characters"),
    ],
)
def test_what_is_no_program_is_refused_with_the_place(source: str, reason: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        Program(source)
    assert str(caught.value).startswith(reason)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("return nil .. 'a'", "attempt to concatenate a nil value"),
        ("return list + 1", "attempt to perform arithmetic on a table value"),
        ("return 1 < 'a'", "attempt to compare number with string"),
        ("return nil.x", "attempt to index a nil value"),
        ("return n.x", "attempt to index a number value"),
        ("return t()", "attempt to call a string value"),
        ("return raw(t)", "attempt to call a table value"),
        ("return t.__class__()", "attempt to call a nil value"),
        ("return list.append('x')", "attempt to call a nil value"),
        ("return #nil", "attempt to get length of a nil value"),
        ("return 1 / 0", "float division by zero"),
        ("return twice()", "missing 1 required positional argument"),
        ("return string.rep('a', 1e9)", "attempt to call a nil value"),
        ("return string.format('%999d', 1)", "invalid conversion in a format"),
        ("return string.format('%d')", "no value for a format directive"),
        ("return string.gsub('x', '(x)', '%2')", "bad group index"),
        ("return attribute(nil)", "has no attribute"),
        ("local a = 'x' " + "local a = a .. a " * 40, "a text of more than"),
        ("local a = 'x' " + "local a = string.format('%s%s', a, a) " * 40, "a text of more than"),
        ("local a = 'x' " + "local a = string.gsub(a, '.*', '%0%0') " * 40, "a text of more than"),
        ("local a = 'x' " + "local a = a .. a " * 18 + "return string.gsub(a, '.', a)", "a text of more than"),
    ],
)
def test_failures_while_running_say_why(source: str, reason: str) -> None:
    program = Program(source)
    with pytest.raises(ExpressionError) as caught:
        program.run(NAMES)
    assert reason in str(caught.value)


def test_a_run_leaves_the_names_as_they_were() -> None:
    names = {"a": 1}
    assert Program("local a = 2 return a").run(names) == 2
    assert names == {"a": 1}


def test_expressions_stand_alone_too() -> None:
    assert parse_expression("a or 'default'")({}) == "default"
    for source in ("a b", "[" * 20_000):
        with pytest.raises(ExpressionError):
            parse_expression(source)


@given(st.text(max_size=200) | st.text(alphabet="()[]{}.,:;'\"\\-+*/%#=~<>return if then end nil 0a", max_size=200))
def test_any_text_is_a_program_or_refused(source: str) -> None:
    try:
        program = Program(source)
    except ExpressionError:
        return
    try:
        program.run(NAMES)
    except ExpressionError:
        return
