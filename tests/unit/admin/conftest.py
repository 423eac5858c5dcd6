"""The Admin API in process, over a memory store and over an SQLite file."""

from collections.abc import Iterator
from typing import Any

import pytest

from kong_gevent.admin import LocalNode, PluginInfo, create_app
from kong_gevent.conf import load
from kong_gevent.db import open_store
from kong_gevent.plugins.key_auth import CREDENTIALS
from kong_gevent.schema import Config, checks, fields
from tests.unit.admin.api import Api


class KeyAuth(Config):
    """As the bundled plugin, cut to what these tests need."""

    key_names = fields.Array(fields.HeaderName(), required=True, load_default=["apikey"])
    hide_credentials = fields.Boolean(required=True, load_default=False)
    anonymous = fields.String()
    realm = fields.String()


class Limits(Config):
    """A configuration with numbers, nested records, maps, deprecated names and checks."""

    minute = fields.Number(gt=0)
    hour = fields.Number(gt=0)
    policy = fields.Choice("local", "redis", load_default="local")
    error_code = fields.Integer(between=(100, 599), load_default=429)
    headers = fields.Map(keys=fields.HeaderName(), values=fields.String())
    rules = fields.Array(
        fields.Record({"path": fields.String(required=True), "weight": fields.Integer(load_default=1)})
    )
    redis = fields.Record(
        {
            "host": fields.String(),
            "port": fields.Integer(between=(0, 65535), load_default=6379),
            "ssl": fields.Boolean(required=True, load_default=False),
        }
    )
    shorthand_fields = {"redis_host": fields.Deprecated(fields.String(), "redis.host")}
    checks = [checks.AtLeastOneOf("config.minute", "config.hour")]


class KeyAuthPlugin:
    """Description of a plugin as the store wants it."""

    config = KeyAuth
    entities = (CREDENTIALS,)
    forbidden_scopes = ("consumer",)
    protocols = ("grpc", "grpcs", "http", "https")
    protocols_allowed = "http-only"


class LimitsPlugin(KeyAuthPlugin):
    """No scope is forbidden."""

    config = Limits
    entities = ()
    forbidden_scopes = ()


PLUGINS: dict[str, Any] = {"key-auth": KeyAuthPlugin, "limits": LimitsPlugin}


@pytest.fixture(params=["memory", "sqlite"])
def database(request: pytest.FixtureRequest) -> str:
    """Both embedded stores, unless a module overrides this fixture."""
    return str(request.param)


@pytest.fixture
def node(database: str, tmp_path: Any) -> Iterator[LocalNode]:
    """A node with an empty store and two plugins, `key-auth` and `limits`."""
    settings = load(overrides={"database": database, "prefix": str(tmp_path)}, environ={})
    store = open_store(settings, PLUGINS)
    store.migrations.bootstrap()
    store.connect()
    infos = {name: PluginInfo(priority=1000 + at, schema=plugin) for at, (name, plugin) in enumerate(PLUGINS.items())}
    yield LocalNode(settings, store, infos)
    store.close()


@pytest.fixture
def api(node: LocalNode) -> Api:
    """A client of the node's Admin API."""
    return Api(create_app(node), node)
