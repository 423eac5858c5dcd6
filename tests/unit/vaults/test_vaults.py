"""References to secrets: their form, the vault of environment variables, and where secrets are put in."""

from typing import Any

import pytest

from kong_gevent.schema import Config, fields
from kong_gevent.vaults import Unresolved, is_reference, parse, resolve
from kong_gevent.vaults.secrets import Secrets

ENVIRON = {
    "TOKEN": "t0",
    "APP_TOKEN": "t1",
    "MY_SECRET_CONFIG": '{"user":"u","port":5,"deep":{"a":1}}',
    "TOKEN_PREVIOUS": "old",
    "LIST": "[1]",
    "EMPTY": "",
}
VAULTS = {
    "my-env": {"prefix": "my-env", "name": "env", "config": {"prefix": "APP_"}},
    "gone": {"prefix": "gone", "name": "hcv", "config": {}},
}


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("{vault://env/token}", "t0"),
        ("{vault://env/TOKEN}", "t0"),
        ("{vault://env/token?prefix=app_}", "t1"),
        ("{vault://env/token#2}", "old"),
        ("{vault://env/token/}", "t0"),
        ("{vault://env/my-secret-config/user}", "u"),
        ("{vault://env/my-secret-config/port}", "5"),
        ("{vault://env/my-secret-config/deep}", '{"a": 1}'),
        ("{vault://my-env/token}", "t1"),
        ("{vault://env/empty}", ""),
    ],
)
def test_references_lead_to_secrets(text: str, secret: str) -> None:
    assert is_reference(text)
    assert resolve(parse(text), VAULTS, ENVIRON) == secret


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{vault://env/nothing}", "the environment variable NOTHING is not set"),
        ("{vault://nowhere/token}", "there is no vault 'nowhere'"),
        ("{vault://gone/token}", "vault 'hcv' is not installed"),
        ("{vault://env/my-secret-config/nothing}", "not a JSON object with 'nothing'"),
        ("{vault://env/token/key}", "not a JSON object with 'key'"),
        ("{vault://env/list/key}", "not a JSON object with 'key'"),
        ("{vault://env}", "is not a valid vault reference"),
        ("{vault://env/}", "is not a valid vault reference"),
        ("{vault://env//}", "it names no secret"),
        ("{vault://}", "is not a valid vault reference"),
    ],
)
def test_what_leads_nowhere_is_named_without_a_secret(text: str, reason: str) -> None:
    with pytest.raises(Unresolved) as caught:
        resolve(parse(text), VAULTS, ENVIRON)
    assert text in str(caught.value)
    assert reason in str(caught.value)
    assert "t0" not in str(caught.value)


class Settings(Config):
    """Referenceable fields in all places."""

    password = fields.String(referenceable=True)
    plain = fields.String()
    hosts = fields.Array(fields.String(referenceable=True))
    headers = fields.Map(keys=fields.String(), values=fields.String(referenceable=True))
    redis = fields.Record({"password": fields.String(referenceable=True), "port": fields.Integer()})
    entries = fields.Array(fields.Record({"key": fields.String(referenceable=True)}))


REFERENCE = "{vault://env/token}"


def fill(**values: Any) -> tuple[dict[str, Any], bool]:
    return Secrets(ENVIRON).filled(Settings().shape, values)


def test_secrets_are_put_in_wherever_a_field_is_referenceable() -> None:
    filled, found = fill(
        password=REFERENCE, hosts=["h", REFERENCE], headers={"x": REFERENCE},
        redis={"password": REFERENCE, "port": 1}, entries=[{"key": REFERENCE}],
    )  # fmt: skip
    assert found
    assert filled == {
        "password": "t0", "hosts": ["h", "t0"], "headers": {"x": "t0"},
        "redis": {"password": "t0", "port": 1}, "entries": [{"key": "t0"}],
    }  # fmt: skip


def test_nothing_else_is_touched() -> None:
    values = {"plain": REFERENCE, "password": "x{vault://env/token}", "hosts": None, "redis": None, "headers": {}}
    assert fill(**values) == (values, False)


def test_a_vault_that_changed_is_noticed() -> None:
    secrets = Secrets(ENVIRON)
    assert secrets.learn(VAULTS)
    assert not secrets.learn({key: dict(value) for key, value in VAULTS.items()})
    assert secrets.get("{vault://my-env/token}") == "t1"
    assert secrets.learn({})
