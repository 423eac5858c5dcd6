"""Rules over the settings of TLS: of listeners, for roles that have such a one, and of the pair for upstreams."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from typing import Any

from kong_gevent.conf.certificates import PREFIXES, load_pair, pem_of, server_context
from kong_gevent.conf.listeners import Listener


def check(values: Mapping[str, Any], listeners: Mapping[str, list[Listener]]) -> list[str]:
    """Every message about certificates, keys, protocols and ciphers; empty when all is well."""
    messages: list[str] = []
    if values["ssl_cipher_suite"] is not None:
        try:
            server_context(values)
        except ValueError as error:
            messages.append(str(error))
    for role, prefix in PREFIXES.items():
        if any(listener.ssl for listener in listeners[f"{role}_listen"]):
            messages += _pairs(values, f"{prefix}ssl_cert")
            if role == "admin":
                messages += _authorities(values)
    if values["client_ssl"]:
        messages += _client_pair(values)
    return messages


def _client_pair(values: Mapping[str, Any]) -> Iterator[str]:
    names = ("client_ssl_cert", "client_ssl_cert_key")
    missing = [name for name in names if not values[name]]
    if missing:
        yield from (f"{name} must be specified" for name in missing)
    else:
        yield from _pair(names[0], values[names[0]], values[names[1]])


def _pairs(values: Mapping[str, Any], name: str) -> Iterator[str]:
    certificates, keys = values[name] or [], values[f"{name}_key"] or []
    if certificates and not keys:
        yield f"{name}_key must be specified"
    elif keys and not certificates:
        yield f"{name} must be specified"
    elif len(certificates) != len(keys):
        yield f"{name} was specified {len(certificates)} times while {name}_key was specified {len(keys)} times"
    else:
        for certificate, key in zip(certificates, keys, strict=True):
            yield from _pair(name, certificate, key)


def _pair(name: str, certificate: str, key: str) -> Iterator[str]:
    try:
        chain = pem_of(certificate)
    except (OSError, ValueError):
        yield f"{name}: failed loading certificate from {_shown(certificate)}"
        return
    try:
        secret = pem_of(key)
    except (OSError, ValueError):
        yield f"{name}_key: failed loading key from {_shown(key)}"
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        load_pair(context, chain, secret)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            yield f"{name}_key: the key in {_shown(key)} does not belong to the certificate in {_shown(certificate)}"
        elif b"-----BEGIN CERTIFICATE" not in chain or not _readable(chain):
            yield f"{name}: failed loading certificate from {_shown(certificate)}"
        else:
            yield f"{name}_key: failed loading key from {_shown(key)}"
    except ValueError:
        yield f"{name}_key: failed loading key from {_shown(key)}"


def _readable(chain: bytes) -> bool:
    try:
        ssl.create_default_context(cadata=chain.decode())
    except (ValueError, ssl.SSLError):
        return False
    return True


def _authorities(values: Mapping[str, Any]) -> Iterator[str]:
    for entry in values["admin_ssl_client_ca"] or ():
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=pem_of(entry).decode())
        except (OSError, ValueError):  # SSLError is an OSError
            yield f"admin_ssl_client_ca: failed loading certificates from {_shown(entry)}"


def _shown(value: str) -> str:
    """A path as it is; a text that may be a secret is not repeated."""
    return value if len(value) < 200 and "\n" not in value and not value.startswith("-----") else "the given text"
