"""Which connections to upstreams are kept: so many of each address, and not too many in all."""

import _socket
import socket
from collections.abc import Iterator

import gevent
import pytest

from kong_gevent.proxy import pool as pools
from kong_gevent.proxy.deadlines import Streams
from kong_gevent.proxy.pool import Lease, Origin, Pool
from kong_gevent.proxy.stream import Stream

Peers = list[socket.socket]


@pytest.fixture
def peers() -> Iterator[Peers]:
    """The other ends of connections."""
    made: Peers = []
    yield made
    for peer in made:
        peer.close()
    gevent.sleep(0)


def used(origin: Origin, pool: Pool, peers: Peers) -> Stream:
    """A connection that has carried a request and is given back."""
    near, far = socket.socketpair()
    near.setblocking(False)
    peers.append(far)
    stream = Stream(_socket.socket(fileno=near.detach()), pool.streams)
    origin.give(Lease(stream, origin))
    return stream


def test_one_upstream_takes_no_room_from_another(peers: Peers) -> None:
    pool = Pool(Streams(), size=2)
    one, other = (pool.origin(2, f"10.0.0.{number}", 80) for number in (1, 2))
    kept = [used(origin, pool, peers) for origin in (one, one, other, other)]
    assert [stream.closed for stream in kept] == [False] * 4
    assert used(one, pool, peers).closed
    assert pool.idle == 4
    pool.close()
    assert pool.idle == 0


def test_there_is_an_end_to_it(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever chooses names chooses origins, and must not have the gateway keep a connection for each."""
    monkeypatch.setattr(pools, "MOST_IDLE", 3)
    pool = Pool(Streams(), size=2)
    kept = [used(pool.origin(2, f"10.0.0.{number}", 80), pool, peers) for number in range(5)]
    assert [stream.closed for stream in kept] == [False] * 3 + [True] * 2
    pool.close()
