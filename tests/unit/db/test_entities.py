"""The entities' fields, rules and messages, table by table; validated as an insert would be."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kong_gevent import errors
from kong_gevent.db import Catalogue, Entity, Store, build, open_store
from kong_gevent.db.entities.services import expand_url
from kong_gevent.schema import Record, document, fields, infer
from tests.contract.backends import PLUGINS

UUID = "fd02801f-0957-4a15-a55a-c8d9606f30b5"
NO_TLS = "failed conditional validation given value of field 'protocol'"
STREAM = "'tcp', 'tls', 'tls_passthrough' or 'udp'"


@pytest.fixture(scope="module")
def store() -> Store:
    settings = SimpleNamespace(database="memory", prefix=str(Path.cwd()))
    made = open_store(settings, PLUGINS)
    made.connect()
    return made


def violation(store: Store, entity: str, values: dict[str, Any]) -> errors.SchemaViolation:
    with pytest.raises(errors.SchemaViolation) as caught:
        store.dao(entity).validate_insert(values)
    return caught.value


MESSAGES: list[tuple[str, dict[str, Any], str]] = [
    (
        "services",
        {"foo": 1, "host": "a b", "port": 70000},
        "3 schema violations (foo: unknown field; host: invalid value: a b; port: value should be between 0 and 65535)",
    ),
    (
        "services",
        {"host": "h", "protocol": "grpc", "path": "/x"},
        f"2 schema violations ({NO_TLS}; path: value must be null)",
    ),
    (
        "services",
        {"host": "h", "retries": -1, "tags": ["a,b"]},
        "2 schema violations (retries: value should be between 0 and 32767; tags.1: invalid tag 'a,b': "
        "expected printable ascii (except `,` and `/`) or valid utf-8 sequences)",
    ),
    (
        "services",
        {"host": "h", "tls_verify": True, "ca_certificates": [UUID]},
        f"4 schema violations ({NO_TLS}; {NO_TLS}; "
        "ca_certificates: value must be null; tls_verify: value must be null)",
    ),
    ("services", {}, "schema violation (host: required field missing)"),
    ("services", {"host": ""}, "schema violation (host: length must be at least 1)"),
    ("services", {"host": "h", "retries": 5.5}, "schema violation (retries: expected an integer)"),
    ("services", {"host": "h", "retries": "abc"}, "schema violation (retries: expected an integer)"),
    ("services", {"host": "h", "enabled": "true"}, "schema violation (enabled: expected a boolean)"),
    ("services", {"host": "h", "enabled": None}, "schema violation (enabled: required field missing)"),
    ("services", {"host": "h", "created_at": -1}, "schema violation (created_at: expected a valid timestamp)"),
    ("services", {"host": "h", "created_at": 1.5}, "schema violation (created_at: expected an integer)"),
    ("services", {"host": "h", "id": "x"}, "schema violation (id: expected a valid UUID)"),
    ("services", {"url": "ftp://h"}, "schema violation (protocol: expected one of: "
     "grpc, grpcs, http, https, tcp, tls, tls_passthrough, udp)"),
    ("services", {"url": "http://"}, "schema violation (host: required field missing)"),
    ("services", {"url": 5}, "2 schema violations (host: required field missing; url: expected a string)"),
    ("services", {"url": "http://h:99999"}, "schema violation (port: value should be between 0 and 65535)"),
    ("services", {"host": "h", "client_certificate": "x", "protocol": "https"},
     "schema violation (client_certificate: expected a record)"),
    (
        "routes",
        {"protocols": ["http", "tcp"], "paths": ["/"]},
        "schema violation (protocols: these sets are mutually exclusive: ('http', 'https'), ('tcp', 'tls', 'udp'))",
    ),
    (
        "routes",
        {"protocols": ["tls_passthrough"], "hosts": ["a"]},
        "2 schema violations (must set snis when 'protocols' is 'tls_passthrough'; "
        f"hosts: cannot set 'hosts' when 'protocols' is {STREAM})",
    ),
    ("routes", {"paths": ["~/(a"]}, "schema violation (paths.1: invalid regex: '/(a' (PCRE returned: missing ): /(a))"),
    ("routes", {"paths": ["~/a(?=b)"]}, "schema violation (paths.1: invalid regex: '/a(?=b)' "
     "(PCRE returned: invalid perl operator: (?=))"),
    ("routes", {"paths": ["a"]}, "schema violation (paths.1: should start with: / (fixed path) or ~/ (regex path))"),
    ("routes", {"paths": ["/a//b"]}, "schema violation (paths.1: must not have empty segments)"),
    ("routes", {"paths": ["/%zz"]}, "schema violation (paths.1: invalid url-encoded value: '%zz')"),
    ("routes", {"paths": ["/a/../b"]}, "schema violation (paths.1: non-normalized path, consider use '/b' instead)"),
    (
        "routes",
        {"paths": ["/a/..;x"]},
        "schema violation (paths.1: invalid path: '/a/..;x' (disguised dot segment in the path))",
    ),
    ("routes", {"paths": ["/a%00"]}, "schema violation (paths.1: invalid path: '/a%00' (escaped NUL in the path))"),
    ("routes", {"protocols": ["foo", "http"], "methods": ["GET"]}, "schema violation (protocols.1: expected one of: "
     "grpc, grpcs, http, https, tcp, tls, tls_passthrough, udp)"),
    ("routes", {"protocols": ["foo"], "bar": 1}, "schema violation (protocols: unknown type: foo)"),
    ("routes", {"protocols": []}, "schema violation (protocols: length must be at least 1)"),
    ("routes", {"protocols": None}, "schema violation (protocols: required field missing)"),
    ("routes", {"protocols": "http"}, "schema violation (protocols: expected a set)"),
    ("routes", {}, "schema violation (must set one of 'methods', 'hosts', 'headers', 'paths', 'snis' "
     "when 'protocols' is 'https')"),
    ("routes", {"protocols": ["http"]}, "schema violation (must set one of 'methods', 'hosts', 'headers', 'paths' "
     "when 'protocols' is 'http')"),
    ("routes", {"protocols": ["grpc"]}, "schema violation (must set one of 'hosts', 'headers', 'paths' "
     "when 'protocols' is 'grpc')"),
    ("routes", {"protocols": ["grpc", "grpcs"]},
     "schema violation (must set one of 'hosts', 'headers', 'paths', 'snis' when 'protocols' is 'grpcs')"),
    ("routes", {"protocols": ["tcp"]}, "schema violation (must set one of 'sources', 'destinations', 'snis' "
     "when 'protocols' is 'tcp', 'tls' or 'udp')"),
    ("routes", {"protocols": ["grpc"], "paths": ["/"], "strip_path": True, "methods": ["GET"]},
     "2 schema violations (methods: cannot set 'methods' when 'protocols' is 'grpc' or 'grpcs'; "
     "strip_path: cannot set 'strip_path' when 'protocols' is 'grpc' or 'grpcs')"),
    ("routes", {"paths": ["/"], "sources": [{"port": 1}]},
     "schema violation (sources: cannot set 'sources' when 'protocols' is 'http' or 'https')"),
    ("routes", {"protocols": ["http"], "paths": ["/"], "snis": ["a"]},
     "2 schema violations ('snis' can only be set when 'protocols' is 'grpcs', 'https', 'tls' or 'tls_passthrough'; "
     "snis: length must be 0)"),
    ("routes", {"hosts": ["*.a.*"]}, "schema violation (hosts.1: invalid wildcard: must have at most one wildcard)"),
    ("routes", {"hosts": ["a", "a.*.b"]},
     "schema violation (hosts.2: invalid wildcard: must be placed at leftmost or rightmost label)"),
    ("routes", {"hosts": ["a*.b"]},
     "schema violation (hosts.1: invalid wildcard: must be placed at leftmost or rightmost label)"),
    ("routes", {"hosts": ["a b"]}, "schema violation (hosts.1: invalid hostname: a b)"),
    ("routes", {"hosts": ["a:99999"]}, "schema violation (hosts.1: invalid port number)"),
    ("routes", {"headers": {"Host": ["a"]}}, "schema violation (headers: cannot contain 'host' header, "
     "which must be specified in the 'hosts' attribute)"),
    ("routes", {"headers": {"x": "a"}}, "schema violation (headers: expected an array)"),
    ("routes", {"headers": {"x": ["~*("]}}, "schema violation (headers.1: invalid regex: '(' "
     "(PCRE returned: missing ): ())"),
    ("routes", {"methods": ["get"]}, "schema violation (methods.1: invalid value: get)"),
    ("routes", {"paths": ["/"], "https_redirect_status_code": 303},
     "schema violation (https_redirect_status_code: expected one of: 426, 301, 302, 307, 308)"),
    ("routes", {"paths": ["/"], "path_handling": "v2"}, "schema violation (path_handling: expected one of: v0, v1)"),
    ("routes", {"paths": ["/"], "service": {"id": "x"}}, "schema violation (service.id: expected a valid UUID)"),
    ("routes", {"paths": ["/"], "service": "x"}, "schema violation (service: expected a record)"),
    ("routes", {"protocols": ["tcp"], "sources": [{}]},
     'schema violation (sources.1: {\n  ["@entity"] = {\n    "at least one of these fields must be non-empty: '
     "'ip', 'port'\"\n  }\n})"),
    ("consumers", {},
     "schema violation (at least one of these fields must be non-empty: 'custom_id', 'username')"),
    ("consumers", {"username": 5}, "schema violation (username: expected a string)"),
    ("plugins", {"name": "key-auth", "config": {"key_names": 5}},
     "schema violation (config.key_names: expected an array)"),
    ("plugins", {"name": "key-auth", "config": {"x": 5}}, "schema violation (config.x: unknown field)"),
    ("plugins", {"name": "key-auth", "config": 5}, "schema violation (config: expected a record)"),
    ("plugins", {"name": "key-auth", "config": None}, "schema violation (config: required field missing)"),
    ("plugins", {"config": {"x": 5}}, "schema violation (name: required field missing)"),
    ("plugins", {"name": "nope", "foo": 1},
     "schema violation (name: plugin 'nope' not enabled; add it to the 'plugins' configuration property)"),
    ("plugins", {"name": 5}, "schema violation (name: expected a string)"),
    ("plugins", {"name": "key-auth", "consumer": {"id": UUID}}, "schema violation (consumer: value must be null)"),
    ("plugins", {"name": "key-auth", "protocols": ["tcp"]},
     "schema violation (protocols.1: expected one of: grpc, grpcs, http, https)"),
    ("keyauth_credentials", {"key": "k"}, "schema violation (consumer: required field missing)"),
    ("keyauth_credentials", {"key": "", "consumer": {"id": UUID}},
     "schema violation (key: length must be at least 1)"),
]  # fmt: skip


@pytest.mark.parametrize(("entity", "values", "message"), MESSAGES, ids=lambda value: str(value)[:50])
def test_messages(store: Store, entity: str, values: dict[str, Any], message: str) -> None:
    assert violation(store, entity, values).message == message


ACCEPTED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("services", {"host": "h"}, {"retries": 5, "protocol": "http", "port": 80, "enabled": True}),
    ("services", {"host": "h", "retries": None}, {"retries": None}),
    ("services", {"host": "h", "retries": 3.0}, {"retries": 3}),
    ("services", {"host": "h", "protocol": "https", "tls_verify": False, "tls_verify_depth": 0}, {"tls_verify": False}),
    ("services", {"url": "https://H/x?y", "host": "other", "port": 1}, {"host": "H", "port": 443, "path": "/x"}),
    ("routes", {"paths": ["/"]}, {"strip_path": True, "path_handling": "v0", "regex_priority": 0}),
    ("routes", {"paths": ["/"], "protocols": ["grpc"]}, {"strip_path": False}),
    ("routes", {"methods": ["GET", "GET", "FOO"]}, {"methods": ["GET", "FOO"]}),
    ("routes", {"hosts": ["*.a:80", "a.*", "a", "a", "[::1]:80"]}, {"hosts": ["*.a:80", "a.*", "a", "a", "[::1]:80"]}),
    ("routes", {"paths": ["~/(?<n>\\d+)$", "/a%20b"]}, {"paths": ["~/(?<n>\\d+)$", "/a%20b"]}),
    ("routes", {"headers": {"x-ver": ["1", "~*^2"]}}, {"headers": {"x-ver": ["1", "~*^2"]}}),
    ("routes", {"snis": ["a.test", "*.b"]}, {"snis": ["a.test", "*.b"]}),
    ("routes", {"protocols": ["tcp"], "sources": [{"ip": "10.0.0.0/8"}, {"port": 1}]},
     {"sources": [{"ip": "10.0.0.0/8", "port": None}, {"ip": None, "port": 1}]}),
    ("routes", {"protocols": ["tls_passthrough"], "snis": ["a"]}, {"snis": ["a"]}),
    ("routes", {"paths": ["/"], "regex_priority": 2**53}, {"regex_priority": 2**53}),
    ("consumers", {"username": "é ü"}, {"username": "é ü", "custom_id": None}),
    ("plugins", {"name": "key-auth"}, {"protocols": ["grpc", "grpcs", "http", "https"], "enabled": True,
                                       "config": {"key_names": ["apikey"], "hide_credentials": False}}),
    ("plugins", {"name": "limit", "protocols": ["tcp"]}, {"protocols": ["tcp"]}),
]  # fmt: skip


@pytest.mark.parametrize(("entity", "values", "stored"), ACCEPTED, ids=lambda value: str(value)[:50])
def test_accepted(store: Store, entity: str, values: dict[str, Any], stored: dict[str, Any]) -> None:
    made = store.dao(entity).validate_insert(values)
    assert {name: made[name] for name in stored} == stored


def test_fields_mirror_the_entity(store: Store) -> None:
    caught = violation(store, "routes", {"paths": ["/a", "x", "/b"], "hosts": ["a b"]})
    assert caught.fields == {
        "paths": [None, "should start with: / (fixed path) or ~/ (regex path)"],
        "hosts": ["invalid hostname: a b"],
    }


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("http://h:81/p", ("http", "h", 81, "/p")),
        ("https://h", ("https", "h", 443, None)),
        ("tcp://h", ("tcp", "h", 80, None)),
        ("h:443/x", ("https", "h", 443, "/x")),
        ("h", ("http", "h", 80, None)),
        ("http://[::1]:8000/", ("http", "[::1]", 8000, "/")),
        ("http://user:secret@Host/x?q#f", ("http", "Host", 80, "/x")),
        ("http://\u212a/", ("http", "\u212a", 80, "/")),
        ("http://h:x/", ("http", "h:x", 80, "/")),
    ],
)
def test_a_url_is_taken_apart(url: str, parts: tuple[Any, ...]) -> None:
    assert tuple(expand_url(url).values()) == parts


FORMS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("services", {"name": "a", "url": "http://h:81/p"}, {"name": "a", "url": "http://h:81/p"}),
    ("services", {"retries": "abc", "port": "81"}, {"retries": "abc", "port": 81}),
    ("routes", {"hosts": "a.test"}, {"hosts": ["a.test"]}),
    ("routes", {"headers": {"x-ver": ["1", "2"]}}, {"headers": {"x-ver": ["1", "2"]}}),
    ("routes", {"sources": [{"ip": "10.0.0.1", "port": "80"}, {"port": "81"}]},
     {"sources": [{"ip": "10.0.0.1", "port": 80}, {"port": 81}]}),
    ("routes", {"service": {"name": "s"}}, {"service": {"name": "s"}}),
    ("routes", {"service": ""}, {"service": None}),
    ("routes", {"methods": ""}, {"methods": None}),
    ("routes", {"strip_path": "false", "regex_priority": "3"}, {"strip_path": False, "regex_priority": 3}),
    ("plugins", {"name": "key-auth", "config": {"key_names": "a", "hide_credentials": "true"}},
     {"name": "key-auth", "config": {"key_names": ["a"], "hide_credentials": True}}),
    ("plugins", {"name": "limit", "config": {"minute": "10"}}, {"name": "limit", "config": {"minute": 10}}),
    ("plugins", {"name": "nope", "config": {"a": "10"}}, {"name": "nope", "config": {"a": "10"}}),
    ("consumers", {"tags": ["x", "y"]}, {"tags": ["x", "y"]}),
    ("consumers", {"foo": {"bar": "1"}}, {"foo": {"bar": "1"}}),
]  # fmt: skip


@pytest.mark.parametrize(("entity", "form", "typed"), FORMS, ids=lambda value: str(value)[:50])
def test_forms_are_typed(store: Store, entity: str, form: dict[str, Any], typed: dict[str, Any]) -> None:
    assert infer(store.catalogue[entity].schema, form) == typed


def test_the_services_document(store: Store) -> None:
    shown = document(store.catalogue["services"].schema)
    assert [name for one in shown["fields"] for name in one] == [
        "id", "created_at", "updated_at", "name", "retries", "protocol", "host", "port", "path", "connect_timeout",
        "write_timeout", "read_timeout", "tags", "client_certificate", "tls_verify", "tls_verify_depth",
        "ca_certificates", "enabled",
    ]  # fmt: skip
    attributes = {
        name: {k: v for k, v in one[name].items() if k != "description"} for one in shown["fields"] for name in one
    }
    assert attributes["id"] == {"type": "string", "uuid": True, "auto": True}
    assert attributes["created_at"] == {"type": "integer", "timestamp": True, "auto": True}
    assert attributes["retries"] == {"type": "integer", "default": 5, "between": [0, 32767]}
    assert attributes["port"] == {"type": "integer", "required": True, "default": 80, "between": [0, 65535]}
    assert attributes["client_certificate"] == {"type": "foreign", "reference": "certificates"}
    assert shown["entity_checks"][0] == {
        "conditional": {
            "if_field": "protocol",
            "if_match": {"one_of": ["tcp", "tls", "udp", "grpc", "grpcs"]},
            "then_field": "path",
            "then_match": {"eq": None},
        }
    }


def test_a_plugins_document_shows_what_it_declares(store: Store) -> None:
    plugins: Any = store.catalogue["plugins"].schema
    shown = plugins.own_fields("key-auth")
    assert [name for one in shown["fields"] for name in one] == ["consumer", "protocols", "config"]
    consumer = shown["fields"][0]["consumer"]
    assert (consumer["type"], consumer["reference"], consumer["eq"]) == ("foreign", "consumers", None)
    assert shown["fields"][1]["protocols"]["default"] == ["grpc", "grpcs", "http", "https"]
    assert [name for one in plugins.own_fields("limit")["fields"] for name in one] == ["protocols", "config"]
    assert plugins.own_fields("nope") is None


@pytest.mark.parametrize("entity", ["services", "routes", "consumers", "plugins", "keyauth_credentials"])
def test_every_field_is_described(store: Store, entity: str) -> None:
    for one in document(store.catalogue[entity].schema)["fields"]:
        for name, attributes in one.items():
            assert 10 <= len(attributes.get("description", "")) <= 500, name


class Badge(Record):
    id = fields.UUID(auto=True)
    consumer = fields.Foreign("consumers", on_delete="null")
    name = fields.String(required=True, unique=True)
    color = fields.String(required=True, immutable=True, load_default="red")


BADGES = Entity("badges", Badge(), nested="badges", endpoint_key="name")


def test_another_entity_needs_nothing_but_its_description() -> None:
    plugin = SimpleNamespace(**{**vars(PLUGINS["limit"]), "entities": (BADGES,)})
    store = open_store(SimpleNamespace(database="memory", prefix="."), {"limit": plugin})
    store.connect()
    consumer = store.dao("consumers").insert({"username": "a"})
    made = store.dao("badges").insert({"name": "b", "consumer": {"username": "a"}})
    assert made["consumer"] == {"id": consumer["id"]}
    with pytest.raises(errors.SchemaViolation) as caught:
        store.dao("badges").update(made["id"], {"color": "blue"})
    assert caught.value.fields == {"color": "immutable field cannot be updated"}
    cursor = store.last_event_id()
    store.dao("consumers").delete(consumer["id"])
    assert store.dao("badges").select(made["id"]) == {**made, "consumer": None}
    assert [(event.entity, event.op) for event in store.events_after(cursor)] == [
        ("consumers", "delete"),
        ("badges", "update"),
    ]


def test_names_of_entities_are_unique() -> None:
    with pytest.raises(ValueError, match="badges already"):
        Catalogue([BADGES, BADGES])


def test_entities_are_found_by_collection() -> None:
    catalogue = build(PLUGINS)
    found = catalogue.by_collection("key-auths")
    assert found is not None
    assert (found.name, found.nested, found.endpoint_key) == ("keyauth_credentials", "key-auth", "key")
    assert catalogue.by_collection("apis") is None


def test_a_datastore_that_is_not_there_is_refused() -> None:
    with pytest.raises(errors.ConfigurationError, match="'tape' is not available in this build yet"):
        open_store(SimpleNamespace(database="tape", prefix="."), {})
