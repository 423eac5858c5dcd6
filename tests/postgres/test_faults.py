"""What people read when the settings or the server are wrong: one line that says what, where, and what to do."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kong_gevent import errors
from kong_gevent.db import Store
from kong_gevent.db.strategies.postgres import faults
from tests.postgres.support import open_on, settings_for
from tests.servers.postgres import PASSWORD, USER, Postgres
from tests.servers.process import free_port

NEVER, LATER = errors.StoreMisconfigured, errors.StoreUnavailable


def refusal(settings: dict[str, Any]) -> errors.StoreUnavailable:
    """The error of a first look at a store."""
    store = open_on(**settings)
    try:
        with pytest.raises(errors.StoreUnavailable) as caught:
            store.strategy.ping()
        return caught.value
    finally:
        store.close()


def line(settings: dict[str, Any], kind: type[errors.StoreUnavailable]) -> str:
    """The message of that error, which has to be one line and of this kind."""
    error = refusal(settings)
    assert type(error) is kind
    text = str(error)
    assert "\n" not in text
    start = f"cannot use PostgreSQL at {settings['pg_host']}:{settings['pg_port']}: "
    assert text.startswith(start)
    return text.removeprefix(start)


@pytest.fixture
def right(postgres: Postgres, postgres_database: str) -> dict[str, Any]:
    """Settings that work."""
    return settings_for(postgres, postgres_database)


def test_nothing_listens(right: dict[str, Any]) -> None:
    text = line({**right, "pg_port": str(free_port())}, LATER)
    assert text == "nothing listens there; start the server, or correct pg_host or pg_port"


def test_an_unknown_name(right: dict[str, Any]) -> None:
    text = line({**right, "pg_host": "no-such-host.invalid"}, LATER)
    assert text == "its name is unknown to DNS; correct pg_host or the resolver"


def test_a_wrong_password(right: dict[str, Any]) -> None:
    text = line({**right, "pg_password": "wrong"}, NEVER)
    assert text == "it refuses the password of user 'kong'; correct pg_user or pg_password"


def test_no_password(right: dict[str, Any]) -> None:
    text = line({**right, "pg_password": None}, NEVER)
    assert text == "it wants a password for user 'kong'; set pg_password"


def test_an_unknown_role(right: dict[str, Any]) -> None:
    text = line({**right, "pg_user": "stranger"}, NEVER)
    assert text == "it refuses the password of user 'stranger'; correct pg_user or pg_password"


def test_an_unknown_role_where_no_password_is_needed(make_postgres: Callable[..., Postgres]) -> None:
    server = make_postgres()
    (server.data / "pg_hba.conf").write_text("host all all 127.0.0.0/8 trust\n")
    server.restart()
    text = line({**settings_for(server, "postgres"), "pg_user": "stranger"}, NEVER)
    assert text == "it has no role 'stranger'; correct pg_user, or create the role"
    (server.data / "pg_hba.conf").write_text("host all kong 127.0.0.0/8 trust\n")
    server.restart()
    text = line({**settings_for(server, "postgres"), "pg_user": "stranger"}, NEVER)
    assert text == ("it does not let user 'stranger' in without TLS; set pg_ssl = on, or add a line to its pg_hba.conf")


def test_an_unknown_database(right: dict[str, Any]) -> None:
    text = line({**right, "pg_database": "nowhere"}, NEVER)
    assert text == (
        "it has no database 'nowhere'; correct pg_database, or CREATE DATABASE nowhere OWNER kong ENCODING 'UTF8'"
    )


def test_a_role_that_may_not_log_in(right: dict[str, Any], postgres: Postgres) -> None:
    with postgres.connect() as connection:
        connection.execute("CREATE ROLE locked NOLOGIN PASSWORD 'x'")
    try:
        text = line({**right, "pg_user": "locked", "pg_password": "x"}, NEVER)
    finally:
        with postgres.connect() as connection:
            connection.execute("DROP ROLE locked")
    assert text == "the role 'locked' may not log in; ALTER ROLE locked LOGIN"


def test_tls_that_is_not_there(right: dict[str, Any]) -> None:
    text = line({**right, "pg_ssl": True}, NEVER)
    assert text == "it does not speak TLS; set pg_ssl = off, or turn TLS on at the server"


def test_an_encoding_that_cannot_hold_everything(right: dict[str, Any], postgres: Postgres) -> None:
    name = postgres.fresh_name()
    with postgres.connect() as connection:
        connection.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")  # type: ignore[arg-type]
    try:
        text = line({**right, "pg_database": name}, NEVER)
    finally:
        postgres.drop_database(name)
    assert text == f"the encoding of database '{name}' is LATIN1: make one with ENCODING 'UTF8'"


def test_a_server_that_is_too_old(right: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "OLDEST", 99)
    text = line(right, NEVER)
    assert text.startswith("it is version 1") and text.endswith(": version 99 or newer is needed")


@pytest.mark.parametrize("tls", [False, True])
def test_something_else_listens(right: dict[str, Any], tls: bool) -> None:
    def refuse() -> None:
        with web.accept()[0] as client:
            client.recv(1024)
            client.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as web:
        threading.Thread(target=refuse, daemon=True).start()
        own = {**right, "pg_host": "127.0.0.1", "pg_port": str(web.getsockname()[1]), "pg_ssl": tls}
        text = line(own, NEVER)
    assert text == "what listens there does not speak PostgreSQL's protocol; correct pg_host or pg_port"


def test_no_connection_is_left(make_postgres: Callable[..., Postgres]) -> None:
    server = make_postgres(options={"max_connections": "5", "superuser_reserved_connections": "0"})
    kept = [server.connect() for _ in range(4)]
    store = open_on(**settings_for(server, "postgres"))
    try:
        store.strategy._fetch("SELECT 1", ())  # type: ignore[attr-defined]
        kept.append(server.connect() if False else kept[0])
    finally:
        for connection in kept:
            connection.close()
        store.close()


@pytest.fixture
def role(postgres: Postgres, postgres_database: str) -> Iterator[str]:
    """A role that owns nothing."""
    with postgres.connect(postgres_database) as connection:
        connection.execute("CREATE ROLE guest LOGIN PASSWORD 'guest'")
        connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    yield "guest"
    with postgres.connect(postgres_database) as connection:
        connection.execute("DROP OWNED BY guest")
        connection.execute("DROP ROLE guest")


def test_no_right_to_create_tables(right: dict[str, Any], role: str, postgres_database: str) -> None:
    store = open_on(**{**right, "pg_user": role, "pg_password": role})
    with pytest.raises(errors.StoreMisconfigured) as caught:
        store.migrations.bootstrap()
    store.close()
    assert str(caught.value) == (
        f"user 'guest' lacks a right in database '{postgres_database}' of PostgreSQL at "
        f"{right['pg_host']}:{right['pg_port']}: permission denied for schema public; "
        "GRANT CREATE, USAGE ON SCHEMA public TO guest, who must own the tables"
    )


def test_no_right_to_create_the_schema(right: dict[str, Any], role: str, postgres_database: str) -> None:
    store = open_on(**{**right, "pg_user": role, "pg_password": role, "pg_schema": "wanted"})
    with pytest.raises(errors.StoreMisconfigured) as caught:
        store.migrations.bootstrap()
    store.close()
    assert str(caught.value) == (
        f"database '{postgres_database}' of PostgreSQL at {right['pg_host']}:{right['pg_port']} has no schema 'wanted' "
        "and user 'guest' may not make one; CREATE SCHEMA wanted AUTHORIZATION guest, or correct pg_schema"
    )


def test_a_store_that_was_never_bootstrapped(right: dict[str, Any], postgres_database: str) -> None:
    own = {**right, "pg_schema": "nowhere"}
    assert str(refusal(own)).startswith(f"schema 'nowhere' of database '{postgres_database}' of PostgreSQL at ")
    assert "needs bootstrapping: run 'migrations bootstrap'" in str(refusal(own))
    store = open_on(**own)
    with pytest.raises(errors.MigrationError, match="Run 'kong migrations bootstrap'"):
        store.connect()
    with pytest.raises(errors.SchemaMissing):
        store.dao("consumers").insert({"username": "a"})
    with pytest.raises(errors.SchemaMissing):
        store.last_event_id()
    assert not store.reachable()
    store.close()


def test_a_server_that_takes_no_writes(store: Store, postgres: Postgres, postgres_database: str) -> None:
    with postgres.connect(postgres_database) as connection:
        connection.execute(f"ALTER DATABASE {postgres_database} SET default_transaction_read_only = on")  # type: ignore[arg-type]
    try:
        store.close()
        with pytest.raises(errors.StoreUnavailable, match="takes no writes .it is a standby, or set read-only"):
            store.strategy.set_value("a", "b")
        with pytest.raises(errors.StoreUnavailable, match="takes no writes .it is a standby, or set read-only"):
            store.dao("consumers").insert({"username": "a"})
    finally:
        with postgres.connect(postgres_database) as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(f"ALTER DATABASE {postgres_database} RESET default_transaction_read_only")  # type: ignore[arg-type]
    assert store.strategy.set_value("a", "b") == "b"
    assert store.dao("consumers").insert({"username": "a"})


def test_a_standby_takes_no_writes_until_it_is_promoted(make_postgres: Callable[..., Postgres]) -> None:
    """A name that leads to a standby for a while: calls are told so, and the first one after the promotion works."""
    primary = make_postgres()
    name = primary.fresh_name()
    primary.create_database(name)
    first = open_on(**settings_for(primary, name))
    first.migrations.bootstrap()
    standby = make_postgres(primary=primary)
    store = open_on(**settings_for(standby, name))
    store.connect()
    with pytest.raises(errors.StoreUnavailable, match="takes no writes .it is a standby"):
        store.dao("consumers").insert({"username": "a"})
    first.close()
    primary.stop()
    with standby.connect() as connection:
        assert connection.execute("SELECT pg_promote()").fetchone() == (True,)
    assert store.dao("consumers").insert({"username": "a"})
    store.close()


# TLS


@pytest.fixture(scope="module")
def tls_server(make_postgres: Callable[..., Postgres]) -> Postgres:
    """A server that lets nobody in without TLS."""
    return make_postgres(tls="only")


@pytest.fixture
def tls_settings(tls_server: Postgres) -> dict[str, Any]:
    return {**settings_for(tls_server, "postgres"), "pg_ssl": True, "pg_ssl_verify": True}


def works(settings: dict[str, Any]) -> bool:
    """Whether the store's connection is encrypted."""
    store = open_on(**settings)
    try:
        query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        return bool(store.strategy._fetch(query, ())[0][0])  # type: ignore[attr-defined]
    finally:
        store.close()


def test_tls_is_needed(tls_settings: dict[str, Any]) -> None:
    text = line({**tls_settings, "pg_ssl": False}, NEVER)
    assert text == "it does not let user 'kong' in without TLS; set pg_ssl = on, or add a line to its pg_hba.conf"


def test_tls_without_verification(tls_settings: dict[str, Any]) -> None:
    assert works({**tls_settings, "pg_ssl_verify": False})


def test_a_known_authority(tls_settings: dict[str, Any], tls_server: Postgres) -> None:
    assert works({**tls_settings, "lua_ssl_trusted_certificate": [str(tls_server.certificates.ca)]})


def test_several_authorities(tls_settings: dict[str, Any], tls_server: Postgres, tmp_path: Path) -> None:
    text = tls_server.certificates.ca.read_text()
    for entries in (["system", str(tls_server.certificates.ca)], [text[text.index("-----BEGIN") :]]):
        assert works({**tls_settings, "prefix": str(tmp_path), "lua_ssl_trusted_certificate": entries})
    assert [path.name for path in tmp_path.iterdir()] == [".postgres-authorities.pem"]


def test_an_unknown_authority(tls_settings: dict[str, Any], make_postgres: Callable[..., Postgres]) -> None:
    other = make_postgres(tls=True)
    wanted = "its certificate is not from a trusted authority; name the authority's file in lua_ssl_trusted_certificate"
    assert line({**tls_settings, "lua_ssl_trusted_certificate": [str(other.certificates.ca)]}, NEVER) == wanted
    assert line(tls_settings, NEVER) == wanted


def test_an_authority_that_cannot_be_read(tls_settings: dict[str, Any], tmp_path: Path) -> None:
    missing = str(tmp_path / "none.pem")
    text = line({**tls_settings, "lua_ssl_trusted_certificate": [missing]}, NEVER)
    assert text == f"the file of trusted authorities {missing} cannot be read; correct lua_ssl_trusted_certificate"


def test_another_name_than_the_certificates(tls_settings: dict[str, Any], tls_server: Postgres) -> None:
    own = {
        **tls_settings,
        "pg_host": "ip6-localhost" if tls_server.address == "::1" else "localhost.localdomain",
        "lua_ssl_trusted_certificate": [str(tls_server.certificates.ca)],
    }
    error = refusal(own)
    assert "unknown to DNS" in str(error) or "its certificate is for " in str(error)


def test_the_right_user_is_used(tls_server: Postgres) -> None:
    assert (USER, PASSWORD) == ("kong", settings_for(tls_server, "postgres")["pg_password"])
