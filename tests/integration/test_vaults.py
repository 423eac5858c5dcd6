"""Secrets by reference: stored and shown as references, used as secrets, never passed over in silence."""

import json
from collections.abc import Iterator

import pytest
import requests

from tests.gateway import Gateway
from tests.integration.support import cli
from tests.upstream import Upstream
from tests.wire import wait_until

REFERENCE = "{vault://env/log-address}"


@pytest.fixture(scope="module")
def node(upstream: Upstream) -> Iterator[Gateway]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOG_ADDRESS", upstream.url + "/log-of-env")
        patch.setenv("APP_LOG", json.dumps({"address": upstream.url + "/log-of-app"}))
        with Gateway(workers=2) as gateway:
            gateway.route(upstream.url)
            yield gateway


def logged(upstream: Upstream, path: str) -> bool:
    return any(request.target.startswith(path) for request in upstream.requests)


def statuses(node: Gateway) -> set[int]:
    return {requests.get(node.proxy_url, headers={"Connection": "close"}).status_code for _ in range(12)}


def test_a_reference_is_shown_as_such_and_used_as_a_secret(node: Gateway, upstream: Upstream) -> None:
    plugin = node.create("/plugins", name="http-log", config={"http_endpoint": REFERENCE})
    assert plugin["config"]["http_endpoint"] == REFERENCE
    assert node.admin("GET", f"/plugins/{plugin['id']}").json()["config"]["http_endpoint"] == REFERENCE
    assert statuses(node) == {200}
    wait_until(lambda: logged(upstream, "/log-of-env"))
    assert "log-of-env" not in node.admin("GET", "/config").text
    node.delete(f"/plugins/{plugin['id']}")


def test_a_secret_that_is_missing_is_an_error_until_its_vault_is_there(node: Gateway, upstream: Upstream) -> None:
    reference = "{vault://app/log/address}"
    plugin = node.create("/plugins", name="http-log", config={"http_endpoint": reference})
    assert statuses(node) == {500}
    wait_until(lambda: f"'{reference}' cannot be resolved: there is no vault 'app'" in node.log())
    node.create("/vaults", prefix="app", name="env", config={"prefix": "APP_"})
    assert statuses(node) == {200}
    wait_until(lambda: logged(upstream, "/log-of-app"))
    node.change("/vaults/app", config={"prefix": "OTHER_"})
    assert statuses(node) == {500}
    wait_until(lambda: "the environment variable OTHER_LOG is not set" in node.log())
    node.delete("/vaults/app")
    assert statuses(node) == {500}
    node.delete(f"/plugins/{plugin['id']}")
    assert statuses(node) == {200}


def test_vault_get(node: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_TOKEN", '{"a":"secret"}')
    assert cli(node, "vault", "get", "env/app-token/a").stdout == "secret\n"
    node.create("/vaults", prefix="mine", name="env", config={"prefix": "app_"})
    assert cli(node, "vault", "get", "{vault://mine/token/a}").stdout == "secret\n"
    missing = cli(node, "vault", "get", "env/nothing")
    assert (missing.returncode, "NOTHING is not set" in missing.stderr) == (1, True)
    unknown = cli(node, "vault", "get", "nobody/x")
    assert (unknown.returncode, "there is no vault 'nobody'" in unknown.stderr) == (1, True)
    assert "No such command for vault: put" in cli(node, "vault", "put", "x").stderr
