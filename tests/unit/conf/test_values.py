"""Text to value by type, and the messages for what does not fit."""

import pytest

from kong_gevent.conf.defaults import TABLE
from kong_gevent.conf.values import parse


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("client_ssl", "on", True),
        ("client_ssl", "false", False),
        ("pg_port", "5433", 5433),
        ("db_update_frequency", "0.5", 0.5),
        ("db_update_frequency", "2", 2),
        ("plugins", "bundled, mine,,", ["bundled", "mine"]),
        ("nginx_http_client_max_body_size", "8k", 8192),
        ("nginx_http_client_max_body_size", "10M", 10 * 1024**2),
        ("nginx_http_client_max_body_size", "1g", 1024**3),
        ("nginx_http_client_max_body_size", "7", 7),
        ("keepalive_timeout", "75s", 75),
        ("keepalive_timeout", "1m", 60),
        ("keepalive_timeout", "500ms", 0.5),
        ("log_level", "warn", "warn"),
        ("real_ip_header", "X-Client", "X-Client"),
    ],
)
def test_parses(name: str, text: str, expected: object) -> None:
    value = parse(TABLE[name], text)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("client_ssl", "yes", "client_ssl is not a boolean: 'yes' (on, off, true, false)"),
        ("db_update_frequency", "often", "db_update_frequency is not a number: 'often'"),
        ("db_update_frequency", "nan", "db_update_frequency is not a number: 'nan'"),
        ("db_update_frequency", "1e999", "db_update_frequency is not a number: '1e999'"),
        ("db_update_frequency", "١", "db_update_frequency is not a number: '١'"),
        ("lua_max_uri_args", "1.5", "lua_max_uri_args must be an integer: '1.5'"),
        ("lua_max_uri_args", "1001", "lua_max_uri_args must be between 1 and 1000, got '1001'"),
        ("pg_port", "0", "pg_port must be between 1 and 65535, got '0'"),
        ("ssl_cert_cache_size", "0", "ssl_cert_cache_size must be between 1 and 100000, got '0'"),
        (
            "upstream_keepalive_pool_size",
            "-1",
            "upstream_keepalive_pool_size must be greater than or equal to 0, got '-1'",
        ),
        (
            "nginx_http_client_max_body_size",
            "big",
            "nginx_http_client_max_body_size is not a size: 'big' (a number of bytes, or one followed by k, m or g)",
        ),
        (
            "keepalive_timeout",
            "-5",
            "keepalive_timeout is not a time: '-5' (seconds, or a number followed by ms, s, m, h or d)",
        ),
        (
            "database",
            "mongodb",
            "database has an invalid value: 'mongodb' (sqlite, cassandra, postgres, memory, off)",
        ),
        ("real_ip_header", "a\0b", "real_ip_header contains a NUL character"),
    ],
)
def test_refuses_with_name_value_and_what_is_allowed(name: str, text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(TABLE[name], text)
    assert str(caught.value) == message


@pytest.mark.parametrize("setting", TABLE.values(), ids=lambda setting: setting.name)
def test_every_default_is_valid(setting: object) -> None:
    if setting.default is not None:  # type: ignore[attr-defined]
        parse(setting, setting.default)  # type: ignore[arg-type, attr-defined]


@pytest.mark.parametrize("setting", TABLE.values(), ids=lambda setting: setting.name)
def test_every_setting_is_described_in_a_sentence(setting: object) -> None:
    assert setting.help.endswith(".")  # type: ignore[attr-defined]
