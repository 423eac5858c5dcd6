"""`config diff`, `sync`, `apply`, `history` and `rollback` against a running gateway."""

from pathlib import Path

import pytest

from tests.gateway import Gateway
from tests.integration.support import cli


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
