"""The settings of names, of clusters, and the rest: parts of the table in `defaults`."""

from __future__ import annotations

from kong_gevent.conf.setting import rows

_FROM_0 = {"minimum": 0}
_FROM_1 = {"minimum": 1}

DNS = rows(
    "DNS",
    ("dns_resolver", "array", None, "Name servers, as addresses with optional ports."),
    ("dns_hostsfile", "string", "/etc/hosts", "Hosts file."),
    ("dns_order", "array", "LAST,SRV,A,CNAME", "Order in which record types are tried."),
    ("dns_valid_ttl", "number", None, "Seconds that override the records' own.", _FROM_0),
    ("dns_stale_ttl", "number", "3600", "Seconds that old records serve while new ones are fetched.", _FROM_0),
    ("dns_cache_size", "integer", "10000", "Names in the cache.", _FROM_1),
    ("dns_not_found_ttl", "number", "30", "Seconds that an empty answer counts.", _FROM_0),
    ("dns_error_ttl", "number", "1", "Seconds that an error counts.", _FROM_0),
    ("dns_no_sync", "boolean", "off", "Do not merge equal queries in flight."),
    ("new_dns_client", "boolean", "off", "Kong's second resolver."),
    ("resolver_address", "array", None, "Name servers of the second resolver."),
    ("resolver_hosts_file", "string", "/etc/hosts", "Its hosts file."),
    ("resolver_family", "array", "A,SRV", "Its record types."),
    ("resolver_valid_ttl", "number", None, "Its override of the records' time.", _FROM_0),
    ("resolver_stale_ttl", "number", "3600", "Its time for old records.", _FROM_0),
    ("resolver_lru_cache_size", "integer", "10000", "Names in its cache.", _FROM_1),
    ("resolver_mem_cache_size", "size", "5m", "Size of its second cache.", "later"),
    ("resolver_error_ttl", "number", "1", "Seconds that an error counts.", _FROM_0),
)

CLUSTER = rows(
    "Cluster and the rest",
    ("cluster_control_plane", "string", "127.0.0.1:8005", "Control plane of a data plane.", "later"),
    ("cluster_cert", "string", None, "Certificate of the cluster.", "later"),
    ("cluster_cert_key", "string", None, "Its key.", "later", "secret"),
    ("cluster_mtls", "enum", "shared", "How cluster members trust each other.", ("shared", "pki"), "later"),
    ("cluster_ca_cert", "string", None, "Certificate authority of the cluster.", "later"),
    ("cluster_server_name", "string", None, "Name in the control plane's certificate.", "later"),
    ("cluster_ocsp", "enum", "off", "Check revocation.", ("on", "off", "optional"), "later"),
    (
        "cluster_data_plane_purge_delay",
        "integer",
        "1209600",
        "Seconds until a silent data plane is forgotten.",
        "later",
        {"minimum": 60},
    ),
    (
        "cluster_max_payload",
        "integer",
        "16777216",
        "Largest configuration message, bytes.",
        "later",
        {"minimum": 4194304},
    ),
    ("cluster_use_proxy", "boolean", "off", "Reach the control plane through `proxy_server`.", "later"),
    ("cluster_dp_labels", "array", None, "Labels of a data plane, `key:value`.", "later"),
    ("cluster_rpc", "boolean", "off", "Calls between the planes.", "later"),
    ("cluster_incremental_sync", "boolean", "off", "Send changes only.", "later"),
    ("dedicated_config_processing", "boolean", "on", "Kong's worker of its own for configuration.", "later"),
    ("tracing_instrumentations", "array", "off", "What traces record.", "later"),
    (
        "tracing_sampling_rate",
        "number",
        "0.01",
        "Share of requests that are traced.",
        "later",
        {"minimum": 0, "maximum": 1},
    ),
    (
        "untrusted_lua",
        "enum",
        "sandbox",
        "With `off`, expressions and programs in plugins' settings are not evaluated; there is no Lua.",
        ("on", "off", "sandbox"),
    ),
    ("untrusted_lua_sandbox_requires", "array", None, "Modules inline Lua may load.", "later"),
    ("untrusted_lua_sandbox_environment", "array", None, "Variables inline Lua may read.", "later"),
    ("wasm", "boolean", "off", "WebAssembly filters; only `off`."),
    ("wasm_filters_path", "string", None, "Their folder.", "later"),
    ("wasm_filters", "array", "bundled,user", "Their names.", "later"),
    ("pluginserver_names", "array", None, "Kong's external plugin servers.", "later"),
    ("kic", "boolean", "off", "Run under Kong's ingress controller.", "later"),
    ("openresty_path", "string", None, "Kong's path of OpenResty.", "later"),
)
