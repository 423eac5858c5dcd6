"""The commands on a real gateway: start, reload, upgrade, drain, quit, and what goes wrong at each."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import pytest
import requests

from tests.gateway import LOOPBACK, ROOT, free_ports
from tests.wire import wait_until


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


class Node:
    """One prefix and the commands that work on it."""

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self.proxy, self.admin, self.status, self.spare = free_ports(4)
        self.settings = {
            "KONG_PREFIX": str(prefix),
            "KONG_PROXY_LISTEN": f"{LOOPBACK}:{self.proxy}",
            "KONG_ADMIN_LISTEN": f"{LOOPBACK}:{self.admin}",
            "KONG_STATUS_LISTEN": f"{LOOPBACK}:{self.status}",
            "KONG_NGINX_WORKER_PROCESSES": "1",
        }

    def environment(self, **settings: str) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("KONG_")}
        return {**inherited, "PYTHONPATH": str(ROOT), **self.settings, **settings}

    def spawn(self, *arguments: str, **settings: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "kong_gevent", *arguments],
            cwd=self.prefix.parent,
            env=self.environment(**settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **settings: str) -> Outcome:
        process = self.spawn(*arguments, **settings)
        out, err = process.communicate(timeout=120)
        return Outcome(process.returncode, out, err)

    def start(self) -> None:
        outcome = self.run("start")
        assert outcome.code == 0, outcome

    @property
    def pid(self) -> int:
        return int((self.prefix / "pids" / "kong.pid").read_text())

    def answers(self, port: int | None = None) -> bool:
        try:
            return requests.get(f"http://{LOOPBACK}:{port or self.proxy}/", timeout=5).status_code == 404
        except requests.ConnectionError:
            return False

    def log_level(self) -> str:
        configuration = requests.get(f"http://{LOOPBACK}:{self.admin}/", timeout=5).json()["configuration"]
        return str(configuration["log_level"])

    def end(self) -> None:
        if (self.prefix / "pids").is_dir():
            self.run("stop")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path / "node")
    yield made
    made.end()


def test_start_returns_when_it_serves_and_says_what_to_do_next(node: Node) -> None:
    outcome = node.run("start")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("Kong started\n")
    assert f"curl http://{LOOPBACK}:{node.proxy}/example" in outcome.out
    assert node.answers()
    for line in outcome.out.splitlines():
        if line.startswith("  curl "):
            shell = subprocess.run(["sh", "-c", line + " -sS -f"], capture_output=True, text=True)
            assert shell.returncode == 0, (line, shell)
    assert '"database"' in shell.stdout


def test_a_second_start_is_refused(node: Node) -> None:
    node.start()
    outcome = node.run("start")
    assert outcome.code == 1
    assert outcome.err.startswith(f"Error: Kong is already running in {node.prefix}\n")
    assert node.answers()


def test_of_two_starts_at_once_one_wins(node: Node) -> None:
    first, second = node.spawn("start"), node.spawn("start")
    outcomes = [(*process.communicate(timeout=120), process.returncode) for process in (first, second)]
    assert sorted(code for _, _, code in outcomes) == [0, 1]
    (error,) = [err for _, err, code in outcomes if code == 1]
    assert "another start or reload is under way" in error or "Kong is already running" in error
    assert node.answers()


def test_a_busy_port_is_named(node: Node) -> None:
    with socket.create_server((LOOPBACK, node.proxy)):
        outcome = node.run("start")
    assert outcome.code == 1
    assert f"proxy_listen: cannot listen on {LOOPBACK}:{node.proxy}: address already in use" in outcome.err
    assert "KONG_PROXY_LISTEN" in outcome.err
    assert node.run("health").code == 1


def test_an_unknown_plugin_is_named(node: Node) -> None:
    outcome = node.run("start", KONG_PLUGINS="bundled,no-such-plugin")
    assert outcome.code == 1
    assert "plugins: there is no plugin 'no-such-plugin'" in outcome.err


def test_a_broken_store_is_named(node: Node) -> None:
    node.prefix.mkdir()
    (node.prefix / "kong.sqlite3").write_text("this is no database, whatever its name says\n" * 100)
    outcome = node.run("start")
    assert outcome.code == 1
    assert "kong.sqlite3 is not an SQLite database" in outcome.err


def test_health_and_stop(node: Node) -> None:
    node.start()
    assert node.run("health") == Outcome(0, f"nginx.......running\n\nKong is healthy at {node.prefix}\n", "")
    assert node.run("stop") == Outcome(0, "Kong stopped\n", "")
    assert not node.answers()
    outcome = node.run("health")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith(f"Error: Kong is not running at {node.prefix}\n")


def test_a_running_gateway_is_found_without_its_settings(node: Node) -> None:
    node.start()
    node.settings = {}
    assert node.run("health", "-p", str(node.prefix)).code == 0
    assert node.run("drain", "-p", str(node.prefix)).code == 0
    assert node.run("stop", "-p", str(node.prefix)).code == 0


def test_quit_is_graceful(node: Node) -> None:
    node.start()
    assert node.run("quit") == Outcome(0, "Kong stopped (gracefully)\n", "")
    assert not (node.prefix / "pids" / "kong.pid").exists()


@pytest.mark.parametrize("status", ["on", "off"])
def test_quit_serves_on_for_as_long_as_it_is_told(node: Node, status: str) -> None:
    if status == "off":
        node.settings["KONG_STATUS_LISTEN"] = "off"
    node.start()
    began = monotonic()
    quitting = node.spawn("quit", "-w", "2")
    wait_until(lambda: not node.answers(), 60, pause=0)
    assert monotonic() - began >= 2
    assert (*quitting.communicate(timeout=60), quitting.returncode) == ("Kong stopped (gracefully)\n", "", 0)


def test_quit_does_not_depend_on_the_status_listener(node: Node) -> None:
    node.start()
    settings = node.prefix / ".kong_env"
    settings.write_text(settings.read_text().replace(f":{node.status}", f":{node.spare}"))
    outcome = node.run("quit", "-w", "0.1")
    assert (outcome.code, outcome.out) == (0, "Kong stopped (gracefully)\n")
    assert "Warning: readiness does not fail while the gateway serves on: the status listener does not" in outcome.err


def test_restart_starts_what_does_not_run_and_replaces_what_does(node: Node) -> None:
    assert node.run("restart").code == 0
    before = node.pid
    assert node.run("restart") == Outcome(0, "Kong started\n", "")
    assert node.pid != before
    assert node.answers()


def test_restart_with_bad_settings_leaves_it_running(node: Node) -> None:
    node.start()
    before = node.pid
    assert node.run("restart", KONG_LOG_LEVEL="loud").code == 1
    assert node.pid == before
    assert node.answers()


def test_reload_takes_new_settings(node: Node) -> None:
    node.start()
    before = node.pid
    assert node.run("reload", KONG_LOG_LEVEL="debug") == Outcome(0, "Kong reloaded\n", "")
    assert node.pid == before
    assert node.log_level() == "debug"
    assert node.run("reload") == Outcome(0, "Kong reloaded\n", "")
    assert node.log_level() == "debug"


def test_reload_exchanges_listeners(node: Node) -> None:
    node.start()
    assert node.run("reload", KONG_PROXY_LISTEN=f"{LOOPBACK}:{node.spare}").code == 0
    assert node.answers(node.spare)
    assert not node.answers(node.proxy)
    assert node.run("reload", KONG_PROXY_LISTEN=f"{LOOPBACK}:{node.spare}, {LOOPBACK}:{node.proxy}").code == 0
    assert node.answers(node.spare)
    assert node.answers(node.proxy)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"KONG_LOG_LEVEL": "loud"}, "log_level has an invalid value: 'loud'"),
        ({"KONG_PROXY_LISTEN": "127.0.0.1:443 ssl http2"}, "http2"),
        ({"KONG_PLUGINS": "no-such-plugin"}, "there is no plugin 'no-such-plugin'"),
        ({"KONG_PROXY_LISTEN": "198.51.100.77:80"}, "this machine has no such address"),
    ],
    ids=["value", "http2", "plugin", "address"],
)
def test_reload_with_bad_settings_changes_nothing(node: Node, settings: dict[str, str], message: str) -> None:
    node.start()
    record = (node.prefix / ".kong_env").read_bytes()
    outcome = node.run("reload", **settings)
    assert outcome.code == 1
    assert message in outcome.err
    assert (node.prefix / ".kong_env").read_bytes() == record
    assert node.answers()


def test_drain_changes_readiness_only(node: Node) -> None:
    node.start()
    assert node.run("drain").code == 0
    ready = requests.get(f"http://{LOOPBACK}:{node.status}/status/ready", timeout=5)
    assert ready.status_code == 503
    assert node.answers()


def test_a_binary_upgrade_is_one_gateway_for_the_commands(node: Node) -> None:
    node.start()
    old = node.pid
    os.kill(old, signal.SIGUSR2)
    second = node.prefix / "pids" / "kong.pid.2"
    wait_until(second.exists)
    new = int(second.read_text())
    wait_until(lambda: Path(f"/proc/{new}/task/{new}/children").read_text() != "")
    os.kill(old, signal.SIGTERM)
    own = second.with_name("kong.pid")
    wait_until(lambda: not second.exists() and own.exists() and node.pid == new, 60)
    assert node.answers()
    assert node.run("health").code == 0
    assert node.run("reload").code == 0
    assert node.run("quit").code == 0
    assert not node.answers()


def test_start_after_a_crash(node: Node) -> None:
    node.start()
    os.kill(node.pid, signal.SIGKILL)
    node.start()
    assert node.answers()


def test_in_the_foreground_the_command_is_the_gateway(node: Node) -> None:
    process = node.spawn("start", "--foreground")
    try:
        wait_until(node.answers)
        assert node.pid == process.pid
        assert node.run("start").code == 1
        assert node.run("reload").code == 0
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


def test_gunicorn_by_itself_from_a_checkout(node: Node) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py"],
        cwd=ROOT,
        env=node.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        wait_until(node.answers)
        assert node.pid == process.pid
        assert node.run("health").code == 0
        assert node.run("quit").code == 0
        process.communicate(timeout=60)
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate()


def test_several_run_side_by_side(node: Node, tmp_path: Path) -> None:
    other = Node(tmp_path / "other")
    node.start()
    try:
        other.start()
        assert node.pid != other.pid
        assert node.run("stop").code == 0
        assert other.answers()
    finally:
        other.end()


def test_migrations_follow_the_states_of_the_store(node: Node) -> None:
    assert node.run("migrations", "list").code == 3
    assert node.run("migrations", "up").code == 1
    assert node.run("migrations", "bootstrap").out == "Bootstrapping database...\nDatabase is up-to-date\n"
    assert node.run("migrations", "bootstrap").out == "Database already bootstrapped\n"
    listed = node.run("migrations", "list")
    assert listed.code == 0
    assert listed.out.startswith("Executed migrations:\ncore: 000_base")
    assert node.run("migrations", "up").out == "Database is already up-to-date\n"
    assert node.run("migrations", "finish").out == "No pending migrations to finish\n"
    assert '"needs_bootstrap": false' in node.run("migrations", "status").out
    assert "invoke 'reset' non-interactively with the --yes flag" in node.run("migrations", "reset").err
    assert node.run("migrations", "reset", "--yes").code == 0
    assert "Database not bootstrapped, nothing to reset" in node.run("migrations", "reset", "--yes").err
