"""The settings of one gateway: parsed values by Kong's names, and what the rest of the code derives from them."""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kong_gevent.conf import certificates
from kong_gevent.conf.defaults import ALIASES, SHOWN_ALIASES, TABLE
from kong_gevent.conf.listeners import Listener
from kong_gevent.conf.source import RUNNING_FILE

MASK = "******"
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_HEADER_TOKENS = {
    "server_tokens": ("server", "via"),
    "latency_tokens": (
        "x-kong-proxy-latency",
        "x-kong-response-latency",
        "x-kong-admin-latency",
        "x-kong-upstream-latency",
    ),
}
HEADER_NAMES = frozenset(
    (*_HEADER_TOKENS["server_tokens"], *_HEADER_TOKENS["latency_tokens"], "x-kong-upstream-status", "x-kong-request-id")
)
"""Header fields that `headers` may name, in lower case."""
HEADER_ENTRIES = HEADER_NAMES | _HEADER_TOKENS.keys() | {"off"}
LISTEN_KEYS = ("proxy_listen", "admin_listen", "status_listen", "admin_gui_listen", "classic_admin_listen")


@dataclass(frozen=True, slots=True)
class AccessLog:
    """Where one access log goes. `path` is absolute (None: off); `format` is `combined` or `json`."""

    path: str | None
    format: str


class Settings:
    """Settings as attributes by Kong's names (`settings.log_level`), never changed after loading.

    Unset ones are None. Lists are `list[str]`, sizes are bytes, times are seconds, booleans are bool.
    `warnings` holds one line for each thing that the operator should know.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        listeners: Mapping[str, list[Listener]],
        raw: Mapping[str, str],
        warnings: list[str],
        references: frozenset[str] = frozenset(),
    ) -> None:
        """`raw` is the text of each value as it goes to the prefix; `references` names those that came from a vault."""
        self.__dict__.update(
            _values=dict(values),
            _raw=dict(raw),
            _listeners=dict(listeners),
            _references=references,
            _read={},
            warnings=warnings,
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self._values[ALIASES.get(name, name)]
        except KeyError:
            raise AttributeError(f"there is no setting '{name}'") from None

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("settings do not change after loading")

    def __repr__(self) -> str:
        return f"<Settings prefix={self.prefix!r} database={self.database!r}>"

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a setting by name, `default` when there is no such setting or it is unset."""
        value = self._values.get(ALIASES.get(name, name))
        return default if value is None else value

    def as_dict(self, mask: bool = True) -> dict[str, Any]:
        """All that is set, as Kong's `GET /` shows it; secrets and resolved references become `******`."""
        shown = {name: self._shown(name, mask) for name, value in self._values.items() if value is not None}
        shown.update({alias: shown[ALIASES[alias]] for alias in SHOWN_ALIASES if ALIASES[alias] in shown})
        for name, listeners in self._listeners.items():
            shown[f"{name}ers"] = [listener.as_dict() for listener in listeners]
        return shown

    def _shown(self, name: str, mask: bool) -> Any:
        value, setting = self._values[name], TABLE.get(name)
        if mask and (name in self._references or (setting and setting.secret)):
            return [MASK] * len(value) if isinstance(value, list) else MASK
        if setting and setting.type == "ngx_boolean":
            return "on" if value else "off"
        if setting and setting.type == "size":
            return self._raw.get(name, str(value))
        return list(value) if isinstance(value, list) else value

    @property
    def raw(self) -> dict[str, str]:
        """The text of every value that is set, fit for `source.write_running`; vault references unresolved."""
        return dict(self._raw)

    # -- TLS

    def pem(self, value: str) -> bytes:
        """See `certificates.pem_of`. Files are read once: what becomes of them later counts from the next reload on."""
        read: dict[str, bytes] = self._read
        if value not in read:
            read[value] = certificates.pem_of(value)
        return read[value]

    def certificate_pairs(self, role: str) -> list[tuple[bytes, bytes]]:
        """See `certificates.pairs`; PEM. Raises `OSError`, `ValueError`."""
        return [(self.pem(shown), self.pem(key)) for shown, key in certificates.pairs(self, role)]

    def server_context(self) -> ssl.SSLContext:
        """See `certificates.server_context`."""
        return certificates.server_context(self, self.pem)

    # -- listeners

    @property
    def proxy_listeners(self) -> list[Listener]:
        """Addresses of the proxy; empty when off."""
        return list(self._listeners["proxy_listen"])

    @property
    def admin_listeners(self) -> list[Listener]:
        """Addresses of the Admin API; empty when off."""
        return list(self._listeners["admin_listen"])

    @property
    def classic_admin_listeners(self) -> list[Listener]:
        """Addresses of the classic Admin API; empty when off."""
        return list(self._listeners["classic_admin_listen"])

    @property
    def status_listeners(self) -> list[Listener]:
        """Addresses of the status listener; empty when off."""
        return list(self._listeners["status_listen"])

    @property
    def admin_gui_listeners(self) -> list[Listener]:
        """Addresses of the web manager; empty when off."""
        return list(self._listeners["admin_gui_listen"])

    # -- paths

    def path(self, value: str) -> str:
        """A path as settings write it, relative ones below the prefix."""
        return os.path.normpath(os.path.join(self.prefix, value))

    @property
    def pid_file(self) -> Path:
        """File with the process id of the master."""
        return Path(self.prefix, "pids", "kong.pid")

    @property
    def running_file(self) -> Path:
        """File with the final settings of the gateway started in this prefix."""
        return Path(self.prefix, RUNNING_FILE)

    def access_log(self, part: str) -> AccessLog:
        """Destination of an access log; `part` is `proxy`, `admin` or `status`."""
        words = (self._values[f"{part}_access_log"] or "off").split()
        path = None if words[0] == "off" else self.path(words[0])
        chosen = words[1] if len(words) > 1 else self.access_log_format
        return AccessLog(path, "json" if chosen == "json" else "combined")

    def error_log(self, part: str) -> str:
        """Absolute path of an error log; `part` is `proxy`, `admin` or `status`."""
        words = (self._values[f"{part}_error_log"] or "logs/error.log").split()
        return self.path(words[0])

    # -- derived values

    @property
    def workers(self) -> int:
        """How many worker processes to run."""
        if self.nginx_worker_processes == "auto":
            return available_cpus()
        return int(self.nginx_worker_processes)

    @property
    def client_max_body_size(self) -> int:
        """Largest proxied request body in bytes, 0 for no limit."""
        return int(self.nginx_http_client_max_body_size)

    @property
    def admin_client_max_body_size(self) -> int:
        """Largest request body of the Admin API in bytes, 0 for no limit."""
        return int(self.nginx_admin_client_max_body_size)

    @property
    def enabled_headers(self) -> frozenset[str]:
        """Header fields (lower case) that answers get, groups such as `server_tokens` resolved."""
        return _enabled(self.headers)

    @property
    def enabled_headers_upstream(self) -> frozenset[str]:
        """Header fields (lower case) that upstream requests get."""
        return _enabled(self.headers_upstream)

    @property
    def trusted_networks(self) -> list[Network]:
        """`trusted_ips` as networks, without `unix:`."""
        return [ipaddress.ip_network(entry, strict=False) for entry in self.trusted_ips or () if entry != "unix:"]

    @property
    def trusts_unix(self) -> bool:
        """Whether peers on UNIX sockets are trusted."""
        return "unix:" in (self.trusted_ips or ())

    @property
    def port_map(self) -> dict[int, int]:
        """Published port by listening port."""
        pairs = (entry.split(":") for entry in self.port_maps or ())
        return {int(listening): int(published) for published, listening in pairs}


def _enabled(entries: list[str] | None) -> frozenset[str]:
    if not entries or entries[0].lower() == "off":
        return frozenset()
    names: set[str] = set()
    for entry in entries:
        names.update(_HEADER_TOKENS.get(entry.lower(), (entry.lower(),)))
    return frozenset(names - {"off"})


def available_cpus() -> int:
    """CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1
