"""What is derived from settings, what is shown of them."""

import ipaddress
import json
import os
from pathlib import Path

import pytest

from kong_gevent import conf
from kong_gevent.conf import Settings
from kong_gevent.conf import prefix as folder
from kong_gevent.errors import ConfigurationError


def load(**settings: str) -> Settings:
    environ = {f"KONG_{name.upper()}": value for name, value in settings.items()}
    return conf.load(environ={"KONG_PREFIX": "/p", "KONG_CONF": os.devnull, **environ})


def test_settings_do_not_change() -> None:
    with pytest.raises(AttributeError):
        load().log_level = "debug"


def test_an_unknown_name_is_an_error_and_get_has_a_default() -> None:
    settings = load()
    with pytest.raises(AttributeError):
        _ = settings.no_such_setting
    assert settings.get("no_such_setting", 1) == 1
    assert settings.get("pg_password", "unset") == "unset"
    assert settings.get("nginx_main_worker_processes") == "auto"


def test_secrets_are_masked() -> None:
    settings = load(
        pg_password="hush", pg_ro_password="hush", ssl_cert_key="/hush,/hush", proxy_server="http://u:hush@h",
        declarative_config_string="hush", request_debug_token="hush", cluster_cert_key="hush",
        proxy_listen="127.0.0.1:8000",
    )  # fmt: skip
    assert "hush" not in json.dumps(settings.as_dict())
    assert settings.as_dict()["ssl_cert_key"] == ["******", "******"]
    assert settings.as_dict(mask=False)["pg_password"] == "hush"
    assert "hush" not in repr(settings)


def test_shows_what_clients_of_kong_look_for() -> None:
    shown = load(nginx_worker_processes="2", real_ip_recursive="on").as_dict()
    assert shown["database"] == "sqlite"
    assert shown["prefix"] == "/p"
    options = "reuseport backlog=16384"
    assert shown["admin_listen"] == [f"127.0.0.1:8001 {options}", f"127.0.0.1:8444 ssl {options}"]
    assert shown["admin_listeners"][0]["port"] == 8001
    assert shown["proxy_listeners"][0]["backlog=16384"] is True
    assert shown["admin_gui_listeners"] == []
    assert shown["nginx_main_worker_processes"] == shown["nginx_worker_processes"] == "2"
    assert shown["nginx_proxy_real_ip_recursive"] == "on"
    assert shown["nginx_daemon"] == "on"
    assert shown["client_body_buffer_size"] == "8k"
    assert shown["upstream_keepalive_pool_size"] == 512
    assert shown["client_ssl"] is False
    assert "pg_password" not in shown
    json.dumps(shown)


def test_directives_that_are_not_mapped_are_shown_too() -> None:
    assert load(nginx_http_sendfile="on").as_dict()["nginx_http_sendfile"] == "on"


@pytest.mark.parametrize(
    ("text", "enabled"),
    [
        ("server_tokens", {"server", "via"}),
        ("off", set()),
        ("off, server_tokens", set()),
        ("Server, off", {"server"}),
        ("X-KONG-upstream-status", {"x-kong-upstream-status"}),
        (
            "latency_tokens",
            {
                "x-kong-proxy-latency",
                "x-kong-response-latency",
                "x-kong-admin-latency",
                "x-kong-upstream-latency",
            },
        ),
    ],
)
def test_groups_of_headers_are_resolved(text: str, enabled: set[str]) -> None:
    assert load(headers=text).enabled_headers == enabled


def test_the_request_id_goes_both_ways_by_default() -> None:
    assert "x-kong-request-id" in load().enabled_headers
    assert load().enabled_headers_upstream == {"x-kong-request-id"}
    assert load(headers_upstream="off").enabled_headers_upstream == frozenset()


def test_trusted_ips_become_networks() -> None:
    settings = load(trusted_ips="10.1.2.3/8, ::1, unix:")
    assert settings.trusted_networks == [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::1/128")]
    assert settings.trusts_unix
    assert load().trusted_networks == []
    assert not load().trusts_unix


def test_port_maps_go_from_listening_to_published() -> None:
    assert load(port_maps="80:8000, 443:8443").port_map == {8000: 80, 8443: 443}
    assert load().port_map == {}


@pytest.mark.parametrize(
    ("setting", "default", "expected"),
    [
        ("logs/access.log", "combined", ("/p/logs/access.log", "combined")),
        ("logs/access.log json", "combined", ("/p/logs/access.log", "json")),
        ("logs/access.log", "json", ("/p/logs/access.log", "json")),
        ("/var/log/a.log combined", "json", ("/var/log/a.log", "combined")),
        ("/dev/stdout kong_log_format", "json", ("/dev/stdout", "combined")),
        ("off", "json", (None, "json")),
    ],
)
def test_access_logs_have_a_place_and_a_format(setting: str, default: str, expected: tuple[str | None, str]) -> None:
    log = load(proxy_access_log=setting, access_log_format=default).access_log("proxy")
    assert (log.path, log.format) == expected


def test_paths_are_below_the_prefix() -> None:
    settings = load()
    assert settings.error_log("status") == "/p/logs/status_error.log"
    assert settings.sqlite_path == "/p/kong.sqlite3"
    assert load(sqlite_path="/data/x.db").sqlite_path == "/data/x.db"
    assert str(settings.pid_file) == "/p/pids/kong.pid"


def test_auto_is_the_number_of_usable_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 3, 5})
    assert load().workers == 3
    assert load(nginx_worker_processes="7").workers == 7


def test_prepare_makes_the_folders(tmp_path: Path) -> None:
    settings = load(prefix=str(tmp_path / "a" / "b"))
    folder.prepare(settings)
    folder.prepare(settings)
    assert {path.name for path in (tmp_path / "a" / "b").iterdir()} == {"pids", "logs", "sockets", "ssl"}


def test_prepare_says_what_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"the prefix .*/file/x cannot be used: .*/file is not a directory"):
        folder.prepare(load(prefix=str(tmp_path / "file" / "x")))


def test_prepare_says_when_it_must_not_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(ConfigurationError, match=r"no permission to write; choose another with -p or KONG_PREFIX"):
        folder.prepare(load(prefix=str(tmp_path)))
