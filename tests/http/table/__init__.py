"""The table from which the fixture files are written: one ``Case`` per file, grouped by the rule it is about.

Requests run against this configuration (``a.test`` is any host):

    route ``/``             service path none      every request that nothing else matches
    route ``/private``      service path /zone     a request that reaches it has ``/zone/private`` as target upstream
    route host other.test   service path /other

all with ``strip_path`` off and ``preserve_host`` on. The upstream answers each request with 200 and ``ok``.
"""

from dataclasses import dataclass, field
from typing import Any

HOST = b"Host: a.test"
BODY = b"hello"
NEXT = b"GET /next HTTP/1.1\r\nHost: a.test\r\n\r\n"
"""A second request that must never be found behind or inside a refused one."""


@dataclass(frozen=True)
class Case:
    """One request fixture: what the client sends on one connection, and what follows.

    answers     status of each answer, in order
    forwarded   what the upstream receives: method, target, body, framing, headers (null means absent, a list means
                every value in order), complete requests only
    closes      whether the gateway closes the connection afterwards
    ends        whether the client closes its sending half when it has sent everything
    refused_by  for refused ones the reader that finds it: ``head``, ``target`` (target and Host rules), ``chunks``;
                ``gateway`` when only the whole gateway can know
    wsgi        whether it also holds behind a foreign WSGI server, whose own reader comes first
    """

    name: str
    rule: str
    raw: bytes
    answers: tuple[int, ...] = (200,)
    forwarded: tuple[dict[str, Any], ...] = ()
    closes: bool = False
    ends: bool = False
    refused_by: str = ""
    wsgi: bool = True

    @property
    def folder(self) -> str:
        """``valid`` or ``invalid``."""
        return "invalid" if self.refused_by else "valid"

    def expectation(self) -> dict[str, Any]:
        """The contents of the expectation file."""
        shown: dict[str, Any] = {"rule": self.rule, "answers": list(self.answers), "forwarded": list(self.forwarded)}
        shown |= {"closes": self.closes}
        if self.ends:
            shown["ends"] = True
        if self.refused_by:
            shown["refused_by"] = self.refused_by
        return shown | {"wsgi": self.wsgi}


def head(*lines: bytes) -> bytes:
    """Lines with CRLF and the empty line at the end."""
    return b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def get(*fields: bytes, target: bytes = b"/", host: bytes = HOST, version: bytes = b"HTTP/1.1") -> bytes:
    """A GET request."""
    return head(b"GET %b %b" % (target, version), host, *fields)


def post(*fields: bytes, body: bytes = b"", target: bytes = b"/") -> bytes:
    """A POST request with just these fields and this body."""
    return head(b"POST %b HTTP/1.1" % target, HOST, *fields) + body


def chunks(body: bytes, *fields: bytes) -> bytes:
    """A POST request in the chunked coding; ``body`` is the coded body."""
    return post(b"Transfer-Encoding: chunked", *fields, body=body)


def bad(name: str, rule: str, raw: bytes, status: int = 400, by: str = "head", **more: Any) -> Case:
    """A request that is refused; the connection is closed and nothing is forwarded."""
    return Case(name, rule, raw, **{"answers": (status,), "closes": True, "refused_by": by, **more})


def good(name: str, rule: str, raw: bytes, *forwarded: dict[str, Any], **more: Any) -> Case:
    """A request that is forwarded (as GET / unless ``forwarded`` says otherwise)."""
    requests = tuple({"method": "GET", "target": "/"} | request for request in forwarded or ({},))
    return Case(name, rule, raw, **{"answers": (200,) * len(requests), "forwarded": requests, **more})


@dataclass(frozen=True)
class AnswerCase:
    """One answer fixture: what the upstream sends for the client's request, and what the client gets.

    request    method and version of the client's request
    ends       whether the upstream closes after it has sent everything
    status     of the answer to the client; ``broken`` is true when the client must see that the body was cut short
    headers    of the answer to the client (null means absent, a list means every value in order)
    interim    status of each 1xx answer the client gets before
    reused     whether the upstream connection may be used again (None: not examined)
    refused_by for refused ones the reader that finds it: ``head``, ``chunks`` or ``gateway``
    wsgi       whether it also holds behind a foreign WSGI server
    """

    name: str
    rule: str
    raw: bytes
    status: int = 200
    body: str = ""
    headers: dict[str, Any] = field(default_factory=dict)
    interim: tuple[int, ...] = ()
    request: str = "GET HTTP/1.1"
    ends: bool = False
    broken: bool = False
    reused: bool | None = None
    refused_by: str = ""
    wsgi: bool = True

    @property
    def folder(self) -> str:
        """Folder below ``answers``."""
        return "invalid" if self.refused_by else "valid"

    def expectation(self) -> dict[str, Any]:
        """The contents of the expectation file."""
        shown = {name: getattr(self, name) for name in ("rule", "request", "ends", "status", "body", "headers")}
        shown |= {"interim": list(self.interim), "broken": self.broken, "reused": self.reused}
        return shown | ({"refused_by": self.refused_by} if self.refused_by else {}) | {"wsgi": self.wsgi}
