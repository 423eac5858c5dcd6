"""Lua patterns, in which Kong's schemas are written, as Python's regular expressions."""

from __future__ import annotations

import functools
import re

_CLASSES = {
    "a": "A-Za-z",
    "c": r"\x00-\x1f\x7f",
    "d": "0-9",
    "g": "!-~",
    "l": "a-z",
    "p": re.escape("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"),
    "s": r" \t\n\r\f\v",
    "u": "A-Z",
    "w": "A-Za-z0-9",
    "x": "A-Fa-f0-9",
}


@functools.cache
def lua_pattern(pattern: str) -> re.Pattern[str]:
    """A Lua pattern (classes, sets, `-` repeats, anchors; no `%b`, `%f`, captures) as a Python one."""
    return re.compile(translate(pattern), re.DOTALL)


def translate(pattern: str, end: str = r"\Z", captures: bool = False) -> str:
    """The text of a regular expression for a Lua pattern; `end`: how the end of the text is written."""
    out: list[str] = []
    at, size, in_set, repeatable = 0, len(pattern), False, False
    while at < size:
        char = pattern[at]
        if char == "%" and at + 1 < size:
            at += 1
            out.append(_escape(pattern[at], in_set))
            repeatable = True
        elif in_set:
            if char == "]":
                in_set, repeatable = False, True
            out.append("\\" + char if char in "\\[&~|" else char)
        elif char == "[":
            negated = pattern[at + 1 : at + 2] == "^"
            at += int(negated)
            out.append("[^" if negated else "[")
            in_set = True
        elif char == "-" and repeatable:
            out.append("*?")
            repeatable = False
        elif (char == "^" and at == 0) or char in "*+?.":
            out.append(char)
            repeatable = char == "."
        elif char == "$" and at == size - 1:
            out.append(end)
        elif captures and char in "()":
            out.append(char)
            repeatable = False
        else:
            out.append(re.escape(char))
            repeatable = True
        at += 1
    return "".join(out)


def _escape(char: str, in_set: bool) -> str:
    lower = char.lower()
    if char.isalpha() and lower in _CLASSES:
        members = _CLASSES[lower]
        if char.isupper():
            return f"[^{members}]"
        return members if in_set else f"[{members}]"
    return re.escape(char)
