"""Feeds bytes to the gateway's readers as a connection would, without sockets: what is read, and what is refused."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from kong_gevent.errors import AnswerError, ProtocolError
from kong_gevent.http.chunked import ChunkedDecoder
from kong_gevent.http.heads import AnswerHead, AnswerReader, RequestHead, RequestReader
from kong_gevent.http.target import normalise_path, parse_host, split_absolute

FIELDS_READ = list[tuple[bytes, bytes]]


@dataclass
class ReadMessage:
    """A head with its body, as the readers gave it."""

    head: Any  # RequestHead or AnswerHead
    body: bytes = b""
    trailers: FIELDS_READ = field(default_factory=list)


@dataclass
class Outcome:
    """All that was read from one connection: complete messages, then maybe a refusal (status, reader) or a rest."""

    messages: list[ReadMessage] = field(default_factory=list)
    status: int = 0
    refused_by: str = ""
    incomplete: bool = False
    body: bytes = b""

    def summary(self) -> tuple[object, ...]:
        """What must not depend on how the bytes were cut into pieces (which of two errors is found first may)."""
        told = []
        for message in self.messages:
            head = message.head
            start = (head.method, head.target) if isinstance(head, RequestHead) else (head.status, head.reason)
            told.append((*start, head.minor, head.fields.forward, message.body, message.trailers))
        return told, bool(self.status), self.refused_by, self.incomplete


def pieces(raw: bytes, size: int) -> list[bytes]:
    """``raw`` in pieces of ``size`` bytes."""
    return [raw[start : start + size] for start in range(0, len(raw), size)]


class BadBody(Exception):
    """A chunked body that is refused."""


class _Body:
    """Reads one body: by length, in chunks, or to the end (length None and not chunked)."""

    def __init__(self, length: int | None, *, chunked: bool) -> None:
        self.left = length
        self.decoder = ChunkedDecoder() if chunked else None
        self.data = bytearray()
        self.done = not chunked and length == 0

    def feed(self, data: bytes) -> bytes:
        """Take bytes, return those that are no part of the body; BadBody when the coding is broken."""
        if self.decoder:
            try:
                self.data += self.decoder.feed(data)
            except ValueError as error:  # the one error that the decoder declares
                raise BadBody(str(error)) from None
            self.done = self.decoder.done
            return self.decoder.rest
        if self.left is None:
            self.data += data
            return b""
        self.data += data[: self.left]
        rest = data[self.left :]
        self.left -= len(data) - len(rest)
        self.done = not self.left
        return rest

    def message(self, head: RequestHead | AnswerHead) -> ReadMessage:
        """The finished message."""
        return ReadMessage(head, bytes(self.data), list(self.decoder.trailers) if self.decoder else [])


def judge_target(head: RequestHead) -> None:
    """Target and Host of a request, as the gateway looks at them before routing; ProtocolError when refused."""
    target, host = head.target, head.fields.host
    if host:
        parse_host(host)
    if not target.startswith(b"/") and not (target == b"*" and head.method == b"OPTIONS"):
        absolute = split_absolute(target)
        if absolute is None:
            raise ProtocolError(400, "Bad request", "unknown form of target")
        authority, target = absolute
        parse_host(authority)
    normalise_path(target.partition(b"?")[0].decode("latin-1"))


def read_requests(
    parts: Iterable[bytes], reader: RequestReader | None = None, judge: Callable[[RequestHead], None] | None = None
) -> Outcome:
    """Read a client's connection; reading stops after a refusal and after a request that closes the connection.

    ``judge`` may refuse a head that has been read (``judge_target``).
    """
    reader = reader or RequestReader()
    outcome = Outcome()
    head: RequestHead | None = None
    body: _Body | None = None
    buffer = b""
    for part in parts:
        buffer += part
        while buffer or (body and body.done):
            try:
                if head is None:
                    head = reader.read(buffer)
                    if head is None:
                        break
                    buffer = buffer[head.size :]
                    if judge is not None:
                        judge(head)
                    fields = head.fields
                    body = _Body(max(fields.content_length, 0), chunked=fields.chunked)
                assert body is not None
                if not body.done:
                    buffer = body.feed(buffer)
            except ProtocolError as error:
                outcome.status, outcome.refused_by = error.status, "target" if head else "head"
                return outcome
            except BadBody:
                outcome.status, outcome.refused_by, outcome.body = 400, "chunks", bytes(body.data) if body else b""
                return outcome
            if not body.done:
                break
            outcome.messages.append(body.message(head))
            closes = head.fields.close or (head.minor == 0 and not head.fields.keep_alive)
            head = body = None
            if closes:
                return outcome
    outcome.incomplete = bool(buffer) or head is not None
    return outcome


def read_answer(parts: Sequence[bytes], method: str = "GET", reader: AnswerReader | None = None) -> Outcome:
    """Read an upstream's answer (interim ones too) that is followed by the end of the connection."""
    reader = reader or AnswerReader()
    outcome = Outcome()
    body: _Body | None = None
    head: AnswerHead | None = None
    buffer = b""
    for part in parts:
        buffer += part
        while buffer or (body and body.done):
            try:
                if head is None:
                    head = reader.read(buffer)
                    if head is None:
                        break
                    buffer = buffer[head.size :]
                    body = answer_body(head, method)
                assert body is not None
                if not body.done:
                    buffer = body.feed(buffer)
            except AnswerError:
                outcome.status, outcome.refused_by = 502, "head"
                return outcome
            except BadBody:
                outcome.status, outcome.refused_by, outcome.body = 502, "chunks", bytes(body.data) if body else b""
                return outcome
            if not body.done:
                break
            outcome.messages.append(body.message(head))
            if head.status >= 200 or head.status == 101:
                return outcome
            head = body = None
    if head is not None and body is not None and body.left is None and not body.decoder:
        outcome.messages.append(body.message(head))
        return outcome
    outcome.incomplete = True
    return outcome


def answer_body(head: AnswerHead, method: str) -> _Body:
    """How the body of an answer to ``method`` is read (RFC 9112, section 6.3)."""
    if method == "HEAD" or head.status < 200 or head.status in {204, 304}:
        return _Body(0, chunked=False)
    fields = head.fields
    length = fields.content_length if fields.content_length >= 0 else None
    return _Body(length, chunked=fields.chunked)
