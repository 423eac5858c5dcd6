"""Plugins of which only the settings are known: validated and published, but not to be had."""

import pytest

from kong_gevent.plugins import ANNOUNCED

LEAST = {
    "acme": {"account_email": "a@b.test", "tos_accepted": True},
    "ai-prompt-decorator": {"prompts": {"prepend": [{"content": "c"}]}},
    "ai-prompt-guard": {"deny_patterns": ["x"]},
    "ai-prompt-template": {"templates": [{"name": "n", "template": "t"}]},
    "ai-proxy": {"route_type": "llm/v1/chat", "model": {"provider": "openai"}},
    "ai-request-transformer": {"prompt": "p", "llm": {"route_type": "llm/v1/chat", "model": {"provider": "openai"}}},
    "ai-response-transformer": {"prompt": "p", "llm": {"route_type": "llm/v1/chat", "model": {"provider": "openai"}}},
    "azure-functions": {"appname": "a", "functionname": "f"},
    "opentelemetry": {"traces_endpoint": "http://h/p"},
    "post-function": {"access": ["return"]},
    "pre-function": {"access": ["return"]},
}
WRONG = [
    ("acme", {"account_email": "x"}, {"account_email": "invalid value: x"}),
    ("aws-lambda", {"proxy_url": "https://h"}, {"proxy_url": "proxy_url scheme must be http"}),
    ("aws-lambda", {"unhandled_status": 99}, {"unhandled_status": "value should be between 100 and 999"}),
    ("statsd", {"metrics": [{"name": "x"}]}, {"metrics": [{
        "name": "expected one of: kong_latency, latency, request_count, request_per_user, request_size, response_size, "
        "status_count, status_count_per_user, unique_users, upstream_latency, status_count_per_workspace, "
        "status_count_per_user_per_route, shdict_usage", "stat_type": "required field missing"}]}),
    ("zipkin", {"propagation": {"default_format": "x"}}, {"propagation": {
        "default_format": "expected one of: ot, gcp, aws, b3-single, w3c, b3, datadog, jaeger"}}),
]  # fmt: skip


@pytest.mark.parametrize("name", ANNOUNCED)
def test_settings_are_validated_and_published(api, name):
    body = {"name": name, "config": LEAST.get(name, {})}
    assert api.post("/schemas/plugins/validate", body) == (200, {"message": "schema validation successful"})
    status, answer = api.post("/schemas/plugins/validate", {**body, "config": {**body["config"], "nonsense": 1}})
    assert (status, answer["fields"]) == (400, {"config": {"nonsense": "unknown field"}})
    fields = {key: field for entry in api.get(f"/schemas/plugins/{name}")[1]["fields"] for key, field in entry.items()}
    assert fields["protocols"]["default"] == ["grpc", "grpcs", "http", "https"]
    assert api.get(f"/plugins/schema/{name}")[1]["fields"] == fields["config"]["fields"]


@pytest.mark.parametrize("name", ANNOUNCED)
def test_they_cannot_be_had(api, name):
    text = f"plugin '{name}' not enabled; add it to the 'plugins' configuration property"
    assert api.post("/plugins", {"name": name})[1]["fields"] == {"name": text}
    assert name not in api.get("/plugins/enabled")[1]["enabled_plugins"]


@pytest.mark.parametrize(("name", "config", "fields"), WRONG)
def test_wrong_settings(api, name, config, fields):
    status, body = api.post("/schemas/plugins/validate", {"name": name, "config": config})
    assert (status, body["fields"]) == (400, {"config": fields})


def test_scopes_are_forbidden(api):
    scopes = {scope: {"id": "11111111-1111-4111-8111-111111111111"} for scope in ("consumer", "route", "service")}
    body = {"name": "acme", "config": LEAST["acme"], **scopes}
    assert api.post("/schemas/plugins/validate", body)[1]["fields"] == dict.fromkeys(scopes, "value must be null")


def test_providers_need_their_options(api):
    config = {
        "route_type": "llm/v1/completions",
        "model": {"provider": "anthropic"},
        "logging": {"log_statistics": True},
    }
    texts = api.post("/schemas/plugins/validate", {"name": "ai-proxy", "config": config})[1]["fields"]["config"][
        "@entity"
    ]
    assert "must set 'model.options.anthropic_version' for anthropic provider" in texts
    assert "statistics cannot be logged for anthropic with route_type llm/v1/completions" in texts


def test_unknown_plugins(api):
    text = "plugin 'x' not enabled; add it to the 'plugins' configuration property"
    assert api.post("/schemas/plugins/validate", {"name": "x"})[1]["fields"] == {"name": text}
    assert api.get("/schemas/plugins/x") == (404, {"message": "No plugin named 'x'"})
