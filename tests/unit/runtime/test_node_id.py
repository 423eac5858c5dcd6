"""The id of a node, and the file in which it is kept."""

from pathlib import Path
from threading import Barrier, Thread
from uuid import UUID

import pytest

from kong_gevent.runtime.node import node_id


def test_an_id_is_made_once(tmp_path: Path) -> None:
    made = node_id(None, str(tmp_path))
    assert (tmp_path / "kong.id").read_text() == f"{UUID(made)}\n"
    assert node_id(None, str(tmp_path)) == made
    assert node_id("chosen", str(tmp_path)) == "chosen"


@pytest.mark.parametrize("left", [b"", b"\xff\xfe", b"0f9c"], ids=["empty", "no text", "cut"])
def test_a_file_that_a_full_disk_left_is_filled_later(tmp_path: Path, left: bytes) -> None:
    (tmp_path / "kong.id").write_bytes(left)
    made = node_id(None, str(tmp_path))
    assert (tmp_path / "kong.id").read_text() == f"{UUID(made)}\n"
    assert node_id(None, str(tmp_path)) == made


def test_workers_that_start_together_agree(tmp_path: Path) -> None:
    (tmp_path / "kong.id").touch()
    together = Barrier(8)
    found: list[str] = []

    def start() -> None:
        together.wait()
        found.append(node_id(None, str(tmp_path)))

    workers = [Thread(target=start) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_a_node_whose_disk_takes_nothing_has_an_id(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert UUID(node_id(None, str(tmp_path / "missing")))
    assert "cannot be kept" in caplog.text
