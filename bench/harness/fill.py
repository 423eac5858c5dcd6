"""Fill any datastore: ``python fill.py ROUTES CONSUMERS URL PATH_TEMPLATE KEY_TEMPLATE`` in the gateway's environment.

One service with so many routes, and so many consumers with a key each, through the gateway's own strategies, some
hundred entities per commit.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from gevent import monkey

if __name__ == "__main__":
    monkey.patch_all()

from kong_gevent import conf, db
from kong_gevent.db import rows
from kong_gevent.db.strategies.base import Put
from kong_gevent.pdk.loader import load_plugins

AT_ONCE = 250


def puts(dao: Any, template: dict[str, Any], changes: Iterable[dict[str, Any]]) -> Iterator[Put]:
    """A row for each of some changes of one valid entity; they are written without events, nobody listens yet."""
    for change in changes:
        entity = {**template, "id": str(uuid.uuid4()), **change}
        yield Put(dao.entity.name, entity["id"], rows.encode(entity), rows.index_of(dao.entity, entity))


def write(store: Any, entities: Iterator[Put]) -> None:
    """Commit all of them."""
    while some := list(islice(entities, AT_ONCE)):
        store.strategy.commit(some, [])


def fill(store: Any, routes: int, consumers: int, url: str, path: str, key: str) -> None:
    """All entities, parents first."""
    service = store.dao("services").insert({"name": "seeded", "url": url})
    dao = store.dao("routes")
    template = dao.validate_insert({"paths": ["/x"], "service": {"id": service["id"]}})
    write(store, puts(dao, template, ({"name": f"r{n}", "paths": [path.format(index=n)]} for n in range(routes))))
    people, keys = store.dao("consumers"), store.dao("keyauth_credentials")
    ids = [str(uuid.uuid4()) for _ in range(consumers)]
    write(store, puts(people, people.validate_insert({"username": "x"}), (
        {"id": each, "username": f"consumer-{n}"} for n, each in enumerate(ids)
    )))  # fmt: skip
    if ids:
        template = keys.validate_insert({"key": "x", "consumer": {"id": ids[0]}})
        write(store, puts(keys, template, (
            {"key": key.format(index=n), "consumer": {"id": each}} for n, each in enumerate(ids)
        )))  # fmt: skip


def main() -> None:
    """Read the settings from the environment, as the gateway does, make the tables and fill them."""
    routes, consumers, url, path, key = sys.argv[1:6]
    settings = conf.load()
    store = db.open_store(settings, load_plugins(settings.plugins))
    store.migrations.bootstrap(force=not store.needs_bootstrap)
    store.connect()
    fill(store, int(routes), int(consumers), url, path, key)
    store.close()


if __name__ == "__main__":
    main()
