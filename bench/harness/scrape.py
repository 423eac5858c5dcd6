"""What a scrape of many metrics costs the requests that are proxied meanwhile."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import dataclass, field

from harness.bench import Bench
from harness.figures import MANY_ROUTES, ROUTES_10K, Figure, own_gateway
from harness.gateway import Gateway
from harness.load import COMMON_HEADERS
from harness.meanwhile import measure_meanwhile
from harness.process import BenchError
from harness.ratios import Say

STATUSES = (200, 401, 404, 429, 503)
TRIGGER = "x-end-here"
BATCH = 50  # requests that are sent before their answers are read
PAUSE = 0.5  # seconds between two scrapes


@dataclass
class Scrapes:
    """What the scraping client saw: seconds each took, bytes and series of the last one."""

    seconds: list[float] = field(default_factory=list)
    size: int = 0
    series: int = 0


def scrape(bench: Bench, say: Say) -> list[Figure]:
    """p99 of proxied requests while somebody scrapes the metrics of many routes, against the same in quiet."""
    gateway, seen = own_gateway(bench, ROUTES_10K), Scrapes()
    try:
        _count_all(gateway)
        found = measure_meanwhile(
            bench, say, gateway, ROUTES_10K, "scrape", lambda stop, number: _scrape(gateway, seen, stop)
        )
    finally:
        gateway.end()
    if seen.series < MANY_ROUTES * len(STATUSES):
        raise BenchError(f"only {seen.series} series of requests were shown")
    took = f"takes {min(seen.seconds):.2f} to {max(seen.seconds):.2f} s"
    note = f"{found.words()}; a scrape of {seen.size / 1e6:.1f} MB {took}; {len(seen.seconds)} scrapes"
    title = f"p99 while {MANY_ROUTES:,} routes × {len(STATUSES)} statuses are scraped, as a multiple of quiet"
    return [Figure("scrape", title, found.ratio, "×", 2.0, 1.5, note=note)]


def _count_all(gateway: Gateway) -> None:
    """Have every route counted with every status."""
    gateway.admin.post("/plugins", name="prometheus", config={"status_code_metrics": True})
    ending = gateway.admin.post("/plugins", name="request-termination", config={"trigger": TRIGGER})
    for status in STATUSES:
        if status != 200:
            gateway.admin.call("PATCH", f"/plugins/{ending['id']}", {"config": {"status_code": status}})
        _ask_all(gateway.port, status, "" if status == 200 else f"{TRIGGER}: 1\r\n")


def _ask_all(port: int, status: int, field_lines: str) -> None:
    """One request to every route, in batches on one connection."""
    head = "\r\n".join(COMMON_HEADERS)
    with socket.create_connection(("127.0.0.1", port), 30) as connection, connection.makefile("rb") as answers:
        for start in range(0, MANY_ROUTES, BATCH):
            paths = [ROUTES_10K.request.path.replace("{index}", str(index)) for index in range(start, start + BATCH)]
            asked = "".join(f"GET {path} HTTP/1.1\r\n{head}\r\n{field_lines}\r\n" for path in paths)
            connection.sendall(asked.encode())
            for path in paths:
                found = int(answers.readline().split()[1])
                length = 0
                while (line := answers.readline()) != b"\r\n":
                    name, _, value = line.partition(b":")
                    length = int(value) if name.lower() == b"content-length" else length
                answers.read(length)
                if found != status:
                    raise BenchError(f"{path}: {found} instead of {status}")


def _scrape(gateway: Gateway, seen: Scrapes, stop: threading.Event) -> None:
    """Scrape again and again; in HTTP/1.0, where the end of the connection is that of the answer."""
    while not stop.is_set():
        before = time.monotonic()
        with socket.create_connection(("127.0.0.1", gateway.admin_port), 30) as connection:
            connection.sendall(b"GET /metrics HTTP/1.0\r\nHost: bench\r\n\r\n")
            with connection.makefile("rb") as answer:
                body = answer.read()
        seen.seconds.append(time.monotonic() - before)
        seen.size, seen.series = len(body), body.count(b"kong_http_requests_total{")
        stop.wait(PAUSE)


SCRAPES = {"scrape": ("p99 while the metrics of 10,000 routes are scraped", scrape)}
