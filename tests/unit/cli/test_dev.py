"""`dev cassandra`: arguments, messages and what it refuses, without a server."""

import socket
from pathlib import Path

import pytest

from kong_gevent.cli.progress import Status
from kong_gevent.devtools import jars
from kong_gevent.devtools.cluster import Cluster, Layout
from kong_gevent.devtools.errors import ToolError
from tests.unit.cli.test_commands import HINT, Outcome, Run, run

__all__ = ["run"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x"], "No such command for dev: x"),
        (["cassandra", "x"], "No such command for cassandra: x"),
        (["cassandra", "up", "--address", "10.0.0.1"],
         "Invalid value for '--address': '10.0.0.1' is no loopback address (127.…)."),
        (["cassandra", "up", "--address", "localhost"],
         "Invalid value for '--address': 'localhost' is no loopback address (127.…)."),
        (["cassandra", "up", "--data-centers", "a:1,a:2"],
         "Invalid value for '--data-centers': 'a:2' is not NAME:NODES."),
        (["cassandra", "up", "--data-centers", "a"], "Invalid value for '--data-centers': 'a' is not NAME:NODES."),
        (["cassandra", "up", "--data-centers", "a:0"], "Invalid value for '--data-centers': 'a:0' is not NAME:NODES."),
        (["cassandra", "up", "--port", "0"], "Invalid value for '--port': 0 is not in the range 1<=x<=65535."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_what_it_does_not_understand(run: Run, tmp_path: Path, arguments: list[str], message: str) -> None:
    folder = ["--folder", str(tmp_path / "c")] if "up" in arguments else []
    assert run("dev", *arguments, *folder) == Outcome(1, "", f"Error: {message}\n{HINT}")


@pytest.mark.parametrize("name", ["down", "status"])
def test_there_is_nothing(run: Run, tmp_path: Path, name: str) -> None:
    outcome = run("dev", "cassandra", name, "--folder", str(tmp_path))
    assert outcome.code == 1
    assert outcome.err.startswith(f"Error: there is no Cassandra in {tmp_path}: 'kong-gevent dev cassandra up' makes")


def described(folder: Path, monkeypatch: pytest.MonkeyPatch, layout: Layout) -> Cluster:
    """A cluster that a folder describes; its jars are there, its processes are not."""
    monkeypatch.setattr(jars, "fetch", lambda folder, say: folder)
    for name in ("_wait", "_wait_for_ring"):
        monkeypatch.setattr(Cluster, name, lambda self, say, seconds: None)
    monkeypatch.setattr("kong_gevent.devtools.node.Node.start", lambda self: None)
    cluster = Cluster(folder, layout, folder / "lib")
    cluster.up()
    return cluster


def test_up_prints_settings_that_a_shell_takes(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    described(tmp_path, monkeypatch, Layout(first_address="127.9.8.1", data_centers={"a": 2, "b": 1}, auth=False))
    outcome = run("dev", "cassandra", "up", "--folder", str(tmp_path))
    assert (outcome.code, outcome.out.splitlines()) == (
        0,
        [
            "export KONG_DATABASE=cassandra",
            "export KONG_CASSANDRA_CONTACT_POINTS=127.9.8.1,127.9.8.2",
            "export KONG_CASSANDRA_PORT=9042",
            "export KONG_CASSANDRA_KEYSPACE=kong",
            "export KONG_CASSANDRA_LOCAL_DATACENTER=a",
            "export KONG_CASSANDRA_DATA_CENTERS=a:2,b:1",
        ],
    )
    assert f"Cassandra runs: a: 2 nodes, b: 1 node at 127.9.8.1:9042, in {tmp_path}" in outcome.err


def test_another_cluster_in_the_folder_stays(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    described(tmp_path, monkeypatch, Layout(first_address="127.9.8.4", tls="server"))
    (tmp_path / "theirs").touch()
    outcome = run("dev", "cassandra", "up", "--folder", str(tmp_path), "--nodes", "2")
    assert outcome.code == 1
    assert outcome.err.startswith(
        f"Error: there is another cluster in {tmp_path} (dc1: 1 node at 127.9.8.4:9042): "
        "'kong-gevent dev cassandra down --remove' removes it, --folder takes another place\n"
    )
    assert run("dev", "cassandra", "status", "--folder", str(tmp_path)) == Outcome(1, "127.9.8.4:9042  stopped\n", "")
    outcome = run("dev", "cassandra", "down", "--folder", str(tmp_path), "--remove")
    assert outcome == Outcome(0, f"Cassandra is removed from {tmp_path}\n", "")
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]


def test_an_address_in_use_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.9.8.7", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ToolError, match=f"Cassandra cannot listen on 127.9.8.7:{port}: Address already in use"):
            described(tmp_path, monkeypatch, Layout(first_address="127.9.8.7", port=port))


def test_without_maven_the_package_is_named(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    outcome = run("dev", "cassandra", "fetch")
    assert outcome.code == 1
    assert outcome.err.startswith("Error: fetching Cassandra 5.0.9 needs mvn; on Debian: apt-get install maven\n")


def test_a_status_off_a_terminal_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter([1.0, 1.5, 2.9, 3.1])
    monkeypatch.setattr("kong_gevent.cli.progress.time.monotonic", lambda: next(now))
    with Status() as status:
        for text in ("a", "b", "c", "d"):
            status(text)
    assert capsys.readouterr().err == "a\nd\n"
