"""acme: certificates from an ACME authority. Only its settings are known so far."""

from __future__ import annotations

from kong_gevent.pdk import Config, Plugin, RedisServer, checks, fields, redis_needed


class AcmeRedis(RedisServer):
    """The Redis server that keeps certificates and challenges."""

    extra_options = fields.Record(
        {
            "namespace": fields.String(
                required=True, load_default="", len_min=0, metadata={"description": "What keys begin with."}
            ),
            "scan_count": fields.Number(load_default=10, metadata={"description": "Keys that one scan asks for."}),
        },
        metadata={"description": "Further settings of the server."},
    )
    shorthand_fields = {
        "auth": fields.Deprecated(fields.String(len_min=0), "password"),
        "ssl_server_name": fields.Deprecated(fields.String(), "server_name"),
        "namespace": fields.Deprecated(fields.String(len_min=0), "extra_options.namespace"),
        "scan_count": fields.Deprecated(fields.Integer(), "extra_options.scan_count"),
    }


def _server() -> dict[str, fields.Field]:
    """How to reach a server that keeps secrets."""
    return {
        "https": fields.Boolean(load_default=False, metadata={"description": "Whether to connect with TLS."}),
        "host": fields.Host(metadata={"description": "Host to use."}),
        "port": fields.Port(metadata={"description": "Port to use."}),
        "kv_path": fields.String(metadata={"description": "Path that keys begin with."}),
        "timeout": fields.Number(metadata={"description": "Milliseconds to wait for the server."}),
        "token": fields.String(referenceable=True, metadata={"description": "Token for the server."}),
    }


def _storages() -> fields.Record:
    """One record for each place where certificates can be kept."""
    return fields.Record(
        {
            "shm": fields.Record(
                {
                    "shm_name": fields.String(
                        load_default="kong", metadata={"description": "Name of the shared memory."}
                    )
                },
                metadata={"description": "Memory of the node."},
            ),
            "kong": fields.Record({}, metadata={"description": "The gateway's own datastore."}),
            "redis": fields.Record(AcmeRedis, metadata={"description": "A Redis server."}),
            "consul": fields.Record(
                {
                    **_server(),
                },
                metadata={"description": "A Consul server."},
            ),
            "vault": fields.Record(
                {
                    **_server(),
                    "tls_verify": fields.Boolean(
                        load_default=True, metadata={"description": "Whether the server's certificate must verify."}
                    ),
                    "tls_server_name": fields.String(metadata={"description": "Server name sent for TLS."}),
                    "auth_method": fields.Choice(
                        "token", "kubernetes", load_default="token", metadata={"description": "How to log in."}
                    ),
                    "auth_path": fields.String(metadata={"description": "Path of the login."}),
                    "auth_role": fields.String(metadata={"description": "Role of the login."}),
                    "jwt_path": fields.String(metadata={"description": "File with the service account's token."}),
                },
                metadata={"description": "A Vault server."},
            ),
        },
        metadata={"description": "Settings of the storages."},
    )


class AcmeConfig(Config):
    """Settings of acme."""

    account_email = fields.String(
        required=True,
        match="%w*%p*@+%w*%.?%w*",
        referenceable=True,
        encrypted=True,
        metadata={"description": "Mail address of the account."},
    )
    account_key = fields.Record(
        {
            "key_id": fields.String(required=True, metadata={"description": "Identifier of the key."}),
            "key_set": fields.String(metadata={"description": "Name of the key set that holds it."}),
        },
        required=False,
        metadata={"description": "Key of the account, from the key entities."},
    )
    api_uri = fields.Url(
        load_default="https://acme-v02.api.letsencrypt.org/directory",
        metadata={"description": "Directory of the authority."},
    )
    tos_accepted = fields.Boolean(
        load_default=False, metadata={"description": "Whether the authority's terms of service are accepted."}
    )
    eab_kid = fields.String(
        referenceable=True, encrypted=True, metadata={"description": "Key identifier of the external account."}
    )
    eab_hmac_key = fields.String(
        referenceable=True, encrypted=True, metadata={"description": "Key of the external account, base64url."}
    )
    cert_type = fields.Choice(
        "rsa", "ecc", load_default="rsa", metadata={"description": "Type of key of new certificates."}
    )
    rsa_key_size = fields.Number(
        one_of=[2048, 3072, 4096], load_default=4096, metadata={"description": "Bits of new RSA keys."}
    )
    renew_threshold_days = fields.Number(
        load_default=14, metadata={"description": "Days before its end from which a certificate is renewed."}
    )
    domains = fields.Array(
        fields.WildcardHost(
            match_any={
                "patterns": ["^%*%.", "%.%*$", "^[^*]*$"],
                "err": "invalid wildcard: must be placed at leftmost or rightmost label",
            },
            match_all=[{"err": "invalid wildcard: must have at most one wildcard", "pattern": "^[^*]*%*?[^*]*$"}],
        ),
        metadata={"description": "Hosts for which certificates are made; a wildcard may stand at one end."},
    )
    allow_any_domain = fields.Boolean(
        load_default=False, metadata={"description": "Whether certificates are made for every host."}
    )
    fail_backoff_minutes = fields.Number(
        load_default=5, metadata={"description": "Minutes before a failed host is tried again."}
    )
    storage = fields.Choice(
        "kong",
        "shm",
        "redis",
        "consul",
        "vault",
        load_default="shm",
        metadata={"description": "Where certificates and challenges are kept."},
    )
    storage_config = _storages()
    preferred_chain = fields.String(metadata={"description": "Common name of the issuer whose chain is preferred."})
    enable_ipv4_common_name = fields.Boolean(
        load_default=True, metadata={"description": "Whether an address may be the common name."}
    )
    checks = (
        checks.Conditional(
            "config.api_uri",
            {"one_of": ["https://acme-v02.api.letsencrypt.org", "https://acme-staging-v02.api.letsencrypt.org"]},
            "config.tos_accepted",
            {"eq": True},
            "terms of service must be accepted, see https://letsencrypt.org/repository/",
        ),
        *redis_needed("config.storage", "config.storage_config.redis", ("host", "port")),
    )


class Acme(Plugin):
    """The announced plugin."""

    name = "acme"
    priority = 1705
    config = AcmeConfig
    forbidden_scopes = ("consumer", "route", "service")
