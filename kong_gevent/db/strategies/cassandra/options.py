"""What a session needs to know about its cluster, taken from the settings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

SYSTEM = "system"
"""Stands for the machine's own certificate authorities in a list of files."""


@dataclass(frozen=True, kw_only=True)
class CassandraOptions:
    """How to reach and use one cluster. Times are seconds, files are absolute paths.

    `data_centers` are (name, copies) pairs for a keyspace that is created here; empty: `repl_factor` copies in the
    local data centre. `ssl_ca` lists files with certificate authorities, or `SYSTEM`.
    """

    contact_points: tuple[str, ...] = ("127.0.0.1",)
    port: int = 9042
    keyspace: str = "kong"
    username: str | None = None
    password: str | None = None
    ssl: bool = False
    ssl_verify: bool = False
    ssl_verify_host: bool = True
    ssl_ca: tuple[str, ...] = ()
    ssl_cert: str | None = None
    ssl_cert_key: str | None = None
    local_datacenter: str | None = None
    read_consistency: str = "LOCAL_QUORUM"
    write_consistency: str = "LOCAL_QUORUM"
    serial_consistency: str = "LOCAL_SERIAL"
    repl_strategy: str = "NetworkTopologyStrategy"
    repl_factor: int = 1
    data_centers: tuple[tuple[str, int], ...] = ()
    timeout: float = 5.0
    schema_timeout: float = 10.0

    @classmethod
    def from_settings(cls, settings: Any) -> CassandraOptions:
        """From the settings `cassandra_*`; those that are unset, or unknown to `settings`, keep the defaults."""

        def get(name: str, default: Any) -> Any:
            value = getattr(settings, f"cassandra_{name}", None)
            return default if value is None else value

        consistency = get("consistency", cls.read_consistency)
        path = getattr(settings, "path", str)
        files = get("ssl_ca", None) or getattr(settings, "lua_ssl_trusted_certificate", None)
        certificate, key = get("ssl_cert", None), get("ssl_cert_key", None)
        return cls(
            contact_points=_words(get("contact_points", "127.0.0.1")),
            port=int(get("port", cls.port)),
            keyspace=get("keyspace", cls.keyspace),
            username=get("username", None),
            password=get("password", None),
            ssl=bool(get("ssl", cls.ssl)),
            ssl_verify=bool(get("ssl_verify", cls.ssl_verify)),
            ssl_verify_host=bool(get("ssl_verify_host", cls.ssl_verify_host)),
            ssl_ca=tuple(name if name == SYSTEM else path(name) for name in _words(files or ())),
            ssl_cert=certificate and path(certificate),
            ssl_cert_key=key and path(key),
            local_datacenter=get("local_datacenter", None),
            read_consistency=get("read_consistency", consistency).upper(),
            write_consistency=get("write_consistency", consistency).upper(),
            serial_consistency=get("serial_consistency", cls.serial_consistency).upper(),
            repl_strategy=get("repl_strategy", cls.repl_strategy),
            repl_factor=int(get("repl_factor", cls.repl_factor)),
            data_centers=tuple(_copies(entry) for entry in _words(get("data_centers", ()))),
            timeout=float(get("timeout", 1000 * cls.timeout)) / 1000,
            schema_timeout=float(get("schema_consensus_timeout", 1000 * cls.schema_timeout)) / 1000,
        )

    @property
    def where(self) -> str:
        """The contact points as messages name them."""
        return ", ".join(f"{point}:{self.port}" for point in self.contact_points)


def _words(value: str | Iterable[str]) -> tuple[str, ...]:
    entries = value.split(",") if isinstance(value, str) else value
    return tuple(entry.strip() for entry in entries if entry.strip())


def _copies(entry: str) -> tuple[str, int]:
    name, _, copies = entry.rpartition(":")
    return name, int(copies)
