"""The chunked transfer coding (RFC 9112, section 7.1), read strictly: data out, framing checked, extensions dropped."""

from __future__ import annotations

import re

from kong_gevent.http.lines import FIELD_BYTES, FORWARDING_FIELDS, HOP_FIELDS, IDENTITY_FIELDS, split_fields

SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(;[^\r\n]*)?")
_plain_size = re.compile(rb"([0-9A-Fa-f]{1,16})\r\n").match
MAX_LINE = 4096
"""Bytes of a chunk-size line with its extensions, and of one trailer line."""
MAX_TRAILERS = 16384
FORBIDDEN_TRAILERS = (
    HOP_FIELDS
    | IDENTITY_FIELDS
    | frozenset(FORWARDING_FIELDS)
    | frozenset(
        (
            b"transfer-encoding",
            b"content-length",
            b"host",
            b"cache-control",
            b"max-forwards",
            b"authorization",
            b"proxy-authorization",
            b"proxy-authenticate",
            b"www-authenticate",
            b"set-cookie",
            b"cookie",
            b"content-encoding",
            b"content-type",
            b"content-range",
            b"expect",
            b"range",
            b"age",
            b"expires",
            b"date",
            b"location",
            b"retry-after",
            b"vary",
            b"warning",
            b"pragma",
            b"forwarded",
            b"x-kong-request-id",
        )
    )
)
"""Fields that must not come as trailers: framing, routing, authentication and control (RFC 9110, section 6.5.1)."""

_SIZE, _DATA, _DATA_END, _TRAILER, _DONE = range(5)


class ChunkedDecoder:
    """Push bytes in, take data out. ValueError tells what breaks the coding; after it nothing more may be fed.

    `done` turns true with the last byte of the trailer section; `rest` then holds what came behind it, `trailers` the
    (name, value) pairs that may be passed on.
    """

    __slots__ = ("_left", "_line", "_state", "_trailer", "_trailer_size", "done", "rest", "trailers")

    def __init__(self) -> None:
        self._state = _SIZE
        self._left = 0
        self._line = b""
        self._trailer: list[tuple[bytes, bytes, bytes, int]] = []
        self._trailer_size = 0
        self.done = False
        self.rest = b""
        self.trailers: list[tuple[bytes, bytes]] = []

    def feed(self, data: bytes) -> bytes:
        """Decode `data`; returns the body bytes in it (maybe none)."""
        pieces: list[bytes] = []
        position = 0
        size = len(data)
        while position < size:
            state = self._state
            if state == _DATA:
                take = min(self._left, size - position)
                pieces.append(data[position : position + take])
                position += take
                self._left -= take
                if not self._left:
                    self._state = _DATA_END
                    if data.startswith(b"\r\n", position):  # in line, as the size below: chunks may be tiny
                        self._state = _SIZE
                        position += 2
            elif state == _DONE:
                break
            elif state == _SIZE and not self._line and (plain := _plain_size(data, position)) is not None:
                self._begin_chunk(plain[1])
                position = plain.end()
            else:
                position = self._line_state(data, position)
        if self.done:
            self.rest = data[position:]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _line_state(self, data: bytes, position: int) -> int:
        """Take one line (a size, the end of a chunk's data, a trailer) or keep its beginning; the new position."""
        end = data.find(b"\n", position)
        part = data[position : end + 1] if end >= 0 else data[position:]
        line = self._line + part if self._line else part
        if self._state == _DATA_END and not b"\r\n".startswith(line):
            raise ValueError("chunk data not followed by CRLF")
        if len(line) > MAX_LINE:
            raise ValueError("line of the chunked coding too long")
        if end < 0:
            self._check_partial(line)
            self._line = line
            return len(data)
        self._line = b""
        if line[-2:] != b"\r\n":
            raise ValueError("bare LF in the chunked coding")
        self._take_line(line[:-2])
        return end + 1

    def _check_partial(self, line: bytes) -> None:
        if b"\r" in line[:-1]:
            raise ValueError("bare CR in the chunked coding")
        if self._state == _SIZE and line.rstrip(b"\r") and not SIZE.fullmatch(line.rstrip(b"\r")):
            raise ValueError("malformed chunk size")

    def _take_line(self, line: bytes) -> None:
        if self._state == _DATA_END:
            self._state = _SIZE
        elif self._state == _SIZE:
            match = SIZE.fullmatch(line)
            if match is None or (match[2] and match[2].translate(None, FIELD_BYTES)):
                raise ValueError("malformed chunk size or extension")
            self._begin_chunk(match[1])
        elif line:
            self._trailer += split_fields(line)
            self._trailer_size += len(line) + 2
            if self._trailer_size > MAX_TRAILERS:
                raise ValueError("trailer section too large")
        else:
            self._finish()

    def _begin_chunk(self, size: bytes) -> None:
        self._left = int(size, 16)
        self._state = _DATA if self._left else _TRAILER

    def _finish(self) -> None:
        self.trailers = [
            (name, value)
            for lower, name, value, _ in self._trailer
            if lower.replace(b"_", b"-") not in FORBIDDEN_TRAILERS
        ]
        self._state = _DONE
        self.done = True


def encode_chunk(data: bytes) -> bytes:
    """One chunk holding `data`, which must not be empty (an empty chunk would end the body)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def last_chunk(trailers: list[tuple[bytes, bytes]] | None = None) -> bytes:
    """The end of a chunked body, with its trailer fields."""
    return b"0\r\n%b\r\n" % b"".join([b"%b: %b\r\n" % field for field in trailers or ()])
