"""Settings of the datastores."""

from __future__ import annotations

from kong_gevent.conf.setting import FROM_0, FROM_1, rows

_PORT = {"minimum": 1, "maximum": 65535}

DATABASES = ("sqlite", "cassandra", "postgres", "memory", "off")
"""What `database` may say."""
CONSISTENCIES = ("LOCAL_QUORUM", "QUORUM", "EACH_QUORUM", "ALL", "LOCAL_ONE", "ONE", "TWO", "THREE")
"""Levels at which Cassandra may be read and written, those that keep every promise first."""
SERIAL_CONSISTENCIES = ("LOCAL_SERIAL", "SERIAL")
REPLICATIONS = ("NetworkTopologyStrategy", "SimpleStrategy")

_CASSANDRA: tuple[tuple[object, ...], ...] = (
    (
        "cassandra_contact_points",
        "array",
        "127.0.0.1",
        "Hosts of the cluster to ask first, without ports; the others are found through them.",
    ),
    ("cassandra_port", "integer", "9042", "Port at which all nodes of the cluster take clients.", _PORT),
    ("cassandra_keyspace", "string", "kong", "Keyspace. It is made by `migrations bootstrap` unless it exists."),
    ("cassandra_username", "string", None, "User; unset: no authentication."),
    ("cassandra_password", "string", None, "The user's password.", "secret"),
    (
        "cassandra_local_datacenter",
        "string",
        None,
        "Data centre of the cluster that this gateway talks to. Needed unless the cluster has just one.",
    ),
    (
        "cassandra_consistency",
        "enum",
        "LOCAL_QUORUM",
        "Consistency of reads and writes. Weaker ones than `LOCAL_QUORUM` give up that a change is seen at once.",
        CONSISTENCIES,
    ),
    (
        "cassandra_read_consistency",
        "enum",
        None,
        "Consistency of reads, when it differs from `cassandra_consistency`.",
        CONSISTENCIES,
        "own",
    ),
    (
        "cassandra_write_consistency",
        "enum",
        None,
        "Consistency of writes, when it differs from `cassandra_consistency`.",
        CONSISTENCIES,
        "own",
    ),
    (
        "cassandra_serial_consistency",
        "enum",
        "LOCAL_SERIAL",
        "Consistency of conditional writes. `SERIAL` is for Admin APIs in several data centres that write at once: "
        "nothing can be written while most replicas of all data centres together are away.",
        SERIAL_CONSISTENCIES,
        "own",
    ),
    (
        "cassandra_repl_strategy",
        "enum",
        "NetworkTopologyStrategy",
        "Replication of a keyspace that the gateway makes itself.",
        REPLICATIONS,
    ),
    (
        "cassandra_repl_factor",
        "integer",
        "1",
        "Copies of each row: in the local data centre, or in all with `SimpleStrategy`. 3 survives the loss of a node.",
        FROM_1,
    ),
    (
        "cassandra_data_centers",
        "array",
        None,
        "Copies by data centre for `NetworkTopologyStrategy`, as `dc1:3,dc2:3`; unset: `cassandra_repl_factor` in the "
        "local one.",
    ),
    ("cassandra_timeout", "number", "5000", "Milliseconds to connect, and for an answer.", FROM_1),
    (
        "cassandra_schema_consensus_timeout",
        "number",
        "10000",
        "Milliseconds for all nodes to agree on the schema after a change of it; changes get 60 s at least.",
        FROM_1,
    ),
    ("cassandra_ssl", "boolean", "off", "Use TLS."),
    (
        "cassandra_ssl_verify",
        "boolean",
        "off",
        "Verify the servers' certificates against `cassandra_ssl_ca`, else `lua_ssl_trusted_certificate`.",
    ),
    (
        "cassandra_ssl_verify_host",
        "boolean",
        "on",
        "With `cassandra_ssl_verify`: certificates must name the address of their server. Many managed clusters have "
        "none that do.",
        "own",
    ),
    ("cassandra_ssl_ca", "string", None, "File with the certificate authorities (PEM) of the cluster.", "own"),
    ("cassandra_ssl_cert", "string", None, "File with a certificate (PEM) to show to the servers.", "own"),
    ("cassandra_ssl_cert_key", "string", None, "File with its key.", "own", "secret"),
)


def _postgres(part: str) -> list[tuple[object, ...]]:
    """The rows of one PostgreSQL connection; those of the read replica have no defaults."""
    first = part == "pg_"
    whose = "" if first else " of the read replica"
    fallback = "" if first else " Unset: as without `ro_`."
    table: tuple[tuple[object, ...], ...] = (
        ("port", "integer", "5432", "Port{}.", _PORT),
        ("timeout", "number", "5000", "Milliseconds to connect, and for a statement{}.", FROM_1),
        ("user", "string", "kong", "User{}."),
        ("password", "string", None, "Password{}.", "secret"),
        ("database", "string", "kong", "Database{}."),
        ("schema", "string", None, "Schema{}; the server's search path decides when unset."),
        ("ssl", "boolean", "off", "Use TLS{}."),
        ("ssl_verify", "boolean", "off", "Verify the certificate{} against `lua_ssl_trusted_certificate`."),
        ("max_concurrent_queries", "number", "0", "Statements at a time and per worker{}, 0 for no limit."),
        ("semaphore_timeout", "number", "60000", "Milliseconds to wait for a turn{}."),
        ("keepalive_timeout", "number", None, "Milliseconds that an idle connection{} stays open."),
        ("pool_size", "number", None, "Connections{} that a worker keeps."),
        ("backlog", "number", None, "Statements{} that may wait for a connection, more are refused."),
    )
    host = "Host of PostgreSQL, or the folder of its socket." if first else (
        "Host of a read replica: look-ups for proxied requests go there, writes and the Admin API do not."
    )  # fmt: skip
    rest = [
        (f"{part}{name}", kind, default if first else None, str(text).format(whose) + fallback, *more)
        for name, kind, default, text, *more in table
    ]
    return [(f"{part}host", "string", "127.0.0.1" if first else None, host), *rest]


STORAGE = rows(
    "Storage",
    (
        "database",
        "enum",
        "sqlite",
        "Where entities live: `sqlite` (a file below the prefix), `cassandra` or `postgres` (shared by many nodes), "
        "`memory` (lost at stop), `off` (a declarative document, see [declarative.md](declarative.md)).",
        DATABASES,
    ),
    ("sqlite_path", "string", "kong.sqlite3", "File of the embedded store, below the prefix unless absolute.", "own"),
    *_CASSANDRA,
    *_postgres("pg_"),
    *_postgres("pg_ro_"),
    ("declarative_config", "string", None, "Declarative file to load when `database = off`."),
    ("declarative_config_string", "string", None, "Declarative text to load when `database = off`.", "secret"),
    ("lmdb_environment_path", "string", "dbless.lmdb", "Kong's cache of the declarative configuration.", "later"),
    ("lmdb_map_size", "string", "2048m", "Size of that cache.", "later"),
    ("db_update_frequency", "number", "1", "Seconds between looks at what other nodes changed."),
    (
        "db_update_propagation",
        "number",
        "0",
        "Seconds by which replicas of the store may lag behind: what other nodes changed is read again after them.",
        FROM_0,
    ),
    ("db_cache_ttl", "number", "0", "Seconds that a look-up stays cached, 0 until it changes.", FROM_0),
    ("db_cache_neg_ttl", "number", None, "Seconds that a miss stays cached.", FROM_0),
    (
        "db_resurrect_ttl",
        "number",
        "30",
        "Seconds for which look-ups that are over their time still serve while the store is away.",
        FROM_0,
    ),
    (
        "db_cache_warmup_entities",
        "array",
        "services",
        "Entities to look up before the first request, or `off`; `certificates` are made ready for handshakes.",
    ),
    (
        "mem_cache_size",
        "size",
        "128m",
        "Bound of the caches of look-ups, per worker, and of the one for answers, per node (fixed at the start).",
        {"maximum": 1 << 40},
    ),
)
