"""Rules over the settings of the datastores that no type expresses: what is refused, what is advised against."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

Values = Mapping[str, Any]
FILES = ("cassandra_ssl_ca", "cassandra_ssl_cert", "cassandra_ssl_cert_key")
"""Settings that name one file each; relative ones are below the prefix."""

_KEYSPACE = re.compile(r"[A-Za-z]\w{0,47}\Z", re.ASCII)
_NAME = re.compile(r"[\w.-]+\Z", re.ASCII)
_REPLICAS = re.compile(r"([^:]+):([1-9]\d{0,3})\Z", re.ASCII)
_WEAK = ("ONE", "LOCAL_ONE", "TWO", "THREE")
_POOL = ("semaphore_timeout", "keepalive_timeout", "pool_size", "backlog")


def replicas(entries: list[str] | None) -> dict[str, int]:
    """`cassandra_data_centers` as copies by data centre; entries that are malformed are left out."""
    matches = (_REPLICAS.match(entry) for entry in entries or ())
    return {match[1].strip(): int(match[2]) for match in matches if match}


def refused(values: Values) -> Iterator[str]:
    """Messages about what cannot work."""
    if values["database"] == "cassandra":
        yield from _cassandra(values)
        yield from _data_centers(values)
        yield from _files(values)
    if values["database"] == "postgres" and not values["pg_host"]:
        yield "pg_host must be specified: the host of PostgreSQL"
    for part in ("pg_", "pg_ro_"):
        queries = values[f"{part}max_concurrent_queries"]
        if queries is not None and queries < 0:
            yield f"{part}max_concurrent_queries must be greater than 0, got '{queries}'"
        for name in _POOL:
            value = values[f"{part}{name}"]
            if value is not None and (value < 0 or not isinstance(value, int)):
                yield f"{part}{name} must be an integer greater than 0, got '{value}'"


def advice(values: Values) -> Iterator[str]:
    """Warnings about what works, but hardly as meant."""
    if values["database"] == "cassandra":
        for kind in ("read", "write"):
            level = values[f"cassandra_{kind}_consistency"] or values["cassandra_consistency"]
            if level in _WEAK:
                yield (
                    f"cassandra_consistency = {level} for {kind}s: a change may be unseen by the next read, and lost "
                    "with a node; LOCAL_QUORUM prevents both"
                )
        if values["cassandra_ssl_verify"] and not values["cassandra_ssl"]:
            yield "cassandra_ssl_verify has no effect while cassandra_ssl is off: passwords and data go in clear text"
        elif values["cassandra_ssl_ca"] and not values["cassandra_ssl_verify"]:
            yield "cassandra_ssl_ca has no effect while cassandra_ssl_verify is off: any server would be believed"
    if values["database"] == "postgres":
        if values["pg_ssl_verify"] and not values["pg_ssl"]:
            yield "pg_ssl_verify has no effect while pg_ssl is off: passwords and data go in clear text"
        replica = [name for name, value in values.items() if name.startswith("pg_ro_") and value is not None]
        if replica and not values["pg_ro_host"]:
            yield f"{', '.join(replica)}: no effect without pg_ro_host"


def _cassandra(values: Values) -> Iterator[str]:
    points = values["cassandra_contact_points"]
    if not points:
        yield "cassandra_contact_points must name at least one host of the cluster"
    for point in points or ():
        if not _is_host(point):
            yield (
                f"cassandra_contact_points: '{point}' is not a host or an address; "
                "the port is set by cassandra_port for all of them"
            )
    keyspace = values["cassandra_keyspace"]
    if not keyspace or not _KEYSPACE.match(keyspace):
        yield (
            f"cassandra_keyspace has an invalid value: '{keyspace or ''}' "
            "(a letter, then letters, digits and underscores, 48 characters at most)"
        )
    if values["cassandra_username"] and values["cassandra_password"] is None:
        yield "cassandra_password must be specified with cassandra_username"
    if values["cassandra_password"] and not values["cassandra_username"]:
        yield "cassandra_username must be specified with cassandra_password"
    for given, missing in (("cert", "cert_key"), ("cert_key", "cert")):
        if values[f"cassandra_ssl_{given}"] and not values[f"cassandra_ssl_{missing}"]:
            yield f"cassandra_ssl_{missing} must be specified"


def _is_host(text: str) -> bool:
    try:
        ipaddress.ip_address(text[1:-1] if text.startswith("[") and text.endswith("]") else text)
    except ValueError:
        return bool(_NAME.match(text))
    return True


def _data_centers(values: Values) -> Iterator[str]:
    entries = values["cassandra_data_centers"]
    wrong = [entry for entry in entries or () if not _REPLICAS.match(entry)]
    for entry in wrong:
        yield (
            f"cassandra_data_centers: invalid entry '{entry}' "
            "(<data centre>:<copies>, as the cluster spells the name, and at least one copy)"
        )
    local, known = values["cassandra_local_datacenter"], replicas(entries)
    if known and not wrong and local and local not in known:
        yield (
            f"cassandra_data_centers leaves out '{local}', the cassandra_local_datacenter: "
            "there would be no copy that this gateway can read"
        )
    if entries and len(known) + len(wrong) < len(entries):
        yield f"cassandra_data_centers names a data centre twice: '{', '.join(entries)}'"


def _files(values: Values) -> Iterator[str]:
    for key in FILES:
        if not values[key]:
            continue
        path = os.path.join(values["prefix"], values[key])
        try:
            with open(path, "rb"):
                continue
        except OSError as error:
            yield f"{key}: cannot read {path} ({error.strerror})"
