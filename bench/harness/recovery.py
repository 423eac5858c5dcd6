"""How long a gateway takes to use a datastore again that was killed and has come back."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Mapping

from harness.bench import Bench
from harness.cases import ROUTE_PATH
from harness.figures import Figure, Measurement
from harness.gateway import Gateway
from harness.load import COMMON_HEADERS, exchange
from harness.process import BenchError
from harness.ratios import Say
from harness.stores import Servers, fill, running, servers

STORES = ("postgres", "cassandra")
KEYS = 100
DARK_SECONDS = 5.0
"""How long the store is away: longer than the first pauses between tries to reach it."""
SETTLED_SECONDS = 12.0
"""After so long the configuration outlives its store: a node of Cassandra by itself writes its log every 10 s, and what
it was told since is lost when it is killed."""
PATIENCE = 120.0
PAUSE = 0.01
_NOTHING_STAYS = {"mem_cache_size": "1k", "db_cache_ttl": "1"}


def recovery(bench: Bench, say: Say) -> list[Figure]:
    """From the moment at which a killed store serves again until the gateway's changes and look-ups do."""
    figures = []
    for store in STORES:
        times = []
        with servers(bench) as found:
            settings = found.settings(store)
            fill(bench, settings, 1, KEYS)
            with running(bench, {**settings, **_NOTHING_STAYS}) as gateway:
                gateway.admin.post("/plugins", name="key-auth")
                time.sleep(SETTLED_SECONDS)
                for number in range(bench.options.rounds):
                    times.append(_kill_and_return(found, _address(settings), gateway, number))
                    say(f"  {store}: {times[-1]:.2f} s")
        note = f"{min(times):.2f}-{max(times):.2f} s in {len(times)} rounds, after {DARK_SECONDS:.0f} s without it"
        title = f"{store}: from the moment it serves again to look-ups and changes that work"
        figures.append(Figure("recovery", title, max(times), "s", 2.0, note=note))
    return figures


def _kill_and_return(found: Servers, address: tuple[str, int], gateway: Gateway, number: int) -> float:
    tries = iter(range(1_000_000))

    def works() -> bool:
        name = f"round{number}-{next(tries)}"
        return _status(gateway.port, f"apikey: {name}") == 401 and _written(gateway, name)

    _wait(works, "the gateway to use its store")
    found.kill()
    _wait(lambda: not _accepts(address), "the store to end")
    _wait(lambda: not works(), "the gateway to miss its store")
    time.sleep(DARK_SECONDS)
    found.revive()
    _wait(works, "the gateway to use its store again")
    worked_at = time.monotonic()
    _wait(lambda: found.back_at() is not None, "the store to be ready")
    return max(0.0, worked_at - (found.back_at() or 0.0))


def _wait(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise BenchError(f"waited {PATIENCE:.0f} s in vain for {what}")
        time.sleep(PAUSE)


def _address(settings: Mapping[str, str]) -> tuple[str, int]:
    if "pg_host" in settings:
        return settings["pg_host"], int(settings["pg_port"])
    return settings["cassandra_contact_points"], int(settings["cassandra_port"])


def _accepts(address: tuple[str, int]) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(address, 1.0):
        return True
    return False


def _status(port: int, field: str) -> int:
    lines = "\r\n".join((*COMMON_HEADERS, field, "Connection: close"))
    return exchange(port, f"GET {ROUTE_PATH.format(index=0)}/items HTTP/1.1\r\n{lines}\r\n\r\n".encode())[0]


def _written(gateway: Gateway, name: str) -> bool:
    try:
        gateway.admin.post("/consumers", username=name)
    except BenchError:
        return False
    return True


RECOVERY_FIGURES: dict[str, tuple[str, Measurement]] = {
    "recovery": ("a store that was killed and has come back: until it is used again", recovery),
}
