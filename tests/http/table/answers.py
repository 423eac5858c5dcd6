"""Answers of upstreams: what is refused with 502, what is passed on and how (RFC 9112, sections 4, 6 and 7)."""

from typing import Any

from tests.http.table import AnswerCase, head

OK = b"HTTP/1.1 200 OK"
LENGTH = b"Content-Length: 5"
CHUNKED = b"Transfer-Encoding: chunked"
BODY = b"hello"
ONE = b"5\r\nhello\r\n0\r\n\r\n"
MESSAGE = "An invalid response was received from the upstream server"


def refused(name: str, rule: str, raw: bytes, **more: Any) -> AnswerCase:
    """An answer whose head cannot be trusted: 502, and the connection to the upstream is closed."""
    return AnswerCase(
        name, rule, raw, **{"status": 502, "body": MESSAGE, "reused": False, "refused_by": "head", **more}
    )


def broken(name: str, rule: str, raw: bytes, by: str = "chunks", body: str = "hello", **more: Any) -> AnswerCase:
    """An answer whose body goes wrong after some of it came: the client must see that it is cut short.

    ``body`` is the most that the client may get of it. An error that is found before anything
    was sent may be a 502 as well.
    """
    return AnswerCase(
        name, rule, raw, **{"status": 200, "body": body, "broken": True, "reused": False, "refused_by": by, **more}
    )


def passed(name: str, rule: str, raw: bytes, body: str = "hello", **more: Any) -> AnswerCase:
    """An answer that reaches the client with this body."""
    return AnswerCase(name, rule, raw, body=body, **more)


STATUS_LINE: list[AnswerCase] = [
    refused("line-0.9", "no status line at all", b"<html>hello</html>\r\n\r\n", ends=True),
    refused("line-empty", "nothing before the end", b"", ends=True),
    refused("line-cut", "the head is not terminated", b"HTTP/1.1 200", ends=True),
    refused("line-other-protocol", "9112 4: HTTP only", head(b"ICY 200 OK", LENGTH) + BODY),
    refused("line-lower-case", "9112 2.3: HTTP is upper-case", head(b"http/1.1 200 OK", LENGTH) + BODY),
    refused("line-version-2", "9112 2.3: 1.0 and 1.1 are spoken", head(b"HTTP/2.0 200 OK", LENGTH) + BODY),
    refused("line-version-1.2", "9112 2.3: 1.0 and 1.1 are spoken", head(b"HTTP/1.2 200 OK", LENGTH) + BODY),
    refused("line-version-1.10", "9112 2.3: one digit", head(b"HTTP/1.10 200 OK", LENGTH) + BODY),
    refused("line-leading-space", "9112 4: nothing before the version", head(b" HTTP/1.1 200 OK", LENGTH) + BODY),
    refused("line-leading-empty-line", "9112 4: nothing before the version", b"\r\n" + head(OK, LENGTH) + BODY),
    refused("line-two-spaces", "9112 4: single spaces", head(b"HTTP/1.1  200 OK", LENGTH) + BODY),
    refused("line-tab", "9112 4: single spaces", head(b"HTTP/1.1\t200\tOK", LENGTH) + BODY),
    refused("line-without-status", "9112 4: three digits", head(b"HTTP/1.1", LENGTH) + BODY),
    refused("line-control-in-reason", "9110 5.5: control characters", head(b"HTTP/1.1 200 O\x01K", LENGTH) + BODY),
    refused("line-nul-in-reason", "9110 5.5: NUL", head(b"HTTP/1.1 200 O\0K", LENGTH) + BODY),
    refused("line-bare-lf", "9112 2.2: bare LF", b"HTTP/1.1 200 OK\nContent-Length: 5\r\n\r\nhello"),
    refused("line-only-lf", "9112 2.2: bare LF", b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", ends=True),
    refused("line-cr-in-reason", "9112 2.2: bare CR", head(b"HTTP/1.1 200 O\rK", LENGTH) + BODY),
    *[
        refused(f"status-{name}", "9112 4: three digits from 100 to 599", head(b"HTTP/1.1 %b X" % value, LENGTH) + BODY)
        for name, value in {
            "two-digits": b"20",
            "four-digits": b"2000",
            "letters": b"OK",
            "sign": b"+20",
            "hex": b"0xC8",
            "zero": b"000",
            "below": b"099",
            "above": b"600",
            "far-above": b"999",
            "empty": b"",
            "point": b"20.",
            "unicode": "٢٠٠".encode(),
        }.items()
    ],
    passed("line-reason-empty", "9112 4: the reason phrase may be empty", head(b"HTTP/1.1 200 ", LENGTH) + BODY),
    passed(
        "line-reason-odd",
        "9112 4: the reason phrase means nothing",
        head(b"HTTP/1.1 299 Fine: by \xe9 me", LENGTH) + BODY,
        status=299,
    ),
    passed("status-unknown", "an unknown status is passed on", head(b"HTTP/1.1 418 X", LENGTH) + BODY, status=418),
    passed("status-500", "an error of the upstream is its own", head(b"HTTP/1.1 500 Oops", LENGTH) + BODY, status=500),
    passed("version-1.0", "9112 2.3: an old upstream", head(b"HTTP/1.0 200 OK", LENGTH) + BODY, reused=False),
]

FIELDS: list[AnswerCase] = [
    refused("field-folded", "9112 5.2: folded line", head(OK, b"X-A: 1\r\n 2", LENGTH) + BODY),
    refused("field-folded-length", "9112 5.2: folded line", head(OK, b"Content-Length:\r\n 5") + BODY),
    refused("field-space-before-colon", "9112 5.1: no space before the colon", head(OK, b"X-A : 1", LENGTH) + BODY),
    refused(
        "field-length-space-before-colon", "9112 5.1: no space before the colon", head(OK, b"Content-Length : 5") + BODY
    ),
    refused("field-empty-name", "9110 5.1: a name is a token", head(OK, b": 1", LENGTH) + BODY),
    refused("field-without-colon", "9112 5: name, colon, value", head(OK, b"X-A", LENGTH) + BODY),
    refused("field-leading-space", "9112 2.2: white space before the first field", head(OK, b" X-A: 1", LENGTH) + BODY),
    refused("field-bad-name", "9110 5.1: a name is a token", head(OK, b"X(A): 1", LENGTH) + BODY),
    refused("field-non-ascii-name", "9110 5.1: a name is a token", head(OK, "X-Ä: 1".encode(), LENGTH) + BODY),
    refused("field-nul", "9110 5.5: NUL", head(OK, b"X-A: a\0b", LENGTH) + BODY),
    refused("field-control", "9110 5.5: control characters", head(OK, b"X-A: a\x08b", LENGTH) + BODY),
    refused("field-bare-cr", "9112 2.2: bare CR splits answers", head(OK, b"X-A: a\rSet-Cookie: b=1", LENGTH) + BODY),
    refused("field-bare-lf", "9112 2.2: bare LF splits answers", head(OK, b"X-A: a\nSet-Cookie: b=1", LENGTH) + BODY),
    refused(
        "head-too-large",
        "a head over the limit",
        head(OK, *[b"X-%d: %b" % (n, b"a" * 8000) for n in range(40)], LENGTH) + BODY,
    ),
    refused("head-endless", "a head over the limit that never ends", OK + b"\r\n" + b"X-A: aaaaaaaa\r\n" * 20000),
    refused("head-cut", "the head is not terminated", OK + b"\r\nX-A: 1\r\n", ends=True),
    passed(
        "field-empty-value", "9110 5.5: a value may be empty", head(OK, b"X-A:", LENGTH) + BODY, headers={"X-A": ""}
    ),
    passed(
        "field-white-space",
        "9110 5.5: white space around is not part of it",
        head(OK, b"X-A: \t b \t", LENGTH) + BODY,
        headers={"X-A": "b"},
    ),
    passed(
        "field-high-bytes", "9110 5.5: bytes over 127 pass", head(OK, b"X-A: \xe9", LENGTH) + BODY, headers={"X-A": "é"}
    ),
    passed(
        "set-cookie-separate",
        "6265 3: Set-Cookie fields stay separate",
        head(OK, b"Set-Cookie: a=1", b"Set-Cookie: b=2, 3", LENGTH) + BODY,
        headers={"Set-Cookie": ["a=1", "b=2, 3"]},
    ),
    passed(
        "fields-in-order",
        "9110 5.3: fields of one name keep their order",
        head(OK, b"X-A: 1", b"X-B: 2", b"x-a: 3", LENGTH) + BODY,
        headers={"X-A": ["1", "3"]},
    ),
    passed(
        "server-kept",
        "the upstream's Server and Date pass",
        head(OK, b"Server: mine/1", b"Date: Sun, 06 Nov 1994 08:49:37 GMT", LENGTH) + BODY,
        headers={"Server": ["mine/1"], "Date": ["Sun, 06 Nov 1994 08:49:37 GMT"], "Via": ["1.1 kong/3.9.1"]},
        wsgi=False,
    ),
    passed(
        "via-appended",
        "9110 7.6.3: appended to the upstream's own",
        head(OK, b"Via: 1.1 inner", LENGTH) + BODY,
        headers={"Via": ["1.1 inner, 1.1 kong/3.9.1"]},
    ),
    passed(
        "charset-added",
        "a text without charset is UTF-8, as Kong's server layer says",
        head(OK, b"Content-Type: text/plain", LENGTH) + BODY,
        headers={"Content-Type": ["text/plain; charset=UTF-8"]},
    ),
    passed(
        "charset-kept",
        "a charset is kept",
        head(OK, b"Content-Type: text/plain; charset=latin-1", LENGTH) + BODY,
        headers={"Content-Type": ["text/plain; charset=latin-1"]},
    ),
    passed(
        "hop-removed",
        "9110 7.6.1: fields of one connection",
        head(
            OK,
            b"Connection: keep-alive, X-Secret",
            b"Keep-Alive: timeout=5",
            b"Proxy-Connection: x",
            b"X-Secret: 1",
            b"Upgrade: h2c",
            LENGTH,
        )
        + BODY,
        headers={"Keep-Alive": None, "Proxy-Connection": None, "X-Secret": None, "Upgrade": None},
    ),
    passed(
        "hop-keeps-end-to-end",
        "9110 7.6.1: end-to-end fields cannot be named away",
        head(
            OK,
            b"Connection: Set-Cookie, Content-Type, Content-Length",
            b"Set-Cookie: a=1",
            b"Content-Type: a/b",
            LENGTH,
        )
        + BODY,
        headers={"Set-Cookie": ["a=1"], "Content-Type": ["a/b"]},
    ),
]

FRAMING: list[AnswerCase] = [
    refused("length-twice-different", "9112 6.3: one length", head(OK, LENGTH, b"Content-Length: 6") + BODY),
    refused("length-list-different", "9110 8.6: digits only", head(OK, b"Content-Length: 5, 6") + BODY),
    refused("length-plus", "9110 8.6: digits only", head(OK, b"Content-Length: +5") + BODY),
    refused("length-minus", "9110 8.6: digits only", head(OK, b"Content-Length: -1") + BODY),
    refused("length-hex", "9110 8.6: digits only", head(OK, b"Content-Length: 0x5") + BODY),
    refused("length-empty", "9110 8.6: digits only", head(OK, b"Content-Length:") + BODY),
    refused("length-huge", "9110 8.6: over 18 digits", head(OK, b"Content-Length: 18446744073709551621") + BODY),
    refused("length-superscript", "9110 8.6: ASCII digits", head(OK, b"Content-Length: \xb2") + BODY),
    refused("length-and-coding", "9112 6.3: both kinds of framing", head(OK, LENGTH, CHUNKED) + ONE),
    refused("coding-and-length", "9112 6.3: both kinds of framing", head(OK, CHUNKED, LENGTH) + ONE),
    refused("coding-unknown", "9112 6.1: only chunked", head(OK, b"Transfer-Encoding: gzip") + BODY, ends=True),
    refused("coding-identity", "9112 6.1: only chunked", head(OK, b"Transfer-Encoding: identity") + BODY, ends=True),
    refused("coding-gzip-chunked", "9112 6.1: only chunked", head(OK, b"Transfer-Encoding: gzip, chunked") + ONE),
    refused("coding-twice", "9112 6.1: chunked once", head(OK, CHUNKED, CHUNKED) + ONE),
    refused("coding-list-twice", "9112 6.1: chunked once", head(OK, b"Transfer-Encoding: chunked, chunked") + ONE),
    refused("coding-quoted", "9112 6.1: a token", head(OK, b'Transfer-Encoding: "chunked"') + ONE),
    refused("coding-empty", "9112 6.1: chunked", head(OK, b"Transfer-Encoding:") + BODY, ends=True),
    refused("coding-vertical-tab", "9110 5.5: control characters", head(OK, b"Transfer-Encoding: \x0bchunked") + ONE),
    refused("coding-1.0", "9112 6.1: no coding in HTTP/1.0", head(b"HTTP/1.0 200 OK", CHUNKED) + ONE, ends=True),
    passed(
        "length",
        "9112 6.3: a body by its length",
        head(OK, LENGTH) + BODY,
        headers={"Content-Length": ["5"]},
        reused=True,
    ),
    passed(
        "length-zero",
        "an empty body",
        head(OK, b"Content-Length: 0"),
        "",
        headers={"Content-Length": ["0"]},
        reused=True,
    ),
    passed(
        "length-twice-equal",
        "9112 6.3: equal lengths become one",
        head(OK, LENGTH, LENGTH) + BODY,
        headers={"Content-Length": ["5"]},
    ),
    passed(
        "length-leading-zeros",
        "leading zeros are normalised",
        head(OK, b"Content-Length: 005") + BODY,
        headers={"Content-Length": ["5"]},
    ),
    passed("until-close", "9112 6.3: a body that ends with the connection", head(OK) + BODY, ends=True, reused=False),
    passed(
        "until-close-1.0",
        "9112 6.3: a body that ends with the connection",
        head(b"HTTP/1.0 200 OK") + BODY,
        ends=True,
        reused=False,
    ),
    passed(
        "until-close-to-1.0",
        "a client that knows no chunks gets the end as the end",
        head(OK) + BODY,
        request="GET HTTP/1.0",
        ends=True,
        headers={"Transfer-Encoding": None},
    ),
    passed(
        "close",
        "9112 9.6: a connection that the upstream closes is not used again",
        head(OK, b"Connection: close", LENGTH) + BODY,
        headers={},
        ends=True,
        reused=False,
    ),
    passed("chunked", "9112 7.1: chunks", head(OK, CHUNKED) + ONE, reused=True),
    passed("chunked-upper-case", "9112 7: codings ignore case", head(OK, b"TRANSFER-ENCODING: Chunked") + ONE),
    passed("chunked-empty", "9112 7.1: an empty body", head(OK, CHUNKED) + b"0\r\n\r\n", ""),
    passed(
        "chunked-extension",
        "9112 7.1.1: extensions are dropped",
        head(OK, CHUNKED) + b'5;a="b";c\r\nhello\r\n0;d\r\n\r\n',
    ),
    passed("chunked-leading-zeros", "9112 7.1: leading zeros", head(OK, CHUNKED) + b"0005\r\nhello\r\n000\r\n\r\n"),
    passed(
        "chunked-to-1.0",
        "a client that knows no chunks gets the bare body",
        head(OK, CHUNKED) + ONE,
        request="GET HTTP/1.0",
        headers={"Transfer-Encoding": None},
    ),
    passed(
        "extra-bytes",
        "9112 6.3: bytes after the answer are no answer; the connection is not used again",
        head(OK, LENGTH) + BODY + b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad",
        reused=False,
    ),
    passed(
        "extra-bytes-chunked",
        "9112 6.3: bytes after the answer are no answer; the connection is not used again",
        head(OK, CHUNKED) + ONE + b"0\r\n\r\n",
        reused=False,
    ),
]

NO_BODY: list[AnswerCase] = [
    passed(
        "head-with-length",
        "9112 6.3: an answer to HEAD has no body",
        head(OK, LENGTH),
        "",
        request="HEAD HTTP/1.1",
        headers={"Content-Length": ["5"]},
        reused=True,
    ),
    passed(
        "head-chunked",
        "9112 6.3: an answer to HEAD has no body",
        head(OK, CHUNKED),
        "",
        request="HEAD HTTP/1.1",
        reused=True,
    ),
    passed(
        "head-with-body",
        "9112 6.3: a body after HEAD is never sent on",
        head(OK, LENGTH) + BODY,
        "",
        request="HEAD HTTP/1.1",
        reused=False,
    ),
    passed(
        "204",
        "9110 15.3.5: no body",
        head(b"HTTP/1.1 204 No Content"),
        "",
        status=204,
        reused=True,
        headers={"Content-Length": None, "Transfer-Encoding": None},
    ),
    passed(
        "204-with-length",
        "9110 8.6: no length with 204",
        head(b"HTTP/1.1 204 No Content", LENGTH),
        "",
        status=204,
        headers={"Content-Length": None},
    ),
    passed(
        "204-with-body",
        "9110 15.3.5: a body is never sent on",
        head(b"HTTP/1.1 204 No Content", LENGTH) + BODY,
        "",
        status=204,
        reused=False,
    ),
    passed(
        "204-chunked",
        "9112 6.1: no coding with 204",
        head(b"HTTP/1.1 204 No Content", CHUNKED),
        "",
        status=204,
        headers={"Transfer-Encoding": None},
    ),
    passed(
        "304",
        "9110 15.4.5: no body, the length of the other answer",
        head(b"HTTP/1.1 304 Not Modified", b"ETag: x", LENGTH),
        "",
        status=304,
        headers={"ETag": "x"},
        reused=True,
    ),
    passed(
        "304-with-body",
        "9110 15.4.5: a body is never sent on",
        head(b"HTTP/1.1 304 Not Modified", LENGTH) + BODY,
        "",
        status=304,
        reused=False,
    ),
    passed("205", "9110 15.3.6: no content", head(b"HTTP/1.1 205 Reset Content", b"Content-Length: 0"), "", status=205),
]

INTERIM: list[AnswerCase] = [
    refused(
        "101-unasked",
        "9110 7.8: an upgrade nobody asked for",
        head(b"HTTP/1.1 101 Switching Protocols", b"Connection: upgrade", b"Upgrade: websocket"),
    ),
    refused(
        "1xx-endless",
        "interim answers are bounded in number",
        head(b"HTTP/1.1 100 Continue") * 2000 + head(OK, LENGTH) + BODY,
    ),
    refused(
        "1xx-bad-field",
        "an interim head is judged as any other",
        head(b"HTTP/1.1 103 Early Hints", b"X A: 1") + head(OK, LENGTH) + BODY,
    ),
    refused("1xx-then-end", "an interim answer is no answer", head(b"HTTP/1.1 100 Continue"), ends=True),
    passed(
        "100-then-200",
        "9110 15.2.1: an interim answer before the final one",
        head(b"HTTP/1.1 100 Continue") + head(OK, LENGTH) + BODY,
    ),
    passed(
        "103-then-200",
        "8297: early hints",
        head(b"HTTP/1.1 103 Early Hints", b"Link: </a>") + head(OK, LENGTH) + BODY,
        headers={"Link": None},
        interim=(103,),
        wsgi=False,
    ),
    passed(
        "1xx-to-1.0",
        "9110 15.2: HTTP/1.0 knows no interim answers",
        head(b"HTTP/1.1 103 Early Hints") + head(OK, LENGTH) + BODY,
        request="GET HTTP/1.0",
        interim=(),
    ),
]

BODIES: list[AnswerCase] = [
    broken(
        "short-length",
        "9112 8: closed before the promised length",
        head(OK, b"Content-Length: 9") + BODY,
        by="gateway",
        ends=True,
    ),
    broken(
        "short-length-empty",
        "9112 8: closed before the promised length",
        head(OK, b"Content-Length: 9"),
        by="gateway",
        body="",
        ends=True,
    ),
    broken("chunk-cut", "9112 8: closed inside a chunk", head(OK, CHUNKED) + b"9\r\nhello", ends=True, by="gateway"),
    broken(
        "chunk-without-last",
        "9112 8: closed before the last chunk",
        head(OK, CHUNKED) + b"5\r\nhello\r\n",
        ends=True,
        by="gateway",
    ),
    broken(
        "chunk-last-cut",
        "9112 8: closed inside the last chunk",
        head(OK, CHUNKED) + b"5\r\nhello\r\n0\r\n",
        ends=True,
        by="gateway",
    ),
    *[
        broken(f"chunk-{name}", "9112 7.1: chunks are read strictly", head(OK, CHUNKED) + b"5\r\nhello\r\n" + rest)
        for name, rest in {
            "size-letter": b"g\r\nhello\r\n0\r\n\r\n",
            "size-sign": b"+5\r\nhello\r\n0\r\n\r\n",
            "size-prefix": b"0x5\r\nhello\r\n0\r\n\r\n",
            "size-negative": b"-5\r\nhello\r\n0\r\n\r\n",
            "size-17-digits": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
            "size-empty": b"\r\n0\r\n\r\n",
            "size-lf": b"5\nhello\r\n0\r\n\r\n",
            "extension-control": b"5;\x01\r\nhello\r\n0\r\n\r\n",
            "extension-too-long": b"5;" + b"a" * 20000 + b"\r\nhello\r\n0\r\n\r\n",
            "trailer-bad": b"0\r\nX A: 1\r\n\r\n",
            "trailer-too-long": b"0\r\nX-A: " + b"a" * 40000 + b"\r\n\r\n",
        }.items()
    ],
    broken("chunk-data-without-end", "9112 7.1: CRLF after the data", head(OK, CHUNKED) + b"5\r\nhello0\r\n\r\n"),
    broken("chunk-data-lf", "9112 7.1: CRLF after the data", head(OK, CHUNKED) + b"5\r\nhello\n0\r\n\r\n"),
    broken("chunk-data-too-long", "9112 7.1: the size is exact", head(OK, CHUNKED) + b"4\r\nhello\r\n0\r\n\r\n"),
]

CASES = STATUS_LINE + FIELDS + FRAMING + NO_BODY + INTERIM + BODIES
