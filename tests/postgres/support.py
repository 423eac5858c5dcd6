"""Stores on a real PostgreSQL server, in this process and in others, and a proxy that cuts connections on demand."""

import contextlib
import json
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

from kong_gevent.db import Store, open_store
from tests.servers.postgres import Postgres

ROOT = Path(__file__).resolve().parents[2]
_PRELUDE = """
from gevent import monkey; monkey.patch_all()
import json, os, sys, time
import gevent
from kong_gevent import errors
from tests.postgres.support import open_on
given = json.loads(sys.argv[1])
store = open_on(**given["store"])
def say(*values):
    print(json.dumps(values), flush=True)
def told():
    gevent.get_hub().threadpool.apply(sys.stdin.readline)  # in this thread it would stop all greenlets
"""


def settings_for(server: Postgres, database: str, **more: Any) -> dict[str, Any]:
    """Settings of a store on a server, by their names in lower case."""
    own = {name.removeprefix("KONG_").lower(): value for name, value in server.settings(database).items()}
    return {"prefix": "/tmp", **own, **more}


def open_on(**settings: Any) -> Store:
    """A store with the core entities; nothing is connected yet."""
    return open_store(SimpleNamespace(**settings), {})


@contextlib.contextmanager
def process(settings: dict[str, Any], code: str, **given: Any) -> Iterator["Child"]:
    """Run code in a process of its own, patched as a worker is: it has `store`, `given` and `say(...)`."""
    child = Child(settings, code, given)
    try:
        yield child
    finally:
        child.end()


class Child:
    """A process that runs some code; every `say` of it is one `hear`."""

    def __init__(self, settings: dict[str, Any], code: str, given: dict[str, Any]) -> None:
        command = [sys.executable, "-c", _PRELUDE + code, json.dumps({"store": settings, **given})]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def hear(self) -> list[Any]:
        """The next thing said."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the process ended without a word"
        heard: list[Any] = json.loads(line)
        return heard

    def tell(self) -> None:
        """Let it go on from where it waits to be `told`."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def finish(self) -> list[list[Any]]:
        """All that is said until it ends well."""
        assert self.process.stdout is not None
        said = [json.loads(line) for line in self.process.stdout]
        assert self.process.wait(60) == 0
        return said

    def end(self) -> None:
        """Kill it if it is still there."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


def eventually(check: Callable[[], Any], seconds: float = 30) -> Any:
    """The first true answer of `check`."""
    end = time.monotonic() + seconds
    while not (answer := check()):
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)
    return answer


class Cutter:
    """A proxy in front of a server that breaks a connection when it sees something.

    when    bytes from the client at which it cuts; None: never
    after   cut only once the server has answered them (its answer is swallowed); else they never reach it
    closed  from then on, refuse connections
    """

    def __init__(self, server: Postgres) -> None:
        self._target = (server.address, server.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.when: bytes | None = None
        self.after = True
        self.closed = False
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.closed:
                client.close()
                continue
            server = socket.create_connection(self._target)
            threading.Thread(target=self._pass_on, args=(client, server), daemon=True).start()

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        with client, server, selectors.DefaultSelector() as waiting:
            waiting.register(client, selectors.EVENT_READ, server)
            waiting.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in waiting.select():
                    source = key.fileobj
                    assert isinstance(source, socket.socket)
                    with contextlib.suppress(OSError):
                        data = source.recv(65536)
                        if data and not self._cut(source is client, data, server):
                            key.data.sendall(data)
                            continue
                    return

    def _cut(self, from_client: bool, data: bytes, server: socket.socket) -> bool:
        if not from_client or self.when is None or self.when not in data:
            return False
        self.when = None
        self.cuts += 1
        if self.after:
            server.sendall(data)
            assert server.recv(65536)
        self.closed = self.closed or self.closing
        return True

    closing = False
    """Whether the next cut also closes the proxy."""
