"""The last good configuration on disk: what of it is believed, and when it is written anew."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kong_gevent.runtime import snapshot
from kong_gevent.runtime.keeper import Keeper

KINDS: dict[str, list[Any]] = {"services": [{"id": "a", "name": "one"}]}
ORIGIN = {"database": "postgres", "pg_database": "kong"}


def write(file: Path) -> bool:
    """Write it if that is needed."""
    pieces = list(snapshot.lines(KINDS))
    writer = snapshot.Writer(file)
    try:
        begun = writer.begin(snapshot.describe(KINDS, pieces, ORIGIN))
        if begun:
            for piece in pieces:
                writer.write(piece)
            writer.finish()
        return begun
    finally:
        writer.close()


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data.replace(b"one", b"two")], ids=["cut", "changed"]
)
def test_a_file_that_was_damaged_is_written_anew(tmp_path: Path, damage: Any) -> None:
    file = tmp_path / "last"
    assert (write(file), write(file)) == (True, False)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(snapshot.SnapshotRefused):
        snapshot.check(file, ORIGIN)
    assert write(file) is True
    assert snapshot.check(file, ORIGIN).counts == {"services": 1}


def test_a_schema_of_postgres_is_a_store_of_its_own() -> None:
    def origin(**settings: Any) -> Any:
        return snapshot.origin_of(SimpleNamespace(get=settings.get, **settings))

    assert origin(database="postgres", pg_database="kong", pg_schema=None) == ORIGIN
    assert origin(database="postgres", pg_database="kong", pg_schema="blue") == {**ORIGIN, "pg_schema": "blue"}


def test_what_this_version_cannot_serve_is_refused_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Another version may have written what breaks this one's plan: the worker goes on waiting for the store."""
    settings = SimpleNamespace(prefix=str(tmp_path), database="sqlite", get=lambda name: "kong.sqlite3")

    def load_from(entities: Any) -> bool:
        raise TypeError("unsupported operand")

    sync: Any = SimpleNamespace(load_from=load_from)
    keeper = Keeper(settings, SimpleNamespace(catalogue={}), SimpleNamespace(), sync, lambda: True)  # type: ignore[arg-type]
    with_nothing: dict[str, list[Any]] = {"services": []}
    writer = snapshot.Writer(keeper.path)
    writer.begin(snapshot.describe(with_nothing, [], snapshot.origin_of(settings)))
    writer.finish()
    writer.close()
    assert (keeper.load(), keeper.load()) == (False, False)
    assert [record.getMessage() for record in caplog.records] == [
        f"the last good configuration in {keeper.path} is not used: unsupported operand"
    ]
