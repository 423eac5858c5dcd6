"""Header sections: read once, judged strictly, and remembered.

Strategy: a header section is checked as a whole by C-speed byte operations, then each field name is looked up in a
table that says what is special about it. The outcome is a value object holding everything the gateway will ever ask:
framing, connection options, forwarding fields, and the bytes that may be passed on. Clients and upstreams repeat the
same section again and again on a connection, so readers keep a bounded number of outcomes by the section's bytes.
"""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet

from kong_gevent.errors import AnswerError, ProtocolError

CRLF = b"\r\n"
FIELD_BYTES = bytes(code for code in range(256) if code == 9 or (code >= 32 and code != 127))
"""Bytes that may stand in a field line: no control characters but the tab (RFC 9110, section 5.5)."""
TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
MAX_FIELDS = 1000
MAX_KNOWN_NAMES = 4096
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
PROTECTED_FIELDS = frozenset(
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
) | IDENTITY_FIELDS | frozenset(FORWARDING_FIELDS)
"""End-to-end fields that nobody can have removed by naming them in `Connection`."""
SINGLE_FIELDS = frozenset((b"authorization", b"content-type"))
"""Fields that decide something and may stand once only: two of them could be read in two ways."""
DEBUG_FIELDS = frozenset((b"x-kong-request-debug", b"x-kong-request-debug-token", b"x-kong-request-debug-log"))
OWN_FIELDS = IDENTITY_FIELDS | DEBUG_FIELDS | frozenset((b"x-kong-request-id", b"proxy"))

_PLAIN, _HOST, _LENGTH, _CODING, _CONNECTION, _HOP, _OWN, _FORWARDING, _REWRITING, _EXPECT, _SINGLE, _SERVER = range(12)


def _kind(name: bytes) -> int:
    """What is special about a field of this (lower-case) name, in a request or an answer."""
    dashed = name.replace(b"_", b"-")
    for kind, names in (
        (_OWN, OWN_FIELDS),
        (_FORWARDING, FORWARDING_FIELDS),
        (_REWRITING, REWRITING_FIELDS),
    ):
        if dashed in names:
            return kind
    exact = {
        b"host": _HOST,
        b"content-length": _LENGTH,
        b"transfer-encoding": _CODING,
        b"connection": _CONNECTION,
        b"expect": _EXPECT,
        b"server": _SERVER,
    }
    if name != dashed and (dashed in exact or dashed in HOP_FIELDS):
        return _OWN  # `content_length` and the like: some server may take it for the real one
    if name in exact:
        return exact[name]
    if name in HOP_FIELDS:
        return _HOP
    return _SINGLE if name in SINGLE_FIELDS else _PLAIN


class _Names(dict[bytes, tuple[bytes, int, bool]]):
    """Field name as received → (lower-case name, kind, whether it is spelled with an underscore); bounded."""

    def __missing__(self, name: bytes) -> tuple[bytes, int, bool]:
        if not TOKEN.fullmatch(name):
            raise ValueError("field name is not a token" if name else "empty field name")
        lower = name.lower()
        entry = (lower, _kind(lower), b"_" in lower)
        if len(self) < MAX_KNOWN_NAMES and len(name) <= 64:
            self[name] = entry
        return entry


_NAMES = _Names()


def split_fields(section: bytes) -> list[tuple[bytes, bytes, bytes, int, bool]]:
    """Split a header section (field lines without the empty line) into (lower name, name, value, kind, underscored).

    Raises ValueError with the reason for bare CR or LF, control characters, folded lines, white space around names,
    names that are no tokens and lines without a colon (RFC 9112, sections 2.2 and 5).
    """
    if not section:
        return []
    lines = section.split(CRLF)
    if section.translate(None, FIELD_BYTES) != CRLF * (len(lines) - 1):
        raise ValueError("control character or bare line end in a field line")
    if len(lines) > MAX_FIELDS:
        raise ValueError("too many fields")
    names = _NAMES
    parts = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon:
            raise ValueError("field line without a colon")
        lower, kind, underscored = names[name]
        parts.append((lower, name, value.strip(b" \t"), kind, underscored))
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


class FieldIndex:
    """Look-ups by name over a list of fields; names ignore case and take `_` for `-`, values are latin-1 texts."""

    __slots__ = ("_values",)

    def __init__(self, lines: list[tuple[bytes, bytes]]) -> None:
        values: dict[str, list[str]] = {}
        for name, value in lines:
            values.setdefault(normalised_name(name.decode("latin-1")), []).append(value.decode("latin-1"))
        self._values = values

    def get(self, name: str) -> list[str] | None:
        """All values of the field with this normalised name, in order; None when it is absent."""
        return self._values.get(name)

    def lacks(self, names: AbstractSet[str]) -> bool:
        """Whether none of these normalised names occurs."""
        return names.isdisjoint(self._values)

    def items(self) -> list[tuple[str, list[str]]]:
        """(normalised name, values) pairs in the order of first appearance."""
        return list(self._values.items())


class RequestFields:
    """The header section of a request, judged and sorted; immutable, shared by all requests that repeat its bytes."""

    __slots__ = (
        "_index",
        "_lowered",
        "close",
        "coding_error",
        "content_length",
        "chunked",
        "expect",
        "forward",
        "forward_trusted",
        "forwarding",
        "has_connection",
        "host",
        "keep_alive",
        "lines",
        "te_trailers",
        "upgrade",
    )

    def __init__(self, section: bytes) -> None:
        """Raises `ProtocolError` (400, 417, 501) for anything that two parsers could read in two ways."""
        self.host: bytes | None = None
        self.content_length = -1
        self.chunked = False
        self.close = self.keep_alive = False
        self.upgrade: bytes | None = None
        self.expect = False
        self.te_trailers = False
        self.forwarding: dict[bytes, bytes] = {}
        self._index: FieldIndex | None = None
        self._lowered: FieldIndex | None = None
        try:
            parts = split_fields(section)
            self._judge(parts)
        except ValueError as error:
            raise ProtocolError(400, "Bad request", str(error)) from None

    def _judge(self, parts: list[tuple[bytes, bytes, bytes, int, bool]]) -> None:
        options: list[bytes] = []
        upgrade: bytes | None = None
        hops: list[tuple[bytes, bytes]] = []
        seen: set[bytes] = set()
        passed: list[tuple[bytes, bytes, bytes, bool]] = []
        for lower, name, value, kind, underscored in parts:
            if kind == _PLAIN or kind == _SERVER:
                passed.append((lower, name, value, False))
            elif kind == _HOST:
                if self.host is not None:
                    raise ValueError("more than one Host field")
                self.host = value
            elif kind == _LENGTH:
                if self.content_length >= 0:
                    raise ValueError("more than one Content-Length field")
                self.content_length = parse_length(value)
            elif kind == _CODING:
                if self.chunked:
                    raise ValueError("more than one Transfer-Encoding field")
                self._coding(value)
            elif kind == _CONNECTION:
                options += connection_options(value)
            elif kind == _HOP:
                hops.append((lower, value))
            elif kind == _FORWARDING:
                self._forwarding(lower, value, underscored)
            elif kind == _REWRITING:
                passed.append((lower, name, value, True))
            elif kind == _EXPECT:
                self._expectation(value)
            elif kind == _SINGLE:
                if lower in seen:
                    raise ValueError(f"more than one {name.decode('latin-1')} field")
                seen.add(lower)
                passed.append((lower, name, value, False))
        if self.chunked and self.content_length >= 0:
            raise ValueError("both Content-Length and Transfer-Encoding")
        for lower, value in hops:
            if lower == b"upgrade":
                upgrade = value
            elif lower == b"te" and b"trailers" in value.lower():
                self.te_trailers = True
        self.close = b"close" in options
        self.keep_alive = b"keep-alive" in options
        self.has_connection = bool(options)
        if upgrade and b"upgrade" in options:
            self.upgrade = upgrade
        dropped = frozenset(option for option in options if option not in PROTECTED_FIELDS)
        kept = [part for part in passed if part[0] not in dropped] if dropped else passed
        self.lines = [(name, value) for _, name, value, rewriting in kept if not rewriting]
        self.forward = b"".join([b"%b: %b\r\n" % line for line in self.lines])
        trusted = [(name, value) for _, name, value, _ in kept]
        self.forward_trusted = self.forward if len(trusted) == len(self.lines) else b"".join([b"%b: %b\r\n" % x for x in trusted])

    def _coding(self, value: bytes) -> None:
        """Only one `chunked` is understood (RFC 9112, section 6.1); other well-formed codings are 501."""
        if value.lower() == b"chunked":
            self.chunked = True
            return
        codings = [part.strip(b" \t") for part in value.split(b",")]
        if all(TOKEN.fullmatch(coding) for coding in codings) and codings[-1].lower() != b"chunked" and len(codings) == 1:
            raise ProtocolError(501, "Not implemented", "unknown transfer coding")
        if len(codings) == 2 and TOKEN.fullmatch(codings[0]) and codings[1] == b"chunked" and codings[0].lower() != b"chunked":
            raise ProtocolError(501, "Not implemented", "unknown transfer coding")
        raise ValueError("malformed Transfer-Encoding")

    def _expectation(self, value: bytes) -> None:
        if value.lower() != b"100-continue":
            raise ProtocolError(417, "Expectation failed", "unknown expectation")
        self.expect = True

    def _forwarding(self, name: bytes, value: bytes, underscored: bool) -> None:
        """Keep what trusted peers may tell: lists are joined, of single values the first one counts."""
        if underscored:
            return
        earlier = self.forwarding.get(name)
        if earlier is None:
            self.forwarding[name] = value
        elif name in (b"x-forwarded-for", b"via"):
            self.forwarding[name] = b"%b, %b" % (earlier, value)

    @property
    def index(self) -> FieldIndex:
        """Look-ups for plugins: the fields that go to the upstream, plus Host and the forwarding fields as sent."""
        index = self._index
        if index is None:
            lines = list(self.lines)
            if self.host is not None:
                lines.insert(0, (b"Host", self.host))
            lines += self.forwarding.items()
            if self.content_length >= 0:
                lines.append((b"Content-Length", b"%d" % self.content_length))
            if self.chunked:
                lines.append((b"Transfer-Encoding", b"chunked"))
            if self.upgrade:
                lines += [(b"Connection", b"Upgrade"), (b"Upgrade", self.upgrade)]
            if self.expect:
                lines.append((b"Expect", b"100-continue"))
            index = self._index = FieldIndex(lines)
        return index

    @property
    def lowered(self) -> FieldIndex:
        """The same with lower-case values, as routes compare header values without regard to case."""
        lowered = self._lowered
        if lowered is None:
            lines = [(name.encode("latin-1"), value.lower().encode("latin-1")) for name, values in self.index.items() for value in values]
            lowered = self._lowered = FieldIndex(lines)
        return lowered

    def get(self, name: str) -> list[str] | None:
        """The lower-case values of a field by its normalised name: what the router asks for."""
        return self.lowered.get(name)


CHARSET_TYPES = frozenset(
    (b"text/html", b"text/plain", b"text/xml", b"text/vnd.wap.wml", b"application/javascript", b"application/rss+xml")
)
"""Media types whose answers get a charset when they name none, as Kong 3.9's server layer does."""


class AnswerFields:
    """The header section of an upstream's answer, judged and sorted; immutable and shared like `RequestFields`."""

    __slots__ = ("_index", "chunked", "close", "content_length", "date", "forward", "keep_alive", "lines", "server", "trailer", "upgrade", "via")

    def __init__(self, section: bytes, charset: bytes, replaced: frozenset[bytes]) -> None:
        """`charset`: added to text answers without one (empty: never); `replaced`: names the gateway sets itself.

        Raises `AnswerError` for what an upstream must not send (RFC 9112, sections 5 and 6).
        """
        self.content_length = -1
        self.chunked = self.close = self.keep_alive = self.server = self.date = False
        self.via = b""
        self.upgrade = b""
        self.trailer = b""
        self._index: FieldIndex | None = None
        options: list[bytes] = []
        passed = []
        try:
            for lower, name, value, kind, _ in split_fields(section):
                if kind == _LENGTH:
                    length = parse_length(value)
                    if self.content_length not in (-1, length):
                        raise ValueError("two different Content-Length fields")
                    self.content_length = length
                elif kind == _CODING:
                    if self.chunked or value.lower() != b"chunked":
                        raise ValueError("unknown or repeated transfer coding")
                    self.chunked = True
                elif kind == _CONNECTION:
                    options += connection_options(value)
                elif kind == _HOP:
                    if lower == b"upgrade":
                        self.upgrade = value
                    elif lower == b"trailer":
                        self.trailer = value
                elif lower == b"via":
                    self.via = b"%b, %b" % (self.via, value) if self.via else value
                elif lower not in replaced:
                    if kind == _SERVER:
                        self.server = True
                    elif lower == b"date":
                        self.date = True
                    elif charset and lower == b"content-type":
                        value = with_charset(value, charset)
                    passed.append((lower, name, value))
        except ValueError as error:
            raise AnswerError(str(error)) from None
        if self.chunked and self.content_length >= 0:
            raise AnswerError("both Content-Length and Transfer-Encoding")
        self.close = b"close" in options
        self.keep_alive = b"keep-alive" in options
        dropped = frozenset(option for option in options if option not in PROTECTED_FIELDS)
        self.lines = [(name, value) for lower, name, value in passed if lower not in dropped]
        self.forward = b"".join([b"%b: %b\r\n" % line for line in self.lines])

    @property
    def index(self) -> FieldIndex:
        """Look-ups by name over the fields that are passed on."""
        index = self._index
        if index is None:
            lines = list(self.lines)
            if self.content_length >= 0:
                lines.append((b"Content-Length", b"%d" % self.content_length))
            index = self._index = FieldIndex(lines)
        return index


def with_charset(content_type: bytes, charset: bytes) -> bytes:
    """`content_type` with a charset parameter when its type should have one and it has none."""
    media, _, parameters = content_type.partition(b";")
    if media.strip().lower() not in CHARSET_TYPES or b"charset" in parameters.lower():
        return content_type
    return b"%b; charset=%b" % (content_type, charset)
