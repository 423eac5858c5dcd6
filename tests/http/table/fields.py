"""Field lines, Expect and Upgrade (RFC 9112, section 5; RFC 9110, sections 5.5, 7.8 and 10.1.1)."""

from tests.http.table import BODY, HOST, NEXT, Case, bad, get, good, head, post

NAMES: list[Case] = [
    bad("field-space-before-colon", "9112 5.1: no space before the colon", get(b"X-A : 1")),
    bad("field-tab-before-colon", "9112 5.1: no space before the colon", get(b"X-A\t: 1")),
    bad("field-empty-name", "9110 5.1: a name is a token", get(b": 1")),
    bad("field-only-colon", "9110 5.1: a name is a token", get(b":")),
    bad("field-without-colon", "9112 5: name, colon, value", get(b"X-A")),
    bad("field-space-in-name", "9110 5.1: a name is a token", get(b"X A: 1")),
    bad("field-non-ascii-name", "9110 5.1: a name is a token", get("X-Ä: 1".encode())),
    bad("field-parenthesis-in-name", "9110 5.1: a name is a token", get(b"X(A): 1")),
    bad("field-slash-in-name", "9110 5.1: a name is a token", get(b"X/A: 1")),
    bad("field-quoted-name", "9110 5.1: a name is a token", get(b'"X-A": 1')),
    bad("field-bracket-in-name", "9110 5.1: a name is a token", get(b"X[A]: 1")),
    bad("field-brace-in-name", "9110 5.1: a name is a token", get(b"X{A}: 1")),
    bad("field-at-in-name", "9110 5.1: a name is a token", get(b"X@A: 1")),
    bad("field-backslash-in-name", "9110 5.1: a name is a token", get(b"X\\A: 1")),
    bad("field-equals-in-name", "9110 5.1: a name is a token", get(b"X=A: 1")),
    bad("field-nul-in-name", "9110 5.1: a name is a token", get(b"X\0A: 1")),
    bad("field-control-in-name", "9110 5.1: a name is a token", get(b"X\x01A: 1")),
    bad("field-del-in-name", "9110 5.1: a name is a token", get(b"X\x7fA: 1")),
    bad(
        "field-leading-space", "9112 2.2: white space before the first field", head(b"GET / HTTP/1.1", b" X-A: 1", HOST)
    ),
    bad(
        "field-leading-tab", "9112 2.2: white space before the first field", head(b"GET / HTTP/1.1", b"\tX-A: 1", HOST)
    ),
    bad(
        "field-leading-blank-line", "9112 2.2: a line of white space ends nothing", head(b"GET / HTTP/1.1", b" ", HOST)
    ),
    good(
        "field-odd-token-name",
        "9110 5.6.2: token characters",
        get(b"X!#$%&'*+^`|~1: v"),
        {"headers": {"X!#$%&'*+^`|~1": "v"}},
        wsgi=False,
    ),
    good(
        "field-underscore-name",
        "a name with `_` that resembles nothing of ours passes",
        get(b"my_field: v"),
        {"headers": {"my_field": "v"}},
        wsgi=False,
    ),
]

VALUES: list[Case] = [
    bad("fold-space", "9112 5.2: folded line", get(b"X-A: 1\r\n 2")),
    bad("fold-tab", "9112 5.2: folded line", get(b"X-A: 1\r\n\t2")),
    bad("fold-before-value", "9112 5.2: folded line", get(b"X-A:\r\n 1")),
    bad("fold-empty", "9112 5.2: folded line", get(b"X-A: 1\r\n \r\nX-B: 2")),
    bad("fold-hides-length", "9112 5.2: folded line", post(b"X-A: 1\r\n Content-Length: 5", body=BODY)),
    bad("fold-last", "9112 5.2: folded line", get(b"X-A: 1\r\n ")),
    bad("value-nul", "9110 5.5: NUL", get(b"X-A: a\0b")),
    bad("value-nul-at-end", "9110 5.5: NUL", get(b"X-A: a\0")),
    bad("value-bell", "9110 5.5: control characters", get(b"X-A: a\x07b")),
    bad("value-escape", "9110 5.5: control characters", get(b"X-A: \x1b[0m")),
    bad("value-vertical-tab", "9110 5.5: control characters", get(b"X-A: a\x0bb")),
    bad("value-form-feed", "9110 5.5: control characters", get(b"X-A: \x0ca")),
    bad("value-del", "9110 5.5: control characters", get(b"X-A: a\x7f")),
    bad("value-bare-cr", "9112 2.2: bare CR", get(b"X-A: a\rb")),
    bad("value-cr-at-end", "9112 2.2: CR CR LF", get(b"X-A: a\r")),
    bad("value-bare-lf", "9112 2.2: bare LF", get(b"X-A: a\nX-B: b")),
    bad("value-lf-smuggles-host", "9112 2.2: bare LF", head(b"GET / HTTP/1.1", b"X-A: a\nHost: b.test", HOST)),
    bad("value-lf-smuggles-request", "9112 2.2: bare LF", get(b"X-A: a\n\nGET /private HTTP/1.1\nHost: a.test")),
    bad("value-cr-smuggles-field", "9112 2.2: bare CR", get(b"X-A: a\rTransfer-Encoding: chunked")),
    bad("field-too-long", "a field over the limit", get(b"X-A: " + b"a" * 9000), 400, wsgi=False),
    bad(
        "head-too-large",
        "a head over the limit",
        get(*[b"X-%d: %b" % (n, b"a" * 4000) for n in range(12)]),
        400,
        wsgi=False,
    ),
    bad(
        "head-too-many-fields",
        "a number of fields over the limit",
        get(*[b"X%d:" % n for n in range(3000)]),
        400,
        wsgi=False,
    ),
    good("value-empty", "9110 5.5: a value may be empty", get(b"X-A:"), {"headers": {"X-A": ""}}),
    good(
        "value-white-space-around",
        "9110 5.5: white space around is not part of it",
        get(b"X-A: \t a b\t \t"),
        {"headers": {"X-A": "a b"}},
    ),
    good("value-inner-tab", "9110 5.5: a tab inside is a part of it", get(b"X-A: a\tb"), {"headers": {"X-A": "a\tb"}}),
    good(
        "value-high-bytes",
        "9110 5.5: bytes over 127 pass as they are",
        get(b"X-A: \xe9\xff"),
        {"headers": {"X-A": "é\xff"}},
    ),
    good("value-colons", "9112 5.1: the first colon counts", get(b"X-A: b: c:"), {"headers": {"X-A": "b: c:"}}),
    good("value-long", "a field under the limit", get(b"X-A: " + b"a" * 7000), {"headers": {"X-A": "a" * 7000}}),
    good(
        "fields-many",
        "more fields than plugins see are forwarded all the same",
        get(*[b"X-%d: %d" % (n, n) for n in range(150)]),
        {"headers": {"X-0": "0", "X-149": "149"}},
        wsgi=False,
    ),
    good(
        "fields-in-order",
        "9110 5.3: fields of one name keep their order",
        get(b"X-A: 1", b"X-B: 2", b"x-a: 3"),
        {"headers": {"X-A": ["1", "3"], "X-B": "2"}},
        wsgi=False,
    ),
    good("cookies", "cookies pass", get(b"Cookie: a=1; b=2"), {"headers": {"Cookie": "a=1; b=2"}}),
]

SINGLE: list[Case] = [
    bad(
        "single-authorization-twice",
        "two Authorization fields could be read in two ways",
        get(b"Authorization: Basic YTph", b"Authorization: Basic Yjpi"),
        wsgi=False,
    ),
    bad(
        "single-content-type-twice",
        "two Content-Type fields could be read in two ways",
        post(b"Content-Type: text/plain", b"Content-Type: application/json", b"Content-Length: 5", body=BODY),
    ),
    good(
        "single-authorization",
        "one passes",
        get(b"Authorization: Basic YTph"),
        {"headers": {"Authorization": ["Basic YTph"]}},
    ),
]

EXPECT: list[Case] = [
    bad("expect-unknown", "9110 10.1.1: only 100-continue is known", get(b"Expect: 200-ok"), 417),
    bad(
        "expect-list",
        "9110 10.1.1: only 100-continue is known",
        post(b"Expect: 100-continue, x", b"Content-Length: 5", body=BODY),
        417,
    ),
    bad(
        "expect-two-words",
        "9110 10.1.1: only 100-continue is known",
        post(b"Expect: y 100-continue", b"Content-Length: 5", body=BODY),
        417,
    ),
    bad(
        "expect-twice-other",
        "9110 10.1.1: only 100-continue is known",
        post(b"Expect: 100-continue", b"Expect: x", b"Content-Length: 5", body=BODY),
        417,
    ),
    good("expect-without-body", "9110 10.1.1: nothing to wait for", get(b"Expect: 100-continue")),
    good(
        "expect-upper-case",
        "9110 10.1.1: the value ignores case",
        post(b"Expect: 100-Continue", b"Content-Length: 5", body=BODY),
        {"method": "POST", "body": "hello"},
    ),
    good(
        "expect-1.0",
        "9110 10.1.1: ignored in HTTP/1.0",
        head(b"POST / HTTP/1.0", HOST, b"Expect: 100-continue", b"Content-Length: 5") + BODY,
        {"method": "POST", "body": "hello"},
        closes=True,
    ),
]

UPGRADE: list[Case] = [
    good(
        "upgrade-h2c",
        "9113 3.1: an upgrade that is not tunnelled is removed, the request goes on",
        get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"),
        {"headers": {"Upgrade": None, "HTTP2-Settings": None}},
    ),
    good(
        "upgrade-unknown",
        "9110 7.8: removed",
        get(b"Connection: upgrade", b"Upgrade: foo/1"),
        {"headers": {"Upgrade": None}},
    ),
    good(
        "upgrade-tls",
        "9110 7.8: removed",
        get(b"Connection: upgrade", b"Upgrade: TLS/1.2"),
        {"headers": {"Upgrade": None}},
    ),
    good(
        "upgrade-without-connection",
        "9110 7.8: Upgrade counts only when Connection names it",
        get(b"Upgrade: websocket"),
        {"headers": {"Upgrade": None}},
    ),
    good(
        "upgrade-1.0",
        "9110 7.8: ignored in HTTP/1.0",
        get(b"Connection: upgrade", b"Upgrade: websocket", version=b"HTTP/1.0"),
        {"headers": {"Upgrade": None}},
        closes=True,
    ),
    good(
        "upgrade-h2c-pipelined",
        "what follows a refused upgrade is the next request",
        get(b"Connection: Upgrade", b"Upgrade: h2c") + NEXT,
        {"headers": {"Upgrade": None}},
        {"target": "/next"},
    ),
]

CASES = NAMES + VALUES + SINGLE + EXPECT + UPGRADE
