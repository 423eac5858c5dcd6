"""Progress for people: a bar on a terminal, a plain line every two seconds elsewhere, nothing when told to be quiet."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import click
import gevent

from kong_gevent.cli.waiting import TICK_SECONDS, Ticker
from kong_gevent.db.migrations.progress import Progress

ASK_SECONDS = 0.5
"""Seconds between two questions how far another process is."""


class Meter:
    """Counts work of a known or unknown (None) amount. A context manager; `advance` tells what was done."""

    def __init__(self, title: str, total: int | None = None) -> None:
        self._title = title
        self._total = total
        self._done = 0
        self._shown = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """End the display."""

    def advance(self, count: int) -> None:
        """So much more is done."""
        self._done += count
        self.show()

    def show(self) -> None:
        """Print a line, unless one was printed within the last two seconds."""
        if time.monotonic() - self._shown >= TICK_SECONDS:
            self._shown = time.monotonic()
            of = f" of {self._total:,}" if self._total is not None else ""
            click.echo(f"{self._title}: {self._done:,}{of}", err=True)


class _Silent(Meter):
    def show(self) -> None:
        """Nothing."""


class _Bar(Meter):
    """A meter on a terminal."""

    def __enter__(self) -> Self:
        self._progress = _rich()
        self._progress.start()
        self._task = self._progress.add_task(self._title, total=self._total)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._progress.stop()

    def show(self) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=self._done)


def meter(title: str, total: int | None = None, *, quiet: bool = False) -> Meter:
    """A meter that fits where standard error goes."""
    if quiet:
        return _Silent(title, total)
    return (_Bar if sys.stderr.isatty() else Meter)(title, total)


@contextmanager
def elsewhere(title: str, ask: Callable[[], Mapping[str, Any]] = dict) -> Iterator[None]:
    """Show that another process works, for how long, and how far it is: a bar on a terminal, else lines.

    `ask`: what it does (`doing`), and of how many things (`total`) so many are `done`; what is not known is missing
    or None.
    """
    if sys.stderr.isatty():
        with _rich(counting=False) as bars:
            task = bars.add_task(title, total=None)
            follower = gevent.spawn(_follow, title, ask, functools.partial(bars.update, task))
            try:
                yield
            finally:
                follower.kill()
        return
    began = time.monotonic()
    with Ticker(lambda: f"{title}: {_words(ask())}{time.monotonic() - began:.0f} s"):
        yield


def _follow(title: str, ask: Callable[[], Mapping[str, Any]], update: Callable[..., None]) -> None:
    """Keep a bar up to date; never returns."""
    while True:
        gevent.sleep(ASK_SECONDS)
        state = ask()
        shown = f"{title}: {state['doing']}" if state.get("doing") else title
        update(description=shown, total=state.get("total"), completed=state.get("done") or 0)


def _words(state: Mapping[str, Any]) -> str:
    """`comparing 300 of 10,000, `, as far as it is known."""
    if not state.get("doing"):
        return ""
    done = f" {state['done']:,}" if state.get("done") else ""
    of = f" of {state['total']:,}" if done and state.get("total") else ""
    return f"{state['doing']}{done}{of}, "


def _rich(*, counting: bool = True) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    counted = [MofNCompleteColumn()] if counting else []
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), *counted, TimeElapsedColumn())
    return Bars(*columns, console=Console(stderr=True), transient=not counting)


class Status:
    """What is going on, in one line that is written again: on a terminal in its place, elsewhere every two seconds."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._said = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._terminal and self._said:
            click.echo("\r\033[K", nl=False, err=True)

    def __call__(self, text: str) -> None:
        """This goes on now."""
        now = time.monotonic()
        if self._terminal:
            click.echo(f"\r\033[K{text}", nl=False, err=True)
        elif self._said and now - self._said < TICK_SECONDS:
            return
        else:
            click.echo(text, err=True)
        self._said = now


class MigrationLines(Progress):
    """Migrations as lines: one when a step begins, one every two seconds while it runs or waits."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._state: Callable[[], str] | None = None
        self._ticker = Ticker(lambda: self._state() if self._state else None).start()

    def waiting(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self._state = lambda: (
            "Waiting for another process that changes the database, "
            f"{max(0.0, end - time.monotonic()):.0f} s more at most"
        )

    def begins(self, name: str, half: str, number: int, total: int) -> None:
        self._say(f"Migrating core: {name} ({half}), step {number} of {total}")
        began = time.monotonic()
        self._state = lambda: f"Still at {name} ({half}) after {time.monotonic() - began:.0f} s"

    def ended(self, name: str, half: str, seconds: float) -> None:
        self._state = None

    def close(self) -> None:
        """Stop what runs in the background."""
        self._ticker.stop()


class MigrationBar(MigrationLines):
    """Migrations as a bar on a terminal."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(say)
        self._bar: Any = None
        self._task: Any = None

    def begins(self, name: str, half: str, number: int, total: int) -> None:
        self._state = None
        if self._bar is None:
            self._bar = _rich()
            self._bar.start()
            self._task = self._bar.add_task("", total=total)
        self._bar.update(self._task, description=f"Migrating core: {name} ({half})")

    def ended(self, name: str, half: str, seconds: float) -> None:
        self._bar.advance(self._task)

    def close(self) -> None:
        """Leave the bar as it is."""
        super().close()
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.stop()


def migration_progress(say: Callable[[str], None] | None) -> Progress:
    """What shows migrations where standard error goes. `say` prints a line; None: show nothing."""
    if say is None:
        return Progress()
    return (MigrationBar if sys.stderr.isatty() else MigrationLines)(say)
