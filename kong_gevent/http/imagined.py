"""A request that nobody has sent: what a client would write, and the connection it would come on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImaginedRequest:
    """`target` in origin form; `headers` in order, `Host` included; `port`: that of the address, None when not given.

    `sni`: the name that the client asks for in its TLS handshake, None without TLS or without a name.
    """

    method: str
    scheme: str
    port: int | None
    target: str
    headers: Sequence[tuple[str, str]]
    client_ip: str = "127.0.0.1"
    sni: str | None = None

    def head(self) -> bytes:
        """The bytes of its head, as they would come over the connection."""
        lines = [f"{self.method} {self.target} HTTP/1.1", *(f"{name}: {value}" for name, value in self.headers)]
        return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")
