"""Header sections of upstreams' answers: judged, cleared of what belongs to one connection, and remembered."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any

from kong_gevent.errors import AnswerError
from kong_gevent.http.fields import FieldIndex
from kong_gevent.http.lines import (
    CODING,
    CONNECTION,
    HOP,
    LENGTH,
    OWN,
    PROTECTED_FIELDS,
    SERVER,
    connection_options,
    parse_length,
    split_fields,
)

CHARSET_TYPES = frozenset(
    (b"text/html", b"text/plain", b"text/xml", b"text/vnd.wap.wml", b"application/javascript", b"application/rss+xml")
)
"""Media types whose answers get a charset when they name none, as Kong 3.9's server layer does."""


class AnswerStyle:
    """What the gateway does to every proxied answer's header section.

    `charset`: added to text answers without one (empty: never); `replaced`: lower-case names the gateway sets itself;
    `product`: named in `Via` (empty: not added) and, as `server` says, in `Server` when the upstream named none.
    """

    __slots__ = ("charset", "product", "replaced", "server")

    def __init__(
        self, charset: bytes = b"", replaced: frozenset[bytes] = frozenset(), product: bytes = b"", server: bytes = b""
    ) -> None:
        self.charset = charset
        self.replaced = replaced
        self.product = product
        self.server = server

    def own_lines(self, fields: AnswerFields, minor: int) -> bytes:
        """`Via`, appended to the upstream's own, and `Server` when there is none."""
        lines = b""
        if self.product:
            own = b"1.%d %b" % (minor, self.product)
            lines = b"Via: %b, %b\r\n" % (fields.via, own) if fields.via else b"Via: %b\r\n" % own
        elif fields.via:
            lines = b"Via: %b\r\n" % fields.via
        if self.server and not fields.server:
            lines += b"Server: %b\r\n" % self.server
        return lines


class AnswerFields:
    """The header section of an upstream's answer, judged and sorted; immutable and shared like `RequestFields`."""

    __slots__ = (
        "_index",
        "untouched_by",
        "cut",
        "chunked",
        "close",
        "content_length",
        "date",
        "described",
        "own",
        "ready",
        "forward",
        "given_type",
        "keep_alive",
        "lines",
        "ruled",
        "server",
        "trailer",
        "upgrade",
        "via",
    )

    def __init__(self, section: bytes, minor: int, style: AnswerStyle) -> None:
        """`minor`: the HTTP/1 version of the answer. `ready` are all lines that are the same whenever it is repeated.

        Raises `AnswerError` for what an upstream must not send (RFC 9112, sections 5 and 6).
        """
        self.content_length = -1
        self.chunked = self.close = self.keep_alive = self.server = self.date = False
        self.via = b""
        self.given_type: bytes | None = None
        self.untouched_by: AbstractSet[str] | None = None
        self.cut: tuple[AbstractSet[str], bytes] | None = None
        self.ruled: tuple[Any, Any, Any] | None = None
        self.described: bytes | None = None  # its JSON in log records (see `pdk.record`), once it was asked for
        self.upgrade = b""
        self.trailer = b""
        self._index: FieldIndex | None = None
        options: list[bytes] = []
        passed = []
        try:
            for lower, name, value, kind in split_fields(section):
                if kind == LENGTH:
                    length = parse_length(value)
                    if self.content_length not in (-1, length):
                        raise ValueError("two different Content-Length fields")
                    self.content_length = length
                elif kind == CODING:
                    if self.chunked or value.lower() != b"chunked":
                        raise ValueError("unknown or repeated transfer coding")
                    self.chunked = True
                elif kind == CONNECTION:
                    options += connection_options(value)
                elif kind == HOP:
                    if lower == b"upgrade":
                        self.upgrade = value
                    elif lower == b"trailer":
                        self.trailer = value
                elif lower == b"via":
                    self.via = b"%b, %b" % (self.via, value) if self.via else value
                elif kind == OWN and b"_" in lower:
                    continue  # `Content_Length` and the like: some client may take it for the real one
                elif lower not in style.replaced:
                    if kind == SERVER:
                        self.server = True
                    elif lower == b"date":
                        self.date = True
                    elif style.charset and lower == b"content-type":
                        self.given_type = value
                        value = with_charset(value, style.charset)
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
        self.own = style.own_lines(self, minor)
        self.ready = self.forward + self.own

    @property
    def index(self) -> FieldIndex:
        """Look-ups by name over the fields that are passed on."""
        index = self._index
        if index is None:
            lines = list(self.lines)
            if self.content_length >= 0:
                lines.append((b"Content-Length", b"%d" % self.content_length))
            index = self._index = FieldIndex.of(lines)
        return index


def with_charset(content_type: bytes, charset: bytes) -> bytes:
    """`content_type` with a charset parameter when its type should have one and it has none."""
    media, _, parameters = content_type.partition(b";")
    if media.strip().lower() not in CHARSET_TYPES or b"charset" in parameters.lower():
        return content_type
    return b"%b; charset=%b" % (content_type, charset)
