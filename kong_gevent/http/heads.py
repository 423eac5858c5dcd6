"""Request and answer heads: from the bytes of a connection to a verdict, with all limits applied.

Both readers are called with everything received so far and say "incomplete" by returning None; what is already wrong
is refused before the end of the head arrives, so that no peer can stall the gateway with a head that cannot be good.
"""

from __future__ import annotations

from kong_gevent.errors import AnswerError, ProtocolError
from kong_gevent.http.answers import AnswerFields, AnswerStyle
from kong_gevent.http.fields import RequestFields
from kong_gevent.http.lines import TOKEN

END = b"\r\n\r\n"
TARGET_BYTES = bytes(code for code in range(0x21, 0x7F) if code != 0x23)
"""Bytes that may stand in a request target: visible ASCII without `#` (RFC 9112, section 3.2)."""
STANDARD_METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"))
CACHED_HEADS = 1024
ADMITTED = 8
"""One in so many heads that were not known is remembered as a whole: those that come often are soon among them."""
CACHED_SECTIONS = 2048
CACHED_SECTION_BYTES = 1024


class RequestHead:
    """One request's first line and header section; `size` is the number of bytes it took."""

    __slots__ = ("fields", "method", "minor", "size", "target")

    def __init__(self, method: bytes, target: bytes, minor: int, fields: RequestFields, size: int) -> None:
        self.method = method
        self.target = target
        self.minor = minor
        self.fields = fields
        self.size = size


Scanned = tuple[bytes, bytes, int, RequestFields, int]
"""Method, target, minor version, fields and size of a request's head."""


class RequestReader:
    """Reads request heads under limits (bytes): the request line, one field line, the whole head."""

    __slots__ = ("_heads", "_known", "_misses", "head_limit", "line_limit")

    def __init__(self, line_limit: int = 8192, head_limit: int = 32768) -> None:
        self.line_limit = line_limit
        self.head_limit = head_limit
        self._known: dict[bytes, RequestFields] = {}
        self._heads: dict[bytes, Scanned] = {}
        self._misses = 0

    def read(self, data: bytes) -> RequestHead | None:
        """The head that `data` begins with, or None when more bytes are needed. Raises `ProtocolError`."""
        found = self.scan(data)
        return None if found is None else RequestHead(*found)

    def scan(self, data: bytes) -> Scanned | None:
        """As `read`, with the parts of the head as a tuple: method, target, minor version, fields, size."""
        end = data.find(END)
        if end < 0 or end > self.head_limit:
            self._check_incomplete(data)
            return None
        whole = data[:end]
        known = self._heads.get(whole)
        if known is not None:
            return known
        if data[:1] == b"\r":
            return self._after_empty_line(data)
        line_end = data.find(b"\r\n")
        parts = data[:line_end].split(b" ")
        if len(parts) != 3 or line_end > self.line_limit:
            raise self._bad_line(data[:line_end])
        method, target, version = parts
        if version == b"HTTP/1.1":
            minor = 1
        elif version == b"HTTP/1.0":
            minor = 0
        else:
            raise self._bad_version(version)
        if method not in STANDARD_METHODS and not TOKEN.fullmatch(method):
            raise ProtocolError(400, "Bad request", "method is not a token")
        if not target or target.translate(None, TARGET_BYTES):
            self.check_target(target)
        section = data[line_end + 2 : end]
        fields = self._known.get(section) or self._read_fields(section)
        if minor == 1:
            if fields.host is None:
                raise ProtocolError(400, "Bad request", "HTTP/1.1 without Host")
        elif fields.chunked:
            raise ProtocolError(400, "Bad request", "Transfer-Encoding in HTTP/1.0")
        found = (method, target, minor, fields, end + 4)
        self._misses += 1
        if not self._misses % ADMITTED and end <= CACHED_SECTION_BYTES:
            if len(self._heads) >= CACHED_HEADS:
                self._heads.clear()
            self._heads[whole] = found
        return found

    @staticmethod
    def check_target(target: bytes) -> None:
        """Refuse a request target with bytes that may not stand in one."""
        if not target or target.translate(None, TARGET_BYTES):
            raise ProtocolError(400, "Bad request", "bad byte in the request target")

    def _read_fields(self, section: bytes) -> RequestFields:
        if len(section) > self.line_limit and max(map(len, section.split(b"\r\n"))) > self.line_limit:
            raise ProtocolError(400, "Request header or cookie too large")
        fields = RequestFields(section)
        if len(section) <= CACHED_SECTION_BYTES:
            if len(self._known) >= CACHED_SECTIONS:
                self._known.clear()
            self._known[section] = fields
        return fields

    def _after_empty_line(self, data: bytes) -> Scanned | None:
        """One empty line before a request line is forgiven (RFC 9112, section 2.2)."""
        if data[:2] != b"\r\n" or data[2:3] == b"\r":
            raise ProtocolError(400, "Bad request", "more than one empty line before the request")
        found = self.scan(data[2:])
        return None if found is None else (*found[:4], found[4] + 2)

    def _check_incomplete(self, data: bytes) -> None:
        """Refuse a head that cannot become good any more."""
        head = data[: self.head_limit + 4]
        line_end = head.find(b"\r\n", 2 if head[:2] == b"\r\n" else 0)
        if (line_end if line_end >= 0 else len(head)) > self.line_limit:
            raise ProtocolError(414, "URI too long")
        if (
            head.count(b"\n") != head.count(b"\r\n")
            or b"\0" in head
            or b"\r" in head.removesuffix(b"\r").replace(b"\r\n", b"")
        ):
            raise ProtocolError(400, "Bad request", "bare line end or NUL in the head")
        if line_end > 0:
            self._check_line(head[:line_end].removeprefix(b"\r\n"))
        if len(head) > self.head_limit:
            raise ProtocolError(400, "Request header or cookie too large")
        last = head.rfind(b"\r\n")
        if line_end >= 0 and len(head) - last > self.line_limit:
            raise ProtocolError(400, "Request header or cookie too large")

    def _check_line(self, line: bytes) -> None:
        parts = line.split(b" ")
        if len(parts) != 3:
            raise self._bad_line(line)
        if parts[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
            raise self._bad_version(parts[2])

    def _bad_line(self, line: bytes) -> ProtocolError:
        if len(line) > self.line_limit:
            return ProtocolError(414, "URI too long")
        return ProtocolError(400, "Bad request", "malformed request line")

    @staticmethod
    def _bad_version(version: bytes) -> ProtocolError:
        if (
            len(version) == 8
            and version[:5] == b"HTTP/"
            and version[5:6].isdigit()
            and version[6:7] == b"."
            and version[7:].isdigit()
        ):
            if version[5:6] not in (b"0", b"1"):
                return ProtocolError(505, "HTTP version not supported")
        return ProtocolError(400, "Bad request", "malformed HTTP version")


class AnswerHead:
    """One answer's status line and header section, `size` bytes long. Never changed, since it is shared."""

    __slots__ = ("fields", "minor", "reason", "size", "status")

    def __init__(self, status: int, reason: bytes, minor: int, fields: AnswerFields, size: int) -> None:
        self.status = status
        self.reason = reason
        self.minor = minor
        self.fields = fields
        self.size = size


class AnswerReader:
    """Reads answer heads of upstreams; `head_limit` in bytes."""

    __slots__ = ("_heads", "_known", "_lines", "_misses", "_style", "head_limit")

    def __init__(self, style: AnswerStyle | None = None, head_limit: int = 65536) -> None:
        self._style = style or AnswerStyle()
        self.head_limit = head_limit
        self._known: tuple[dict[bytes, AnswerFields], dict[bytes, AnswerFields]] = ({}, {})
        self._lines: dict[bytes, tuple[int, bytes, int]] = {}
        self._heads: dict[bytes, AnswerHead] = {}
        self._misses = 0

    def read(self, data: bytes) -> AnswerHead | None:
        """The head that `data` begins with, or None when more bytes are needed. Raises `AnswerError`."""
        end = data.find(END)
        if end < 0:
            if len(data) > self.head_limit:
                raise AnswerError("answer head too large")
            if not data.startswith(b"HTTP/1."[: len(data)]):
                raise AnswerError("not an HTTP/1 answer")
            return None
        if end > self.head_limit:
            raise AnswerError("answer head too large")
        whole = data[:end]
        found = self._heads.get(whole)
        if found is not None:
            return found
        line_end = data.find(b"\r\n")
        line = data[:line_end]
        known = self._lines.get(line)
        status, reason, minor = known if known is not None else self._read_line(line)
        section = data[line_end + 2 : end]
        fields = self._known[minor].get(section) or self._read_fields(section, minor)
        found = AnswerHead(status, reason, minor, fields, end + 4)
        self._misses += 1
        if not self._misses % ADMITTED and end <= CACHED_SECTION_BYTES:
            if len(self._heads) >= CACHED_HEADS:
                self._heads.clear()
            self._heads[whole] = found
        return found

    def _read_fields(self, section: bytes, minor: int) -> AnswerFields:
        fields = AnswerFields(section, minor, self._style)
        if fields.chunked and not minor:
            raise AnswerError("Transfer-Encoding in HTTP/1.0")
        if len(section) <= CACHED_SECTION_BYTES:
            known = self._known[minor]
            if len(known) >= CACHED_SECTIONS:
                known.clear()
            known[section] = fields
        return fields

    def _read_line(self, line: bytes) -> tuple[int, bytes, int]:
        """Status, reason phrase and minor version; 3 digits from 100 to 599 (RFC 9112, section 4)."""
        version, _, rest = line.partition(b" ")
        code, _, reason = rest.partition(b" ")
        if (
            version not in (b"HTTP/1.1", b"HTTP/1.0")
            or len(code) != 3
            or not code.isdigit()
            or not 100 <= int(code) <= 599
        ):
            raise AnswerError("malformed status line")
        if any(byte < 32 and byte != 9 or byte == 127 for byte in reason):
            raise AnswerError("control character in the reason phrase")
        parsed = (int(code), reason, 1 if version == b"HTTP/1.1" else 0)
        if len(self._lines) < CACHED_SECTIONS and len(line) <= 64:
            self._lines[line] = parsed
        return parsed
