"""The plugins that come with the gateway, each written with the public kit only."""

BUNDLED = (
    "correlation-id",
    "cors",
    "key-auth",
    "ldap-auth",
    "ip-restriction",
    "request-size-limiting",
    "rate-limiting",
    "prometheus",
    "http-log",
    "file-log",
    "udp-log",
    "tcp-log",
    "loggly",
    "syslog",
    "request-termination",
)
"""Names in the order in which they run; the module of `key-auth` is `kong_gevent.plugins.key_auth`."""
