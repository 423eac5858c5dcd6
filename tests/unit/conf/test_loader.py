"""Which place wins, what warns, what is refused."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from kong_gevent import conf
from kong_gevent.conf import prefix as folder
from kong_gevent.errors import ConfigurationError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "kong.conf"


@pytest.fixture(autouse=True)
def _no_usual_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kong_gevent.conf.source.DEFAULT_FILES", ())


def refused(environ: Mapping[str, str], file: Path | None = None) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        conf.load(file, environ=environ)
    return caught.value.messages


def test_where_the_gateway_listens_by_default() -> None:
    settings = conf.load(environ={})
    both = [(listener.address, listener.ssl) for listener in (*settings.proxy_listeners, *settings.admin_listeners)]
    assert both == [
        ("0.0.0.0:8000", False),
        ("0.0.0.0:8443", True),
        ("127.0.0.1:8001", False),
        ("127.0.0.1:8444", True),
    ]
    assert [listener.address for listener in settings.status_listeners] == ["127.0.0.1:8007"]
    assert settings.admin_gui_listeners == []
    assert settings.warnings == []


def test_file_environment_and_flags_win_in_this_order(file: Path) -> None:
    file.write_text("log_level = debug\nreal_ip_header = X-File\nnode_id = 5ce8b6a4-5f52-4f43-9ab1-4a9a9c8e4b1c\n")
    environ = {"KONG_LOG_LEVEL": "info", "KONG_REAL_IP_HEADER": "X-Environment"}
    settings = conf.load(file, {"log_level": "warn"}, environ)
    assert (settings.log_level, settings.real_ip_header) == ("warn", "X-Environment")
    assert settings.node_id == "5ce8b6a4-5f52-4f43-9ab1-4a9a9c8e4b1c"


def test_the_environment_can_name_the_file(file: Path) -> None:
    file.write_text("log_level = debug\n")
    assert conf.load(environ={"KONG_CONF": str(file)}).log_level == "debug"


def test_the_first_usual_file_that_exists_is_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("log_level = debug\n")
    monkeypatch.setattr("kong_gevent.conf.source.DEFAULT_FILES", (str(file) + ".not", str(file)))
    assert conf.load(environ={}).log_level == "debug"


@pytest.mark.parametrize("value", ["", "NONE"])
def test_an_empty_variable_takes_the_files_value_back(file: Path, value: str) -> None:
    file.write_text("log_level = debug\npg_password = secret\n")
    settings = conf.load(file, environ={"KONG_LOG_LEVEL": value, "KONG_PG_PASSWORD": value})
    assert (settings.log_level, settings.pg_password) == ("notice", None)


def test_a_hash_in_the_environment_is_literal() -> None:
    assert conf.load(environ={"KONG_PG_PASSWORD": "a#b"}).pg_password == "a#b"


@pytest.mark.parametrize(
    ("given", "expected"),
    [("relative", "{cwd}/relative"), ("/abs/../olute/", "/olute"), ("/usr/local/kong/", "/usr/local/kong")],
)
def test_the_prefix_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, expected: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("kong_gevent.CHECKOUT", None)
    assert conf.load(overrides={"prefix": given}, environ={}).prefix == expected.format(cwd=tmp_path)


def test_the_default_prefix_is_servroot_in_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kong_gevent.CHECKOUT", tmp_path)
    assert conf.load(environ={}).prefix == str(tmp_path / "servroot")
    monkeypatch.setattr("kong_gevent.CHECKOUT", None)
    assert conf.load(environ={}).prefix == "/usr/local/kong"


@pytest.mark.parametrize(
    ("variable", "warning"),
    [
        ("KONG_PROXY_LISTN", "unknown setting 'proxy_listn' is ignored; did you mean 'proxy_listen'?"),
        ("KONG_WHOLLY_DIFFERENT_THING", "unknown setting 'wholly_different_thing' is ignored"),
        ("KONG_NGINX_HTTP_SENDFILE", "'nginx_http_sendfile' is accepted for Kong's sake and has no effect"),
        ("KONG_SSL_SESSION_CACHE_SIZE", "'ssl_session_cache_size' is accepted and has no effect in this version"),
    ],
)
def test_warns_about_what_does_nothing(variable: str, warning: str) -> None:
    assert conf.load(environ={variable: "x"}).warnings == [f"environment variable {variable}: {warning}"]


def test_warns_with_the_place_in_the_file(file: Path) -> None:
    file.write_text("\nlog_levl = debug\n")
    warnings = conf.load(file, environ={}).warnings
    assert warnings == [f"{file}:2: unknown setting 'log_levl' is ignored; did you mean 'log_level'?"]


@pytest.mark.parametrize(
    "variable",
    ["KONG_PROXY_SERVICE_HOST", "KONG_PROXY_PORT_8000_TCP_ADDR", "KONG_GEVENT_PYTHON", "KONG_", "KONGO", "kong_x"],
)
def test_variables_of_others_are_no_settings(variable: str) -> None:
    assert conf.load(environ={variable: "x"}).warnings == []


def test_the_default_value_of_an_unused_setting_does_not_warn() -> None:
    assert conf.load(environ={"KONG_SSL_PROTOCOLS": "TLSv1.2 TLSv1.3"}).warnings == []


@pytest.mark.parametrize(
    ("alias", "name", "text", "value"),
    [
        ("nginx_http_client_max_body_size", "client_max_body_size", "1m", 1024**2),
        ("nginx_proxy_client_max_body_size", "client_max_body_size", "1m", 1024**2),
        ("nginx_proxy_real_ip_header", "real_ip_header", "X-Other", "X-Other"),
        ("nginx_proxy_real_ip_recursive", "real_ip_recursive", "on", True),
        ("nginx_main_worker_processes", "workers", "3", 3),
        ("nginx_http_keepalive_timeout", "keepalive_timeout", "10s", 10),
        ("nginx_main_daemon", "nginx_daemon", "off", False),
        ("nginx_http_client_body_buffer_size", "client_body_buffer_size", "16k", 16384),
    ],
)
def test_directives_of_nginx_are_mapped(alias: str, name: str, text: str, value: object) -> None:
    settings = conf.load(environ={f"KONG_{alias.upper()}": text})
    assert getattr(settings, name) == value
    assert settings.warnings == []


def test_the_proper_name_beats_its_alias_in_one_place() -> None:
    settings = conf.load(environ={"KONG_NGINX_PROXY_REAL_IP_HEADER": "X-A", "KONG_REAL_IP_HEADER": "X-B"})
    assert settings.real_ip_header == "X-B"
    assert "another name of 'real_ip_header'" in settings.warnings[0]


def test_an_alias_from_a_stronger_place_wins(file: Path) -> None:
    file.write_text("real_ip_header = X-File\n")
    assert conf.load(file, environ={"KONG_NGINX_PROXY_REAL_IP_HEADER": "X-A"}).real_ip_header == "X-A"


def test_all_errors_are_reported_at_once() -> None:
    messages = refused({"KONG_LOG_LEVEL": "loud", "KONG_CLIENT_SSL": "maybe", "KONG_ADMIN_LISTEN": "nowhere"})
    assert messages[:2] == [
        "log_level has an invalid value: 'loud' (debug, info, notice, warn, error, crit, alert, emerg) "
        "(environment variable KONG_LOG_LEVEL)",
        "client_ssl is not a boolean: 'maybe' (on, off, true, false) (environment variable KONG_CLIENT_SSL)",
    ]
    assert messages[2].startswith("admin_listen must be of form: [off] | <ip>:<port> [ssl]")
    assert messages[2].endswith("got 'nowhere'")
    assert len(messages) == 3


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (
            {"KONG_PROXY_LISTEN": "127.0.0.1:8443 http2"},
            "proxy_listen: '127.0.0.1:8443 http2' asks for HTTP/2 ('http2'), which is not available "
            "in this version yet; remove the flag or this address",
        ),
        (
            {"KONG_ADMIN_LISTEN": "127.0.0.1:8444 http2"},
            "admin_listen: '127.0.0.1:8444 http2' asks for HTTP/2 ('http2'), which is not available in this version "
            "yet; remove the flag or this address",
        ),
        (
            {"KONG_STREAM_LISTEN": "127.0.0.1:9"},
            "stream_listen = '127.0.0.1:9' is not available in this version yet; set it to off",
        ),
        (
            {"KONG_ADMIN_GUI_LISTEN": "127.0.0.1:9"},
            "admin_gui_listen = '127.0.0.1:9' is not available in this version yet; set it to off",
        ),
        (
            {"KONG_ADMIN_LISTEN": "127.0.0.1:8000", "KONG_PROXY_LISTEN": "127.0.0.1:8000"},
            "proxy_listen and admin_listen: the address 127.0.0.1:8000 is given twice; choose another port for one",
        ),
        (
            {"KONG_PROXY_LISTEN": "[::1]:1, [0::1]:1"},
            "proxy_listen: the address [::1]:1 is given twice; choose another port for one",
        ),
        (
            {"KONG_ROLE": "data_plane"},
            "role = 'data_plane' is not available in this version yet (available: traditional)",
        ),
        ({"KONG_WASM": "on"}, "wasm = 'on' is not available in this version yet (available: off)"),
        (
            {"KONG_NGINX_WORKER_PROCESSES": "0"},
            "nginx_worker_processes has an invalid value: '0' (auto, or a number from 1)",
        ),
        (
            {"KONG_TRUSTED_IPS": "10.0.0.0/8,nobody"},
            "trusted_ips must be a comma separated list in the form of IPv4 or IPv6 address or CIDR block or 'unix:', "
            "got 'nobody'",
        ),
        ({"KONG_PORT_MAPS": "80"}, "invalid port mapping (`port_maps`): 80"),
        ({"KONG_PORT_MAPS": "80:70000"}, "invalid port mapping (`port_maps`): 80:70000"),
        ({"KONG_NODE_ID": "me"}, "node_id must be a valid UUID"),
        ({"KONG_DB_UPDATE_FREQUENCY": "0"}, "db_update_frequency must be greater than 0"),
        ({"KONG_PROXY_ERROR_LOG": "off"}, "proxy_error_log cannot be off"),
        (
            {"KONG_PROXY_ACCESS_LOG": "logs/a.log xml"},
            "proxy_access_log has an invalid value: 'logs/a.log xml' "
            "(a path, or a path and one of combined, json, kong_log_format, basic)",
        ),
        ({"KONG_ADMIN_GUI_PATH": "a"}, "admin_gui_path must start with a slash ('/')"),
        ({"KONG_ADMIN_GUI_PATH": "/a//b"}, "admin_gui_path must not contain continuous slashes ('/')"),
        (
            {"KONG_DNS_RESOLVER": "ns.example.com"},
            "dns_resolver must be a comma separated list in the form of IPv4/6 or IPv4/6:port, got 'ns.example.com'",
        ),
        ({"KONG_DNS_ORDER": "A,MX"}, "dns_order: invalid entry 'MX'"),
        ({"KONG_PG_POOL_SIZE": "1.5"}, "pg_pool_size must be an integer greater than 0, got '1.5'"),
        ({"KONG_PROXY_SERVER": "host:80"}, "proxy_server missing scheme"),
        ({"KONG_PROXY_SERVER": "ftp://host"}, 'proxy_server only supports "http" and "https", got ftp'),
        ({"KONG_PROXY_SERVER": "http://"}, "proxy_server missing host"),
        ({"KONG_TRACING_INSTRUMENTATIONS": "sometimes"}, "invalid tracing type: sometimes"),
        ({"KONG_CLUSTER_DP_LABELS": "kong:a"}, "cluster_dp_labels: invalid label 'kong:a'"),
        ({"KONG_TRACING_SAMPLING_RATE": "2"}, "tracing_sampling_rate must be between 0 and 1, got '2'"),
    ],
)
def test_refuses(environ: dict[str, str], message: str) -> None:
    messages = [text.partition(" (environment variable")[0] for text in refused(environ)]
    assert messages == [message]


def test_an_unknown_header_is_refused_with_those_that_exist() -> None:
    (message,) = refused({"KONG_HEADERS": "server_tokens, X-Mine"})
    assert message.startswith("headers: invalid entry 'X-Mine' (")
    assert "latency_tokens" in message


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("{vault://env/my-secret}", "plain"),
        ("{vault://env/my-json/password}", "inside"),
        ("{vault://env/secret?prefix=MY_}", "plain"),
        ("{vault://env/my-secret#2}", "older"),
    ],
)
def test_a_reference_is_resolved_and_never_shown(text: str, secret: str) -> None:
    environ = {
        "KONG_REAL_IP_HEADER": text,
        "MY_SECRET": "plain",
        "MY_SECRET_PREVIOUS": "older",
        "MY_JSON": '{"password": "inside"}',
    }
    settings = conf.load(environ=environ)
    assert settings.real_ip_header == secret
    assert settings.as_dict()["real_ip_header"] == "******"
    assert settings.raw["real_ip_header"] == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "{vault://env/absent}",
            "'{vault://env/absent}' cannot be resolved: the environment variable ABSENT is not set",
        ),
        ("{vault://hcv/x}", "'{vault://hcv/x}' names the vault 'hcv'; settings can only use 'env'"),
        ("{vault://env}", "'{vault://env}' is not a valid vault reference"),
        (
            "{vault://env/word/key}",
            "'{vault://env/word/key}' cannot be resolved: the secret is not a JSON object with 'key'",
        ),
    ],
)
def test_a_bad_reference_is_refused(text: str, message: str) -> None:
    (found,) = refused({"KONG_PG_PASSWORD": text, "WORD": "hush"})
    assert found == f"{message} (environment variable KONG_PG_PASSWORD)"


def test_a_secret_of_the_wrong_form_is_not_shown() -> None:
    (found,) = refused({"KONG_PG_PORT": "{vault://env/word}", "WORD": "hush"})
    assert "hush" not in found
    assert found.startswith("pg_port: what '{vault://env/word}' refers to has the wrong form")


def test_a_started_gateway_is_found_again_by_its_prefix(tmp_path: Path) -> None:
    environ = {"KONG_PREFIX": str(tmp_path), "KONG_PROXY_LISTEN": "127.0.0.1:81", "KONG_PG_PASSWORD": "a#b\\n"}
    settings = conf.load(environ=environ)
    folder.save(settings)
    found = conf.load_running(str(tmp_path), environ={"KONG_PROXY_LISTEN": "127.0.0.1:82"})
    assert found.proxy_listeners == settings.proxy_listeners
    assert found.pg_password == "a#b\\n"
    assert found.as_dict() == settings.as_dict()


def test_workers_read_the_record_and_not_the_old_environment(tmp_path: Path) -> None:
    settings = conf.load(environ={"KONG_PREFIX": str(tmp_path), "KONG_LOG_LEVEL": "info"})
    folder.save(settings)
    given = conf.environment(settings, {"KONG_LOG_LEVEL": "debug", "HOME": "/somewhere"})
    assert given["HOME"] == "/somewhere"
    assert conf.load(environ=given).log_level == "info"


def test_a_reload_takes_todays_environment(tmp_path: Path, file: Path) -> None:
    folder.save(
        conf.load(environ={"KONG_PREFIX": str(tmp_path), "KONG_LOG_LEVEL": "info", "KONG_REAL_IP_HEADER": "X-A"})
    )
    again = conf.load_again(str(tmp_path), environ={"KONG_LOG_LEVEL": "debug"})
    assert (again.log_level, again.real_ip_header, again.prefix) == ("debug", "X-A", str(tmp_path))
    file.write_text("real_ip_header = X-File\n")
    again = conf.load_again(str(tmp_path), str(file), environ={})
    assert (again.log_level, again.real_ip_header, again.prefix) == ("notice", "X-File", str(tmp_path))


def test_the_prefix_is_found_even_when_other_settings_are_wrong(tmp_path: Path, file: Path) -> None:
    file.write_text(f"log_level = loud\nprefix = {tmp_path}\n")
    assert conf.find_prefix(None, str(file), {}) == str(tmp_path)
    assert conf.find_prefix(None, str(file), {"KONG_PREFIX": "/other"}) == "/other"
    assert conf.find_prefix("/flag", str(file), {"KONG_PREFIX": "/other"}) == "/flag"
