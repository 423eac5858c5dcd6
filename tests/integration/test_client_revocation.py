"""mtls-auth and revocation lists: who is refused because of them, and what happens while they cannot be had."""

import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography import x509

from tests.gateway import LOOPBACK, free_ports
from tests.integration.test_client_certificates import ROOT, UNTRUSTED, VERSIONS, Node, gateway, started, upstream
from tests.pki import Authority, Pair
from tests.upstream import Request, Upstream, answer
from tests.wire import wait_until

__all__ = ["gateway", "upstream"]
MODES = ("SKIP", "IGNORE_CA_ERROR", "STRICT")
served: dict[str, bytes] = {}
"""Lists by their URL's path."""


def _serve(request: Request) -> bytes:
    found = served.get("/" + request.target.rpartition("/")[2])
    return answer(404) if found is None else answer(200, found)


@pytest.fixture(scope="module")
def lists() -> Iterator[Upstream]:
    with Upstream(_serve) as server:
        yield server


def naming(*urls: str) -> x509.CRLDistributionPoints:
    names = [x509.UniformResourceIdentifier(url) for url in urls]
    return x509.CRLDistributionPoints([x509.DistributionPoint([name], None, None, None) for name in names])


def status(node: Node, shown: Pair, name: str, at: str, version: ssl.TLSVersion = VERSIONS[-1]) -> int:
    with node.tls(shown, name, version=version) as client:
        reply = client.get(at)
        assert reply.status == 200 or UNTRUSTED in reply.body
        return reply.status


@pytest.fixture(scope="module")
def modes(gateway: Node, upstream: Upstream) -> dict[str, str]:
    """A path for each mode, at a server name that is called like it."""
    return {
        mode: gateway.demand(upstream, f"{_host(mode)}.test", revocation_check_mode=mode, skip_consumer_lookup=True)
        for mode in MODES
    }


def _host(mode: str) -> str:
    return mode.lower().replace("_", "-")


STRANGER = Authority("Root")
"""Called like the root, but somebody else."""
OTHER = Authority("Other root")
CASES = {
    "not listed": ((), [200, 200, 200]),
    "listed": (("listed",), [200, 401, 401]),
    "not there": (None, [200, 200, 401]),
    "outdated": (("outdated",), [200, 200, 401]),
    "signed by somebody else": (("forged",), [200, 200, 401]),
    "of another authority": (("other",), [200, 200, 401]),
    "no list": (("garbage",), [200, 200, 401]),
}


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
@pytest.mark.parametrize("case", CASES)
def test_lists(gateway: Node, lists: Upstream, modes: dict[str, str], case: str, version: ssl.TLSVersion) -> None:
    what, expected = CASES[case]
    path = f"/{case.replace(' ', '-')}{version}.crl"
    shown = ROOT.issue("ada", extensions=[naming(f"{lists.url}{path}")])
    contents = {
        "listed": ROOT.revoke(shown),
        "outdated": ROOT.revoke(hours=-1),
        "forged": ROOT.revoke(key=STRANGER.key),
        "other": OTHER.revoke(),
        "garbage": b"<html>",
    }
    if what is not None:
        served[path] = contents[what[0]] if what else ROOT.revoke(ROOT.issue("eve"))
    assert [status(gateway, shown, f"{_host(mode)}.test", modes[mode], version) for mode in MODES] == expected


def test_certificates_without_a_list(gateway: Node, modes: dict[str, str]) -> None:
    (nobody,) = free_ports(1)
    for extensions in ([], [naming("ldap://a.test/x")], [naming(f"http://{LOOPBACK}:{nobody}/x")]):
        shown = ROOT.issue("ada", extensions=extensions)
        found = [status(gateway, shown, f"{_host(mode)}.test", modes[mode]) for mode in MODES]
        assert found == [200, 200, 401]


def test_the_first_list_that_can_be_had_counts(gateway: Node, lists: Upstream, modes: dict[str, str]) -> None:
    served["/second.crl"] = ROOT.revoke()
    shown = ROOT.issue("ada", extensions=[naming(f"{lists.url}/gone.crl", f"{lists.url}/second.crl")])
    assert status(gateway, shown, "strict.test", modes["STRICT"]) == 200


def test_an_authority_between_that_has_been_revoked(gateway: Node, lists: Upstream, modes: dict[str, str]) -> None:
    served["/middle.crl"], served["/leaf.crl"] = ROOT.revoke(), b""
    point = naming(f"{lists.url}/middle.crl")
    middle = Authority("Middle", ROOT, extensions=[point])
    served["/leaf.crl"] = middle.revoke()
    shown = middle.issue("ada", extensions=[naming(f"{lists.url}/leaf.crl")])
    assert status(gateway, shown, "strict.test", modes["STRICT"]) == 200
    revoked = Authority("Revoked", ROOT, extensions=[naming(f"{lists.url}/revoked.crl")])
    served["/revoked.crl"] = ROOT.revoke(Pair(revoked.cert, ""))
    shown = revoked.issue("ada")
    assert status(gateway, shown, "ignore-ca-error.test", modes["IGNORE_CA_ERROR"]) == 401


def test_a_list_that_changes_or_fails_later(gateway: Node, lists: Upstream, upstream: Upstream) -> None:
    """It is fetched again in the background; while that fails, the last one counts."""
    options = {"revocation_check_mode": "STRICT", "cert_cache_ttl": 50, "skip_consumer_lookup": True}
    at = gateway.demand(upstream, "later.test", **options)
    shown = ROOT.issue("ada", extensions=[naming(f"{lists.url}/later.crl")])
    served["/later.crl"] = ROOT.revoke()

    def asked() -> int:
        return sum(request.target == "/later.crl" for request in lists.requests)

    def refused() -> bool:
        return status(gateway, shown, "later.test", at) == 401

    assert not refused()
    wait_until(lambda: not refused() and asked() > 2, 30)
    served["/later.crl"] = ROOT.revoke(shown)
    wait_until(refused, 30)
    del served["/later.crl"]
    before = asked()
    wait_until(lambda: refused() and asked() > before, 30)
    wait_until(refused, 30)


@pytest.fixture(scope="module", params=["tickets", "ids"])
def resuming(request: pytest.FixtureRequest, gateway: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node that resumes sessions by tickets, and one that does so by their identifiers."""
    if request.param == "tickets":
        yield gateway
        return
    with started(tmp_path_factory.mktemp("clients"), ssl_session_tickets="off") as node:
        yield node


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
def test_a_revoked_certificate_comes_in_by_no_session(
    resuming: Node, lists: Upstream, upstream: Upstream, version: ssl.TLSVersion
) -> None:
    """Neither by one of the name, nor by one of another name, nor by one that is older than the question."""
    name, crl = f"gone{version}.test", f"/gone{version}-{resuming.tls_port}.crl"
    shown = ROOT.issue("ada", extensions=[naming(f"{lists.url}{crl}")])
    served[crl] = ROOT.revoke()
    sessions: list[Any] = []

    def come(client_name: str, at: str, expected: int) -> None:
        """A client with this certificate comes, and keeps its session."""
        with resuming.tls(shown, client_name, version=version) as client:
            assert client.get(at).status == expected
            sessions.append((client.sock.session, client.context))

    def resume(client_name: str, at: str, session: Any, context: ssl.SSLContext) -> tuple[bool, int]:
        """Whether a session is resumed, and the status of an answer."""
        with resuming.tls(None, client_name, version=version, session=session, context=context) as client:
            return client.sock.session_reused, client.get(at).status

    come("elsewhere.test", "/", 404)
    come(name, "/", 404)
    options = {"revocation_check_mode": "STRICT", "cert_cache_ttl": 50, "skip_consumer_lookup": True}
    at = resuming.demand(upstream, name, **options)
    come(name, at, 200)
    with resuming.tls(shown, name, version=version) as kept:
        assert kept.get(at).status == 200
        served[crl] = ROOT.revoke(shown)
        wait_until(lambda: kept.get(at).status == 401, 30)
    by_ids = "KONG_SSL_SESSION_TICKETS" in resuming.settings
    assert resume("elsewhere.test", "/", *sessions[0]) == (not by_ids or version is VERSIONS[0], 404), (
        "it is a good one"
    )
    for session in sessions:
        assert resume(name, at, *session) == (False, 401)


def test_a_proxy(gateway: Node, lists: Upstream, upstream: Upstream) -> None:
    proxy = {"http_proxy_host": LOOPBACK, "http_proxy_port": lists.port}
    at = gateway.demand(upstream, "proxied.test", revocation_check_mode="STRICT", skip_consumer_lookup=True, **proxy)
    served["/proxied.crl"] = ROOT.revoke()
    shown = ROOT.issue("ada", extensions=[naming("http://nowhere.test/proxied.crl")])
    assert status(gateway, shown, "proxied.test", at) == 200
    assert lists.requests[-1].target == "http://nowhere.test/proxied.crl"


def test_a_server_that_never_answers(gateway: Node, upstream: Upstream) -> None:
    import socket

    with socket.create_server((LOOPBACK, 0)) as silent:
        url = f"http://{LOOPBACK}:{silent.getsockname()[1]}/x"
        options = {"http_timeout": 500, "skip_consumer_lookup": True}
        strict = gateway.demand(upstream, "silent.test", revocation_check_mode="STRICT", **options)
        tolerant = gateway.demand(upstream, "silent-too.test", **options)
        shown = ROOT.issue("ada", extensions=[naming(url)])
        assert status(gateway, shown, "silent.test", strict) == 401
        assert status(gateway, shown, "silent-too.test", tolerant) == 200
        wait_until(lambda: f"revocation list {url} cannot be had" in gateway.log(), 30)
