"""Finding, signalling and locking the processes of a prefix, with processes that pose as a gateway."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from kong_gevent.cli import process
from kong_gevent.cli.stopping import stop_gracefully, stop_now

POLITE = "import time; print('up', flush=True); time.sleep(600)  # gunicorn"
STUBBORN = (
    "import signal, time; signal.signal(15, signal.SIG_IGN); signal.signal(3, signal.SIG_IGN);"
    "print('up', flush=True); time.sleep(600)  # gunicorn"
)


@pytest.fixture
def prefix(tmp_path: Path) -> str:
    (tmp_path / "pids").mkdir()
    return str(tmp_path)


class Poser:
    """Starts processes and ends what is left of them."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, code: str = POLITE, kong_prefix: str | None = None) -> int:
        environment = {**os.environ, "KONG_PREFIX": kong_prefix or self.prefix}
        started = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE)
        self.started.append(started)
        assert started.stdout is not None
        started.stdout.readline()
        process.pid_file(self.prefix).write_text(f"{started.pid}\n")
        return started.pid

    def end(self) -> None:
        for started in self.started:
            started.kill()
            started.communicate()


@pytest.fixture
def poser(prefix: str) -> Iterator[Poser]:
    made = Poser(prefix)
    yield made
    made.end()


def test_a_running_master_is_found(poser: Poser, prefix: str) -> None:
    assert process.running_pid(prefix) is None
    pid = poser.start()
    assert process.running_pid(prefix) == pid
    assert process.require_running(prefix) == pid


@pytest.mark.parametrize("text", ["", "nonsense", "-1", "0", "999999999"])
def test_a_useless_pid_file_means_not_running(prefix: str, text: str) -> None:
    process.pid_file(prefix).write_text(text)
    assert process.running_pid(prefix) is None


def test_another_program_with_that_pid_is_not_ours(poser: Poser, prefix: str) -> None:
    poser.start("import time; print(1, flush=True); time.sleep(600)")
    assert process.running_pid(prefix) is None


def test_the_gateway_of_another_prefix_is_not_ours(poser: Poser, prefix: str) -> None:
    poser.start(kong_prefix="/elsewhere")
    assert process.running_pid(prefix) is None


def test_a_zombie_does_not_run(poser: Poser, prefix: str) -> None:
    pid = poser.start()
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert process.running_pid(prefix) is None


def test_not_running_says_what_it_looked_at(prefix: str) -> None:
    with pytest.raises(click.ClickException) as caught:
        process.require_running(prefix)
    assert caught.value.message == f"Kong is not running in {prefix}: no pid file {prefix}/pids/kong.pid"
    process.pid_file(prefix).write_text("999999999")
    with pytest.raises(click.ClickException, match="the process 999999999 of .* is gone"):
        process.require_running(prefix)


def test_stop_ends_it_and_forgets_it(poser: Poser, prefix: str) -> None:
    pid = poser.start()
    stop_now(prefix, pid)
    assert not process.alive(pid)
    assert not process.pid_file(prefix).exists()


def test_quit_waits_for_a_polite_end(poser: Poser, prefix: str) -> None:
    assert stop_gracefully(prefix, poser.start(), 20) is True
    assert not process.pid_file(prefix).exists()


def test_quit_forces_what_does_not_end(poser: Poser, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kong_gevent.cli.stopping._FAST_SECONDS", 0.2)
    pid = poser.start(STUBBORN)
    assert stop_gracefully(prefix, pid, 0.2) is False
    assert not process.alive(pid)


def test_kill_takes_the_workers_along(poser: Poser, prefix: str) -> None:
    child = [sys.executable, "-c", "import time; time.sleep(600)"]
    pid = poser.start(
        f"import subprocess; p = subprocess.Popen({child!r}); print('up', flush=True); p.wait()  # gunicorn"
    )
    workers = process.children(pid)
    assert workers
    process.kill(pid)
    assert not any(process.alive(worker) for worker in workers)


def test_a_foreign_pid_file_is_left_alone(prefix: str) -> None:
    process.pid_file(prefix).write_text("5")
    process.forget(prefix, 6)
    assert process.read_pid(prefix) == 5


def test_one_start_at_a_time(prefix: str) -> None:
    with process.start_lock(prefix):
        with pytest.raises(click.ClickException, match="another start or reload is under way in"):
            with process.start_lock(prefix):
                pass
    with process.start_lock(prefix):
        pass


def test_the_lock_needs_the_prefix() -> None:
    with pytest.raises(click.ClickException, match="cannot lock the prefix /nowhere: No such file or directory"):
        with process.start_lock("/nowhere"):
            pass
