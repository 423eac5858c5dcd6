"""Parts that several announced plugins have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kong_gevent.pdk import Config, checks, fields


def functions(when: str) -> fields.Array:
    """Functions of one phase."""
    return fields.Array(
        fields.String(),
        required=True,
        load_default=[],
        metadata={"description": f"Functions that run {when}."},
    )


def request_body_limit() -> fields.Integer:
    """How much of a request's body a plugin for language models looks at."""
    return fields.Integer(
        load_default=8192, gt=0, metadata={"description": "Bytes of a request's body that are looked at."}
    )


def llm_format() -> fields.String:
    """The format in which clients talk to a language model."""
    return fields.Choice(
        "openai",
        "bedrock",
        "gemini",
        load_default="openai",
        metadata={"description": "Format of the client's messages."},
    )


def message_array(place: str) -> fields.Array:
    """Messages that are added to a prompt."""
    return fields.Array(
        fields.Record(
            {
                "role": fields.Choice(
                    "system",
                    "assistant",
                    "user",
                    required=True,
                    load_default="system",
                    metadata={"description": "Who says it."},
                ),
                "content": fields.String(
                    required=True, len_min=1, len_max=500, metadata={"description": "What is said."}
                ),
            }
        ),
        len_max=15,
        metadata={"description": f"Messages put {place} the client's."},
    )


def statistics_error(values: Mapping[str, Any]) -> str | None:
    """Anthropic's completions tell nothing of their tokens."""
    if (
        values["model"]["provider"] == "anthropic"
        and values["route_type"] == "llm/v1/completions"
        and values["logging"]["log_statistics"]
    ):
        return "statistics cannot be logged for anthropic with route_type llm/v1/completions"
    return None


class FunctionsConfig(Config):
    """Functions for the phases of a request: settings of pre-function and post-function."""

    certificate = functions("when a TLS connection begins")
    rewrite = functions("before routing")
    access = functions("before the upstream is called")
    header_filter = functions("on the head of the answer")
    body_filter = functions("on each piece of the answer")
    log = functions("when everything is sent")
    checks = (
        checks.AtLeastOneOf(
            "config.certificate",
            "config.rewrite",
            "config.access",
            "config.header_filter",
            "config.body_filter",
            "config.log",
        ),
    )


class LlmConfig(Config):
    """A language model and how to reach it."""

    route_type = fields.Choice(
        "llm/v1/chat",
        "llm/v1/completions",
        "preserve",
        required=True,
        metadata={"description": "Kind of request that the route takes."},
    )
    auth = fields.Record(
        {
            "header_name": fields.String(referenceable=True, metadata={"description": "Header with the secret."}),
            "header_value": fields.String(
                referenceable=True, encrypted=True, metadata={"description": "Value of that header."}
            ),
            "param_name": fields.String(referenceable=True, metadata={"description": "Argument with the secret."}),
            "param_value": fields.String(
                referenceable=True, encrypted=True, metadata={"description": "Value of that argument."}
            ),
            "param_location": fields.Choice("query", "body", metadata={"description": "Where the argument goes."}),
            "gcp_use_service_account": fields.Boolean(
                load_default=False, metadata={"description": "Whether to log in with a service account of Google."}
            ),
            "gcp_service_account_json": fields.String(
                referenceable=True, metadata={"description": "That service account's key (JSON)."}
            ),
            "aws_access_key_id": fields.String(
                referenceable=True, encrypted=True, metadata={"description": "Access key of AWS."}
            ),
            "aws_secret_access_key": fields.String(
                referenceable=True, encrypted=True, metadata={"description": "Secret of the access key."}
            ),
            "allow_override": fields.Boolean(
                load_default=False, metadata={"description": "Whether the client's own secret wins."}
            ),
        },
        required=False,
        metadata={"description": "How the gateway logs in at the provider."},
    )
    model = fields.Record(
        {
            "provider": fields.Choice(
                "openai",
                "azure",
                "anthropic",
                "cohere",
                "mistral",
                "llama2",
                "gemini",
                "bedrock",
                "huggingface",
                required=True,
                metadata={"description": "Who runs it."},
            ),
            "name": fields.String(metadata={"description": "Name of it."}),
            "options": fields.Record(
                {
                    "max_tokens": fields.Integer(metadata={"description": "Most tokens of an answer."}),
                    "input_cost": fields.Number(
                        gt=0, metadata={"description": "Price of a million tokens that go in."}
                    ),
                    "output_cost": fields.Number(
                        gt=0, metadata={"description": "Price of a million tokens that come out."}
                    ),
                    "temperature": fields.Number(between=[0, 5], metadata={"description": "How freely it chooses."}),
                    "top_p": fields.Number(
                        between=[0, 1],
                        metadata={"description": "Share of the probability that choices are taken from."},
                    ),
                    "top_k": fields.Integer(
                        between=[0, 500], metadata={"description": "Number of tokens that choices are taken from."}
                    ),
                    "anthropic_version": fields.String(metadata={"description": "Version of Anthropic's API."}),
                    "azure_instance": fields.String(metadata={"description": "Name of the Azure resource."}),
                    "azure_api_version": fields.String(
                        load_default="2023-05-15", metadata={"description": "Version of Azure's API."}
                    ),
                    "azure_deployment_id": fields.String(metadata={"description": "Name of the Azure deployment."}),
                    "llama2_format": fields.Choice(
                        "raw", "openai", "ollama", metadata={"description": "Format that the model's server takes."}
                    ),
                    "mistral_format": fields.Choice(
                        "openai", "ollama", metadata={"description": "Format that the model's server takes."}
                    ),
                    "upstream_url": fields.Url(metadata={"description": "Address to use instead of the provider's."}),
                    "upstream_path": fields.String(metadata={"description": "Path to use instead of the provider's."}),
                    "gemini": fields.Record(
                        {
                            "api_endpoint": fields.String(metadata={"description": "Host of the regional API."}),
                            "project_id": fields.String(metadata={"description": "Project in which the model runs."}),
                            "location_id": fields.String(metadata={"description": "Region in which the model runs."}),
                        },
                        checks=[checks.MutuallyRequired("api_endpoint", "project_id", "location_id")],
                        required=False,
                        metadata={"description": "Settings for Gemini."},
                    ),
                    "bedrock": fields.Record(
                        {"aws_region": fields.String(metadata={"description": "Region of AWS."})},
                        required=False,
                        metadata={"description": "Settings for Bedrock."},
                    ),
                    "huggingface": fields.Record(
                        {
                            "use_cache": fields.Boolean(metadata={"description": "Whether cached answers will do."}),
                            "wait_for_model": fields.Boolean(
                                metadata={"description": "Whether to wait until the model is loaded."}
                            ),
                        },
                        required=False,
                        metadata={"description": "Settings for Hugging Face."},
                    ),
                },
                required=False,
                metadata={"description": "How it answers."},
            ),
        },
        metadata={"description": "The model that answers."},
    )
    logging = fields.Record(
        {
            "log_statistics": fields.Boolean(
                required=True, load_default=False, metadata={"description": "Whether tokens and times are logged."}
            ),
            "log_payloads": fields.Boolean(
                required=True, load_default=False, metadata={"description": "Whether requests and answers are logged."}
            ),
        },
        metadata={"description": "What is logged."},
    )
    config_checks = (
        checks.Conditional(
            "model.provider",
            {"one_of": ["bedrock", "gemini"]},
            "auth.allow_override",
            {"eq": False},
            "bedrock and gemini only support auth.allow_override = false",
        ),
        checks.MutuallyRequired("auth.header_name", "auth.header_value"),
        checks.MutuallyRequired("auth.param_name", "auth.param_value", "auth.param_location"),
        checks.ConditionalAtLeastOneOf(
            "model.provider",
            {"one_of": ["llama2"]},
            ("model.options.llama2_format",),
            "must set %s for llama2 provider",
        ),
        checks.ConditionalAtLeastOneOf(
            "model.provider",
            {"one_of": ["mistral"]},
            ("model.options.mistral_format",),
            "must set %s for mistral provider",
        ),
        checks.ConditionalAtLeastOneOf(
            "model.provider",
            {"one_of": ["anthropic"]},
            ("model.options.anthropic_version",),
            "must set %s for anthropic provider",
        ),
        checks.ConditionalAtLeastOneOf(
            "model.provider", {"one_of": ["azure"]}, ("model.options.azure_instance",), "must set %s for azure provider"
        ),
        checks.ConditionalAtLeastOneOf(
            "model.provider",
            {"one_of": ["azure"]},
            ("model.options.azure_api_version",),
            "must set %s for azure provider",
        ),
        checks.ConditionalAtLeastOneOf(
            "model.provider",
            {"one_of": ["azure"]},
            ("model.options.azure_deployment_id",),
            "must set %s for azure provider",
        ),
        checks.ConditionalAtLeastOneOf(
            "model.provider",
            {"one_of": ["llama2"]},
            ("model.options.upstream_url",),
            "must set %s for self-hosted providers/models",
        ),
        checks.Custom("route_type", "model", "logging", function=statistics_error),
    )


class Instruction(Config):
    """What a language model is told to do with a body."""

    prompt = fields.String(required=True, metadata={"description": "What the model is told to do."})
    transformation_extract_pattern = fields.String(
        metadata={"description": "Regular expression for the part of the answer that counts."}
    )


class ModelCall(Config):
    """How the transformers for language models reach theirs; their settings begin with an `Instruction`."""

    http_timeout = fields.Integer(
        required=True, load_default=60000, metadata={"description": "Milliseconds to wait for the model."}
    )
    https_verify = fields.Boolean(
        required=True, load_default=True, metadata={"description": "Whether the server's certificate must verify."}
    )
    max_request_body_size = request_body_limit()
    http_proxy_host = fields.Host(metadata={"description": "Proxy for clear connections."})
    http_proxy_port = fields.Port(metadata={"description": "Port of that proxy."})
    https_proxy_host = fields.Host(metadata={"description": "Proxy for TLS connections."})
    https_proxy_port = fields.Port(metadata={"description": "Port of that proxy."})
    llm = fields.Record(LlmConfig, metadata={"description": "The model and how to reach it."})
    checks = (
        checks.Conditional(
            "config.llm.route_type",
            {"not_one_of": ["llm/v1/chat"]},
            "config.llm.route_type",
            {"eq": "llm/v1/chat"},
            "'config.llm.route_type' must be 'llm/v1/chat' for AI transformer plugins",
        ),
        checks.MutuallyRequired("config.http_proxy_host", "config.http_proxy_port"),
        checks.MutuallyRequired("config.https_proxy_host", "config.https_proxy_port"),
    )
