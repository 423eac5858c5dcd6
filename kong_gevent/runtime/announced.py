"""Clients of listeners with `proxy_protocol`: a header that names the client comes before anything else, TLS included.

Strategy: the header is peeked at and exactly its bytes are taken, so that what follows is still in the kernel and is
read by whoever reads first on such a connection, the handshake of TLS or the reader of requests.
"""

from __future__ import annotations

import logging
import socket
from time import monotonic
from typing import TYPE_CHECKING

from kong_gevent.errors import ConnectionClosed, DeadlineExceeded
from kong_gevent.http import preamble
from kong_gevent.runtime.connection import Connection
from kong_gevent.runtime.secure import TlsConnection

if TYPE_CHECKING:
    from kong_gevent.proxy.stream import Stream

log = logging.getLogger("kong_gevent.connection")


def read_preamble(stream: Stream, timeout: float) -> preamble.Source | None:
    """Take the PROXY protocol's header from the beginning of a connection, within `timeout` s; whom it names.

    Raises ValueError for a header that is malformed, missing or cut off, `DeadlineExceeded` for one that is late,
    `ConnectionClosed` for a connection without a single byte, `OSError`.
    """
    sock = stream.sock
    until = monotonic() + timeout
    taken = b""
    while True:
        try:
            seen = sock.recv(preamble.LONGEST, socket.MSG_PEEK)
        except BlockingIOError:
            stream.read_timeout = max(0.001, until - monotonic())
            stream.wait_readable()
            continue
        if not seen:
            if taken:
                raise ValueError(f"the connection ends within it, after {len(taken)} bytes")
            raise ConnectionClosed("the peer has gone without a word")
        size = preamble.length_of(taken + seen)
        taken += sock.recv(len(seen) if size is None else min(len(seen), size - len(taken)))
        if len(taken) == size:
            return preamble.source_of(taken)


class AnnouncedConnection(Connection):
    """Begins with a header; a trusted peer's says who the client is, if the settings ask it (`real_ip_header`)."""

    __slots__ = ("__dict__",)

    announced = False

    def run(self) -> bool:
        """See `Connection.run`."""
        if not self.announced and not self._be_announced():
            return False
        return super().run()

    def _be_announced(self) -> bool:
        """Whether there is a good header, and room for the client that it names; if not, the log says why."""
        gateway = self.gateway
        try:
            named = read_preamble(self.stream, gateway.header_timeout)
        except ValueError as error:
            return self._without(str(error))
        except DeadlineExceeded:
            return self._without(f"it is not here after {gateway.header_timeout:g} s")
        except (ConnectionClosed, OSError):
            return False
        self.announced = True
        if named is None or not self.trusted or not gateway.forwarding.by_preamble:
            return True
        self.client_ip, self.client_port = named
        return gateway.admits(self)

    def _without(self, why: str) -> bool:
        self.gateway.cut.bad_preambles += 1
        log.info("client %s: closed for its PROXY protocol header: %s", self.peer_ip, why)
        return False


class AnnouncedTlsConnection(AnnouncedConnection, TlsConnection):
    """A client's connection that begins with the header, in clear text, then the handshake."""

    __slots__ = ()
