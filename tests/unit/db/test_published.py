"""What `/schemas/{entity}` publishes of the core entities: names, types and defaults in Kong 3.9's order of meaning."""

from typing import Any

import pytest

from kong_gevent.db import build
from kong_gevent.schema import document

CATALOGUE = build({})
REQUIRED = object()
"""A required field without default."""
TIMES = {"created_at": ("integer", None), "updated_at": ("integer", None)}
COMMON = {"id": ("string", None), "tags": ("set", None)}
Facts = dict[str, tuple[str, Any]]
FACTS: dict[str, Facts] = {
    "services": {
        **COMMON, **TIMES, "name": ("string", None), "retries": ("integer", 5), "protocol": ("string", "http"),
        "host": ("string", REQUIRED), "port": ("integer", 80), "path": ("string", None),
        "connect_timeout": ("integer", 60000), "write_timeout": ("integer", 60000), "read_timeout": ("integer", 60000),
        "client_certificate": ("foreign", None), "tls_verify": ("boolean", None),
        "tls_verify_depth": ("integer", None), "ca_certificates": ("array", None), "enabled": ("boolean", True),
    },
    "routes": {
        **COMMON, **TIMES, "name": ("string", None), "protocols": ("set", ["http", "https"]),
        "https_redirect_status_code": ("integer", 426), "strip_path": ("boolean", True),
        "preserve_host": ("boolean", False), "request_buffering": ("boolean", True),
        "response_buffering": ("boolean", True), "service": ("foreign", None), "snis": ("set", None),
        "sources": ("set", None), "destinations": ("set", None), "methods": ("set", None), "hosts": ("array", None),
        "paths": ("array", None), "headers": ("map", None), "regex_priority": ("integer", 0),
        "path_handling": ("string", "v0"),
    },
    "consumers": {**COMMON, **TIMES, "username": ("string", None), "custom_id": ("string", None)},
    "plugins": {
        **COMMON, **TIMES, "name": ("string", REQUIRED), "instance_name": ("string", None), "route": ("foreign", None),
        "service": ("foreign", None), "consumer": ("foreign", None), "config": ("record", REQUIRED),
        "protocols": ("set", ["grpc", "grpcs", "http", "https"]), "enabled": ("boolean", True),
    },
    "upstreams": {
        **COMMON, **TIMES, "name": ("string", REQUIRED), "algorithm": ("string", "round-robin"),
        "hash_on": ("string", "none"), "hash_fallback": ("string", "none"), "hash_on_header": ("string", None),
        "hash_fallback_header": ("string", None), "hash_on_cookie": ("string", None),
        "hash_on_cookie_path": ("string", "/"), "hash_on_query_arg": ("string", None),
        "hash_fallback_query_arg": ("string", None), "hash_on_uri_capture": ("string", None),
        "hash_fallback_uri_capture": ("string", None), "slots": ("integer", 10000),
        "healthchecks": ("record", REQUIRED), "host_header": ("string", None),
        "client_certificate": ("foreign", None), "use_srv_name": ("boolean", False),
    },
    "targets": {
        **COMMON, "created_at": ("number", None), "updated_at": ("number", None), "upstream": ("foreign", REQUIRED),
        "target": ("string", REQUIRED), "weight": ("integer", 100),
    },
    "certificates": {
        **COMMON, **TIMES, "cert": ("string", REQUIRED), "key": ("string", REQUIRED), "cert_alt": ("string", None),
        "key_alt": ("string", None),
    },
    "snis": {**COMMON, **TIMES, "name": ("string", REQUIRED), "certificate": ("foreign", REQUIRED)},
    "ca_certificates": {**COMMON, **TIMES, "cert": ("string", REQUIRED), "cert_digest": ("string", None)},
    "vaults": {
        **COMMON, **TIMES, "prefix": ("string", REQUIRED), "name": ("string", REQUIRED),
        "description": ("string", None), "config": ("record", REQUIRED),
    },
    "key_sets": {**COMMON, **TIMES, "name": ("string", None)},
    "keys": {
        **COMMON, **TIMES, "set": ("foreign", None), "name": ("string", None), "kid": ("string", REQUIRED),
        "jwk": ("string", None), "pem": ("record", None),
    },
    "filter_chains": {
        **COMMON, **TIMES, "name": ("string", None), "enabled": ("boolean", True), "route": ("foreign", None),
        "service": ("foreign", None), "filters": ("array", REQUIRED),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", FACTS)
def test_names_types_and_defaults(name: str) -> None:
    published = {field: shown for entry in document(CATALOGUE[name].schema)["fields"] for field, shown in entry.items()}
    found = {
        field: (shown["type"], shown.get("default", REQUIRED if shown.get("required") else None))
        for field, shown in published.items()
    }
    expected = dict(FACTS[name])
    assert found == expected


OWN = {"admin_tokens", "audit_requests"}
"""Entities that only this gateway has."""


@pytest.mark.parametrize("name", [name for name in CATALOGUE if name not in OWN])
def test_every_core_entity_is_known(name: str) -> None:
    assert name in FACTS


LIMITS = [
    ("services", "retries", "between", [0, 32767]),
    ("services", "port", "between", [0, 65535]),
    ("services", "connect_timeout", "between", [1, 2147483646]),
    ("services", "tls_verify_depth", "between", [0, 64]),
    ("routes", "https_redirect_status_code", "one_of", [426, 301, 302, 307, 308]),
    ("upstreams", "slots", "between", [10, 65536]),
    ("upstreams", "algorithm", "one_of", ["consistent-hashing", "least-connections", "round-robin", "latency"]),
    ("targets", "weight", "between", [0, 65535]),
    ("vaults", "prefix", "not_one_of", ["env"]),
    ("vaults", "prefix", "unique_across_ws", True),
    ("snis", "name", "unique_across_ws", True),
    ("keys", "set", "on_delete", "cascade"),
    ("targets", "upstream", "on_delete", "cascade"),
    ("services", "client_certificate", "reference", "certificates"),
]


@pytest.mark.parametrize(("name", "field", "rule", "value"), LIMITS)
def test_limits(name: str, field: str, rule: str, value: Any) -> None:
    published = {key: shown for entry in document(CATALOGUE[name].schema)["fields"] for key, shown in entry.items()}
    assert published[field][rule] == value
