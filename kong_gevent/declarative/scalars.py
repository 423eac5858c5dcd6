"""Plain YAML texts as values by the rules of YAML 1.1, and values as texts that mean the same to every reader."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

_TAG = "tag:yaml.org,2002:"
_RESOLVERS: dict[str, list[tuple[str, Any]]] = yaml.resolver.Resolver.yaml_implicit_resolvers
_CONSTRUCT = {
    f"{_TAG}bool": yaml.constructor.SafeConstructor.construct_yaml_bool,
    f"{_TAG}int": yaml.constructor.SafeConstructor.construct_yaml_int,
    f"{_TAG}float": yaml.constructor.SafeConstructor.construct_yaml_float,
}
_NULL, _STR = f"{_TAG}null", f"{_TAG}str"
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_PLAIN = re.compile(rf"(?:{_UUID}|[A-Za-z/_][\w./@-]*)\Z", re.ASCII)
LONGEST_NUMBER = 250
"""Characters of a number (or boolean): what is longer may be no double, and Python refuses to print it."""
_DIGITS = 19
_WORDS = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null", "none", "nan", "inf"))
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def typed(event: Any) -> Any:
    """The value of a scalar event. Dates stay texts: nothing in a configuration is a date."""
    text: str = event.value
    tag = event.tag
    if tag is None or tag == "!":
        if not event.implicit[0] or tag == "!":
            return text
        if len(text) < _DIGITS and text.isdigit() and text.isascii() and (text[0] != "0" or text == "0"):
            return int(text)
        tag = _implicit(text)
    if tag == _STR:
        return text
    if tag == _NULL:
        return None
    construct = _CONSTRUCT.get(tag)
    if construct is None:
        raise yaml.MarkedYAMLError(None, None, f"the tag '{tag}' is not supported", event.start_mark)
    if len(text) > LONGEST_NUMBER:
        raise yaml.MarkedYAMLError(None, None, "a number is too long", event.start_mark)
    try:
        return construct(_CONSTRUCTOR, yaml.ScalarNode(tag, text))
    except (ValueError, KeyError, IndexError):
        raise yaml.MarkedYAMLError(None, None, f"'{text}' is not a {tag[len(_TAG) :]}", event.start_mark) from None


def _implicit(text: str) -> str:
    for tag, pattern in _RESOLVERS.get(text[:1], ()):
        if pattern.match(text):
            return tag if tag in _CONSTRUCT or tag == _NULL else _STR
    return _STR


_CONSTRUCTOR = yaml.constructor.SafeConstructor()


def scalar(value: Any) -> str:
    """A YAML text for null, a boolean, a number or a text."""
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, str):
        if _PLAIN.match(value) and value.lower() not in _WORDS:
            return value
        quoted = json.dumps(value, ensure_ascii=False)
        return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", quoted)
    return _number(value)


def _number(value: int | float) -> str:
    if isinstance(value, int):
        return str(value)
    text = repr(value)
    # YAML 1.1 wants a dot in a float, and a sign in its exponent.
    mantissa, e, exponent = text.partition("e")
    if not e:
        return text
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{exponent if exponent[0] in '+-' else '+' + exponent}"
