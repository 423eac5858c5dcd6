"""The settings of the datastores: defaults, what is refused, what is advised against."""

from pathlib import Path

import pytest

from kong_gevent import conf
from kong_gevent.conf.storage_checks import replicas
from kong_gevent.errors import ConfigurationError


@pytest.fixture(autouse=True)
def _no_usual_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kong_gevent.conf.source.DEFAULT_FILES", ())


def load(**settings: str) -> conf.Settings:
    return conf.load(environ={f"KONG_{name.upper()}": value for name, value in settings.items()})


def refused(**settings: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(**settings)
    return [text.partition(" (environment variable")[0] for text in caught.value.messages]


def test_cassandra_without_further_settings() -> None:
    settings = load(database="cassandra")
    assert settings.warnings == []
    assert {name: value for name, value in settings.as_dict().items() if name.startswith("cassandra_")} == {
        "cassandra_contact_points": ["127.0.0.1"],
        "cassandra_port": 9042,
        "cassandra_keyspace": "kong",
        "cassandra_consistency": "LOCAL_QUORUM",
        "cassandra_serial_consistency": "LOCAL_SERIAL",
        "cassandra_repl_strategy": "NetworkTopologyStrategy",
        "cassandra_repl_factor": 1,
        "cassandra_timeout": 5000,
        "cassandra_schema_consensus_timeout": 10000,
        "cassandra_ssl": False,
        "cassandra_ssl_verify": False,
        "cassandra_ssl_verify_host": True,
    }
    for name in ("username", "password", "local_datacenter", "data_centers", "read_consistency", "ssl_ca"):
        assert getattr(settings, f"cassandra_{name}") is None


def test_postgres_without_further_settings() -> None:
    settings = load(database="postgres")
    assert settings.warnings == []
    assert {name: value for name, value in settings.as_dict().items() if name.startswith("pg_")} == {
        "pg_host": "127.0.0.1",
        "pg_port": 5432,
        "pg_timeout": 5000,
        "pg_user": "kong",
        "pg_database": "kong",
        "pg_ssl": False,
        "pg_ssl_verify": False,
        "pg_max_concurrent_queries": 0,
        "pg_semaphore_timeout": 60000,
    }
    assert settings.pg_ro_host is None
    assert settings.pg_ro_port is None


def test_a_managed_cluster(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("x")
    settings = load(
        prefix=str(tmp_path), database="cassandra", cassandra_contact_points="10.0.0.1, node-2.example.com, [::1]",
        cassandra_local_datacenter="AWS_VPC_EU_WEST_1", cassandra_username="u", cassandra_password="p",
        cassandra_ssl="on", cassandra_ssl_verify="on", cassandra_ssl_ca="ca.pem",
    )  # fmt: skip
    assert settings.warnings == []
    assert settings.cassandra_contact_points == ["10.0.0.1", "node-2.example.com", "[::1]"]
    assert settings.cassandra_ssl_ca == str(tmp_path / "ca.pem")
    assert settings.as_dict()["cassandra_password"] == "******"


def test_replicas_by_data_centre() -> None:
    assert replicas(["dc1:3", "eu-west_1:2"]) == {"dc1": 3, "eu-west_1": 2}
    assert replicas(None) == {}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "consistency",
            "ANY",
            "cassandra_consistency has an invalid value: 'ANY' "
            "(LOCAL_QUORUM, QUORUM, EACH_QUORUM, ALL, LOCAL_ONE, ONE, TWO, THREE)",
        ),
        (
            "serial_consistency",
            "QUORUM",
            "cassandra_serial_consistency has an invalid value: 'QUORUM' (LOCAL_SERIAL, SERIAL)",
        ),
        (
            "repl_strategy",
            "Simple",
            "cassandra_repl_strategy has an invalid value: 'Simple' (NetworkTopologyStrategy, SimpleStrategy)",
        ),
        ("repl_factor", "0", "cassandra_repl_factor must be greater than or equal to 1, got '0'"),
        ("port", "99999", "cassandra_port must be between 1 and 65535, got '99999'"),
        ("timeout", "soon", "cassandra_timeout is not a number: 'soon'"),
        ("ssl", "yes", "cassandra_ssl is not a boolean: 'yes' (on, off, true, false)"),
        (
            "contact_points",
            "10.0.0.1:9042",
            "cassandra_contact_points: '10.0.0.1:9042' is not a host or an address; "
            "the port is set by cassandra_port for all of them",
        ),
        ("contact_points", ",", "cassandra_contact_points must name at least one host of the cluster"),
        (
            "keyspace",
            "kong-1",
            "cassandra_keyspace has an invalid value: 'kong-1' "
            "(a letter, then letters, digits and underscores, 48 characters at most)",
        ),
        ("username", "u", "cassandra_password must be specified with cassandra_username"),
        ("password", "p", "cassandra_username must be specified with cassandra_password"),
        (
            "data_centers",
            "dc1",
            "cassandra_data_centers: invalid entry 'dc1' "
            "(<data centre>:<copies>, as the cluster spells the name, and at least one copy)",
        ),
        ("data_centers", "dc1:1,dc1:2", "cassandra_data_centers names a data centre twice: 'dc1:1, dc1:2'"),
        ("ssl_ca", "/nowhere.pem", "cassandra_ssl_ca: cannot read /nowhere.pem (No such file or directory)"),
    ],
)
def test_refuses_for_cassandra(name: str, value: str, message: str) -> None:
    assert refused(database="cassandra", **{f"cassandra_{name}": value}) == [message]


def test_a_local_data_centre_without_copies_is_refused() -> None:
    assert refused(database="cassandra", cassandra_local_datacenter="dc3", cassandra_data_centers="dc1:2,dc2:2") == [
        "cassandra_data_centers leaves out 'dc3', the cassandra_local_datacenter: "
        "there would be no copy that this gateway can read"
    ]


def test_a_certificate_needs_its_key(tmp_path: Path) -> None:
    file = tmp_path / "x.pem"
    file.write_text("x")
    assert refused(database="cassandra", cassandra_ssl_cert=str(file)) == ["cassandra_ssl_cert_key must be specified"]
    assert refused(database="cassandra", cassandra_ssl_cert_key=str(file)) == ["cassandra_ssl_cert must be specified"]


def test_settings_of_another_store_are_not_judged() -> None:
    assert load(database="sqlite", cassandra_contact_points="a:1", cassandra_username="u").warnings == []


@pytest.mark.parametrize(
    ("settings", "warning"),
    [
        (
            {"cassandra_consistency": "ONE", "cassandra_read_consistency": "QUORUM"},
            "cassandra_consistency = ONE for writes: a change may be unseen by the next read, and lost with a node; "
            "LOCAL_QUORUM prevents both",
        ),
        (
            {"cassandra_ssl_verify": "on"},
            "cassandra_ssl_verify has no effect while cassandra_ssl is off: passwords and data go in clear text",
        ),
        (
            {"database": "postgres", "pg_ssl_verify": "on"},
            "pg_ssl_verify has no effect while pg_ssl is off: passwords and data go in clear text",
        ),
        ({"database": "postgres", "pg_ro_port": "5433"}, "pg_ro_port: no effect without pg_ro_host"),
        (
            {"casandra_keyspace": "x"},
            "environment variable KONG_CASANDRA_KEYSPACE: unknown setting 'casandra_keyspace' is ignored; "
            "did you mean 'cassandra_keyspace'?",
        ),
        (
            {"cassandra_local_data_center": "x"},
            "environment variable KONG_CASSANDRA_LOCAL_DATA_CENTER: unknown setting 'cassandra_local_data_center' "
            "is ignored; did you mean 'cassandra_local_datacenter'?",
        ),
    ],
)
def test_warns(settings: dict[str, str], warning: str) -> None:
    assert load(**{"database": "cassandra", **settings}).warnings == [warning]


def test_a_certificate_authority_without_verification_warns(tmp_path: Path) -> None:
    file = tmp_path / "x.pem"
    file.write_text("x")
    assert load(database="cassandra", cassandra_ssl="on", cassandra_ssl_ca=str(file)).warnings == [
        "cassandra_ssl_ca has no effect while cassandra_ssl_verify is off: any server would be believed"
    ]
