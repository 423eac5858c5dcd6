"""ip-restriction: which client addresses may come in."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from kong_gevent.pdk import Conf, Config, Context, Exit, Plugin, checks, fields

MAX_DECISIONS = 10_000
"""Addresses whose outcome a configuration remembers per worker."""
MAPPED_BITS = 96
"""Bits in front of the IPv4 address in an IPv6 address that holds one (RFC 4291, section 2.5.5.2)."""
UNIX_SOCKET = "Cannot identify the client IP address, unix domain sockets are not supported."

NOT_ALLOWED_CLASSIC = "Your IP address is not allowed"


class IpRestrictionConfig(Config):
    """Settings of ip-restriction."""

    allow = fields.Array(
        fields.IpOrCidr(),
        metadata={"description": "Addresses and CIDR ranges that may come in; all others are refused."},
    )
    deny = fields.Array(
        fields.IpOrCidr(),
        metadata={"description": "Addresses and CIDR ranges that are refused, even if `allow` has them."},
    )
    status = fields.Number(required=False, metadata={"description": "Status of the refusal; 403 when unset."})
    message = fields.String(required=False, metadata={"description": "Text of the refusal instead of the usual one."})

    checks = (checks.AtLeastOneOf("config.allow", "config.deny"),)


Network = IPv4Network | IPv6Network


def _network(text: str) -> Network:
    """A range; one of IPv4 addresses that is written as IPv6 (`::ffff:10.0.0.0/104`) is one of IPv4, as clients are."""
    network = ip_network(text, strict=False)
    if isinstance(network, IPv6Network) and network.prefixlen >= MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - MAPPED_BITS))
    return network


class Ranges:
    """A set of addresses: sorted ranges without overlaps, per IP version."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._versions: dict[int, tuple[list[int], list[int]]] = {}
        networks = [_network(text) for text in texts]
        for version in (4, 6):
            starts: list[int] = []
            ends: list[int] = []
            own = (network for network in networks if network.version == version)
            for network in sorted(own, key=lambda network: int(network.network_address)):
                first, last = int(network.network_address), int(network.broadcast_address)
                if ends and first <= ends[-1] + 1:
                    ends[-1] = max(ends[-1], last)
                else:
                    starts.append(first)
                    ends.append(last)
            self._versions[version] = (starts, ends)

    def __contains__(self, text: str) -> bool:
        """Whether an address lies in one of the ranges; ValueError when it is no address."""
        address = ip_address(text.partition("%")[0])
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        starts, ends = self._versions[address.version]
        number = int(address)
        at = bisect_right(starts, number)
        return at > 0 and number <= ends[at - 1]


class IpRestriction(Plugin):
    """Refuses clients by address."""

    name = "ip-restriction"
    priority = 990
    config = IpRestrictionConfig
    protocols = ("grpc", "grpcs", "http", "https", "tcp", "tls")
    protocols_allowed = "any"

    def configure(self, conf: Conf) -> None:
        """Compile both lists."""
        conf.allowed = Ranges(conf.allow) if conf.allow else None
        conf.denied = Ranges(conf.deny) if conf.deny else None
        conf.passes = {}
        # Kong fails where this is no status of an error, and so answers 500.
        conf.code = int(conf.status or 403) if 400 <= (conf.status or 403) <= 599 else 500

    def access(self, ctx: Context, conf: Conf) -> Exit | None:
        """Let the client in, or refuse it."""
        ip = ctx.client_ip
        passes = conf.passes.get(ip)
        if passes is None:
            passes = self._decide(conf, ip)
        if passes:
            return None
        return self._refuse(ctx, conf, ip)

    def _decide(self, conf: Conf, ip: str) -> bool:
        try:
            passes = not (conf.denied is not None and ip in conf.denied)
            if passes and conf.allowed is not None:
                passes = ip in conf.allowed
        except ValueError:
            return False
        if len(conf.passes) >= MAX_DECISIONS:
            conf.passes.clear()
        conf.passes[ip] = passes
        return passes

    def _refuse(self, ctx: Context, conf: Conf, ip: str) -> Exit:
        if not ip or ip.startswith("unix:"):
            self.kit.log.warning(UNIX_SOCKET)
            return ctx.error(403, UNIX_SOCKET)
        message = conf.message or f"IP address not allowed: {ip}"
        self.kit.log.warning("%s", message)
        if self.kit.classic_answers:
            return ctx.exit(conf.code, {"message": conf.message or NOT_ALLOWED_CLASSIC})
        return ctx.error(conf.code, message)
