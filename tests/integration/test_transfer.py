"""`config db_export` and `db_import`: a whole configuration between any two stores, without loss, or nothing at all."""

import json
import signal
import stat
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.gateway import Gateway
from tests.integration.stores import LASTING, Commands, Stores
from tests.wire import wait_until

MANY = 6000
"""Consumers of the large configuration, each with a credential."""


def rich_configuration(consumers: int = 20) -> str:
    """Every kind of entity, plugins of all scopes, texts that need care in YAML, lives that end, times long ago."""
    document: dict[str, Any] = {
        "_format_version": "3.0",
        "services": [
            {
                "name": f"service-{number}",
                "url": f"https://upstream-{number}.test:8443/base",
                "tags": ["on", "12", "a b", "ünï", "x: y"],
                "created_at": 1600000000 + number,
                "updated_at": 1650000000,
                "retries": None,
                "routes": [
                    {
                        "name": f"route-{number}",
                        "paths": [f"/r/{number}", f"~/rx/{number}/\\d+$"],
                        "hosts": ["*.example.test", "a.test:8080"],
                        "methods": ["GET", "POST"],
                        "headers": {"x-version": ["1", "~*^v[0-9]"]},
                        "plugins": [{"name": "key-auth", "config": {"key_names": ["apikey", "x-key"]}}],
                    },
                    {"paths": [f"/nameless/{number}"], "strip_path": False, "protocols": ["http"]},
                ],
                "plugins": [{"name": "rate-limiting", "config": {"minute": 7, "policy": "local"}, "enabled": False}],
            }
            for number in range(5)
        ],
        "routes": [{"id": "5f9e0c4e-24c3-4a0f-9d5d-8a1f4cf8b7b0", "paths": ["/alone"], "tags": ["x"]}],
        "consumers": [
            {
                "username": f"user {number} ✓",
                "custom_id": f"{number:03}",
                "tags": [f"t{number % 7}"],
                "keyauth_credentials": [{"key": f"key-{number}"}],
            }
            for number in range(consumers)
        ],
        "plugins": [
            {"name": "cors", "config": {"origins": ["https://a.test"], "max_age": 5}, "instance_name": "everywhere"},
            {"name": "correlation-id", "config": {"header_name": "X-Id"}, "tags": ["null", "~"]},
            {"name": "rate-limiting", "consumer": "user 1 ✓", "config": {"hour": 3, "policy": "local"}},
            {
                "name": "rate-limiting", "consumer": "user 1 ✓", "service": "service-1", "route": "route-1",
                "config": {"second": 3, "policy": "local"},
            },
            {"name": "request-termination", "service": "service-2", "config": {"status_code": 503, "body": "a\nb"}},
        ],
    }  # fmt: skip
    document["consumers"][0]["keyauth_credentials"] += [
        {"key": "ends-soon", "ttl": 5000, "tags": ["t"]},
        {"key": "ends-late", "ttl": 1000000},
    ]
    return json.dumps(document, ensure_ascii=False)


def exported(node: Commands, name: str = "out.yml") -> dict[str, Any]:
    """What a store exports, with the seconds that are left apart."""
    file = node.prefix / name
    file.unlink(missing_ok=True)
    node.done("config", "db_export", str(file))
    text = file.read_text()
    found: dict[str, Any] = json.loads(text) if name.endswith(".json") else yaml.safe_load(text)
    return found


def lives(document: dict[str, Any]) -> dict[str, int]:
    """Take the lives out of an export: seconds by key."""
    return {entry["key"]: entry.pop("ttl") for entry in document["keyauth_credentials"] if "ttl" in entry}


def bootstrapped(stores: Stores, database: str) -> Commands:
    made = stores(database)
    made.done("migrations", "bootstrap", "-q")
    return made


@pytest.mark.parametrize("target", LASTING)
@pytest.mark.parametrize("source", LASTING)
def test_from_any_store_into_any_other(
    stores: Stores, source: str, target: str, tmp_path: Path
) -> None:  # fmt: skip
    first, second = bootstrapped(stores, source), bootstrapped(stores, target)
    file = tmp_path / "kong.json"
    file.write_text(rich_configuration())
    out = first.done("config", "db_import", str(file))
    assert out.startswith("parse successful, beginning import\n")
    assert out.endswith("import successful\n")

    one = exported(first)
    out = second.done("config", "db_import", str(first.prefix / "out.yml"))
    assert out.endswith("import successful\n")
    two = exported(second)
    assert list(one) == list(two)
    left, kept = lives(one), lives(two)
    assert one == two
    assert left.keys() == kept.keys() == {"ends-soon", "ends-late"}
    assert all(left[key] - 300 < kept[key] <= left[key] + 1 for key in left)
    assert one["services"][0]["created_at"] in range(1600000000, 1600000005)
    assert {entry["retries"] for entry in one["services"]} == {None}
    assert len(one["plugins"]) == 15
    assert len(one["keyauth_credentials"]) == 22


def test_importing_again_changes_nothing(commands: Commands, tmp_path: Path) -> None:
    commands.done("migrations", "bootstrap", "-q")
    file = tmp_path / "kong.yml"
    file.write_text("""
_format_version: "3.0"
services:
- name: a
  host: a.test
  routes: [{name: r, paths: [/], plugins: [{name: cors}]}]
consumers: [{username: u, keyauth_credentials: [{key: k}]}]
""")
    assert "5 entities, 5 of them new or changed" in commands.done("config", "db_import", str(file))
    before = exported(commands)
    assert "5 entities, 0 of them new or changed" in commands.done("config", "db_import", str(file))
    assert exported(commands) == before
    file.write_text(file.read_text().replace("a.test", "b.test").replace("[{key: k}]", "[{key: k, tags: [x]}]"))
    assert "5 entities, 2 of them new or changed" in commands.done("config", "db_import", str(file))
    after = exported(commands)
    assert after["services"][0]["host"] == "b.test"
    assert after["services"][0]["id"] == before["services"][0]["id"]
    assert after["services"][0]["created_at"] == before["services"][0]["created_at"]
    assert after["routes"] == before["routes"]


def test_json_carries_the_same(stores: Stores, tmp_path: Path) -> None:
    node = bootstrapped(stores, "sqlite")
    file = tmp_path / "kong.json"
    file.write_text(rich_configuration())
    node.done("config", "db-import", str(file))
    as_yaml, as_json = exported(node), exported(node, "out.json")
    lives(as_yaml), lives(as_json)
    assert as_yaml == as_json
    other = bootstrapped(stores, "sqlite")
    other.done("config", "db_import", str(node.prefix / "out.json"))
    again = exported(other)
    lives(again)
    assert again == as_yaml


@pytest.mark.timeout(900)
def test_a_large_configuration(commands: Commands, tmp_path: Path) -> None:
    commands.done("migrations", "bootstrap", "-q")
    file = tmp_path / "kong.json"
    file.write_text(rich_configuration(MANY))
    outcome = commands.run("config", "db_import", str(file), "--quiet")
    assert outcome == (0, "", "")
    found = exported(commands)
    assert len(found["consumers"]) == MANY
    assert len(found["keyauth_credentials"]) == MANY + 2
    names = [entry["id"] for entry in found["consumers"]]
    assert names == sorted(names)
    assert {entry["custom_id"] for entry in found["consumers"]} == {f"{number:03}" for number in range(MANY)}


@pytest.mark.timeout(900)
def test_an_import_that_was_killed_can_be_repeated(commands: Commands, tmp_path: Path) -> None:
    commands.done("migrations", "bootstrap", "-q")
    file = tmp_path / "kong.json"
    file.write_text(rich_configuration(MANY // 2))
    victim = commands.spawn("config", "db_import", str(file))
    assert victim.stdout is not None
    assert victim.stdout.readline() == "parse successful, beginning import\n"
    victim.send_signal(signal.SIGKILL)
    victim.communicate(timeout=60)
    commands.done("config", "db_import", str(file))
    found = exported(commands)
    assert len(found["consumers"]) == MANY // 2
    assert len(found["keyauth_credentials"]) == MANY // 2 + 2
    # Entities without a name have new ids at each import, so that only these may be there twice.
    assert len(found["services"]) == 5
    assert len({entry["id"] for entry in found["plugins"]}) == 15


@pytest.mark.parametrize(
    ("name", "text", "lines"),
    [
        (
            "malformed.yml",
            "services: [",
            ["failed parsing declarative configuration: malformed YAML in line 2, column 1: "
             "did not find expected node content"],
        ),
        ("malformed.json", "{", ["failed parsing declarative configuration: malformed JSON in line 1, column 2: "
             "unexpected end of data"]),
        ("empty.yml", "", ["failed parsing declarative configuration: expected an object"]),
        (
            "unknown.yml",
            "_format_version: '3.0'\nconsumers: [{username: fine}]\nservices: [{name: a, host: h, hots: x}]",
            ["in 'services':", "  - in entry 1 of 'services':", "    in 'hots': unknown field"],
        ),
        (
            "reference.yml",
            "_format_version: '3.0'\nconsumers: [{username: fine}]\nroutes: [{paths: [/], service: s}]",
            [
                "in 'routes':",
                "  - in entry 1 of 'routes':",
                "    in 'service': invalid reference 'service: s' (no such entry in 'services')",
            ],
        ),
        (
            "twice.yml",
            "_format_version: '3.0'\nconsumers: [{username: a}, {username: a}]",
            [
                "in 'consumers':",
                "  - in entry 2 of 'consumers': uniqueness violation: 'consumers' entity with username set to 'a' "
                "already declared",
            ],
        ),
        (
            "types.yml",
            "_format_version: '3.0'\nconsumers: [{username: fine}, {username: 5}]\nplugins: {name: cors}",
            [
                "in 'plugins': expected an array",
                "in 'consumers':",
                "  - in entry 2 of 'consumers':",
                "    in 'username': expected a string",
            ],
        ),
    ],
)  # fmt: skip
def test_a_bad_document_changes_nothing(
    stores: Stores, tmp_path: Path, name: str, text: str, lines: list[str]
) -> None:  # fmt: skip
    node = bootstrapped(stores, "sqlite")
    file = tmp_path / name
    file.write_text(text)
    outcome = node.run("config", "db_import", str(file))
    assert (outcome.code, outcome.out) == (1, "")
    shown = outcome.err.removeprefix("Error: Failed parsing:\n").split("\n\n")[0].splitlines()
    assert [line.removeprefix("  ") for line in shown][: len(lines)] == lines
    assert exported(node) == {"_format_version": "3.0", "_transform": False}


def test_every_problem_is_told_with_its_file_and_line(stores: Stores, tmp_path: Path) -> None:
    node = bootstrapped(stores, "sqlite")
    file = tmp_path / "bad.yml"
    file.write_text(
        "_format_version: '3.0'\nservices:\n- name: a\n  host: h\n- name: b\n  routes:\n  - paths: [x]\n"
        "    hots: [y]\nconsumers: [{username: fine}, {username: 5}]\nplugins:\n- name: nobody\n"
    )
    outcome = node.run("config", "db_import", str(file))
    assert (outcome.code, outcome.out) == (1, "")
    told = [line.strip() for line in outcome.err.splitlines() if line.strip().startswith(f"{file}:")]
    assert told == [
        f"{file}:5: service (b): host: required field missing",
        f"{file}:7: route (entry 1): paths.1: should start with: / (fixed path) or ~/ (regex path)",
        f"{file}:8: route (entry 1): hots: unknown field",
        f"{file}:9: consumer (5): username: expected a string",
        f"{file}:11: plugin (nobody): name: plugin 'nobody' not enabled; "
        "add it to the 'plugins' configuration property",
    ]
    assert exported(node) == {"_format_version": "3.0", "_transform": False}


def test_names_that_the_store_has_elsewhere_are_found_before_anything_is_written(
    commands: Commands, tmp_path: Path
) -> None:  # fmt: skip
    commands.done("migrations", "bootstrap", "-q")
    file = tmp_path / "kong.yml"
    file.write_text("_format_version: '3.0'\nconsumers: [{id: 3a81b1d5-5b4e-4f0e-9f63-2f2b3f0a3c11, username: a}]")
    commands.done("config", "db_import", str(file))
    before = exported(commands)
    file.write_text(
        "_format_version: '3.0'\nservices: [{name: s, host: h}]\n"
        "consumers: [{id: 3a81b1d5-5b4e-4f0e-9f63-2f2b3f0a3c22, username: a}]"
    )
    outcome = commands.run("config", "db_import", str(file))
    assert outcome.code == 1
    assert (
        "the datastore has an entity with username set to 'a' under the id 3a81b1d5-5b4e-4f0e-9f63-2f2b3f0a3c11; "
        "the document has it under 3a81b1d5-5b4e-4f0e-9f63-2f2b3f0a3c22"
    ) in outcome.err
    assert exported(commands) == before


def test_an_export_is_for_its_owner_and_overwrites_nothing(stores: Stores) -> None:
    node = bootstrapped(stores, "sqlite")
    file = node.prefix / "mine.yml"
    assert node.done("config", "db_export", str(file)) == f"exported 0 entities to {file}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_text("precious")
    outcome = node.run("config", "db_export", str(file))
    assert outcome.code == 1
    assert outcome.err.startswith(f"Error: {file} already exists; it is not overwritten\n")
    assert file.read_text() == "precious"
    assert [path.name for path in node.prefix.glob(".*part")] == []
    outcome = node.run("config", "db_export", str(node.prefix / "nowhere" / "x.yml"))
    assert outcome.err.startswith(f"Error: cannot write {node.prefix}/nowhere/x.yml: No such file or directory\n")


@pytest.mark.parametrize("command", [("db_import", "x.yml"), ("db_export", "x.yml")])
def test_a_store_without_tables_is_named(commands: Commands, command: tuple[str, ...]) -> None:
    outcome = commands.run("config", *command)
    assert outcome.code == 1
    assert outcome.err.startswith("Error: Database needs bootstrapping or is older than Kong 1.0.")


def test_a_store_in_memory_has_nothing_to_move(stores: Stores) -> None:
    outcome = stores("sqlite").run("config", "db_export", settings={"KONG_DATABASE": "memory"})
    assert outcome.code == 1
    assert outcome.err.startswith("Error: database = memory keeps nothing between two commands\n")


def test_init_and_parse(stores: Stores) -> None:
    node = stores("sqlite")
    node.done("config", "init")
    assert node.run("config", "init").code == 1
    assert node.run("config", "parse", str(node.prefix.parent / "kong.yml")).code == 1
    found = list(node.prefix.glob("kong.yml"))
    assert node.done("config", "parse", str(found[0])) == "parse successful\n"


@pytest.mark.parametrize("database", LASTING)
def test_running_nodes_follow_an_import(stores: Stores, tmp_path: Path, database: str) -> None:
    node = bootstrapped(stores, database)
    text = """
_format_version: "3.0"
routes:
- name: r
  paths: [/imported]
  plugins:
  - name: request-termination
    config: {status_code: 418, message: one}
"""
    file = tmp_path / "kong.yml"
    with Gateway(prefix=node.prefix, env=dict(node.settings)) as gateway:
        assert gateway.get("/imported").status_code == 404
        file.write_text(text)
        node.done("config", "db_import", str(file))
        wait_until(lambda: gateway.get("/imported").status_code == 418)
        file.write_text(text.replace("418", "451"))
        node.done("config", "db_import", str(file))
        wait_until(lambda: gateway.get("/imported").status_code == 451)
        assert requests.get(f"{gateway.admin_url}/routes/r", timeout=10).json()["paths"] == ["/imported"]


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere(stores: Stores, tmp_path: Path) -> None:
    node = bootstrapped(stores, "sqlite")
    file = tmp_path / "kong.json"
    file.write_text(rich_configuration(50))
    shown = node.on_terminal("config", "db_import", str(file))
    assert "Importing" in shown
    assert "━" in shown
    assert node.run("config", "db_import", str(file)).err == ""
