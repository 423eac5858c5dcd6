"""What a document becomes: flat, with ids and references, or refused as a whole with every problem and its place."""

import uuid
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import pytest

from kong_gevent.db import Catalogue, Entity, build
from kong_gevent.declarative import Document, InvalidDocument, read_yaml
from kong_gevent.declarative.document import in_order
from kong_gevent.declarative.ids import ROOT
from kong_gevent.pdk.loader import load_plugins
from kong_gevent.schema import Errors, Record, fields

HEAD = '_format_version: "3.0"\n'
ID = "3a81b1d5-5b4e-4f0e-9f63-2f2b3f0a3c11"


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return build(load_plugins(["bundled"]))


class Loader:
    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def __call__(self, text: str, head: str = HEAD) -> dict[str, list[dict[str, Any]]]:
        with Document.load(read_yaml(head + text), self._catalogue) as document:
            return {
                kind: [{**document.values(entry), "expires": entry.expires} for entry in document.entries(kind)]
                for kind in document.kinds
                if document.count(kind)
            }

    def refused(self, text: str, head: str = HEAD) -> list[str]:
        with pytest.raises(InvalidDocument) as caught:
            self(text, head)
        return caught.value.lines()


@pytest.fixture
def load(catalogue: Catalogue) -> Iterator[Loader]:
    return Loader(catalogue)  # type: ignore[return-value]


def derived(kind: str, key: str) -> str:
    return str(uuid.uuid5(uuid.uuid5(ROOT, kind), key))


def test_parents_come_before_their_children(catalogue: Catalogue) -> None:
    order = in_order(catalogue)
    assert sorted(order) == sorted(catalogue)
    for name, entity in catalogue.items():
        for field in entity.foreign.values():
            if field.reference in catalogue:
                assert order.index(field.reference) < order.index(name)


def test_defaults_and_shorthands(load: Loader) -> None:
    (service,) = load("services: [{name: a, url: 'https://h.test/x'}]")["services"]
    assert (service["host"], service["port"], service["path"], service["retries"]) == ("h.test", 443, "/x", 5)


def test_null_is_unset_and_stays_so(load: Loader) -> None:
    (service,) = load("services: [{name: a, host: h, retries: null, tags: null}]")["services"]
    assert (service["retries"], service["tags"]) == (None, None)


def test_ids_are_derived_from_names(load: Loader) -> None:
    found = load(
        """
services: [{name: a, host: h}]
routes: [{name: r, paths: [/], service: a}]
consumers: [{username: u}]
"""
    )
    service = derived("services", "a")
    assert found["services"][0]["id"] == service
    assert found["routes"][0]["id"] == derived("routes", "r")
    assert found["routes"][0]["service"] == {"id": service}
    assert found["consumers"][0]["id"] == derived("consumers", "u")


def test_ids_of_plugins_and_credentials_are_derived_from_what_they_belong_to(load: Loader) -> None:
    found = load(
        """
services: [{name: a, host: h, plugins: [{name: cors}]}]
consumers: [{username: u, keyauth_credentials: [{key: k}]}]
plugins: [{name: cors}]
"""
    )
    service = derived("services", "a")
    assert {plugin["id"] for plugin in found["plugins"]} == {
        derived("plugins", f"plugins:*:cors::{service}:"), derived("plugins", "plugins:*:cors:::"),
    }  # fmt: skip
    assert found["keyauth_credentials"][0]["id"] == derived("keyauth_credentials", "keyauth_credentials:*:k")


def test_ids_do_not_depend_on_the_way_of_writing(load: Loader) -> None:
    nested = load("services: [{name: a, host: h, routes: [{name: r, paths: [/], plugins: [{name: cors}]}]}]")
    flat = load(
        """
plugins: [{name: cors, route: r}]
routes: [{name: r, paths: [/], service: {name: a}}]
services: [{name: a, host: h}]
"""
    )
    assert {kind: [entry["id"] for entry in entries] for kind, entries in nested.items()} == {
        kind: [entry["id"] for entry in entries] for kind, entries in flat.items()
    }


def test_without_a_key_the_id_is_new_each_time(load: Loader) -> None:
    text = "routes: [{paths: [/]}]\nconsumers: [{username: u, keyauth_credentials: [{tags: [a]}]}]"
    first, second = load(text), load(text)
    for kind in ("routes", "keyauth_credentials"):
        assert first[kind][0]["id"] != second[kind][0]["id"]
    assert len(first["keyauth_credentials"][0]["key"]) == 32


def test_nested_at_any_depth(load: Loader) -> None:
    found = load(
        f"""
services:
- id: {ID}
  host: h
  _comment: of no matter
  _ignore: [x]
  routes:
  - paths: [/a]
    plugins:
    - name: key-auth
consumers:
- username: u
  plugins: [{{name: rate-limiting, config: {{minute: 1}}}}]
  keyauth_credentials: [{{key: k, ttl: 5}}]
"""
    )
    assert found["routes"][0]["service"] == {"id": ID}
    of_route, of_consumer = sorted(found["plugins"], key=lambda plugin: str(plugin["name"]))
    assert of_route["route"] == {"id": found["routes"][0]["id"]}
    assert of_consumer["consumer"] == {"id": found["consumers"][0]["id"]}
    assert found["keyauth_credentials"][0]["expires"] is not None


@pytest.mark.parametrize("reference", [ID, ID.upper(), "a", f"{{id: {ID}}}", "{name: a}"])
def test_references(load: Loader, reference: str) -> None:
    found = load(f"routes: [{{paths: [/], service: {reference}}}]\nservices: [{{id: {ID}, name: a, host: h}}]")
    assert found["routes"][0]["service"] == {"id": ID}


def test_a_parent_may_be_stated_again(load: Loader) -> None:
    assert load("services: [{name: a, host: h, routes: [{paths: [/], service: a}]}]")["routes"]


@pytest.mark.parametrize(("version", "paths"), [("1.1", ["~/a(b)?", "/c"]), ("2.1", ["~/a(b)?", "/c"])])
def test_old_formats_have_regular_expressions_without_a_mark(load: Loader, version: str, paths: list[str]) -> None:
    found = load("routes: [{paths: ['/a(b)?', '/c']}]", f'_format_version: "{version}"\n')
    assert found["routes"][0]["paths"] == paths


def test_values_are_transformed_unless_they_are_already() -> None:
    class Secret(Record):
        id = fields.UUID(auto=True)
        name = fields.String(unique=True)

    def reverse(values: dict[str, Any], given: AbstractSet[str], stored: Mapping[str, Any] | None) -> Errors:
        assert (given, stored) == ({"id", "name"}, None)
        if values["name"] == "x":
            return {"name": "cannot be reversed"}
        values["name"] = values["name"][::-1]
        return {}

    load = Loader(Catalogue([Entity("secrets", Secret(), endpoint_key="name", transform=reverse)]))
    assert load("secrets: [{name: abc}]")["secrets"][0]["name"] == "cba"
    assert load("_transform: false\nsecrets: [{name: abc}]")["secrets"][0]["name"] == "abc"
    assert load.refused("secrets: [{name: x}]")[-1].strip() == "in 'name': cannot be reversed"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("serivces: []", ["in 'serivces': unknown field"]),
        ("_transform: maybe", ["in '_transform': expected a boolean"]),
        ("services: {a: 1}", ["in 'services': expected an array"]),
        ("services: [5]", ["in 'services':", "  - in entry 1 of 'services': expected a record"]),
        (
            "services: [{host: h, url: [], nme: x}, {name: a}, {host: h}]",
            [
                "in 'services':",
                "  - in entry 1 of 'services':",
                "    in 'nme': unknown field",
                "    in 'url': expected a string",
                "  - in entry 2 of 'services':",
                "    in 'host': required field missing",
            ],
        ),
        (
            "routes: [{paths: [/a, x], service: nobody}]",
            [
                "in 'routes':",
                "  - in entry 1 of 'routes':",
                "    in 'service': invalid reference 'service: nobody' (no such entry in 'services')",
                "    in 'paths':",
                "      - in entry 2 of 'paths': should start with: / (fixed path) or ~/ (regex path)",
            ],
        ),
        (
            "services: [{name: a, host: h}, {name: a, host: i}]",
            [
                "in 'services':",
                "  - in entry 2 of 'services': uniqueness violation: 'services' entity with name set to 'a' "
                "already declared",
            ],
        ),
        (
            f"services: [{{id: {ID}, host: h}}, {{id: {ID}, host: i}}]",
            [
                "in 'services':",
                f"  - in entry 2 of 'services': uniqueness violation: 'services' entity with primary key set to '{ID}' "
                "already declared",
            ],
        ),
        (
            "consumers: [{username: a, keyauth_credentials: [{key: k}]}, "
            "{username: b, keyauth_credentials: [{key: k}]}]",
            [
                "in 'consumers':",
                "  - in entry 2 of 'consumers':",
                "    in 'keyauth_credentials':",
                "      - in entry 1 of 'keyauth_credentials': uniqueness violation: 'keyauth_credentials' entity with "
                "key set to 'k' already declared",
            ],
        ),
        (
            "consumers: [{custom_id: a, username: x}, {custom_id: a, username: y}]",
            [
                "in 'consumers':",
                "  - in entry 2 of 'consumers': uniqueness violation: 'consumers' entity with custom_id set to 'a' "
                "already declared",
            ],
        ),
        (
            "consumers: [{}]",
            [
                "in 'consumers':",
                "  - in entry 1 of 'consumers':",
                "    at least one of these fields must be non-empty: 'custom_id', 'username'",
            ],
        ),
        (
            "plugins: [{name: nope}]",
            [
                "in 'plugins':",
                "  - in entry 1 of 'plugins':",
                "    in 'name': plugin 'nope' not enabled; add it to the 'plugins' configuration property",
            ],
        ),
        (
            "services: [{name: a, host: h, routes: [{paths: [/], service: b}]}, {name: b, host: h}]",
            [
                "in 'services':",
                "  - in entry 1 of 'services':",
                "    in 'routes':",
                "      - in entry 1 of 'routes':",
                "        in 'service': contradicts the entity that this one is nested in",
            ],
        ),
        (
            "services: [{name: a, host: h, routes: 5}]",
            ["in 'services':", "  - in entry 1 of 'services':", "    in 'routes': expected an array"],
        ),
        (
            "consumers: [{username: a, keyauth_credentials: [{key: k, ttl: soon}]}]",
            [
                "in 'consumers':",
                "  - in entry 1 of 'consumers':",
                "    in 'keyauth_credentials':",
                "      - in entry 1 of 'keyauth_credentials':",
                "        in 'ttl': expected a number",
            ],
        ),
        (
            "services: [{name: a, host: h, routes: [{name: r, paths: [/], protocols: [http], "
            "plugins: [{name: cors, protocols: [grpc]}]}]}]",
            [
                "in 'services':",
                "  - in entry 1 of 'services':",
                "    in 'routes':",
                "      - in entry 1 of 'routes':",
                "        in 'plugins':",
                "          - in entry 1 of 'plugins':",
                "            in 'protocols': must match the associated route's protocols",
            ],
        ),
        (
            "services: [{id: 5, host: h}]",
            ["in 'services':", "  - in entry 1 of 'services':", "    in 'id': expected a string"],
        ),
    ],
)
def test_refuses_with_the_place_of_each_problem(load: Loader, text: str, lines: list[str]) -> None:
    assert load.refused(text) == lines


@pytest.mark.parametrize(
    ("head", "line"),
    [
        ("", "in '_format_version': required field missing"),
        ("_format_version: 3.0\n", "in '_format_version': expected a string"),
        ('_format_version: "4.0"\n', "in '_format_version': expected one of: 1.1, 2.1, 3.0"),
    ],
)
def test_the_format_has_to_be_named(load: Loader, head: str, line: str) -> None:
    assert load.refused("services: []", head) == [line]


def test_many_problems_are_cut_short(load: Loader) -> None:
    lines = load.refused("services:\n" + "- {}\n" * 1200)
    assert lines[-1] == "... and 200 more problems"
    assert len(lines) == 2002


def test_the_error_has_the_form_of_the_admin_api(catalogue: Catalogue) -> None:
    with pytest.raises(InvalidDocument) as caught:
        Document.load(read_yaml(HEAD + "services: [{host: h}, {}]"), catalogue)
    assert caught.value.to_dict() == {
        "code": 14,
        "name": "invalid declarative configuration",
        "message": 'declarative config is invalid: {services={[2]={host="required field missing"}}}',
        "fields": {"services": [None, {"host": "required field missing"}]},
    }
