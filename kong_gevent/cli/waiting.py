"""Waiting where people can see it: a line every two seconds that says for what, and why it takes long."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

import click
import gevent

from kong_gevent.errors import StoreMisconfigured, StoreUnavailable

T = TypeVar("T")
TICK_SECONDS = 2.0
_PAUSE = 0.5


class Ticker:
    """Prints what `text` says every two seconds, on standard error, while its block runs; None is not printed.

    The block has to wait cooperatively, as everything that talks to a store does.
    """

    def __init__(self, text: Callable[[], str | None]) -> None:
        self._text = text
        self._greenlet: gevent.Greenlet | None = None

    def start(self) -> Self:
        """Begin to print."""
        self._greenlet = gevent.spawn(self._tick)
        return self

    def stop(self) -> None:
        """Print no more."""
        if self._greenlet is not None:
            self._greenlet.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop()

    def _tick(self) -> None:
        while True:
            gevent.sleep(TICK_SECONDS)
            text = self._text()
            if text is not None:
                click.echo(text, err=True)
                sys.stderr.flush()


def reach(action: Callable[[], T], what: str, seconds: float) -> T:
    """The result of `action`, tried again while the store is away, for at most `seconds`; 0 tries once.

    Raises `StoreMisconfigured` at once, as waiting would not help; `StoreUnavailable` with the last reason in the end.
    """
    reason = f"{what} has not answered yet"
    end = time.monotonic() + seconds

    def text() -> str:
        return f"Waiting for the datastore, {max(0.0, end - time.monotonic()):.0f} s more at most: {reason}"

    with Ticker(text):
        while True:
            try:
                return action()
            except StoreMisconfigured:
                raise
            except StoreUnavailable as error:
                reason = str(error)
                if seconds <= 0:
                    raise
            left = end - time.monotonic()
            if left <= 0:
                raise StoreUnavailable(f"{reason} (tried for {seconds:g} s)")
            gevent.sleep(min(_PAUSE, left))
