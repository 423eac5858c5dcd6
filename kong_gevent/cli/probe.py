"""Questions to sockets: is an address free, does a listener accept, is the node ready."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterable

from kong_gevent.conf import Listener, Settings
from kong_gevent.errors import ConfigurationError
from kong_gevent.http.preamble import LOCAL
from kong_gevent.runtime.listen import open_one
from kong_gevent.runtime.reasons import NOTHING_YET

_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def client_address(listener: Listener) -> tuple[str, int]:
    """Host and port at which this machine reaches a listener."""
    host = listener.address.rpartition(":")[0].strip("[]")
    return _LOOPBACK.get(host, host), listener.port


def client_url(listener: Listener) -> str:
    """`http://host:port` (`https` with TLS) at which this machine reaches a listener."""
    host, port = client_address(listener)
    scheme = "https" if listener.ssl else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def busy(listeners: Iterable[tuple[str, Listener]]) -> list[str]:
    """Try to bind each address; one message, with what to do, for each that cannot be had."""
    messages = []
    for name, listener in listeners:
        try:
            open_one(name, listener, listen=False).close()
        except ConfigurationError as error:
            messages += error.messages
    return messages


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
        connection.sock = _connected(listener, timeout)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")
    except http.client.HTTPException as error:
        raise OSError(f"{client_url(listener)}: {error!r}") from error
    finally:
        connection.close()


def _connected(listener: Listener, timeout: float) -> socket.socket:
    """A connection to one of our own listeners, as far as the first byte of HTTP. Raises OSError."""
    sock = socket.create_connection(client_address(listener), timeout)
    try:
        if listener.proxy_protocol:
            sock.sendall(LOCAL)
        return _unverified().wrap_socket(sock, server_hostname=client_address(listener)[0]) if listener.ssl else sock
    except OSError:
        sock.close()
        raise


def _unverified() -> ssl.SSLContext:
    """For a look at our own listener: whose certificate it shows is not the question."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


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
        except ssl.SSLError as error:
            if listener in settings.admin_listeners and settings.admin_ssl_client_ca:
                continue  # it serves those who have a certificate
            return f"{client_url(listener)}{path} does not answer ({error})"
        except OSError as error:
            return f"{client_url(listener)}{path} does not answer ({error.strerror or error})"
        if status == 503 and settings.database == "off" and NOTHING_YET in text:
            continue  # it serves what it has: nothing
        if status not in ((200, 401) if path == "/status" else (200,)):
            return f"{client_url(listener)}{path} answers {status}: {text.strip()[:200]}"
    return None
