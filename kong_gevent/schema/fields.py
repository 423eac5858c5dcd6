"""The fields that schemas are written with: Kong's types, and the named rules that many entities share.

Defaults are given with `load_default`, descriptions with `metadata={"description": …}`; any attribute of the base type
may be added or overridden (`fields.Host(required=True)`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from kong_gevent.schema import crypto, names
from kong_gevent.schema.kinds import Array, Boolean, Field, Foreign, Integer, Json, Map, Number, Record, Set, String
from kong_gevent.schema.record import Deprecated, Shorthand

__all__ = [
    "ALL_PROTOCOLS",
    "HTTP_PROTOCOLS",
    "UUID",
    "Array",
    "AutoTimestamp",
    "Boolean",
    "Certificate",
    "Choice",
    "CookieName",
    "Deprecated",
    "Field",
    "Foreign",
    "HeaderName",
    "Headers",
    "Host",
    "HostWithOptionalPort",
    "HttpMethod",
    "Integer",
    "Ip",
    "IpOrCidr",
    "Json",
    "Map",
    "Number",
    "Path",
    "Port",
    "PrivateKey",
    "Protocol",
    "Record",
    "Regex",
    "Set",
    "Shorthand",
    "Sni",
    "String",
    "Tag",
    "Tags",
    "Timeout",
    "Ttl",
    "Url",
    "Utf8Name",
    "WildcardHost",
]

HTTP_PROTOCOLS = ("grpc", "grpcs", "http", "https")
ALL_PROTOCOLS = ("grpc", "grpcs", "http", "https", "tcp", "tls", "tls_passthrough", "udp")


class Choice(String):
    """One of the given texts."""

    def __init__(self, *choices: str, **options: Any) -> None:
        super().__init__(one_of=list(choices), **options)


class UUID(String):
    """A UUID of any version, kept in lower case, so that one is always written in one way. `auto=True` makes one."""

    built_in: ClassVar[Mapping[str, Any]] = {"uuid": True}

    def convert(self, value: Any) -> str:
        return super().convert(value).lower()


class AutoTimestamp(Integer):
    """Seconds since 1970 at which the gateway stored something."""

    built_in: ClassVar[Mapping[str, Any]] = {"timestamp": True, "auto": True}


class Utf8Name(String):
    """The unique name of an entity."""

    built_in: ClassVar[Mapping[str, Any]] = {"unique": True, "custom_validator": names.utf8_name}


class Tag(String):
    """A label of an entity."""

    built_in: ClassVar[Mapping[str, Any]] = {"custom_validator": names.tag}


class Tags(Set):
    """The labels of an entity."""

    def __init__(self, **options: Any) -> None:
        super().__init__(Tag(required=True), **options)


class Protocol(String):
    """A protocol that Kong can carry."""

    built_in: ClassVar[Mapping[str, Any]] = {"one_of": list(ALL_PROTOCOLS)}


class Host(String):
    """A host name or an address, without port."""

    built_in: ClassVar[Mapping[str, Any]] = {"custom_validator": names.host}


class HostWithOptionalPort(String):
    """A host name or an address; a port may follow."""

    built_in: ClassVar[Mapping[str, Any]] = {"custom_validator": names.host_with_optional_port}


class Port(Integer):
    """A port number."""

    built_in: ClassVar[Mapping[str, Any]] = {"between": [0, 65535]}


class Timeout(Integer):
    """Milliseconds."""

    built_in: ClassVar[Mapping[str, Any]] = {"between": [0, 2147483646]}


class Ttl(Number):
    """Seconds to live."""

    built_in: ClassVar[Mapping[str, Any]] = {"between": [0, 100000000]}


class Path(String):
    """A path that starts with a slash and has no empty segment."""

    built_in: ClassVar[Mapping[str, Any]] = {
        "starts_with": "/",
        "match_none": [{"pattern": "//", "err": "must not have empty segments"}],
        "custom_validator": names.path,
    }


class Ip(String):
    """An IPv4 or IPv6 address."""

    built_in: ClassVar[Mapping[str, Any]] = {"custom_validator": names.ip}


class IpOrCidr(String):
    """An address or a range in CIDR notation."""

    built_in: ClassVar[Mapping[str, Any]] = {"custom_validator": names.ip_or_cidr}


class HeaderName(String):
    """The name of an HTTP field."""

    built_in: ClassVar[Mapping[str, Any]] = {"custom_validator": names.header_name}


class CookieName(String):
    """The name of a cookie."""

    built_in: ClassVar[Mapping[str, Any]] = {"custom_validator": names.cookie_name}


class HttpMethod(String):
    """A request method, in capitals."""

    built_in: ClassVar[Mapping[str, Any]] = {"custom_validator": names.method}


class Sni(String):
    """A server name."""

    built_in: ClassVar[Mapping[str, Any]] = {"custom_validator": names.sni}


class WildcardHost(String):
    """A server name with at most one wildcard at either end."""

    built_in: ClassVar[Mapping[str, Any]] = {"custom_validator": names.wildcard_sni}


class Url(String):
    """An absolute URL."""

    built_in: ClassVar[Mapping[str, Any]] = {"custom_validator": names.url}


class Certificate(String):
    """A certificate in PEM; others of its chain may follow."""

    built_in: ClassVar[Mapping[str, Any]] = {"custom_validator": crypto.certificate_error}


class PrivateKey(String):
    """A private key in PEM, without passphrase."""

    built_in: ClassVar[Mapping[str, Any]] = {"custom_validator": crypto.private_key_error}


class Regex(String):
    """A regular expression of the router's engine (linear time: no look-around, no back-references)."""

    built_in: ClassVar[Mapping[str, Any]] = {"is_regex": True}


class Headers(Map):
    """Header names with lists of values, as routes and health checks hold them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(HeaderName(), Array(String()), **options)
