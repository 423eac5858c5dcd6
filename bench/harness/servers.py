"""A datastore's server beside the benchmarks: ``python servers.py KIND FOLDER``, with the gateway's Python.

It runs until SIGTERM. FOLDER/ready.json then holds the gateway's settings for it. Servers are the ones that the tests
start, but as durable as they are by default: PostgreSQL waits for the disk at each commit, Cassandra writes its log to
the disk every ten seconds and counts on its replicas before that.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from kong_gevent.devtools.cluster import Cluster, Layout
from kong_gevent.devtools.java import Frugality
from tests.servers.postgres import Postgres
from tests.servers.process import free_addresses
from tests.servers.redis import Redis

READY = "ready.json"
PERIODIC = {"commitlog_sync": "periodic", "commitlog_sync_period": "10000ms"}
DURABLE = {"fsync": "on", "full_page_writes": "on", "shared_buffers": "128MB"}


def cassandra(folder: Path) -> tuple[dict[str, str], Callable[[], None]]:
    """One node, compiled fully, with memory enough for a hundred thousand consumers."""
    frugality = Frugality(heap="512m", quick_start=False)
    layout = Layout(free_addresses(1, 7000, 9042), yaml=PERIODIC, frugality=frugality)
    made = Cluster(folder / "cassandra", layout)
    made.up()
    return made.settings(), made.remove


def postgres(folder: Path) -> tuple[dict[str, str], Callable[[], None]]:
    """One server with an empty database."""
    made = Postgres(folder / "postgres", options=DURABLE)
    made.start()
    made.create_database("bench")
    return made.settings("bench"), made.close


def redis(folder: Path) -> tuple[dict[str, str], Callable[[], None]]:
    """One server; its address in the form of settings."""
    made = Redis(folder / "redis")
    made.start()
    return {"host": made.address, "port": str(made.port)}, made.close


def main() -> None:
    """Start, tell, wait, end."""
    kind, folder = sys.argv[1], Path(sys.argv[2])
    asked_to_end = {signal.SIGTERM, signal.SIGINT}
    settings, end = {"cassandra": cassandra, "postgres": postgres, "redis": redis}[kind](folder)
    signal.pthread_sigmask(signal.SIG_BLOCK, asked_to_end)
    try:
        part = folder / f"{READY}.part"
        part.write_text(json.dumps(settings))
        os.replace(part, folder / READY)
        signal.sigwait(asked_to_end)
    finally:
        end()


if __name__ == "__main__":
    main()
