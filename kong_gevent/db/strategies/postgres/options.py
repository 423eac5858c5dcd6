"""Where a PostgreSQL server is and how it may be used: one part (`pg_` or `pg_ro_`) of the settings."""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kong_gevent.errors import StoreMisconfigured

DEFAULT_POOL = 10
"""Connections of a worker when no setting says how many: one core does not keep more of them busy."""
DEFAULT_IDLE = 60.0
"""Seconds that an idle connection stays open when no setting says so."""
FOREVER = 365 * 86400.0
_AUTHORITIES = ".postgres-authorities.pem"


@dataclass(frozen=True)
class PostgresOptions:
    """Times in seconds. `part`: the prefix of the settings' names, for messages.

    `pool`: connections at most; `backlog`: calls that may wait for one of them (None: any number), each for
    `semaphore_timeout`; `idle`: how long an unused connection stays open; `trusted`: files, PEM texts or `system`.
    """

    host: str = "127.0.0.1"
    port: int = 5432
    user: str = "kong"
    password: str | None = None
    database: str = "kong"
    schema: str | None = None
    timeout: float = 5.0
    ssl: bool = False
    ssl_verify: bool = False
    trusted: tuple[str, ...] = ()
    folder: str = ""
    pool: int = DEFAULT_POOL
    backlog: int | None = None
    semaphore_timeout: float = 60.0
    idle: float = DEFAULT_IDLE
    part: str = "pg_"

    @property
    def where(self) -> str:
        """The address, for messages."""
        if self.host.startswith("/"):
            return f"{self.host}/.s.PGSQL.{self.port}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def parameters(self) -> dict[str, Any]:
        """Keyword arguments for a connection. Raises `StoreMisconfigured` when the authorities cannot be read."""
        parameters: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "dbname": self.database,
            "connect_timeout": max(2, round(self.timeout)),
            "application_name": "kong-gevent",
            "client_encoding": "UTF8",
            "gssencmode": "disable",
            # A peer that vanished is noticed by the kernel, also while nothing is sent.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
        }
        if self.password is not None:
            parameters["password"] = self.password
        if not self.ssl:
            parameters["sslmode"] = "disable"
        elif self.ssl_verify:
            parameters["sslmode"] = "verify-full"
            parameters["sslrootcert"] = self._authorities()
        else:
            parameters["sslmode"] = "require"
            # The file of that name in a home folder would turn verification on.
            parameters["sslrootcert"] = os.path.join(self.folder or "/", ".no-postgres-authorities")
        return parameters

    def _authorities(self) -> str:
        """The one file of trusted authorities that libpq takes; several entries are put together below the prefix."""
        entries = self.trusted or ("system",)
        if len(entries) == 1 and not entries[0].startswith("-----BEGIN"):
            return _system() if entries[0] == "system" else entries[0]
        texts = [entry if entry.startswith("-----BEGIN") else _text(entry) for entry in entries]
        target = os.path.join(self.folder, _AUTHORITIES)
        try:
            with tempfile.NamedTemporaryFile("w", dir=self.folder or None, delete=False) as file:
                file.write("\n".join(texts))
            os.replace(file.name, target)
        except OSError as error:
            raise StoreMisconfigured(f"cannot write {target}: {error.strerror}") from error
        return target


def options_from(settings: Any, part: str = "pg_") -> PostgresOptions:
    """The options that the settings give; what the read replica's part leaves open is as in the first part."""

    def value(name: str) -> Any:
        given = getattr(settings, f"{part}{name}", None)
        return getattr(settings, f"pg_{name}", None) if given is None else given

    defaults = PostgresOptions()
    size = int(value("pool_size") or DEFAULT_POOL)
    turns = int(value("max_concurrent_queries") or 0)
    idle = value("keepalive_timeout")
    backlog = value("backlog")
    return PostgresOptions(
        host=value("host") or defaults.host,
        port=int(value("port") or defaults.port),
        user=value("user") or defaults.user,
        password=value("password"),
        database=value("database") or defaults.database,
        schema=value("schema"),
        timeout=float(value("timeout") or 5000) / 1000,
        ssl=bool(value("ssl")),
        ssl_verify=bool(value("ssl_verify")),
        trusted=_entries(getattr(settings, "lua_ssl_trusted_certificate", None)),
        folder=getattr(settings, "prefix", "") or "",
        pool=min(size, turns) if turns else size,
        backlog=None if backlog is None else int(backlog),
        semaphore_timeout=_or(value("semaphore_timeout"), 60000) / 1000,
        idle=DEFAULT_IDLE if idle is None else (float(idle) / 1000 or FOREVER),
        part=part,
    )


def _or(value: Any, default: float) -> float:
    return default if value is None else float(value)


def _entries(value: Sequence[str] | str | None) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())


def _system() -> str:
    paths = ssl.get_default_verify_paths()
    if paths.cafile is None:
        raise StoreMisconfigured("this machine has no file of trusted authorities: set lua_ssl_trusted_certificate")
    return paths.cafile


def _text(entry: str) -> str:
    path = _system() if entry == "system" else entry
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError as error:
        raise StoreMisconfigured(f"lua_ssl_trusted_certificate: cannot read {path}: {error.strerror}") from error
