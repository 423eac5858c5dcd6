"""Multipart forms (RFC 7578): what they hold, and changes to some parts while the others keep their octets.

Strategy: whoever sends a form decides how many parts it has and what their heads look like, so that no more of it is
read than names need. Lines may end in any way; the same reading serves looking for a field and taking it out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_BLANK_LINE = re.compile(rb"(?>\r\n|\r|\n)(?>\r\n|\r|\n)")
_DELIMITER_END = re.compile(rb"(--)?[ \t]*(?=\r|\n|\Z)")
_DISPOSITION = re.compile(rb"[\r\n]content-disposition[ \t]*:((?:[^\r\n]++|(?>\r\n|\r|\n)[ \t])*+)", re.IGNORECASE)
_PARAMETER = re.compile(rb';\s*([^=;\s]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s;]*)', re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


def boundary_of(content_type: str) -> bytes | None:
    """The boundary that a media type names."""
    text = content_type.encode("latin-1", "replace")
    found = _parameter(b"boundary", text, 0, len(text))
    return _value(found).rstrip() or None if found is not None else None


class Part(NamedTuple):
    """A part of a form: its name (None: it has none), the delimiter before it, and all that follows up to the next."""

    name: str | None
    delimiter: bytes
    octets: bytes

    @property
    def content(self) -> bytes:
        """What the part holds, behind its head."""
        blank = _BLANK_LINE.search(self.octets)
        return b"" if blank is None else self.octets[blank.end() :]


class MultipartForm:
    """A form taken apart; `encode` puts it together again."""

    def __init__(self, boundary: bytes, body: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        self.parts: list[Part] = []
        self._rest = self._delimiter + b"--\r\n"
        found = list(_delimiters(b"--" + boundary, body))
        self._preamble = body[: found[0][0]] if found else body
        for (start, end, closes), following in zip(found, [*found[1:], (len(body), 0, True)], strict=False):
            if closes:
                self._rest = body[start:]
                break
            octets = body[end : following[0]]
            self.parts.append(Part(_name_of(octets), body[start:end], octets))

    def __contains__(self, name: str) -> bool:
        return any(part.name == name for part in self.parts)

    def remove(self, name: str) -> None:
        """Take all parts of this name out."""
        self.parts = [part for part in self.parts if part.name != name]

    def rename(self, old: str, new: str) -> None:
        """Give the parts of a name another one."""
        if old not in self or old == new:
            return
        self.remove(new)
        self.parts = [
            Part(new, part.delimiter, _renamed(part.octets, new)) if part.name == old else part for part in self.parts
        ]

    def set(self, name: str, value: str) -> None:
        """One part of this name with a text, in the place of the first one there is, else at the end."""
        head = b'\r\nContent-Disposition: form-data; name="' + _quoted(name) + b'"\r\n\r\n'
        made = Part(name, self._delimiter, head + value.encode("utf-8", "surrogateescape"))
        names = [part.name for part in self.parts]
        at = names.index(name) if name in names else len(names)
        self.remove(name)
        self.parts.insert(at, made)

    def encode(self) -> bytes:
        """The form's octets."""
        parts = b"".join([part.delimiter + part.octets for part in self.parts])
        return (self._preamble + parts + self._rest).removeprefix(b"\r\n")


def _delimiters(mark: bytes, body: bytes) -> Iterator[tuple[int, int, bool]]:
    """Where delimiters begin, with the line end before them, and end, without the one behind; whether they close."""
    at = body.find(mark)
    while at >= 0:
        start = at - 2 if body[at - 2 : at] == b"\r\n" else at - 1 if body[at - 1 : at] in (b"\r", b"\n") else at
        end = _DELIMITER_END.match(body, at + len(mark))
        if end is not None and (start < at or at == 0):
            yield start, end.end(), bool(end[1])
        at = body.find(mark, at + 1)


def _name_in(octets: bytes) -> re.Match[bytes] | None:
    """Where the head of a part tells its name."""
    blank = _BLANK_LINE.search(octets)
    disposition = _DISPOSITION.search(octets, 0, len(octets) if blank is None else blank.start())
    return _parameter(b"name", octets, *disposition.span(1)) if disposition is not None else None


def _name_of(octets: bytes) -> str | None:
    name = _name_in(octets)
    return None if name is None else _value(name).decode("utf-8", "replace")


def _renamed(octets: bytes, name: str) -> bytes:
    found = _name_in(octets)
    return octets if found is None else b'%b"%b"%b' % (octets[: found.start(2)], _quoted(name), octets[found.end(2) :])


def _parameter(wanted: bytes, text: bytes, start: int, end: int) -> re.Match[bytes] | None:
    """A parameter behind the value of a field, which is a part of a text."""
    return next((found for found in _PARAMETER.finditer(text, start, end) if found[1].lower() == wanted), None)


def _value(parameter: re.Match[bytes]) -> bytes:
    """What a parameter says, without quotes."""
    value = parameter[2]
    is_quoted = len(value) > 1 and value[:1] == value[-1:] == b'"'
    return _ESCAPED.sub(rb"\1", value[1:-1]) if is_quoted else value


def _quoted(name: str) -> bytes:
    """A name within quotes, as browsers write it (WHATWG HTML, "multipart/form-data")."""
    safe = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    return safe.encode("utf-8", "surrogateescape")
