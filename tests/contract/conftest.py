"""A fresh store of each strategy: what the suite asserts must hold for all of them."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kong_gevent.db import Store, open_store
from kong_gevent.schema import Config, fields

STRATEGIES = ("memory", "sqlite")


class KeyAuthConfig(Config):
    key_names = fields.Array(fields.HeaderName(), required=True, load_default=["apikey"])
    hide_credentials = fields.Boolean(required=True, load_default=False)


class LimitConfig(Config):
    minute = fields.Number(gt=0)
    redis = fields.Record({"host": fields.Host(), "port": fields.Port(load_default=6379)})
    shorthand_fields = {"redis_host": fields.Deprecated(fields.String(), "redis.host")}


PLUGINS: dict[str, Any] = {
    "key-auth": SimpleNamespace(
        config=KeyAuthConfig,
        forbidden_scopes=("consumer",),
        protocols=fields.HTTP_PROTOCOLS,
        protocols_allowed="http-only",
    ),
    "limit": SimpleNamespace(
        config=LimitConfig, forbidden_scopes=(), protocols=fields.HTTP_PROTOCOLS, protocols_allowed="any"
    ),
}


def new_store(strategy: str, folder: Path) -> Store:
    settings = SimpleNamespace(database=strategy, sqlite_path=str(folder / "kong.sqlite3"), prefix=str(folder))
    return open_store(settings, PLUGINS)


@pytest.fixture(params=STRATEGIES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made = new_store(request.param, tmp_path)
    made.migrations.bootstrap()
    made.connect()
    yield made
    made.close()


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Store]:
    made = new_store("sqlite", tmp_path)
    made.migrations.bootstrap()
    made.connect()
    yield made
    made.close()
