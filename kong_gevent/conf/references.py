"""Vault references in settings: `{vault://env/NAME}` is replaced by what the environment says when settings load."""

from __future__ import annotations

import os
from collections.abc import Mapping

from kong_gevent.vaults import is_reference, parse
from kong_gevent.vaults import resolve as look_up
from kong_gevent.vaults.env import NAME

__all__ = ["is_reference", "resolve", "variables"]


def variables() -> Mapping[str, str]:
    """What the vault `env` reads: the environment of this process."""
    return os.environ


def resolve(text: str, environ: Mapping[str, str]) -> str:
    """The secret that a reference names. Raises ValueError with a message that names the reference, never the secret.

    Vault entities are in the datastore, which the settings lead to: only types of vaults can be named.
    """
    reference = parse(text)
    if reference.vault != NAME:
        raise ValueError(f"'{text}' names the vault '{reference.vault}'; settings can only use '{NAME}'")
    return look_up(reference, {}, environ)
