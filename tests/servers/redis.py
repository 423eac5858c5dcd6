"""A Redis server of the tests' own: passwords, ACL users and TLS as a test wants them."""

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from kong_gevent.devtools import certificates
from kong_gevent.devtools.certificates import Certificates
from tests.servers.process import Server, Started, find_program, ignore

PACKAGE = "redis-server"


class Redis(Server):
    """One server without persistence.

    password  of the default user
    users     ACL rules, for instance ``["limits on >secret ~* +@all"]``
    tls       serve TLS, and only TLS, with certificates of its own
    options   further settings (``{"maxmemory": "1mb"}``)
    """

    name = "Redis"

    def __init__(
        self,
        folder: Path,
        address: str = "127.0.0.1",
        port: int = 0,
        started: Started = ignore,
        *,
        password: str = "",
        users: Sequence[str] = (),
        tls: bool = False,
        options: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(folder, address, port, started)
        self.password, self.users, self.tls = password, users, tls
        self.options = options or {}

    @property
    def certificates(self) -> Certificates:
        """Of a server with TLS."""
        return Certificates(self.folder / "tls")

    @property
    def url(self) -> str:
        """For redis-py (the default user, without TLS verification settings)."""
        secret = f":{self.password}@" if self.password else ""
        return f"{'rediss' if self.tls else 'redis'}://{secret}{self.address}:{self.port}/0"

    def command(self) -> list[str]:
        """The server in the foreground, its settings in a file."""
        lines = {
            "bind": self.address,
            "port": "0" if self.tls else str(self.port),
            "dir": str(self.folder),
            "save": '""',
            "appendonly": "no",
            "daemonize": "no",
            "protected-mode": "no",
            **({"requirepass": self.password} if self.password else {}),
            **self._tls(),
            **self.options,
        }
        users = [f"user {rule}" for rule in self.users]
        file = self.folder / "redis.conf"
        file.write_text("\n".join([*(f"{name} {value}" for name, value in lines.items()), *users, ""]))
        return [find_program("redis-server", PACKAGE), str(file)]

    def ready(self) -> bool:
        """Whether it answers (with TLS: whether it accepts)."""
        try:
            with socket.create_connection((self.address, self.port), 5) as connection:
                if self.tls:
                    return True
                connection.sendall(b"PING\r\n")
                return connection.recv(100).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def _tls(self) -> dict[str, str]:
        if not self.tls:
            return {}
        made = certificates.make(self.certificates.folder, [self.address])
        return {
            "tls-port": str(self.port),
            "tls-cert-file": str(made.server),
            "tls-key-file": str(made.server_key),
            "tls-ca-cert-file": str(made.ca),
            "tls-auth-clients": "no",
        }
