"""Settings of the node as a whole: where its files are, what it logs, which plugins it has."""

from __future__ import annotations

from kong_gevent.conf.setting import rows

_LEVELS = ("debug", "info", "notice", "warn", "error", "crit", "alert", "emerg")

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
