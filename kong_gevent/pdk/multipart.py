"""Multipart forms (RFC 7578) whose parts are changed while the others keep their octets."""

from __future__ import annotations

import re
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP

_NAME = re.compile(rb'(;\s*name=)("(?:[^"\\\r\n]|\\.)*"|[^\s;"]+)', re.IGNORECASE)


def parse_head(head: bytes) -> Message:
    """The fields at the head of a part."""
    return BytesParser(policy=HTTP).parsebytes(head + b"\r\n\r\n", headersonly=True)


def boundary_of(content_type: str) -> bytes | None:
    """The boundary that a media type names."""
    found = parse_head(b"Content-Type: " + content_type.encode("latin-1", "replace")).get_boundary()
    return found.encode("latin-1", "replace") if found else None


class MultipartForm:
    """A form taken apart; `encode` puts it together again."""

    def __init__(self, boundary: bytes, body: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        preamble, *parts = (b"\r\n" + body).split(self._delimiter)
        self._preamble = preamble.removeprefix(b"\r\n")
        self._parts: list[tuple[str | None, bytes]] = []
        self._rest = b"--\r\n"
        for part in parts:
            if part.startswith(b"--"):
                self._rest = part
                break
            self._parts.append((_name_of(part), part))

    def __contains__(self, name: str) -> bool:
        return any(known == name for known, _ in self._parts)

    def remove(self, name: str) -> None:
        """Take all parts of this name out."""
        self._parts = [(known, part) for known, part in self._parts if known != name]

    def rename(self, old: str, new: str) -> None:
        """Give the parts of a name another one."""
        if old not in self or old == new:
            return
        self.remove(new)
        line = b'\\g<1>"' + _quoted(new).replace(b"\\", b"\\\\") + b'"'
        self._parts = [
            (new, _NAME.sub(line, part, count=1)) if known == old else (known, part) for known, part in self._parts
        ]

    def set(self, name: str, value: str) -> None:
        """One part of this name with a text, in the place of the first one there is, else at the end."""
        head = b'\r\nContent-Disposition: form-data; name="' + _quoted(name) + b'"\r\n\r\n'
        made = (name, head + value.encode("utf-8", "surrogateescape"))
        names = [known for known, _ in self._parts]
        at = names.index(name) if name in names else len(names)
        self.remove(name)
        self._parts.insert(at, made)

    def encode(self) -> bytes:
        """The form's octets."""
        lines = [self._preamble, *(part for _, part in self._parts), self._rest]
        return self._delimiter.join(lines).removeprefix(b"\r\n")


def _name_of(part: bytes) -> str | None:
    name = parse_head(part.removeprefix(b"\r\n").partition(b"\r\n\r\n")[0]).get_param(
        "name", header="content-disposition"
    )
    return name if isinstance(name, str) else None


def _quoted(name: str) -> bytes:
    """A name within quotes, as browsers write it (WHATWG HTML, "multipart/form-data")."""
    safe = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    return safe.encode("utf-8", "surrogateescape")
