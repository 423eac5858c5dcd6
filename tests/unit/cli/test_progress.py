"""What is shown while another process works: lines in a file, a bar on a terminal, nothing when it is quick."""

import os
import pty
import subprocess
import sys
from typing import Any
from unittest.mock import MagicMock, Mock

import gevent
import pytest

from kong_gevent.cli import progress, waiting
from kong_gevent.cli.progress import elsewhere

SCRIPT = "from kong_gevent.cli.progress import elsewhere\nwith elsewhere('Applying'): pass\nprint('done')"


def test_lines_where_nobody_watches(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(waiting, "TICK_SECONDS", 0.01)
    shown = ""
    with gevent.Timeout(30), elsewhere("Comparing"):
        while not shown:
            gevent.sleep(0.01)
            shown = capsys.readouterr().err
    assert shown.splitlines()[0] == "Comparing: 0 s"


@pytest.mark.parametrize(
    ("state", "line"),
    [
        ({"doing": None, "done": None, "total": None}, "Applying: 0 s"),
        ({"doing": "reading", "done": 1500, "total": None}, "Applying: reading 1,500, 0 s"),
        ({"doing": "comparing", "done": 300, "total": 10000}, "Applying: comparing 300 of 10,000, 0 s"),
        ({"doing": "storing", "done": 0, "total": None}, "Applying: storing, 0 s"),
    ],
)
def test_lines_that_tell_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], state: dict[str, Any], line: str
) -> None:
    monkeypatch.setattr(waiting, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(progress, "time", Mock(monotonic=lambda: 5.0))
    shown = ""
    with gevent.Timeout(30), elsewhere("Applying", lambda: state):
        while not shown:
            gevent.sleep(0.01)
            shown = capsys.readouterr().err
    assert shown.splitlines()[0] == line


def test_the_share_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, Any]] = []
    bars = MagicMock()
    bars.__enter__.return_value.update = lambda task, **values: shown.append(values)
    monkeypatch.setattr(progress, "ASK_SECONDS", 0.01)
    monkeypatch.setattr(progress, "_rich", lambda **_: bars)
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    states = [{}, {"doing": "comparing", "done": 3, "total": 4}]
    with gevent.Timeout(30), elsewhere("Applying", lambda: states.pop(0) if len(states) > 1 else states[0]):
        while len(shown) < 2:
            gevent.sleep(0.01)
    assert shown[:2] == [
        {"description": "Applying", "total": None, "completed": 0},
        {"description": "Applying: comparing", "total": 4, "completed": 3},
    ]


def test_nothing_when_it_is_quick(capsys: pytest.CaptureFixture[str]) -> None:
    with elsewhere("Comparing"):
        pass
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal() -> None:
    master, slave = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=slave, timeout=60, check=True,
            env={**os.environ, "TERM": "xterm"},
        )  # fmt: skip
        os.set_blocking(master, False)
        assert b"Applying" in os.read(master, 65536)
    finally:
        os.close(slave)
        os.close(master)
    assert done.stdout == b"done\n"
