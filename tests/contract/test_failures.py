"""A store that cannot be used: a clear message, status 503, nothing lost, and recovery by itself."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kong_gevent import errors
from kong_gevent.db import Store
from kong_gevent.db.strategies.sqlite import _events_after
from tests.contract.backends import Backend, file_backend


def path_of(store: Store) -> Path:
    return Path(store.strategy.path)  # type: ignore[attr-defined]


@contextmanager
def moved_away(path: Path) -> Iterator[Path]:
    """The file and its log are elsewhere meanwhile."""
    shelter = path.parent / "elsewhere"
    shelter.mkdir()
    names = [path.name + suffix for suffix in ("", "-wal", "-shm") if Path(f"{path}{suffix}").exists()]
    for name in names:
        os.rename(path.parent / name, shelter / name)
    yield shelter
    for name in names:
        os.rename(shelter / name, path.parent / name)


def test_a_file_that_vanished_is_noticed_and_never_made_anew(sqlite_store: Store) -> None:
    sqlite_store.dao("consumers").insert({"username": "a"})
    path = path_of(sqlite_store)
    with moved_away(path):
        with pytest.raises(errors.StoreUnavailable, match="cannot open the store .*No such file"):
            sqlite_store.dao("consumers").insert({"username": "b"})
        with pytest.raises(errors.StoreUnavailable):
            sqlite_store.dao("consumers").select_by("username", "a")
        assert not sqlite_store.reachable()
        assert not path.exists()
    assert sqlite_store.reachable()
    assert sqlite_store.dao("consumers").select_by("username", "a")
    assert sqlite_store.dao("consumers").insert({"username": "b"})


def test_a_file_that_was_replaced_is_reopened(sqlite_store: Store, tmp_path: Path) -> None:
    sqlite_store.dao("consumers").insert({"username": "old"})
    other = tmp_path / "other"
    other.mkdir()
    replacement = file_backend("sqlite", other).open()
    replacement.migrations.bootstrap()
    replacement.dao("consumers").insert({"username": "new"})
    replacement.close()
    with moved_away(path_of(sqlite_store)) as shelter:
        shutil.copy(path_of(replacement), path_of(sqlite_store))
        wal = Path(f"{path_of(replacement)}-wal")
        if wal.exists():
            shutil.copy(wal, f"{path_of(sqlite_store)}-wal")
        found = [row["username"] for row in sqlite_store.dao("consumers").each()]
        assert shelter.exists()
    assert found == ["new"]


@pytest.mark.parametrize("damage", ["text", "directory", "pages"])
def test_an_unreadable_file_is_unavailable(sqlite_store: Store, damage: str) -> None:
    for number in range(200):
        sqlite_store.dao("consumers").insert({"username": str(number)})
    sqlite_store.close()
    path = path_of(sqlite_store)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    if damage == "text":
        path.write_text("this is no database" * 1000)
    elif damage == "directory":
        path.unlink()
        path.mkdir()
    else:
        content = bytearray(path.read_bytes())
        content[4096:] = b"\xa5" * (len(content) - 4096)
        path.write_bytes(bytes(content))
    with pytest.raises(errors.StoreUnavailable, match="the store .* (is not an SQLite|cannot be|is damaged)") as caught:
        list(sqlite_store.dao("consumers").each())
    assert caught.value.status == 503
    with pytest.raises(errors.StoreUnavailable):
        sqlite_store.dao("consumers").insert({"username": "more"})


def test_a_full_disk_refuses_the_write_and_keeps_the_rest(sqlite_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    file = sqlite_store.strategy._file  # type: ignore[attr-defined]
    real = file._open

    def small() -> sqlite3.Connection:
        connection: sqlite3.Connection = real()
        connection.execute("PRAGMA max_page_count=40")
        return connection

    monkeypatch.setattr(file, "_open", small)
    file.close()
    stored = []
    with pytest.raises(errors.StoreUnavailable, match="disk is full"):
        for number in range(1000):
            stored.append(sqlite_store.dao("consumers").insert({"username": f"{number}" * 100})["username"])
    assert 0 < len(stored) < 1000
    assert sorted(row["username"] for row in sqlite_store.dao("consumers").each()) == sorted(stored)
    assert sqlite_store.last_event_id() == len(stored)
    monkeypatch.setattr(file, "_open", real)
    file.close()
    assert sqlite_store.dao("consumers").insert({"username": "again"})


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = file_backend("sqlite", tmp_path / "file" / "below").open()
    with pytest.raises(errors.StoreUnavailable, match="cannot create the store .*kong.sqlite3"):
        store.migrations.bootstrap()


def test_the_file_is_private(sqlite_store: Store) -> None:
    assert path_of(sqlite_store).stat().st_mode & 0o077 == 0


def test_what_was_written_is_there_after_reopening(shared_store: Store, shared_backend: Backend) -> None:
    made = shared_store.dao("services").insert({"host": "h", "name": "s"})
    shared_store.close()
    again = shared_backend.open()
    again.connect()
    assert again.dao("services").select_by("name", "s") == made
    again.close()


def test_every_commit_is_synchronised(sqlite_store: Store) -> None:
    file = sqlite_store.strategy._file  # type: ignore[attr-defined]
    read = lambda connection, name: connection.execute(f"PRAGMA {name}").fetchone()[0]  # noqa: E731
    assert (file.call(read, "synchronous"), file.call(read, "journal_mode")) == (2, "wal")


def test_connecting_before_bootstrap_says_what_to_run(shared_backend: Backend) -> None:
    store = shared_backend.open()
    with pytest.raises(errors.MigrationError, match="Run 'kong migrations bootstrap'"):
        store.connect()
    store.close()


def test_reading_before_bootstrap_says_what_to_run(sqlite_backend: Backend) -> None:
    store = sqlite_backend.open()
    with pytest.raises(errors.StoreUnavailable):
        store.dao("services").page()
    assert not store.reachable()


def test_an_error_that_ends_a_transaction_is_told_and_not_the_end_of_it() -> None:
    class Disk:
        """A connection whose disk fails within the transaction, which SQLite ends then."""

        in_transaction = False

        def execute(self, statement: str, *_: object) -> None:
            if statement == "COMMIT":
                raise sqlite3.OperationalError("cannot commit - no transaction is active")
            if statement != "BEGIN":
                raise sqlite3.OperationalError("disk I/O error")

    with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
        _events_after(Disk(), 0, 10)  # type: ignore[arg-type]
