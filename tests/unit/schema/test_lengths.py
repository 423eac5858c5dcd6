"""Upper lengths of texts in entities: whatever has no limit of its own, but for keys, certificates and records."""

from typing import Any

import pytest
from marshmallow import ValidationError

from kong_gevent.db import build
from kong_gevent.pdk.loader import load_plugins
from kong_gevent.schema import Record, document, fields
from kong_gevent.schema.entity import Entity
from kong_gevent.schema.lengths import LONGEST, LONGEST_TAG


class Things(Record):
    id = fields.UUID(auto=True)
    name = fields.Utf8Name()
    short = fields.String(len_max=3)
    tags = fields.Tags()
    paths = fields.Array(fields.String())
    headers = fields.Headers()
    cert = fields.Certificate()
    secret = fields.String(encrypted=True)
    key = fields.String(encrypted=True, unique=True)
    config = fields.Record({"body": fields.String()})


SHAPE = Entity("things", Things()).fields
TOO_LONG = f"length must be at most {LONGEST}"


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("name", "x" * LONGEST, None),
        ("name", "x" * (LONGEST + 1), TOO_LONG),
        ("name", "ü" * LONGEST, TOO_LONG),
        ("short", "xxxx", "length must be at most 3"),
        ("tags", ["x" * LONGEST_TAG], None),
        ("tags", ["a", "x" * (LONGEST_TAG + 1)], {2: f"length must be at most {LONGEST_TAG}"}),
        ("paths", ["x" * (LONGEST + 1)], {1: TOO_LONG}),
        ("headers", {"a": ["x" * (LONGEST + 1)]}, TOO_LONG),
        ("headers", {"a" * (LONGEST + 1): ["x"]}, TOO_LONG),
        ("secret", "x" * 10 * LONGEST, None),
        ("key", "x" * (LONGEST + 1), TOO_LONG),
        ("config", {"body": "x" * 10 * LONGEST}, None),
    ],
    ids=lambda value: None if isinstance(value, (dict, list)) or len(str(value)) > 30 else str(value),
)
def test_lengths(name: str, value: Any, error: Any) -> None:
    if error is None:
        assert SHAPE[name].deserialize(value)
        return
    with pytest.raises(ValidationError) as caught:
        SHAPE[name].deserialize(value)
    found = caught.value.messages
    assert (found[0] if isinstance(found, list) else found) == error or error in str(found)


def test_a_limit_that_nobody_wrote_down_is_not_in_the_schema() -> None:
    assert not [
        field
        for field in document(Things())["fields"]
        if "len_max" in next(iter(field.values())) and "short" not in field
    ]


def test_every_unique_text_of_every_entity_has_a_limit() -> None:
    catalogue = build(load_plugins(["bundled"]))
    for entity in catalogue.values():
        for name in entity.keys:
            field = entity.fields[name]
            if not isinstance(field, fields.String):
                continue
            limits = [field.attributes.get(rule) for rule in ("len_max", "len_eq", "one_of", "uuid")]
            assert getattr(field, "longest", None) or any(limits), f"{entity.name}.{name}"
