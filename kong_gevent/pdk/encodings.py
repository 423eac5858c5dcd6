"""Content encodings (RFC 9110, section 8.4) that bodies can be read through: gzip, deflate, br and zstd."""

from __future__ import annotations

import zlib
from collections.abc import Callable

from kong_gevent.offload import offload

IDENTITY = frozenset(("", "identity"))
_LARGE = 1 << 16
"""Bytes of an encoded body that takes a millisecond or more to decode."""
_BROTLI_STEP = 1 << 16
_ZSTD_WINDOW = 23
"""Greatest window of zstd that is accepted, as a power of two (RFC 8878, section 3.1.1.1.2: 8 MiB)."""
_MEMBERS = 2048
"""Members of gzip, or frames of zstd, that a body may consist of: what is left is copied for each."""


def is_readable(encoding: str | None) -> bool:
    """Whether a body with this `Content-Encoding` can be decoded; several encodings on top of each other cannot."""
    name = (encoding or "").strip().lower()
    return name in _DECODERS or name in IDENTITY


def is_encoded(encoding: str | None) -> bool:
    """Whether this `Content-Encoding` says anything."""
    return (encoding or "").strip().lower() not in IDENTITY


def readable_only(accepted: str) -> str:
    """An `Accept-Encoding` for an upstream whose answer has to be read: of what is accepted, what can be decoded."""
    kept = [part.strip() for part in accepted.split(",") if part.partition(";")[0].strip().lower() in _DECODERS]
    return ", ".join(kept) or "identity"


def decode(encoding: str | None, data: bytes, limit: int) -> bytes:
    """The decoded body. Raises ValueError when it is broken, or larger than `limit` bytes when decoded.

    Of large ones a thread of the pool takes care; other requests go on meanwhile.
    """
    if not is_encoded(encoding) or not data:
        return data
    decoder = _DECODERS.get((encoding or "").strip().lower())
    if decoder is None:
        raise ValueError(f"the content encoding {encoding!r} is not known")
    if len(data) > _LARGE:
        return offload(decoder, data, limit)
    return decoder(data, limit)


def _gzip(data: bytes, limit: int) -> bytes:
    try:
        return _inflate(data, 47, limit)  # gzip or zlib, told by its first octets
    except zlib.error as error:
        raise ValueError(str(error)) from error


def _deflate(data: bytes, limit: int) -> bytes:
    try:
        return _inflate(data, 47, limit)
    except zlib.error:
        pass  # some servers take "deflate" for deflate without zlib's frame
    try:
        return _inflate(data, -15, limit)
    except zlib.error as error:
        raise ValueError(str(error)) from error


def _inflate(data: bytes, window: int, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while data:
        if len(parts) == _MEMBERS:
            raise zlib.error("the encoded body has too many members")
        stream = zlib.decompressobj(window)
        part = stream.decompress(data, limit + 1 - size)
        size = _within(limit, size + len(part))
        if not stream.eof:
            raise zlib.error("the encoded body is cut")
        parts.append(part)
        data = stream.unused_data.lstrip(b"\0")  # another member may follow (RFC 1952, section 2.2)
    return b"".join(parts)


def _brotli(data: bytes, limit: int) -> bytes:
    import brotli  # loaded when the first such body comes: it takes memory in every worker

    stream = brotli.Decompressor()
    parts: list[bytes] = []
    size = 0
    try:
        while not stream.is_finished():
            part = stream.process(data, output_buffer_limit=_BROTLI_STEP)
            data = b""
            size = _within(limit, size + len(part))
            parts.append(part)
            if not part and stream.can_accept_more_data():
                raise ValueError("the encoded body is cut")
    except brotli.error as error:
        raise ValueError(str(error)) from error
    return b"".join(parts)


def _zstd(data: bytes, limit: int) -> bytes:
    from backports import zstd  # as above; from Python 3.14 on it is in the standard library

    parts: list[bytes] = []
    size = 0
    try:
        while data:
            if len(parts) == _MEMBERS:
                raise ValueError("the encoded body has too many frames")
            stream = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW})
            part = stream.decompress(data, limit + 1 - size)
            size = _within(limit, size + len(part))
            if not stream.eof:
                raise ValueError("the encoded body is cut")
            parts.append(part)
            data = stream.unused_data  # another frame may follow (RFC 8878, section 3.1)
    except zstd.ZstdError as error:
        raise ValueError(str(error)) from error
    return b"".join(parts)


def _within(limit: int, size: int) -> int:
    if size > limit:
        raise ValueError("the decoded body is too large")
    return size


_DECODERS: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
