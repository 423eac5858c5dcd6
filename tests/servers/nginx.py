"""nginx with a part of a configuration that a test gives it."""

import os
import socket
from pathlib import Path

from tests.servers.process import Server, Started, find_program, ignore

PACKAGE = "nginx"
_MAIN = """
worker_processes 1;
pid nginx.pid;
error_log stderr;
{user}
events {{ worker_connections 1024; }}
http {{
    access_log off;
    {folders}
    include part.conf;
}}
"""
_FOLDERS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def binary() -> str:
    """Path of the program. Raises ServerMissing when there is none."""
    return find_program("nginx", PACKAGE)


class Nginx(Server):
    """A master with one worker; `port` has to be one on which its `http` part, `configuration`, listens."""

    name = "nginx"

    def __init__(
        self, folder: Path, configuration: str, port: int, address: str = "127.0.0.1", started: Started = ignore
    ) -> None:
        super().__init__(folder, address, port, started)
        folders = "\n    ".join(f"{name}_temp_path {name};" for name in _FOLDERS)
        user = "" if os.geteuid() else "user root;"
        (folder / "nginx.conf").write_text(_MAIN.format(folders=folders, user=user))
        (folder / "part.conf").write_text(configuration)

    def command(self) -> list[str]:
        """In the foreground."""
        return [
            binary(), "-p", str(self.folder), "-c", str(self.folder / "nginx.conf"), "-e", "stderr",
            "-g", "daemon off;",
        ]  # fmt: skip

    def ready(self) -> bool:
        """Whether it accepts connections."""
        try:
            socket.create_connection((self.address, self.port), 5).close()
        except OSError:
            return False
        return True
