"""A server in a process of its own that a test may stop, kill, pause and start again: what all of them share."""

import contextlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Self

READY_SECONDS = 60.0
Started = Callable[[int], None]


class ServerMissing(AssertionError):
    """A server cannot be had on this machine, or it did not start; the message says why and what to do."""


def ignore(pid: int) -> None:
    """What is done with the process id of a server that nobody has to keep."""


def find_program(name: str, package: str, *folders: str) -> str:
    """Path of a program, also where ordinary users' PATH does not lead."""
    path = shutil.which(name) or shutil.which(name, path=":".join([*folders, "/usr/sbin", "/usr/local/sbin"]))
    if path is None:
        raise ServerMissing(f"there is no {name} here; on Debian: apt-get install {package}")
    return path


def free_port(address: str = "127.0.0.1") -> int:
    """A port nobody listens on, below the range from which the kernel serves outgoing connections."""
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(10_000, max(low, 20_000))
        if is_free(address, port):
            return port


def is_free(address: str, port: int) -> bool:
    """Whether a server could listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def free_addresses(count: int, *ports: int) -> str:
    """The first of `count` neighbouring loopback addresses on which these ports are free."""
    for _ in range(1000):
        net, start = random.randrange(64, 250), random.randrange(1, 250 - count)
        prefix = f"127.{net}.{random.randrange(256)}."
        if all(is_free(f"{prefix}{start + number}", port) for number in range(count) for port in ports):
            return f"{prefix}{start}"
    raise ServerMissing(f"no {count} loopback addresses with the ports {ports} free")


def unprivileged() -> list[str]:
    """Words in front of a command that has to run as an ordinary user: none unless we are root."""
    if os.geteuid():
        return []
    user = ordinary_user()
    setpriv = find_program("setpriv", "util-linux")
    return [setpriv, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


def ordinary_user() -> pwd.struct_passwd:
    """Whom root becomes for servers that refuse to run as root."""
    return pwd.getpwnam("nobody")


class Server(ABC):
    """One server process and its folder.

    with Redis(folder) as server:        # started and ready; ended at the end
        server.kill(); server.start()    # the same address, the same data
    """

    name = "server"

    def __init__(self, folder: Path, address: str = "127.0.0.1", port: int = 0, started: Started = ignore) -> None:
        """Describe a server; nothing is started. Without a port, a free one is taken and kept.

        ``started`` is told the process id whenever the server is started.
        """
        self.folder = folder
        self.address = address
        self.port = port or free_port(address)
        self.started = started
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def command(self) -> list[str]:
        """The command line that runs it in the foreground."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether it serves."""

    @property
    def output(self) -> Path:
        """What it printed."""
        return self.folder / "output.log"

    @property
    def pid(self) -> int:
        """Its process id."""
        if self.process is None:
            raise ServerMissing(f"{self.name} is not running")
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether its process exists."""
        return self.process is not None and self.process.poll() is None

    def start(self, wait: bool = True) -> None:
        """Start and wait until it serves."""
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started(self.process.pid)
        if wait:
            self.wait_ready()

    def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        """Wait until it serves."""
        end = monotonic() + seconds
        while not self.ready():
            if not self.running:
                raise ServerMissing(f"{self.name} ended before it was ready:\n{self.tail()}")
            if monotonic() > end:
                raise ServerMissing(f"{self.name} was not ready after {seconds} s:\n{self.tail()}")
            sleep(0.02)

    def stop(self, number: int = signal.SIGTERM, seconds: float = 60) -> None:
        """Let it end, and wait for that; it is killed when it takes too long."""
        if self.process is None:
            return
        self.process.send_signal(number)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
        self.process = None

    def kill(self) -> None:
        """End it and its children at once, as a machine that fails would."""
        if self.process is None:
            return
        children = self._children()
        self.send(signal.SIGKILL)
        self.process.wait()
        self.process = None
        end = monotonic() + 10
        while any(Path(f"/proc/{pid}").exists() for pid in children) and monotonic() < end:
            sleep(0.01)

    def send(self, number: int) -> None:
        """Send a signal to it and then to its children (which may lead groups of their own)."""
        for pid in (self.pid, *self._children()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def restart(self) -> None:
        """Stop and start again."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Keep its connections but answer nothing (SIGSTOP for it and its children)."""
        self.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue after `pause`."""
        self.send(signal.SIGCONT)

    def close(self) -> None:
        """End it and delete its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def tail(self, lines: int = 30) -> str:
        """The end of what it printed."""
        text = self.output.read_text(errors="replace") if self.output.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def _children(self) -> list[int]:
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError, IndexError, ValueError):
                if int(stat.read_text().rpartition(")")[2].split()[1]) == self.pid:
                    found.append(int(stat.parent.name))
        return found


class ConfiguredServer(Server):
    """A server whose whole behaviour is in a configuration file that the test writes.

    `port` has to be one that the configuration makes it listen on: it serves when it accepts there.
    """

    file_name = "server.conf"

    def __init__(
        self, folder: Path, configuration: str, port: int, address: str = "127.0.0.1", started: Started = ignore
    ) -> None:
        super().__init__(folder, address, port, started)
        self.configure(configuration)

    @property
    def file(self) -> Path:
        """Its configuration."""
        return self.folder / self.file_name

    def configure(self, configuration: str) -> None:
        """Write another configuration; `restart` makes it count."""
        self.file.write_text(configuration)

    def ready(self) -> bool:
        """Whether it accepts connections."""
        try:
            socket.create_connection((self.address, self.port), 5).close()
        except OSError:
            return False
        return True
