"""Header sections: read once, judged strictly, and remembered.

The outcome is a value object holding everything the gateway will ever ask: framing, connection options, forwarding
fields, and the bytes that may be passed on. Clients and upstreams repeat the same section again and again on a
connection, so readers keep a bounded number of outcomes by the section's bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Any

from kong_gevent.errors import ProtocolError
from kong_gevent.http.lines import (
    CODING,
    CONNECTION,
    CRLF,
    EXPECT,
    FORWARDING,
    HOP,
    HOST,
    KNOWN_LINES,
    LENGTH,
    ONCE,
    OWN,
    PROTECTED_FIELDS,
    REWRITING,
    SERVER,
    SINGLE,
    TOKEN,
    connection_options,
    learn_line,
    parse_length,
    split_lines,
)


def normalised_name(name: str) -> str:
    """The spelling under which fields are looked up: lower-case, `_` taken for `-`, as Kong does."""
    return name.lower().replace("_", "-")


_get = dict.get
_items = dict.items


class FieldIndex(dict[str, bytes | list[bytes]]):
    """Look-ups by normalised name (see `normalised_name`); values are given as latin-1 texts.

    Texts are made when asked for, since most fields of most requests never are.
    """

    __slots__ = ()

    @classmethod
    def of(cls, lines: Iterable[tuple[bytes, bytes]]) -> FieldIndex:
        """The index of some (name, value) pairs."""
        index = cls()
        for name, value in lines:
            index.add(normalised_name(name.decode("latin-1")), value)
        return index

    def add(self, name: str, value: bytes) -> None:
        """Add a field under its normalised name."""
        if name not in self:
            self[name] = value
            return
        earlier = self[name]
        self[name] = [*earlier, value] if isinstance(earlier, list) else [earlier, value]

    def get(self, name: str) -> list[str] | None:  # type: ignore[override]
        """All values of the field, in order; None when it is absent."""
        found = _get(self, name)
        if found is None:
            return None
        if isinstance(found, list):
            return [value.decode("latin-1") for value in found]
        return [found.decode("latin-1")]

    def items(self) -> list[tuple[str, list[str]]]:  # type: ignore[override]
        """(name, values) pairs in the order of first appearance."""
        return [(name, self.get(name) or []) for name in self]

    def texts(self) -> dict[str, str | list[str]]:
        """Every name with its value, or a list of values when it is repeated."""
        return {
            name: [one.decode("latin-1") for one in value] if value.__class__ is list else value.decode("latin-1")  # type: ignore[union-attr]
            for name, value in _items(self)
        }

    def lacks(self, names: AbstractSet[str]) -> bool:
        """Whether none of these normalised names occurs."""
        return names.isdisjoint(self)


_NO_FORWARDING: dict[bytes, bytes] = {}


class RequestFields:
    """The header section of a request, judged and sorted; never changed, shared by all requests that repeat its bytes.

    `host`: the Host value; `content_length`: bytes, -1 when not told; `chunked`, `expect`, `close`, `keep_alive`,
    `te_trailers`: what it asks for; `upgrade`: the protocols it wants to change to; `forwarding`: what it says about
    earlier hops; `forward`: the lines that go to an upstream, `forward_trusted`: the same from a trusted peer;
    `index`: look-ups over all of it but what only the gateway may say.
    """

    __slots__ = (
        "_lowered",
        "_passed",
        "_rewriting",
        "bodiless",
        "chunked",
        "close",
        "content_length",
        "cut",
        "described",
        "expect",
        "forward",
        "forward_trusted",
        "forwarding",
        "host",
        "index",
        "keep_alive",
        "logged",
        "ruled",
        "te_trailers",
        "untouched_by",
        "upgrade",
    )

    def __init__(self, section: bytes) -> None:
        """Raises `ProtocolError` (400, 417, 501) for anything that two parsers could read in two ways."""
        self.host: bytes | None = None
        self.content_length = -1
        self.bodiless = True
        self.chunked = self.close = self.keep_alive = self.expect = self.te_trailers = False
        self.upgrade: bytes | None = None
        self.forwarding = _NO_FORWARDING
        self.untouched_by: AbstractSet[str] | None = None
        self.cut: tuple[AbstractSet[str], bytes] | None = None
        self.ruled: tuple[Any, Any, Any] | None = None
        self.described = self.logged = b""  # its part of log records and of access logs, once one was written
        self._lowered: FieldIndex | None = None
        try:
            self._read(section)
        except ValueError as error:
            raise ProtocolError(400, "Bad request", str(error)) from None

    def _read(self, section: bytes) -> None:
        known = KNOWN_LINES
        index = self.index = FieldIndex()
        passed: list[bytes] = []
        special: list[tuple[int, bytes, bytes, bytes]] = []
        for line in split_lines(section):
            kind, normal, value, lower = known.get(line) or learn_line(line)
            if not kind:
                passed.append(line)
            elif kind == OWN:
                continue
            else:
                special.append((kind, lower, value, line))
                if kind in ONCE and normal in index:
                    raise ValueError(f"more than one {normal} field")
            if normal in index:
                index.add(normal, value)
            else:
                index[normal] = value
        self._passed = passed
        self._rewriting: list[bytes] = []
        if special:
            self._judge(special)
        self.forward = CRLF.join(passed) + CRLF if passed else b""
        self.forward_trusted = self.forward + CRLF.join(self._rewriting) + CRLF if self._rewriting else self.forward

    def _judge(self, special: list[tuple[int, bytes, bytes, bytes]]) -> None:
        """Fields that mean something to the gateway."""
        options: list[bytes] = []
        upgrade: bytes | None = None
        for kind, lower, value, line in special:
            if kind == HOST:
                self.host = value
            elif kind == SINGLE or kind == SERVER:
                self._passed.append(line)
            elif kind == CONNECTION:
                options += connection_options(value)
            elif kind == LENGTH:
                self.content_length = parse_length(value)
            elif kind == CODING:
                self._coding(value)
            elif kind == HOP:
                if lower == b"upgrade":
                    upgrade = value
                elif lower == b"te" and b"trailers" in value.lower():
                    self.te_trailers = True
            elif kind == FORWARDING:
                self._forwarding(lower, value)
            elif kind == REWRITING:
                self._rewriting.append(line)
            elif kind == EXPECT:
                self._expectation(value)
        if self.chunked and self.content_length >= 0:
            raise ValueError("both Content-Length and Transfer-Encoding")
        self.bodiless = not self.chunked and self.content_length <= 0 and not self.expect
        if options:
            self.close = b"close" in options
            self.keep_alive = b"keep-alive" in options
            if upgrade and b"upgrade" in options:
                self.upgrade = upgrade
            self._drop_named(options)

    def _drop_named(self, options: list[bytes]) -> None:
        """Remove the fields that `Connection` names, unless they matter beyond this connection."""
        dropped = frozenset(option for option in options if option not in PROTECTED_FIELDS)
        for lines in (self._passed, self._rewriting):
            lines[:] = [line for line in lines if line.partition(b":")[0].lower() not in dropped]

    @property
    def lines(self) -> list[tuple[bytes, bytes]]:
        """The (name, value) pairs that go to an upstream."""
        return [(name, value.strip(b" \t")) for name, _, value in [line.partition(b":") for line in self._passed]]

    def _coding(self, value: bytes) -> None:
        """Only one `chunked` is understood (RFC 9112, section 6.1); other well-formed codings are 501."""
        if value.lower() == b"chunked":
            self.chunked = True
            return
        codings = [part.strip(b" \t") for part in value.split(b",")]
        if (
            all(TOKEN.fullmatch(coding) for coding in codings)
            and codings[-1].lower() != b"chunked"
            and len(codings) == 1
        ):
            raise ProtocolError(501, "Not implemented", "unknown transfer coding")
        if (
            len(codings) == 2
            and TOKEN.fullmatch(codings[0])
            and codings[1] == b"chunked"
            and codings[0].lower() != b"chunked"
        ):
            raise ProtocolError(501, "Not implemented", "unknown transfer coding")
        raise ValueError("malformed Transfer-Encoding")

    def _expectation(self, value: bytes) -> None:
        if value.lower() != b"100-continue":
            raise ProtocolError(417, "Expectation failed", "unknown expectation")
        self.expect = True

    def _forwarding(self, name: bytes, value: bytes) -> None:
        """Keep what earlier hops may tell: lists are joined, of single values the first one counts."""
        if b"_" in name:
            return
        if not self.forwarding:
            self.forwarding = {}
        earlier = self.forwarding.get(name)
        if earlier is None:
            self.forwarding[name] = value
        elif name in (b"x-forwarded-for", b"via"):
            self.forwarding[name] = b"%b, %b" % (earlier, value)

    @property
    def lowered(self) -> FieldIndex:
        """The index with lower-case values, as routes compare header values without regard to case."""
        lowered = self._lowered
        if lowered is None:
            lowered = self._lowered = FieldIndex()
            for name, values in self.index.items():
                for value in values:
                    lowered.add(name, value.lower().encode("latin-1"))
        return lowered

    def get(self, name: str) -> list[str] | None:
        """The lower-case values of a field by its normalised name: what the router asks for."""
        return self.lowered.get(name)
