"""What the router compares: routes split by path kind and length, with Kong's 64-bit priority and their conditions.

A route of the entity model becomes one *entry* per path (and per host with a port); entries are what the index holds
and what a match returns, so that matching a prefix path allocates nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from kong_gevent.http.fields import normalised_name
from kong_gevent.http.target import escape_path
from kong_gevent.router.regex import PathRegex, compile_header_regex, compile_path_regex

HTTP_PROTOCOLS = frozenset(("http", "https", "grpc", "grpcs"))
KINDS = ("sources", "destinations", "methods", "hosts", "headers", "snis", "paths")
KIND_SHIFT, PLAIN_HOST_SHIFT, HEADER_SHIFT, REGEX_SHIFT, REGEX_PRIORITY_SHIFT = 61, 60, 52, 51, 19
MAX_HEADERS = 0xFF
MAX_REGEX_PRIORITY = 0xFFFFFFFF
MAX_LENGTH = 0x7FFFF

Key = tuple[int, str, int]
"""Order of evaluation, greatest first: priority, id of the (sub-)route, position of a regex path (negated)."""
Captures = tuple[dict[str, str], list[str | None]]


HeaderLookup = Callable[[str], "list[str] | None"]
"""All values of a request's header field in lower case, by its name (lower case, `-` for `_`); None when absent."""


class Match:
    """What a request matched: the route's payload and the beginning of the path that `strip_path` removes.

    `prefix` is empty for a route without paths. `captures` is None unless a regex path matched.
    """

    __slots__ = ("key", "payload", "prefix")

    def __init__(self, payload: Any, prefix: str, key: Key) -> None:
        self.payload = payload
        self.prefix = prefix
        self.key = key

    @property
    def captures(self) -> Captures | None:
        """Named captures, and all captures in order (None: group took no part); None without a regex path."""
        return None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.prefix!r} priority={self.key[0]:#x} {self.payload!r}>"


class RegexMatch(Match):
    """A match by a regex path; its captures are computed when asked for."""

    __slots__ = ("_path", "_regex")

    def __init__(self, entry: Entry, regex: PathRegex, path: str, end: int) -> None:
        self.payload = entry.payload
        self.prefix = path[:end]
        self.key = entry.key
        self._regex = regex
        self._path = path

    @property
    def captures(self) -> Captures:
        """Named captures, and all captures in order (None: group took no part)."""
        return self._regex.captures(self._path.encode())


class Entry(Match):
    """One path of a (sub-)route in the index; for prefix paths it is the match itself."""

    __slots__ = ("conditions", "regex")

    def __init__(
        self, payload: Any, prefix: str, key: Key, conditions: Conditions | None, regex: PathRegex | None = None
    ) -> None:
        self.payload = payload
        self.prefix = prefix
        self.key = key
        self.conditions = conditions
        self.regex = regex


class HeaderCondition(NamedTuple):
    """One header of a route: any of the values, or any of the patterns, must meet any value sent."""

    name: str
    values: frozenset[str]
    patterns: tuple[Callable[[str], bool], ...]

    def holds(self, sent: list[str] | None) -> bool:
        """Whether the values sent (lower case) fulfil it."""
        if not sent:
            return False
        if not self.values.isdisjoint(sent):
            return True
        return any(pattern(value) for pattern in self.patterns for value in sent)


class SniCondition(NamedTuple):
    """Server names of a route: exact ones, ends (`*.x`) and beginnings (`x.*`)."""

    exact: frozenset[str]
    ends: tuple[str, ...]
    beginnings: tuple[str, ...]

    def holds(self, sni: str | None) -> bool:
        """Whether the name that the client asked for in its TLS handshake fulfils it."""
        if not sni:
            return False
        name = without_dot(sni.lower())
        return name in self.exact or name.endswith(self.ends) or name.startswith(self.beginnings)


class Conditions:
    """What a route asks of a request besides host name and path; None stands for "anything"."""

    __slots__ = ("headers", "methods", "port", "snis")

    def __init__(
        self,
        methods: frozenset[bytes] | None,
        port: int | None,
        headers: tuple[HeaderCondition, ...],
        snis: SniCondition | None,
    ) -> None:
        self.methods = methods
        self.port = port
        self.headers = headers
        self.snis = snis

    def hold(self, method: bytes, port: int, headers: HeaderLookup, sni: str | None, tls: bool) -> bool:
        """Whether a request fulfils all of them."""
        if self.methods is not None and method not in self.methods:
            return False
        if self.port is not None and self.port != port:
            return False
        for condition in self.headers:
            if not condition.holds(headers(condition.name)):
                return False
        return not tls or self.snis is None or self.snis.holds(sni)

    def attributes(
        self, method: bytes, port: int, headers: HeaderLookup, sni: str | None, tls: bool
    ) -> Iterator[tuple[str, bool]]:
        """Each attribute that is asked for and whether it is fulfilled; `hold` is true when all are."""
        if self.port is not None:
            yield "hosts", self.port == port
        if self.methods is not None:
            yield "methods", method in self.methods
        if self.headers:
            yield "headers", all(condition.holds(headers(condition.name)) for condition in self.headers)
        if self.snis is not None:
            yield "snis", not tls or self.snis.holds(sni)


class HostPattern(NamedTuple):
    """A host of a route: `kind` is `exact`, `end` (`*.x`, name `.x`) or `beginning` (`x.*`, name `x.`)."""

    kind: str
    name: str

    def meets(self, host: str | None) -> bool:
        """Whether a host name (lower case, without port) fulfils it: what the router finds by looking it up."""
        if self.kind == "any":
            return True
        if not host:
            return False
        if self.kind == "exact":
            return host == self.name
        return host.endswith(self.name) if self.kind == "end" else host.startswith(self.name)


ANY_HOST = HostPattern("any", "")
Placement = tuple[HostPattern, Entry]


def without_dot(name: str) -> str:
    """A host name without the one trailing dot that only says it is absolute."""
    return name[:-1] if len(name) > 1 and name.endswith(".") else name


def parse_route_host(text: str) -> tuple[HostPattern, int | None]:
    """A route's host (`name`, `*.name` or `name.*`, each with an optional port), in lower case."""
    name, colon, digits = text.lower().rpartition(":")
    port = None
    if colon and digits.isdecimal() and (not name.startswith("[") or name.endswith("]")):
        port = int(digits)
    else:
        name = text.lower()
    name = without_dot(name)
    if name.startswith("*"):
        return HostPattern("end", name[1:]), port
    if name.endswith("*"):
        return HostPattern("beginning", name[:-1]), port
    return HostPattern("exact", name), port


def is_served(route: Mapping[str, Any], service: Mapping[str, Any] | None) -> bool:
    """Whether a route belongs into an HTTP router: by its protocols, and not of a disabled service."""
    if service is not None and service.get("enabled") is False:
        return False
    return not HTTP_PROTOCOLS.isdisjoint(route.get("protocols") or ("http", "https"))


def priority(route: Mapping[str, Any], length: int, regex: bool) -> int:
    """The 64-bit priority of a (sub-)route; `length` of its prefix paths in bytes, `regex`: its paths are regexes."""
    hosts = route.get("hosts")
    headers = route.get("headers")
    value = sum(1 for kind in KINDS if route.get(kind)) << KIND_SHIFT
    if hosts and not any("*" in host for host in hosts):
        value |= 1 << PLAIN_HOST_SHIFT
    if headers:
        value |= min(len(headers), MAX_HEADERS) << HEADER_SHIFT
    if regex:
        wanted = route.get("regex_priority") or 0
        return value | 1 << REGEX_SHIFT | min(max(wanted, 0), MAX_REGEX_PRIORITY) << REGEX_PRIORITY_SHIFT
    return value | min(length, MAX_LENGTH)


RULES = ("attributes", "plain_hosts", "headers", "regex_path", "regex_priority", "path_length", "id", "position")
"""What decides between two matches, in this order: the parts of the priority, then the rest of the key."""


def parts_of(key: Key) -> dict[str, int | str]:
    """A key by `RULES`; of each the greater value wins."""
    value, route_id, position = key
    return {
        "attributes": value >> KIND_SHIFT,
        "plain_hosts": value >> PLAIN_HOST_SHIFT & 1,
        "headers": value >> HEADER_SHIFT & MAX_HEADERS,
        "regex_path": value >> REGEX_SHIFT & 1,
        "regex_priority": value >> REGEX_PRIORITY_SHIFT & MAX_REGEX_PRIORITY,
        "path_length": value & MAX_LENGTH,
        "id": route_id,
        "position": position,
    }


def split_paths(paths: Iterable[str]) -> dict[int, list[str]]:
    """Paths by sub-route: those of one prefix length (bytes) together, all regexes together under -1."""
    groups: dict[int, list[str]] = {}
    for path in paths:
        length = -1 if path.startswith("~") else len(path.encode("utf-8", "surrogatepass"))
        group = groups.setdefault(length, [])
        if path not in group:
            group.append(path)
    return groups


def subroute_id(route_id: str, length: int) -> str:
    """The id that decides ties of a sub-route of a split route: a name-based UUID (version 5) below the route's."""
    return str(uuid5(UUID(route_id), "regex" if length < 0 else f"prefix:{length}"))


def place(route: Mapping[str, Any], payload: Any) -> list[Placement]:
    """All entries of a route with the host under which each is indexed.

    Raises ValueError with the reason for an expression that re2 cannot compile.
    """
    hosts: dict[int | None, list[HostPattern]] = {}
    for text in route.get("hosts") or ():
        pattern, port = parse_route_host(text)
        names = hosts.setdefault(port, [])
        if pattern not in names:
            names.append(pattern)
    placements: list[Placement] = []
    for port, names in (hosts or {None: [ANY_HOST]}).items():
        conditions = _conditions(route, port)
        for entry in _entries(route, payload, conditions):
            placements += [(name, entry) for name in names]
    return placements


def _entries(route: Mapping[str, Any], payload: Any, conditions: Conditions | None) -> list[Entry]:
    route_id: str = route["id"]
    groups = split_paths(route.get("paths") or ())
    if not groups:
        return [Entry(payload, "", (priority(route, 0, False), route_id, 0), conditions)]
    entries = []
    for length, paths in groups.items():
        entry_id = route_id if len(groups) == 1 else subroute_id(route_id, length)
        value = priority(route, length, length < 0)
        for position, path in enumerate(paths):
            if length < 0:
                regex = compile_path_regex(path)
                entries.append(Entry(payload, regex.literal, (value, entry_id, -position), conditions, regex))
            else:
                entries.append(Entry(payload, escape_path(path), (value, entry_id, 0), conditions))
    return entries


def _conditions(route: Mapping[str, Any], port: int | None) -> Conditions | None:
    methods = route.get("methods")
    headers = route.get("headers")
    snis = route.get("snis")
    if not methods and not headers and not snis and port is None:
        return None
    return Conditions(
        frozenset(method.encode("latin-1") for method in methods) if methods else None,
        port,
        tuple(_header_condition(name, values) for name, values in sorted((headers or {}).items())),
        _sni_condition(snis) if snis else None,
    )


def _header_condition(name: str, values: Iterable[str]) -> HeaderCondition:
    values = list(values)
    return HeaderCondition(
        normalised_name(name),
        frozenset(value.lower() for value in values if not value.startswith("~*")),
        tuple(compile_header_regex(value[2:]) for value in values if value.startswith("~*")),
    )


def _sni_condition(snis: Iterable[str]) -> SniCondition:
    names = [without_dot(sni.lower()) for sni in snis]
    return SniCondition(
        frozenset(name for name in names if "*" not in name),
        tuple(name[1:] for name in names if name.startswith("*")),
        tuple(name[:-1] for name in names if name.endswith("*")),
    )
