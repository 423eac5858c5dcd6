"""Who may import whom: the direction of dependencies that keeps the hot path small and plugins independent."""

import ast

import pytest

from tests.meta.sources import Source, below, sources

HOT = ("kong_gevent.http", "kong_gevent.router", "kong_gevent.balancer", "kong_gevent.proxy", "kong_gevent.runtime")
HEAVY = ("flask", "werkzeug", "marshmallow", "requests", "urllib3", "sqlite3", "cassandra", "psycopg")
PATCHERS = ("kong_gevent.cli", "kong_gevent.runtime.gunicorn_conf")


def violations(where: tuple[str, ...], forbidden: tuple[str, ...]) -> list[str]:
    return [
        f"{found.place} imports {found.module}"
        for source in sources()
        if below(source.name, *where)
        for found in source.imports()
        if below(found.module, *forbidden)
    ]


def test_there_is_code_to_judge() -> None:
    assert len(sources()) > 20
    assert any(source.imports() for source in sources())


def test_the_hot_path_stays_free_of_frameworks_and_drivers() -> None:
    assert violations(HOT, HEAVY) == []


def test_the_protocol_code_does_no_input_or_output() -> None:
    assert violations(("kong_gevent.http",), ("gevent", "socket", "select", "ssl", "os", "asyncio", "threading")) == []


def test_the_protocol_code_knows_only_errors() -> None:
    wrong = [
        f"{found.place} imports {found.module}"
        for source in sources()
        if below(source.name, "kong_gevent.http")
        for found in source.imports()
        if below(found.module, "kong_gevent")
        and found.module != "kong_gevent"
        and not below(found.module, "kong_gevent.http", "kong_gevent.errors")
    ]
    assert wrong == []


def test_plugins_know_only_the_kit() -> None:
    wrong = []
    for source in sources():
        if not source.name.startswith("kong_gevent.plugins."):
            continue
        own = ".".join(source.name.split(".")[:3])
        wrong += [
            f"{found.place} imports {found.module}"
            for found in source.imports()
            if below(found.module, "kong_gevent") and not below(found.module, "kong_gevent.pdk", own)
        ]
    assert wrong == []


def test_the_admin_api_does_not_know_the_runtime() -> None:
    assert violations(("kong_gevent.admin",), ("kong_gevent.runtime", "kong_gevent.proxy", "kong_gevent.router")) == []


def test_the_lower_layers_do_not_know_the_upper_ones() -> None:
    assert violations(("kong_gevent.errors",), ("kong_gevent",)) == []
    assert violations(("kong_gevent.conf",), ("kong_gevent.cli", "kong_gevent.runtime", "kong_gevent.db")) == []
    assert violations(("kong_gevent.db",), ("kong_gevent.runtime", "kong_gevent.admin", "kong_gevent.cli")) == []
    assert violations(("kong_gevent.router", "kong_gevent.proxy"), ("kong_gevent.runtime", "kong_gevent.db")) == []


def test_the_folders_are_imported_by_their_installed_names_only() -> None:
    assert violations(("kong_gevent",), ("admin", "plugins")) == []


def _patches(source: Source) -> list[str]:
    return [
        f"{source.place}:{node.lineno} patches"
        for node in ast.walk(source.tree)
        if (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "monkey"
            and node.attr.startswith("patch_"))
        or (isinstance(node, ast.alias) and node.name.startswith("patch_"))
    ]  # fmt: skip


def test_only_the_command_line_and_the_server_configuration_patch() -> None:
    assert [line for source in sources() if not below(source.name, *PATCHERS) for line in _patches(source)] == []


def _reads_environment(source: Source) -> list[str]:
    return [
        f"{source.place}:{node.lineno} reads the environment"
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
        and node.attr in ("environ", "getenv", "environb", "putenv")
    ]


def test_only_the_settings_read_the_environment() -> None:
    others = [source for source in sources() if not below(source.name, "kong_gevent.conf")]
    assert [line for source in others for line in _reads_environment(source)] == []


def test_the_rule_about_the_environment_sees_something() -> None:
    assert any(_reads_environment(source) for source in sources() if below(source.name, "kong_gevent.conf"))


@pytest.mark.parametrize("source", sources(), ids=lambda source: source.name)
def test_every_module_says_why_it_exists(source: Source) -> None:
    assert not source.tree.body or ast.get_docstring(source.tree)
