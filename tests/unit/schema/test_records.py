"""Shorthands, merging, typing of forms, documents and configuration classes."""

from typing import Any

import pytest

from kong_gevent.schema import Config, checks, document, fields, infer, merge


class Redis(Config):
    host = fields.Host(metadata={"description": "Where Redis is."})
    port = fields.Port(load_default=6379)


class Limits(Config):
    """A configuration with most of what the vocabulary has."""

    minute = fields.Number(gt=0, metadata={"description": "Requests per minute."})
    hour = fields.Number(gt=0)
    names = fields.Array(fields.HeaderName(), load_default=[])
    headers = fields.Map(keys=fields.HeaderName(), values=fields.Array(fields.String()))
    rules = fields.Array(
        fields.Record({"code": fields.Integer(required=True), "on": fields.Boolean(load_default=True)})
    )
    redis = fields.Record(Redis)
    shorthand_fields = {
        "redis_host": fields.Deprecated(fields.String(), "redis.host"),
        "redis_port": fields.Deprecated(fields.Integer(), "redis.port", old_default=6379),
        "per_minute": fields.Shorthand(fields.Number(), lambda value: {"minute": value}),
    }
    config_checks = [checks.MutuallyExclusive("minute", "hour")]
    checks = [checks.AtLeastOneOf("config.minute", "config.hour")]

    @staticmethod
    def custom_validator(config: dict[str, Any]) -> str | None:
        return "too many" if (config["minute"] or 0) > 1000 else None


LIMITS = Limits()


def test_a_record_is_expanded_with_its_defaults() -> None:
    assert LIMITS.run({}) == (
        {
            "minute": None,
            "hour": None,
            "names": [],
            "headers": None,
            "rules": None,
            "redis": {"host": None, "port": 6379},
        },
        {},
    )


def test_unknown_keys_are_errors_where_they_are() -> None:
    assert LIMITS.run({"x": 1, "redis": {"y": 2}, "rules": [{"code": 1}, {"z": 1}]})[1] == {
        "x": "unknown field",
        "redis": {"y": "unknown field"},
        "rules": {2: {"code": "required field missing", "z": "unknown field"}},
    }


def test_shorthands_stand_for_their_fields() -> None:
    result, errors = LIMITS.run({"per_minute": 5, "redis_host": "h"})
    assert errors == {}
    assert (result["minute"], result["redis"]) == (5, {"host": "h", "port": 6379})
    assert "per_minute" not in result


def test_shorthands_are_checked_by_their_own_type() -> None:
    assert LIMITS.run({"per_minute": "5", "redis_port": "x"})[1] == {
        "per_minute": "expected a number",
        "redis_port": "expected an integer",
    }


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"redis_port": 1, "redis": {"port": 1}}, None),
        (
            {"redis_port": 1, "redis": {"port": 2}},
            "both deprecated and new field are used but their values mismatch: redis_port = 1 vs redis.port = 2",
        ),
        (
            {"redis_host": None, "redis": {"host": "h"}},
            "both deprecated and new field are used but their values mismatch: redis_host = null vs redis.host = h",
        ),
    ],
)
def test_old_and_new_names_agree(given: dict[str, Any], text: str | None) -> None:
    assert next(iter(LIMITS.run(given)[1].values()), None) == text


def test_reads_show_the_old_names() -> None:
    stored = LIMITS.run({"redis_host": "h"})[0]
    shown = LIMITS.render(stored)
    assert (shown["redis_host"], shown["redis_port"]) == ("h", 6379)
    assert "per_minute" not in shown
    assert "redis_host" not in stored


def test_a_whole_record_may_be_refused_with_one_text() -> None:
    holder = type("Holder", (Config,), {"config": fields.Record(Limits)})()
    assert holder.run({"config": {"minute": 5000}})[1] == {"config": "too many"}
    assert holder.run({"config": {"minute": 5000, "hour": "x"}})[1] == {"config": {"hour": "expected a number"}}


def test_config_checks_report_inside_and_plugin_checks_outside() -> None:
    assert LIMITS.run({"minute": 1, "hour": 1})[1] == {
        "@entity": ["only one or none of these fields must be set: 'minute', 'hour'"]
    }
    assert [check.document() for check in Limits.checks] == [{"at_least_one_of": ["config.minute", "config.hour"]}]


def test_merging_goes_into_records_only() -> None:
    stored = LIMITS.run({"minute": 1, "names": ["a", "b"], "headers": {"x": ["1"]}, "redis": {"host": "h", "port": 1}})[
        0
    ]
    patch = {"names": ["c"], "headers": {"y": ["2"]}, "redis": {"port": 2}, "minute": None}
    merged = merge(stored, patch, LIMITS.shape)
    assert merged == {
        **stored,
        "names": ["c"],
        "headers": {"y": ["2"]},
        "redis": {"host": "h", "port": 2},
        "minute": None,
    }
    assert stored["redis"] == {"host": "h", "port": 1}


def test_what_an_earlier_version_did_not_store_is_filled() -> None:
    assert LIMITS.fill({"minute": 3, "redis": {"host": "h"}}) == {
        "minute": 3, "hour": None, "names": [], "headers": None, "rules": None, "redis": {"host": "h", "port": 6379}
    }  # fmt: skip
    assert LIMITS.fill({})["redis"] == {"host": None, "port": 6379}


@pytest.mark.parametrize(
    ("form", "typed"),
    [
        ({"minute": "5"}, {"minute": 5}),
        ({"minute": "1.5"}, {"minute": 1.5}),
        ({"minute": "x"}, {"minute": "x"}),
        ({"minute": "1_000"}, {"minute": "1_000"}),
        ({"minute": ""}, {"minute": None}),
        ({"names": "a"}, {"names": ["a"]}),
        ({"names": ["a", ""]}, {"names": ["a", None]}),
        ({"names": ""}, {"names": None}),
        ({"headers": {"x": "1"}}, {"headers": {"x": ["1"]}}),
        ({"rules": [{"code": "5", "on": "false"}]}, {"rules": [{"code": 5, "on": False}]}),
        ({"rules": {"code": "5", "on": "no"}}, {"rules": {"code": "5", "on": "no"}}),
        ({"redis": {"port": "7", "x": "1"}}, {"redis": {"port": 7, "x": "1"}}),
        ({"redis_port": "7", "per_minute": "8"}, {"redis_port": 7, "per_minute": 8}),
        ({"unknown": "5"}, {"unknown": "5"}),
    ],
    ids=str,
)
def test_forms_are_typed_by_the_schema(form: dict[str, Any], typed: dict[str, Any]) -> None:
    assert infer(LIMITS, form) == typed


def test_the_document_shows_kongs_attributes() -> None:
    shown = document(type("Holder", (Config,), {"config": fields.Record(Limits)})())
    (config,) = shown["fields"]
    parts = {name: attributes for one in config["config"]["fields"] for name, attributes in one.items()}
    assert list(parts) == ["minute", "hour", "names", "headers", "rules", "redis"]
    assert parts["minute"] == {"type": "number", "gt": 0, "description": "Requests per minute."}
    assert parts["names"] == {"type": "array", "default": [], "elements": {"type": "string", "required": True}}
    assert parts["headers"]["values"] == {
        "type": "array",
        "required": True,
        "elements": {"type": "string", "required": True},
    }
    assert parts["redis"]["required"] is True
    assert parts["redis"]["fields"][1] == {"port": {"type": "integer", "between": [0, 65535], "default": 6379}}
    shorthands = {name: attributes for one in config["config"]["shorthand_fields"] for name, attributes in one.items()}
    assert shorthands["redis_port"]["deprecation"]["replaced_with"] == [{"path": ["redis", "port"]}]
    assert shorthands["redis_port"]["deprecation"]["old_default"] == 6379
    assert "deprecation" not in shorthands["per_minute"]
