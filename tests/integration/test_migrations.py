"""Migrations through processes, on every strategy: halves, several nodes at once, interruptions, other versions."""

import json
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.gateway import LOOPBACK, free_ports
from tests.integration.stores import LASTING, Commands, Outcome
from tests.wire import wait_until

HINT = "\n\n  Run with --v (verbose) or --vv (debug) for more details\n"
BOOTSTRAP = "Database needs bootstrapping or is older than Kong 1.0. Run 'kong migrations bootstrap'"
TABLES = {
    "name": "001_extra",
    "up": {
        "statements": {
            "sqlite": "CREATE TABLE extra (a TEXT);",
            "postgres": "CREATE TABLE extra (a text);",
            "cassandra": "CREATE TABLE IF NOT EXISTS extra (a text PRIMARY KEY);",
        }
    },
    "finish": {
        "statements": {
            "sqlite": "DROP TABLE extra;",
            "postgres": "DROP TABLE extra;",
            "cassandra": "DROP TABLE IF EXISTS extra;",
        }
    },
}


def newer(commands: Commands, *arguments: str, modules: list[dict[str, Any]] | None = None) -> Outcome:
    """A command of a version with more migrations."""
    return commands.run(json.dumps(modules or [TABLES]), *arguments, program=("-m", "tests.integration.migrating"))


def status(commands: Commands) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(commands.done("migrations", "status"))
    return found


def error_of(outcome: Outcome) -> str:
    assert outcome.code == 1, outcome
    return re.sub(r"took [\d.]+ s\n", "", outcome.err).removeprefix("Error: ").removesuffix(HINT)


def test_a_store_from_empty_to_empty(commands: Commands) -> None:
    assert commands.run("migrations", "list") == Outcome(3, BOOTSTRAP + "\n", "")
    for command in ("up", "finish"):
        assert error_of(commands.run("migrations", command)) == f"Cannot run migrations: {BOOTSTRAP}"
    assert error_of(commands.run("migrations", "reset", "--yes")) == "Database not bootstrapped, nothing to reset"
    assert status(commands)["needs_bootstrap"] is True

    assert commands.done("migrations", "bootstrap") == "Bootstrapping database...\nDatabase is up-to-date\n"
    assert commands.done("migrations", "bootstrap") == "Database already bootstrapped\n"
    assert commands.run("migrations", "list") == Outcome(0, "Executed migrations:\ncore: 000_base\n", "")
    assert commands.done("migrations", "up") == "Database is already up-to-date\n"
    assert commands.done("migrations", "finish") == "No pending migrations to finish\n"
    group = {"subsystem": "core", "namespace": "kong.db.migrations.core", "migrations": ["000_base"]}
    assert status(commands) == {"needs_bootstrap": False, "executed_migrations": [group]}

    outcome = commands.run("migrations", "reset")
    assert error_of(outcome) == "not a tty: invoke 'reset' non-interactively with the --yes flag"
    assert commands.done("migrations", "reset", "-y") == "Resetting database...\nDatabase successfully reset\n"
    assert commands.run("migrations", "list").code == 3
    assert commands.run("migrations", "bootstrap", "-q") == Outcome(0, "", "")
    assert commands.done("migrations", "bootstrap", "--force", "--yes").endswith("Database is up-to-date\n")


def test_two_halves_with_an_old_version_beside(commands: Commands) -> None:
    commands.done("migrations", "bootstrap")
    assert newer(commands, "migrations", "list")[:2] == (
        5,
        "Executed migrations:\ncore: 000_base\n\nNew migrations available:\ncore: 001_extra\n"
        "\nRun 'kong migrations up' to proceed\n",
    )
    assert error_of(newer(commands, "start")) == "New migrations available; run 'kong migrations up' to proceed"

    outcome = newer(commands, "migrations", "up")
    assert outcome[:2] == (
        0,
        "Migrations executed:\ncore: 001_extra\n\nDatabase has pending migrations; run 'kong migrations finish' "
        "when ready\n",
    )
    assert "Migrating core: 001_extra (up), step 1 of 1" in outcome.err
    assert newer(commands, "migrations", "list")[:2] == (
        4,
        "Executed migrations:\ncore: 000_base, 001_extra\n\nPending migrations:\ncore: 001_extra\n"
        "\nRun 'kong migrations finish' when ready\n",
    )
    again = newer(commands, "migrations", "up")
    assert error_of(again) == "Database has pending migrations; run 'kong migrations finish'"
    assert newer(commands, "migrations", "finish")[:2] == (0, "Migrations finished:\ncore: 001_extra\n")
    assert newer(commands, "migrations", "list").code == 0
    assert newer(commands, "migrations", "finish")[:2] == (0, "No pending migrations to finish\n")


def test_an_older_version_refuses_a_newer_schema(commands: Commands) -> None:
    commands.done("migrations", "bootstrap")
    newer(commands, "migrations", "up")
    refusal = (
        "The store was migrated by a newer version (unknown migrations: 001_extra); start that version, or a later one"
    )
    refused: list[tuple[str, ...]] = [("migrations", name) for name in ("list", "bootstrap", "up", "finish")]
    refused += [("migrations", "reset", "--yes"), ("migrations", "bootstrap", "--force", "--yes")]
    refused += [("start",), ("config", "db_export")]
    for command in refused:
        assert error_of(commands.run(*command)) == refusal, command
    shown = status(commands)
    assert shown["missing_migrations"][0]["migrations"] == ["001_extra"]
    assert newer(commands, "migrations", "list").code == 4


def test_five_processes_bootstrap_at_once(commands: Commands) -> None:
    processes = [commands.spawn("migrations", "bootstrap") for _ in range(5)]
    outcomes = [(*process.communicate(timeout=240), process.returncode) for process in processes]
    assert [code for _, _, code in outcomes] == [0] * 5, outcomes
    assert sum("Database is up-to-date" in out for out, _, _ in outcomes) == 1, outcomes
    assert sum("Database already bootstrapped" in out for out, _, _ in outcomes) == 4, outcomes
    assert commands.run("migrations", "list").code == 0


def test_five_processes_migrate_at_once_and_the_step_runs_once(
    commands: Commands, tmp_path: Path
) -> None:  # fmt: skip
    commands.done("migrations", "bootstrap")
    file = tmp_path / "runs"
    step = {"name": "001_slow", "up": {"file": str(file), "seconds": 4.0}}
    processes = [
        commands.spawn(json.dumps([step]), "migrations", "up", program=("-m", "tests.integration.migrating"))
        for _ in range(5)
    ]
    outcomes = [(*process.communicate(timeout=240), process.returncode) for process in processes]
    assert [code for _, _, code in outcomes] == [0] * 5, outcomes
    # The step took longer than the lock lives without being renewed.
    assert file.read_text() == "run\n"
    assert sum("Migrations executed" in out for out, _, _ in outcomes) == 1, outcomes
    assert sum("Database is already up-to-date" in out for out, _, _ in outcomes) == 4, outcomes
    assert any("Waiting for another process that changes the database" in err for _, err, _ in outcomes), outcomes
    assert any("Still at 001_slow (up) after" in err for _, err, _ in outcomes), outcomes


@pytest.mark.parametrize("commands", LASTING[1:], indirect=True)  # sqlite itself lets a second writer wait
def test_who_waits_too_long_for_the_lock_gives_up_without_an_error(
    commands: Commands, tmp_path: Path
) -> None:  # fmt: skip
    commands.done("migrations", "bootstrap")
    file = tmp_path / "runs"
    step = json.dumps([{"name": "001_slow", "up": {"file": str(file), "seconds": 6.0}}])
    program = ("-m", "tests.integration.migrating")
    slow = commands.spawn(step, "migrations", "up", program=program)
    wait_until(file.exists, 60)
    outcome = commands.run(step, "migrations", "up", "--lock-timeout", "0.5", program=program)
    assert outcome[:2] == (0, "aborted: another node is performing database changes\n")
    out, err = slow.communicate(timeout=120)
    assert slow.returncode == 0, (out, err)


@pytest.mark.parametrize("command", ["bootstrap", "up", "finish"])
def test_a_process_killed_in_the_middle_is_followed_by_one_that_completes(
    commands: Commands, tmp_path: Path, command: str
) -> None:  # fmt: skip
    file = tmp_path / "runs"

    def modules(seconds: float) -> str:
        return json.dumps(
            [
                {"name": "001_first", "up": {"file": str(tmp_path / "first")}},
                {
                    "name": "002_slow",
                    "up": {"file": str(file), "seconds": 0.0 if command == "finish" else seconds},
                    "finish": {"file": str(file), "seconds": seconds},
                },
            ]
        )

    program = ("-m", "tests.integration.migrating")
    before = {"bootstrap": [], "up": ["bootstrap"], "finish": ["bootstrap", "up"]}[command]
    for name in before:
        if name == "bootstrap":
            commands.done("migrations", name)
        else:
            assert commands.run(modules(0.0), "migrations", name, program=program).code == 0
    file.unlink(missing_ok=True)
    victim = commands.spawn(modules(60.0), "migrations", command, program=program)
    wait_until(lambda: file.exists() or victim.poll() is not None, 120)
    time.sleep(0.2)
    victim.send_signal(signal.SIGKILL)
    victim.communicate(timeout=60)
    assert victim.returncode == -signal.SIGKILL

    # The dead process's lock ends by itself; the next one waits for that.
    outcome = commands.run(modules(0.0), "migrations", command, program=program)
    assert outcome.code == 0, outcome
    state = commands.run(modules(0.0), "migrations", "list", program=program)
    assert state.code == (4 if command == "up" else 0), state
    if command != "finish":
        assert (tmp_path / "first").read_text() == "run\n"
    again = commands.run(modules(0.0), "migrations", "bootstrap", program=program)
    assert (again.code, again.out) == (0, "Database already bootstrapped\n")


def test_progress_is_a_bar_on_a_terminal(commands: Commands, tmp_path: Path) -> None:
    shown = commands.on_terminal("migrations", "bootstrap")
    assert "Migrating core: 000_base (up)" in shown
    assert "1/1" in shown
    assert "━" in shown
    step = json.dumps([{"name": "001_slow", "up": {"file": str(tmp_path / "runs"), "seconds": 1.0}}])
    shown = commands.on_terminal(step, "migrations", "up", program=("-m", "tests.integration.migrating"))
    # The display lives on while a step works.
    assert shown.count("Migrating core: 001_slow (up)") > 3


@pytest.mark.parametrize("commands", LASTING[1:], indirect=True)
def test_five_nodes_start_at_once_on_an_empty_store(commands: Commands, tmp_path: Path) -> None:
    nodes = []
    for number in range(5):
        proxy, admin, status = free_ports(3)
        listeners = {
            "KONG_PROXY_LISTEN": f"{LOOPBACK}:{proxy}",
            "KONG_ADMIN_LISTEN": f"{LOOPBACK}:{admin}",
            "KONG_STATUS_LISTEN": f"{LOOPBACK}:{status}",
            "KONG_NGINX_WORKER_PROCESSES": "1",
        }
        prefix = tmp_path / f"node-{number}"
        nodes.append(Commands(prefix, {**commands.settings, **listeners, "KONG_PREFIX": str(prefix)}))
    try:
        starting = [node.spawn("start", "--run-migrations") for node in nodes]
        outcomes = [(*process.communicate(timeout=240), process.returncode) for process in starting]
        assert [code for _, _, code in outcomes] == [0] * 5, outcomes
        requests.post(
            f"http://{nodes[0].settings['KONG_ADMIN_LISTEN']}/routes", json={"name": "r", "paths": ["/r"]}, timeout=30
        ).raise_for_status()
        for node in nodes:
            address = node.settings["KONG_ADMIN_LISTEN"]
            assert requests.get(f"http://{address}/routes/r", timeout=30).status_code == 200
    finally:
        for node in nodes:
            node.run("stop")
