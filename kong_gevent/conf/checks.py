"""Rules over parsed settings that no type expresses; each returns the messages of Kong for what it finds."""

from __future__ import annotations

import ipaddress
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from kong_gevent.conf import storage_checks
from kong_gevent.conf.listeners import HTTP_FLAGS, STREAM_FLAGS, Listener
from kong_gevent.conf.listeners import parse as parse_listeners
from kong_gevent.conf.settings import HEADER_ENTRIES, LISTEN_KEYS

Values = Mapping[str, Any]
LOG_FORMATS = ("combined", "json", "kong_log_format", "basic")
_TRACING = ("off", "request", "db_query", "router", "http_client", "dns_query", "balancer")
_TRACING_ALL = (*_TRACING, "plugin_rewrite", "plugin_access", "plugin_header_filter", "all")
_LABEL = re.compile(r"[A-Za-z0-9](?:[\w.:-]{0,61}[A-Za-z0-9])?\Z", re.ASCII)
_RESERVED_LABELS = ("kong", "konnect", "insomnia", "mesh", "kic")
_LATER = "is not available in this version yet"


def check(values: Values) -> list[str]:
    """Every message about `values`, in a fixed order; empty when all is well."""
    return [message for rule in _RULES for message in rule(values)]


def listeners(values: Values) -> tuple[dict[str, list[Listener]], list[str]]:
    """The parsed listeners by setting, and messages about those that are malformed or cannot be served."""
    parsed: dict[str, list[Listener]] = {key: [] for key in LISTEN_KEYS}
    messages = []
    for key in (*LISTEN_KEYS, "stream_listen"):
        try:
            entries = parse_listeners(values[key] or [], STREAM_FLAGS if key == "stream_listen" else HTTP_FLAGS)
        except ValueError as error:
            messages.append(f"{key} {error}, got '{', '.join(values[key] or [])}'")
            continue
        if key in ("stream_listen", "admin_gui_listen"):
            if entries:
                messages.append(f"{key} = '{', '.join(values[key])}' {_LATER}; set it to off")
            continue
        parsed[key] = entries
        messages += [message for entry in entries for message in _unserved(key, entry)]
    messages += _twice(parsed)
    return parsed, messages


def _unserved(key: str, entry: Listener) -> Iterator[str]:
    """What a listener asks for and would not get: refused, since another protocol is worse than no start."""
    if entry.http2:
        asked = f"{key}: '{entry.listener} http2' asks for HTTP/2 ('http2')"
        yield f"{asked}, which {_LATER}; remove the flag or this address"


def _twice(parsed: Mapping[str, list[Listener]]) -> Iterator[str]:
    seen: dict[str, str] = {}
    for key, entries in parsed.items():
        for entry in entries:
            if entry.address in seen:
                both = key if seen[entry.address] == key else f"{seen[entry.address]} and {key}"
                yield f"{both}: the address {entry.address} is given twice; choose another port for one"
            seen.setdefault(entry.address, key)


def advice(values: Values, parsed: Mapping[str, list[Listener]]) -> Iterator[str]:
    """Warnings about a client's address that is to come from the PROXY protocol, and from where it cannot come."""
    if values["real_ip_header"].lower() != "proxy_protocol":
        return
    if not any(entry.proxy_protocol for entry in parsed["proxy_listen"]):
        yield "real_ip_header = proxy_protocol, but no address of proxy_listen has the flag 'proxy_protocol'"
    if not values["trusted_ips"]:
        yield "real_ip_header = proxy_protocol, but trusted_ips is empty: nobody is believed"


def _not_yet(values: Values) -> Iterator[str]:
    if values["role"] != "traditional":
        yield f"role = '{values['role']}' {_LATER} (available: traditional)"
    if values["router_flavor"] != "traditional_compatible":
        yield f"router_flavor = '{values['router_flavor']}' {_LATER} (available: traditional_compatible)"
    if values["wasm"]:
        yield f"wasm = 'on' {_LATER} (available: off)"


def _headers(values: Values) -> Iterator[str]:
    for key in ("headers", "headers_upstream"):
        allowed = HEADER_ENTRIES if key == "headers" else {"x-kong-request-id", "off"}
        for entry in values[key] or ():
            if entry.lower() not in allowed:
                yield f"{key}: invalid entry '{entry}' ({', '.join(sorted(allowed))})"


def _trusted_ips(values: Values) -> Iterator[str]:
    for entry in values["trusted_ips"] or ():
        if entry != "unix:" and not _is_network(entry):
            yield (
                "trusted_ips must be a comma separated list in the form of IPv4 or IPv6 address or CIDR block "
                f"or 'unix:', got '{entry}'"
            )


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _port_maps(values: Values) -> Iterator[str]:
    for entry in values["port_maps"] or ():
        ports = entry.split(":")
        if len(ports) != 2 or not all(_is_port(port) for port in ports):
            yield f"invalid port mapping (`port_maps`): {entry}"


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 1 <= int(text) <= 65535


def _processes(values: Values) -> Iterator[str]:
    for key in ("nginx_worker_processes", "nginx_main_worker_rlimit_nofile", "nginx_events_worker_connections"):
        text = values[key]
        if text != "auto" and not (text.isascii() and text.isdigit() and int(text) >= 1):
            yield f"{key} has an invalid value: '{text}' (auto, or a number from 1)"


def _logs(values: Values) -> Iterator[str]:
    for key, value in values.items():
        if not key.endswith(("_access_log", "_error_log")) or not value:
            continue
        words = value.split()
        if words[0].startswith(("syslog:", "memory:")):
            yield f"{key} = '{value}' {_LATER}; name a file"
        elif key.endswith("_access_log") and (len(words) > 2 or (len(words) == 2 and words[1] not in LOG_FORMATS)):
            yield f"{key} has an invalid value: '{value}' (a path, or a path and one of {', '.join(LOG_FORMATS)})"
        elif key.endswith("_error_log") and words[0] == "off":
            yield f"{key} cannot be off"


def _gui_path(values: Values) -> Iterator[str]:
    path = values["admin_gui_path"]
    if path is None or path == "/":
        return
    if not path.startswith("/"):
        yield "admin_gui_path must start with a slash ('/')"
    if path.endswith("/"):
        yield "admin_gui_path must not end with a slash ('/')"
    if re.search(r"[^A-Za-z0-9_/-]", path):
        yield ("admin_gui_path can only contain letters, digits, hyphens ('-'), underscores ('_'), and slashes ('/')")
    if "//" in path:
        yield "admin_gui_path must not contain continuous slashes ('/')"


def _dns(values: Values) -> Iterator[str]:
    for key in ("dns_resolver", "resolver_address"):
        for entry in values[key] or ():
            if not _is_server(entry):
                yield f"{key} must be a comma separated list in the form of IPv4/6 or IPv4/6:port, got '{entry}'"
    for key, allowed in (("dns_order", "LAST SRV A AAAA CNAME"), ("resolver_family", "A AAAA SRV")):
        for entry in values[key] or ():
            if entry.upper() not in allowed.split():
                yield f"{key}: invalid entry '{entry}'"


def _is_server(text: str) -> bool:
    host, _, port = text.rpartition(":") if re.search(r"(\]|^[\d.]+):\d+$", text) else (text, "", "53")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return _is_port(port)


def _positive(values: Values) -> Iterator[str]:
    for key in ("worker_state_update_frequency", "db_update_frequency"):
        if values[key] is not None and values[key] <= 0:
            yield f"{key} must be greater than 0"


def _proxy_server(values: Values) -> Iterator[str]:
    text = values["proxy_server"]
    if not text:
        return
    parts = urlsplit(text)
    if not parts.scheme or "://" not in text:
        yield "proxy_server missing scheme"
    elif parts.scheme not in ("http", "https"):
        yield f'proxy_server only supports "http" and "https", got {parts.scheme}'
    elif not parts.hostname:
        yield "proxy_server missing host"
    elif parts.fragment or parts.query or ";" in parts.path:
        yield "fragments, query strings or parameters are meaningless in proxy configuration"


def _node_id(values: Values) -> Iterator[str]:
    text = values["node_id"]
    if not text:
        return
    try:
        uuid.UUID(text)
    except ValueError:
        yield "node_id must be a valid UUID"


def _tracing(values: Values) -> Iterator[str]:
    entries = values["tracing_instrumentations"] or ()
    yield from (f"invalid tracing type: {entry}" for entry in entries if entry not in _TRACING_ALL)
    if "off" in entries and len(entries) > 1:
        yield "invalid tracing types: off, other types are mutually exclusive"


def _labels(values: Values) -> Iterator[str]:
    entries = values["cluster_dp_labels"] or ()
    if len(entries) > 10:
        yield "labels validation failed: count exceeded 10 max elements"
    for entry in entries:
        key, colon, value = entry.partition(":")
        if not (colon and _LABEL.match(key) and _LABEL.match(value)) or key.startswith(_RESERVED_LABELS):
            yield f"cluster_dp_labels: invalid label '{entry}'"


def _certificates(values: Values) -> Iterator[str]:
    for entry in values["lua_ssl_trusted_certificate"] or ():
        if entry != "system" and not entry.startswith("-----BEGIN"):
            try:
                with open(entry, "rb"):
                    continue
            except OSError as error:
                yield f"lua_ssl_trusted_certificate: no such file at {entry} ({error.strerror})"


_RULES: tuple[Callable[[Values], Iterator[str]], ...] = (
    _not_yet,
    _processes,
    _headers,
    _trusted_ips,
    _port_maps,
    _logs,
    _node_id,
    _positive,
    _certificates,
    _gui_path,
    _dns,
    storage_checks.refused,
    _proxy_server,
    _tracing,
    _labels,
)
