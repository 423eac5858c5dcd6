"""Certificates towards upstreams: which one is shown, who is trusted, how deep chains may be, and what changes live."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway import Gateway
from tests.integration.support import ask, ask_once
from tests.pki import Authority, Pair, server_context
from tests.upstream import Upstream
from tests.wire import wait_until

ROOT, OTHER = Authority("Root"), Authority("Other root")
MIDDLE = Authority("Middle", ROOT)
LOWER = Authority("Lower", MIDDLE)
NAMES = ("secure.test", "127.0.0.1")
OWN, ALICE, BOB = (ROOT.issue(name) for name in ("own", "alice", "bob"))
SECRETS = ROOT.issue("from the vault")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("identities")


@pytest.fixture(scope="module")
def gateway(folder: Path) -> Iterator[Gateway]:
    certificate, key = OWN.files(folder)
    (folder / "root.pem").write_text(ROOT.cert)
    (folder / "hosts").write_text("127.0.0.1 secure.test wrong.test\n")
    env = {
        "dns_hostsfile": str(folder / "hosts"),
        "lua_ssl_trusted_certificate": str(folder / "root.pem"),
        "client_ssl": "on",
        "client_ssl_cert": str(certificate),
        "client_ssl_cert_key": str(key),
    }
    with Gateway(start=False, env=env) as node:
        node.settings |= {"UPSTREAM_CERT": SECRETS.cert, "UPSTREAM_KEY": SECRETS.key}
        node.start()
        yield node


@pytest.fixture
def demanding(folder: Path) -> Iterator[Upstream]:
    """An upstream that demands a certificate of the root."""
    with Upstream(tls=server_context(folder, ROOT.issue("server", *NAMES), ROOT)) as server:
        yield server


@pytest.fixture
def serve(folder: Path) -> Iterator[Callable[[Pair], Upstream]]:
    """An upstream that shows a certificate."""
    made = []

    def make(shown: Pair) -> Upstream:
        made.append(Upstream(tls=server_context(folder, shown)))
        return made[-1]

    yield make
    for each in made:
        each.close()


def stored(gateway: Gateway, pair: Pair) -> dict[str, str]:
    return {"id": gateway.create("/certificates", cert=pair.cert, key=pair.key)["id"]}


def trusted(gateway: Gateway, authority: Authority) -> str:
    known = [each for each in gateway.admin("GET", "/ca_certificates").json()["data"] if each["cert"] == authority.cert]
    return str((known or [gateway.create("/ca_certificates", cert=authority.cert)])[0]["id"])


def seen(upstream: Upstream) -> list[str | None]:
    return [upstream.shown.get(request.connection) for request in upstream.requests]


def path(gateway: Gateway, url: str, /, **service: Any) -> str:
    service = {"retries": 0, **service}
    at = f"/{len(gateway.admin('GET', '/routes?size=1000').json()['data'])}-"
    gateway.route(url, service=service, paths=[at])
    return at


def test_whose_certificate_counts(gateway: Gateway, demanding: Upstream) -> None:
    """The service's, else the upstream's, else that of the settings."""
    gateway.create("/upstreams", name="balanced.test", client_certificate=stored(gateway, BOB))
    gateway.create("/upstreams/balanced.test/targets", target=f"127.0.0.1:{demanding.port}")
    alice = stored(gateway, ALICE)
    paths = (
        path(gateway, demanding.url),
        path(gateway, demanding.url, client_certificate=alice),
        path(gateway, "https://balanced.test"),
        path(gateway, "https://balanced.test", client_certificate=alice),
    )
    with gateway.client() as client:
        for _ in range(2):  # the kept connection of one is never used for another
            assert [ask(client, "GET", each).status for each in paths] == [200] * 4
    assert seen(demanding) == ["own", "alice", "bob", "alice"] * 2
    assert demanding.accepted <= 4


def test_a_change_counts_from_the_next_request_on(gateway: Gateway, demanding: Upstream) -> None:
    certificate = stored(gateway, ALICE)
    at = path(gateway, demanding.url, client_certificate=certificate)
    assert ask_once(gateway, "GET", at).status == 200
    gateway.change(f"/certificates/{certificate['id']}", cert=BOB.cert, key=BOB.key)
    assert ask_once(gateway, "GET", at).status == 200
    wait_until(lambda: demanding.open == 1, 30)
    service = gateway.admin("GET", "/services").json()["data"]
    mine = next(each for each in service if each["client_certificate"] == certificate)
    gateway.change(f"/services/{mine['id']}", client_certificate=None)
    assert ask_once(gateway, "GET", at).status == 200
    assert seen(demanding) == ["alice", "bob", "own"]
    gateway.delete(f"/certificates/{certificate['id']}")


def test_a_certificate_from_a_vault(gateway: Gateway, demanding: Upstream) -> None:
    made = gateway.create("/certificates", cert="{vault://env/upstream-cert}", key="{vault://env/upstream-key}")
    at = path(gateway, demanding.url, client_certificate={"id": made["id"]})
    assert ask_once(gateway, "GET", at).status == 200
    assert seen(demanding) == ["from the vault"]
    gateway.change(f"/certificates/{made['id']}", cert="{vault://env/nowhere}")
    reply = ask_once(gateway, "GET", at)
    assert reply.status == 502
    assert b"An invalid response was received from the upstream server" in reply.body
    request = f"request {reply.get('x-kong-request-id')}"
    wait_until(lambda: request in gateway.log(), 30)
    lines = [line for line in gateway.log().splitlines() if request in line]
    assert len(lines) == 1 and f"client certificate {made['id']} is not there or has no secret" in lines[0]
    assert len(demanding.requests) == 1, "nothing is sent without the certificate"


def test_an_upstream_that_does_not_accept_the_certificate(gateway: Gateway, demanding: Upstream) -> None:
    at = path(gateway, demanding.url, client_certificate=stored(gateway, OTHER.issue("stranger")))
    assert ask_once(gateway, "GET", at).status == 502
    assert ask_once(gateway, "POST", at, body=b"x").status == 502
    assert demanding.requests == []


EXPIRED = ROOT.issue("server", *NAMES, days=-1)


@pytest.mark.parametrize(
    ("shown", "host", "settings", "status"),
    [
        (ROOT.issue("server", *NAMES), "secure.test", {}, 200),
        (ROOT.issue("server", *NAMES), "127.0.0.1", {}, 200),
        (ROOT.issue("server", *NAMES), "wrong.test", {}, 502),
        (ROOT.issue("server", *NAMES), "secure.test", {"ca_certificates": [OTHER]}, 502),
        (ROOT.issue("server", *NAMES), "secure.test", {"ca_certificates": [OTHER, ROOT]}, 200),
        (OTHER.issue("server", *NAMES), "secure.test", {}, 502),
        (OTHER.issue("server", *NAMES), "secure.test", {"ca_certificates": [OTHER]}, 200),
        (OTHER.issue("server", *NAMES), "wrong.test", {"ca_certificates": [OTHER]}, 502),
        (OTHER.issue("server", *NAMES), "wrong.test", {"ca_certificates": [ROOT], "tls_verify": False}, 200),
        (EXPIRED, "secure.test", {}, 502),
        (EXPIRED, "secure.test", {"tls_verify": None}, 200),
        (MIDDLE.issue("server", *NAMES), "secure.test", {}, 200),
        (MIDDLE.issue("server", *NAMES), "secure.test", {"tls_verify_depth": 0}, 502),
        (ROOT.issue("server", *NAMES), "secure.test", {"tls_verify_depth": 0}, 200),
        (LOWER.issue("server", *NAMES), "secure.test", {}, 502),
        (LOWER.issue("server", *NAMES), "secure.test", {"tls_verify_depth": 2}, 200),
        (LOWER.issue("server", *NAMES), "secure.test", {"tls_verify_depth": 1, "tls_verify": False}, 200),
    ],
    ids=[
        "name", "address", "wrong name", "another authority",
        "one of two authorities", "untrusted", "its own authority", "its own authority, wrong name",
        "not verified", "expired", "expired, not verified by default", "one between",
        "one between, none allowed", "none between, none allowed", "two between", "two between, two allowed",
        "two between, not verified",
    ],
)  # fmt: skip
def test_whom_the_gateway_believes(
    gateway: Gateway,
    serve: Callable[[Pair], Upstream],
    shown: Pair,
    host: str,
    settings: dict[str, Any],
    status: int,
) -> None:
    upstream = serve(shown)
    service: dict[str, Any] = {"tls_verify": True, **settings}
    if "ca_certificates" in service:
        service["ca_certificates"] = [trusted(gateway, each) for each in service["ca_certificates"]]
    at = path(gateway, f"https://{host}:{upstream.port}", **service)
    assert ask_once(gateway, "GET", at).status == status
    assert len(upstream.requests) == (status == 200), "nothing is sent before the certificate is trusted"


def test_an_authority_that_changes_or_is_not_there(gateway: Gateway, serve: Callable[[Pair], Upstream]) -> None:
    unknown = "0f2d4a51-7a40-4f5b-8a0e-0d6f2b6b8f11"
    first, second = Authority("First"), Authority("Second")
    upstream = serve(first.issue("server", *NAMES))
    at = path(gateway, f"https://secure.test:{upstream.port}", tls_verify=True, ca_certificates=[unknown])
    assert ask_once(gateway, "GET", at).status == 502
    wait_until(lambda: f"CA certificate {unknown} does not exist" in gateway.log(), 30)
    assert gateway.admin("PUT", f"/ca_certificates/{unknown}", {"cert": first.cert}).status_code == 200
    assert ask_once(gateway, "GET", at).status == 200
    assert upstream.open == 1
    gateway.change(f"/ca_certificates/{unknown}", cert=second.cert)
    assert ask_once(gateway, "GET", at).status == 502, "not even on the connection that was kept"


@pytest.mark.parametrize("name", ["x" * 64 + ".test", ".secure.test"])
def test_a_host_that_tls_cannot_name(gateway: Gateway, serve: Callable[[Pair], Upstream], name: str) -> None:
    upstream = serve(ROOT.issue("server", *NAMES))
    at = f"/unnamed-{len(name)}"
    gateway.route(f"https://secure.test:{upstream.port}", service={"retries": 0}, paths=[at], preserve_host=True)
    assert ask_once(gateway, "GET", at, host=name).status in (400, 502)


def test_probes_show_the_certificate_of_the_upstream(gateway: Gateway, demanding: Upstream) -> None:
    def checked(name: str, **active: Any) -> None:
        active = {"type": "https", "https_sni": "secure.test", "http_path": "/ready", **active}
        active["unhealthy"] = {"interval": 0.1, "tcp_failures": 1}
        active["healthy"] = {"interval": 0.1, "successes": 1}
        gateway.create(
            "/upstreams", name=name, client_certificate=stored(gateway, BOB), healthchecks={"active": active}
        )
        gateway.create(f"/upstreams/{name}/targets", target=f"127.0.0.1:{demanding.port}")

    def health(name: str) -> str:
        return str(gateway.admin("GET", f"/upstreams/{name}/health").json()["data"][0]["health"])

    checked("probed.test")
    wait_until(lambda: len(demanding.requests) >= 3, 30)
    assert set(seen(demanding)) == {"bob"}
    assert health("probed.test") == "HEALTHY"
    checked("misnamed.test", https_sni="wrong.test")
    wait_until(lambda: health("misnamed.test") == "UNHEALTHY", 30)
    gateway.change("/upstreams/misnamed.test", healthchecks={"active": {"https_verify_certificate": False}})
    wait_until(lambda: health("misnamed.test") == "HEALTHY", 30)
    for name in ("probed.test", "misnamed.test"):
        gateway.delete(f"/upstreams/{name}")
