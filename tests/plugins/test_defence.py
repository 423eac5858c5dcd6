"""What holds for all plugins: none lets a request pass because of its own failure; and what clients can learn."""

from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest

from kong_gevent.pdk import Plugin
from kong_gevent.pdk.auth import AuthenticationPlugin, Known
from kong_gevent.pdk.loader import load_plugins
from kong_gevent.pdk.testing import InMemoryGateway
from kong_gevent.plugins import basic_auth

Make = Callable[..., InMemoryGateway]
PLUGINS: dict[str, type[Plugin]] = load_plugins(["bundled"])
LEAST: dict[str, dict[str, Any]] = {
    "acl": {"allow": ["a"]},
    "ip-restriction": {"allow": ["127.0.0.1"]},
    "ldap-auth": {"ldap_host": "127.0.0.1", "base_dn": "dc=a", "attribute": "uid"},
    "mtls-auth": {"ca_certificates": ["3f2a1c80-0000-4000-8000-000000000001"]},
    "oauth2": {"enable_client_credentials": True},
    "proxy-cache": {"strategy": "memory"},
    "rate-limiting": {"year": 5},
    "redirect": {"location": "http://a"},
    "response-ratelimiting": {"limits": {"a": {"year": 5}}},
    "standard-webhooks": {"secret_v1": "s"},
}
"""What has to be set, for plugins that are no use without."""
JUDGING = [name for name, plugin in PLUGINS.items() if hasattr(plugin, "access")]
AUTHENTICATING = [name for name in JUDGING if issubclass(PLUGINS[name], AuthenticationPlugin)]


def fail(*arguments: Any) -> Any:
    raise RuntimeError("on purpose")


def test_these_are_the_plugins_that_judge() -> None:
    assert set(LEAST) <= set(JUDGING)
    assert {"basic-auth", "key-auth", "jwt", "hmac-auth", "ldap-auth", "mtls-auth", "oauth2"} == set(AUTHENTICATING)


@pytest.mark.parametrize("name", JUDGING)
def test_one_that_fails_lets_nothing_pass(name: str, plugin: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PLUGINS[name], "access", fail)
    run = plugin(name, **LEAST.get(name, {})).get()
    assert (run.status, run.upstreams) == (500, [])
    assert run.response.json()["message"] == "An unexpected error occurred"
    assert "purpose" not in run.response.text


@pytest.mark.parametrize("name", AUTHENTICATING)
def test_a_failure_makes_nobody_a_guest(name: str, plugin: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PLUGINS[name], "authenticate", fail)
    made = plugin(name, anonymous="guest", **LEAST.get(name, {}))
    made.consumer("guest")
    run = made.get()
    assert (run.status, run.upstreams) == (500, [])


@pytest.mark.parametrize("name", JUDGING)
def test_one_that_cannot_be_configured_lets_nothing_pass(
    name: str, plugin: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PLUGINS[name], "configure", fail)
    run = plugin(name, **LEAST.get(name, {})).get()
    assert (run.status, run.upstreams) == (500, [])


@pytest.mark.parametrize("name", ["ada", "nobody"])
def test_names_that_nobody_has_cost_the_same_as_wrong_passwords(
    name: str, plugin: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plugin("basic-auth")
    made.consumer("ada")
    made.insert("basicauth_credentials", username="ada", password="s", consumer={"username": "ada"})
    hashed: list[bytes] = []
    compared: list[int] = []
    real_hash, real_compare = basic_auth.hashed, basic_auth.compare_digest

    def counted_hash(password: bytes, consumer_id: str) -> str:
        hashed.append(password)
        return real_hash(password, consumer_id)

    def counted_compare(one: bytes, other: bytes) -> bool:
        compared.append(len(one))
        return real_compare(one, other)

    monkeypatch.setattr(basic_auth, "hashed", counted_hash)
    monkeypatch.setattr(basic_auth, "compare_digest", counted_compare)
    value = "Basic " + b64encode(f"{name}:wrong".encode()).decode()
    assert made.get(headers={"Authorization": value}).response.json()["message"] == "Unauthorized"
    assert (hashed, compared) == ([b"wrong"], [40])


def test_what_is_known_of_clients_is_bounded_and_forgotten_with_any_change(plugin: Make) -> None:
    made = plugin()
    known = Known(made.kit, 10)
    for number in range(25):
        known.keep(number, str(number), known.version)
    assert sum(known.get(number) is not None for number in range(25)) <= 10
    for number in range(25):
        known.keep(number, str(number), known.version, octets=3 << 10)
    assert sum(known.get(number) is not None for number in range(25)) <= 2
    version = known.version
    made.consumer("ada")
    assert known.get(24) is None
    known.keep("late", "stale", version)
    assert known.get("late") is None, "it was found out before the change"
