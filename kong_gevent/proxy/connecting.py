"""New connections: non-blocking sockets, connected within a time limit."""

from __future__ import annotations

import _socket
import errno
import os
import socket
from typing import Any

from gevent.socket import wait_write

from kong_gevent.errors import DeadlineExceeded


def connect(family: int, address: Any, timeout: float) -> _socket.socket:
    """A connected non-blocking socket; `timeout` in s. Raises `OSError`, `DeadlineExceeded`."""
    sock = _socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        failure = sock.connect_ex(address)
        if failure == errno.EINPROGRESS:
            try:
                wait_write(sock.fileno(), timeout)
            except TimeoutError:
                raise DeadlineExceeded(f"no connection to {address} in {timeout:g} s") from None
            failure = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failure:
            raise OSError(failure, os.strerror(failure))
    except BaseException:
        sock.close()
        raise
    return sock
