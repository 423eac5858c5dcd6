"""The error log: Kong's levels, one line per event, never holding up a request."""

from __future__ import annotations

import logging
import re
from datetime import datetime

from kong_gevent.observe.accesslog import LineWriter

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "notice": 25,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "crit": logging.CRITICAL,
    "alert": 55,
    "emerg": 60,
}
"""Kong's levels as numbers of `logging`."""
_NAMES = {number: name for name, number in LEVELS.items()}
_SECRETS = re.compile(
    r"""(?ix) (["']? (?: password | passwd | secret | api_?key | authorization | token | client_secret )
        ["']? \s* [:=] \s*)
        ( "[^"]*" | '[^']*' | (?: (?: bearer | basic ) \s+ )? [^\s,;}&]+ )"""
)


def level_name(number: int) -> str:
    """Kong's name of a level."""
    return _NAMES.get(number) or min(LEVELS, key=lambda name: abs(LEVELS[name] - number))


def masked(text: str) -> str:
    """`text` with the values of things named like secrets blanked out."""
    return _SECRETS.sub(r"\1******", text)


class Formatter(logging.Formatter):
    """`2026/01/31 12:00:00.123 [error] 4711#kong_gevent.proxy: message`; secrets masked, later lines indented."""

    def format(self, record: logging.LogRecord) -> str:
        """One event as text."""
        stamp = datetime.fromtimestamp(record.created).strftime("%Y/%m/%d %H:%M:%S.%f")[:-3]
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        text = masked(text).replace("\n", "\n    ")
        return f"{stamp} [{level_name(record.levelno)}] {record.process}#{record.name}: {text}"


class BackgroundHandler(logging.Handler):
    """Hands formatted lines to a writer that works in the background."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer
        self.setFormatter(Formatter())

    def emit(self, record: logging.LogRecord) -> None:
        """Queue one line."""
        try:
            self._writer.append(self.format(record).encode("utf-8", "backslashreplace") + b"\n")
        except Exception:
            self.handleError(record)


def set_up(level: str, writer: LineWriter) -> None:
    """Send all of the gateway's loggers to this writer."""
    logging.addLevelName(LEVELS["notice"], "NOTICE")
    logger = logging.getLogger("kong_gevent")
    logger.handlers[:] = [BackgroundHandler(writer)]
    logger.propagate = False
    logger.setLevel(LEVELS[level])
