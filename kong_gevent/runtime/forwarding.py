"""Forwarding header fields: whom to believe, and what to tell the upstream (Kong 3.9's rules)."""

from __future__ import annotations

import ipaddress
from typing import Any

from kong_gevent.pdk import Context

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_MAX_DECISIONS = 10000


class Forwarding:
    """`trusted`: networks whose peers are believed; `header`, `recursive`: `real_ip_header`, `real_ip_recursive`.

    `product` is what `Via` calls the gateway.
    """

    def __init__(self, trusted: list[Network], trusts_unix: bool, header: str, recursive: bool, product: bytes) -> None:
        self._networks = trusted
        self._trusts_unix = trusts_unix
        self._header = header.lower()
        self.by_preamble = self._header == "proxy_protocol"
        """Whether a trusted peer tells the client's address in a PROXY protocol header, and not in a field."""
        self._recursive = recursive
        self._decisions: dict[str, bool] = {}
        self._via = {1: b"1.1 " + product, 0: b"1.0 " + product}

    def trusts(self, ip: str) -> bool:
        """Whether this peer's forwarding fields are believed; the empty text stands for a unix socket."""
        if not self._networks:
            return self._trusts_unix and not ip
        known = self._decisions.get(ip)
        if known is None:
            if len(self._decisions) >= _MAX_DECISIONS:
                self._decisions.clear()
            known = self._decisions[ip] = self._decide(ip)
        return known

    def _decide(self, ip: str) -> bool:
        if not ip:
            return self._trusts_unix
        try:
            address = ipaddress.ip_address(ip)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any(address in network or (mapped is not None and mapped in network) for network in self._networks)

    def client_address(self, ctx: Context) -> str:
        """The client's address: the peer's, or what a trusted peer says it is."""
        connection = ctx.connection
        peer: str = connection.peer_ip
        if not connection.trusted:
            return peer
        if self.by_preamble:
            named: str = connection.client_ip
            return named
        if self._header == "x-forwarded-for":
            listed = ctx.fields.forwarding.get(b"x-forwarded-for", b"").decode("latin-1")
        else:
            listed = ",".join(ctx.fields.index.get(self._header.replace("_", "-")) or ())
        return self._last_hop(listed, peer)

    def _last_hop(self, listed: str, found: str) -> str:
        """The client by a list of addresses: the last one, or with `recursive` the last that is not trusted.

        As in nginx what is no address ends the search; without any, `found` is the client.
        """
        for hop in reversed([hop.strip() for hop in listed.split(",") if hop.strip()]):
            address = _clean_address(hop)
            if address is None:
                break
            found = address
            if not self._recursive or not self.trusts(address):
                break
        return found

    def _trusted_value(self, ctx: Context, name: bytes) -> str | None:
        if not ctx.connection.trusted:
            return None
        value = ctx.fields.forwarding.get(name)
        return value.decode("latin-1") if value else None

    def scheme(self, ctx: Context) -> str:
        """The scheme that the first trusted hop saw."""
        told = self._trusted_value(ctx, b"x-forwarded-proto")
        return (told or ("https" if ctx.connection.tls else "http")).partition(",")[0].strip().lower()

    def host(self, ctx: Context) -> str:
        """The host name, without port, that the first trusted hop saw."""
        told = self._trusted_value(ctx, b"x-forwarded-host")
        if told:
            return told.partition(",")[0].strip()
        name: str = ctx.host[0]
        return name

    def port(self, ctx: Context) -> int:
        """The port that the first trusted hop saw."""
        told = self._trusted_value(ctx, b"x-forwarded-port")
        if told and told.isascii() and told.isdigit() and len(told) <= 5 and int(told) <= 65535:
            return int(told)
        own: int = ctx.connection.port
        return own

    def lines(self, ctx: Context, prefix: str) -> bytes:
        """The forwarding fields of the upstream request; `prefix` is the part of the path that was stripped."""
        connection = ctx.connection
        if connection.trusted:
            return self._trusted_lines(ctx, prefix)
        sent = ctx.fields.forwarding
        if sent:
            lines = self._untrusted_lines(ctx, sent.get(b"x-forwarded-for"))
        elif connection.forwarded_for is ctx.host:
            lines = connection.forwarded_lines
        else:
            lines = connection.forwarded_lines = self._untrusted_lines(ctx, None)
            connection.forwarded_for = ctx.host
        if len(prefix) > 1:
            return b"%bX-Forwarded-Path: %b\r\nX-Forwarded-Prefix: %b\r\n" % (
                lines,
                ctx.raw_path,
                prefix.encode("latin-1"),
            )
        return b"%bX-Forwarded-Path: %b\r\n" % (lines, ctx.raw_path)

    def _untrusted_lines(self, ctx: Context, listed: bytes | None) -> bytes:
        """The fields that only depend on the connection, the host asked for and what a client claims to forward."""
        connection = ctx.connection
        peer: bytes = connection.peer_bytes
        lines = (
            b"X-Real-IP: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Port: %d\r\n"
            b"X-Forwarded-For: %b\r\nX-Forwarded-Host: %b\r\n"
            % (
                peer,
                b"https" if connection.tls else b"http",
                connection.port,
                b"%b, %b" % (listed, peer) if listed else peer,
                ctx.host[2],
            )
        )
        return lines + self._via_line(ctx)

    def _via_line(self, ctx: Context) -> bytes:
        via = ctx.fields.forwarding.get(b"via") if ctx.fields.forwarding else None
        own = self._via[ctx.minor]
        return b"Via: %b, %b\r\n" % (via, own) if via else b"Via: %b\r\n" % own

    def _trusted_lines(self, ctx: Context, prefix: str) -> bytes:
        """What a trusted peer told is passed on; the rest is our own."""
        sent = ctx.fields.forwarding
        connection = ctx.connection
        listed = sent.get(b"x-forwarded-for")
        client = self.client_address(ctx).encode("latin-1")
        # A balancer that speaks the PROXY protocol is no hop of HTTP: whom it names is who asks.
        peer: bytes = client if self.by_preamble else connection.peer_bytes
        fields: list[tuple[bytes, Any]] = [
            (b"X-Real-IP", client),
            (b"X-Forwarded-For", b"%b, %b" % (listed, peer) if listed else client),
            (b"X-Forwarded-Proto", sent.get(b"x-forwarded-proto") or (b"https" if connection.tls else b"http")),
            (b"X-Forwarded-Host", sent.get(b"x-forwarded-host") or ctx.host[2]),
            (b"X-Forwarded-Port", sent.get(b"x-forwarded-port") or b"%d" % connection.port),
            (b"X-Forwarded-Path", sent.get(b"x-forwarded-path") or ctx.raw_path),
            (
                b"X-Forwarded-Prefix",
                sent.get(b"x-forwarded-prefix") or (prefix.encode("latin-1") if len(prefix) > 1 else None),
            ),
        ]
        lines = b"".join([b"%b: %b\r\n" % field for field in fields if field[1]])
        return lines + self._via_line(ctx)


def _clean_address(text: str) -> str | None:
    """A hop of a forwarding field as a plain address: brackets and ports dropped; None when it is no address."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return None if "%" in text else str(ipaddress.ip_address(text))
    except ValueError:
        return None
