"""Where a body ends: Content-Length, Transfer-Encoding, chunks and trailers (RFC 9112, sections 6 and 7)."""

from typing import Any

from tests.http.table import BODY, HOST, NEXT, Case, bad, chunks, get, good, head, post

ONE = b"5\r\nhello\r\n0\r\n\r\n"
"""``hello`` in the chunked coding."""
HELLO = {"method": "POST", "body": "hello"}

LENGTH: list[Case] = [
    bad("length-twice-different", "9112 6.3: one length", post(b"Content-Length: 5", b"Content-Length: 6", body=BODY)),
    bad("length-twice-equal", "9112 6.3: one length", post(b"Content-Length: 5", b"Content-Length: 5", body=BODY)),
    bad("length-twice-zero", "9112 6.3: one length", post(b"Content-Length: 0", b"Content-Length: 5", body=BODY)),
    bad("length-twice-other-case", "9112 6.3: one length", post(b"Content-Length: 5", b"content-length: 5", body=BODY)),
    bad("length-list-equal", "9110 8.6: digits only", post(b"Content-Length: 5, 5", body=BODY)),
    bad("length-list-different", "9110 8.6: digits only", post(b"Content-Length: 5,6", body=BODY)),
    bad("length-trailing-comma", "9110 8.6: digits only", post(b"Content-Length: 5,", body=BODY)),
    bad("length-leading-comma", "9110 8.6: digits only", post(b"Content-Length: ,5", body=BODY)),
    bad("length-plus", "9110 8.6: digits only", post(b"Content-Length: +5", body=BODY)),
    bad("length-minus", "9110 8.6: digits only", post(b"Content-Length: -5", body=BODY)),
    bad("length-minus-zero", "9110 8.6: digits only", post(b"Content-Length: -0", body=BODY)),
    bad("length-hex", "9110 8.6: digits only", post(b"Content-Length: 0x5", body=BODY)),
    bad("length-hex-digit", "9110 8.6: digits only", post(b"Content-Length: a", body=BODY)),
    bad("length-space-inside", "9110 8.6: digits only", post(b"Content-Length: 0 5", body=BODY)),
    bad("length-tab-inside", "9110 8.6: digits only", post(b"Content-Length: 5\t0", body=BODY)),
    bad("length-underscore", "9110 8.6: digits only", post(b"Content-Length: 0_5", body=BODY)),
    bad("length-empty", "9110 8.6: digits only", post(b"Content-Length:", body=BODY)),
    bad("length-point", "9110 8.6: digits only", post(b"Content-Length: 5.0", body=BODY)),
    bad("length-exponent", "9110 8.6: digits only", post(b"Content-Length: 5e0", body=BODY)),
    bad("length-semicolon", "9110 8.6: digits only", post(b"Content-Length: 5;a", body=BODY)),
    bad("length-quoted", "9110 8.6: digits only", post(b'Content-Length: "5"', body=BODY)),
    bad("length-unicode-digit", "9110 8.6: ASCII digits only", post("Content-Length: \u0665".encode(), body=BODY)),
    bad("length-superscript", "9110 8.6: ASCII digits only", post(b"Content-Length: \xb2", body=BODY)),
    bad("length-vertical-tab", "9110 5.5: control characters", post(b"Content-Length: \x0b5", body=BODY)),
    bad("length-19-digits", "9110 8.6: over 18 digits", post(b"Content-Length: 9999999999999999999", body=BODY)),
    bad(
        "length-23-digits",
        "9110 8.6: over 18 digits, wraps to 5 in 64 bits",
        post(b"Content-Length: 18446744073709551621", body=BODY),
    ),
    bad("length-zeros", "9110 8.6: over 18 digits", post(b"Content-Length: 0000000000000000000005", body=BODY)),
    bad("length-space-before-colon", "9112 5.1: no space before the colon", post(b"Content-Length : 5", body=BODY)),
    bad("length-folded", "9112 5.2: folded line", post(b"Content-Length:\r\n 5", body=BODY)),
    bad("length-bare-cr", "9112 2.2: bare CR", post(b"Content-Length: 5\r", body=BODY)),
    good(
        "length",
        "9110 8.6: digits",
        post(b"Content-Length: 5", body=BODY),
        HELLO | {"headers": {"Content-Length": ["5"], "Transfer-Encoding": None}},
    ),
    good(
        "length-zero",
        "9110 8.6: an empty body",
        post(b"Content-Length: 0"),
        {"method": "POST", "headers": {"Content-Length": ["0"]}},
    ),
    good(
        "length-leading-zeros",
        "9110 8.6: leading zeros are normalised",
        post(b"Content-Length: 005", body=BODY),
        HELLO | {"headers": {"Content-Length": ["5"]}},
    ),
    good("length-absent", "9112 6.3: no length means no body", post() + NEXT, {"method": "POST"}, {"target": "/next"}),
    good(
        "get-with-body",
        "a GET keeps its body; what is in it is no request",
        get(b"Content-Length: %d" % len(NEXT)) + NEXT,
        {"body": NEXT.decode(), "headers": {"Content-Length": [str(len(NEXT))]}},
    ),
    good(
        "delete-with-body",
        "any method may have a body",
        head(b"DELETE / HTTP/1.1", HOST, b"Content-Length: 5") + BODY,
        {"method": "DELETE", "body": "hello"},
    ),
    good(
        "head-with-body",
        "any method may have a body",
        head(b"HEAD / HTTP/1.1", HOST, b"Content-Length: 5") + BODY,
        {"method": "HEAD", "body": "hello"},
    ),
    good(
        "length-underscore-name",
        "`Content_Length` could be taken for the real one: dropped",
        get(b"Content_Length: 5"),
        {"headers": {"Content_Length": None, "Content-Length": None}},
    ),
    good(
        "length-underscore-beside",
        "the real one counts",
        post(b"Content_Length: 99", b"Content-Length: 5", body=BODY),
        HELLO | {"headers": {"Content_Length": None, "Content-Length": ["5"]}},
    ),
]


def coded(name: str, rule: str, value: bytes, status: int = 400) -> Case:
    """A request with this Transfer-Encoding value that is refused."""
    return bad(f"coding-{name}", rule, post(b"Transfer-Encoding:" + value, body=ONE + NEXT), status)


CODING: list[Case] = [
    bad(
        "cl-te", "9112 6.1: both kinds of framing", post(b"Content-Length: 15", b"Transfer-Encoding: chunked", body=ONE)
    ),
    bad(
        "te-cl", "9112 6.1: both kinds of framing", post(b"Transfer-Encoding: chunked", b"Content-Length: 15", body=ONE)
    ),
    bad(
        "cl-te-smuggle",
        "9112 6.1: both kinds of framing",
        post(b"Content-Length: %d" % (5 + len(NEXT)), b"Transfer-Encoding: chunked", body=b"0\r\n\r\n" + NEXT),
    ),
    bad(
        "te-cl-smuggle",
        "9112 6.1: both kinds of framing",
        post(b"Transfer-Encoding: chunked", b"Content-Length: 4", body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(NEXT), NEXT)),
    ),
    bad(
        "cl-zero-te",
        "9112 6.1: both kinds of framing",
        post(b"Content-Length: 0", b"Transfer-Encoding: chunked", body=ONE),
    ),
    bad(
        "cl-te-unknown",
        "9112 6.1: both kinds of framing",
        post(b"Content-Length: 5", b"Transfer-Encoding: gzip", body=BODY),
        501,
    ),
    bad("te-te", "9112 6.1: one coding", post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=ONE)),
    bad(
        "te-te-unknown-last",
        "9112 6.1: one coding",
        post(b"Transfer-Encoding: chunked", b"Transfer-encoding: cow", body=ONE),
    ),
    bad(
        "te-te-unknown-first",
        "9112 6.1: one coding",
        post(b"Transfer-Encoding: cow", b"Transfer-Encoding: chunked", body=ONE),
    ),
    bad(
        "te-1.0", "9112 6.1: no coding in HTTP/1.0", head(b"POST / HTTP/1.0", HOST, b"Transfer-Encoding: chunked") + ONE
    ),
    bad(
        "te-1.0-keep-alive",
        "9112 6.1: no coding in HTTP/1.0",
        head(b"POST / HTTP/1.0", HOST, b"Connection: keep-alive", b"Transfer-Encoding: chunked") + ONE + NEXT,
    ),
    bad("te-space-before-colon", "9112 5.1: no space before the colon", post(b"Transfer-Encoding : chunked", body=ONE)),
    bad("te-folded", "9112 5.2: folded line", post(b"Transfer-Encoding:\r\n chunked", body=ONE)),
    bad("te-folded-name", "9112 5.2: folded line", post(b"X-A: 1\r\n Transfer-Encoding: chunked", body=ONE)),
    bad("te-bare-lf", "9112 2.2: bare LF", post(b"X-A: 1\nTransfer-Encoding: chunked", body=ONE)),
    coded("empty", "9112 6.1: chunked", b""),
    coded("gzip", "9112 6.1: an unknown coding", b" gzip", 501),
    coded("identity", "9112 6.1: an unknown coding", b" identity", 501),
    coded("gzip-chunked", "9112 6.1: an unknown coding", b" gzip, chunked", 501),
    coded("chunked-gzip", "9112 6.1: chunked is the last", b" chunked, gzip"),
    coded("chunked-identity", "9112 6.1: chunked is the last", b" chunked, identity"),
    coded("chunked-chunked", "9112 6.1: chunked once", b" chunked, chunked"),
    coded("resembling", "9112 6.1: an unknown coding", b" xchunked", 501),
    coded("shorter", "9112 6.1: an unknown coding", b" chunk", 501),
    coded("parameter", "9112 7: chunked has no parameters", b" chunked;q=1"),
    coded("semicolon", "9112 7: chunked has no parameters", b" chunked;"),
    coded("quoted", "9112 6.1: a token", b' "chunked"'),
    coded("single-quoted", "9112 6.1: another token", b" 'chunked'", 501),
    coded("trailing-comma", "9112 6.1: one coding", b" chunked,"),
    coded("leading-comma", "9112 6.1: one coding", b" ,chunked"),
    coded("two-words", "9112 6.1: a token", b" chunked identity"),
    coded("vertical-tab", "9110 5.5: control characters", b" \x0bchunked"),
    coded("form-feed", "9110 5.5: control characters", b" chunked\x0c"),
    coded("nul", "9110 5.5: NUL", b" chunked\0"),
    coded("high-byte", "9112 6.1: a token", b" \xffchunked"),
    coded("no-break-space", "9112 6.1: a token", b" chunked\xa0"),
    coded("bare-cr", "9112 2.2: bare CR", b" chunked\r"),
    good(
        "te-upper-case",
        "9110 5.1, 9112 7: names of fields and codings ignore case",
        post(b"TRANSFER-ENCODING: CHUNKED", body=ONE),
        HELLO,
    ),
    good("te-without-space", "9112 5.1: white space is optional", post(b"Transfer-Encoding:chunked", body=ONE), HELLO),
    good(
        "te-underscore-name",
        "`Transfer_Encoding` could be taken for the real one: dropped",
        post(b"Transfer_Encoding: chunked", b"Content-Length: 5", body=BODY),
        HELLO | {"headers": {"Transfer_Encoding": None, "Transfer-Encoding": None}},
    ),
]


def chunked(name: str, rule: str, body: bytes, **more: Any) -> Case:
    """A request whose chunked body is refused."""
    return bad(f"chunk-{name}", rule, chunks(body), by="chunks", **more)


CHUNKS: list[Case] = [
    chunked("size-prefix", "9112 7.1: hexadecimal digits only", b"0x5\r\nhello\r\n0\r\n\r\n"),
    chunked("size-plus", "9112 7.1: hexadecimal digits only", b"+5\r\nhello\r\n0\r\n\r\n"),
    chunked("size-minus", "9112 7.1: hexadecimal digits only", b"-5\r\nhello\r\n0\r\n\r\n"),
    chunked("size-trailing-space", "9112 7.1: hexadecimal digits only", b"5 \r\nhello\r\n0\r\n\r\n"),
    chunked("size-trailing-tab", "9112 7.1: hexadecimal digits only", b"5\t\r\nhello\r\n0\r\n\r\n"),
    chunked("size-leading-space", "9112 7.1: hexadecimal digits only", b" 5\r\nhello\r\n0\r\n\r\n"),
    chunked("size-inner-space", "9112 7.1: hexadecimal digits only", b"0 5\r\nhello\r\n0\r\n\r\n"),
    chunked("size-underscore", "9112 7.1: hexadecimal digits only", b"0_5\r\nhello\r\n0\r\n\r\n"),
    chunked("size-letter", "9112 7.1: hexadecimal digits only", b"g\r\nhello\r\n0\r\n\r\n"),
    chunked("size-quoted", "9112 7.1: hexadecimal digits only", b'"5"\r\nhello\r\n0\r\n\r\n'),
    chunked("size-comma", "9112 7.1: hexadecimal digits only", b"5,5\r\nhello\r\n0\r\n\r\n"),
    chunked("size-nul", "9112 7.1: hexadecimal digits only", b"5\0\r\nhello\r\n0\r\n\r\n"),
    chunked("size-vertical-tab", "9112 7.1: hexadecimal digits only", b"\x0b5\r\nhello\r\n0\r\n\r\n"),
    chunked("size-unicode-digit", "9112 7.1: ASCII digits only", "\u0665\r\nhello\r\n0\r\n\r\n".encode()),
    chunked("size-empty", "9112 7.1: at least one digit", b"\r\nhello\r\n0\r\n\r\n"),
    chunked("size-only-extension", "9112 7.1: at least one digit", b";a=b\r\nhello\r\n0\r\n\r\n"),
    chunked(
        "size-17-digits", "9112 7.1: a size that wraps to 5 in 64 bits", b"10000000000000005\r\nhello\r\n0\r\n\r\n"
    ),
    chunked("size-many-zeros", "9112 7.1: over 16 digits", b"0000000000000000000005\r\nhello\r\n0\r\n\r\n", wsgi=False),
    chunked("size-lf", "9112 7.1: CRLF after the size", b"5\nhello\r\n0\r\n\r\n"),
    chunked("size-cr", "9112 7.1: CRLF after the size", b"5\rhello\r\n0\r\n\r\n"),
    chunked("size-cr-cr-lf", "9112 7.1: CRLF after the size", b"5\r\r\nhello\r\n0\r\n\r\n"),
    chunked("data-without-end", "9112 7.1: CRLF after the data", b"5\r\nhello0\r\n\r\n"),
    chunked("data-lf", "9112 7.1: CRLF after the data", b"5\r\nhello\n0\r\n\r\n"),
    chunked("data-cr", "9112 7.1: CRLF after the data", b"5\r\nhello\r0\r\n\r\n"),
    chunked("data-lf-cr", "9112 7.1: CRLF after the data", b"5\r\nhello\n\r0\r\n\r\n"),
    chunked("data-two-ends", "9112 7.1: one CRLF after the data", b"5\r\nhello\r\n\r\n0\r\n\r\n"),
    chunked("data-too-long", "9112 7.1: the size is exact", b"4\r\nhello\r\n0\r\n\r\n"),
    chunked("data-too-short", "9112 7.1: the size is exact", b"6\r\nhello\r\n0\r\n\r\n"),
    chunked("data-other-bytes", "9112 7.1: CRLF after the data, not any two bytes", b"5\r\nhelloXX0\r\n\r\n"),
    chunked("extension-lf", "9112 7.1.1: LF in an extension hides another chunk", b"5;a\nhello\r\n0\r\n\r\n"),
    chunked("extension-cr", "9112 7.1.1: CR in an extension", b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
    chunked("extension-nul", "9112 7.1.1: control characters", b"5;a=\0\r\nhello\r\n0\r\n\r\n"),
    chunked("extension-control", "9112 7.1.1: control characters", b"5;a=\x01\r\nhello\r\n0\r\n\r\n"),
    chunked("extension-too-long", "9112 7.1.1: bounded", b"5;" + b"a" * 20000 + b"\r\nhello\r\n0\r\n\r\n"),
    chunked(
        "extension-smuggle",
        "9112 7.1.1: two readers see two requests",
        b"2;\nxx\r\n%x\r\n0\r\n\r\n%b\r\n0\r\n\r\n" % (5 + len(NEXT), NEXT),
    ),
    chunked("last-lf", "9112 7.1: CRLF after the last chunk", b"5\r\nhello\r\n0\n\r\n"),
    chunked("last-end-lf", "9112 7.1: CRLF at the end", b"5\r\nhello\r\n0\r\n\n" + NEXT),
    chunked("last-without-end", "9112 7.1.2: a request line is no trailer", b"5\r\nhello\r\n0\r\n" + NEXT),
    chunked("trailer-bad-name", "9110 5.1: a name is a token", b"0\r\nX A: 1\r\n\r\n"),
    chunked("trailer-space-before-colon", "9112 5.1: no space before the colon", b"0\r\nX-A : 1\r\n\r\n"),
    chunked("trailer-without-colon", "9112 5: name, colon, value", b"0\r\nX-A\r\n\r\n"),
    chunked("trailer-folded", "9112 5.2: folded line", b"0\r\nX-A: 1\r\n 2\r\n\r\n"),
    chunked("trailer-lf", "9112 2.2: bare LF", b"0\r\nX-A: 1\nX-B: 2\r\n\r\n"),
    chunked("trailer-nul", "9110 5.5: NUL", b"0\r\nX-A: \0\r\n\r\n"),
    chunked("trailer-too-long", "trailers are bounded", b"0\r\nX-A: " + b"a" * 20000 + b"\r\n\r\n"),
    chunked(
        "trailers-too-many",
        "trailers are bounded",
        b"0\r\n" + b"".join(b"X-%d: %b\r\n" % (n, b"a" * 50) for n in range(1500)) + b"\r\n",
    ),
    chunked("closed-in-size", "9112 8: an incomplete request", b"5\r\nhello\r\n0", answers=(), ends=True),
    chunked("closed-in-data", "9112 8: an incomplete request", b"5\r\nhel", answers=(), ends=True),
    chunked("closed-before-last", "9112 8: an incomplete request", b"5\r\nhello\r\n", answers=(), ends=True),
    good("chunked", "9112 7.1: the body without its coding", chunks(ONE), HELLO),
    good("chunked-two", "9112 7.1: several chunks", chunks(b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"), HELLO),
    good("chunked-empty", "9112 7.1: an empty body", chunks(b"0\r\n\r\n"), {"method": "POST"}),
    good(
        "chunked-many-zeros-last",
        "9112 7.1: the last chunk is one or more zeros",
        chunks(b"5\r\nhello\r\n000\r\n\r\n"),
        HELLO,
    ),
    good("chunked-leading-zeros", "9112 7.1: leading zeros", chunks(b"0005\r\nhello\r\n0\r\n\r\n"), HELLO),
    good(
        "chunked-lower-hex",
        "9112 7.1: hexadecimal in lower case",
        chunks(b"a\r\nhellohello\r\n0\r\n\r\n"),
        {"method": "POST", "body": "hellohello"},
    ),
    good(
        "chunked-upper-hex",
        "9112 7.1: hexadecimal in upper case",
        chunks(b"A\r\nhellohello\r\n0\r\n\r\n"),
        {"method": "POST", "body": "hellohello"},
    ),
    good(
        "chunked-extension",
        "9112 7.1.1: extensions are dropped",
        chunks(b'5;a=b;c="d";e\r\nhello\r\n0;z\r\n\r\n'),
        HELLO,
    ),
    good(
        "chunked-one-byte-chunks",
        "9112 7.1: many chunks",
        chunks(b"1\r\na\r\n" * 500 + b"0\r\n\r\n"),
        {"method": "POST", "body": "a" * 500},
    ),
    good(
        "chunked-line-ends-in-data",
        "9112 7.1: data are any bytes",
        chunks(b"7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n"),
        {"method": "POST", "body": "\r\n0\r\n\r\n"},
    ),
    good(
        "chunked-request-in-data",
        "what is in a body is no request",
        chunks(b"%x\r\n%b\r\n0\r\n\r\n" % (len(NEXT), NEXT)),
        {"method": "POST", "body": NEXT.decode()},
    ),
    good(
        "chunked-large",
        "a body larger than the buffers",
        chunks(b"%x\r\n%b\r\n0\r\n\r\n" % (30000, b"a" * 30000)),
        {"method": "POST", "body": "a" * 30000},
    ),
    good("chunked-get", "a GET may have a chunked body", get(b"Transfer-Encoding: chunked") + ONE, {"body": "hello"}),
    good(
        "trailers-forbidden",
        "9110 6.5.1: framing, routing and identity do not come as trailers",
        chunks(
            b"5\r\nhello\r\n0\r\nContent-Length: 99\r\nTransfer-Encoding: gzip\r\nHost: b.test\r\nAuthorization: x\r\n"
            b"X-Consumer-ID: 1\r\nX_Consumer_Username: root\r\nX-Forwarded-For: 192.0.2.1\r\nCookie: a=1\r\n\r\n",
            b"Trailer: Host",
        )
        + NEXT,
        HELLO
        | {
            "headers": {
                "Host": ["a.test"],
                "Authorization": None,
                "X-Consumer-ID": None,
                "X_Consumer_Username": None,
                "Cookie": None,
                "Trailer": None,
            },
            "absent_trailers": [
                "content-length",
                "transfer-encoding",
                "host",
                "authorization",
                "x-consumer-id",
                "x_consumer_username",
                "x-forwarded-for",
                "cookie",
            ],
        },
        {"target": "/next"},
        wsgi=False,
    ),
]

CLOSED: list[Case] = [
    bad("closed-in-line", "an incomplete request", b"GET / HT", answers=(), ends=True, wsgi=False),
    bad(
        "closed-in-head",
        "an incomplete request",
        b"GET / HTTP/1.1\r\nHost: a.test\r\n",
        answers=(),
        ends=True,
        wsgi=False,
    ),
    bad(
        "closed-in-body",
        "9112 8: an incomplete request",
        post(b"Content-Length: 6", body=BODY),
        answers=(),
        ends=True,
        by="gateway",
        wsgi=False,
    ),
]

CASES = LENGTH + CODING + CHUNKS + CLOSED
