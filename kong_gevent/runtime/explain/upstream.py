"""Where a request would go: the service, who could take it, and the request that would be sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kong_gevent.balancer.health import UpstreamHealth
from kong_gevent.dns import NameNotResolved
from kong_gevent.observe.secrets import shown_fields, shown_target
from kong_gevent.pdk import Context, Exit
from kong_gevent.runtime.balancing import BalancedEndpoint, NoPeers
from kong_gevent.runtime.call import Call
from kong_gevent.runtime.hash_key import HashKey
from kong_gevent.runtime.upstream import no_peer, unresolved

if TYPE_CHECKING:
    from kong_gevent.runtime.gateway import Gateway

Row = dict[str, Any]
HealthOf = Callable[[str], UpstreamHealth | None]
_HASHES = ("hash_on", "hash_on_header", "hash_on_cookie", "hash_on_query_arg", "hash_on_uri_capture", "hash_fallback",
           "hash_fallback_header", "hash_fallback_query_arg", "hash_fallback_uri_capture")  # fmt: skip


def describe(gateway: Gateway, ctx: Context, health_of: HealthOf) -> tuple[Row, Exit | None]:
    """`upstream` and `upstream_request`, and the refusal when nobody can be called."""
    call = Call(gateway, ctx)
    endpoint = call.target.endpoint
    refusal: Exit | None = None
    if isinstance(endpoint, BalancedEndpoint):
        told, host, refusal = _balanced(gateway, ctx, endpoint, health_of)
        if host is not None and not ctx.route.preserve_host:
            call.change_host(host)
    else:
        told = {"name": None, "host": endpoint.host, "port": endpoint.port}
        try:
            places = gateway.resolver.look(endpoint.host).places
            told["addresses"] = [{"ip": place.ip, "port": place.port or endpoint.port} for place in places]
            if places[0].port and not ctx.route.preserve_host:
                call.change_host(endpoint.host_for(places[0]))
        except NameNotResolved as error:
            told.update(addresses=[], error=str(error))
            refusal = unresolved(ctx, error)
    return {"upstream": told, "upstream_request": _request(ctx, call)}, refusal


def _request(ctx: Context, call: Call) -> Row:
    """The head that would be sent; a Host that depends on the target is that of any of them (see the targets)."""
    lines = call.head.decode("latin-1").split("\r\n")
    fields = [(name, value) for name, _, value in (line.partition(": ") for line in lines[1:] if line)]
    service = call.target
    target = ctx.upstream_target.decode("latin-1")
    default = {"http": 80, "https": 443}.get(service.protocol)
    place = service.host if service.port == default else f"{service.host}:{service.port}"
    return {
        "method": call.method.decode("latin-1"),
        "url": f"{service.protocol}://{place}{shown_target(target)}",
        "headers": [{"name": name, "value": value} for name, value in shown_fields(fields)],
        "server_name": call.server_name,
    }


def _balanced(
    gateway: Gateway, ctx: Context, endpoint: BalancedEndpoint, health_of: HealthOf
) -> tuple[Row, bytes | None, Exit | None]:
    """An upstream with its targets, the Host for the target that gets the request if that is certain, a refusal."""
    balancer = endpoint.balancer
    entity = balancer.entity
    health = health_of(entity["id"])
    told: Row = {
        "id": entity["id"],
        "name": entity["name"],
        "algorithm": entity["algorithm"],
        "healthy": balancer.healthy,
        "health_checked": balancer.checks is not None,
        "targets": [_target(endpoint, key, target, health) for key, target in list(balancer.targets.items())],
    }
    peers = [peer for peers in balancer.peers_by_target().values() for peer in peers if peer.available and peer.weight]
    if not balancer.healthy or not peers:
        return told, None, no_peer(ctx)
    hosts = {endpoint.host_for(peer) for peer in peers}
    if balancer.hash_key is not None:
        told["hash"], host = _hashed(gateway, ctx, endpoint, balancer.hash_key)
        return told, host, None
    return told, next(iter(hosts)) if len(hosts) == 1 else None, None


def _target(endpoint: BalancedEndpoint, key: str, target: Row, health: UpstreamHealth | None) -> Row:
    known = (health.targets.get(key) if health is not None else None) or {"health": None, "data": {"addresses": []}}
    hosts = {endpoint.host_for(peer).decode("latin-1") for peer in endpoint.balancer.peers_of(target)}
    return {
        "id": target["id"],
        "target": target["target"],
        "weight": target["weight"],
        "health": known["health"],
        "host_header": next(iter(hosts), None),
        "addresses": list(known["data"]["addresses"]),
    }


def _hashed(gateway: Gateway, ctx: Context, endpoint: BalancedEndpoint, hash_key: HashKey) -> tuple[Row, bytes | None]:
    """What is hashed and whom it leads to; a cookie that would be made is new each time, so it leads nowhere yet."""
    balancer = endpoint.balancer
    entity = balancer.entity
    told: Row = {name: entity[name] for name in _HASHES if entity[name] is not None}
    key = hash_key.of(ctx)
    if ctx.down is not None and ctx.down.values("set-cookie"):
        return {**told, "key": None, "new_cookie": True}, None
    told["key"] = key.decode("utf-8", "replace")
    try:
        peer = balancer.pick(gateway.resolver, key, ())
    except NoPeers:
        return told, None
    told["chosen"] = {"target": f"{peer.name}:{peer.target_port}", "ip": peer.ip, "port": peer.port}
    return told, endpoint.host_for(peer)
