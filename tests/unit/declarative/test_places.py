"""Where in a text its problems are: file, line, entity, field."""

import json

import pytest

from kong_gevent.db import Catalogue, build
from kong_gevent.declarative import Document, InvalidDocument, read_json, read_yaml
from kong_gevent.declarative.places import located
from kong_gevent.pdk.loader import load_plugins

HEAD = '_format_version: "3.0"\n'


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return build(load_plugins(["bundled"]))


def problems(catalogue: Catalogue, text: str, name: str = "kong.yml") -> list[str]:
    read = read_json if name.endswith(".json") else read_yaml
    with pytest.raises(InvalidDocument) as caught:
        Document.load(read(text.encode()), catalogue).close()
    return located(caught.value, name, text.encode(), catalogue)


NESTED = """\
services:
- name: orders
  url: http://orders.internal
  routes:
  - name: orders
    paths:
    - /orders
    - "*"
    plugins:
    - name: cors
      config:
        credentials: 7
        max_age: soon
  - hosts: [5]
    methods:
    - 7
- name: orders
  url: http://h
- {name: flow, host: 5, retries: many}
consumers:
- username: alice
  keyauth_credentials:
  - {key: a, "bogus": 1}
plugins:
- name: nothing
- name: cors
  consumer: nobody
"""


def test_every_problem_at_once_in_the_order_of_the_text(catalogue: Catalogue) -> None:
    shown = problems(catalogue, HEAD + NESTED)
    starts = [
        "kong.yml:9: route (orders): paths.2: ",
        "kong.yml:13: plugin (cors): config.credentials: expected a boolean",
        "kong.yml:14: plugin (cors): config.max_age: expected a number",
        "kong.yml:15: route (entry 2): hosts.1: expected a string",
        "kong.yml:17: route (entry 2): methods.1: ",
        "kong.yml:18: service (orders): uniqueness violation: 'services' entity with name set to 'orders' already",
        "kong.yml:20: service (flow): retries: expected an integer",
        "kong.yml:20: service (flow): host: expected a string",
        "kong.yml:24: keyauth_credential (entry 1): bogus: unknown field",
        "kong.yml:26: plugin (nothing): name: plugin 'nothing' not enabled",
        "kong.yml:28: plugin (cors): consumer: invalid reference 'consumer: nobody' (no such entry in 'consumers')",
    ]
    assert [line for line, start in zip(shown, starts, strict=True) if not line.startswith(start)] == []


def test_the_same_in_json(catalogue: Catalogue) -> None:
    document = {
        "_format_version": "3.0",
        "services": [
            {"name": "b", "path": 'a "quoted: [" one', "host": 5, "routes": [{"paths": ["/", 7], "name": "r"}]}
        ],
        "_comment": "{[ brackets in a text\n and its end",
    }
    text = json.dumps(document, indent=1)
    lines = text.splitlines()
    host, path = lines.index('   "host": 5,') + 1, lines.index("      7") + 1
    shown = problems(catalogue, text, "kong.json")
    assert shown[0].startswith(f"kong.json:{host - 1}: service (b): path: should start with: /")
    assert shown[1:] == [
        f"kong.json:{host}: service (b): host: expected a string",
        f"kong.json:{path}: route (r): paths.2: expected a string",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("services: []", "kong.yml:1: _format_version: required field missing"),
        (HEAD + "\n_transform: 3", "kong.yml:3: _transform: expected a boolean"),
        (HEAD + "services:\n  a: 1", "kong.yml:2: services: expected an array"),
        (HEAD + "services:\n- 5", "kong.yml:3: service (entry 1): expected a record"),
        (HEAD + "sorvices:\n- 5", "kong.yml:2: sorvices: unknown field"),
        (HEAD + "services:\n- name: a\n\n  url: http://", "kong.yml:3: service (a): host: required field missing"),
        (
            HEAD + "_info: {defaults: &d {host: 5}}\nservices:\n- <<: *d\n  name: a",
            "kong.yml:2: _info.defaults: unknown field",
        ),
        ("a: [}", "kong.yml:1: failed parsing declarative configuration: malformed YAML in line 1"),
        ("a: 1\nb: 2\na: 3", "kong.yml:3: failed parsing declarative configuration: malformed YAML in line 3"),
        ("", "kong.yml:1: failed parsing declarative configuration: expected an object"),
    ],
)
def test_what_is_not_in_the_text_has_the_line_of_what_it_is_in(catalogue: Catalogue, text: str, line: str) -> None:
    assert problems(catalogue, text)[0].startswith(line)


def test_what_comes_from_an_alias_has_the_line_of_its_entity(catalogue: Catalogue) -> None:
    text = HEAD + "services:\n- &one\n  name: a\n  host: h\n  retries: x\n- <<: *one\n  name: b\n- *one\n"
    shown = problems(catalogue, text)
    assert [line.split(": ")[:2] for line in shown] == [
        ["kong.yml:6", "service (a)"],
        ["kong.yml:7", "service (b)"],
        ["kong.yml:9", "service (entry 3)"],
    ]


def test_values_that_are_transformed_for_storage_keep_their_lines(catalogue: Catalogue) -> None:
    text = "_transform: true\nconsumers:\n- username: a\n  basicauth_credentials:\n  - username: a\n    password: 5\n"
    assert problems(catalogue, HEAD + text) == [
        "kong.yml:7: basicauth_credential (a): password: expected a string",
    ]  # fmt: skip


def test_no_more_problems_than_anybody_reads(catalogue: Catalogue) -> None:
    shown = problems(catalogue, HEAD + "services:\n" + "- {host: 5}\n" * 1200)
    assert shown[999].startswith("kong.yml:1002: service (entry 1000): host")
    assert shown[1000:] == ["... and 200 more problems"]


def test_a_text_that_has_changed_meanwhile_does_no_harm(catalogue: Catalogue) -> None:
    error = InvalidDocument({"services": {3: {"host": "expected a string"}}})
    assert located(error, "kong.yml", b"a: [", catalogue) == ["kong.yml:1: service (entry 3): host: expected a string"]
