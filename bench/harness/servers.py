"""A datastore's server beside the benchmarks: ``python servers.py KIND FOLDER``, with the gateway's Python.

It runs until SIGTERM. FOLDER/ready.json then holds the gateway's settings for it. SIGUSR1 kills the server at once,
SIGUSR2 starts it again; FOLDER/back then holds when it served (on the monotonic clock, in seconds).

Servers are the ones that the tests start, but as durable as they are by default: PostgreSQL waits for the disk at each
commit, Cassandra writes its log to the disk every ten seconds and counts on its replicas before that.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from kong_gevent.devtools.cluster import Cluster, Layout
from kong_gevent.devtools.java import Frugality
from tests.servers.postgres import Postgres
from tests.servers.process import free_addresses
from tests.servers.redis import Redis

READY = "ready.json"
BACK = "back"
PERIODIC = {"commitlog_sync": "periodic", "commitlog_sync_period": "10000ms"}
DURABLE = {"fsync": "on", "full_page_writes": "on", "shared_buffers": "128MB"}


class Server(NamedTuple):
    """What leads to a server, and what may be done to it."""

    settings: dict[str, str]
    kill: Callable[[], None]
    start: Callable[[], None]
    end: Callable[[], None]


def cassandra(folder: Path) -> Server:
    """One node, compiled fully, with memory enough for a hundred thousand consumers."""
    frugality = Frugality(heap="512m", quick_start=False)
    layout = Layout(free_addresses(1, 7000, 9042), yaml=PERIODIC, frugality=frugality)
    made = Cluster(folder / "cassandra", layout)
    made.up()
    return Server(made.settings(), made.kill, made.up, made.remove)


def postgres(folder: Path) -> Server:
    """One server with an empty database."""
    made = Postgres(folder / "postgres", options=DURABLE)
    made.start()
    made.create_database("bench")
    return Server(made.settings("bench"), made.kill, made.start, made.close)


def redis(folder: Path) -> Server:
    """One server; its address in the form of settings."""
    made = Redis(folder / "redis")
    made.start()
    return Server({"host": made.address, "port": str(made.port)}, made.kill, made.start, made.close)


def main() -> None:
    """Start, tell, wait, end."""
    kind, folder = sys.argv[1], Path(sys.argv[2])
    acts = {signal.SIGUSR1, signal.SIGUSR2}
    signals = {signal.SIGTERM, signal.SIGINT, *acts}
    server = {"cassandra": cassandra, "postgres": postgres, "redis": redis}[kind](folder)
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        _tell(folder / READY, json.dumps(server.settings))
        while (number := signal.sigwait(signals)) in acts:
            if number == signal.SIGUSR1:
                (folder / BACK).unlink(missing_ok=True)
                server.kill()
            else:
                server.start()
                _tell(folder / BACK, f"{time.monotonic()}")
    finally:
        server.end()


def _tell(file: Path, text: str) -> None:
    part = file.with_suffix(".part")
    part.write_text(text)
    os.replace(part, file)


if __name__ == "__main__":
    main()
