"""Header sections: read once, judged strictly, and remembered.

Strategy: a header section is checked as a whole by C-speed byte operations, then each field name is looked up in a
table that says what is special about it. The outcome is a value object holding everything the gateway will ever ask:
framing, connection options, forwarding fields, and the bytes that may be passed on. Clients and upstreams repeat the
same section again and again on a connection, so readers keep a bounded number of outcomes by the section's bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Any

from kong_gevent.errors import ProtocolError

CRLF = b"\r\n"
FIELD_BYTES = bytes(code for code in range(256) if code == 9 or (code >= 32 and code != 127))
"""Bytes that may stand in a field line: no control characters but the tab (RFC 9110, section 5.5)."""
TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
MAX_FIELDS = 1000
MAX_KNOWN_NAMES = 4096
MAX_KNOWN_LINES = 4096
MAX_KNOWN_LINE = 256
MAX_LENGTH_DIGITS = 18

IDENTITY_FIELDS = frozenset(
    (
        b"x-consumer-id",
        b"x-consumer-username",
        b"x-consumer-custom-id",
        b"x-consumer-groups",
        b"x-credential-identifier",
        b"x-credential-username",
        b"x-anonymous-consumer",
        b"x-authenticated-scope",
        b"x-authenticated-userid",
        b"x-authenticated-groups",
    )
)
"""Fields that only the gateway may set towards an upstream; a client's are dropped unseen."""
FORWARDING_FIELDS = (
    b"x-forwarded-for",
    b"x-forwarded-proto",
    b"x-forwarded-host",
    b"x-forwarded-port",
    b"x-forwarded-path",
    b"x-forwarded-prefix",
    b"x-real-ip",
    b"via",
)
REWRITING_FIELDS = frozenset((b"forwarded", b"x-original-url", b"x-rewrite-url", b"x-http-method-override"))
"""Fields with which a client could make another hop see another request; passed on from trusted peers only."""
HOP_FIELDS = frozenset((b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade", b"connection"))
"""Fields of one connection (RFC 9110, section 7.6.1)."""
PROTECTED_FIELDS = (
    frozenset(
        (
            b"host",
            b"content-length",
            b"transfer-encoding",
            b"content-type",
            b"content-encoding",
            b"authorization",
            b"proxy-authorization",
            b"cookie",
            b"set-cookie",
            b"origin",
            b"expect",
            b"date",
            b"cache-control",
            b"location",
            b"www-authenticate",
            b"x-kong-request-id",
        )
    )
    | IDENTITY_FIELDS
    | frozenset(FORWARDING_FIELDS)
)
"""End-to-end fields that nobody can have removed by naming them in `Connection`."""
SINGLE_FIELDS = frozenset((b"authorization", b"content-type"))
"""Fields that decide something and may stand once only: two of them could be read in two ways."""
DEBUG_FIELDS = frozenset((b"x-kong-request-debug", b"x-kong-request-debug-token", b"x-kong-request-debug-log"))
OWN_FIELDS = IDENTITY_FIELDS | DEBUG_FIELDS | frozenset((b"x-kong-request-id", b"proxy"))

PLAIN, HOST, LENGTH, CODING, CONNECTION, HOP, OWN, FORWARDING, REWRITING, EXPECT, SINGLE, SERVER = range(12)

ONCE = frozenset((HOST, LENGTH, CODING, SINGLE))


def _kind(name: bytes) -> int:
    """What is special about a field of this (lower-case) name, in a request or an answer."""
    dashed = name.replace(b"_", b"-")
    for kind, names in (
        (OWN, OWN_FIELDS),
        (FORWARDING, FORWARDING_FIELDS),
        (REWRITING, REWRITING_FIELDS),
    ):
        if dashed in names:
            return kind
    exact = {
        b"host": HOST,
        b"content-length": LENGTH,
        b"transfer-encoding": CODING,
        b"connection": CONNECTION,
        b"expect": EXPECT,
        b"server": SERVER,
    }
    if name != dashed and (dashed in exact or dashed in HOP_FIELDS):
        return OWN  # `content_length` and the like: some server may take it for the real one
    if name in exact:
        return exact[name]
    if name in HOP_FIELDS:
        return HOP
    return SINGLE if name in SINGLE_FIELDS else PLAIN


class _Names(dict[bytes, tuple[bytes, int, str]]):
    """Field name as received → (lower-case name, kind, the name under which it is looked up); bounded."""

    def __missing__(self, name: bytes) -> tuple[bytes, int, str]:
        if not TOKEN.fullmatch(name):
            raise ValueError("field name is not a token" if name else "empty field name")
        lower = name.lower()
        entry = (lower, _kind(lower), lower.decode("ascii").replace("_", "-"))
        if len(self) < MAX_KNOWN_NAMES and len(name) <= 64:
            self[name] = entry
        return entry


_NAMES = _Names()


def split_lines(section: bytes) -> list[bytes]:
    """The field lines of a header section (without its empty line), checked for everything but names.

    Raises ValueError for bare CR or LF, control characters and too many fields (RFC 9112, sections 2.2 and 5).
    """
    if not section:
        return []
    lines = section.split(CRLF)
    if section.translate(None, FIELD_BYTES) != CRLF * (len(lines) - 1):
        raise ValueError("control character or bare line end in a field line")
    if len(lines) > MAX_FIELDS:
        raise ValueError("too many fields")
    return lines


_LINES: dict[bytes, tuple[int, str, bytes, bytes]] = {}


def _learn_line(line: bytes) -> tuple[int, str, bytes, bytes]:
    """A field line's kind, look-up name, value and lower-case name; remembered, since most lines come again and again.

    Raises ValueError for folded lines, white space around names, names that are no tokens and lines without a colon.
    """
    name, colon, value = line.partition(b":")
    if not colon:
        raise ValueError("field line without a colon")
    lower, kind, normal = _NAMES[name]
    entry = (kind, normal, value.strip(b" \t"), lower)
    if len(line) <= MAX_KNOWN_LINE:
        if len(_LINES) >= MAX_KNOWN_LINES:
            _LINES.clear()
        _LINES[line] = entry
    return entry


def split_fields(section: bytes) -> list[tuple[bytes, bytes, bytes, int]]:
    """Split a header section into (lower name, name, value, kind).

    Raises ValueError with the reason for what `split_lines` refuses, folded lines, white space around names, names that
    are no tokens and lines without a colon.
    """
    names = _NAMES
    parts = []
    for line in split_lines(section):
        name, colon, value = line.partition(b":")
        if not colon:
            raise ValueError("field line without a colon")
        lower, kind, _ = names[name]
        parts.append((lower, name, value.strip(b" \t"), kind))
    return parts


def parse_length(value: bytes) -> int:
    """A `Content-Length` value as a number of bytes; ValueError unless it is 1 to 18 plain digits."""
    if not value.isdigit() or len(value) > MAX_LENGTH_DIGITS:
        raise ValueError("Content-Length is not a plain number")
    return int(value)


def connection_options(value: bytes) -> list[bytes]:
    """The lower-case options of a `Connection` value; ValueError when one is no token."""
    options = [part.strip(b" \t").lower() for part in value.split(b",")]
    for option in options:
        if option and not TOKEN.fullmatch(option):
            raise ValueError("Connection option is not a token")
    return [option for option in options if option]


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
        known = _LINES
        index = self.index = FieldIndex()
        passed: list[bytes] = []
        special: list[tuple[int, bytes, bytes, bytes]] = []
        for line in split_lines(section):
            kind, normal, value, lower = known.get(line) or _learn_line(line)
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
