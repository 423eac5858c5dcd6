"""The vault `env`: secrets are environment variables of the gateway's processes."""

from __future__ import annotations

from collections.abc import Mapping

NAME = "env"
PREVIOUS = 2
"""The version that is the secret before the present one: the variable with `_PREVIOUS` at its end."""


def variable(config: Mapping[str, object], resource: str, version: int | None) -> str:
    """The variable of a secret: prefix and name in upper case, with underscores for hyphens."""
    name = f"{config.get('prefix') or ''}{resource}".upper().replace("-", "_")
    return f"{name}_PREVIOUS" if version == PREVIOUS else name


def get(
    config: Mapping[str, object], resource: str, version: int | None, environ: Mapping[str, str]
) -> tuple[str | None, str]:
    """The secret (None: there is none), and where it was looked for."""
    name = variable(config, resource, version)
    return environ.get(name), f"the environment variable {name}"
