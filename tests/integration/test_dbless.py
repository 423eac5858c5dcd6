"""`database = off`: a declarative document is all there is; every worker serves it once it is accepted."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.gateway import Gateway, GatewayFailed
from tests.integration.support import cli
from tests.upstream import Upstream
from tests.wire import wait_until

HEAD = '_format_version: "3.0"\n'
READ_ONLY = "when not using a database"


@pytest.fixture(scope="module")
def node() -> Iterator[Gateway]:
    with Gateway(workers=2, database="off") as gateway:
        yield gateway


def document(upstream: Upstream, path: str = "/a", name: str = "a", **more: Any) -> dict[str, Any]:
    routes = [{"name": name, "paths": [path]}]
    return {
        "_format_version": "3.0",
        "services": [{"name": name, "url": upstream.url, "tags": ["t"], "routes": routes}],
        **more,
    }


def post(gateway: Gateway, body: Any, query: str = "") -> requests.Response:
    if isinstance(body, dict):
        return gateway.session.post(f"{gateway.admin_url}/config{query}", json=body)
    headers = {"Content-Type": "text/yaml"}
    return gateway.session.post(f"{gateway.admin_url}/config{query}", data=body, headers=headers)


def get(gateway: Gateway, path: str) -> requests.Response:
    return gateway.session.get(gateway.admin_url + path)


def statuses(gateway: Gateway, path: str, count: int = 30) -> set[int]:
    """From many connections, so that both workers answer."""
    return {requests.get(gateway.proxy_url + path, headers={"Connection": "close"}).status_code for _ in range(count)}


def test_a_document_replaces_everything_in_all_workers_before_the_answer(node: Gateway, upstream: Upstream) -> None:
    for number in range(5):
        answer = post(node, document(upstream, f"/n{number}"))
        assert answer.status_code == 201, answer.text
        assert statuses(node, f"/n{number}", 12) == {200}
        assert statuses(node, f"/n{number - 1}", 4) == {404}
    entities = answer.json()
    (service,) = entities["services"].values()
    assert (service["name"], service["retries"]) == ("a", 5)
    (route,) = entities["routes"].values()
    assert route["service"] == {"id": service["id"]}
    assert set(entities) == {"services", "routes"}


def test_the_hash_is_shown_and_an_identical_text_is_not_loaded_again(node: Gateway, upstream: Upstream) -> None:
    text = HEAD + f"services:\n- name: b\n  url: {upstream.url}\n"
    assert post(node, text).status_code == 201
    status = get(node, "/status").json()
    assert "database" not in status
    assert len(status["configuration_hash"]) == 32
    assert post(node, text, "?check_hash=1").status_code == 304
    assert post(node, {"config": text}, "?check_hash=1").status_code == 304
    assert post(node, {"config": text + " "}, "?check_hash=1").status_code == 201
    assert get(node, "/status").json()["configuration_hash"] != status["configuration_hash"]


@pytest.mark.parametrize("kind", ["json", "form", "yaml"])
def test_texts_are_taken_in_every_form(node: Gateway, upstream: Upstream, kind: str) -> None:
    text = HEAD + f"services:\n- name: {kind}\n  url: {upstream.url}\n"
    if kind == "form":
        answer = node.session.post(node.admin_url + "/config", data={"config": text})
    else:
        answer = post(node, {"config": text} if kind == "json" else text)
    assert answer.status_code == 201
    assert get(node, f"/services/{kind}").status_code == 200
    shown = get(node, "/config").json()["config"]
    assert f"name: {kind}" in shown
    assert post(node, shown).status_code == 201


def test_single_entities_cannot_be_written(node: Gateway, upstream: Upstream) -> None:
    entities = post(node, document(upstream)).json()
    (key,) = entities["services"]
    url, session = node.admin_url, node.session
    service = {"name": "x", "host": "h"}
    refusals = [
        (session.post(f"{url}/services", json=service), f"cannot create 'services' entities {READ_ONLY}"),
        (
            session.put(f"{url}/services/{key}", json=service),
            f"cannot create or update 'services' entities {READ_ONLY}",
        ),
        (
            session.put(f"{url}/services/a", json=service),
            f"cannot create or update 'services' entities by 'name' {READ_ONLY}",
        ),
        (session.patch(f"{url}/services/{key}", json={}), f"cannot update 'services' entities {READ_ONLY}"),
        (session.patch(f"{url}/services/a", json={}), f"cannot update 'services' entities by 'name' {READ_ONLY}"),
        (session.delete(f"{url}/services/{key}"), f"cannot remove 'services' entities {READ_ONLY}"),
        (session.delete(f"{url}/services/a"), f"cannot remove 'services' entities by 'name' {READ_ONLY}"),
        (
            session.post(f"{url}/services/a/routes", json={"paths": ["/"]}),
            f"cannot create 'routes' entities {READ_ONLY}",
        ),
    ]
    for answer, text in refusals:
        assert (answer.status_code, answer.json()) == (
            405,
            {"code": 12, "name": "operation unsupported", "message": text},
        )
    assert session.patch(f"{url}/services/nobody", json={}).status_code == 404
    assert session.post(f"{url}/services", json={}).status_code == 400
    assert session.post(f"{url}/schemas/services/validate", json=service).status_code == 200


BAD = {
    "broken YAML": (HEAD + "services: [", "failed parsing declarative configuration"),
    "no object": ("- 1", "expected an object"),
    "scalar": ("x", "expected an object"),
    "two documents": (HEAD + "---\na: 1\n", "second document"),
    "duplicate key": (HEAD + HEAD, "there twice"),
    "duplicate key in JSON": ('{"_format_version":"3.0","services":[],"services":[]}', "there twice"),
    "broken JSON": ('{"_format_version": ', "malformed JSON"),
    "huge nesting": (HEAD + "services: " + "[" * 5000 + "]" * 5000, "nested deeper"),
    "huge nesting in JSON": ('{"services":' + "[" * 50000 + "]" * 50000 + "}", "malformed JSON"),
    "no version": ("services: []\n", "required field missing"),
    "wrong version": ('_format_version: "9.9"\n', "expected one of: 1.1, 2.1, 3.0"),
    "unknown key": (HEAD + "servces: []\n", "unknown field"),
    "unknown field": (HEAD + "services:\n- host: h\n  colour: red\n", "unknown field"),
    "reference to nothing": (HEAD + "routes:\n- paths: [/x]\n  service: nobody\n", "invalid reference"),
    "workspace": (HEAD + "_workspace: other\n", "there is one workspace"),
    "bytes": (b"\xff\xfe\x00\x01", "failed parsing"),
    "aliases": (HEAD + "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(97 + n + 1)}: &{chr(97 + n + 1)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(8)
    ), "aliases stand for more"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_document_is_refused_and_changes_nothing(node: Gateway, upstream: Upstream, name: str) -> None:
    assert post(node, document(upstream, "/good")).status_code == 201
    before = get(node, "/status").json()["configuration_hash"]
    text, problem = BAD[name]
    answer = post(node, text)
    body = answer.json()
    assert (answer.status_code, body["code"], body["name"]) == (400, 14, "invalid declarative configuration")
    assert body["message"].startswith("declarative config is invalid: {")
    assert problem in body["message"]
    assert get(node, "/status").json()["configuration_hash"] == before
    assert statuses(node, "/good", 6) == {200}


@pytest.mark.parametrize("body", [{}, {"config": ""}, {"config": 5}, {"config": None}, ""])
def test_nothing_is_no_document(node: Gateway, body: Any) -> None:
    answer = post(node, body)
    assert (answer.status_code, answer.json()) == (400, {"message": "expected a declarative configuration"})


def test_errors_by_entity(node: Gateway, upstream: Upstream) -> None:
    key = "8b2f1a52-7d3f-4f0e-9d2f-0c6a4f0b6c11"
    bad = {
        "_format_version": "3.0",
        "nonsense": 1,
        "services": [
            {"name": "fine", "host": "h"},
            {
                "id": key,
                "name": "s",
                "host": "h",
                "tags": ["k8s-name:s"],
                "port": -1,
                "routes": [{"name": "r", "paths": ["bad"]}],
            },
        ],
        "consumers": [{"username": "u"}, {"username": "u"}],
    }
    plain = post(node, bad)
    assert plain.status_code == 400
    assert plain.json()["fields"]["services"][0] is None
    assert "flattened_errors" not in plain.json()
    body = post(node, bad, "?check_hash=1&flatten_errors=1").json()
    assert body["fields"] == {"nonsense": "unknown field"}
    by_type = {item["entity_type"]: item for item in body["flattened_errors"]}
    service, route, consumer = by_type["service"], by_type["route"], by_type["consumer"]
    assert (service["entity_id"], service["entity_name"], service["entity_tags"]) == (key, "s", ["k8s-name:s"])
    assert service["errors"] == [{"type": "field", "field": "port", "message": "value should be between 0 and 65535"}]
    assert "routes" not in service["entity"]
    assert route["errors"][0]["field"] == "paths.1"
    assert route["entity"]["service"] == {"id": key}
    assert consumer["errors"] == [
        {
            "type": "entity",
            "message": "uniqueness violation: 'consumers' entity with username set to 'u' already declared",
        }
    ]


def test_a_large_document_is_taken_as_well(node: Gateway, upstream: Upstream) -> None:
    consumers = [{"username": f"u{number}", "keyauth_credentials": [{"key": f"k{number}"}]} for number in range(1500)]
    plugins = [{"name": "key-auth", "service": "a"}]
    answer = post(node, document(upstream, "/large", consumers=consumers, plugins=plugins))
    assert answer.status_code == 201, answer.text
    assert len(answer.json()["consumers"]) == 1500
    assert statuses(node, "/large", 6) == {401}
    found = requests.get(f"{node.proxy_url}/large", headers={"apikey": "k1499"})
    assert found.status_code == 200
    bad = document(upstream, consumers=[*consumers, {"username": 5}])
    refused = post(node, bad, "?flatten_errors=1")
    assert refused.status_code == 400
    assert [item["entity_type"] for item in refused.json()["flattened_errors"]] == ["consumer"]
    assert statuses(node, "/large", 6) == {401}
    assert post(node, document(upstream)).status_code == 201


def test_the_history_and_the_way_back(node: Gateway, upstream: Upstream) -> None:
    post(node, document(upstream, "/one"))
    post(node, document(upstream, "/two"))
    newest = get(node, "/config/history").json()["data"][0]
    assert newest["source"] == "POST /config"
    assert newest["author"] == "127.0.0.1"
    changes = get(node, f"/config/history/{newest['id']}").json()["changes"]
    assert {change["entity"] for change in changes} == {"routes"}
    dry = node.session.post(f"{node.admin_url}/config/rollback?dry_run=1", json={})
    assert dry.json()["summary"]["updated"] == 1
    assert statuses(node, "/two", 6) == {200}
    back = node.session.post(f"{node.admin_url}/config/rollback", json={"id": newest["id"]})
    assert back.status_code == 200, back.text
    assert (statuses(node, "/one"), statuses(node, "/two", 6)) == ({200}, {404})
    assert node.session.post(f"{node.admin_url}/config/rollback", json={"id": "zz"}).status_code == 404
    assert get(node, "/config/history/zz").status_code == 404


def test_a_document_survives_a_restart_and_the_file_is_read_at_start_and_reload(
    tmp_path: Path, upstream: Upstream
) -> None:
    file = tmp_path / "kong.yml"

    def write(path: str) -> None:
        file.write_text(HEAD + f"services:\n- name: f\n  url: {upstream.url}\n  routes:\n  - paths: [{path}]\n")

    prefix = tmp_path / "prefix"
    write("/file")
    with Gateway(workers=2, database="off", prefix=prefix, env={"DECLARATIVE_CONFIG": str(file)}) as gateway:
        assert statuses(gateway, "/file", 6) == {200}
        write("/again")
        assert cli(gateway, "reload").returncode == 0
        assert statuses(gateway, "/again", 10) == {200}
        file.write_text("nonsense: [")
        refused = cli(gateway, "reload")
        assert (refused.returncode, "malformed YAML in line" in refused.stderr) == (1, True)
        gateway.reload()
        assert statuses(gateway, "/again", 10) == {200}
    with Gateway(workers=1, database="off", prefix=prefix, env={"DECLARATIVE_CONFIG": str(file)}) as gateway:
        assert statuses(gateway, "/again", 3) == {200}
        assert post(gateway, document(upstream, "/posted")).status_code == 201
    with Gateway(workers=1, database="off", prefix=prefix) as gateway:
        assert statuses(gateway, "/posted", 3) == {200}


def test_explain_tells_of_the_document(node: Gateway, upstream: Upstream) -> None:
    text = document(upstream, "/told", "told", plugins=[{"name": "key-auth", "service": "told"}])
    assert post(node, text).status_code == 201
    asked = cli(node, "explain", "GET", "/told/x")
    assert asked.returncode == 0, asked.stderr
    lines = [" ".join(line.split()) for line in asked.stdout.splitlines()]
    assert any(line.startswith("Route told by path /told") for line in lines), asked.stdout
    assert any(line.startswith("Service told") for line in lines), asked.stdout
    assert "key-auth" in asked.stdout
    assert post(node, document(upstream, "/other", "other")).status_code == 201
    asked = cli(node, "explain", "GET", "/told/x")
    assert "Route told" not in " ".join(asked.stdout.split()), "the document has been replaced"


def test_a_bad_file_and_nothing_to_fall_back_on_is_no_start(tmp_path: Path) -> None:
    file = tmp_path / "kong.yml"
    file.write_text(HEAD + "services:\n- name: a\n  host: h\n- name: b\n  routes:\n  - paths: [x]\nconsumers:\n- {}\n")
    with pytest.raises(GatewayFailed, match="in entry 2 of 'services'") as failed:
        Gateway(database="off", env={"DECLARATIVE_CONFIG": str(file)})
    told = [line.strip() for line in str(failed.value).splitlines() if line.strip().startswith(f"{file}:")]
    assert told == [
        f"{file}:5: service (b): host: required field missing",
        f"{file}:7: route (entry 1): paths.1: should start with: / (fixed path) or ~/ (regex path)",
        f"{file}:9: consumer (entry 1): at least one of these fields must be non-empty: 'custom_id', 'username'",
    ]


def test_a_node_without_a_document_is_not_ready(tmp_path: Path) -> None:
    with Gateway(database="off", start=True) as gateway:
        ready = gateway.session.get(f"{gateway.status_url}/status/ready")
        assert (ready.status_code, ready.json()["message"]) == (
            503,
            "no configuration available (empty configuration present)",
        )
        assert get(gateway, "/status").json()["configuration_hash"] == "0" * 32
        assert get(gateway, "/services").json()["data"] == []
        assert post(gateway, HEAD + "consumers:\n- username: u\nservices:\n- host: h\n").status_code == 201
        wait_until(lambda: gateway.session.get(f"{gateway.status_url}/status/ready").status_code == 200)


def test_a_text_in_the_settings_counts_as_a_file(upstream: Upstream) -> None:
    text = HEAD + f"services:\n- name: f\n  url: {upstream.url}\n  routes:\n  - paths: [/]\n"
    with Gateway(database="off", env={"DECLARATIVE_CONFIG_STRING": text}) as gateway:
        assert statuses(gateway, "/", 3) == {200}
        assert get(gateway, "/").json()["configuration"]["declarative_config_string"] == "******"
