"""Other names by which settings are known, and beginnings of names that are not looked at."""

from __future__ import annotations

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
