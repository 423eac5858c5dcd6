"""Who is asked when, and how many at once; what a probe says and hears is in tests/integration/test_health.py."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent.event import Event

from kong_gevent.balancer.algorithms import Peer
from kong_gevent.balancer.health import HTTP_FAILURE, SUCCESS
from kong_gevent.dns import Resolver
from kong_gevent.pdk.testing import InMemoryGateway
from kong_gevent.runtime.checks import Checks
from kong_gevent.runtime.probes import Prober

PEERS = 6
AT_ONCE = 2


class Asking(Prober):
    """Notes whom it would ask; the answer to each question comes when the test says so."""

    def __init__(self, gateway: Any) -> None:
        super().__init__(gateway, lambda: True)
        self.under_way: list[Peer] = []
        self.most = 0
        self.asked: list[str] = []
        self.answer = Event()
        self.now = 0.0
        self.report = SUCCESS

    def _probe(self, checks: Checks, peer: Peer) -> int:
        self.under_way.append(peer)
        self.most = max(self.most, len(self.under_way))
        self.answer.wait()
        self.under_way.remove(peer)
        self.asked.append(peer.ip)
        return self.report

    def tick(self, times: int) -> None:
        """So many intervals pass."""
        for _ in range(times):
            self.now += 1
            self._tick(self.now)
            for _ in range(5):
                gevent.sleep(0)


@pytest.fixture
def made() -> Iterator[InMemoryGateway]:
    gateway = InMemoryGateway()
    checks = {"concurrency": AT_ONCE, "healthy": {"interval": 1, "successes": 1},
              "unhealthy": {"interval": 1, "http_failures": 1}}  # fmt: skip
    upstream = gateway.insert("upstreams", name="pool", healthchecks={"active": checks})
    for number in range(PEERS):
        gateway.insert("targets", upstream={"id": upstream["id"]}, target=f"10.0.0.{number}:80")
    yield gateway
    gateway.close()


@pytest.fixture
def prober(made: InMemoryGateway) -> Asking:
    return Asking(SimpleNamespace(plan=made.gateway.plan, resolver=Resolver()))


def test_those_that_think_for_long_are_not_joined_by_more_than_may_be(prober: Asking) -> None:
    """However many intervals pass before they answer; then everybody has the turn."""
    prober.tick(10)
    assert prober.most == AT_ONCE
    prober.answer.set()
    prober.tick(PEERS)
    assert prober.most == AT_ONCE
    assert set(prober.asked) == {f"10.0.0.{number}" for number in range(PEERS)}


def test_those_that_are_away_hold_up_nobody_who_is_served(prober: Asking, made: InMemoryGateway) -> None:
    balancer = made.gateway.plan.balancers["pool"]
    checks = balancer.checks
    assert checks is not None
    prober.answer.set()
    prober.report = HTTP_FAILURE
    prober.tick(3 * PEERS)
    assert [peer for peer in checks.peers() if checks.available(peer)] == []
    served = checks.peers()[-1]
    prober.answer.clear()
    prober.tick(2)
    checks.put(served, True)
    prober.tick(2)
    assert served in prober.under_way
    prober.answer.set()
    prober.tick(1)


def test_a_round_ends_when_its_upstream_is_another(prober: Asking, made: InMemoryGateway) -> None:
    prober.tick(2)
    upstream = made.gateway.plan.balancers["pool"].entity
    rules = {"active": {"healthy": {"interval": 0}, "unhealthy": {"interval": 0}}}
    made.update("upstreams", upstream["id"], healthchecks=rules)
    prober.answer.set()
    prober.tick(5)
    assert len(prober.asked) == AT_ONCE
