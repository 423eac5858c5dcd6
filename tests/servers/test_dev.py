"""`kong-gevent dev cassandra` gives a developer a real node, keeps its data, and takes it away again."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kong_gevent.devtools.cluster import Cluster
from tests.gateway import ROOT
from tests.servers.process import free_addresses

pytestmark = pytest.mark.needs("cassandra")


class Developer:
    """Runs the command on a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "kong_gevent", "dev", "cassandra", name, "--folder", str(self.folder), *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip


@pytest.fixture
def developer(cassandra_jars: Path, tmp_path: Path) -> Iterator[Developer]:
    """With jars that are there; nothing stays behind."""
    made = Developer(tmp_path / "cassandra")
    yield made
    if cluster := Cluster.load(made.folder):
        cluster.remove()


def test_up_status_down_and_up_again(developer: Developer) -> None:
    address = free_addresses(1, 7000, 9042)
    done = developer("up", "--address", address)
    assert done.returncode == 0, done.stderr
    assert f"export KONG_CASSANDRA_CONTACT_POINTS={address}\n" in done.stdout
    assert f"Starting Cassandra on {address}: 0 s\n" in done.stderr
    cluster = Cluster.load(developer.folder)
    assert cluster
    pid = cluster.nodes[0].pid
    cluster.execute(f"CREATE KEYSPACE kept WITH replication = {cluster.replication()}")
    assert developer("status").stdout == f"{address}:9042  serves\n"
    assert developer("up").returncode == 0
    assert cluster.nodes[0].pid == pid, "a node that runs was started again"

    assert developer("down").stdout == f"Cassandra is stopped, its data stays in {developer.folder}\n"
    assert (cluster.nodes[0].pid, developer("status").returncode) == (None, 1)
    assert developer("up").returncode == 0
    cluster.execute("DROP KEYSPACE kept")
    assert developer("down", "--remove").returncode == 0
    assert not developer.folder.exists()
