"""A cluster like a managed one: TLS with certificates on both sides, logins, a role that may not create keyspaces."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kong_gevent.db.strategies.cassandra.options import CassandraOptions
from kong_gevent.devtools import certificates
from kong_gevent.errors import StoreMisconfigured, StoreUnavailable
from tests.cassandra.programs import TABLE
from tests.cassandra.support import Relay, options_for, run_patched, session_for
from tests.servers.cassandra import Cassandra


@pytest.fixture(scope="module")
def managed(make_cassandra: Callable[..., Cassandra]) -> Cassandra:
    made = make_cassandra(auth=True, tls="mutual")
    made.create_keyspace("given")
    made.create_role("gateway", "secret", "given")
    return made


def as_gateway(server: Cassandra, keyspace: str = "given", **changes: Any) -> CassandraOptions:
    return options_for(server, keyspace, **({"username": "gateway", "password": "secret"} | changes))


def refusal(options: CassandraOptions) -> str:
    """The line with which both ways to connect refuse these settings; waiting is no use."""
    with session_for(options) as session, pytest.raises(StoreUnavailable) as caught:
        session.connect()
    name, line = run_patched("answer", options)
    assert (name, line) == (type(caught.value).__name__, str(caught.value))
    assert type(caught.value) is StoreMisconfigured, line
    assert "\n" not in line
    return str(line)


def test_a_role_works_in_the_keyspace_that_it_was_given(managed: Cassandra) -> None:
    options = as_gateway(managed, local_datacenter="dc1")
    with session_for(options) as session:
        session.connect()
        session.ensure_keyspace()
        session.run(TABLE, level="ddl")
    assert run_patched("answer", options) == ["right", ""]
    assert run_patched("crowd", options, greenlets=50, rounds=5) == {"right": 250}


def test_a_role_that_may_not_create_the_keyspace(managed: Cassandra) -> None:
    with session_for(as_gateway(managed, "missing")) as session, pytest.raises(StoreMisconfigured) as caught:
        session.ensure_keyspace()
    assert str(caught.value) == (
        "the Cassandra keyspace 'missing' does not exist and the role 'gateway' may not create it: have it created "
        "(CREATE KEYSPACE IF NOT EXISTS missing WITH replication = {'class': 'NetworkTopologyStrategy', 'dc1': '1'}) "
        "and GRANT ALL PERMISSIONS ON KEYSPACE missing to the role"
    )


def test_a_role_without_rights_in_the_keyspace(managed: Cassandra) -> None:
    managed.create_keyspace("foreign_one")
    try:
        with session_for(as_gateway(managed, "foreign_one")) as session, pytest.raises(StoreMisconfigured) as caught:
            session.run(TABLE, level="ddl")
        assert "the Cassandra role 'gateway' lacks a right: " in str(caught.value)
        assert str(caught.value).endswith("grant it ALL PERMISSIONS ON KEYSPACE foreign_one")
    finally:
        managed.drop_keyspace("foreign_one")


def test_a_wrong_password(managed: Cassandra) -> None:
    line = refusal(as_gateway(managed, password="wrong"))
    assert line.endswith("it refuses the user 'gateway': correct cassandra_username or cassandra_password")


def test_no_login(managed: Cassandra) -> None:
    line = refusal(as_gateway(managed, username=None))
    assert line.endswith("it demands a login: set cassandra_username and cassandra_password")


def test_no_tls(managed: Cassandra) -> None:
    assert refusal(as_gateway(managed, ssl=False)).endswith("it expects TLS: set cassandra_ssl = on")


def test_no_certificate(managed: Cassandra) -> None:
    line = refusal(as_gateway(managed, ssl_cert=None, ssl_cert_key=None))
    assert line.endswith("it demands a client certificate: set cassandra_ssl_cert and cassandra_ssl_cert_key")


def test_a_certificate_that_cannot_be_read(managed: Cassandra) -> None:
    line = refusal(as_gateway(managed, ssl_cert="/nowhere/client.pem"))
    assert line.startswith("cannot use the client certificate /nowhere/client.pem: No such file or directory")


def test_a_certificate_of_another_authority(managed: Cassandra, tmp_path: Path) -> None:
    other = certificates.make(tmp_path, ["127.0.0.1"])
    line = refusal(as_gateway(managed, ssl_cert=str(other.client), ssl_cert_key=str(other.client_key)))
    assert "it refuse" in line and "certificate" in line


def test_an_unknown_authority(managed: Cassandra, tmp_path: Path) -> None:
    other = certificates.make(tmp_path, ["127.0.0.1"])
    line = refusal(as_gateway(managed, ssl_ca=(str(other.ca),)))
    assert f"its certificate cannot be verified with {other.ca} (" in line
    assert line.endswith("set cassandra_ssl_ca to the authorities that issued it")


def test_an_address_that_the_certificate_does_not_name(managed: Cassandra) -> None:
    with Relay(managed.addresses[0], managed.port) as relay:
        line = refusal(as_gateway(managed, contact_points=(relay.address,)))
        assert "its certificate is for other names or addresses" in line
        assert line.endswith("set cassandra_ssl_verify_host = off")
        options = as_gateway(managed, contact_points=(relay.address,), ssl_verify_host=False)
        assert run_patched("answer", options) == ["right", ""]


def test_unverified_tls_needs_no_authority(managed: Cassandra) -> None:
    assert run_patched("answer", as_gateway(managed, ssl_verify=False, ssl_ca=())) == ["right", ""]
