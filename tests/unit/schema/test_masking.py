"""What counts as a secret when an entity is recorded."""

from kong_gevent.schema import Record, fields
from kong_gevent.schema.masking import masked


class Inner(Record):
    """A nested record."""

    host = fields.String()
    password = fields.String(referenceable=True)


class Sample(Record):
    """A field of each sort."""

    id = fields.UUID(auto=True)
    name = fields.String()
    key = fields.String(auto=True)
    pem = fields.String(encrypted=True)
    secret = fields.String()
    headers = fields.Map(fields.String(), fields.String(referenceable=True))
    list = fields.Array(fields.String(encrypted=True))
    redis = fields.Record(Inner)
    rows = fields.Array(fields.Record(Inner))
    shorthand_fields = {"redis_password": fields.Deprecated(fields.String(), "redis.password")}


def test_secrets_at_all_depths() -> None:
    inner = {"host": "h", "password": "hush"}
    values = {
        "id": "1", "name": "n", "key": "hush", "pem": "hush", "secret": "hush", "headers": {"a": "hush"},
        "list": ["hush"], "redis": inner, "rows": [inner], "redis_password": "hush", "unknown": 1,
    }  # fmt: skip
    shown = masked(Sample(), values)
    assert "hush" not in str(shown)
    assert (shown["id"], shown["name"], shown["redis"]["host"], shown["unknown"]) == ("1", "n", "h", 1)
    assert shown["headers"] == {"a": "******"}
    assert shown["list"] == ["******"]
    assert values["key"] == "hush"


def test_null_and_references_stay() -> None:
    values = {"key": None, "pem": "{vault://env/pem}", "redis": None}
    assert masked(Sample(), values) == values
