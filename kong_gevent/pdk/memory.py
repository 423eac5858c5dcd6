"""Connections without sockets, for the test kit: a client that sends given bytes, an upstream that is a function."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs

from gevent.event import Event

from kong_gevent.http.chunked import ChunkedDecoder

Fields = list[tuple[str, str]]
END = b"\r\n\r\n"


class Headers:
    """Header fields as they stood on the wire; look-ups ignore case and give the first value."""

    def __init__(self, fields: Iterable[tuple[str, str]]) -> None:
        self.fields: Fields = list(fields)

    def all(self, name: str) -> list[str]:
        """All values of a field, in order."""
        return [value for known, value in self.fields if known.lower() == name.lower()]

    def get(self, name: str, default: str | None = None) -> str | None:
        """The first value of a field."""
        values = self.all(name)
        return values[0] if values else default

    def __getitem__(self, name: str) -> str:
        values = self.all(name)
        if not values:
            raise KeyError(name)
        return values[0]

    def __contains__(self, name: str) -> bool:
        return bool(self.all(name))

    def __repr__(self) -> str:
        return f"Headers({self.fields})"


class Message:
    """What the client got or the upstream received: first line, header fields and the decoded body."""

    def __init__(self, line: str, fields: Fields, body: bytes) -> None:
        self.line = line
        self.headers = Headers(fields)
        self.body = body

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Answer(Message):
    """What the client got."""

    @property
    def status(self) -> int:
        """The status."""
        return int(self.line.split(" ")[1])

    def __repr__(self) -> str:
        return f"<Answer {self.status} {self.body[:60]!r}>"


class Received(Message):
    """What the upstream received."""

    @property
    def method(self) -> str:
        """The method."""
        return self.line.split(" ")[0]

    @property
    def target(self) -> str:
        """Path and query."""
        return self.line.split(" ")[1]

    @property
    def path(self) -> str:
        """The path alone."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, list[str]]:
        """The query's arguments."""
        return parse_qs(self.target.partition("?")[2], keep_blank_values=True)

    def __repr__(self) -> str:
        return f"<Received {self.line}>"


def read_message(data: bytes, bodiless: bool = False) -> tuple[str, Fields, bytes] | None:
    """First line, fields and decoded body; None while bytes are missing. A body without framing ends with the data.

    `bodiless`: there is no body whatever the fields say, as in answers to HEAD.
    """
    head, mark, rest = data.partition(END)
    if not mark:
        return None
    line, *lines = head.decode("latin-1").split("\r\n")
    fields = [(name, value.strip()) for name, _, value in (text.partition(":") for text in lines)]
    framing = {} if bodiless else {name.lower(): value for name, value in fields}
    if framing.get("transfer-encoding", "").lower() == "chunked":
        decoder = ChunkedDecoder()
        body = decoder.feed(rest)
        return (line, fields, body) if decoder.done else None
    if "content-length" in framing:
        length = int(framing["content-length"])
        return (line, fields, rest[:length]) if len(rest) >= length else None
    return line, fields, rest


class MemoryStream:
    """A stream (see `proxy.stream.Stream`) that reads prepared bytes, then its end, and keeps what is written."""

    plain = False
    pending = False
    untaken = False
    fault: Exception | None = None
    idle: Any = None
    owner: Any = None
    read_timeout = write_timeout = 60.0
    deadline = float("inf")

    def __init__(self, incoming: bytes = b"") -> None:
        self._incoming = incoming
        self.written = bytearray()
        self.closed = False

    def recv(self, size: int = 65536) -> bytes:
        """The next bytes."""
        data, self._incoming = self._incoming[:size], self._incoming[size:]
        return data

    def read(self, size: int = 65536) -> bytes:
        """The next bytes."""
        return self.recv(size)

    def write(self, data: bytes) -> None:
        """Keep the bytes."""
        self.written += data

    def resume(self) -> None:
        """There is nothing to start again."""

    def reset(self) -> None:
        """As `close`: nobody is there who could tell."""
        self.close()

    def shutdown_write(self) -> None:
        """There is no peer that could notice."""

    def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True


Responder = Callable[[Received], bytes]


def respond(
    status: int = 200, body: bytes | str | Mapping[str, Any] = b"", headers: Mapping[str, str] | None = None
) -> Responder:
    """An upstream that always gives this answer; a mapping becomes JSON."""
    fields = dict(headers or {})
    if isinstance(body, Mapping):
        body = json.dumps(body)
        fields.setdefault("Content-Type", "application/json")
    data = body.encode() if isinstance(body, str) else body
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    head = f"HTTP/1.1 {status} Answer\r\n{lines}Content-Length: {len(data)}\r\n\r\n".encode("latin-1")
    return lambda request: head if request.method == "HEAD" else head + data


class UpstreamStream(MemoryStream):
    """The gateway's connection to the upstream."""

    unsent = b""

    def __init__(self, upstream: MemoryUpstream) -> None:
        super().__init__()
        self._upstream = upstream
        self._changed = Event()

    def write(self, data: bytes) -> None:
        """Keep a part of the request."""
        super().write(data)
        self._changed.set()

    def write_soon(self, data: bytes) -> None:
        """As `write`: there is nobody to be woken."""
        self.write(data)

    def close(self) -> None:
        """Whoever waits for the answer learns that there will be none."""
        super().close()
        self._changed.set()

    def recv(self, size: int = 65536) -> bytes:
        """The answer, once the request is complete: its body may be written by another greenlet."""
        while not self._incoming and self.written and not self.closed:
            message = read_message(bytes(self.written))
            if message is None:
                self._changed.clear()
                self._changed.wait()
            else:
                self.written.clear()
                self._incoming = self._upstream.receive(Received(*message))
        return super().recv(size)


class MemoryUpstream:
    """Stands for every upstream: takes the place of the connection pool and of the resolver."""

    ip = "127.0.0.1"
    port = 80

    def __init__(self) -> None:
        from kong_gevent.dns import Answer, Place

        self.respond: Responder = respond(200, b"ok")
        self.requests: list[Received] = []
        self._answer = Answer("A", [Place(int(socket.AF_INET), self.ip)], float("inf"))

    def receive(self, request: Received) -> bytes:
        """Remember a request and answer it."""
        self.requests.append(request)
        return self.respond(request)

    def look(self, _host: str) -> Any:
        """Every name is this upstream."""
        return self._answer

    def glance(self, _host: str) -> tuple[Any, None]:
        """The same, at once."""
        return self._answer, None

    def expires(self, _host: str) -> float:
        """That holds for ever."""
        return float("inf")

    def origin(self, *_place: Any) -> MemoryUpstream:
        """Every address is this upstream."""
        return self

    def take(self, _timeout: float, _fresh: bool = False, _once: bool = False) -> Any:
        """A connection."""
        from kong_gevent.proxy.pool import Lease

        stream: Any = UpstreamStream(self)
        origin: Any = self
        return Lease(stream, origin)

    def give(self, lease: Any) -> None:
        """Connections are not kept."""
        lease.stream.close()
