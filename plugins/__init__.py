"""The plugins that come with the gateway, each written with the public kit only."""

BUNDLED = (
    "correlation-id",
    "bot-detection",
    "cors",
    "session",
    "oauth2",
    "key-auth",
    "ldap-auth",
    "ip-restriction",
    "request-size-limiting",
    "rate-limiting",
    "redirect",
    "standard-webhooks",
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

ANNOUNCED = (
    "acme",
    "ai-prompt-decorator",
    "ai-prompt-guard",
    "ai-prompt-template",
    "ai-proxy",
    "ai-request-transformer",
    "ai-response-transformer",
    "aws-lambda",
    "azure-functions",
    "datadog",
    "grpc-gateway",
    "grpc-web",
    "opentelemetry",
    "post-function",
    "pre-function",
    "statsd",
    "zipkin",
)
"""Names whose settings are validated and published, and which cannot be enabled yet; see the folder `announced`."""
