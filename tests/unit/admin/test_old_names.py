"""Old flat names of plugins' settings: whichever name is written, both are shown; together they must agree."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.admin.api import Api
from tests.unit.admin.hostile import Shape, fields_of
from tests.unit.admin.test_defaults import PLUGINS, api, config_of, given_to, replacing

__all__ = ["api"]

Names = tuple[tuple[str, ...], tuple[str, ...], Shape]
"""Path of an old name, path of the new one, and what the old one takes."""
SAMPLES: dict[str, tuple[Any, Any]] = {
    "boolean": (True, False),
    "integer": (7, 8),
    "number": (7.5, 8.5),
    "string": ("one", "two"),
}
EXPECTED = {
    "acme": {"auth", "ssl_server_name", "namespace", "scan_count"},
    "opentelemetry": {"endpoint"},
    **dict.fromkeys(
        ("rate-limiting", "response-ratelimiting"),
        {
            *("redis_host", "redis_port", "redis_username", "redis_password", "redis_database"),
            *("redis_ssl", "redis_ssl_verify", "redis_server_name", "redis_timeout"),
        },
    ),
}
WRONG_TYPE = {
    "boolean": ("yes", "expected a boolean"),
    "integer": (1.5, "expected an integer"),
    "number": ("x", "expected a number"),
    "string": (1, "expected a string"),
}


def old_names(shape: Shape, path: tuple[str, ...] = ()) -> Iterator[Names]:
    """All old names of a record and of records in it."""
    for entry in shape.get("shorthand_fields", ()):
        for name, new in replacing(entry):
            yield (*path, name), (*path, *new), entry[name]
    for name, field in fields_of(shape).items():
        if field["type"] == "record":
            yield from old_names(field, (*path, name))


def put(config: Shape, path: tuple[str, ...], value: Any) -> Shape:
    """The settings with a value at this path."""
    name, *rest = path
    inner = put(config.get(name) or {}, tuple(rest), value) if rest else value
    return {**config, name: inner}


def at(config: Shape, path: tuple[str, ...]) -> Any:
    """The value at a path."""
    value: Any = config
    for name in path:
        value = value[name]
    return value


def cases(api: Api, plugin: str) -> list[Names]:
    found = list(old_names(config_of(api, plugin)))
    assert {old[-1] for old, _, _ in found} == EXPECTED.get(plugin, set())
    return found


def values(plugin: str, old: str, field: Shape) -> tuple[Any, Any]:
    return ("http://one.test/", "http://two.test/") if old == "endpoint" else SAMPLES[field["type"]]


@pytest.mark.parametrize("plugin", sorted(PLUGINS))
def test_whichever_is_written_both_are_shown(api: Api, plugin: str) -> None:
    base = given_to(api, plugin)
    for old, new, field in cases(api, plugin):
        one, two = values(plugin, old[-1], field)
        base_without = {name: value for name, value in base.items() if (name,) != new}
        row = api.make("/plugins", name=plugin, config=put(base_without, old, one))
        path = f"/plugins/{row['id']}"
        assert at(row["config"], old) == at(row["config"], new) == one
        for written in (new, old):
            for value in (two, one):
                status, row = api.patch(path, {"config": put({}, written, value)})
                assert status == 200, row
                assert at(row["config"], old) == at(row["config"], new) == value
                assert at(api.get(path)[1]["config"], old) == value
        # A client that writes back what it has read.
        status, again = api.put(path, {"name": plugin, "config": row["config"]})
        assert (status, again["config"]) == (200, row["config"])
        api.delete(path)


@pytest.mark.parametrize("plugin", sorted(EXPECTED))
def test_both_must_agree(api: Api, plugin: str) -> None:
    base = given_to(api, plugin)
    for old, new, field in cases(api, plugin):
        one, two = values(plugin, old[-1], field)
        row = api.make("/plugins", name=plugin, config=put(put(base, old, one), new, one))
        assert at(row["config"], old) == at(row["config"], new) == one
        path = f"/plugins/{row['id']}"
        for answer in (
            api.patch(path, {"config": put(put({}, old, one), new, two)}),
            api.put(path, {"name": plugin, "config": put(put(base, old, one), new, two)}),
        ):
            status, body = answer
            assert status == 400, (old, body)
            told = at(body["fields"]["config"], old)
            shown_path = ".".join(new[len(old) - 1 :])
            assert told.startswith("both deprecated and new field are used but their values mismatch: ")
            assert told.partition(": ")[2].partition(" = ")[0] == old[-1]
            assert f" vs {shown_path} = " in told
        assert at(api.get(path)[1]["config"], new) == one
        api.delete(path)


@pytest.mark.parametrize("plugin", sorted(EXPECTED))
def test_old_names_have_types(api: Api, plugin: str) -> None:
    base = given_to(api, plugin)
    for old, _, field in cases(api, plugin):
        wrong, message = WRONG_TYPE[field["type"]]
        status, body = api.post("/plugins", {"name": plugin, "config": put(base, old, wrong)})
        assert status == 400
        assert at(body["fields"]["config"], old) == message


@pytest.mark.parametrize("plugin", ["acl", "ip-restriction", "bot-detection"])
@pytest.mark.parametrize("name", ["whitelist", "blacklist"])
def test_names_of_the_years_before_are_unknown(api: Api, plugin: str, name: str) -> None:
    status, body = api.post("/plugins", {"name": plugin, "config": {**given_to(api, plugin), name: ["10.0.0.0/8"]}})
    assert (status, body["fields"]["config"][name]) == (400, "unknown field")
