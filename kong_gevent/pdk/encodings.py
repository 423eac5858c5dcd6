"""Content encodings (RFC 9110, section 8.4) that bodies can be read through: gzip and deflate."""

from __future__ import annotations

import zlib

KNOWN = frozenset(("gzip", "x-gzip", "deflate"))
IDENTITY = frozenset(("", "identity"))


def is_readable(encoding: str | None) -> bool:
    """Whether a body with this `Content-Encoding` can be decoded; several encodings on top of each other cannot."""
    name = (encoding or "").strip().lower()
    return name in KNOWN or name in IDENTITY


def is_encoded(encoding: str | None) -> bool:
    """Whether this `Content-Encoding` says anything."""
    return (encoding or "").strip().lower() not in IDENTITY


def readable_only(accepted: str) -> str:
    """An `Accept-Encoding` for an upstream whose answer has to be read: of what is accepted, what can be decoded."""
    kept = [part.strip() for part in accepted.split(",") if part.partition(";")[0].strip().lower() in KNOWN]
    return ", ".join(kept) or "identity"


def decode(encoding: str | None, data: bytes, limit: int) -> bytes:
    """The decoded body. Raises ValueError when it is broken, or larger than `limit` bytes when decoded."""
    if not is_encoded(encoding) or not data:
        return data
    if not is_readable(encoding):
        raise ValueError(f"the content encoding {encoding!r} is not known")
    try:
        return _inflate(data, 47, limit)  # gzip or zlib, told by its first octets
    except zlib.error as error:
        if (encoding or "").strip().lower() != "deflate":
            raise ValueError(str(error)) from error
    try:
        return _inflate(data, -15, limit)  # some servers take "deflate" for deflate without zlib's frame
    except zlib.error as error:
        raise ValueError(str(error)) from error


def _inflate(data: bytes, window: int, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while data:
        stream = zlib.decompressobj(window)
        part = stream.decompress(data, limit + 1 - size)
        size += len(part)
        if size > limit:
            raise ValueError("the decoded body is too large")
        if not stream.eof:
            raise zlib.error("the encoded body is cut")
        parts.append(part)
        data = stream.unused_data.lstrip(b"\0")  # another member may follow (RFC 1952, section 2.2)
    return b"".join(parts)
