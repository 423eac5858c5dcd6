"""What a connection knows of a client that a PROXY protocol header names, as plugins are told."""

from types import SimpleNamespace
from typing import Any

import pytest

from kong_gevent.pdk.views import ClientView
from kong_gevent.runtime.forwarding import Forwarding


@pytest.mark.parametrize(
    ("trusted", "header", "seen"),
    [
        (True, "proxy_protocol", ("203.0.113.7", 56324)),
        (True, "PROXY_PROTOCOL", ("203.0.113.7", 56324)),
        (False, "proxy_protocol", ("10.0.0.1", 4000)),
    ],
)
def test_address_and_port(trusted: bool, header: str, seen: tuple[str, int]) -> None:
    """An untrusted peer's connection never takes over what a header names."""
    forwarding = Forwarding([], False, header, False, b"kong")
    client = seen if trusted else ("10.0.0.1", 4000)
    connection = SimpleNamespace(
        peer_ip="10.0.0.1", peer_port=4000, client_ip=client[0], client_port=client[1], trusted=trusted
    )
    ctx: Any = SimpleNamespace(connection=connection, gateway=SimpleNamespace(forwarding=forwarding))
    view = ClientView(ctx)
    assert (view.ip, view.port) == seen
    assert (view.peer_ip, view.peer_port) == ("10.0.0.1", 4000)
