"""HAProxy with a configuration of the test's own."""

import socket
import subprocess
from pathlib import Path

from tests.servers.process import Server, Started, find_program, ignore

PACKAGE = "haproxy"


def binary() -> str:
    """Path of the program. Raises ServerMissing when there is none."""
    return find_program("haproxy", PACKAGE)


class HAProxy(Server):
    """One process; `port` has to be one that its configuration binds (it tells that HAProxy serves)."""

    name = "HAProxy"

    def __init__(
        self, folder: Path, configuration: str, port: int, address: str = "127.0.0.1", started: Started = ignore
    ) -> None:
        super().__init__(folder, address, port, started)
        self.configure(configuration)

    @property
    def file(self) -> Path:
        """Its configuration."""
        return self.folder / "haproxy.cfg"

    def configure(self, configuration: str) -> None:
        """Write another configuration; `restart` or `reload` make it count."""
        self.file.write_text(configuration)

    def command(self) -> list[str]:
        """A master with one worker, in the foreground."""
        return [binary(), "-W", "-db", "-f", str(self.file)]

    def check(self) -> str:
        """What HAProxy says about its configuration; empty when it is content."""
        done = subprocess.run([binary(), "-c", "-f", str(self.file)], capture_output=True, text=True)
        return "" if done.returncode == 0 and not done.stderr.strip() else done.stderr + done.stdout

    def ready(self) -> bool:
        """Whether it accepts connections."""
        try:
            socket.create_connection((self.address, self.port), 5).close()
        except OSError:
            return False
        return True
