"""What the import of a large document costs the requests that are proxied meanwhile."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from harness.bench import Bench
from harness.figures import PLAIN, Figure, own_gateway
from harness.gateway import Gateway
from harness.meanwhile import measure_meanwhile
from harness.process import BenchError, children, rss_kib
from harness.ratios import Say

ENTITIES = 10_000
IMPORT_SECONDS = 20.0
LOOK_PAUSE = 0.2  # seconds between two looks at the memory
AHEAD = 8  # documents that are made before a round: whoever makes them shares a core with those who measure
KIB_PER_MIB = 1024


@dataclass
class Imports:
    """How long the imports took (s), and the highest memory of the process beside the worker (KiB)."""

    seconds: list[float] = field(default_factory=list)
    peak_kib: int = 0


def imports(bench: Bench, say: Say) -> list[Figure]:
    """p99 of proxied requests while documents of 10,000 new entities are imported, one after the other."""
    gateway = own_gateway(bench, PLAIN)
    try:
        seen = Imports()
        before = rss_kib(gateway.workers)
        _import(gateway, seen, _text(bench, "alone"))
        alone = seen.seconds.pop()
        grown = rss_kib(gateway.workers) - before
        say(f"  {ENTITIES:,} entities without any load: {alone:.2f} s")

        rounds = [[_text(bench, f"{n}-{serial}") for serial in range(AHEAD)] for n in range(bench.options.rounds)]

        def again(stop: threading.Event, number: int) -> None:
            while not stop.is_set():
                if not rounds[number]:
                    raise BenchError("imports are so fast that more documents have to be made ahead")
                _import(gateway, seen, rounds[number].pop())

        # Long enough for the whole way of a document, from its text to the workers' plans.
        seconds = max(bench.options.seconds, 3 * alone)
        found = measure_meanwhile(bench, say, gateway, PLAIN, "import", again, seconds)
    finally:
        gateway.end()
    longest = max(seen.seconds)
    note = (
        f"{found.words()}; {len(seen.seconds)} imports; at most {seen.peak_kib / KIB_PER_MIB:.0f} MiB RSS beside the"
        f" worker, which grows by {grown / KIB_PER_MIB:.0f} MiB for {ENTITIES:,} entities"
    )
    took = f"{min(seen.seconds):.1f}-{longest:.1f} s under load, {alone:.2f} s without"
    title = f"p99 while {ENTITIES:,} entities are imported, as a multiple of quiet"
    title_of_time = f"import of {ENTITIES:,} entities on SQLite under load"
    return [
        Figure("import", title, found.ratio, "×", 2.0, note=note),
        Figure("import", title_of_time, longest, "s", IMPORT_SECONDS, note=took),
    ]


def document(prefix: str, url: str) -> dict[str, Any]:
    """Services with a route and a plugin each, consumers with a key each."""
    marks = [f"{prefix}-{number}" for number in range(ENTITIES // 5)]
    services = [
        {
            "name": f"service-{mark}",
            "url": url,
            "routes": [{"name": f"route-{mark}", "paths": [f"/{mark}"], "plugins": [{"name": "cors"}]}],
        }
        for mark in marks
    ]
    consumers = [{"username": f"user-{mark}", "keyauth_credentials": [{"key": f"key-{mark}"}]} for mark in marks]
    return {"_format_version": "3.0", "services": services, "consumers": consumers}


def _text(bench: Bench, prefix: str) -> bytes:
    return json.dumps(document(prefix, f"http://127.0.0.1:{bench.behind.upstream}")).encode()


def _import(gateway: Gateway, seen: Imports, body: bytes) -> None:
    """Import one document, and see that all of it has come."""
    ended = threading.Event()
    looking = threading.Thread(target=_look, args=(gateway, seen, ended))
    looking.start()
    try:
        with closing(gateway.admin.another()) as admin:
            before = time.monotonic()
            summary = admin.call("POST", "/config", body)["summary"]
            seen.seconds.append(time.monotonic() - before)
    finally:
        ended.set()
        looking.join()
    if summary["created"] != ENTITIES:
        raise BenchError(f"{summary} instead of {ENTITIES} new entities")


def _look(gateway: Gateway, seen: Imports, ended: threading.Event) -> None:
    """Watch the memory of what the worker starts."""
    while not ended.wait(LOOK_PAUSE):
        for child in [below for worker in gateway.workers for below in children(worker)]:
            with contextlib.suppress(OSError, BenchError):  # it has just ended
                seen.peak_kib = max(seen.peak_kib, rss_kib([child]))


IMPORTS = {"import": (f"p99 while {ENTITIES:,} entities are imported", imports)}
