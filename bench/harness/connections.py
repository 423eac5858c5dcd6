"""What wrk cannot ask for, in turn from nginx and the gateway: full handshakes, and messages through tunnels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from harness.bench import Bench
from harness.figures import PLAIN, TLS, Figure, Measurement
from harness.gateway import Gateway, OtherGateway
from harness.load import Target
from harness.process import BenchError
from harness.ratios import Say
from harness.secure import Handshakes, shake_hands
from harness.tunnels import PATH, RATE, STREAMS, Passed, pass_messages

FRESH = TLS.request.text()[:-2].encode() + b"Connection: close\r\n\r\n"


class Cost(Protocol):
    """One round: CPU µs of the worker for each of what is counted."""

    @property
    def cpu(self) -> float: ...


Round = TypeVar("Round", bound=Cost)


def _in_turn(
    bench: Bench,
    say: Say,
    gateway: Gateway | OtherGateway,
    work: Callable[[Target], Round],
    words: Callable[[Round], str],
) -> tuple[Round, Round, str]:
    """Rounds of both; the cheapest of nginx and of the gateway, and the ratios of the single rounds in words."""
    rounds: dict[str, list[Round]] = {bench.nginx.name: [], gateway.name: []}
    for number in range(bench.options.rounds):
        for target in (bench.nginx, gateway):
            rounds[target.name].append(work(target))
            say(f"  round {number + 1} {target.name:8}: {words(rounds[target.name][-1])}")
    theirs, ours = rounds.values()
    each = [own.cpu / unit.cpu for own, unit in zip(ours, theirs, strict=True)]
    spread = f"single rounds {min(each):.2f} to {max(each):.2f}"
    return min(theirs, key=lambda one: one.cpu), min(ours, key=lambda one: one.cpu), spread


def handshakes(bench: Bench, say: Say) -> list[Figure]:
    """CPU time of a connection with a full handshake and one request, as a multiple of nginx's."""
    gateway = bench.gateway(TLS)
    try:
        for target in (bench.nginx, gateway):
            bench.warm_up(target, TLS.request)
        unit, best, spread = _in_turn(
            bench, say, gateway, lambda target: shake_hands(target, FRESH, bench.options.seconds), _words_of_handshakes
        )
    finally:
        gateway.end()
    if unit.version != best.version:
        raise BenchError(f"nginx speaks {unit.version}, the gateway {best.version}")
    note = f"{best.cpu:.0f} against {unit.cpu:.0f} µs; {spread}; {best.version}"
    title = "a full TLS handshake (P-256) and one request: CPU as a multiple of nginx's"
    return [Figure("handshake", title, best.cpu / unit.cpu, "×", 1.6, 1.3, note=note)]


def _words_of_handshakes(each: Handshakes) -> str:
    return f"{each.cpu:.0f} µs CPU, {each.rate:,.0f}/s"


def tunnels(bench: Bench, say: Say) -> list[Figure]:
    """CPU time of a message through a WebSocket tunnel, as a multiple of nginx's."""
    gateway = bench.gateway(PLAIN)
    try:
        if isinstance(gateway, Gateway):
            gateway.admin.post("/services", name="talker", url=f"http://127.0.0.1:{bench.behind.talker}")
            gateway.admin.post("/services/talker/routes", name="talker", paths=[PATH], strip_path=False)
        unit, best, spread = _in_turn(
            bench, say, gateway, lambda target: pass_messages(target, bench.options.seconds), _words_of_messages
        )
    finally:
        gateway.end()
    title = f"{STREAMS} WebSocket tunnels, 1 KiB messages, {RATE >> 20} MiB/s each way: CPU as a multiple of nginx's"
    note = f"{best.cpu:.1f} against {unit.cpu:.1f} µs a message; {spread}; {best.rate:.0f} MiB/s in all"
    return [Figure("tunnel", title, best.cpu / unit.cpu, "×", 2.0, 1.2, note=note)]


def _words_of_messages(each: Passed) -> str:
    return f"{each.cpu:.1f} µs CPU a message, {each.rate:.1f} MiB/s"


CONNECTIONS: dict[str, tuple[str, Measurement]] = {
    "handshake": ("full TLS handshakes (P-256), one request each, against nginx", handshakes),
    "tunnel": ("WebSocket tunnels with messages of 1 KiB, against nginx", tunnels),
}
