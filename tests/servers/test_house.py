"""What a test session does with its servers: shares them, says when one cannot be had or is left out, leaves none."""

import os
import subprocess
import sys
from pathlib import Path
from signal import SIGKILL

import pytest

from tests.gateway import ROOT
from tests.servers.house import House
from tests.servers.process import ServerMissing
from tests.wire import wait_until

TESTS = """
import os, pathlib, time, pytest

@pytest.mark.parametrize("number", range(4))
def test_uses_redis(redis, number, request):
    place = pathlib.Path({place!r})
    (place / f"{{number}}-{{os.getpid()}}").write_text(f"{{redis.folder}} {{redis.port}}")
    time.sleep({pause})

@pytest.mark.needs("redis")
def test_asks_late(request):
    assert request.getfixturevalue("redis").ready()

def test_needs_nothing():
    pass
"""


def session(folder: Path, *words: str, pause: float = 0.0, path: str = "") -> subprocess.Popen[str]:
    """A test session of its own on TESTS; its tests write what they see to the folder ``seen``."""
    seen = folder / "seen"
    seen.mkdir()
    (folder / "test_own.py").write_text(TESTS.format(place=str(seen), pause=pause))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **({"PATH": path} if path else {})}
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "tests.servers.fixtures", "-p", "no:cacheprovider", "-q", "-rA",
         "--basetemp", str(folder / "base"), "--rootdir", str(folder), "-c", os.devnull, *words, str(folder)],
        cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True,
    )  # fmt: skip


def run(folder: Path, *words: str, path: str = "") -> tuple[int, str]:
    """Exit code and output of such a session."""
    process = session(folder, *words, path=path)
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def servers_seen(folder: Path) -> set[str]:
    return {file.read_text() for file in (folder / "seen").iterdir() if file.read_text()}


@pytest.mark.needs("redis")
@pytest.mark.parametrize("processes", [0, 2])
def test_a_session_shares_one_server_and_leaves_nothing(tmp_path: Path, processes: int) -> None:
    code, output = run(tmp_path, "-n", str(processes))
    assert code == 0, output
    assert len(list((tmp_path / "seen").iterdir())) == 4
    (server,) = servers_seen(tmp_path)
    assert not Path(server.split()[0]).parent.exists()


@pytest.mark.needs("redis")
def test_a_session_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    process = session(tmp_path, pause=100)
    wait_until(lambda: servers_seen(tmp_path), 60)
    ((folder, _),) = (text.split() for text in servers_seen(tmp_path))
    (record,) = (Path(folder).parent / "pids").iterdir()
    assert Path(f"/proc/{record.name}").exists()
    os.kill(process.pid, SIGKILL)
    process.communicate()
    wait_until(lambda: not Path(f"/proc/{record.name}").exists())
    wait_until(lambda: not Path(folder).parent.exists())


def test_a_server_that_cannot_be_had_fails_its_tests_with_the_reason(tmp_path: Path) -> None:
    code, output = run(tmp_path, path="/nonexistent")
    assert code == 1
    assert "1 passed" in output and "4 errors" in output and "1 failed" in output
    assert output.count("there is no redis-server here; on Debian: apt-get install redis-server") >= 5


def test_a_server_is_left_out_on_demand_and_the_summary_says_so(tmp_path: Path) -> None:
    code, output = run(tmp_path, "--without", "redis", "--without", "cassandra")
    assert code == 0, output
    assert "1 passed, 5 deselected" in output
    assert "left out by --without redis: 5 tests that need redis" in output
    assert "left out by --without cassandra: 0 tests that need cassandra" in output


def test_a_test_that_hides_what_it_needs_fails_when_that_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "test_hidden.py").write_text("def test_hidden(request):\n    request.getfixturevalue('redis')\n")
    code, output = run(tmp_path, "--without", "redis")
    assert code == 1
    assert 'redis was left out, but the test has no mark needs("redis")' in output


def test_a_failed_start_is_not_tried_again() -> None:
    house, starts = House(), []

    def start(folder: Path) -> dict[str, object]:
        starts.append(folder)
        raise OSError("no room")

    try:
        for _ in range(2):
            with pytest.raises(ServerMissing, match="OSError: no room"):
                house.shared("broken", start)
        assert len(starts) == 1
        assert house.folder.exists()
    finally:
        folder = house.folder
        house.close()
    assert not folder.exists()
