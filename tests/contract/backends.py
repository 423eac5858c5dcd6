"""Stores to run the suite on, as settings: the process of the tests and other ones may open the same store."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kong_gevent.db import Entity, Store, open_store
from kong_gevent.plugins.key_auth import KeyAuth
from kong_gevent.schema import Config, Errors, Record, fields
from tests.servers.cassandra import Cassandra
from tests.servers.postgres import Postgres

ROOT = Path(__file__).resolve().parents[2]
SHARED = (
    "sqlite",
    pytest.param("postgres", marks=pytest.mark.needs("postgres")),
    pytest.param("cassandra", marks=pytest.mark.needs("cassandra")),
)
"""Strategies whose stores several processes can open."""
ALL = ("memory", *SHARED)
SERVED = ("postgres", "cassandra")
"""Strategies whose drivers run on greenlets in the product, which patches its processes."""
PRELUDE = """
import json, os, sys, time
if {patched}:
    from gevent import monkey
    monkey.patch_all()
import gevent
from kong_gevent import errors
from tests.contract.backends import Backend
backend = Backend(**json.loads(sys.argv[1]))
store = backend.open()
"""


class KeyAuthConfig(Config):
    key_names = fields.Array(fields.HeaderName(), required=True, load_default=["apikey"])
    hide_credentials = fields.Boolean(required=True, load_default=False)


class LimitConfig(Config):
    minute = fields.Number(gt=0)
    redis = fields.Record({"host": fields.Host(), "port": fields.Port(load_default=6379)})
    shorthand_fields = {"redis_host": fields.Deprecated(fields.String(), "redis.host")}


class Group(Record):
    id = fields.UUID(auto=True)
    consumer = fields.Foreign("consumers", required=True, on_delete="cascade")
    name = fields.String(required=True)
    secret = fields.String()


def _hidden(values: dict[str, Any], given: AbstractSet[str], stored: Mapping[str, Any] | None) -> Errors:
    """A secret is kept backwards; the owner may not change without it."""
    if stored is not None and "consumer" in given and "secret" not in given:
        return {"@entity": ["a new consumer needs its secret"]}
    if values["secret"] and (stored is None or "secret" in given):
        values["secret"] = values["secret"][::-1]
    return {}


GROUPS = Entity(
    "groups",
    Group(),
    nested="groups",
    nested_key="name",
    unique_together=[("consumer", "name")],
    listed_by=("consumer",),
    transform=_hidden,
)


PLUGINS: dict[str, Any] = {
    "key-auth": SimpleNamespace(
        config=KeyAuthConfig,
        forbidden_scopes=("consumer",),
        protocols=fields.HTTP_PROTOCOLS,
        protocols_allowed="http-only",
        entities=KeyAuth.entities,
    ),
    "limit": SimpleNamespace(
        config=LimitConfig,
        forbidden_scopes=(),
        protocols=fields.HTTP_PROTOCOLS,
        protocols_allowed="any",
        entities=(GROUPS,),
    ),
}


@dataclass(frozen=True)
class Backend:
    """One store. `settings`: those of the gateway that name it."""

    strategy: str
    settings: dict[str, str]

    def open(self) -> Store:
        """A store object of its own; nothing is opened yet."""
        return open_store(SimpleNamespace(database=self.strategy, **self.settings), PLUGINS)

    @contextmanager
    def process(self, code: str, *, patched: bool | None = None) -> Iterator[subprocess.Popen[str]]:
        """Run code that may use `store` and `backend` in another process; it is killed if it is still there at the end.

        `patched`: whether its blocking calls are gevent's (as the product's are, with a driver).
        """
        prelude = PRELUDE.format(patched=self.strategy in SERVED if patched is None else patched)
        described = json.dumps({"strategy": self.strategy, "settings": self.settings})
        child = subprocess.Popen(
            [sys.executable, "-c", prelude + code, described], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        try:
            yield child
        finally:
            child.kill()
            child.wait()
            if child.stdout:
                child.stdout.close()


def output(child: subprocess.Popen[str]) -> str:
    """What a process printed until it ended."""
    assert child.stdout is not None
    printed = child.stdout.read()
    assert child.wait() == 0
    return printed


def file_backend(strategy: str, folder: Path) -> Backend:
    """A store that is a file in a folder, or in memory."""
    return Backend(strategy, {"sqlite_path": str(folder / "kong.sqlite3"), "prefix": str(folder)})


def served_settings(settings: dict[str, str]) -> dict[str, str]:
    """Settings as a fixture gives them, for the environment, as attributes of a settings object."""
    return {name.removeprefix("KONG_").lower(): value for name, value in settings.items() if name != "KONG_DATABASE"}


def empty_cassandra(request: pytest.FixtureRequest) -> Backend:
    """The module's keyspace without any content; whatever tables there are stay, which is quicker than making them."""
    server: Cassandra = request.getfixturevalue("cassandra")
    keyspace: str = request.getfixturevalue("cassandra_keyspace")
    tables = server.execute(f"SELECT table_name FROM system_schema.tables WHERE keyspace_name = '{keyspace}'")
    server.execute(*(f"TRUNCATE {keyspace}.{_text(name)}" for (name,) in tables))
    return Backend("cassandra", served_settings(server.settings(keyspace)))


def empty_postgres(request: pytest.FixtureRequest) -> Backend:
    """The module's database without anything."""
    server: Postgres = request.getfixturevalue("postgres")
    database: str = request.getfixturevalue("postgres_database")
    with server.connect(database) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return Backend("postgres", served_settings(server.settings(database)))


MAKERS: dict[str, Callable[[pytest.FixtureRequest], Backend]] = {
    "postgres": empty_postgres,
    "cassandra": empty_cassandra,
}


def make(strategy: str, request: pytest.FixtureRequest, folder: Path) -> Backend:
    """An empty store."""
    return MAKERS[strategy](request) if strategy in MAKERS else file_backend(strategy, folder)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
