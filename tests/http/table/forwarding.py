"""What is removed, replaced or kept on the way upstream (RFC 9110, section 7.6.1; identity and forwarding fields)."""

from tests.http.table import BODY, Case, bad, get, good, post

IDENTITY = [
    "X-Consumer-ID",
    "X-Consumer-Username",
    "X-Consumer-Custom-ID",
    "X-Consumer-Groups",
    "X-Credential-Identifier",
    "X-Credential-Username",
    "X-Anonymous-Consumer",
    "X-Authenticated-Scope",
    "X-Authenticated-Userid",
    "X-Authenticated-Groups",
]


def named(name: str, *options: bytes, value: bytes = b"kept", removed: bool = False) -> Case:
    """A field that ``Connection`` names."""
    field = name.encode() + b": " + value
    return good(
        f"connection-{'removes' if removed else 'keeps'}-{name.lower()}",
        "9110 7.6.1: named by Connection" + ("" if removed else ", but end-to-end and not to be removed by a client"),
        get(*(options or (b"Connection: " + name.encode(),)), field),
        {"headers": {name: None if removed else [value.decode()]}},
    )


HOP: list[Case] = [
    named("X-Secret", removed=True),
    named("X-Other-Case", b"Connection: x-OTHER-case", removed=True),
    named("X-In-List", b"Connection: keep-alive , X-In-List", removed=True),
    named("X-Second-Field", b"Connection: keep-alive", b"Connection: X-Second-Field", removed=True),
    named("X-Empty-Parts", b"Connection: ,, X-Empty-Parts ,", removed=True),
    named("Authorization", value=b"Basic YTph"),
    named("Cookie", value=b"a=1"),
    named("Content-Type", value=b"text/plain"),
    named("Proxy-Authorization", value=b"Basic YTph"),
    good(
        "connection-keeps-host", "9110 7.6.1: Host stays", get(b"Connection: Host"), {"headers": {"Host": ["a.test"]}}
    ),
    good(
        "connection-keeps-content-length",
        "9110 7.6.1: framing stays",
        post(b"Connection: Content-Length", b"Content-Length: 5", body=BODY),
        {"method": "POST", "body": "hello"},
    ),
    good(
        "connection-keeps-transfer-encoding",
        "9110 7.6.1: framing stays",
        post(b"Connection: Transfer-Encoding", b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n"),
        {"method": "POST", "body": "hello"},
    ),
    good(
        "connection-keeps-ours",
        "9110 7.6.1: what the gateway adds cannot be named away",
        get(b"Connection: X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, X-Real-IP, Via, X-Kong-Request-Id"),
        {
            "headers": {
                "X-Forwarded-For": "127.0.0.1",
                "X-Forwarded-Proto": "http",
                "X-Forwarded-Host": "a.test",
                "X-Real-IP": "127.0.0.1",
                "Via": "1.1 kong/3.9.1",
            }
        },
    ),
    good(
        "keep-alive-field",
        "9110 7.6.1: for one connection only",
        get(b"Connection: keep-alive, Keep-Alive", b"Keep-Alive: timeout=5"),
        {"headers": {"Keep-Alive": None}},
    ),
    good(
        "proxy-connection",
        "9110 7.6.1: removed",
        get(b"Proxy-Connection: keep-alive"),
        {"headers": {"Proxy-Connection": None}},
    ),
    good(
        "te-trailers",
        "9110 10.1.4: only trailers is passed on",
        get(b"Connection: TE", b"TE: trailers"),
        {"headers": {"TE": ["trailers"]}},
    ),
    good(
        "te-others",
        "9110 10.1.4: only trailers is passed on",
        get(b"Connection: TE", b"TE: trailers, deflate;q=0.5"),
        {"headers": {"TE": ["trailers"]}},
    ),
    good(
        "te-gzip",
        "9110 10.1.4: only trailers is passed on",
        get(b"Connection: TE", b"TE: gzip"),
        {"headers": {"TE": None}},
    ),
    good(
        "trailer-field",
        "9110 6.6.2: removed, as the trailers may be",
        get(b"Trailer: X-A"),
        {"headers": {"Trailer": None}},
    ),
    good(
        "proxy-authorization",
        "kept, as Kong does",
        get(b"Proxy-Authorization: Basic YTph"),
        {"headers": {"Proxy-Authorization": ["Basic YTph"]}},
    ),
    good(
        "hop-underscores",
        "names that resemble hop-by-hop fields are dropped",
        get(b"Keep_Alive: 1", b"Proxy_Connection: x"),
        {"headers": {"Keep_Alive": None, "Proxy_Connection": None}},
    ),
    good(
        "connection-underscore",
        "`_` for `-` names nothing of ours",
        get(b"Connection: x_consumer_id, content_length"),
        {"headers": {"Host": ["a.test"]}},
    ),
    bad("connection-no-token", "9110 7.6.1: options are tokens", get(b"Connection: X A")),
    bad("connection-quoted", "9110 7.6.1: options are tokens", get(b'Connection: "close"')),
]

SPOOFED: list[Case] = [
    good(
        f"identity-{name.lower()}",
        "identity fields come from the gateway alone, in every spelling",
        get(
            f"{name}: root".encode(),
            f"{name.lower()}: root".encode(),
            f"{name.replace('-', '_')}: root".encode(),
            f"{name.replace('-', '_', 1).upper()}: root".encode(),
        ),
        {"headers": {name: None, name.replace("-", "_"): None, name.replace("-", "_", 1): None}},
    )
    for name in IDENTITY
]
SPOOFED += [
    good(
        "identity-named-by-connection",
        "naming them in Connection brings nothing back",
        get(b"Connection: X-Consumer-ID", b"X-Consumer-ID: root"),
        {"headers": {"X-Consumer-ID": None}},
    ),
    good(
        "httpoxy",
        "Proxy becomes HTTP_PROXY in CGI programs",
        get(b"Proxy: http://b.test", b"PROXY: x"),
        {"headers": {"Proxy": None}},
    ),
    good(
        "x-original-url",
        "another hop would see another path",
        get(b"X-Original-URL: /private", b"X_Original_URL: /private"),
        {"headers": {"X-Original-URL": None, "X_Original_URL": None}},
    ),
    good(
        "x-rewrite-url",
        "another hop would see another path",
        get(b"X-Rewrite-URL: /private", b"X_Rewrite_URL: /private"),
        {"headers": {"X-Rewrite-URL": None, "X_Rewrite_URL": None}},
    ),
    good(
        "x-http-method-override",
        "another hop would see another method",
        get(b"X-HTTP-Method-Override: DELETE", b"X_HTTP_Method_Override: DELETE"),
        {"headers": {"X-HTTP-Method-Override": None, "X_HTTP_Method_Override": None}},
    ),
    good(
        "forwarded",
        "believed from trusted peers only",
        get(b"Forwarded: for=192.0.2.1;host=b.test"),
        {"headers": {"Forwarded": None}},
    ),
    good(
        "x-real-ip",
        "believed from trusted peers only",
        get(b"X-Real-IP: 192.0.2.1"),
        {"headers": {"X-Real-IP": ["127.0.0.1"]}},
    ),
    good(
        "x-forwarded-for",
        "a list: the peer is appended, as Kong does",
        get(b"X-Forwarded-For: 192.0.2.1", b"X-Forwarded-For: 192.0.2.2"),
        {"headers": {"X-Forwarded-For": ["192.0.2.1, 192.0.2.2, 127.0.0.1"]}},
        wsgi=False,
    ),
    good(
        "x-forwarded-proto",
        "believed from trusted peers only",
        get(b"X-Forwarded-Proto: https"),
        {"headers": {"X-Forwarded-Proto": ["http"]}},
    ),
    good(
        "x-forwarded-host",
        "believed from trusted peers only",
        get(b"X-Forwarded-Host: b.test"),
        {"headers": {"X-Forwarded-Host": ["a.test"]}},
    ),
    good(
        "x-forwarded-host-twice",
        "replaced by one",
        get(b"X-Forwarded-Host: b.test", b"X-Forwarded-Host: c.test"),
        {"headers": {"X-Forwarded-Host": ["a.test"]}},
    ),
    good(
        "x-forwarded-path",
        "believed from trusted peers only",
        get(b"X-Forwarded-Path: /private", target=b"/x/../y?z"),
        {"target": "/y?z", "headers": {"X-Forwarded-Path": ["/x/../y"]}},
    ),
    good(
        "x-forwarded-prefix",
        "believed from trusted peers only",
        get(b"X-Forwarded-Prefix: /private"),
        {"headers": {"X-Forwarded-Prefix": None}},
    ),
    good(
        "forwarding-underscores",
        "`_` for `-` is dropped",
        get(b"X_Forwarded_For: 192.0.2.1", b"X_Real_IP: 192.0.2.1", b"X_Forwarded_Host: b.test"),
        {"headers": {"X_Forwarded_For": None, "X_Real_IP": None, "X_Forwarded_Host": None}},
    ),
    good(
        "host-underscore-field",
        "`_` for `-` in a name we use",
        get(b"X_Kong_Request_Id: 1"),
        {"headers": {"X_Kong_Request_Id": None}},
    ),
    good(
        "request-debug",
        "these are for the gateway",
        get(b"X-Kong-Request-Debug-Token: a", b"X-Kong-Request-Debug-Log: true"),
        {"headers": {"X-Kong-Request-Debug-Token": None, "X-Kong-Request-Debug-Log": None}},
    ),
    good("via", "9110 7.6.3: appended", get(b"Via: 1.1 first"), {"headers": {"Via": ["1.1 first, 1.1 kong/3.9.1"]}}),
    good(
        "via-twice",
        "9110 7.6.3: order is kept",
        get(b"Via: 1.1 first", b"Via: 1.0 second"),
        {"headers": {"Via": ["1.1 first, 1.0 second, 1.1 kong/3.9.1"]}},
        wsgi=False,
    ),
]

CASES = HOP + SPOOFED
