"""`config from-openapi`: a description as people write them, and what becomes of it, down to a request."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from kong_gevent.client import Client
from tests.gateway import Gateway
from tests.integration.stores import Commands
from tests.integration.support import cli

DESCRIPTION = """\
openapi: 3.1.0
info: {title: "Café Orders", version: 2.1.0, description: Orders and drinks.}
servers:
  - url: https://{region}.cafe.test:{port}/{base}/
    description: production
    variables:
      region: {default: eu, enum: [eu, us]}
      port: {default: "8443"}
      base: {default: v2}
  - {url: "https://us.cafe.test:8443/v2", description: the other one}
tags: [{name: orders}, {name: drinks, description: What there is}]
security: [{key: []}]
x-kong-tags: [cafe]
x-kong-upstream-defaults: {algorithm: least-connections}
x-kong-service-defaults: {retries: 2, read_timeout: 5000}
x-kong-plugin-cors: {config: {origins: ["https://cafe.test"]}}
paths:
  /orders:
    parameters: [{$ref: "#/components/parameters/Trace"}]
    get: {tags: [orders], operationId: listOrders, responses: {"200": {$ref: "#/components/responses/Orders"}}}
    post:
      tags: [orders]
      operationId: makeOrder
      security: []
      requestBody: {content: {application/json: {schema: {$ref: "#/components/schemas/Order"}}}}
      responses: {"201": {description: made}}
      x-kong-plugin-request-size-limiting: {config: {allowed_payload_size: 1}}
  /orders/{order-id}/items/{item}:
    parameters:
      - {name: order-id, in: path, required: true, schema: {type: string, format: uuid}}
      - {name: item, in: path, required: true, schema: {type: integer}}
    get: {tags: [orders], responses: {default: {description: an item}}}
    delete: {operationId: dropItem, deprecated: true, responses: {"204": {description: gone}}}
  /drinks/{name}.{format}:
    servers: [{url: "http://drinks.test/menu"}]
    x-kong-name: menu
    x-kong-route-defaults: {hosts: [drinks.test], preserve_host: true}
    get: {tags: [drinks], responses: {"200": {description: one}}}
    put: {servers: [{url: "http://[2001:db8::1]:81"}], responses: {"200": {description: kept}}}
  /shared: {$ref: "#/components/pathItems/Shared"}
  x-notes: not a path
components:
  parameters: {Trace: {name: trace, in: header, schema: {type: string}}}
  responses: {Orders: {description: all of them}}
  schemas: {Order: {type: object, properties: {drink: {type: string}}}}
  securitySchemes: {key: {type: apiKey, in: header, name: apikey}}
  pathItems:
    Shared: {head: {operationId: look}, trace: {operationId: follow}}
"""

ORDER_ITEM = r"~/orders/(?<order_id>[^#?/]+)/items/(?<item>[^#?/]+)$"
DRINK = r"~/drinks/(?<name>[^#?/]+)\.(?<format>[^#?/]+)$"
TAGS = {"tags": ["cafe", "here"]}


def route(name: str, method: str, path: str, **more: Any) -> dict[str, Any]:
    priority = 100 if "(?<" in path else 200
    made = {"name": f"cafe-orders_{name}", "methods": [method], "paths": [path], "regex_priority": priority}
    return {**made, "strip_path": False, **TAGS, **more}


LIMIT = {"name": "request-size-limiting", "config": {"allowed_payload_size": 1}, **TAGS}
CORS = {"name": "cors", "config": {"origins": ["https://cafe.test"]}, **TAGS}
HOSTS = {"hosts": ["drinks.test"], "preserve_host": True}
SERVICES = [
    {
        "name": "cafe-orders", "protocol": "https", "host": "cafe-orders.upstream", "port": 8443, "path": "/v2",
        "retries": 2, "read_timeout": 5000, "plugins": [CORS], **TAGS,
        "routes": [
            route("listorders", "GET", "~/orders$"),
            route("makeorder", "POST", "~/orders$", plugins=[LIMIT]),
            route("orders-order-id-items-item_get", "GET", ORDER_ITEM),
            route("dropitem", "DELETE", ORDER_ITEM),
            route("look", "HEAD", "~/shared$"),
            route("follow", "TRACE", "~/shared$"),
        ],
    },
    {
        "name": "cafe-orders_menu", "protocol": "http", "host": "drinks.test", "port": 80, "path": "/menu",
        "retries": 2, "read_timeout": 5000, **TAGS,
        "routes": [route("menu_get", "GET", DRINK, plugins=[CORS], **HOSTS)],
    },
    {
        "name": "cafe-orders_menu_put", "protocol": "http", "host": "2001:db8::1", "port": 81,
        "retries": 2, "read_timeout": 5000, **TAGS,
        "routes": [route("menu_put", "PUT", DRINK, plugins=[CORS], **HOSTS)],
    },
]  # fmt: skip
UPSTREAMS = [
    {
        "name": "cafe-orders.upstream", "algorithm": "least-connections", **TAGS,
        "targets": [{"target": "eu.cafe.test:8443", **TAGS}, {"target": "us.cafe.test:8443", **TAGS}],
    }
]  # fmt: skip


@pytest.fixture
def node(tmp_path: Path) -> Commands:
    return Commands(tmp_path, {"KONG_DATABASE": "sqlite"})


def described(folder: Path, kind: str, content: dict[str, Any]) -> Path:
    file = folder / f"cafe.{kind}"
    file.write_text(json.dumps(content) if kind == "json" else yaml.safe_dump(content, allow_unicode=True))
    return file


def by_name(entities: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {entity["name"]: entity for entity in entities}


@pytest.mark.parametrize("kind", ["as written", "yaml", "json"])
def test_what_it_becomes(node: Commands, tmp_path: Path, kind: str) -> None:
    """Tags and security of operations are for people and clients: they make neither tags nor plugins."""
    file = tmp_path / "cafe.yaml"
    if kind == "as written":
        file.write_text(DESCRIPTION)
    else:
        file = described(tmp_path, kind, yaml.safe_load(DESCRIPTION))
    outcome = node.run("config", "from-openapi", str(file), "--tag", "here")
    assert outcome.code == 0, outcome.err
    made = yaml.safe_load(outcome.out)
    assert made["_format_version"] == "3.0"
    assert by_name(made["services"]) == by_name(SERVICES)
    assert made["upstreams"] == UPSTREAMS


@pytest.mark.parametrize("output", ["kong.yml", "kong.json"])
def test_the_file_is_valid_and_is_not_overwritten(node: Commands, tmp_path: Path, output: str) -> None:
    (tmp_path / "cafe.yaml").write_text(DESCRIPTION)
    said = node.done("config", "from-openapi", "cafe.yaml", "-o", output)
    assert said == f"3 services and 8 routes written to {output}\n"
    assert node.done("config", "parse", output) == "parse successful\n"
    again = node.run("config", "from_openapi", "cafe.yaml", "-o", output)
    assert (again.code, "already exists" in again.err) == (1, True)


def test_what_is_wrong_is_told_with_file_and_place(node: Commands, tmp_path: Path) -> None:
    document = yaml.safe_load(DESCRIPTION)
    del document["servers"][0]["variables"]["region"]["default"]
    file = described(tmp_path, "yaml", document)
    outcome = node.run("config", "from-openapi", str(file))
    assert (outcome.code, outcome.out) == (1, "")
    assert f"{file}: #/servers/0/variables/region: a variable of an address needs a default" in outcome.err
    file.write_text("openapi: [")
    assert f"{file}: failed parsing" in node.run("config", "from-openapi", str(file)).err


def test_requests_find_their_operation(gateway: Gateway, tmp_path: Path) -> None:
    gateway.reset()
    (tmp_path / "cafe.yaml").write_text(DESCRIPTION)
    made = str(tmp_path / "kong.yml")
    assert cli(gateway, "config", "from-openapi", str(tmp_path / "cafe.yaml"), "-o", made).returncode == 0
    applied = cli(gateway, "config", "apply", made)
    assert applied.returncode == 0, applied.stderr
    with Client(gateway.admin_url) as client:
        for method, url, name in (
            ("POST", "http://a/orders", "makeorder"),
            ("GET", "http://a/orders/7/items/1", "orders-order-id-items-item_get"),
            ("GET", "http://drinks.test/drinks/tea.json", "menu_get"),
            ("GET", "http://other.test/drinks/tea.json", None),
            ("DELETE", "http://a/orders", None),
            ("GET", "http://a/orders/7/items/1/2", None),
        ):
            route = client.explain(method, url)["route"]
            assert (route and route["name"]) == (name and f"cafe-orders_{name}")
