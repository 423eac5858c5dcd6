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
    ticket = fields.String(secret=True)
    headers = fields.Map(fields.String(), fields.String(referenceable=True))
    list = fields.Array(fields.String(encrypted=True))
    redis = fields.Record(Inner)
    rows = fields.Array(fields.Record(Inner))
    shorthand_fields = {"redis_password": fields.Deprecated(fields.String(), "redis.password")}


def test_secrets_at_all_depths() -> None:
    inner = {"host": "h", "password": "hush"}
    values = {
        "id": "1", "name": "n", "key": "hush", "pem": "hush", "secret": "hush", "ticket": "hush",
        "headers": {"a": "hush"},
        "list": ["hush"], "redis": inner, "rows": [inner], "redis_password": "hush", "unknown": 1,
    }  # fmt: skip
    shown = masked(Sample(), values)
    assert "hush" not in str(shown)
    assert (shown["id"], shown["name"], shown["redis"]["host"], shown["unknown"]) == ("1", "n", "h", 1)
    assert shown["headers"] == {"a": "******"}
    assert shown["list"] == ["******"]
    assert values["key"] == "hush"


def test_pairs_whose_names_carry_credentials() -> None:
    class Pairs(Record):
        """Texts that hold a name and a value."""

        add = fields.Array(fields.String())

    pairs = ["Authorization:Basic hush", "X-Api-Key:hush", "x-trace:on", "Cookie:", "a.test:80", "authorization"]
    shown = ["Authorization:******", "X-Api-Key:******", "x-trace:on", "Cookie:", "a.test:80", "authorization"]
    assert masked(Pairs(), {"add": pairs}) == {"add": shown}


def test_null_and_references_stay() -> None:
    values = {"key": None, "pem": "{vault://env/pem}", "redis": None}
    assert masked(Sample(), values) == values
