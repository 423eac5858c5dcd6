"""The prefix and what has to be writable before a gateway starts."""

import errno
import os
from pathlib import Path

import pytest

from kong_gevent.conf import load, prefix
from kong_gevent.errors import ConfigurationError


def prepared(tmp_path: Path, **settings: str) -> None:
    prefix.prepare(load(overrides={"prefix": str(tmp_path / "p"), **settings}, environ={}))


@pytest.mark.parametrize("key", ["proxy_access_log", "admin_error_log", "status_access_log"])
def test_logs_that_cannot_be_written_are_named(tmp_path: Path, key: str) -> None:
    (tmp_path / "file").touch()
    for path, reason in ((tmp_path, "Is a directory"), (tmp_path / "file/x.log", "File exists")):
        with pytest.raises(ConfigurationError) as caught:
            prepared(tmp_path, **{key: str(path)})
        assert caught.value.messages == [f"{key}: cannot write {path}: {reason}"]


def test_folders_of_logs_are_made(tmp_path: Path) -> None:
    prepared(tmp_path, proxy_access_log="logs/today/access.log", admin_access_log="off", status_error_log="/dev/stderr")
    assert (tmp_path / "p/logs/today/access.log").read_bytes() == b""


def test_a_full_disk_is_no_reason_not_to_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "open", full)
    prefix._check_log("proxy_access_log", str(tmp_path / "access.log"))
