"""Diffie-Hellman parameters of TLS listeners: the groups of RFC 7919 by name, or what a file says."""

from __future__ import annotations

import base64
import textwrap
from functools import cache

GROUPS = {
    "ffdhe2048": (2048, 560316),
    "ffdhe3072": (3072, 2625351),
    "ffdhe4096": (4096, 5736041),
    "ffdhe6144": (6144, 15705020),
    "ffdhe8192": (8192, 10965728),
}
"""Name → bits of the prime, and the number that makes it one (RFC 7919, appendix A)."""
GENERATOR = 2
_GUARD = 64


@cache
def group(name: str) -> bytes:
    """The parameters of a group, PEM."""
    bits, offset = GROUPS[name]
    prime = (1 << bits) - (1 << (bits - 64)) + ((_scaled_e(bits - 130) + offset) << 64) - 1
    content = _integer(prime) + _integer(GENERATOR)
    body = b"\x30" + _length(len(content)) + content
    lines = textwrap.wrap(base64.b64encode(body).decode(), 64)
    return "\n".join(["-----BEGIN DH PARAMETERS-----", *lines, "-----END DH PARAMETERS-----", ""]).encode()


def _scaled_e(power: int) -> int:
    """The whole part of Euler's number times two to the `power`."""
    term, total, divisor = 1 << (power + _GUARD), 0, 1
    while term:
        total += term
        term //= divisor
        divisor += 1
    return total >> _GUARD


def _integer(value: int) -> bytes:
    octets = value.to_bytes(value.bit_length() // 8 + 1, "big")
    return b"\x02" + _length(len(octets)) + octets


def _length(size: int) -> bytes:
    if size < 0x80:
        return bytes([size])
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(octets)]) + octets
