"""PROXY protocol headers, good and bad, written down byte by byte from its specification and not made with our code."""

import socket
import struct

SIGNATURE = bytes.fromhex("0D0A0D0A000D0A515549540A")


def v2(command: int, family: int, block: bytes, length: int | None = None) -> bytes:
    """A header of version 2: version and command, family and transport, and what follows the length."""
    return SIGNATURE + struct.pack("!BBH", command, family, len(block) if length is None else length) + block


def inet(source: str, port: int, destination: str = "192.0.2.1", target: int = 443) -> bytes:
    """The addresses of a TCP connection, IPv4 or IPv6."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    if family == socket.AF_INET6 and ":" not in destination:
        destination = "2001:db8::1"
    return socket.inet_pton(family, source) + socket.inet_pton(family, destination) + struct.pack("!HH", port, target)


def tlv(kind: int, value: bytes) -> bytes:
    """One of the values that may follow the addresses."""
    return struct.pack("!BH", kind, len(value)) + value


def named(address: str, port: int = 4711) -> bytes:
    """A header of version 2 that names this client."""
    return v2(0x21, 0x21 if ":" in address else 0x11, inet(address, port))


GOOD: dict[str, tuple[bytes, tuple[str, int] | None]] = {
    "v1 TCP4": (b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n", ("203.0.113.7", 56324)),
    "v1 TCP4 extremes": (b"PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n", ("255.255.255.255", 65535)),
    "v1 TCP6": (b"PROXY TCP6 2001:db8::7 2001:db8::1 1 443\r\n", ("2001:db8::7", 1)),
    "v1 TCP6 written long": (
        b"PROXY TCP6 2001:0db8:0000:0000:0000:0000:0000:0007 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
        ("2001:db8::7", 65535),
    ),
    "v1 UNKNOWN": (b"PROXY UNKNOWN\r\n", None),
    "v1 UNKNOWN with more": (b"PROXY UNKNOWN whatever it may be\r\n", None),
    "v1 UNKNOWN longest": (b"PROXY UNKNOWN " + b"x" * (107 - 16) + b"\r\n", None),
    "v2 IPv4": (named("203.0.113.8", 4711), ("203.0.113.8", 4711)),
    "v2 IPv6": (named("2001:db8::8", 65535), ("2001:db8::8", 65535)),
    "v2 LOCAL": (v2(0x20, 0x00, b""), None),
    "v2 LOCAL with addresses": (v2(0x20, 0x11, inet("203.0.113.8", 1)), None),
    "v2 LOCAL with an unknown family": (v2(0x20, 0xFF, b"x"), None),
    "v2 UNSPEC": (v2(0x21, 0x00, b""), None),
    "v2 UNSPEC with more": (v2(0x21, 0x00, b"x" * 40), None),
    "v2 UNIX": (v2(0x21, 0x31, b"/tmp/a".ljust(108, b"\0") + b"/tmp/b".ljust(108, b"\0")), None),
    "v2 UDP": (v2(0x21, 0x12, inet("203.0.113.8", 1)), None),
    "v2 TLVs": (
        v2(0x21, 0x11, inet("203.0.113.9", 9) + tlv(0x01, b"h2") + tlv(0x02, b"a.test") + tlv(0x04, b"\0" * 500)),
        ("203.0.113.9", 9),
    ),
    "v2 longest": (
        v2(0x21, 0x11, inet("203.0.113.9", 9) + tlv(0x04, b"\0" * (4096 - 16 - 12 - 3))),
        ("203.0.113.9", 9),
    ),
}
"""Headers, and the client that each names."""
BAD: dict[str, bytes] = {
    "none": b"GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n",
    "TLS": bytes.fromhex("1603010200010001fc0303"),
    "v1 lower case": b"proxy TCP4 203.0.113.7 192.0.2.1 1 2\r\n",
    "v1 without a protocol": b"PROXY \r\n",
    "v1 another protocol": b"PROXY UDP4 203.0.113.7 192.0.2.1 1 2\r\n",
    "v1 bare line feed": b"PROXY TCP4 203.0.113.7 192.0.2.1 1 2\n" + b"GET / HTTP/1.1\n" * 8,
    "v1 two spaces": b"PROXY TCP4  203.0.113.7 192.0.2.1 1 2\r\n",
    "v1 tab": b"PROXY TCP4\t203.0.113.7 192.0.2.1 1 2\r\n",
    "v1 too few words": b"PROXY TCP4 203.0.113.7 192.0.2.1 1\r\n",
    "v1 too many words": b"PROXY TCP4 203.0.113.7 192.0.2.1 1 2 3\r\n",
    "v1 name as address": b"PROXY TCP4 localhost 192.0.2.1 1 2\r\n",
    "v1 address of the other family": b"PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
    "v1 other family, other way": b"PROXY TCP6 203.0.113.7 192.0.2.1 1 2\r\n",
    "v1 address with zeros": b"PROXY TCP4 203.000.113.007 192.0.2.1 1 2\r\n",
    "v1 address with a zone": b"PROXY TCP6 fe80::1%eth0 2001:db8::1 1 2\r\n",
    "v1 bad destination": b"PROXY TCP4 203.0.113.7 192.0.2.256 1 2\r\n",
    "v1 port too large": b"PROXY TCP4 203.0.113.7 192.0.2.1 65536 2\r\n",
    "v1 port with a sign": b"PROXY TCP4 203.0.113.7 192.0.2.1 +1 2\r\n",
    "v1 port with a zero": b"PROXY TCP4 203.0.113.7 192.0.2.1 01 2\r\n",
    "v1 empty port": b"PROXY TCP4 203.0.113.7 192.0.2.1 1 \r\n",
    "v1 other digits": "PROXY TCP4 203.0.113.7 192.0.2.1 ٣ 2\r\n".encode(),
    "v1 too long": b"PROXY UNKNOWN " + b"x" * (107 - 15) + b"\r\n",
    "v1 endless": b"PROXY UNKNOWN " + b"x" * 5000,
    "v2 another signature": SIGNATURE[:11] + b"X" + b"\x21\x11\0\x0c" + b"\0" * 12,
    "v2 version 1": v2(0x11, 0x11, inet("203.0.113.8", 1)),
    "v2 version 3": v2(0x31, 0x11, inet("203.0.113.8", 1)),
    "v2 unknown command": v2(0x22, 0x11, inet("203.0.113.8", 1)),
    "v2 unknown family": v2(0x21, 0x41, inet("203.0.113.8", 1)),
    "v2 unknown transport": v2(0x21, 0x13, inet("203.0.113.8", 1)),
    "v2 too short for IPv4": v2(0x21, 0x11, inet("203.0.113.8", 1)[:11]),
    "v2 too short for IPv6": v2(0x21, 0x21, inet("203.0.113.8", 1)),
    "v2 too short for UNIX": v2(0x21, 0x31, b"\0" * 215),
    "v2 too long": v2(0x21, 0x11, inet("203.0.113.8", 1), 4096 - 16 + 1),
    "v2 longest length": v2(0x21, 0x11, inet("203.0.113.8", 1), 65535),
}
"""What is no header. Each can be told from its own bytes."""
