"""Settings of Kong's clusters of two planes, of traces, and the rest."""

from __future__ import annotations

from kong_gevent.conf.setting import rows

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
