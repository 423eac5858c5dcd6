"""Questions to sockets: is an address free, does a listener accept, is the node ready."""

from __future__ import annotations

import errno
import http.client
import socket
from collections.abc import Iterable, Iterator

from kong_gevent.conf import Listener, Settings

_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def named_listeners(settings: Settings) -> Iterator[tuple[str, Listener]]:
    """Every listener with the name of its setting."""
    for key in ("proxy", "admin", "status"):
        for listener in getattr(settings, f"{key}_listeners"):
            yield f"{key}_listen", listener


def client_address(listener: Listener) -> tuple[str, int]:
    """Host and port at which this machine reaches a listener."""
    host = listener.address.rpartition(":")[0].strip("[]")
    return _LOOPBACK.get(host, host), listener.port


def client_url(listener: Listener) -> str:
    """`http://host:port` at which this machine reaches a listener."""
    host, port = client_address(listener)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def busy(listeners: Iterable[tuple[str, Listener]]) -> list[str]:
    """Try to bind each address; one message, with what to do, for each that cannot be had."""
    return [message for name, listener in listeners for message in _busy(name, listener)]


def _busy(name: str, listener: Listener) -> Iterator[str]:
    where = f"{name}: cannot listen on {listener.address}"
    change = f"choose another with {name} or KONG_{name.upper()}"
    try:
        found = socket.getaddrinfo(listener.host, listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        yield f"{where}: the name cannot be resolved ({error.strerror}); {change}"
        return
    family, kind, protocol, _, address = found[0]
    try:
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(listener.ipv6only is not False))
            probe.bind(address)
    except OSError as error:
        yield f"{where}: {_reason(error, listener.port)} {change}"


def _reason(error: OSError, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"address already in use: stop the program that listens on port {port}, or"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address;"
    if error.errno == errno.EACCES:
        return f"port {port} needs more rights than this user has;"
    return f"{error.strerror or error};"


def accepts(listener: Listener, timeout: float = 1) -> bool:
    """Whether a connection to the listener is accepted."""
    try:
        with socket.create_connection(client_address(listener), timeout):
            return True
    except OSError:
        return False


def ask(listener: Listener, method: str, path: str, body: str | None = None, timeout: float = 5) -> tuple[int, str]:
    """Send one request to a listener; status and text of the answer. Raises OSError when there is none."""
    host, port = client_address(listener)
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    headers = {"Content-Type": "application/x-www-form-urlencoded"} if body is not None else {}
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")
    except http.client.HTTPException as error:
        raise OSError(f"{client_url(listener)}: {error!r}") from error
    finally:
        connection.close()


def not_ready(settings: Settings) -> str | None:
    """What is still missing for service: None when proxy, Admin API and status all answer, else one line."""
    for listener in settings.proxy_listeners:
        if not accepts(listener):
            return f"the proxy does not accept connections on {listener.address}"
    questions = [(listener, "/status/ready") for listener in settings.status_listeners]
    questions += [(listener, "/status") for listener in settings.admin_listeners]
    for listener, path in questions:
        try:
            status, text = ask(listener, "GET", path)
        except OSError as error:
            return f"{client_url(listener)}{path} does not answer ({error.strerror or error})"
        if status != 200:
            return f"{client_url(listener)}{path} answers {status}: {text.strip()[:200]}"
    return None
