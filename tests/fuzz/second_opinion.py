"""The same bytes read by two parsers that are not ours: llhttp (httptools, no lenient flag) and h11."""

from dataclasses import dataclass, field

import h11
import httptools

Fields = list[tuple[bytes, bytes]]


@dataclass
class Seen:
    """One message as another parser reads it."""

    start: tuple[bytes, ...] = ()
    fields: Fields = field(default_factory=list)
    body: bytes = b""
    complete: bool = False


class _Collector:
    """Callbacks of httptools."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.url = b""

    def on_message_begin(self) -> None:
        self.seen.append(Seen())
        self.url = b""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.seen[-1].fields.append((name.lower(), value.strip(b" \t")))

    def on_body(self, body: bytes) -> None:
        self.seen[-1].body += body

    def on_message_complete(self) -> None:
        self.seen[-1].complete = True


def llhttp_requests(raw: bytes) -> tuple[list[Seen], bool]:
    """Requests in ``raw`` by llhttp, and whether it accepted every byte."""
    collector = _Collector()
    parser = httptools.HttpRequestParser(collector)

    def on_headers_complete() -> None:
        collector.seen[-1].start = (parser.get_method(), collector.url, parser.get_http_version().encode())

    collector.on_headers_complete = on_headers_complete  # type: ignore[attr-defined]
    try:
        parser = httptools.HttpRequestParser(collector)
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        return collector.seen, True
    except httptools.HttpParserError:
        return collector.seen, False
    return collector.seen, True


def llhttp_answer(raw: bytes) -> tuple[list[Seen], bool]:
    """Answers in ``raw`` by llhttp, and whether it accepted every byte."""
    collector = _Collector()

    def on_headers_complete() -> None:
        collector.seen[-1].start = (b"%d" % parser.get_status_code(), parser.get_http_version().encode())

    collector.on_headers_complete = on_headers_complete  # type: ignore[attr-defined]
    parser = httptools.HttpResponseParser(collector)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        return collector.seen, True
    except httptools.HttpParserError:
        return collector.seen, False
    return collector.seen, True


def h11_message(raw: bytes, *, answer_to: bytes | None = None) -> Seen | None:
    """The first message of ``raw`` by h11; None when h11 refuses it. ``answer_to`` reads an answer to that method."""
    connection = h11.Connection(h11.CLIENT if answer_to else h11.SERVER, max_incomplete_event_size=1 << 20)
    seen = Seen()
    try:
        if answer_to:
            connection.send(h11.Request(method=answer_to, target="/", headers=[("Host", "a")]))
            connection.send(h11.EndOfMessage())
        connection.receive_data(raw)
        while (event := connection.next_event()) is not h11.NEED_DATA:
            if isinstance(event, h11.Request):
                seen.start = (event.method, event.target)
                seen.fields = list(event.headers)
            elif isinstance(event, h11.Response | h11.InformationalResponse):
                seen.start = (b"%d" % event.status_code,)
                seen.fields = list(event.headers)
            elif isinstance(event, h11.Data):
                seen.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                seen.complete = True
                return seen
            else:
                break
    except h11.RemoteProtocolError:
        return None
    return seen
