"""The published schema of every plugin, bundled or announced, against Kong 3.9's, kept as data."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kong_gevent.db import build
from kong_gevent.pdk import Plugin
from kong_gevent.pdk.loader import load_announced, load_plugins
from kong_gevent.pdk.testing import InMemoryGateway
from kong_gevent.plugins import ANNOUNCED, BUNDLED
from kong_gevent.schema.document import attributes_of, fields_of
from kong_gevent.schema.fields import Record

PLUGINS: dict[str, type[Plugin]] = {**load_plugins(["bundled"]), **load_announced()}
KONGS: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "data" / "schemas.json").read_text())
FACTS = {name: facts for name, facts in KONGS.items() if name in PLUGINS}
ENTITIES: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "data" / "entities.json").read_text())
CATALOGUE = build(PLUGINS)
PRIORITIES = {
    "pre-function": 1_000_000,
    "correlation-id": 100_001,
    "zipkin": 100_000,
    "bot-detection": 2500,
    "cors": 2000,
    "session": 1900,
    "acme": 1705,
    "mtls-auth": 1600,
    "jwt": 1450,
    "oauth2": 1400,
    "key-auth": 1250,
    "ldap-auth": 1200,
    "basic-auth": 1100,
    "hmac-auth": 1030,
    "grpc-gateway": 998,
    "ip-restriction": 990,
    "request-size-limiting": 951,
    "acl": 950,
    "rate-limiting": 910,
    "response-ratelimiting": 900,
    "request-transformer": 801,
    "response-transformer": 800,
    "redirect": 779,
    "ai-request-transformer": 777,
    "ai-prompt-template": 773,
    "ai-prompt-decorator": 772,
    "ai-prompt-guard": 771,
    "ai-proxy": 770,
    "ai-response-transformer": 768,
    "standard-webhooks": 760,
    "aws-lambda": 750,
    "azure-functions": 749,
    "proxy-cache": 100,
    "opentelemetry": 14,
    "prometheus": 13,
    "http-log": 12,
    "statsd": 11,
    "datadog": 10,
    "file-log": 9,
    "udp-log": 8,
    "tcp-log": 7,
    "loggly": 6,
    "syslog": 4,
    "grpc-web": 3,
    "request-termination": 2,
    "post-function": -1000,
}
NO_PATH: dict[str, Any] = {"replaced_with": [{"path": []}]}
OURS = {"description", "custom_validator"}
ADDED = {
    "request-transformer": {"dots_in_keys"},
    "response-transformer": {"dots_in_keys"},
    "proxy-cache": {"collapse_misses"},
    "syslog": {"socket_path"},
}
"""Fields that Kong's plugins do not have; they come last."""


def simplified(attributes: dict[str, Any]) -> dict[str, Any]:
    """A field's attributes without what only documents, what is checked in code, and what says the default."""
    kept = {name: value for name, value in attributes.items() if name not in OURS | {"validated"}}
    if attributes.get("encrypted") and "default" in kept:  # random, and so another one in each process
        del kept["default"]
    if "deprecation" in kept:
        kept |= {"deprecated": True, "old_default": kept.pop("deprecation")["old_default"]}
    if kept.get("required") is False:
        del kept["required"]
    for part in ("elements", "keys", "values"):
        if part in kept:
            kept[part] = {name: value for name, value in simplified(kept[part]).items() if name != "required"}
    if "entity_checks" in kept:
        kept["checks"] = kept.pop("entity_checks")
    if "checks" in kept:
        kept["checks"] = declared(kept["checks"])
    if "shorthand_fields" in kept:
        kept["shorthand_fields"] = [name for entry in kept["shorthand_fields"] for name in entry]
    if "fields" in kept:
        kept["fields"] = [{name: simplified(inner)} for entry in kept["fields"] for name, inner in entry.items()]
    for name in ("keys", "values"):
        if kept.get(name, {}).get("len_min") == 1:
            del kept[name]["len_min"]
    return kept


def declared(checks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The checks that are no code."""
    return [check for check in checks if not check.keys() & {"custom_over", "custom_entity_check"}]


def config_fields(name: str) -> list[dict[str, Any]]:
    """What we publish for the plugin's `config`, but for fields of our own."""
    return [
        {field: simplified(shown)}
        for entry in fields_of(PLUGINS[name].config())
        for field, shown in entry.items()
        if field not in ADDED.get(name, ())
    ]


def wanted_fields(name: str) -> list[dict[str, Any]]:
    """What Kong publishes."""
    return [{field: simplified(facts)} for entry in FACTS[name]["config"] for field, facts in entry.items()]


@pytest.mark.parametrize("name", FACTS)
def test_fields_have_kongs_names_order_types_defaults_and_rules(name: str) -> None:
    assert config_fields(name) == wanted_fields(name)


@pytest.mark.parametrize("name", FACTS)
def test_every_field_is_described(name: str) -> None:
    def undescribed(entries: list[dict[str, Any]]) -> list[str]:
        found = []
        for entry in entries:
            for field, shown in entry.items():
                if not 10 <= len(shown.get("description", "")) <= 500:
                    found.append(field)
                found += undescribed(shown.get("fields", []))
        return found

    assert undescribed(fields_of(PLUGINS[name].config())) == []


@pytest.mark.parametrize("name", FACTS)
def test_scopes_and_protocols_are_kongs(name: str) -> None:
    plugin, facts = PLUGINS[name], FACTS[name]
    assert sorted(plugin.protocols) == sorted(facts["protocols"])
    assert plugin.protocols_allowed == facts["protocols_allowed"]
    assert sorted(plugin.forbidden_scopes) == sorted(facts["forbidden_scopes"])


@pytest.mark.parametrize("name", FACTS)
def test_entity_checks_are_kongs(name: str) -> None:
    schema = PLUGINS[name].config()
    assert declared([check.document() for check in schema.entity_checks]) == declared(FACTS[name].get("checks", []))
    assert declared([check.document() for check in schema.checks]) == declared(FACTS[name].get("config_checks", []))


@pytest.mark.parametrize("name", [name for name in FACTS if "shorthand_fields" in FACTS[name]])
def test_old_names_stand_for_kongs_new_ones(name: str) -> None:
    shown = attributes_of(Record(PLUGINS[name].config))["shorthand_fields"]
    ours = [
        (field, ".".join(facts.get("deprecation", NO_PATH)["replaced_with"][0]["path"]), facts["type"])
        for entry in shown
        for field, facts in entry.items()
    ]
    kongs = [
        (field, "traces_endpoint" if facts.get("deprecated") is True else facts.get("deprecated", ""), facts["type"])
        for entry in FACTS[name]["shorthand_fields"]
        for field, facts in entry.items()
    ]
    assert ours == kongs


def rules(entry: dict[str, Any]) -> dict[str, Any]:
    """A field of an entity; an empty default of a reference is none."""
    return {name: value for name, value in simplified(entry).items() if (name, value) != ("default", [])}


@pytest.mark.parametrize("name", sorted(ENTITIES.keys() & CATALOGUE.keys()))
def test_entities_of_plugins_are_kongs(name: str) -> None:
    entity, facts = CATALOGUE[name], ENTITIES[name]
    ours = {field: rules(shown) for entry in fields_of(entity.schema) for field, shown in entry.items()}
    assert ours == {field: rules(shown) for entry in facts["fields"] for field, shown in entry.items()}
    assert entity.endpoint_key == facts.get("endpoint_key")
    assert entity.cache_key == tuple(facts.get("cache_key", ()))
    assert entity.ttl == facts.get("ttl", False)
    assert entity.collection == facts.get("admin_api_name", name)
    assert entity.admin == facts.get("generate_admin_api", True)


MINIMAL: dict[str, dict[str, Any]] = {
    "acls": {"group": "g"},
    "basicauth_credentials": {"username": "u", "password": "p"},
    "hmacauth_credentials": {"username": "u"},
    "jwt_secrets": {},
    "keyauth_credentials": {},
    "oauth2_credentials": {"name": "n"},
    "oauth2_tokens": {"expires_in": 5},
    "oauth2_authorization_codes": {},
    "sessions": {"session_id": "s"},
}
"""The least that has to be given of an entity, but for what it belongs to."""


@pytest.fixture(scope="module")
def store() -> Iterator[InMemoryGateway]:
    made = InMemoryGateway()
    yield made
    made.close()


@pytest.mark.parametrize("name", MINIMAL)
def test_the_defaults_that_are_published_are_those_that_are_applied(name: str, store: InMemoryGateway) -> None:
    fields = {field: shown for entry in ENTITIES[name]["fields"] for field, shown in entry.items()}
    parents = {}
    for field, shown in fields.items():
        if shown["type"] == "foreign" and shown.get("required"):
            kind = shown["reference"]
            if kind == "consumers":
                parents[field] = {"id": store.insert(kind, custom_id=name)["id"]}
            else:
                owner = store.insert("consumers", username=f"owner of {name}")
                parents[field] = {"id": store.insert(kind, consumer={"id": owner["id"]}, **MINIMAL[kind])["id"]}
    stored = store.insert(name, **MINIMAL[name], **parents)
    for field, shown in fields.items():
        if field in MINIMAL[name] or field in parents:
            continue
        if shown.get("auto"):
            assert stored[field], f"{field} is made when it is not given"
        else:
            assert stored.get(field) == (None if shown.get("default") == [] else shown.get("default")), field


def test_priorities_are_kongs() -> None:
    assert {name: plugin.priority for name, plugin in PLUGINS.items()} == {name: PRIORITIES[name] for name in PLUGINS}


def test_announced_plugins_are_not_bundled() -> None:
    assert sorted(ANNOUNCED) == list(ANNOUNCED)
    assert not set(ANNOUNCED) & set(BUNDLED), "what is there is announced no longer: remove it from plugins/announced"


def test_bundled_names_stand_in_the_order_in_which_they_run() -> None:
    assert sorted(BUNDLED, key=lambda name: -PRIORITIES[name]) == list(BUNDLED)


def test_versions_are_kongs() -> None:
    assert {plugin.version for plugin in PLUGINS.values()} == {"3.9.1"}
