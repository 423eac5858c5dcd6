"""How far a job is, told to other processes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kong_gevent.db import Store, build
from kong_gevent.db.strategies.memory import MemoryStrategy
from kong_gevent.declarative import progress
from kong_gevent.declarative.apart import Application, Rollback
from kong_gevent.declarative.applying import Request
from kong_gevent.declarative.progress import JobProgress, progress_of

NOTHING = {"doing": None, "done": None, "total": None}


def test_it_is_seen_while_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0)
    assert progress_of(str(tmp_path)) == NOTHING
    with JobProgress(str(tmp_path)) as job:
        job.begin("checking", 40)
        assert progress_of(str(tmp_path)) == {"doing": "checking", "done": 0, "total": 40}
        job.advance(2)
        job.advance(3)
        assert progress_of(str(tmp_path)) == {"doing": "checking", "done": 5, "total": 40}
        job.begin("storing", None)
        assert progress_of(str(tmp_path)) == {"doing": "storing", "done": 0, "total": None}
    assert progress_of(str(tmp_path)) == NOTHING
    assert list(tmp_path.iterdir()) == []


def test_it_is_noted_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 1000)
    with JobProgress(str(tmp_path)) as job:
        job.begin("checking", 40)
        job.advance(1)
        assert progress_of(str(tmp_path))["done"] == 0


def test_work_goes_on_where_nothing_can_be_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0)
    with JobProgress(str(tmp_path / "missing")) as job:
        job.begin("checking", 40)
        job.advance(1)
    with JobProgress(str(tmp_path)) as job:
        job.begin("checking", 40)
        (tmp_path / progress.NAME).unlink()
        (tmp_path / progress.NAME).mkdir()
        job.advance(1)


def test_what_a_killed_process_has_left_is_not_told(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / progress.NAME).write_text(json.dumps({"pid": gone.pid, "doing": "storing", "done": 1, "total": 2}))
    assert progress_of(str(tmp_path)) == NOTHING
    (tmp_path / progress.NAME).write_text("{")
    assert progress_of(str(tmp_path)) == NOTHING


def test_the_parts_of_the_work_and_how_much_each_is() -> None:
    store = Store(MemoryStrategy(), build({}))
    store.connect()
    parts: list[Any] = []

    def begin(doing: str, total: int | None) -> None:
        parts.append([doing, total, 0])

    def advance(count: int) -> None:
        parts[-1][2] += count

    services = [{"name": f"s{number}", "host": "h", "routes": [{"paths": ["/"]}]} for number in range(30)]
    content = json.dumps({"_format_version": "3.0", "services": services}).encode()
    Application("json", content, Request("me", "test")).run(store, advance, begin)
    assert parts == [["reading", None, 30], ["checking", 60, 60], ["comparing", 60, 60], ["storing", None, 0]]
    parts.clear()
    Rollback(None, "me").run(store, advance, begin)
    assert parts == [["comparing", 60, 60], ["storing", None, 0]]
