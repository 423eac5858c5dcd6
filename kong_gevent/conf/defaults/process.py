"""Settings of the process group: workers, open files, leaving."""

from __future__ import annotations

from kong_gevent.conf.setting import FROM_0, rows

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
        FROM_0,
    ),
    (
        "drain_timeout",
        "time",
        "60",
        "Seconds that requests and tunnels in flight get when a worker leaves.",
        "own",
        FROM_0,
    ),
)
