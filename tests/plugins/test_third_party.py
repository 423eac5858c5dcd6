"""A plugin of somebody else: in the test kit, and installed by pip from its folder into a real gateway."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kong_gevent.pdk.testing import InMemoryGateway
from tests.gateway import Gateway, GatewayFailed
from tests.integration.stores import Commands
from tests.upstream import Upstream, plain

FOLDER = Path(__file__).resolve().parent.parent / "third_party_plugin"
Make = Callable[..., InMemoryGateway]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which pip has installed the package."""
    target = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source") / "package"
    source.mkdir()
    for file in FOLDER.rglob("*.*"):
        if file.suffix in (".py", ".toml"):
            copy = source / file.relative_to(FOLDER)
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(file.read_bytes())
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*pip, "--target", str(target), str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


def test_it_runs_in_the_test_kit(plugin: Make, installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(installed))
    from tenant_gate import TenantGate  # type: ignore[import-not-found,unused-ignore]

    made = plugin(TenantGate, tenants={"blue": 2})
    runs = [made.get("/", headers={"X-Tenant": "blue"}) for _ in range(3)]
    assert [run.status for run in runs] == [200, 200, 429]
    assert runs[0].upstream.headers["X-Verified-Tenant"] == "blue"
    assert runs[0].response.headers["X-Served-Tenant"] == "blue"
    assert runs[0].response.text == "ok\n-- blue"
    assert runs[0].log["tenant"] == {"name": "blue"}
    assert made.get("/").response.json() == {"message": "unknown tenant"}


@pytest.fixture(scope="module")
def gateway(installed: Path) -> Iterator[Gateway]:
    with Gateway(workers=2, env={"KONG_PLUGINS": "bundled,tenant-gate"}, start=False) as node:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(installed))
            node.start()
        yield node


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream(plain(b"ok")) as server:
        yield server


def test_pip_installs_it_and_a_setting_switches_it_on(gateway: Gateway, upstream: Upstream) -> None:
    facts = gateway.admin("GET", "/").json()["plugins"]["available_on_server"]["tenant-gate"]
    assert facts == {"version": "1.2.0", "priority": 900}
    shown = gateway.admin("GET", "/schemas/plugins/tenant-gate").json()
    config = next(field["config"] for field in shown["fields"] if "config" in field)
    assert [next(iter(field)) for field in config["fields"]] == ["header_name", "tenants", "open"]
    route = gateway.route(upstream.url)
    bad = gateway.admin("POST", "/plugins", {"name": "tenant-gate", "config": {"tenants": {"blue": 0}}})
    assert (bad.status_code, bad.json()["fields"]) == (400, {"config": {"tenants": "value must be greater than 0"}})
    gateway.create("/plugins", name="tenant-gate", route={"id": route["id"]}, config={"tenants": {"blue": 3}})
    answers = [gateway.get("/", headers={"X-Tenant": "blue"}) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert answers[0].text == "ok\n-- blue"
    assert gateway.get("/").status_code == 403


def test_its_own_entities_are_like_those_of_the_core(
    gateway: Gateway, upstream: Upstream, installed: Path, tmp_path: Path
) -> None:
    gateway.reset()
    commands = Commands(gateway.prefix, {**gateway.settings, "PYTHONPATH": f"{FOLDER.parent.parent}:{installed}"})
    gateway.create("/consumers", username="ann")
    made = gateway.create("/consumers/ann/passes", tenant="blue", code="open sesame")
    assert len(made["code"]) == 128
    changed = gateway.admin("PATCH", "/consumers/ann/passes/blue", {"tags": ["t"]}).json()
    assert changed == {**made, "tags": ["t"]}
    assert gateway.admin("GET", f"/gate-passes/{made['id']}").json() == changed
    assert gateway.admin("GET", "/gate-passes?tags=t").json()["data"] == [changed]
    bad = gateway.admin("POST", "/consumers/ann/passes", {"tenant": "blue", "code": "x"})
    assert (bad.status_code, bad.json()["name"]) == (409, "unique constraint violation")
    assert "gate_visits" not in gateway.admin("GET", "/endpoints").text

    file = tmp_path / "export.yml"
    commands.done("config", "db_export", str(file))
    assert made["code"] in file.read_text()

    route = gateway.route(upstream.url)
    gateway.create("/plugins", name="tenant-gate", route={"id": route["id"]}, config={"tenants": {"red": 1}})
    assert gateway.get("/", headers={"X-Pass": "open"}).status_code == 403
    answer = gateway.get("/", headers={"X-Pass": "open sesame"})
    assert (answer.status_code, answer.text) == (200, "ok\n-- blue")
    assert gateway.get("/", headers={"X-Pass": "open sesame"}).status_code == 403
    assert gateway.admin("GET", "/gate-passes").json()["data"] == []
    assert "1 of them new" in commands.done("config", "db_import", str(file))
    assert gateway.get("/", headers={"X-Pass": "open sesame"}).status_code == 200

    gateway.create("/consumers/ann/passes", tenant="green", code="c")
    gateway.delete("/consumers/ann")
    assert gateway.admin("GET", "/gate-passes").json()["data"] == []


def test_without_the_package_the_setting_is_refused_by_name() -> None:
    node = Gateway(env={"KONG_PLUGINS": "bundled,tenant-gate"}, start=False)
    with node, pytest.raises(GatewayFailed, match="there is no plugin 'tenant-gate'"):
        node.start()
