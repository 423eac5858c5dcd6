"""Small programs inside settings: the part of Lua that people write there, parsed once and never handed to `eval`.

Understood: `return`, `local`, `if … then … elseif … else … end`, literals, names, `.field`, `["field"]`, `[number]`,
calls of the functions offered, `or and not == ~= < > <= >= .. + - * / % #` and parentheses. There are no loops and no
assignments to anything but locals, so every program ends. Values: nil is None, tables are dicts or lists (counted
from 1).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from kong_gevent.errors import GatewayError
from kong_gevent.pdk.expression_values import (
    Native,
    arithmetic,
    call,
    compare,
    concatenate,
    index,
    is_true,
    length,
    number,
    same,
)

MAX_DEPTH = 60
MAX_SIZE = 10_000
_TOKEN = re.compile(
    r"""\s+|--\[\[.*?\]\]|--[^\n]*
    |(?P<number>0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<long>\[\[.*?\]\])
    |(?P<sign>\.\.|==|~=|<=|>=|[-+*/%#<>=(){}\[\],;:.])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_KEYWORDS = frozenset(
    ("and", "else", "elseif", "end", "false", "if", "local", "nil", "not", "or", "return", "then", "true")
)
_NOT_THERE = frozenset(("break", "do", "for", "function", "goto", "in", "repeat", "until", "while"))
_COMPARISONS = frozenset(("==", "~=", "<", ">", "<=", ">="))

State = dict[str, Any]
"""Names and their values during one run: what is offered, and the locals over it."""
Expression = Callable[[State], Any]
_NO_RESULT: Any = object()
NOT_ALLOWED = "programs in settings are not evaluated, since untrusted_lua = off"
"""What to say where `Kit.runs_programs` is not set."""


class ExpressionError(GatewayError):
    """A program that cannot be parsed, or that failed while it ran."""


class Program:
    """A parsed program; `run` may be called by many requests at once."""

    __slots__ = ("_body", "source")

    def __init__(self, source: str) -> None:
        """Raises `ExpressionError` with the reason and the place."""
        self.source = source
        parser = _Parser(source)
        self._body = parser.block(frozenset())
        parser.expect_end()

    def run(self, names: Mapping[str, Any]) -> Any:
        """The value returned (None when the program ends without `return`); raises `ExpressionError`."""
        try:
            result = self._body(dict(names))
        except Exception as error:  # of whatever kind: the functions that are offered take any value
            raise ExpressionError(str(error)) from error
        return None if result is _NO_RESULT else result


def parse_expression(source: str) -> Expression:
    """One expression on its own, as templates hold it; raises `ExpressionError`."""
    parser = _Parser(source)
    expression = parser.expression()
    parser.expect_end()
    return expression


def _tokens(source: str) -> list[tuple[str, str, int]]:
    found: list[tuple[str, str, int]] = []
    at = 0
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            raise ExpressionError(f"line {source.count(chr(10), 0, at) + 1}: unexpected symbol near '{source[at]}'")
        if match.lastgroup is not None:
            found.append((match.lastgroup, match.group(), at))
        at = match.end()
    return found


class _Parser:
    """Recursive descent; each method consumes tokens and returns a closure that evaluates what it read."""

    def __init__(self, source: str) -> None:
        if len(source) > MAX_SIZE:
            raise ExpressionError(f"more than {MAX_SIZE} characters")
        self._source = source
        self._tokens = _tokens(source)
        self._at = 0
        self._depth = 0

    def _peek(self) -> str:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def _next(self) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            raise self._unexpected()
        kind, text, _ = self._tokens[self._at]
        self._at += 1
        return kind, text

    def _take(self, text: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at][:2] in (("sign", text), ("name", text)):
            self._at += 1
            return True
        return False

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise self._unexpected(f"'{text}' expected")

    def _unexpected(self, wanted: str = "unexpected symbol") -> ExpressionError:
        if self._at < len(self._tokens):
            _, text, offset = self._tokens[self._at]
            line, near = self._source.count("\n", 0, offset) + 1, text
        else:
            line, near = self._source.count("\n") + 1, "<eof>"
        return ExpressionError(f"line {line}: {wanted} near '{near}'")

    def expect_end(self) -> None:
        """Refuse anything that follows."""
        if self._at < len(self._tokens):
            raise self._unexpected("<eof> expected")

    # statements

    def block(self, ends: frozenset[str]) -> Expression:
        """Statements up to one of `ends` or the end of the text."""
        statements: list[Expression] = []
        while self._at < len(self._tokens) and self._peek() not in ends:
            if self._take(";"):
                continue
            if self._take("return"):
                statements.append(self._return(ends))
                break
            statements.append(self._statement())
        if len(statements) == 1:
            return statements[0]

        def run(state: State) -> Any:
            for statement in statements:
                result = statement(state)
                if result is not _NO_RESULT:
                    return result
            return _NO_RESULT

        return run

    def _return(self, ends: frozenset[str]) -> Expression:
        if self._at >= len(self._tokens) or self._peek() in ends or self._peek() == ";":
            value: Expression = _nil
        else:
            value = self.expression()
        self._take(";")
        if self._at < len(self._tokens) and self._peek() not in ends:
            raise self._unexpected("<eof> expected")
        return value

    def _statement(self) -> Expression:
        if self._peek() in _NOT_THERE:
            raise self._unexpected("this statement is not available here")
        if self._take("local"):
            return self._local()
        if self._take("if"):
            return self._if()
        raise self._unexpected()

    def _local(self) -> Expression:
        kind, name = self._next()
        if kind != "name" or name in _KEYWORDS or name in _NOT_THERE:
            self._at -= 1
            raise self._unexpected("<name> expected")
        value = self.expression() if self._take("=") else _nil

        def assign(state: State) -> Any:
            state[name] = value(state)
            return _NO_RESULT

        return assign

    def _if(self) -> Expression:
        self._enter()
        condition = self.expression()
        self._expect("then")
        body = self.block(frozenset(("else", "elseif", "end")))
        otherwise: Expression = lambda state: _NO_RESULT  # noqa: E731
        if self._take("elseif"):
            otherwise = self._if()
        else:
            if self._take("else"):
                otherwise = self.block(frozenset(("end",)))
            self._expect("end")
        self._depth -= 1
        return lambda state: (body if is_true(condition(state)) else otherwise)({**state})

    # expressions, from the loosest to the tightest binding

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._unexpected("too deeply nested")

    def expression(self) -> Expression:
        """`or`, the loosest operator."""
        self._enter()
        left = self._and()
        while self._take("or"):
            left = _either(left, self._and())
        self._depth -= 1
        return left

    def _and(self) -> Expression:
        left = self._comparison()
        while self._take("and"):
            left = _both(left, self._comparison())
        return left

    def _comparison(self) -> Expression:
        left = self._concatenation()
        while self._peek() in _COMPARISONS:
            _, sign = self._next()
            left = _compared(sign, left, self._concatenation())
        return left

    def _concatenation(self) -> Expression:
        left = self._sum()
        if self._take(".."):
            self._enter()
            right = self._concatenation()
            self._depth -= 1
            return lambda state: concatenate(left(state), right(state))
        return left

    def _sum(self) -> Expression:
        left = self._product()
        while self._peek() in ("+", "-"):
            _, sign = self._next()
            left = _calculated(sign, left, self._product())
        return left

    def _product(self) -> Expression:
        left = self._unary()
        while self._peek() in ("*", "/", "%"):
            _, sign = self._next()
            left = _calculated(sign, left, self._unary())
        return left

    def _unary(self) -> Expression:
        for sign in ("not", "-", "#"):
            if self._take(sign):
                self._enter()
                value = self._unary()
                self._depth -= 1
                if sign == "not":
                    return lambda state: not is_true(value(state))
                if sign == "#":
                    return lambda state: length(value(state))
                return lambda state: arithmetic("-", 0, value(state))
        return self._suffixed()

    def _suffixed(self) -> Expression:
        value = self._primary()
        while True:
            if self._take("."):
                value = _indexed(value, _constant(self._field_name()))
            elif self._take("["):
                key = self.expression()
                self._expect("]")
                value = _indexed(value, key)
            elif self._take(":"):
                value = _method(value, self._field_name(), self._arguments())
            elif self._peek() == "(" and self._tokens[self._at][0] == "sign":
                value = _called(value, self._arguments())
            else:
                return value

    def _field_name(self) -> str:
        kind, name = self._next()
        if kind != "name" or name in _KEYWORDS:
            self._at -= 1
            raise self._unexpected("<name> expected")
        return name

    def _arguments(self) -> list[Expression]:
        self._expect("(")
        arguments: list[Expression] = []
        if self._take(")"):
            return arguments
        while True:
            arguments.append(self.expression())
            if self._take(")"):
                return arguments
            self._expect(",")

    def _primary(self) -> Expression:
        kind, text = self._next()
        if kind == "number":
            return _constant(number(text))
        if kind == "text":
            return _constant(_unquote(text))
        if kind == "long":
            return _constant(text[2:-2].removeprefix("\n"))
        if kind == "sign" and text == "(":
            value = self.expression()
            self._expect(")")
            return value
        if kind == "name" and text in ("nil", "true", "false"):
            return _constant({"nil": None, "true": True, "false": False}[text])
        if kind == "name" and text not in _KEYWORDS and text not in _NOT_THERE:
            return lambda state: state.get(text)
        self._at -= 1
        raise self._unexpected()


def _nil(_state: State) -> None:
    return None


def _constant(value: Any) -> Expression:
    return lambda state: value


def _either(left: Expression, right: Expression) -> Expression:
    def run(state: State) -> Any:
        value = left(state)
        return value if is_true(value) else right(state)

    return run


def _both(left: Expression, right: Expression) -> Expression:
    def run(state: State) -> Any:
        value = left(state)
        return right(state) if is_true(value) else value

    return run


def _compared(sign: str, left: Expression, right: Expression) -> Expression:
    if sign == "==":
        return lambda state: same(left(state), right(state))
    if sign == "~=":
        return lambda state: not same(left(state), right(state))
    return lambda state: compare(sign, left(state), right(state))


def _calculated(sign: str, left: Expression, right: Expression) -> Expression:
    return lambda state: arithmetic(sign, left(state), right(state))


def _indexed(value: Expression, key: Expression) -> Expression:
    return lambda state: index(value(state), key(state))


def _called(function: Expression, arguments: list[Expression]) -> Expression:
    return lambda state: call(function(state), [argument(state) for argument in arguments])


def _method(value: Expression, name: str, arguments: list[Expression]) -> Expression:
    def run(state: State) -> Any:
        target = value(state)
        return call(index(target, name), [target, *(argument(state) for argument in arguments)])

    return run


def _unquote(text: str) -> str:
    def escaped(match: re.Match[str]) -> str:
        code = match.group(1)
        if code.isdigit():
            return chr(min(int(code), 255))
        return _ESCAPES.get(code, code)

    return re.sub(r"\\(\d{1,3}|.)", escaped, text[1:-1], flags=re.DOTALL)


__all__ = ["Expression", "ExpressionError", "Native", "Program", "parse_expression"]
