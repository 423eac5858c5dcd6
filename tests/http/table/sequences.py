"""Several requests on one connection, HTTP/1.0, and the shapes of smuggling (RFC 9112, sections 9.3 and 11.2)."""

from typing import Any

from tests.http.table import BODY, HOST, NEXT, Case, bad, chunks, get, good, head, post

ONE = b"5\r\nhello\r\n0\r\n\r\n"
HELLO = {"method": "POST", "body": "hello"}
NEXT_FORWARDED = {"target": "/next"}
LF_HOST = b"GET / HTTP/1.1\nHost: a.test\n\n"


def second_bad(name: str, rule: str, raw: bytes, status: int = 400, by: str = "head", **more: Any) -> Case:
    """A good request followed by one that is refused."""
    return bad(
        f"second-{name}",
        rule,
        get(target=b"/first") + raw + NEXT,
        by=by,
        answers=(200, status),
        forwarded=({"method": "GET", "target": "/first"},),
        **more,
    )


PIPELINED: list[Case] = [
    good("pipelined-two", "9112 9.3.2: answered in order", get() + NEXT, {}, NEXT_FORWARDED),
    good(
        "pipelined-four",
        "9112 9.3.2: answered in order",
        get(target=b"/1") + post(b"Content-Length: 5", body=BODY) + head(b"HEAD /3 HTTP/1.1", HOST) + chunks(ONE),
        {"target": "/1"},
        HELLO,
        {"method": "HEAD", "target": "/3"},
        HELLO,
    ),
    good(
        "pipelined-after-chunked",
        "9112 7.1: the next request starts after the last chunk",
        chunks(ONE) + NEXT,
        HELLO,
        NEXT_FORWARDED,
    ),
    good(
        "pipelined-after-length",
        "9112 6.2: the next request starts after the body",
        post(b"Content-Length: 5", body=BODY) + NEXT,
        HELLO,
        NEXT_FORWARDED,
    ),
    good(
        "pipelined-after-zero-length",
        "9112 6.2: an empty body",
        post(b"Content-Length: 0") + NEXT,
        {"method": "POST"},
        NEXT_FORWARDED,
    ),
    good(
        "pipelined-empty-line-between",
        "9112 2.2: one empty line before a request is forgiven",
        post(b"Content-Length: 5", body=BODY) + b"\r\n" + NEXT,
        HELLO,
        NEXT_FORWARDED,
        wsgi=False,
    ),
    good(
        "pipelined-after-head",
        "9112 6.3: an answer to HEAD has no body",
        head(b"HEAD / HTTP/1.1", HOST) + NEXT,
        {"method": "HEAD"},
        NEXT_FORWARDED,
    ),
    good(
        "close-drops-next",
        "9112 9.6: nothing after a request with close is read",
        get(b"Connection: close") + NEXT,
        {},
        closes=True,
    ),
    good(
        "close-in-list",
        "9112 9.6: close among others",
        get(b"Connection: X-A, CLOSE", b"X-A: 1") + NEXT,
        {"headers": {"X-A": None}},
        closes=True,
        wsgi=False,
    ),
    good(
        "close-with-body",
        "9112 9.6: nothing after a request with close is read",
        post(b"Connection: close", b"Content-Length: 5", body=BODY) + NEXT,
        HELLO,
        closes=True,
    ),
    bad("first-refused", "9112 11.2: nothing after a refused head is read", get(b"X A: 1") + NEXT),
    bad(
        "first-refused-with-body",
        "9112 11.2: nothing after a refused head is read",
        post(b"Content-Length: x", body=NEXT) + NEXT,
    ),
    second_bad("bare-lf", "9112 2.2: bare LF", LF_HOST),
    second_bad("two-lengths", "9112 6.3: one length", post(b"Content-Length: 5", b"Content-Length: 6", body=BODY)),
    second_bad("without-host", "9112 3.2: HTTP/1.1 needs Host", head(b"GET / HTTP/1.1"), wsgi=False),
    second_bad("bad-host", "9110 7.2: host and port only", get(host=b"Host: a/b"), by="target", wsgi=False),
    second_bad("version", "9110 15.6.6: a higher major version", head(b"GET / HTTP/2.0", HOST), 505),
    second_bad("expectation", "9110 10.1.1: only 100-continue is known", get(b"Expect: x"), 417),
    second_bad("chunk", "9112 7.1: hexadecimal digits only", chunks(b"5x\r\nhello\r\n0\r\n\r\n"), by="chunks"),
    second_bad("garbage", "bytes that are no request", b"\x00\xff\r\n\r\n"),
]

OLD: list[Case] = [
    good("1.0", "9112 9.3: closed after the answer", get(version=b"HTTP/1.0"), closes=True),
    good(
        "1.0-without-host", "9112 3.2: HTTP/1.0 needs no Host", head(b"GET /x HTTP/1.0"), {"target": "/x"}, closes=True
    ),
    good(
        "1.0-keep-alive",
        "9112 9.3: kept on demand",
        get(b"Connection: keep-alive", version=b"HTTP/1.0") + NEXT,
        {},
        NEXT_FORWARDED,
    ),
    good("1.0-drops-next", "9112 9.3: closed after the answer", get(version=b"HTTP/1.0") + NEXT, {}, closes=True),
    good(
        "1.0-length",
        "9112 6.2: a body by its length",
        head(b"POST / HTTP/1.0", b"Content-Length: 5") + BODY,
        HELLO,
        closes=True,
    ),
    good(
        "1.0-post-without-length",
        "9112 6.3: a request without length has no body",
        head(b"POST / HTTP/1.0", HOST),
        {"method": "POST"},
        closes=True,
    ),
    good(
        "1.0-keep-alive-close",
        "9112 9.3: close wins",
        get(b"Connection: keep-alive, close", version=b"HTTP/1.0") + NEXT,
        {},
        closes=True,
    ),
    good(
        "1.0-proxy-connection",
        "9112 9.3: Proxy-Connection means nothing",
        get(b"Proxy-Connection: keep-alive", version=b"HTTP/1.0") + NEXT,
        {},
        closes=True,
    ),
    good(
        "1.0-via",
        "9110 7.6.3: the client's version",
        get(version=b"HTTP/1.0"),
        {"headers": {"Via": ["1.0 kong/3.9.1"]}},
        closes=True,
    ),
    bad(
        "1.0-bad-host",
        "9110 7.2: a Host that is sent is checked",
        get(host=b"Host: a b", version=b"HTTP/1.0"),
        by="target",
    ),
]

SMUGGLING: list[Case] = [
    bad(
        "smuggle-te-tab-name",
        "9112 5.1: no white space before the colon",
        post(b"Content-Length: 4", b"Transfer-Encoding\t: chunked", body=b"0\r\n\r\n" + NEXT),
    ),
    bad(
        "smuggle-te-prefix",
        "9112 5.2: folded line",
        post(b"Content-Length: 4", b" Transfer-Encoding: chunked", body=b"0\r\n\r\n" + NEXT),
    ),
    bad(
        "smuggle-te-cr",
        "9112 2.2: bare CR",
        post(b"Content-Length: 4", b"\rTransfer-Encoding: chunked", body=b"0\r\n\r\n" + NEXT),
    ),
    bad(
        "smuggle-te-nul-name",
        "9110 5.1: a name is a token",
        post(b"Content-Length: 4", b"Transfer-Encoding\0: chunked", body=b"0\r\n\r\n" + NEXT),
    ),
    bad(
        "smuggle-te-space-value",
        "9112 6.1: both kinds of framing",
        post(b"Content-Length: 4", b"Transfer-Encoding:  chunked ", body=b"0\r\n\r\n" + NEXT),
    ),
    bad(
        "smuggle-te-lf-value",
        "9112 2.2: bare LF",
        post(b"Content-Length: 4", b"Transfer-Encoding:\n chunked", body=b"0\r\n\r\n" + NEXT),
    ),
    bad(
        "smuggle-te-x",
        "9112 6.1: an unknown coding with a length",
        post(b"Transfer-Encoding: x-chunked", b"Content-Length: 4", body=b"0\r\n\r\n" + NEXT),
        501,
    ),
    bad(
        "smuggle-te-connection",
        "9112 6.1: naming it in Connection removes nothing",
        post(
            b"Connection: Transfer-Encoding",
            b"Transfer-Encoding: chunked",
            b"Content-Length: 4",
            body=b"0\r\n\r\n" + NEXT,
        ),
    ),
    bad(
        "smuggle-cl-connection",
        "9112 6.3: naming it in Connection removes nothing",
        post(b"Connection: Content-Length", b"Content-Length: 5", b"Content-Length: 0", body=BODY + NEXT),
    ),
    bad(
        "smuggle-cl-name-control",
        "9110 5.1: a name is a token",
        post(b"Content-Length\x0b: 0", b"Content-Length: 5", body=BODY),
    ),
    bad("smuggle-cl-colon", "9112 5: name, colon, value", post(b"Content-Length:: 5", body=BODY)),
    bad(
        "smuggle-host-space",
        "9112 5.1: no white space before the colon",
        head(b"GET / HTTP/1.1", b"Host : b.test", HOST),
    ),
    bad(
        "smuggle-host-fold",
        "9112 2.2: white space before the first field",
        head(b"GET / HTTP/1.1", b" Host: b.test", HOST),
    ),
    bad(
        "smuggle-target-crlf",
        "9112 3: a target has no line ends",
        b"GET / HTTP/1.1\r\nX: y HTTP/1.1\r\n Host: a.test\r\n\r\n",
    ),
    bad(
        "smuggle-get-line-in-head",
        "9112 5: a request line is no field",
        head(b"GET / HTTP/1.1", HOST, b"GET /private HTTP/1.1", HOST),
    ),
    bad(
        "smuggle-chunk-size-and-length",
        "9112 7.1: hexadecimal digits only",
        chunks(b"0 5\r\nhello\r\n0\r\n\r\n" + NEXT),
        by="chunks",
    ),
    bad(
        "smuggle-last-chunk-junk",
        "9112 7.1: bytes after the last chunk's size",
        chunks(b"0X\r\n\r\n" + NEXT),
        by="chunks",
    ),
    bad(
        "smuggle-last-chunk-spill",
        "9112 7.1.2: only trailers after the last chunk",
        chunks(b"0\r\n" + NEXT),
        by="chunks",
    ),
    good(
        "smuggle-length-zero-body",
        "9112 6.2: what follows an empty body is a request of its own",
        post(b"Content-Length: 0") + NEXT,
        {"method": "POST"},
        NEXT_FORWARDED,
    ),
    good(
        "smuggle-underscore-coding",
        "an underscore name is no framing",
        post(b"Content-Length: %d" % (5 + len(NEXT)), b"Transfer_Encoding: chunked", body=b"0\r\n\r\n" + NEXT),
        {"method": "POST", "body": "0\r\n\r\n" + NEXT.decode(), "headers": {"Transfer_Encoding": None}},
    ),
]

CASES = PIPELINED + OLD + SMUGGLING
