"""Looking at contact points before the driver does: which of them listen, and why the others do not."""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from collections.abc import Sequence

GRACE = 0.25
"""Seconds for which the other contact points may still answer once one has."""


def reachable(points: Sequence[str], port: int, timeout: float) -> tuple[list[str], dict[str, OSError]]:
    """Addresses that accept connections, in the order of the contact points, and why others do not (by point).

    All are tried at once, so one that swallows packets delays nobody; a name may stand for several addresses.
    """
    failures: dict[str, OSError] = {}
    waiting: dict[int, tuple[socket.socket, str, str]] = {}
    order: list[str] = []
    accepted: set[str] = set()
    try:
        for point in points:
            try:
                addresses = dict.fromkeys(
                    found[4] for found in socket.getaddrinfo(point, port, type=socket.SOCK_STREAM)
                )
            except OSError as error:
                failures[point] = error
                continue
            for address in addresses:
                order.append(str(address[0]))
                _start(address, point, waiting, failures)
        _wait(waiting, accepted, failures, time.monotonic() + timeout)
        for _, point, _ in waiting.values():
            failures.setdefault(point, TimeoutError(errno.ETIMEDOUT, f"no answer within {timeout:g} s"))
    finally:
        for connection, _, _ in waiting.values():
            connection.close()
    return [address for address in dict.fromkeys(order) if address in accepted], failures


def _start(
    address: tuple[object, ...],
    point: str,
    waiting: dict[int, tuple[socket.socket, str, str]],
    failures: dict[str, OSError],
) -> None:
    family = socket.AF_INET6 if len(address) == 4 else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.setblocking(False)
    code = connection.connect_ex(address)
    if code in (0, errno.EINPROGRESS):
        waiting[connection.fileno()] = (connection, point, str(address[0]))
    else:
        connection.close()
        failures[point] = _error(code)


def _wait(
    waiting: dict[int, tuple[socket.socket, str, str]],
    accepted: set[str],
    failures: dict[str, OSError],
    until: float,
) -> None:
    poll = select.poll()
    for number in waiting:
        poll.register(number, select.POLLOUT)
    while waiting and (left := until - time.monotonic()) > 0:
        for number, _ in poll.poll(1000 * left):
            poll.unregister(number)
            connection, point, address = waiting.pop(number)
            code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            connection.close()
            if code:
                failures[point] = _error(code)
                continue
            accepted.add(address)
            until = min(until, time.monotonic() + GRACE)


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))  # of the subclass that belongs to the code
