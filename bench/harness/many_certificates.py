"""What handshakes cost, and what memory is taken, where many certificates are stored and all of them are in use."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count

from harness.bench import Bench
from harness.connections import FRESH
from harness.figures import Figure, Measurement
from harness.gateway import Gateway
from harness.process import rss_kib
from harness.ratios import Say
from harness.secure import Handshakes, shake_hands

FEW, MANY = 1, 10_000
STEP = 7919  # a prime: the names in an order in which none comes again before all others have come
TITLE = "a full TLS handshake"


def certificates(bench: Bench, say: Say) -> list[Figure]:
    """CPU time of a full handshake where 10,000 certificates are in use, against one where there is one; memory.

    Clients first ask for each name once, then for all of them in turn.
    """
    few, many = _with_certificates(bench, FEW), _with_certificates(bench, MANY)
    serial = count()
    kinds: dict[str, tuple[Gateway, Callable[[], str]]] = {
        "few": (few, lambda: _name(0)),
        "used": (many, lambda: _name(next(serial) * STEP % MANY)),
    }
    rounds: dict[str, list[Handshakes]] = {kind: [] for kind in kinds}

    def say_of(kind: str, done: Handshakes) -> None:
        say(f"  {kind:4}: {done.cpu:.0f} µs CPU, {done.rate:,.0f}/s")

    try:
        for number, gateway in ((FEW, few), (MANY, many)):
            say(f"  {number:,} certificates: started in {gateway.start():.2f} s")
        before = rss_kib(many.workers)
        first: list[Handshakes] = []
        while sum(each.count for each in first) < MANY:
            first.append(shake_hands(many, FRESH, bench.options.seconds, kinds["used"][1]))
            say_of("new", first[-1])
        after = rss_kib(many.workers)
        for _ in range(bench.options.rounds):
            for kind, (gateway, name) in kinds.items():
                rounds[kind].append(shake_hands(gateway, FRESH, bench.options.seconds, name))
                say_of(kind, rounds[kind][-1])
        end = rss_kib(many.workers)
    finally:
        few.end()
        many.end()
    cpu = {kind: min(each.cpu for each in found) for kind, found in rounds.items()}
    new = min(each.cpu for each in first[:-1] or first)  # the last ones have come to names that are in use
    note = f"{cpu['used']:.0f} against {cpu['few']:.0f} µs"
    note_of_new = f"{new:.0f} against {cpu['few']:.0f} µs; its certificate is made ready for those that follow"
    mib = [f"{kib / 1024:.1f}" for kib in (before, after, end)]
    note_of_memory = f"RSS {mib[0]} MiB after the start, {mib[1]} when each had been asked for, {mib[2]} in the end"
    of = "CPU as a multiple of that with a single certificate"
    title_of_memory = f"worker's memory for each of {MANY:,} certificates that are in use"
    return [
        Figure("certificates", f"{TITLE}, {MANY:,} names in turn: {of}", cpu["used"] / cpu["few"], "×", 1.2, note=note),
        Figure("certificates", f"{TITLE}, the first for a name: {of}", new / cpu["few"], "×", note=note_of_new),
        Figure("certificates", title_of_memory, (end - before) / MANY, "KiB", 30.0, note=note_of_memory),
    ]


def _name(number: int) -> str:
    return f"host{number}.example"


def _with_certificates(bench: Bench, number: int) -> Gateway:
    """A gateway, not started yet, with so many names, a certificate for each."""
    pair = {"cert": bench.pair.certificate.read_text(), "key": bench.pair.key.read_text()}
    url = f"http://127.0.0.1:{bench.behind.upstream}"
    document = {
        "_format_version": "3.0",
        "services": [{"name": "plain", "url": url, "routes": [{"name": "plain", "paths": ["/api"]}]}],
        "certificates": [{**pair, "tags": [str(one)], "snis": [{"name": _name(one)}]} for one in range(number)],
    }
    path = bench.folder / f"certificates{number}.json"
    path.write_text(json.dumps(document))
    return bench.new_gateway({"database": "off", "declarative_config": str(path)}, tls=True)


CERTIFICATES: dict[str, tuple[str, Measurement]] = {
    "certificates": ("full TLS handshakes where 10,000 certificates are in use, and memory", certificates)
}
