"""TLS in a run: the certificate that both measured servers show, the clients' side, and what a handshake costs.

Clients never resume a session, so that each of their connections means a full handshake.
"""

from __future__ import annotations

import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.process import BenchError, cpu_time

if TYPE_CHECKING:
    from harness.load import Target

ANSWER_SECONDS = 15


@dataclass(frozen=True)
class Pair:
    """Files of a certificate and its key."""

    certificate: Path
    key: Path


def make_pair(folder: Path) -> Pair:
    """A self-signed certificate on P-256 for the servers of a run. Raises BenchError."""
    pair = Pair(folder / "bench.crt", folder / "bench.key")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-keyout", str(pair.key), "-out", str(pair.certificate), "-days", "30", "-subj", "/CN=bench.example"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except FileNotFoundError:
        raise BenchError("openssl is not installed: apt-get install openssl") from None
    if done.returncode:
        raise BenchError(f"no certificate: {done.stderr[-500:]}")
    return pair


def client_context() -> ssl.SSLContext:
    """For clients that take any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


_CONTEXT = client_context()


NAME = "bench.example"


def connected(port: int, tls: bool, seconds: float = ANSWER_SECONDS, name: str = NAME) -> socket.socket:
    """A new connection to 127.0.0.1, after its handshake, with this server name, if it is to be encrypted."""
    connection = socket.create_connection(("127.0.0.1", port), seconds)
    return _CONTEXT.wrap_socket(connection, server_hostname=name) if tls else connection


@dataclass(frozen=True)
class Handshakes:
    """Connections with a full handshake and one request each; CPU in µs per connection."""

    count: int
    cpu: float
    rate: float
    version: str  # protocol and cipher


def shake_hands(
    target: Target, request: bytes, seconds: float, next_name: Callable[[], str] = lambda: NAME
) -> Handshakes:
    """One new connection after the other for `seconds`; each gets its answer, with status 200, and is closed."""
    versions = set()
    count = 0
    cpu, start = cpu_time(target.workers), time.monotonic()
    while time.monotonic() - start < seconds:
        with connected(target.tls_port, True, name=next_name()) as connection:
            assert isinstance(connection, ssl.SSLSocket)
            connection.sendall(request)
            if not connection.recv(65536).startswith(b"HTTP/1.1 200 "):
                raise BenchError(f"{target.name} did not answer after a handshake")
            if connection.session_reused:
                raise BenchError(f"{target.name} resumed a session that nobody asked for")
            versions.add(f"{connection.version()} {connection.cipher()[0]}")  # type: ignore[index]
        count += 1
    elapsed = time.monotonic() - start
    cpu = cpu_time(target.workers) - cpu
    return Handshakes(count, cpu.total / count * 1e6, count / elapsed, ", ".join(sorted(versions)))
