"""The table of settings tells the truth about which of them do something."""

import re

import pytest

from kong_gevent.conf.defaults import TABLE, Setting
from tests.meta.sources import below, sources

THROUGH = {
    **{f"{part}ssl_cert{key}": "certificate_pairs" for part in ("", "admin_", "status_") for key in ("", "_key")},
    **dict.fromkeys(
        (
            "ssl_cipher_suite",
            "ssl_ciphers",
            "ssl_dhparam",
            "ssl_prefer_server_ciphers",
            "ssl_protocols",
            "ssl_session_tickets",
        ),
        "server_context",
    ),
    "access_log_format": "access_log",
    "admin_access_log": "access_log",
    "headers": "enabled_headers",
    "headers_upstream": "enabled_headers_upstream",
    "nginx_admin_client_max_body_size": "admin_client_max_body_size",
    "nginx_http_client_max_body_size": "client_max_body_size",
    "nginx_worker_processes": "workers",
    "port_maps": "port_map",
    "proxy_access_log": "access_log",
    "proxy_error_log": "error_log",
    "status_access_log": "access_log",
    "trusted_ips": "trusted_networks",
}
"""Settings that the code reads in a prepared form, and the name of that form."""
CHECKED = ("role", "router_flavor", "wasm", "stream_listen", "admin_gui_listen")
"""Settings whose effect is that anything but the default is refused."""
LISTEN = ("proxy_listen", "admin_listen", "status_listen", "classic_admin_listen")


def code() -> str:
    """The product's code without the settings' own package."""
    return "\n".join(
        source.path.read_text(encoding="utf-8") for source in sources() if not below(source.name, "kong_gevent.conf")
    )


CODE = code()


GROUPS = {
    "cassandra_": ("kong_gevent.db.strategies.cassandra.options", "get"),
    "pg_ro_": ("kong_gevent.db.strategies.postgres.options", "value"),
    "pg_": ("kong_gevent.db.strategies.postgres.options", "value"),
}
"""Settings that one module reads by their names without the prefix, and the function by which it does."""


def is_read_in_a_group(name: str) -> bool:
    for prefix, (module, function) in GROUPS.items():
        if name.startswith(prefix):
            text = next(source.path.read_text(encoding="utf-8") for source in sources() if source.name == module)
            return bool(re.search(rf'\b{function}\("{name.removeprefix(prefix)}"', text))
    return False


def is_read(name: str) -> bool:
    if is_read_in_a_group(name):
        return True
    return bool(re.search(rf"settings\.{name}\b|settings\.get\(\"{name}\"|\b_?settings\.{name}\(", CODE))


@pytest.mark.parametrize("setting", [row for row in TABLE.values() if row.used], ids=lambda row: row.name)
def test_a_setting_without_a_mark_is_read(setting: Setting) -> None:
    if setting.name in CHECKED or setting.name in LISTEN:
        return
    assert is_read(THROUGH.get(setting.name, setting.name))


@pytest.mark.parametrize("setting", [row for row in TABLE.values() if not row.used], ids=lambda row: row.name)
def test_a_setting_marked_as_without_effect_has_none(setting: Setting) -> None:
    assert not is_read(setting.name)
