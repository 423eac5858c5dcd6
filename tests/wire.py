"""HTTP/1.1 read the narrow way, for the two ends of the tests: what the upstream receives and what the client gets.

Written from RFC 9112 and kept apart from the gateway's own readers on purpose: a mistake there must not hide here.
"""

import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Self, TypeVar

FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*")
REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x22\x24-\x7e]+) HTTP/(1\.[01])")
STATUS_LINE = re.compile(rb"HTTP/(1\.[01]) ([1-5][0-9]{2}) ([^\x00-\x08\x0a-\x1f\x7f]*)")
CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")
HEAD_LIMIT = 1 << 20
KEPT_BODY = 8 << 20

Fields = list[tuple[str, str]]
Found = TypeVar("Found")


class WireError(Exception):
    """The bytes are not one unambiguous HTTP/1.1 message."""


class Ended(WireError):
    """The peer closed before the message was complete."""


class Stream:
    """Buffered reading from a socket; ``seen`` keeps the first MiB of everything that came."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = bytearray()
        self.seen = bytearray()

    def fill(self) -> bool:
        """Read once more; False when the peer has closed (a reset counts as closed)."""
        try:
            data = self.sock.recv(65536)
        except ConnectionError:
            return False
        self.buffer += data
        if len(self.seen) < HEAD_LIMIT:
            self.seen += data
        return bool(data)

    def until(self, mark: bytes, limit: int = HEAD_LIMIT) -> bytes:
        """The bytes before ``mark``, which is consumed too."""
        start = 0
        while (at := self.buffer.find(mark, start)) < 0:
            if len(self.buffer) > limit:
                raise WireError(f"no {mark!r} within {limit} bytes")
            start = max(0, len(self.buffer) - len(mark) + 1)
            if not self.fill():
                raise Ended(f"closed before {mark!r}, after {bytes(self.buffer[-60:])!r}")
        taken = bytes(self.buffer[:at])
        del self.buffer[: at + len(mark)]
        return taken

    def take(self, size: int) -> Iterable[bytes]:
        """``size`` bytes in the pieces in which they come."""
        while size:
            if not self.buffer and not self.fill():
                raise Ended(f"closed with {size} bytes missing")
            piece = bytes(self.buffer[:size])
            del self.buffer[: len(piece)]
            size -= len(piece)
            yield piece

    def rest(self) -> Iterable[bytes]:
        """Everything until the peer closes."""
        while self.buffer or self.fill():
            piece = bytes(self.buffer)
            self.buffer.clear()
            yield piece


@dataclass
class Message:
    """What a request and an answer have in common."""

    version: str = "1.1"
    headers: Fields = field(default_factory=list)
    kept: bytearray = field(default_factory=bytearray)
    size: int = 0
    trailers: Fields = field(default_factory=list)
    framing: str = "none"
    raw_head: bytes = b""

    def all(self, name: str) -> list[str]:
        """Every value of the field, in order."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def get(self, name: str, default: str | None = None) -> str | None:
        """The first value of the field."""
        return next(iter(self.all(name)), default)

    @property
    def body(self) -> bytes:
        """The body's first MiBs; ``size`` counts all of it."""
        return bytes(self.kept)

    def keep(self, pieces: Iterable[bytes]) -> None:
        """Take body bytes: all are counted, the first MiBs are kept."""
        for piece in pieces:
            self.size += len(piece)
            if len(self.kept) < KEPT_BODY:
                self.kept += piece


@dataclass
class Request(Message):
    """A request as an upstream received it; ``connection`` is the serial number of its connection."""

    method: str = ""
    target: str = ""
    connection: int = 0
    complete: bool = False


@dataclass
class Answer(Message):
    """An answer as a client received it; ``interim`` are the 1xx answers before it."""

    status: int = 0
    reason: str = ""
    interim: list["Answer"] = field(default_factory=list)
    complete: bool = False


def read_fields(lines: list[bytes]) -> Fields:
    """Header or trailer lines, without their ends, as (name, value) pairs."""
    found = []
    for line in lines:
        match = FIELD.fullmatch(line)
        if match is None:
            raise WireError(f"bad field line {line!r}")
        found.append((match[1].decode("latin-1"), match[2].decode("latin-1")))
    return found


def read_length(message: Message) -> int | None:
    """The body's length, or None when it is chunked; every doubtful combination is an error."""
    lengths, codings = message.all("content-length"), message.all("transfer-encoding")
    if codings:
        if lengths or [coding.lower() for coding in codings] != ["chunked"] or message.version == "1.0":
            raise WireError(f"framing {lengths} {codings} in HTTP/{message.version}")
        return None
    if len(lengths) > 1 or any(not re.fullmatch("[0-9]{1,18}", length) for length in lengths):
        raise WireError(f"framing {lengths}")
    return int(lengths[0]) if lengths else 0


def read_chunks(stream: Stream, message: Message) -> None:
    """A chunked body; extensions are an error, as the gateway never sends any."""
    while True:
        line = stream.until(b"\r\n", 256)
        if not CHUNK_SIZE.fullmatch(line):
            raise WireError(f"bad chunk size {line!r}")
        size = int(line, 16)
        if size == 0:
            break
        message.keep(stream.take(size))
        if b"".join(stream.take(2)) != b"\r\n":
            raise WireError("no line end after a chunk")
    lines = []
    while line := stream.until(b"\r\n"):
        lines.append(line)
    message.trailers = read_fields(lines)


def read_body(stream: Stream, message: Message) -> None:
    """The body of a message that has one by its fields."""
    length = read_length(message)
    if length is None:
        message.framing = "chunked"
        read_chunks(stream, message)
    else:
        message.framing = "length" if message.all("content-length") else "none"
        message.keep(stream.take(length))


def read_request_head(stream: Stream) -> Request:
    """The next request's head; Ended when the client closed instead."""
    raw = stream.until(b"\r\n\r\n")
    first, *lines = raw.split(b"\r\n")
    match = REQUEST_LINE.fullmatch(first)
    if match is None:
        raise WireError(f"bad request line {first!r}")
    method, target, version = (part.decode("latin-1") for part in match.groups())
    request = Request(version=version, headers=read_fields(lines), raw_head=raw, method=method, target=target)
    if len(request.all("host")) != 1:
        raise WireError(f"Host fields: {request.all('host')}")
    read_length(request)
    return request


def read_answer(stream: Stream, method: str = "GET") -> Answer:
    """The next final answer with its body; an answer cut short comes back with ``complete`` False."""
    interim: list[Answer] = []
    while True:
        raw = stream.until(b"\r\n\r\n")
        first, *lines = raw.split(b"\r\n")
        match = STATUS_LINE.fullmatch(first)
        if match is None:
            raise WireError(f"bad status line {first!r}")
        version, status, reason = (part.decode("latin-1") for part in match.groups())
        answer = Answer(version=version, headers=read_fields(lines), raw_head=raw, status=int(status), reason=reason)
        if answer.status >= 200 or answer.status == 101:
            break
        interim.append(answer)
    answer.interim = interim
    if method == "HEAD" or answer.status in {101, 204, 304}:
        answer.complete = True
        return answer
    try:
        if answer.all("content-length") or answer.all("transfer-encoding"):
            read_body(stream, answer)
        else:
            answer.framing = "close"
            answer.keep(stream.rest())
        answer.complete = True
    except Ended:
        answer.complete = False
    return answer


class Client:
    """A client that sends any bytes and reads answers strictly.

    A wait of more than ``timeout`` seconds is an error (TimeoutError): the gateway owes a client an answer or an end.
    ``source`` is the client's own address, where it matters.
    """

    def __init__(self, port: int, host: str = "127.0.0.1", timeout: float = 15, source: str = "") -> None:
        self.sock = socket.create_connection((host, port), timeout, (source, 0))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = Stream(self.sock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        """Send; a peer that has already closed is not an error here, its answer may still be unread."""
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return

    def end(self) -> None:
        """Close the sending half."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def answer(self, method: str = "GET") -> Answer:
        """The next answer."""
        return read_answer(self.stream, method)

    def answers(self, methods: Iterable[str] = ()) -> list[Answer]:
        """Every answer until the gateway closes; ``methods`` tells the requests' methods in order (HEAD matters)."""
        found: list[Answer] = []
        names = iter(methods)
        while self.stream.buffer or self.stream.fill():
            found.append(self.answer(next(names, "GET")))
        return found

    def closed(self) -> bool:
        """Wait for the end of the connection; False when more bytes come instead."""
        return not self.stream.buffer and not self.stream.fill()

    def close(self) -> None:
        """Leave."""
        self.sock.close()


def wait_until(condition: Callable[[], Found], timeout: float = 60, pause: float = 0.01) -> Found:
    """Poll ``condition`` until it is true and return its value; AssertionError after ``timeout`` seconds."""
    end = monotonic() + timeout
    while not (value := condition()):
        if monotonic() > end:
            raise AssertionError(f"not true within {timeout} s: {condition}")
        sleep(pause)
    return value
