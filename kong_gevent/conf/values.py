"""Text to value, by the type of the setting, with Kong's messages for what does not fit."""

from __future__ import annotations

import re
from typing import Any

from kong_gevent.conf.defaults import Setting

_SIZE = re.compile(r"(\d+)\s*([kmg]?)b?\Z", re.IGNORECASE | re.ASCII)
_SIZE_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_TIME = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)?\Z", re.ASCII)
_TIME_UNITS = {"ms": 0.001, None: 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?\Z", re.ASCII)
_BOOLEANS = {"on": True, "true": True, "off": False, "false": False}


def parse(setting: Setting, text: str) -> Any:
    """The value that `text` means. Raises ValueError with the whole message, name and value included.

    Arrays become lists of str, sizes int (bytes), times float (seconds), booleans bool.
    """
    value = _PARSERS[setting.type](setting, text)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        _check_limits(setting, value, text)
    return value


def split_list(text: str) -> list[str]:
    """Entries of a comma separated list, without blanks and empty entries."""
    return [entry.strip() for entry in text.split(",") if entry.strip()]


def parse_size(text: str) -> int:
    """Bytes of `8k`, `10m`, `1g` or a plain number. Raises ValueError."""
    match = _SIZE.match(text)
    if not match:
        raise ValueError(text)
    return int(match[1]) * _SIZE_UNITS[match[2].lower()]


def _boolean(setting: Setting, text: str) -> bool:
    try:
        return _BOOLEANS[text]
    except KeyError:
        raise ValueError(f"{setting.name} is not a boolean: '{text}' (on, off, true, false)") from None


def _number(setting: Setting, text: str) -> int | float:
    if not _NUMBER.match(text):
        raise ValueError(f"{setting.name} is not a number: '{text}'")
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{setting.name} is not a number: '{text}'")
    return int(value) if value.is_integer() else value


def _integer(setting: Setting, text: str) -> int:
    value = _number(setting, text)
    if not isinstance(value, int):
        raise ValueError(f"{setting.name} must be an integer: '{text}'")
    return value


def _size(setting: Setting, text: str) -> int:
    try:
        return parse_size(text)
    except ValueError:
        raise ValueError(
            f"{setting.name} is not a size: '{text}' (a number of bytes, or one followed by k, m or g)"
        ) from None


def _time(setting: Setting, text: str) -> int | float:
    match = _TIME.match(text)
    if not match:
        raise ValueError(f"{setting.name} is not a time: '{text}' (seconds, or a number followed by ms, s, m, h or d)")
    value = float(match[1]) * _TIME_UNITS[match[2]]
    return int(value) if value.is_integer() else value


def _enum(setting: Setting, text: str) -> str:
    if text not in setting.allowed:
        raise ValueError(f"{setting.name} has an invalid value: '{text}' ({', '.join(setting.allowed)})")
    return text


def _string(setting: Setting, text: str) -> str:
    if "\0" in text:
        raise ValueError(f"{setting.name} contains a NUL character")
    return text


def _check_limits(setting: Setting, value: float, text: str) -> None:
    low, high = setting.minimum, setting.maximum
    if low is not None and high is not None and not low <= value <= high:
        raise ValueError(f"{setting.name} must be between {low:g} and {high:g}, got '{text}'")
    if low is not None and value < low:
        raise ValueError(f"{setting.name} must be greater than or equal to {low:g}, got '{text}'")


_PARSERS = {
    "string": _string,
    "number": _number,
    "integer": _integer,
    "boolean": _boolean,
    "ngx_boolean": _boolean,
    "array": lambda setting, text: split_list(text),
    "size": _size,
    "time": _time,
    "enum": _enum,
}
