"""What the integration tests share: raw requests, which worker serves a connection, memory, load that keeps count."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Self

from tests.gateway import ROOT, Gateway
from tests.wire import Answer, Client, Ended, wait_until

PAGE = os.sysconf("SC_PAGE_SIZE")
MIB = 1 << 20


def head(method: str, target: str, *lines: str, host: str | None = "gateway.test", version: str = "1.1") -> bytes:
    """A request head; ``lines`` are further header lines."""
    fields = [f"Host: {host}"] if host is not None else []
    return "\r\n".join([f"{method} {target} HTTP/{version}", *fields, *lines, "", ""]).encode("latin-1")


def ask(client: Client, method: str, target: str, *lines: str, body: bytes = b"", **options: Any) -> Answer:
    """One request on a connection that is open already, and its answer."""
    framing = [f"Content-Length: {len(body)}"] if body else []
    client.send(head(method, target, *framing, *lines, **options) + body)
    return client.answer(method)


def ask_once(gateway: Gateway, method: str, target: str, *lines: str, **options: Any) -> Answer:
    """One request on a connection of its own, read as strictly as raw ones are."""
    with gateway.client() as client:
        return ask(client, method, target, "Connection: close", *lines, **options)


def ask_everybody(gateway: Gateway, authority: str) -> None:
    """Have all clients asked for a certificate in their handshake, by a route that nobody calls."""
    route = gateway.route("http://nowhere.test", paths=["/nobody-calls-this"])
    config = {"ca_certificates": [authority]}
    gateway.create(f"/routes/{route['id']}/plugins", name="mtls-auth", config=config)


def chunks(*parts: bytes) -> bytes:
    """A chunked body without trailers."""
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


# processes


def resident(pid: int) -> int:
    """Resident memory of a process, in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _sockets(pid: int) -> set[str]:
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            found.add(os.readlink(link))
    return found


def serving_pid(gateway: Gateway, client: Client) -> int | None:
    """The worker that has this client's connection, None while it waits to be accepted."""
    wanted = f":{gateway.proxy_port:04X}", f":{client.sock.getsockname()[1]:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[1].endswith(wanted[0]) and words[2].endswith(wanted[1]):
            name = f"socket:[{words[9]}]"
            return next((pid for pid in gateway.worker_pids() if name in _sockets(pid)), None)
    return None


def client_of(gateway: Gateway, pid: int) -> Client:
    """A connection that the worker ``pid`` serves: the others are held while it is made."""
    others = [worker for worker in gateway.worker_pids() if worker != pid]
    try:
        for worker in others:
            os.kill(worker, signal.SIGSTOP)
        client = gateway.client(timeout=30)
        wait_until(lambda: serving_pid(gateway, client) == pid)
        return client
    finally:
        for worker in others:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGCONT)


def cli(gateway: Gateway, *words: str, timeout: float = 90) -> subprocess.CompletedProcess[str]:
    """Run the command line against a gateway's prefix, in its environment."""
    return subprocess.run(
        [sys.executable, "-m", "kong_gevent", *words, "-p", str(gateway.prefix)],
        env=gateway.environment(),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


# load


class Load:
    """Clients that ask again and again in threads of their own; every answer and every failure is counted.

    answers   number of good answers
    failures  what went wrong, as text; a kept connection that the gateway closed *between* two answers, without a byte
              of the next one, counts as ``retried``: a client may ask again then (RFC 9112, section 9.3.1)
    """

    def __init__(
        self, gateway: Gateway, path: str = "/", kept: int = 2, fresh: int = 2, lines: tuple[str, ...] = ()
    ) -> None:
        self.gateway, self.path, self.lines = gateway, path, lines
        self.answers = self.retried = self.closed_politely = 0
        self.failures: list[str] = []
        self._end = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._keep, daemon=True) for _ in range(kept)]
        self._threads += [threading.Thread(target=self._renew, daemon=True) for _ in range(fresh)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.more(1)
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(60)

    def more(self, count: int, timeout: float = 60) -> None:
        """Wait until ``count`` further requests have been answered."""
        wanted = self.answers + count
        wait_until(lambda: self.answers >= wanted or self.failures, timeout)

    def _count(self, answer: Answer) -> None:
        with self._lock:
            if answer.status == 200 and answer.complete:
                self.answers += 1
            else:
                self.failures.append(f"{answer.status} complete={answer.complete} {answer.body[:100]!r}")

    def _fail(self, error: Exception) -> None:
        with self._lock:
            self.failures.append(f"{type(error).__name__}: {error}")

    def _renew(self) -> None:
        while not self._end.is_set():
            try:
                with self.gateway.client(timeout=60) as client:
                    client.send(head("GET", self.path, "Connection: close", *self.lines))
                    self._count(client.answer())
            except Exception as error:  # every kind of failure is what the tests look for
                self._fail(error)
            sleep(0.002)

    def _keep(self) -> None:
        while not self._end.is_set():
            try:
                with self.gateway.client(timeout=60) as client:
                    self._use(client)
            except Exception as error:  # every kind of failure is what the tests look for
                self._fail(error)

    def _use(self, client: Client) -> None:
        served = 0
        while not self._end.is_set():
            client.send(head("GET", self.path, *self.lines))
            try:
                answer = client.answer()
            except Ended:
                if served and not client.stream.buffer:
                    self.retried += 1
                    return
                raise
            self._count(answer)
            served += 1
            if "close" in (answer.get("connection") or "").lower():
                self.closed_politely += 1
                return
            sleep(0.002)


@contextmanager
def in_thread(work: Callable[[], Any]) -> Iterator[list[Any]]:
    """Run ``work`` beside the block; at its end the list holds the result. What ``work`` raises is raised here."""
    result: list[Any] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            result.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield result
    thread.join(120)
    if failed:
        raise failed[0]
    assert not thread.is_alive(), "the work beside did not end"


def blocks(size: int, total: int) -> Iterable[bytes]:
    """``total`` bytes in blocks of ``size``, without holding more than one."""
    block = bytes(range(256)) * (size // 256)
    for _ in range(total // size):
        yield block


def until_true(condition: Callable[[], bool], timeout: float) -> bool:
    """Poll; whether the condition became true in time."""
    end = monotonic() + timeout
    while not condition():
        if monotonic() > end:
            return False
        sleep(0.02)
    return True
