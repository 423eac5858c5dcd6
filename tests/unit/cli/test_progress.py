"""What is shown while another process works: lines in a file, a bar on a terminal, nothing when it is quick."""

import os
import pty
import subprocess
import sys

import gevent
import pytest

from kong_gevent.cli import waiting
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
