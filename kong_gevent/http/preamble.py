"""The PROXY protocol's header, versions 1 and 2: what a load balancer says about a connection before its first byte.

Source: "The PROXY protocol, versions 1 & 2" of the HAProxy project. Nothing is guessed: what is not exactly a header
of one of the two versions is an error.
"""

from __future__ import annotations

import ipaddress
import re

LONGEST_LINE = 107
"""Bytes of a header of version 1, its line end included."""
LONGEST = 4096
"""Bytes of a header of version 2 with everything that it carries, as nginx has it."""
LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"
"""The header of a connection in whose name nobody speaks: the balancer's own, a health check for instance."""
_SIGNATURE = LOCAL[:12]
_FIXED = 16
_LINE = b"PROXY "
_PORT = re.compile(r"0|[1-9][0-9]{0,4}", re.ASCII)
_PROXIED = 1
_STREAM = 1
_FAMILIES = {0: 0, 1: 12, 2: 36, 3: 216}
"""Bytes of both addresses by family: unspecified, IPv4, IPv6, UNIX."""
_ADDRESS_BYTES = {1: 4, 2: 16}

Source = tuple[str, int]


def length_of(data: bytes) -> int | None:
    """Bytes of the header with which `data` (not empty) begins; None while that cannot be said yet.

    Raises ValueError when it is none, or a longer one than is accepted.
    """
    if _SIGNATURE.startswith(data[:12]):
        if len(data) < _FIXED:
            return None
        size = _FIXED + int.from_bytes(data[14:16])
        if size > LONGEST:
            raise ValueError(f"it has {size} bytes, and at most {LONGEST} are accepted")
        return size
    if not _LINE.startswith(data[:6]):
        raise ValueError(f"there is none, the connection begins with {data[:16]!r}")
    end = data.find(b"\r\n", 0, LONGEST_LINE)
    if end < 0 and len(data) >= LONGEST_LINE:
        raise ValueError(f"its line does not end within {LONGEST_LINE} bytes")
    return end + 2 if end >= 0 else None


def source_of(header: bytes) -> Source | None:
    """Address and port of the client that a whole header names; None when it names none (LOCAL, UNKNOWN, UNIX, …).

    What follows the addresses in version 2 (TLVs) is passed over. Raises ValueError for a malformed header.
    """
    return _source_of_line(header[:-2]) if header.startswith(_LINE) else _source_of_block(header)


def _source_of_line(line: bytes) -> Source | None:
    words = line.decode("latin-1").split(" ")
    if words[1] == "UNKNOWN":
        return None
    kinds = {"TCP4": ipaddress.IPv4Address, "TCP6": ipaddress.IPv6Address}
    if words[1] not in kinds or len(words) != 6:
        raise ValueError(f"its line is {line!r}")
    try:
        source, _ = [str(kinds[words[1]](word)) for word in words[2:4]]
    except ValueError as error:
        raise ValueError(f"an address is wrong in {line!r}") from error
    if b"%" in line or not all(_PORT.fullmatch(word) and int(word) <= 65535 for word in words[4:]):
        raise ValueError(f"a port or a zone is wrong in {line!r}")
    return source, int(words[4])


def _source_of_block(header: bytes) -> Source | None:
    version, command = divmod(header[12], 16)
    family, transport = divmod(header[13], 16)
    if version != 2 or command > _PROXIED:
        raise ValueError(f"version {version} and command {command} are unknown")
    if command != _PROXIED:
        return None
    if family not in _FAMILIES or transport > 2:
        raise ValueError(f"address family {family} and transport {transport} are unknown")
    if len(header) - _FIXED < _FAMILIES[family]:
        raise ValueError(f"it has {len(header) - _FIXED} bytes for addresses that take {_FAMILIES[family]}")
    size = _ADDRESS_BYTES.get(family)
    if size is None or transport != _STREAM:
        return None
    at = _FIXED + 2 * size
    return str(ipaddress.ip_address(header[_FIXED : _FIXED + size])), int.from_bytes(header[at : at + 2])
