"""A PostgreSQL server of the tests' own, from Debian's programs, as an ordinary user, with passwords checked."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from kong_gevent.devtools import certificates
from kong_gevent.devtools.certificates import Certificates
from tests.servers.process import Server, ServerMissing, Started, ignore, ordinary_user, unprivileged

USER = "kong"
PASSWORD = "kong-password"
PACKAGE = "postgresql"
_NUMBERS = count(1)
_OPTIONS = {
    # A process that is killed loses nothing by this; only a machine would.
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "max_connections": "200",
    "autovacuum_naptime": "60",
    "log_min_messages": "warning",
    "password_encryption": "scram-sha-256",
}


def programs() -> Path:
    """The folder of the newest server's programs."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if not found:
        initdb = shutil.which("initdb")
        if initdb is None:
            raise ServerMissing(f"there is no PostgreSQL server here; on Debian: apt-get install {PACKAGE}")
        return Path(initdb).parent
    return max(found, key=lambda path: [int(part) for part in re.findall(r"\d+", path.parent.name)] or [0])


class Postgres(Server):
    """One server; the superuser is `kong`, its password is checked on every TCP connection.

    tls      also serve TLS (and only TLS to TCP clients when it is ``"only"``), with certificates of its own
    primary  be a read-only replica of this server
    options  further lines of postgresql.conf
    """

    name = "PostgreSQL"

    def __init__(
        self,
        folder: Path,
        address: str = "127.0.0.1",
        port: int = 0,
        started: Started = ignore,
        *,
        tls: bool | str = False,
        primary: "Postgres | None" = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(folder, address, port, started)
        self.tls = tls
        self.primary = primary
        self.options = {**_OPTIONS, **(options or {})}
        self.data = folder / "data"

    @property
    def certificates(self) -> Certificates:
        """Of a server with TLS."""
        return Certificates(self.folder / "tls")

    def command(self) -> list[str]:
        """The server in the foreground, listening on one address and on a socket in its folder."""
        self._initialise()
        return [
            *unprivileged(), str(programs() / "postgres"), "-D", str(self.data), "-p", str(self.port),
            "-c", f"listen_addresses={self.address}", "-k", str(self.folder),
            *(word for name, value in self._all_options().items() for word in ("-c", f"{name}={value}")),
        ]  # fmt: skip

    def ready(self) -> bool:
        """Whether a statement can be run."""
        try:
            with self.connect(connect_timeout=5) as connection:
                return connection.execute("SELECT 1").fetchone() == (1,)
        except psycopg.OperationalError:
            return False

    def connect(self, database: str = "postgres", **options: Any) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection as superuser (a context manager), every statement committed at once."""
        tls = {"sslmode": "require"} if self.tls == "only" else {}
        own = {"host": self.address, "port": self.port, "user": USER, "password": PASSWORD, "dbname": database}
        return psycopg.connect(autocommit=True, **{**own, **tls, **options})

    def fresh_name(self) -> str:
        """A name that no database of this session has."""
        return f"kong_{os.getpid()}_{next(_NUMBERS)}"

    def create_database(self, name: str) -> None:
        """Make an empty database."""
        with self.connect() as connection:
            connection.execute(f'CREATE DATABASE "{name}"')  # type: ignore[arg-type]

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever uses it."""
        with self.connect() as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')  # type: ignore[arg-type]

    def settings(self, database: str, prefix: str = "KONG_PG") -> dict[str, str]:
        """The gateway's settings that lead to a database; `prefix` KONG_PG_RO for the read-only ones."""
        own = {
            f"{prefix}_HOST": self.address,
            f"{prefix}_PORT": str(self.port),
            f"{prefix}_USER": USER,
            f"{prefix}_PASSWORD": PASSWORD,
            f"{prefix}_DATABASE": database,
        }
        return {"KONG_DATABASE": "postgres", **own} if prefix == "KONG_PG" else own

    def stop(self, number: int = signal.SIGINT, seconds: float = 60) -> None:
        """Stop as administrators do: sessions are ended, nothing has to be recovered (SIGINT, 'fast')."""
        super().stop(number, seconds)

    def close(self) -> None:
        """End it at once and delete its folder; killed, it would leave shared memory behind."""
        if self.running:
            self.resume()
            self.stop(signal.SIGQUIT, 10)
        super().close()

    def _all_options(self) -> dict[str, str]:
        if not self.tls:
            return self.options
        own = self.certificates
        files = {"ssl_cert_file": own.server, "ssl_key_file": own.server_key, "ssl_ca_file": own.ca}
        return {"ssl": "on", **{name: str(path) for name, path in files.items()}, **self.options}

    def _initialise(self) -> None:
        if (self.data / "PG_VERSION").exists():
            return
        if self.tls:
            certificates.make(self.certificates.folder, [self.address])
        password = self.folder / "password"
        password.touch(mode=0o600)
        password.write_text(PASSWORD)
        self._own()
        if self.primary is not None:
            self._run(
                "pg_basebackup", "-D", str(self.data), "-R", "-X", "stream", "-c", "fast", "-d",
                f"host={self.primary.address} port={self.primary.port} user={USER} password={PASSWORD}",
            )  # fmt: skip
            return
        self._run(
            "initdb", "-D", str(self.data), "-U", USER, "--pwfile", str(password), "--auth-host=scram-sha-256",
            "--auth-local=scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync",
        )  # fmt: skip
        self._allow()

    def _allow(self) -> None:
        kind = "hostssl" if self.tls == "only" else "host"
        rules = ["local all all scram-sha-256"]
        rules += [f"{kind} {what} all 127.0.0.0/8 scram-sha-256" for what in ("all", "replication")]
        (self.data / "pg_hba.conf").write_text("\n".join(rules) + "\n")
        self._own()

    def _own(self) -> None:
        """Give everything to the user who runs the server."""
        if os.geteuid():
            return
        user = ordinary_user()
        for path in (self.folder, *self.folder.rglob("*")):
            os.chown(path, user.pw_uid, user.pw_gid)

    def _run(self, program: str, *words: str) -> None:
        done = subprocess.run(
            [*unprivileged(), str(programs() / program), *words], cwd=self.folder, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        if done.returncode:
            raise ServerMissing(f"{program} failed with code {done.returncode}:\n{done.stdout}")
