"""The one table of settings: name, type, default, allowed values, limits, help. Everything else is derived from it."""

from __future__ import annotations

from kong_gevent.conf.further import CLUSTER, DNS
from kong_gevent.conf.setting import Setting, rows
from kong_gevent.conf.storage import STORAGE

__all__ = ["ALIASES", "DYNAMIC_PREFIXES", "SHOWN_ALIASES", "TABLE", "Setting"]

_LEVELS = ("debug", "info", "notice", "warn", "error", "crit", "alert", "emerg")
_FROM_0 = {"minimum": 0}
_FROM_1 = {"minimum": 1}
_1_TO_1000 = {"minimum": 1, "maximum": 1000}
_TYPES = ("text/plain", "text/html", "application/json", "application/xml")
_SOCKET = "reuseport backlog=16384"

GENERAL = rows(
    "General",
    (
        "prefix",
        "string",
        "/usr/local/kong/",
        "Working directory: `pids/`, `logs/`, `sockets/`, `ssl/`, `.kong_env`, the embedded store. From a checkout the default is its `servroot`.",
    ),
    ("log_level", "enum", "notice", "Least severe level that the error logs keep.", _LEVELS),
    (
        "proxy_access_log",
        "string",
        "logs/access.log",
        "Access log of the proxy: a path below the prefix or an absolute one, `off`, `/dev/stdout`; a second word names the format (`combined`, `json`).",
    ),
    ("proxy_error_log", "string", "logs/error.log", "Error log of the proxy and of the process as a whole."),
    ("proxy_stream_access_log", "string", "logs/access.log basic", "Access log of the stream proxy.", "later"),
    ("proxy_stream_error_log", "string", "logs/error.log", "Error log of the stream proxy.", "later"),
    ("admin_access_log", "string", "logs/admin_access.log", "Access log of the Admin API."),
    (
        "admin_error_log",
        "string",
        "logs/error.log",
        "Error log of the Admin API; everything goes to `proxy_error_log`.",
        "later",
    ),
    ("status_access_log", "string", "off", "Access log of the status listener."),
    (
        "status_error_log",
        "string",
        "logs/status_error.log",
        "Error log of the status listener; everything goes to `proxy_error_log`.",
        "later",
    ),
    ("admin_gui_access_log", "string", "logs/admin_gui_access.log", "Access log of the web manager.", "later"),
    ("admin_gui_error_log", "string", "logs/admin_gui_error.log", "Error log of the web manager.", "later"),
    (
        "access_log_format",
        "enum",
        "combined",
        "Format of access logs that name none themselves.",
        ("combined", "json"),
        "own",
    ),
    ("vaults", "array", "bundled", "Vaults that references may name.", "later"),
    (
        "plugins",
        "array",
        "bundled",
        "Plugins that may be configured: names, `bundled` for all that ship, `off` for none.",
    ),
    (
        "port_maps",
        "array",
        None,
        "Published and listening ports, as `80:8000, 443:8443`; the published one is what routes and `X-Forwarded-Port` see.",
    ),
    ("anonymous_reports", "boolean", "off", "Kong's usage reports. This gateway never sends any.", "later"),
    ("proxy_server", "string", None, "HTTP proxy for the gateway's own outgoing calls.", "later", "secret"),
    ("proxy_server_ssl_verify", "boolean", "on", "Verify the certificate of `proxy_server`.", "later"),
    (
        "error_template_html",
        "string",
        None,
        "File with the HTML form of error answers (two `%s`: message, request id).",
        "later",
    ),
    ("error_template_json", "string", None, "File with the JSON form of error answers.", "later"),
    ("error_template_xml", "string", None, "File with the XML form of error answers.", "later"),
    ("error_template_plain", "string", None, "File with the plain form of error answers.", "later"),
    ("node_id", "string", None, "Fixed UUID of this node; made at the first start when unset."),
    ("role", "enum", "traditional", "Part of the node in a cluster.", ("traditional", "control_plane", "data_plane")),
)

LISTENERS = rows(
    "Addresses",
    (
        "proxy_listen",
        "array",
        f"0.0.0.0:8000 {_SOCKET}, 0.0.0.0:8443 ssl {_SOCKET}",
        "Addresses of the proxy: `off` or `<address>:<port> [flags]`, comma separated.",
    ),
    ("stream_listen", "array", "off", "Addresses of the stream proxy; only `off` for now."),
    (
        "admin_listen",
        "array",
        f"127.0.0.1:8001 {_SOCKET}, 127.0.0.1:8444 ssl {_SOCKET}",
        "Addresses of the Admin API.",
    ),
    (
        "classic_admin_listen",
        "array",
        "off",
        "Addresses of the classic Admin API (`/apis`); the Admin API has it below `/classic`.",
        "own",
    ),
    ("admin_gui_listen", "array", "off", "Addresses of the web manager; only `off` for now."),
    (
        "status_listen",
        "array",
        f"127.0.0.1:8007 {_SOCKET}",
        "Addresses of the status listener (health, readiness, metrics).",
    ),
    ("cluster_listen", "array", "0.0.0.0:8005", "Addresses of a control plane for its data planes.", "later"),
    (
        "admin_auth",
        "enum",
        "off",
        "Who may use the Admin API: `off` is everybody who reaches it, `token` those with an Admin token.",
        ("off", "token"),
        "own",
    ),
    (
        "admin_token",
        "string",
        None,
        "An Admin token with all rights, besides those of the datastore; better a reference, `{vault://env/NAME}`.",
        "own",
        "secret",
    ),
    ("audit_log", "boolean", "on", "Keep a record of each write over the Admin API (`GET /audit/requests`).", "own"),
    ("audit_log_ttl", "time", "30d", "How long the records of the audit log are kept.", "own", _FROM_1),
    ("admin_gui_url", "array", None, "Addresses of a web manager: origins whose scripts may call the Admin API."),
    ("admin_gui_path", "string", "/", "Path of the web manager.", "later"),
    ("admin_gui_api_url", "string", None, "Address at which the web manager reaches the Admin API.", "later"),
)

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
        _FROM_0,
    ),
    ("lua_ssl_protocols", "string", "TLSv1.2 TLSv1.3", "TLS versions of outgoing calls.", "later"),
)

PROXY = rows(
    "Proxy",
    (
        "headers",
        "array",
        "server_tokens, latency_tokens, X-Kong-Request-Id",
        "Header fields that answers get from the gateway, or `off`.",
    ),
    (
        "headers_upstream",
        "array",
        "X-Kong-Request-Id",
        "Header fields that upstream requests get from the gateway, or `off`.",
    ),
    (
        "trusted_ips",
        "array",
        None,
        "Peers whose forwarding header fields are believed: addresses, CIDR blocks, `unix:`.",
    ),
    (
        "real_ip_header",
        "string",
        "X-Real-IP",
        "Header field that carries the client's address when the peer is trusted; or `proxy_protocol`.",
    ),
    ("real_ip_recursive", "ngx_boolean", "off", "Take the last address of that field which is not trusted."),
    ("error_default_type", "enum", "text/plain", "Media type of error answers when the client accepts any.", _TYPES),
    ("client_body_buffer_size", "size", "8k", "Bytes of a request body kept in memory before it goes on."),
    (
        "nginx_http_client_max_body_size",
        "size",
        "0",
        "Largest request body that is proxied, 0 for no limit; more is a 413.",
    ),
    ("nginx_admin_client_max_body_size", "size", "10m", "Largest request body of the Admin API."),
    ("nginx_admin_client_body_buffer_size", "size", "10m", "Kong's buffer for bodies of the Admin API.", "later"),
    (
        "client_header_timeout",
        "time",
        "60",
        "Seconds for the whole head of a request, from its first byte; and until the first byte of a connection.",
        "own",
        _FROM_0,
    ),
    ("client_body_timeout", "time", "60", "Seconds between two reads of a request body.", "own", _FROM_0),
    (
        "client_body_min_rate",
        "number",
        "240",
        "Bytes per second that a client has to send of a request body while it is waited for; 0 for no limit.",
        "own",
        _FROM_0,
    ),
    (
        "client_read_min_rate",
        "number",
        "240",
        "Bytes per second that a client has to take of an answer while it is waited for; 0 for no limit.",
        "own",
        _FROM_0,
    ),
    (
        "client_rate_grace",
        "time",
        "60",
        "Seconds over which both rates are averaged: how long a client may stall before it counts as too slow.",
        "own",
        _FROM_1,
    ),
    (
        "client_max_connections",
        "integer",
        "0",
        "Connections of clients on the whole node, 0 for no limit; more get a 503.",
        "own",
        _FROM_0,
    ),
    (
        "client_max_connections_per_address",
        "integer",
        "0",
        "Connections on the whole node from one address, 0 for no limit; more get a 503. `trusted_ips` are exempt.",
        "own",
        _FROM_0,
    ),
    (
        "client_max_pipelined",
        "integer",
        "1000",
        "Requests that a client may send in a row without waiting for an answer; then its connection is closed.",
        "own",
        _FROM_1,
    ),
    ("keepalive_timeout", "time", "75", "Seconds that an idle client connection stays open.", "own", _FROM_0),
    ("keepalive_requests", "integer", "10000", "Requests on one client connection.", "own", _FROM_1),
    ("client_header_limit", "size", "32k", "Largest head of a request.", "own", {"minimum": 1024}),
    ("request_line_limit", "size", "8k", "Longest request line.", "own", {"minimum": 256}),
    ("upstream_keepalive_pool_size", "integer", "512", "Idle upstream connections that a worker keeps.", _FROM_0),
    (
        "upstream_keepalive_max_requests",
        "integer",
        "10000",
        "Requests on one upstream connection, 0 for no limit.",
        _FROM_0,
    ),
    (
        "upstream_keepalive_idle_timeout",
        "time",
        "60",
        "Seconds that an idle upstream connection stays open, 0 for no limit.",
        _FROM_0,
    ),
    ("allow_debug_header", "boolean", "off", "Let `Kong-Debug: 1` ask which route and service answered."),
    (
        "router_flavor",
        "enum",
        "traditional_compatible",
        "How routes are matched.",
        ("traditional", "traditional_compatible", "expressions"),
    ),
    (
        "worker_consistency",
        "enum",
        "eventual",
        "Both values mean the same here: every worker of a node serves the latest configuration at once.",
        ("eventual", "strict"),
        "later",
    ),
    (
        "worker_state_update_frequency",
        "number",
        "5",
        "Kong's seconds between rebuilds; changes are served at once here.",
        "later",
    ),
    ("lua_max_req_headers", "integer", "100", "Header fields of a request.", _1_TO_1000, "later"),
    ("lua_max_resp_headers", "integer", "100", "Header fields of an upstream's answer.", _1_TO_1000, "later"),
    ("lua_max_uri_args", "integer", "100", "Query arguments that plugins see.", _1_TO_1000, "later"),
    ("lua_max_post_args", "integer", "100", "Form arguments that plugins see.", _1_TO_1000, "later"),
    ("lua_socket_pool_size", "integer", "256", "Kong's pool of plugin sockets.", "later", _FROM_1),
    ("lua_package_path", "string", "./?.lua;./?/init.lua;", "Kong's path for Lua modules.", "later"),
    ("lua_package_cpath", "string", None, "Kong's path for compiled Lua modules.", "later"),
    (
        "nginx_proxy_proxy_ssl_verify",
        "ngx_boolean",
        "off",
        "Verify HTTPS upstreams whose service says nothing about it.",
    ),
    ("request_debug", "boolean", "on", "Kong's `X-Kong-Request-Debug` output.", "later"),
    ("request_debug_token", "string", None, "Token that asks for it.", "later", "secret"),
)

PROCESS = rows(
    "Process",
    (
        "nginx_worker_processes",
        "string",
        "auto",
        "Worker processes; `auto` is the number of CPUs this process may use.",
    ),
    ("nginx_daemon", "ngx_boolean", "on", "Run in the background."),
    ("nginx_user", "string", None, "User and group of the workers.", "later"),
    ("nginx_main_worker_rlimit_nofile", "string", "auto", "Open files per worker; `auto` is the hard limit."),
    (
        "nginx_events_worker_connections",
        "string",
        "auto",
        "Connections of clients per worker; `auto` is no limit beyond open files. More get a 503.",
    ),
    ("nginx_events_multi_accept", "ngx_boolean", "on", "Accept several connections per wake-up.", "later"),
    ("nginx_http_charset", "string", "UTF-8", "Charset that answers of text types get when they name none, or `off`."),
    (
        "drain_grace",
        "time",
        "2",
        "Seconds for which a leaving worker still answers on idle connections.",
        "own",
        _FROM_0,
    ),
    (
        "drain_timeout",
        "time",
        "60",
        "Seconds that requests and tunnels in flight get when a worker leaves.",
        "own",
        _FROM_0,
    ),
)

TABLE: dict[str, Setting] = {
    setting.name: setting for setting in (*GENERAL, *LISTENERS, *PROXY, *PROCESS, *STORAGE, *TLS, *DNS, *CLUSTER)
}
"""Every setting by name, in the order in which they are documented."""

ALIASES: dict[str, str] = {
    "nginx_main_worker_processes": "nginx_worker_processes",
    "nginx_main_daemon": "nginx_daemon",
    "nginx_main_user": "nginx_user",
    "nginx_main_worker_shutdown_timeout": "drain_timeout",
    "nginx_proxy_real_ip_header": "real_ip_header",
    "nginx_proxy_real_ip_recursive": "real_ip_recursive",
    "nginx_http_client_body_buffer_size": "client_body_buffer_size",
    "nginx_proxy_client_body_buffer_size": "client_body_buffer_size",
    "nginx_proxy_client_max_body_size": "nginx_http_client_max_body_size",
    "nginx_http_client_header_timeout": "client_header_timeout",
    "nginx_proxy_client_header_timeout": "client_header_timeout",
    "nginx_http_client_body_timeout": "client_body_timeout",
    "nginx_proxy_client_body_timeout": "client_body_timeout",
    "nginx_http_keepalive_timeout": "keepalive_timeout",
    "nginx_proxy_keepalive_timeout": "keepalive_timeout",
    "nginx_http_keepalive_requests": "keepalive_requests",
    "nginx_proxy_keepalive_requests": "keepalive_requests",
    "nginx_upstream_keepalive": "upstream_keepalive_pool_size",
    "nginx_upstream_keepalive_requests": "upstream_keepalive_max_requests",
    "nginx_upstream_keepalive_timeout": "upstream_keepalive_idle_timeout",
    "nginx_http_proxy_ssl_verify": "nginx_proxy_proxy_ssl_verify",
    "router_consistency": "worker_consistency",
    "privileged_worker": "dedicated_config_processing",
    "privileged_agent": "dedicated_config_processing",
    "opentelemetry_tracing": "tracing_instrumentations",
    "opentelemetry_tracing_sampling_rate": "tracing_sampling_rate",
}
"""Other names of settings: nginx directives that are mapped, and names that Kong has replaced."""

SHOWN_ALIASES = (
    "nginx_main_daemon",
    "nginx_main_user",
    "nginx_main_worker_processes",
    "nginx_proxy_real_ip_header",
    "nginx_proxy_real_ip_recursive",
    "nginx_http_client_body_buffer_size",
)
"""The aliases that Kong's `GET /` shows beside the setting."""

DYNAMIC_PREFIXES = (
    "nginx_main_",
    "nginx_events_",
    "nginx_http_",
    "nginx_upstream_",
    "nginx_proxy_",
    "nginx_location_",
    "nginx_status_",
    "nginx_admin_",
    "nginx_admin_gui_",
    "nginx_stream_",
    "nginx_supstream_",
    "nginx_sproxy_",
    "nginx_debug_",
    "nginx_wasm_",
    "vault_",
    "pluginserver_",
)
"""Names that begin like this are accepted whatever follows, as in Kong."""
