"""Settings of the addresses it listens on, and of who may use the Admin API."""

from __future__ import annotations

from kong_gevent.conf.setting import FROM_1, rows

_SOCKET = "reuseport backlog=16384"

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
    (
        "classic_answers",
        "boolean",
        "off",
        "Whether the proxy refuses requests with the status and text of Kong 0.5 (403 for wrong credentials, …).",
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
    ("audit_log_ttl", "time", "30d", "How long the records of the audit log are kept.", "own", FROM_1),
    ("admin_gui_url", "array", None, "Addresses of a web manager: origins whose scripts may call the Admin API."),
    ("admin_gui_path", "string", "/", "Path of the web manager.", "later"),
    ("admin_gui_api_url", "string", None, "Address at which the web manager reaches the Admin API.", "later"),
)
