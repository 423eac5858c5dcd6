"""Vault references in settings: `{vault://env/NAME}` is replaced by what the environment says when settings load."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from urllib.parse import parse_qs

_REFERENCE = re.compile(r"\{vault://([^/?#{}]+)/([^?#{}]+)(?:\?([^#{}]*))?(?:#(\d+))?\}\Z")


def is_reference(text: str) -> bool:
    """Whether the whole of `text` has the form of a vault reference."""
    return text.startswith("{vault://") and text.endswith("}")


def resolve(text: str, environ: Mapping[str, str]) -> str:
    """The secret that a reference names. Raises ValueError with a message that names the reference, never the secret.

    A second part of the path is a key inside a JSON secret, unless the path ends with a slash, as in Kong.
    """
    match = _REFERENCE.match(text)
    if not match:
        raise ValueError(f"'{text}' is not a valid vault reference")
    vault, path, query, version = match.groups()
    if vault != "env":
        raise ValueError(f"'{text}' names the vault '{vault}'; settings can only use 'env'")
    prefix = parse_qs(query or "").get("prefix", [""])[0]
    resource, key = path.rstrip("/"), None
    if "/" in path and not path.endswith("/"):
        resource, _, key = path.rpartition("/")
    variable = (prefix + resource).upper().replace("-", "_") + ("_PREVIOUS" if version == "2" else "")
    secret = environ.get(variable)
    if secret is None:
        raise ValueError(f"'{text}' cannot be resolved: the environment variable {variable} is not set")
    return secret if key is None else _inside(text, secret, key)


def _inside(text: str, secret: str, key: str) -> str:
    try:
        value = json.loads(secret)[key]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"'{text}' cannot be resolved: the secret is not a JSON object with '{key}'") from None
    return value if isinstance(value, str) else json.dumps(value)
