"""What the tests of Cassandra share: options for a server, programs in patched processes, loops that wait."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kong_gevent.db.strategies.cassandra.options import CassandraOptions
from kong_gevent.db.strategies.cassandra.session import CassandraSession
from kong_gevent.devtools.cluster import SUPERUSER
from tests.servers.cassandra import Cassandra
from tests.servers.process import free_addresses

ROOT = Path(__file__).resolve().parents[2]


def options_for(server: Cassandra, keyspace: str = "kong", **changes: Any) -> CassandraOptions:
    """How to use a cluster of the tests, seen from its first data centre, with changes."""
    center = server.data_centers[0]
    found: dict[str, Any] = {
        "contact_points": tuple(node.address for node in server.nodes_of(center)),
        "port": server.port,
        "keyspace": keyspace,
    }
    if len(server.data_centers) > 1:
        found["local_datacenter"] = center
    if server.layout.auth:
        found |= {"username": SUPERUSER[0], "password": SUPERUSER[1]}
    if server.certificates:
        made = server.certificates
        found |= {"ssl": True, "ssl_verify": True, "ssl_ca": (str(made.ca),)}
        if server.layout.tls == "mutual":
            found |= {"ssl_cert": str(made.client), "ssl_cert_key": str(made.client_key)}
    return CassandraOptions(**(found | changes))


@contextmanager
def session_for(options: CassandraOptions) -> Iterator[CassandraSession]:
    """A session of this process, which is not patched: the driver runs on threads."""
    session = CassandraSession(options)
    try:
        yield session
    finally:
        session.close()


class Program:
    """A function of `programs` in a patched process, as in a worker: the driver runs on greenlets.

    Lines that it prints are JSON: `line()` waits for the next one, `result()` for the last one and the end.
    """

    def __init__(self, name: str, options: CassandraOptions, **arguments: Any) -> None:
        values = {name: getattr(options, name) for name in CassandraOptions.__dataclass_fields__}
        request = json.dumps({"program": name, "options": values, "arguments": arguments})
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.cassandra.programs", request],
            cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._last = ""

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def line(self) -> Any:
        """The next thing that it says."""
        assert self._process.stdout is not None
        self._last = self._process.stdout.readline()
        if not self._last:
            _, errors = self._process.communicate()
            raise AssertionError(f"the program ended: {errors}")
        return json.loads(self._last)

    def say(self, text: str) -> None:
        """A line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(text + "\n")
        self._process.stdin.flush()

    def result(self, seconds: float = 120) -> Any:
        """The last thing that it says, once it has ended well."""
        output, errors = self._process.communicate(timeout=seconds)
        assert self._process.returncode == 0 and not errors, errors
        return json.loads((output.strip().splitlines() or [self._last])[-1])


def run_patched(name: str, options: CassandraOptions, **arguments: Any) -> Any:
    """What a program says at its end."""
    with Program(name, options, **arguments) as program:
        return program.result()


class Relay:
    """Passes connections on from an address of its own; `change` may rewrite what the server sends."""

    def __init__(self, address: str, port: int, change: Callable[[bytes], bytes] = bytes) -> None:
        self.address = free_addresses(1, port)
        self._target = (address, port)
        self._change = change
        self._open: list[socket.socket] = []
        self._listener = socket.create_server((self.address, port))
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "Relay":
        return self

    def __exit__(self, *_: object) -> None:
        for connection in [self._listener, *self._open]:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._open += [client, server]
                threading.Thread(target=self._pass_on, args=(client, server, bytes), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(server, client, self._change), daemon=True).start()

    @staticmethod
    def _pass_on(source: socket.socket, target: socket.socket, change: Callable[[bytes], bytes]) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(change(data))
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


def wait_until(condition: Callable[[], object], what: str, seconds: float = 60) -> float:
    """Wait until `condition()` is true; returns how long that took. Whatever it raises counts as not yet."""
    begin = time.monotonic()
    reason: object = None
    while time.monotonic() - begin < seconds:
        try:
            if condition():
                return time.monotonic() - begin
        except Exception as error:
            reason = error
        time.sleep(0.02)
    raise AssertionError(f"not {what} within {seconds:g} s: {reason}")
