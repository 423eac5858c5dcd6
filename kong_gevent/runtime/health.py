"""The health of upstreams as a node tells it, and health that is set by hand, on this node and on all others."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gevent
import orjson

from kong_gevent.balancer.algorithms import Peer
from kong_gevent.balancer.health import UpstreamHealth
from kong_gevent.db import dryrun
from kong_gevent.runtime.balancing import Balancer, place_of

if TYPE_CHECKING:
    from kong_gevent.runtime.gateway import Gateway
    from kong_gevent.runtime.sync import Synchronizer

log = logging.getLogger("kong_gevent.health")
TARGET_HEALTH = "target-health"
"""Topic of the signal that sets the health of a target on all nodes."""
OFF, GOOD, BAD, NO_ADDRESS = "HEALTHCHECKS_OFF", "HEALTHY", "UNHEALTHY", "DNS_ERROR"
DEFAULT_PORT = 8000


class Health:
    """One worker's view of the health of upstreams. `chosen`: whether this worker acts for the node."""

    def __init__(self, gateway: Gateway, sync: Synchronizer, store: Any, chosen: Callable[[], bool]) -> None:
        self._gateway = gateway
        self._sync = sync
        self._store = store
        self._chosen = chosen
        sync.listeners[TARGET_HEALTH] = lambda text: gevent.spawn(self._hear, text)

    def _balancer(self, key: str) -> Balancer | None:
        """An upstream's balancer with all that is known now."""
        self._sync.catch_up()
        balancer = self._gateway.plan.balancer(key)
        if balancer is not None:
            balancer.settle(self._gateway.resolver)
        return balancer

    # --- told --------------------------------------------------------------------------------------------------------

    def of(self, key: str) -> UpstreamHealth | None:
        """The health of an upstream by its id; None when it has no balancer."""
        balancer = self._balancer(key)
        if balancer is None:
            return None
        peers = balancer.peers_by_target()
        by_target = {key: (target, peers.get(place_of(target), [])) for key, target in balancer.targets.items()}
        hosts = [{**_place(balancer, key, target, peers),
                  "addresses": [{**_address(peer), "healthy": peer.available} for peer in peers]}
                 for key, (target, peers) in by_target.items()]  # fmt: skip
        every = [peer for _, peers in by_target.values() for peer in peers]
        details = {"healthy": balancer.healthy, "weight": _weight(every), "hosts": hosts}
        return UpstreamHealth(
            {key: _told(balancer, key, target, peers) for key, (target, peers) in by_target.items()},
            GOOD if balancer.healthy else BAD,
            balancer.checks is not None,
            details,
        )

    def states(self) -> Iterator[tuple[str, str, str, str]]:
        """See `kong_gevent.pdk.kit.NodeView.target_health`."""
        for balancer in list(self._gateway.plan.balancers.values()):
            known = self.of(balancer.entity["id"])
            for key, told in known.targets.items() if known is not None else ():
                target = balancer.targets.get(key)
                if target is None:
                    continue  # it was deleted while a name was looked up
                addresses = told["data"]["addresses"]
                if not addresses:
                    yield balancer.name, target["target"], "", told["health"]
                for address in addresses:
                    ip = f"[{address['ip']}]" if ":" in address["ip"] else address["ip"]
                    yield balancer.name, target["target"], f"{ip}:{address['port']}", address["health"]

    # --- set by hand -------------------------------------------------------------------------------------------------

    def put_everywhere(
        self, upstream: Mapping[str, Any], target: str, address: str | None, healthy: bool
    ) -> str | None:
        """Set the health of a target (`host:port`), or of one of its addresses; why not, if refused."""
        refusal = self._put(upstream["id"], upstream["name"], target, address, healthy)
        if refusal is None and not dryrun.active():
            self._store.signal(TARGET_HEALTH, orjson.dumps([upstream["id"], target, address, healthy]).decode())
        return refusal

    def _hear(self, text: str) -> None:
        key, target, address, healthy = orjson.loads(text)
        if not self._chosen():
            return  # what one worker does holds for all
        refusal = self._put(key, key, target, address, healthy)
        if refusal is not None:
            log.info("the health of %s, set on another node, is not taken over: %s", target, refusal)

    def _put(self, key: str, name: str, target: str, address: str | None, healthy: bool) -> str | None:
        balancer = self._balancer(key)
        if balancer is None:
            return f"Upstream {name} has no balancer"
        if balancer.checks is None:
            return f"no healthchecker found for {name}"
        peers = balancer.peers_of({"target": target})
        if address is not None:
            wanted = _split(address)
            peers = [peer for peer in peers if (peer.ip, peer.port) == wanted]
        if not peers:
            return f"no address of {target} is {address}" if address else f"{target} has no address"
        if not dryrun.active():
            for peer in peers:
                balancer.checks.put(peer, healthy)
        return None


def _split(address: str) -> tuple[str, int]:
    """`ip:port` of a path; IPv6 with brackets."""
    host, colon, port = address.rpartition(":")
    number = port.isascii() and port.isdigit() and len(port) <= 5
    if not colon or not number or (":" in host and not host.endswith("]")):
        host, port = address, str(DEFAULT_PORT)
    host = host.strip("[]")
    try:
        if ":" in host:
            host = socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, host))
    except (OSError, ValueError):
        pass  # no address, so no peer has it
    return host, int(port)


def _told(balancer: Balancer, key: str, target: dict[str, Any], peers: Sequence[Peer]) -> dict[str, Any]:
    """`health` and `data` of one target."""
    checked = balancer.checks is not None and target["weight"] > 0

    def word(available: bool) -> str:
        return (GOOD if available else BAD) if checked else OFF

    failure = balancer.failures.get(key)
    health = NO_ADDRESS if failure and target["weight"] else word(any(peer.available for peer in peers))
    addresses = [{**_address(peer), "health": word(peer.available)} for peer in peers]
    return {"health": health, "data": {**_place(balancer, key, target, peers), "addresses": addresses}}


def _place(balancer: Balancer, key: str, target: dict[str, Any], peers: Sequence[Peer]) -> dict[str, Any]:
    host, port = place_of(target)
    dns = balancer.failures.get(key) or balancer.kinds.get(key, "unknown")
    weight = target["weight"]
    return {"host": host.strip("[]"), "port": port, "dns": dns, "nodeWeight": weight, "weight": _weight(peers)}


def _address(peer: Peer) -> dict[str, Any]:
    return {"ip": peer.ip, "port": peer.port, "weight": peer.weight}


def _weight(peers: Sequence[Peer]) -> dict[str, int]:
    total = sum(peer.weight for peer in peers)
    available = sum(peer.weight for peer in peers if peer.available)
    return {"total": total, "available": available, "unavailable": total - available}
