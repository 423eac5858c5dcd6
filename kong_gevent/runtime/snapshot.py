"""The last good configuration on disk, with which a node starts while its datastore is away.

One line of JSON says whose configuration this is and what the rest must look like; then follows one line for each
entity, `<kind> <JSON>`. The file holds what plugins are configured with, secrets included, so that only its owner may
read it; it is replaced as a whole or not at all, and one that is not exactly as it was written is refused.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from kong_gevent.db import codec
from kong_gevent.errors import GatewayError

FORMAT = "kong-gevent last good configuration"
VERSION = 1
NAME = "last-good-configuration"
CHUNK = 1 << 18
PIECE = 1 << 14
"""Bytes that are made at a time, beside requests: a third of a millisecond's work."""
"""Bytes that are read or written at a time, at least."""
_HEADER_LIMIT = 1 << 16
_NEW, _LOCK = ".new", ".lock"


class SnapshotRefused(GatewayError):
    """There is a file, but it must not be used; the message says why."""


class SnapshotBusy(GatewayError):
    """Another process is writing the file."""


@dataclass(frozen=True, slots=True)
class Header:
    """The first line. `origin`: whose configuration it is; `digest`: SHA-256 of the `size` bytes that follow."""

    origin: Mapping[str, Any]
    counts: Mapping[str, int]
    size: int
    digest: str
    written: float
    format: str = FORMAT
    version: int = VERSION


def path(prefix: str) -> Path:
    """Where the file of a gateway is."""
    return Path(prefix, NAME)


def exists(prefix: str) -> bool:
    """Whether a gateway in this prefix has a last good configuration; a start finds out whether it can be used."""
    return path(prefix).is_file()


def origin_of(settings: Any) -> dict[str, Any]:
    """What tells one gateway's configuration from another's.

    Addresses of servers are left out: they may change while the data stays the same.
    """
    named = {
        "sqlite": ("sqlite_path",), "cassandra": ("cassandra_keyspace",), "postgres": ("pg_database", "pg_schema")
    }  # fmt: skip
    origin = {name: settings.get(name) for name in named.get(settings.database, ())}
    return {"database": settings.database, **{name: value for name, value in origin.items() if value is not None}}


# --- writing ---------------------------------------------------------------------------------------------------------


def lines(kinds: Mapping[str, Iterable[Mapping[str, Any]]]) -> Iterator[bytes]:
    """The entities as pieces of the file, each of at least `PIECE` bytes but for the last."""
    piece = bytearray()
    for kind, entities in kinds.items():
        start = kind.encode() + b" "
        for entity in entities:
            piece += start + codec.dumps(entity) + b"\n"
            if len(piece) >= PIECE:
                yield bytes(piece)
                piece.clear()
    if piece:
        yield bytes(piece)


class Writer:
    """Writes the file anew; every method blocks. Only one process at a time may do so, the others get `SnapshotBusy`.

    Nothing replaces the old file before `finish`; whatever happens, `close` has to be called.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._new = file.with_name(file.name + _NEW)
        self._output: IO[bytes] | None = None
        self._lock = os.open(file.with_name(file.name + _LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise SnapshotBusy(f"another process writes {file}") from None

    def begin(self, header: Header) -> bool:
        """Begin with the new file; False when the old one has the same content already, and is whole."""
        with suppress(OSError, SnapshotRefused):
            with _opened(self._file) as old:
                known = _header(old)
            if (known.origin, known.digest, known.size) == (header.origin, header.digest, header.size):
                check(self._file, header.origin)
                return False
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._new, flags, 0o600)
        self._output = open(descriptor, "wb")  # noqa: SIM115 - closed by `finish` or `close`
        os.fchmod(descriptor, 0o600)
        self._output.write(json.dumps(asdict(header), ensure_ascii=True).encode() + b"\n")
        return True

    def write(self, piece: bytes) -> None:
        """Add a piece."""
        assert self._output is not None
        self._output.write(piece)

    def finish(self) -> None:
        """Have everything on the disk, then take the old file's place."""
        assert self._output is not None
        self._output.flush()
        os.fsync(self._output.fileno())
        self._output.close()
        os.replace(self._new, self._file)
        folder = os.open(self._file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._output = None

    def close(self) -> None:
        """Give up what was not finished, and the lock."""
        if self._output is not None:
            with suppress(OSError):
                self._output.close()
            with suppress(OSError):
                self._new.unlink()
        os.close(self._lock)


def describe(
    kinds: Mapping[str, list[Mapping[str, Any]]], pieces: Iterable[bytes], origin: Mapping[str, Any]
) -> Header:
    """The header for pieces that `lines` makes of these entities."""
    digest = hashlib.sha256()
    size = 0
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
    counts = {kind: len(entities) for kind, entities in kinds.items()}
    return Header(dict(origin), counts, size, digest.hexdigest(), time.time())


# --- reading ---------------------------------------------------------------------------------------------------------


def check(file: Path, origin: Mapping[str, Any]) -> Header:
    """Read the whole file and compare it with what it says of itself. Blocks.

    Raises `SnapshotRefused` for a file that is damaged, unsafe or somebody else's, and FileNotFoundError.
    """
    with _opened(file) as input_:
        header = _header(input_)
        if dict(header.origin) != dict(origin):
            raise SnapshotRefused(f"it belongs to another datastore ({_words(header.origin)}, not {_words(origin)})")
        digest = hashlib.sha256()
        size = 0
        while piece := input_.read(CHUNK):
            digest.update(piece)
            size += len(piece)
        if (size, digest.hexdigest()) != (header.size, header.digest):
            raise SnapshotRefused("it is damaged: its checksum does not fit")
    return header


def entities(file: Path) -> Iterator[list[tuple[str, bytes]]]:
    """(kind, JSON) of all entities of a checked file, in lists; each step blocks. Raises `SnapshotRefused`."""
    with _opened(file) as input_:
        _header(input_)
        while some := input_.readlines(CHUNK):
            pairs = [line.rstrip(b"\n").partition(b" ") for line in some]
            yield [(kind.decode("ascii", "replace"), body) for kind, _, body in pairs]


@contextmanager
def _opened(file: Path) -> Iterator[IO[bytes]]:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SnapshotRefused(f"it cannot be opened: {error.strerror}") from None
    with open(descriptor, "rb") as input_:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise SnapshotRefused("it is no regular file")
        if status.st_uid not in (os.geteuid(), 0) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise SnapshotRefused("others than this user may have written it")
        yield input_


def _header(input_: IO[bytes]) -> Header:
    try:
        told = json.loads(input_.readline(_HEADER_LIMIT))
    except ValueError:
        told = None
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise SnapshotRefused("it is no last good configuration, or damaged at its beginning")
    if told.get("version") != VERSION:
        raise SnapshotRefused(f"it has format {told.get('version')}, this version reads format {VERSION}")
    try:
        return Header(**told)
    except TypeError:
        raise SnapshotRefused("it is damaged at its beginning") from None


def _words(origin: Mapping[str, Any]) -> str:
    return " ".join(str(value) for value in origin.values())
