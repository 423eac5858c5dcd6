"""What a client says first in a TLS handshake (RFC 8446, section 4.1.2)."""

from __future__ import annotations

_HEADER = 5
"""Bytes before what a record holds: its type, version and length."""
_BEGINNING = 4 + 2 + 32
"""Bytes of the message before the identifier of a session: its type and length, version, random bytes."""
_SERVER_NAME = b"\0\0"
_NAME_AT = 4 + 2 + 1 + 2
"""Where the name itself begins in an extension that holds one (RFC 6066, section 3)."""


def server_name(data: bytes) -> str | None:
    """The name of the server that a client asks for, if it names one; `data`: its first records.

    They are to be whole and in order, as OpenSSL has found them: of what is not, something or nothing comes out.
    """
    message = _message(data)
    try:
        at = _BEGINNING
        at += 1 + message[at]  # identifier of a session
        at += 2 + int.from_bytes(message[at : at + 2])  # ciphers
        at += 1 + message[at]  # compression
        end = at + 2 + int.from_bytes(message[at : at + 2])
        at += 2
        while at < end:
            size = int.from_bytes(message[at + 2 : at + 4])
            if message[at : at + 2] == _SERVER_NAME:
                return message[at + _NAME_AT : at + 4 + size].decode("ascii")
            at += 4 + size
    except (IndexError, UnicodeDecodeError):
        pass
    return None


def _message(data: bytes) -> bytes:
    """What the records hold."""
    parts, at = [], 0
    while at < len(data):
        end = at + _HEADER + int.from_bytes(data[at + 3 : at + _HEADER])
        parts.append(data[at + _HEADER : end])
        at = end
    return b"".join(parts)
