"""Who could reach the Admin API: advice about addresses that others reach without being asked who they are."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kong_gevent.conf.listeners import Listener

SHORTEST = 16
"""Characters of an `admin_token` below which it can be guessed."""


def advice(values: Mapping[str, Any], listeners: Sequence[Listener]) -> Iterator[str]:
    """One warning per public address of the Admin API that lacks TLS or authentication, and about a weak token."""
    for listener in listeners:
        if _is_local(listener.host):
            continue
        certified = listener.ssl and values["admin_ssl_client_ca"] and values["admin_ssl_client_verify"] == "on"
        lacks = [
            *(() if listener.ssl else ("encryption (the flag 'ssl')",)),
            *(() if certified or values["admin_auth"] == "token" else ("authentication (admin_auth = token)",)),
        ]
        if lacks:
            yield (
                f"SECURITY: the Admin API listens on the public address {listener.address} without "
                f"{' and without '.join(lacks)}: whoever reaches it controls this gateway"
            )
    token = values["admin_token"]
    if token and len(token) < SHORTEST:
        yield f"SECURITY: admin_token has only {len(token)} characters; use 32 random ones or more"


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
