"""Short turns of a process that works beside those who serve requests."""

import signal
import subprocess
import sys
import time

import pytest

from kong_gevent.turns import ShortTurns, with_rests

PATIENCE = 30.0


def test_a_process_of_its_own_works_in_short_turns() -> None:
    before = signal.getsignal(signal.SIGALRM)
    end = time.monotonic() + PATIENCE
    with ShortTurns() as turns:
        while turns.turns < 3:
            assert time.monotonic() < end
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_an_alarm_that_waits_for_its_handler_at_the_end_is_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the timer set once more the process would be killed, as nobody handles the signal any longer."""
    with ShortTurns() as turns:
        monkeypatch.setattr("kong_gevent.turns.signal.signal", lambda number, handler: turns._look())
    monkeypatch.undo()
    armed = signal.getitimer(signal.ITIMER_REAL)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    assert armed == (0.0, 0.0)


def test_threads_rest_between_things_while_there_are_turns() -> None:
    items = range(3)
    assert with_rests(items) is items
    with ShortTurns() as turns:
        rests: list[float] = []
        turns._sleep = rests.append
        end = time.monotonic() + PATIENCE
        for _ in with_rests(range(10**9)):
            if len(rests) >= 3:
                break
            assert time.monotonic() < end
    assert with_rests(items) is items


def test_they_begin_before_anything_large_is_imported() -> None:
    code = "import sys; before = set(sys.modules); import kong_gevent.turns; print(*set(sys.modules) - before)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {name.partition(".")[0] for name in found} - set(sys.stdlib_module_names) == {"kong_gevent"}
