"""ldap-auth: against a real LDAP server, and against servers that misbehave."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from kong_gevent.errors import SchemaViolation
from kong_gevent.pdk.testing import InMemoryGateway, Run
from kong_gevent.plugins.ldap_auth.client import Connection, LdapError, escape
from tests.servers.slapd import BASE, Slapd
from tests.wire import wait_until

Make = Callable[..., InMemoryGateway]
USERS = {"ada": "s3cret", "colon": "a:b:c", "Lovelace, Ada+x": "odd", "münchen": "straße"}


@pytest.fixture(scope="module")
def directory(make_slapd: Callable[..., Slapd]) -> Slapd:
    return make_slapd(USERS, tls=True)


@pytest.fixture
def settings(directory: Slapd) -> dict[str, Any]:
    return {
        "ldap_host": directory.address,
        "ldap_port": directory.port,
        "base_dn": BASE,
        "attribute": "uid",
        "timeout": 5000,
    }


def token(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def ask(made: InMemoryGateway, user: str, password: str, scheme: str = "ldap") -> Run:
    return made.get(headers={"Authorization": f"{scheme} {token(user, password)}"})


@pytest.mark.parametrize(("user", "password"), USERS.items())
def test_users_of_the_directory_are_let_in(plugin: Make, settings: dict[str, Any], user: str, password: str) -> None:
    run = ask(plugin("ldap-auth", **settings), user, password)
    assert run.status == 200
    if user.isascii():
        assert run.upstream.headers["X-Credential-Identifier"] == user
    assert "X-Consumer-ID" not in run.upstream.headers
    assert "X-Anonymous-Consumer" not in run.upstream.headers
    assert run.upstream.headers["Authorization"]
    assert run.log["authenticated_entity"]["id"].startswith("ldap_auth_cache:")
    assert password not in str(run.log)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": f"ldap {token('ada', 'wrong')}"},
        {"Authorization": f"ldap {token('nobody', 's3cret')}"},
        {"Authorization": f"ldap {token('ada', '')}"},
        {"Authorization": f"ldap {token('', 's3cret')}"},
        {"Authorization": f"basic {token('ada', 's3cret')}"},
        {"Authorization": "ldap !!!"},
        {"Authorization": "ldap"},
        {"Authorization": "ldap " + base64.b64encode(b"no colon").decode()},
        {"Authorization": "ldap " + base64.b64encode(b"\xff\xfe:x").decode()},
        {"Authorization": f"ldap {token('ada,ou=people', 's3cret')}"},
        {"Authorization": f"ldap {token('*', 's3cret')}"},
    ],
)
def test_all_others_are_refused(plugin: Make, settings: dict[str, Any], headers: dict[str, str]) -> None:
    run = plugin("ldap-auth", **settings).get(headers=headers)
    assert (run.status, run.upstreams) == (401, [])
    assert run.response.json()["message"] == "Unauthorized"
    assert run.response.headers["WWW-Authenticate"] == "LDAP"


@pytest.mark.parametrize(
    ("more", "shown"),
    [
        ({"realm": "people"}, 'LDAP realm="people"'),
        ({"header_type": "basic"}, "basic"),
        ({"header_type": "Basic", "realm": "r"}, 'Basic realm="r"'),
    ],
)
def test_the_challenge(plugin: Make, settings: dict[str, Any], more: dict[str, str], shown: str) -> None:
    made = plugin("ldap-auth", **settings, **more)
    assert made.get().response.headers["WWW-Authenticate"] == shown


def test_the_scheme_can_be_chosen_and_ignores_case(plugin: Make, settings: dict[str, Any]) -> None:
    made = plugin("ldap-auth", **settings, header_type="basic")
    assert ask(made, "ada", "s3cret", "BASIC").status == 200
    assert ask(made, "ada", "s3cret", "ldap").status == 401


def test_proxy_authorization_comes_first(plugin: Make, settings: dict[str, Any]) -> None:
    made = plugin("ldap-auth", **settings)
    good, bad = f"ldap {token('ada', 's3cret')}", f"ldap {token('ada', 'wrong')}"
    assert made.get(headers={"Proxy-Authorization": good, "Authorization": bad}).status == 200
    assert made.get(headers={"Proxy-Authorization": bad, "Authorization": good}).status == 401
    assert made.get(headers={"Proxy-Authorization": "other x", "Authorization": good}).status == 200


def test_credentials_can_be_hidden(plugin: Make, settings: dict[str, Any]) -> None:
    run = ask(plugin("ldap-auth", **settings, hide_credentials=True), "ada", "s3cret")
    assert "Authorization" not in run.upstream.headers
    assert "Proxy-Authorization" not in run.upstream.headers


def test_anonymous_goes_on_without_a_name(plugin: Make, settings: dict[str, Any]) -> None:
    made = plugin()
    made.consumer("guest")
    made.use("ldap-auth", **settings, anonymous="guest")
    run = ask(made, "ada", "wrong")
    assert run.status == 200
    assert run.upstream.headers["X-Anonymous-Consumer"] == "true"
    assert "X-Credential-Identifier" not in run.upstream.headers
    assert "X-Anonymous-Consumer" not in ask(made, "ada", "s3cret").upstream.headers


def test_credentials_are_hidden_from_the_upstream_only_when_they_are_good(
    plugin: Make, settings: dict[str, Any]
) -> None:
    made = plugin()
    made.consumer("guest")
    made.use("ldap-auth", **settings, anonymous="guest", hide_credentials=True)
    given = {"Authorization": f"ldap {token('ada', 'wrong')}", "Proxy-Authorization": "other x"}
    assert made.get(headers=given).upstream.headers["Authorization"] == given["Authorization"]
    both = {**given, "Authorization": f"ldap {token('ada', 's3cret')}"}
    assert "Authorization" not in str(made.get(headers=both).upstream.headers)


def test_nobody_says_themselves_who_they_are(plugin: Make, settings: dict[str, Any]) -> None:
    forged = {
        "X-Consumer-ID": "x",
        "X_Consumer_Username": "x",
        "X-Credential-Identifier": "x",
        "X-Consumer-Custom-ID": "x",
    }
    made = plugin("ldap-auth", **settings)
    run = made.get(headers={**forged, "Authorization": f" ldap {token('ada', 's3cret')}"})
    assert (run.status, run.upstream.headers["X-Credential-Identifier"]) == (200, "ada")
    assert "x" not in (run.upstream.headers.get(name) for name in forged)


def test_guests_are_those_who_were_refused_and_not_those_who_cannot_be_asked_about(
    plugin: Make, settings: dict[str, Any], directory: Slapd
) -> None:
    made = plugin()
    made.consumer("guest")
    made.use("ldap-auth", **{**settings, "ldap_port": 1}, anonymous="guest")
    assert (ask(made, "ada", "s3cret").status, made.get().status) == (500, 200)


def test_a_server_without_tls_is_a_refusal(plugin: Make, answers: Answers, caplog: pytest.LogCaptureFixture) -> None:
    made = plugin("ldap-auth", **answers.settings, ldaps=True)
    assert ask(made, "ada", "s3cret").status == 401
    assert f"ldap-auth: 127.0.0.1:{answers.settings['ldap_port']}: " in caplog.text


@pytest.mark.parametrize("way", ["ldaps", "start_tls"])
def test_tls(plugin: Make, settings: dict[str, Any], directory: Slapd, way: str) -> None:
    port = directory.tls_port if way == "ldaps" else directory.port
    made = plugin("ldap-auth", **{**settings, "ldap_port": port, way: True})
    assert ask(made, "ada", "s3cret").status == 200
    assert ask(made, "ada", "wrong").status == 401


@pytest.mark.parametrize("way", ["ldaps", "start_tls"])
def test_a_certificate_that_does_not_verify_is_a_refusal(
    plugin: Make, settings: dict[str, Any], directory: Slapd, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    port = directory.tls_port if way == "ldaps" else directory.port
    made = plugin("ldap-auth", **{**settings, "ldap_port": port, way: True}, verify_ldap_host=True)
    assert ask(made, "ada", "s3cret").status == 401
    assert "CERTIFICATE_VERIFY_FAILED" in caplog.text


def test_verified_tls(directory: Slapd, settings: dict[str, Any]) -> None:
    made = InMemoryGateway(lua_ssl_trusted_certificate=str(directory.certificates.ca))
    made.use("ldap-auth", **{**settings, "ldap_port": directory.tls_port}, ldaps=True, verify_ldap_host=True)
    try:
        assert ask(made, "ada", "s3cret").status == 200
    finally:
        made.close()


class TestVerdicts:
    def test_they_are_remembered_for_a_while(self, make_slapd: Callable[..., Slapd], plugin: Make) -> None:
        directory = make_slapd({"ada": "s3cret"})
        where = {"ldap_host": directory.address, "ldap_port": directory.port, "base_dn": BASE, "attribute": "uid"}
        made = plugin("ldap-auth", **where, timeout=5000)
        assert ask(made, "ada", "s3cret").status == 200
        assert ask(made, "ada", "wrong").status == 401
        directory.kill()
        assert ask(made, "ada", "s3cret").status == 200
        assert ask(made, "ada", "wrong").status == 401
        assert ask(made, "other", "s3cret").status == 500

    def test_their_key_is_kongs(self, plugin: Make) -> None:
        made = plugin()
        made.use(
            "ldap-auth",
            ldap_host="LDAP.corp.example",
            base_dn="ou=people,dc=corp,dc=example",
            attribute="uid",
            cache_ttl=60,
        )
        key = "ldap_auth_cache:31482e1873773455ea22bc157941e7e68dca8035d8658d1828a026d7914514ed"
        assert made.kit.cached(key, lambda: True, 60) is True
        assert ask(made, "ada", "s3cret").status == 200

    def test_refusals_are_kept_among_the_misses(self, plugin: Make, settings: dict[str, Any]) -> None:
        made = plugin("ldap-auth", **settings)
        kept: list[Any] = []
        cached = made.kit.cached
        made.kit.cached = lambda *given: kept.append(cached(*given)) or kept[-1]  # type: ignore[method-assign,func-returns-value]
        assert [ask(made, "ada", password).status for password in ("s3cret", "wrong")] == [200, 401]
        assert kept == [True, None]

    def test_they_are_not_remembered_without_a_time(
        self, make_slapd: Callable[..., Slapd], settings: dict[str, Any], plugin: Make
    ) -> None:
        directory = make_slapd({"ada": "s3cret"})
        made = plugin("ldap-auth", **{**settings, "ldap_port": directory.port}, cache_ttl=0)
        assert ask(made, "ada", "s3cret").status == 200
        directory.kill()
        assert ask(made, "ada", "s3cret").status == 500

    def test_they_are_asked_for_again_when_their_time_is_over(self, plugin: Make, answers: Answers) -> None:
        made = plugin("ldap-auth", **answers.settings, cache_ttl=0.001)
        assert ask(made, "ada", "s3cret").status == 200
        wait_until(lambda: ask(made, "ada", "s3cret").status == 200 and answers.asked > 1)

    @pytest.mark.parametrize("other", [{"attribute": "cn"}, {"base_dn": "dc=other"}, {"cache_ttl": 61}])
    def test_they_are_for_one_configuration(self, plugin: Make, answers: Answers, other: dict[str, Any]) -> None:
        made = plugin("ldap-auth", on="route", **answers.settings)
        assert ask(made, "ada", "s3cret").status == 200
        route = made.insert("routes", paths=["/other"], service={"id": made.service["id"]})
        made.use("ldap-auth", on={"route": route}, **{**answers.settings, **other})
        assert made.get("/other", headers={"Authorization": f"ldap {token('ada', 's3cret')}"}).status == 200
        assert answers.asked == 2


class Answers:
    """A server that accepts every bind and hangs up on TLS; counts connections and binds."""

    ACCEPTED = bytes.fromhex("61070a010004000400")

    def __init__(self) -> None:
        self.asked = 0
        self.connections: list[socket.socket] = []
        self.talks: list[threading.Thread] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.settings = {
            "ldap_host": "127.0.0.1",
            "ldap_port": self.listener.getsockname()[1],
            "base_dn": BASE,
            "attribute": "uid",
            "timeout": 5000,
        }
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            self.talks.append(threading.Thread(target=self._talk, args=(connection,), daemon=True))
            self.talks[-1].start()

    def _talk(self, connection: socket.socket) -> None:
        try:
            while (message := connection.recv(1000)) and message[0] != 0x16:  # 0x16: a TLS handshake
                if message[5] == 0x60:  # a bind, and no farewell
                    self.asked += 1
                    content = message[2:5] + self.ACCEPTED
                    connection.sendall(bytes((0x30, len(content))) + content)
        except OSError:
            pass
        finally:
            connection.close()

    def close(self) -> None:
        """Hang up, and wait for the talks to end."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for talk in self.talks:
            talk.join()


@pytest.fixture
def answers() -> Iterator[Answers]:
    server = Answers()
    yield server
    server.close()


class TestConnections:
    def test_one_serves_one_bind_after_another(self, plugin: Make, answers: Answers) -> None:
        made = plugin("ldap-auth", **answers.settings, cache_ttl=0)
        assert [ask(made, "ada", "s3cret").status for _ in range(3)] == [200] * 3
        assert (answers.asked, len(answers.connections)) == (3, 1)

    def test_one_that_ended_is_made_anew(self, plugin: Make, answers: Answers) -> None:
        made = plugin("ldap-auth", **answers.settings, cache_ttl=0)
        assert ask(made, "ada", "s3cret").status == 200
        answers.connections[0].shutdown(socket.SHUT_RDWR)
        assert ask(made, "ada", "s3cret").status == 200
        assert len(answers.connections) == 2

    def test_none_is_kept_without_keepalive(self, plugin: Make, answers: Answers) -> None:
        made = plugin("ldap-auth", **answers.settings, cache_ttl=0, keepalive=0)
        assert [ask(made, "ada", "s3cret").status for _ in range(2)] == [200] * 2
        assert len(answers.connections) == 2


class Liar:
    """A server that says what it is told to."""

    def __init__(self, answer: bytes | None) -> None:
        self.answer = answer
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(1000)
                if self.answer is None:
                    threading.Event().wait(2)
                else:
                    connection.sendall(self.answer)


@pytest.fixture
def liar() -> Iterator[Callable[[bytes | None], Liar]]:
    made: list[Liar] = []

    def make(answer: bytes | None) -> Liar:
        made.append(Liar(answer))
        return made[-1]

    yield make
    for each in made:
        each.listener.shutdown(socket.SHUT_RDWR)
        each.listener.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x30\x84\xff\xff\xff\xff",
        b"\x30\x80",
        b"\x30\x0c\x02\x01\x02\x61\x07\x0a\x01\x00\x04\x00\x04\x00",  # an answer to another question
        b"\x30\x0c\x02\x01\x01\x65\x07\x0a\x01\x00\x04\x00\x04\x00",  # another kind of answer
        b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x33\x04\x00\x04\x00",  # busy
        b"\x30\x03\x02\x01\x01",
        b"\x30\x00",
        None,
    ],
)
def test_a_server_that_cannot_be_understood_lets_nobody_in(
    plugin: Make, liar: Callable[[bytes | None], Liar], answer: bytes | None
) -> None:
    server = liar(answer)
    made = plugin("ldap-auth", ldap_host="127.0.0.1", ldap_port=server.port, base_dn=BASE, attribute="uid", timeout=300)
    run = ask(made, "ada", "s3cret")
    assert (run.status, run.upstreams) == (500, [])


@pytest.mark.parametrize("anonymous", [None, "guest"])
def test_no_server(plugin: Make, anonymous: str | None) -> None:
    made = plugin("ldap-auth", ldap_host="127.0.0.1", ldap_port=1, base_dn=BASE, attribute="uid", anonymous=anonymous)
    made.consumer("guest")
    for _ in range(2):  # that it is away is not remembered
        run = ask(made, "ada", "s3cret")
        assert (run.status, run.upstreams) == (500, [])


def test_the_connection_says_what_failed() -> None:
    with pytest.raises(LdapError, match="127.0.0.1:1: "):
        Connection("127.0.0.1", 1, 1.0, None, False)


@pytest.mark.parametrize(
    ("value", "escaped"),
    [
        ("ada", "ada"),
        ("a,b", "a\\,b"),
        ('a+b"c\\d<e>f;g=h', 'a\\+b\\"c\\\\d\\<e\\>f\\;g\\=h'),
        ("#a", "\\#a"),
        (" a ", "\\ a\\ "),
        (" ", "\\ "),
        ("a\0b", "a\\00b"),
        ("", ""),
    ],
)
def test_names_are_escaped(value: str, escaped: str) -> None:
    assert escape(value) == escaped


@pytest.mark.parametrize(
    ("config", "fields"),
    [
        ({}, {"attribute", "base_dn", "ldap_host"}),
        ({"ldap_host": "a b"}, {"attribute", "base_dn", "ldap_host"}),
        ({"ldap_host": "a", "base_dn": "b", "attribute": "c", "ldap_port": 70000}, {"ldap_port"}),
        (
            {"ldap_host": "a", "base_dn": "b", "attribute": "c", "ldaps": True, "start_tls": True},
            {"start_tls", "@entity"},
        ),
    ],
)
def test_bad_settings_are_refused(plugin: Make, config: dict[str, Any], fields: set[str]) -> None:
    with pytest.raises(SchemaViolation) as caught:
        plugin("ldap-auth", **config)
    assert set(caught.value.fields["config"]) <= fields
    assert set(caught.value.fields["config"]) & fields
