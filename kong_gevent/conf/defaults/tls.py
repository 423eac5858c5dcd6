"""Settings of TLS: what the listeners show and ask for, and how upstreams are verified."""

from __future__ import annotations

from kong_gevent.conf.setting import FROM_0, rows

_SSL = [
    row
    for part, whom, flags in (
        ("", "proxy", ()),
        ("admin_", "Admin API", ()),
        ("admin_gui_", "web manager", ("later",)),
        ("status_", "status", ()),
    )
    for row in (
        (
            f"{part}ssl_cert",
            "array",
            None,
            f"Certificates of the {whom} TLS listeners: paths, PEM text or base64. Unset: self-signed ones in `ssl/` below the prefix, made at the first start.",
            *flags,
        ),
        (f"{part}ssl_cert_key", "array", None, f"Keys of `{part}ssl_cert`, in the same order.", "secret", *flags),
    )
]
TLS = rows(
    "TLS",
    *_SSL,
    (
        "admin_ssl_client_ca",
        "array",
        None,
        "Authorities whose client certificates the Admin API's TLS listeners accept: paths, PEM text or base64. Unset: none are asked for.",
        "own",
    ),
    (
        "admin_ssl_client_verify",
        "enum",
        "on",
        "With `admin_ssl_client_ca`: `on` refuses clients without a valid certificate, `optional` only those with an invalid one.",
        ("on", "optional"),
        "own",
    ),
    (
        "client_ssl",
        "boolean",
        "off",
        "Show a client certificate to upstreams that ask for one, where neither service nor upstream has its own.",
    ),
    ("client_ssl_cert", "string", None, "That certificate, with its chain: a path, PEM text or base64."),
    ("client_ssl_cert_key", "string", None, "Its key.", "secret"),
    (
        "ssl_cipher_suite",
        "string",
        "intermediate",
        "What TLS listeners accept: `modern` (TLS 1.3), `intermediate`, `old`, `fips` or `custom` (`ssl_ciphers`).",
    ),
    (
        "ssl_ciphers",
        "string",
        None,
        "Ciphers up to TLS 1.2 of the suites `custom` and `modern`, in OpenSSL's notation.",
    ),
    ("ssl_protocols", "string", "TLSv1.2 TLSv1.3", "TLS versions of the suites `intermediate` and `custom`."),
    ("ssl_prefer_server_ciphers", "ngx_boolean", "on", "Whose order of ciphers counts, for suites that leave it open."),
    (
        "ssl_dhparam",
        "string",
        None,
        "Diffie-Hellman parameters for DHE up to TLS 1.2: a group of RFC 7919 (`ffdhe2048` and so on), a path, PEM text or base64. Unset: `ffdhe2048`, with the suites `custom` and `modern` none.",
    ),
    (
        "ssl_session_tickets",
        "ngx_boolean",
        "on",
        "Let clients resume TLS sessions by tickets; all workers of a node take them, also after a reload.",
    ),
    (
        "ssl_session_timeout",
        "string",
        "1d",
        "How long a TLS session may be resumed; OpenSSL's own time counts here, two hours.",
        "later",
    ),
    ("ssl_session_cache_size", "string", "10m", "Size of the cache of TLS sessions.", "later"),
    (
        "ssl_cert_cache_size",
        "integer",
        "12000",
        "Certificates of the store that a worker keeps ready for handshakes, the last used ones; each takes about 20 KiB of its memory, and 5 KiB for each certificate of its chain.",
        {"minimum": 1, "maximum": 100_000},
        "own",
    ),
    (
        "lua_ssl_trusted_certificate",
        "array",
        "system",
        "Certificate authorities to verify HTTPS upstreams and the datastore with: `system` or paths of PEM files.",
    ),
    (
        "lua_ssl_verify_depth",
        "integer",
        "1",
        "Intermediate certificates that may be between an upstream's certificate and the authority.",
        FROM_0,
    ),
    ("lua_ssl_protocols", "string", "TLSv1.2 TLSv1.3", "TLS versions of outgoing calls.", "later"),
)
