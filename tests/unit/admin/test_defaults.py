"""What the server fills in is what `/schemas/…` tells: every default of every entity and of every plugin's settings."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from kong_gevent.admin import LocalNode, PluginInfo, create_app
from kong_gevent.conf import load
from kong_gevent.db import open_store
from kong_gevent.pdk.loader import load_announced, load_plugins
from tests.unit.admin.api import Api
from tests.unit.admin.hostile import Shape, fields_of
from tests.unit.admin.test_announced import LEAST as ANNOUNCED
from tests.unit.admin.world import SEEDS

PLUGINS = {**load_plugins(["bundled"]), **load_announced()}
LEAST: dict[str, Shape] = {
    **ANNOUNCED,
    "acl": {"allow": ["g"]},
    "file-log": {"path": "/tmp/x.log"},
    "http-log": {"http_endpoint": "http://h/"},
    "ip-restriction": {"deny": ["10.0.0.0/8"]},
    "ldap-auth": {"ldap_host": "h", "base_dn": "dc=a", "attribute": "cn"},
    "loggly": {"key": "k"},
    "oauth2": {"enable_client_credentials": True},
    "proxy-cache": {"strategy": "memory"},
    "rate-limiting": {"minute": 1},
    "redirect": {"location": "https://h/"},
    "response-ratelimiting": {"limits": {"sms": {"minute": 1}}},
    "standard-webhooks": {"secret_v1": "c2VjcmV0"},
    "tcp-log": {"host": "h", "port": 1},
    "udp-log": {"host": "h", "port": 1},
}
"""Settings without which a plugin is refused, where its schema does not say enough to make them up."""
NOBODY = "11111111-1111-4111-8111-111111111111"
COMPUTED = {"id", "created_at", "updated_at", "ttl"}
"""What is the server's own business, beside fields with `auto`."""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A node with all plugins, also those that cannot be enabled yet, and one entity of most kinds."""
    settings = load(overrides={"database": "memory", "prefix": str(tmp_path_factory.mktemp("prefix"))}, environ={})
    store = open_store(settings, PLUGINS)
    store.connect()
    node = LocalNode(settings, store, {name: PluginInfo(schema=plugin) for name, plugin in PLUGINS.items()})
    made = Api(create_app(node), node)
    yield made
    store.close()


def filled(field: Shape, given: Any) -> Any:
    """A value with the published defaults of all records in it."""
    kind = field["type"]
    if given is None:
        return None
    if kind == "record":
        return filled_record(field, given)
    if kind in ("array", "set"):
        return [filled(field["elements"], item) for item in given]
    if kind == "map":
        return {key: filled(field["values"], item) for key, item in given.items()}
    return given


def filled_record(shape: Shape, given: Mapping[str, Any]) -> Shape:
    """A record with the published defaults of the fields that were not given; `auto` ones have none."""
    made: Shape = {}
    for name, field in fields_of(shape).items():
        if name in given:
            made[name] = filled(field, given[name])
        elif field["type"] == "record" and field.get("required"):
            made[name] = filled_record(field, field.get("default") or {})
        elif not field.get("auto"):
            made[name] = field.get("default")  # as it stands: clients do not look into defaults of lists either
    return made


def without_shorthands(shape: Shape, shown: Any) -> Any:
    """An answer without old names, at any depth."""
    kind = shape["type"]
    if shown is None:
        return None
    if kind in ("array", "set"):
        return [without_shorthands(shape["elements"], item) for item in shown]
    if kind == "map":
        return {key: without_shorthands(shape["values"], item) for key, item in shown.items()}
    if kind != "record":
        return shown
    old = {name for entry in shape.get("shorthand_fields", ()) for name in entry}
    shapes = fields_of(shape)
    return {name: without_shorthands(shapes[name], item) for name, item in shown.items() if name not in old}


def least(field: Shape) -> Any:
    """A value that a field may well accept."""
    if field["type"] == "record":
        return least_settings(field)
    if field["type"] in ("array", "set"):
        return [least(field["elements"])]
    if field["type"] == "map":
        return {"a": least(field["values"])}
    if field["type"] in ("integer", "number"):
        return field.get("between", [1])[0]
    text = NOBODY if field.get("uuid") else field.get("starts_with", "") + "a"
    return field["one_of"][0] if "one_of" in field else field["type"] != "boolean" and text


def least_settings(shape: Shape) -> Shape:
    """What a record has to say."""
    fields = fields_of(shape).items()
    return {name: least(field) for name, field in fields if field.get("required") and "default" not in field}


def given_to(api: Api, plugin: str) -> Shape:
    """Settings that a plugin takes, and no more of them than it needs."""
    return LEAST[plugin] if plugin in LEAST else least_settings(config_of(api, plugin))


def config_of(api: Api, plugin: str) -> Shape:
    status, document = api.get(f"/schemas/plugins/{plugin}")
    assert status == 200
    return fields_of(document)["config"]


DEEP: dict[str, Shape] = {
    "acme": {"account_key": {"key_id": "k"}},
    "ai-prompt-decorator": {"prompts": {"append": [{"content": "c"}]}},
    "ai-proxy": {"auth": {}, "model": {"provider": "openai", "options": {"gemini": {}, "bedrock": {}}}},
    "ai-prompt-template": {"templates": [{"name": "a", "template": "b"}, {"name": "c", "template": "d"}]},
    "datadog": {"metrics": [{"name": "request_count", "stat_type": "counter", "sample_rate": 1}]},
    "http-log": {"queue": {}, "headers": {"x-a": "1"}},
    "proxy-cache": {"memory": {}, "vary_headers": ["a"]},
    "rate-limiting": {"redis": {"host": "h"}},
    "request-transformer": {"add": {"headers": ["a:b"]}},
    "response-ratelimiting": {"limits": {"a": {"second": 1}, "b": {"hour": 2, "day": 3}}},
    "statsd": {"metrics": [{"name": "latency", "stat_type": "gauge", "sample_rate": 1}]},
    "zipkin": {"static_tags": [{"name": "a", "value": "b"}]},
}
"""Settings with records that need not be there, and with records in lists and maps."""
SETTINGS = [*((name, {}) for name in sorted(PLUGINS)), *DEEP.items()]


@pytest.mark.parametrize(("plugin", "more"), SETTINGS, ids=[f"{name}{' deep' * bool(more)}" for name, more in SETTINGS])
def test_settings(api: Api, plugin: str, more: Shape) -> None:
    given = {**given_to(api, plugin), **more}
    row = api.make("/plugins", name=plugin, config=given)
    api.delete(f"/plugins/{row['id']}")
    shape = config_of(api, plugin)
    auto = {name for name, field in fields_of(shape).items() if field.get("auto")} - set(given)
    shown = {name: value for name, value in without_shorthands(shape, row["config"]).items() if name not in auto}
    assert shown == filled_record(shape, given)
    assert row["protocols"] == fields_of(api.get(f"/schemas/plugins/{plugin}")[1])["protocols"]["default"]
    assert row["enabled"] is True


@pytest.mark.parametrize("plugin", sorted(PLUGINS))
def test_old_names_of_settings_are_answered_beside_the_new_ones(api: Api, plugin: str) -> None:
    row = api.make("/plugins", name=plugin, config=given_to(api, plugin))
    api.delete(f"/plugins/{row['id']}")

    def check(shape: Shape, shown: Shape) -> None:
        old = {name: path for entry in shape.get("shorthand_fields", ()) for name, path in replacing(entry)}
        assert set(shown) == {*fields_of(shape), *old}
        for name, path in old.items():
            value: Any = shown
            for step in path:
                value = value[step]
            assert shown[name] == value, name
        for name, field in fields_of(shape).items():
            if field["type"] == "record" and shown[name] is not None:
                check(field, shown[name])

    check(config_of(api, plugin), row["config"])


def replacing(entry: Shape) -> Iterator[tuple[str, list[str]]]:
    """Old names, and the path of the new ones; those that mean something else today are not answered."""
    for name, field in entry.items():
        for change in field.get("deprecation", {}).get("replaced_with", ()):
            if change["path"]:
                yield name, change["path"]


PLAIN = [name for name in SEEDS if name not in ("plugins", "vaults")]
"""Those whose fields do not depend on one of them."""


def test_entities(api: Api) -> None:
    """One after the other, as later ones need the earlier ones; `snis` of certificates are entities themselves."""
    for name, (path, given) in SEEDS.items():
        row = api.make(path, **given)
        if name not in PLAIN:
            continue
        shape = api.get(f"/schemas/{name}")[1]
        fields = fields_of(shape)
        computed = {name for name, field in fields.items() if field.get("auto")} | {"cert_digest", "password"}
        parents = {name for name, field in fields.items() if field["type"] == "foreign" and name in path_fields(path)}
        ignored = computed | COMPUTED | parents | {"snis"}
        expected = filled_record(shape, given)
        shown = {key: value for key, value in row.items() if key not in ignored}
        assert shown == {key: value for key, value in expected.items() if key not in ignored}, name


def path_fields(path: str) -> set[str]:
    """Fields that the path fills in."""
    words = {"services": "service", "upstreams": "upstream", "consumers": "consumer", "key-sets": "set"}
    return {words.get(path.split("/")[1], "credential")} if path.count("/") > 1 else set()
