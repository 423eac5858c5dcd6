"""Fill the gateway's SQLite store with routes: ``python seed.py COUNT URL PATH_TEMPLATE`` in the gateway's environment.

Ten thousand writes over the Admin API take half a minute and a hundred thousand far too long. Here the gateway's own
data access writes one service and one route, which makes the rows right and complete; every further route is a copy of
those rows with another id, name and path, all in one transaction. Which tables a route touches is found out by
comparing the store before and after, so the script knows nothing of the layout.
"""

from __future__ import annotations

import sqlite3
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from kong_gevent import conf, db

Row = tuple[Any, ...]
TEMPLATE_NAME = "bench-route-template"


def quoted(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def layout(connection: sqlite3.Connection) -> dict[str, list[str]]:
    """Columns to copy per table. A column that the database numbers by itself is left to it."""
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    found = {}
    for (table,) in tables.fetchall():
        columns = connection.execute(f"PRAGMA table_info({quoted(table)})").fetchall()
        keys = [column for column in columns if column[5]]
        numbered = len(keys) == 1 and keys[0][2].upper() == "INTEGER"
        found[table] = [column[1] for column in columns if not (numbered and column[5])]
    return found


def rows_of(connection: sqlite3.Connection, tables: dict[str, list[str]]) -> dict[str, list[Row]]:
    """Everything in the store; it is nearly empty when this is asked."""
    return {
        table: connection.execute(f"SELECT {', '.join(map(quoted, columns))} FROM {quoted(table)}").fetchall()
        for table, columns in tables.items()
    }


def added(before: dict[str, list[Row]], after: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """Rows that are in `after` only. Change events are left out: a node that starts later reads the entities."""
    new: dict[str, list[Row]] = {}
    for table, rows in after.items():
        left = list(before[table])
        for row in rows:
            if row in left:
                left.remove(row)
            elif "event" not in table:
                new.setdefault(table, []).append(row)
    return new


def replaced(value: Any, changes: list[tuple[str, str]]) -> Any:
    """The value with each text exchanged, in text and in bytes."""
    for old, new in changes:
        if isinstance(value, str):
            value = value.replace(old, new)
        elif isinstance(value, bytes):
            value = value.replace(old.encode(), new.encode())
    return value


def copies(rows: list[Row], first: dict[str, Any], count: int, path: str) -> Iterator[Row]:
    """The rows of one table for the routes 1..count-1."""
    for index in range(1, count):
        changes = [
            (first["id"], str(uuid.uuid5(uuid.NAMESPACE_URL, f"bench-route-{index}"))),
            (TEMPLATE_NAME, f"bench-route-{index}"),
            (first["paths"][0], path.format(index=index)),
        ]
        for row in rows:
            yield tuple(replaced(value, changes) for value in row)


def seed(settings: Any, count: int, url: str, path: str) -> None:
    """Bootstrap the store and put one service with `count` routes into it."""
    store = db.open_store(settings, {})
    store.migrations.bootstrap()
    store.connect()
    with closing(sqlite3.connect(settings.sqlite_path)) as connection:
        service = store.dao("services").insert({"name": "seeded", "url": url})
        tables = layout(connection)
        before = rows_of(connection, tables)
        first = store.dao("routes").insert(
            {"name": TEMPLATE_NAME, "paths": [path.format(index=0)], "service": {"id": service["id"]}}
        )
        new = added(before, rows_of(connection, tables))
        store.close()
        with connection:
            for table, rows in new.items():
                columns = ", ".join(map(quoted, tables[table]))
                marks = ", ".join("?" * len(tables[table]))
                connection.executemany(
                    f"INSERT INTO {quoted(table)} ({columns}) VALUES ({marks})", copies(rows, first, count, path)
                )
        # The file is copied without its write-ahead log.
        if connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            raise RuntimeError("the store is in use; its write-ahead log cannot be emptied")


def main() -> None:
    """Read the settings from the environment, as the gateway does, and fill its store."""
    count, url, path = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    seed(conf.load(), count, url, path)


if __name__ == "__main__":
    main()
