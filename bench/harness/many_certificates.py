"""What handshakes cost, and what memory is taken, where many certificates are stored."""

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

FEW, MANY = 10, 10_000
USED = 500  # names that clients ask for all the time, of the many
WARM_SECONDS = 2.0  # enough for each of them to be asked for once
STEP = 7919  # a prime: the other names in an order in which none comes again soon
TITLE = "a full TLS handshake"


def certificates(bench: Bench, say: Say) -> list[Figure]:
    """CPU time of a full handshake where 10,000 certificates are stored, against one where there are ten; memory.

    With names that are in use, whose certificates are ready, and with names that are asked for the first time.
    """
    few, many = _with_certificates(bench, FEW), _with_certificates(bench, MANY)
    serial = count()
    kinds: dict[str, tuple[Gateway, Callable[[], str]]] = {
        "few": (few, lambda: _name(next(serial) % FEW)),
        "used": (many, lambda: _name(next(serial) % USED)),
        "new": (many, lambda: _name(USED + next(serial) * STEP % (MANY - USED))),
    }
    rounds: dict[str, list[Handshakes]] = {kind: [] for kind in kinds}
    try:
        for number, gateway in ((FEW, few), (MANY, many)):
            say(f"  {number:,} certificates: started in {gateway.start():.2f} s")
        before = rss_kib(many.workers) / 1024
        for turn in range(bench.options.rounds):
            for kind, (gateway, name) in kinds.items():
                if kind == "used":
                    shake_hands(gateway, FRESH, WARM_SECONDS, name)
                done = shake_hands(gateway, FRESH, bench.options.seconds, name)
                rounds[kind].append(done)
                say(f"  round {turn + 1}, {kind:4}: {done.cpu:.0f} µs CPU, {done.rate:,.0f}/s")
        after = rss_kib(many.workers) / 1024
    finally:
        few.end()
        many.end()
    cpu = {kind: min(each.cpu for each in found) for kind, found in rounds.items()}
    new = sum(each.count for each in rounds["new"])
    note = f"{cpu['used']:.0f} against {cpu['few']:.0f} µs"
    note_of_new = f"{cpu['new']:.0f} against {cpu['few']:.0f} µs; its certificate is made ready for those that follow"
    note_of_memory = f"{before:.1f} MiB after the start, then {new:,} handshakes for new names"
    of = f"of {MANY:,} certificates: CPU as a multiple of that with {FEW}"
    return [
        Figure("certificates", f"{TITLE} with one of {USED} in use {of}", cpu["used"] / cpu["few"], "×", note=note),
        Figure("certificates", f"{TITLE} with a new one {of}", cpu["new"] / cpu["few"], "×", note=note_of_new),
        Figure("certificates", f"worker's RSS with {MANY:,} certificates", after, "MiB", 200.0, note=note_of_memory),
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
    "certificates": ("full TLS handshakes where 10,000 certificates are stored, and memory", certificates)
}
