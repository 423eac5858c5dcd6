"""The balancer's algorithms: shares, who comes next, who is left out, and how few keys move."""

from collections import Counter
from collections.abc import Sequence

import pytest
from xxhash import xxh3_128_digest, xxh32_intdigest

from kong_gevent.balancer.algorithms import (
    ConsistentHashing,
    Latency,
    LeastConnections,
    NoPeers,
    Peer,
    RoundRobin,
    gave_back,
    took,
)


def peers(*weights: int) -> list[Peer]:
    return [Peer(f"t{at}.test", 80, 2, f"10.0.0.{at + 1}", 80, weight) for at, weight in enumerate(weights)]


def ring(found: Sequence[Peer]) -> ConsistentHashing:
    return ConsistentHashing(found, xxh3_128_digest, xxh32_intdigest)


@pytest.mark.parametrize("weights", [(1, 1), (100, 50, 25), (7, 3), (1, 0, 2), (65535, 1)])
def test_a_whole_turn_of_the_wheel_has_exact_shares(weights: tuple[int, ...]) -> None:
    found = peers(*weights)
    wheel = RoundRobin(found)
    turns = Counter(wheel.pick(b"", ()) for _ in range(2 * sum(weights)))
    assert [turns[peer] for peer in found] == [2 * weight for weight in weights]


def test_the_wheel_mixes_peers() -> None:
    found = peers(50, 50)
    wheel = RoundRobin(found, seed=1)
    picked = [wheel.pick(b"", ()) for _ in range(100)]
    assert max(len(run) for run in "".join("ab"[found.index(peer)] for peer in picked).split("a")) < 3


def test_at_any_time_everybody_has_had_the_share() -> None:
    found = peers(70, 20, 9, 1)
    wheel = RoundRobin(found, seed=3)
    turns: Counter[Peer] = Counter()
    for number in range(1, 1001):
        turns[wheel.pick(b"", ())] += 1
        assert all(abs(turns[peer] - number * peer.weight / 100) < 2 for peer in found)


def test_who_comes_back_gets_no_more_than_the_others() -> None:
    one, two = found = peers(1000, 1)
    wheel = RoundRobin(found)
    one.available = False
    assert {wheel.pick(b"", ()) for _ in range(100)} == {two}
    one.available = True
    wheel.reconsider()
    turns = Counter(wheel.pick(b"", ()) for _ in range(2002))
    assert turns == {one: 2000, two: 2}


def test_those_that_are_away_or_have_failed_are_passed_over() -> None:
    one, two, three = found = peers(1, 1, 1)
    two.available = False
    for algorithm in (RoundRobin(found), LeastConnections(found), Latency(found), ring(found)):
        assert {algorithm.pick(str(number).encode(), [one]) for number in range(50)} == {three}
        if not isinstance(algorithm, Latency):
            assert algorithm.pick(b"x", [one, three]) in (one, three)  # all have failed: once more
        assert two not in {algorithm.pick(str(number).encode(), ()) for number in range(50)}


@pytest.mark.parametrize("weights", [(), (0,), (0, 0)])
def test_nobody_is_there(weights: tuple[int, ...]) -> None:
    found = peers(*weights)
    for algorithm in (RoundRobin(found), LeastConnections(found), Latency(found), ring(found)):
        with pytest.raises(NoPeers):
            algorithm.pick(b"x", ())


def test_the_least_busy_one_by_its_weight() -> None:
    light, heavy = found = peers(1, 3)
    algorithm = LeastConnections(found)
    for _ in range(400):
        took(algorithm.pick(b"", ()))
    assert (light.connections, heavy.connections) == (100, 300)
    for _ in range(100):
        gave_back(light, None, 0)
    assert algorithm.pick(b"", ()) is light


def test_equals_take_turns() -> None:
    found = peers(1, 1, 1)
    algorithm = LeastConnections(found)
    picked = []
    for _ in range(3):
        picked.append(algorithm.pick(b"", ()))
        took(picked[-1])
        gave_back(picked[-1], None, 0)
    assert set(picked) == set(found)


def test_the_fastest_one_of_late() -> None:
    fast, slow, new = found = peers(1, 1, 1)
    now = [100.0]
    algorithm = Latency(found, lambda: now[0])
    for peer, seconds in ((fast, 0.01), (slow, 0.2)):
        took(peer)
        gave_back(peer, seconds, now[0])
    assert algorithm.pick(b"", ()) is fast
    assert algorithm.pick(b"", [fast]) is new  # counts as the average
    now[0] += 100  # what was slow long ago is forgotten
    took(fast)
    gave_back(fast, 0.05, now[0])
    assert algorithm.pick(b"", [new]) is slow


@pytest.mark.parametrize("known", [1, 3])
def test_a_new_one_gets_its_turn_among_those_that_are_known(known: int) -> None:
    found = peers(*[1] * (known + 1))
    now = [100.0]
    algorithm = Latency(found, lambda: now[0])
    for peer in found[:known]:
        took(peer)
        gave_back(peer, 0.01 * (found.index(peer) + 1), now[0])
    picked: Counter[Peer] = Counter()
    for _ in range(400):
        now[0] += 0.1
        peer = algorithm.pick(b"", ())
        took(peer)
        gave_back(peer, 0.01, now[0])
        picked[peer] += 1
    assert picked[found[-1]] > 10


class TestHashing:
    KEYS = [str(number).encode() for number in range(5000)]

    def test_a_key_stays_where_it_is(self) -> None:
        found = peers(1, 1, 1, 1)
        first, second = ring(found), ring(list(reversed(found)))
        assert [first.pick(key, ()) for key in self.KEYS] == [second.pick(key, ()) for key in self.KEYS]

    @pytest.mark.parametrize("count", [2, 3, 5, 10])
    def test_when_one_goes_few_keys_move(self, count: int) -> None:
        found = peers(*[100] * count)
        whole = ring(found)
        before = [whole.pick(key, ()) for key in self.KEYS]
        moved = 0
        for gone in found:
            rest = ring([peer for peer in found if peer is not gone])
            after = [rest.pick(key, ()) for key in self.KEYS]
            moved += sum(one is not other for one, other in zip(before, after, strict=True))
        assert moved / count <= len(self.KEYS) * (1 / count + 0.05)

    def test_when_one_is_away_only_its_keys_move(self) -> None:
        found = peers(100, 100, 100)
        hashing = ring(found)
        before = [hashing.pick(key, ()) for key in self.KEYS]
        found[0].available = False
        after = [hashing.pick(key, ()) for key in self.KEYS]
        assert all(one is other or one is found[0] for one, other in zip(before, after, strict=True))

    def test_shares_follow_the_weights(self) -> None:
        found = peers(300, 100)
        hashing = ring(found)
        shares = Counter(hashing.pick(key, ()) for key in self.KEYS)
        assert 0.70 < shares[found[0]] / len(self.KEYS) < 0.80

    def test_each_of_many_has_its_share(self) -> None:
        found = peers(*[100] * 100)
        hashing = ring(found)
        shares = Counter(hashing.pick(b"%d" % number, ()) for number in range(50_000))
        assert all(350 < shares[peer] < 650 for peer in found)
