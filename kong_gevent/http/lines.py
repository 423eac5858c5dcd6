"""Field lines: which bytes they may consist of, and what is special about which names.

Strategy: a header section is checked as a whole by C-speed byte operations, then each field name is looked up in a
table that says what is special about it. Lines come again and again, so that a bounded number of them is remembered.
"""

from __future__ import annotations

import re

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


KNOWN_LINES: dict[bytes, tuple[int, str, bytes, bytes]] = {}
"""What `learn_line` has said, by the line; bounded."""


def learn_line(line: bytes) -> tuple[int, str, bytes, bytes]:
    """A field line's kind, look-up name, value and lower-case name; remembered, since most lines come again and again.

    Raises ValueError for folded lines, white space around names, names that are no tokens and lines without a colon.
    """
    name, colon, value = line.partition(b":")
    if not colon:
        raise ValueError("field line without a colon")
    lower, kind, normal = _NAMES[name]
    entry = (kind, normal, value.strip(b" \t"), lower)
    if len(line) <= MAX_KNOWN_LINE:
        if len(KNOWN_LINES) >= MAX_KNOWN_LINES:
            KNOWN_LINES.clear()
        KNOWN_LINES[line] = entry
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
