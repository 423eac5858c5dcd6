"""`config diff`, `sync`, `apply`, `history` and `rollback` against a running gateway."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import sleep
from typing import Any

import pytest
import requests

from tests.gateway import Gateway
from tests.integration.support import cli, in_thread
from tests.wire import wait_until


@pytest.fixture
def file(gateway: Gateway, tmp_path: Path) -> Path:
    gateway.reset()
    return tmp_path / "kong.yml"


def names(gateway: Gateway) -> set[str]:
    return {service["name"] for service in gateway.admin("GET", "/services").json()["data"]}


def write(file: Path, text: str) -> None:
    file.write_text('_format_version: "3.0"\n' + text)


def test_diff_and_sync(gateway: Gateway, file: Path) -> None:
    gateway.create("/services", name="old", host="h")
    gateway.create("/services", name="kept", host="before")
    write(file, "services:\n- name: kept\n  host: after\n- name: new\n  host: h\n")
    diff = cli(gateway, "config", "diff", str(file), "--exit-code")
    assert diff.returncode == 2
    for line in ("+ services new", "~ services kept", '    host: "before" -> "after"', "- services old"):
        assert line in diff.stdout.splitlines()
    assert "1 created, 1 updated, 1 deleted, 0 unchanged" in diff.stdout
    assert names(gateway) == {"old", "kept"}
    refused = cli(gateway, "config", "sync", str(file))
    assert (refused.returncode, "say --yes" in refused.stderr) == (1, True)
    assert cli(gateway, "config", "sync", str(file), "--dry-run").returncode == 0
    assert names(gateway) == {"old", "kept"}
    assert cli(gateway, "config", "sync", str(file), "--yes", "--addr", gateway.admin_url).returncode == 0
    assert names(gateway) == {"kept", "new"}
    again = cli(gateway, "config", "diff", str(file), "--exit-code")
    assert (again.returncode, again.stdout) == (0, "0 created, 0 updated, 0 deleted, 2 unchanged\n")


def test_sync_within_tags(gateway: Gateway, file: Path) -> None:
    gateway.create("/services", name="theirs", host="h")
    gateway.create("/services", name="mine", host="h", tags=["a"])
    write(file, "services:\n- name: next\n  host: h\n  tags: [a]\n")
    assert cli(gateway, "config", "sync", str(file), "--select-tag", "a", "--yes").returncode == 0
    assert names(gateway) == {"theirs", "next"}


def test_apply_history_rollback(gateway: Gateway, file: Path) -> None:
    write(file, "services:\n- name: one\n  host: h\n")
    assert "+ services one" in cli(gateway, "config", "apply", str(file)).stdout
    first = cli(gateway, "config", "history").stdout.splitlines()[0]
    assert "POST /config  +1 ~0 -0" in first
    assert "- services one" in cli(gateway, "config", "rollback", "--dry-run").stdout
    assert names(gateway) == {"one"}
    assert cli(gateway, "config", "rollback", first.split()[0][:13]).returncode == 0
    assert names(gateway) == set()
    unknown = cli(gateway, "config", "rollback", "zz")
    assert (unknown.returncode, "there is no change set 'zz'" in unknown.stderr) == (1, True)


class TestLargeRollback:
    """The way back from a large change set is worked out in a process of its own."""

    COUNT = 2500

    @pytest.fixture
    def before(self, gateway: Gateway) -> Iterator[str]:
        """5,000 entities, of which all are changed or go; what was there before."""
        gateway.reset()
        self.replace(gateway, [self.service(number, "before") for number in range(self.COUNT)])
        exported: str = gateway.admin("GET", "/config").text
        self.replace(gateway, [self.service(number, "after") for number in range(0, self.COUNT, 2)])
        assert gateway.admin("GET", "/services").json()["data"][0]["host"] == "after"
        yield exported
        self.replace(gateway, [])

    def replace(self, gateway: Gateway, services: list[dict[str, Any]]) -> None:
        document = {"_format_version": "3.0", "services": services}
        answer = gateway.admin("POST", "/config?prune=1", document, timeout=120)
        assert answer.status_code == 201, answer.text

    def service(self, number: int, host: str) -> dict[str, Any]:
        return {"name": f"s{number}", "host": host, "routes": [{"name": f"r{number}", "paths": [f"/{host}/{number}"]}]}

    def jobs(self, gateway: Gateway) -> list[int]:
        """Processes that work for the workers."""
        workers, found = set(gateway.worker_pids()), []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                if int(stat.read_text().rpartition(")")[2].split()[1]) in workers:
                    if b"\0config\0job" in stat.with_name("cmdline").read_bytes():
                        found.append(int(stat.parent.name))
        return found

    def test_it_leads_to_the_earlier_state_or_changes_nothing(self, gateway: Gateway, before: str) -> None:
        after = gateway.admin("GET", "/config").text
        dry = gateway.admin("POST", "/config/rollback?dry_run=1", {}, timeout=120)
        assert dry.json()["summary"] == {"created": 2500, "updated": 2500, "deleted": 0, "unchanged": 0}
        with in_thread(lambda: gateway.admin("POST", "/config/rollback", {}, timeout=120)) as asked:
            os.kill(wait_until(lambda: self.jobs(gateway))[0], signal.SIGKILL)
        assert asked[0].status_code == 500
        assert gateway.admin("GET", "/config").text == after
        # What the killed process may have held of the store ends by itself.
        wait_until(lambda: "2,500 created, 2,500 updated, 0 deleted" in cli(gateway, "config", "rollback").stdout)
        assert gateway.admin("GET", "/config").text == before
        assert gateway.get("/before/1").status_code != 404 and gateway.get("/after/0").status_code == 404
        seen = []
        with in_thread(lambda: gateway.admin("POST", "/config/rollback", {}, timeout=120)) as again:
            while not again:
                seen.append(requests.get(gateway.admin_url + "/config/progress", timeout=30).json())
                sleep(0.01)
        assert again[0].status_code == 200, again[0].text
        assert ("comparing", 5000) in {(state["doing"], state["total"]) for state in seen}
        nothing = {"doing": None, "done": None, "total": None}
        assert gateway.admin("GET", "/config/progress").json() == nothing
        assert gateway.admin("GET", "/config").text == after
        gateway.change("/services/s0", host="mine")
        refused = gateway.admin("POST", "/config/rollback", {}, timeout=120)
        assert (refused.status_code, refused.json()["problems"]) == (409, ["services s0: was changed since"])


def test_problems_are_shown_with_their_places(gateway: Gateway, file: Path) -> None:
    write(file, "services:\n- name: a\n  host: h\n- name: b\n")
    refused = cli(gateway, "config", "sync", str(file))
    assert refused.returncode == 1
    assert "- in entry 2 of 'services':" in refused.stderr
    assert "in 'host': required field missing" in refused.stderr
    place = f"{file}:5: service (b): host: required field missing"
    assert place in refused.stderr.splitlines()
    for command in ("diff", "apply"):
        assert place in cli(gateway, "config", command, str(file)).stderr.splitlines()
    missing = cli(gateway, "config", "diff", "nowhere.yml")
    assert (missing.returncode, "cannot read nowhere.yml" in missing.stderr) == (1, True)
    away = cli(gateway, "config", "diff", str(file), "--addr", "http://127.0.0.1:1")
    assert away.returncode == 1
