"""mtls-auth: who a client is said to be. Handshakes: tests/integration/test_client_certificates.py."""

from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from kong_gevent import errors
from kong_gevent.pdk.testing import InMemoryGateway
from tests.pki import Authority, Pair

ROOT, OTHER = Authority("Root"), Authority("Other root")
MIDDLE = Authority("Middle", ROOT)
MISSING, UNTRUSTED = "No required TLS certificate was sent", "TLS certificate failed verification"
Make = Callable[..., InMemoryGateway]


@pytest.fixture
def make(plugin: Callable[..., InMemoryGateway]) -> Make:
    """A gateway with the plugin, which trusts some authorities."""

    def made(*trusted: Authority, **config: Any) -> InMemoryGateway:
        gateway = plugin()
        ids = [gateway.insert("ca_certificates", cert=each.cert)["id"] for each in trusted or (ROOT,)]
        return gateway.use("mtls-auth", ca_certificates=ids, **config)

    return made


def told(run: Any, *beginnings: str) -> dict[str, str]:
    """What the upstream was told under these names."""
    return {name: value for name, value in run.upstream.headers.fields if name.startswith(beginnings)}


def refusal(run: Any) -> tuple[int, str]:
    assert run.upstreams == []
    return run.status, run.response.json()["message"]


def subject(*parts: tuple[Any, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in parts])


def test_the_consumer_is_told(make: Make) -> None:
    gateway = make()
    ada = gateway.consumer("ada", custom_id="007")
    gateway.shows = ROOT.issue("ada").cert
    run = gateway.get(
        "/", headers={"X-Consumer-Username": "eve", "X-Client-Cert-DN": "CN=eve", "X_Client_Cert_SAN": "x"}
    )
    assert run.status == 200
    assert told(run, "X-Co", "X-A", "X-Cr", "X-Cl", "X_") == {
        "X-Consumer-ID": ada["id"],
        "X-Consumer-Custom-ID": "007",
        "X-Consumer-Username": "ada",
        "X-Credential-Identifier": "ada",
    }


def test_who_is_nobody(make: Make) -> None:
    gateway = make()
    gateway.consumer("ada")
    assert refusal(gateway.get("/")) == (401, MISSING)
    gateway.shows = OTHER.issue("ada").cert
    assert refusal(gateway.get("/")) == (401, UNTRUSTED)
    gateway.shows = ROOT.issue("eve").cert
    assert refusal(gateway.get("/")) == (401, "Unauthorized")


NAMED = ROOT.issue("common", "dns.test", "10.1.2.3", "mail@a.test", "spiffe://a.test/x")


@pytest.mark.parametrize(
    ("shown", "consumer", "config", "found"),
    [
        (ROOT.issue("ada"), {"username": "ada"}, {}, True),
        (ROOT.issue("ada"), {"custom_id": "ada"}, {}, True),
        (ROOT.issue("ada"), {"username": "ada"}, {"consumer_by": ["custom_id"]}, False),
        (ROOT.issue("ada"), {"custom_id": "ada"}, {"consumer_by": ["custom_id"]}, True),
        (ROOT.issue("ada"), {"username": "ada"}, {"consumer_by": None}, False),
        (ROOT.issue("ada"), {"username": "Ada"}, {}, False),
        (NAMED, {"username": "dns.test"}, {}, True),
        (NAMED, {"username": "10.1.2.3"}, {}, True),
        (NAMED, {"username": "mail@a.test"}, {}, True),
        (NAMED, {"username": "spiffe://a.test/x"}, {}, True),
        (NAMED, {"username": "common"}, {}, False),
        (ROOT.issue("", subject=subject((NameOID.ORGANIZATION_NAME, "ada"))), {"username": "ada"}, {}, False),
        (ROOT.issue("ada\nX: y"), {"username": "ada"}, {}, False),
    ],
    ids=[
        "username", "custom_id", "not by username", "by custom_id", "by nothing", "another case", "DNS name", "address",
        "mail", "URI", "no common name beside others", "no name at all", "a name with a line break",
    ],
)  # fmt: skip
def test_names(make: Make, shown: Pair, consumer: dict[str, str], config: dict[str, Any], found: bool) -> None:
    gateway = make(**config)
    gateway.insert("consumers", **consumer)
    gateway.shows = shown.cert
    assert [gateway.get("/").status for _ in range(2)] == [200 if found else 401] * 2


def test_credentials_come_before_consumers_of_that_name(make: Make) -> None:
    gateway = make(ROOT, OTHER)
    by_name, any_authority, of_root, of_other = (gateway.consumer(name) for name in ("ada", "any", "root", "other"))
    authorities = {each["cert"]: each["id"] for each in gateway.store.dao("ca_certificates").each()}
    gateway.shows = MIDDLE.issue("ada").cert

    def credential(consumer: dict[str, Any], authority: Authority | None) -> str:
        reference = {"id": authorities[authority.cert]} if authority else None
        consumer = {"id": consumer["id"]}
        made = gateway.insert("mtls_auth_credentials", consumer=consumer, subject_name="ada", ca_certificate=reference)
        return str(made["id"])

    def who() -> str | None:
        return gateway.get("/").upstream.headers["X-Consumer-ID"]

    assert who() == by_name["id"]
    first = credential(any_authority, None)
    assert who() == any_authority["id"]
    credential(of_other, OTHER)
    assert who() == any_authority["id"]
    second = credential(of_root, ROOT)
    assert who() == of_root["id"]
    with pytest.raises(errors.UniqueViolation):
        credential(of_other, ROOT)
    with pytest.raises(errors.UniqueViolation):
        credential(of_other, None)
    gateway.delete("mtls_auth_credentials", second)
    assert who() == any_authority["id"]
    gateway.update("mtls_auth_credentials", first, subject_name="eve")
    assert who() == by_name["id"]


def test_the_first_name_with_a_credential_counts(make: Make) -> None:
    gateway = make()
    gateway.consumer("dns.test")
    mapped = gateway.consumer("mapped")
    gateway.insert("mtls_auth_credentials", consumer={"id": mapped["id"]}, subject_name="mail@a.test")
    gateway.shows = NAMED.cert
    assert gateway.get("/").upstream.headers["X-Consumer-Username"] == "mapped"


def test_credentials_in_the_admin_api(make: Make) -> None:
    gateway = make()
    gateway.consumer("ada")
    authority = next(iter(gateway.store.dao("ca_certificates").each()))
    form = {"subject_name": "a.test", "ca_certificate.id": authority["id"]}
    made = gateway.admin("POST", "/consumers/ada/mtls-auth", data=form)
    assert made.status_code == 201
    assert (made.json["subject_name"], made.json["ca_certificate"]) == ("a.test", {"id": authority["id"]})
    assert gateway.admin("GET", "/mtls-auths").json["data"] == [made.json]
    assert gateway.admin("POST", "/consumers/ada/mtls-auth", data=form).status_code == 409
    assert gateway.admin("POST", "/consumers/ada/mtls-auth", data={}).status_code == 400
    gateway.admin("DELETE", f"/consumers/ada/mtls-auth/{made.json['id']}")
    assert gateway.admin("GET", "/mtls-auths").json["data"] == []


def test_a_default_consumer(make: Make) -> None:
    gateway = make(default_consumer="everybody")
    gateway.shows = ROOT.issue("eve").cert
    assert refusal(gateway.get("/")) == (401, "Unauthorized")
    gateway.consumer("everybody")
    run = gateway.get("/")
    assert run.upstream.headers["X-Consumer-Username"] == "everybody"
    assert run.upstream.headers["X-Credential-Identifier"] == "CN=eve"
    gateway.shows = OTHER.issue("eve").cert
    assert refusal(gateway.get("/")) == (401, UNTRUSTED)


def test_a_certificate_is_enough(make: Make) -> None:
    gateway = make(skip_consumer_lookup=True)
    gateway.consumer("ada")
    name = subject((NameOID.ORGANIZATION_NAME, "Exa\r\nmple"), (NameOID.COMMON_NAME, "ada"))
    gateway.shows = ROOT.issue("ada", "a.test", "10.1.2.3", subject=name).cert
    run = gateway.get("/", headers={"X-Client-Cert-DN": "CN=eve", "X-Client-Cert-SAN": "DNS:eve"})
    assert told(run, "X-Cl", "X-Consumer") == {
        "X-Client-Cert-DN": "CN=ada,O=Exa\\0D\\0Ample",
        "X-Client-Cert-SAN": "DNS:a.test, IP Address:10.1.2.3",
    }
    gateway.shows = ROOT.issue("ada").cert
    assert told(gateway.get("/"), "X-Cl") == {"X-Client-Cert-DN": "CN=ada"}
    gateway.shows = OTHER.issue("ada").cert
    assert refusal(gateway.get("/")) == (401, UNTRUSTED)


@pytest.mark.parametrize(
    ("by", "allow", "status"),
    [("CN", "ada", 200), ("CN", "eve", 403), ("DN", "CN=ada,O=Example", 200), ("DN", "ada", 403)],
    ids=["common name", "another", "distinguished name", "not the common name"],
)
def test_groups_for_acl(make: Make, by: str, allow: str, status: int) -> None:
    gateway = make(skip_consumer_lookup=True, authenticated_group_by=by).use("acl", allow=[allow])
    name = subject((NameOID.ORGANIZATION_NAME, "Example"), (NameOID.COMMON_NAME, "ada"))
    gateway.shows = ROOT.issue("ada", subject=name).cert
    run = gateway.get("/")
    assert run.status == status
    if status == 200:
        assert run.upstream.headers["X-Authenticated-Groups"] == allow


def test_an_anonymous_consumer(make: Make) -> None:
    gateway = make(anonymous="anybody")
    assert gateway.get("/").status == 500
    gateway.consumer("anybody")
    for shown in (None, OTHER.issue("ada").cert, ROOT.issue("ada").cert):
        gateway.shows = shown
        run = gateway.get("/", headers={"X-Client-Cert-DN": "CN=ada"})
        assert told(run, "X-Consumer-U", "X-A", "X-Cl") == {
            "X-Consumer-Username": "anybody",
            "X-Anonymous-Consumer": "true",
        }


def test_several_plugins(make: Make) -> None:
    """All must succeed; with `anonymous` on all of them, one is enough."""
    gateway = make().use("key-auth")
    gateway.consumer("ada", "k")
    gateway.shows = ROOT.issue("ada").cert
    assert refusal(gateway.get("/"))[0] == 401
    assert gateway.get("/", headers={"apikey": "k"}).status == 200
    gateway.shows = None
    assert refusal(gateway.get("/", headers={"apikey": "k"})) == (401, MISSING)
    either = make(anonymous="anybody").use("key-auth", anonymous="anybody")
    either.consumer("anybody")
    either.consumer("ada", "k")
    assert either.get("/", headers={"apikey": "k"}).upstream.headers["X-Consumer-Username"] == "ada"
    either.shows = ROOT.issue("ada").cert
    assert either.get("/").upstream.headers["X-Consumer-Username"] == "ada"


def test_partial_chains(make: Make) -> None:
    shown = MIDDLE.issue("ada").cert
    for allowed in (False, True):
        gateway = make(MIDDLE, allow_partial_chain=allowed)
        gateway.consumer("ada")
        gateway.shows = shown
        assert gateway.get("/").status == (200 if allowed else 401)


def test_entities_that_change_count_from_the_next_request_on(make: Make) -> None:
    gateway = make()
    ada = gateway.consumer("ada")
    gateway.shows = ROOT.issue("ada").cert
    assert gateway.get("/").status == 200
    gateway.update("consumers", ada["id"], username="eve")
    assert gateway.get("/").status == 401
    gateway.consumer("ada")
    assert gateway.get("/").status == 200
    authority = next(iter(gateway.store.dao("ca_certificates").each()))
    gateway.update("ca_certificates", authority["id"], cert=OTHER.cert)
    assert refusal(gateway.get("/")) == (401, UNTRUSTED)
    gateway.shows = OTHER.issue("ada").cert
    assert gateway.get("/").status == 200


def test_an_authority_that_is_not_there_vouches_for_nobody(plugin: Callable[..., InMemoryGateway]) -> None:
    gateway = plugin("mtls-auth", ca_certificates=["0f2d4a51-7a40-4f5b-8a0e-0d6f2b6b8f11"], skip_consumer_lookup=True)
    gateway.shows = ROOT.issue("ada").cert
    assert refusal(gateway.get("/")) == (401, UNTRUSTED)


def test_a_verdict_ends_with_the_certificate(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = make(cache_ttl=1_000_000)
    gateway.consumer("ada")
    gateway.shows = ROOT.issue("ada", days=2).cert
    assert gateway.get("/").status == 200
    judged = []
    plugin: Any = gateway.plugins["mtls-auth"]
    judge = plugin._judge
    plugin._judge = lambda conf, certificate: (judged.append(certificate), judge(conf, certificate))[1]
    assert gateway.get("/").status == 200
    assert judged == []
    import kong_gevent.plugins.mtls_auth as module

    now = module.time()
    monkeypatch.setattr(module, "time", lambda: now + 3 * 86400)
    assert gateway.get("/").status == 200  # OpenSSL's clock has not moved
    assert len(judged) == 1


@pytest.mark.parametrize(
    "config",
    [{}, {"ca_certificates": ["x"]}, {"consumer_by": ["name"]}, {"authenticated_group_by": "OU"}],
    ids=["no authorities", "no id", "consumer_by", "authenticated_group_by"],
)
def test_settings_that_are_refused(plugin: Callable[..., InMemoryGateway], config: dict[str, Any]) -> None:
    usual = {"ca_certificates": ["0f2d4a51-7a40-4f5b-8a0e-0d6f2b6b8f11"]} if config else {}
    with pytest.raises(errors.SchemaViolation):
        plugin("mtls-auth", **{**usual, **config})
