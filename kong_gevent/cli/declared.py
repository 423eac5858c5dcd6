"""The document that a gateway without a database starts with."""

from __future__ import annotations

import click

from kong_gevent.cli.datastore import opened
from kong_gevent.cli.problems import told
from kong_gevent.conf import Settings


def load_document(settings: Settings, *, fallback: bool) -> None:
    """Load it. Raises ClickException with every problem.

    With `fallback` that is a warning if the store holds an earlier document.
    """
    from kong_gevent.declarative import InvalidDocument
    from kong_gevent.declarative.startup import load_named, named_text
    from kong_gevent.errors import ConfigurationError

    if settings.database != "off":
        return
    with opened(settings, plugins=True) as store:
        store.connect()
        try:
            load_named(store, settings)
            return
        except InvalidDocument as error:
            problem = told(error, *named_text(settings), store.catalogue)
        except ConfigurationError as error:
            problem = str(error)
        named = settings.declarative_config or "declarative_config_string"
        if not fallback or store.configuration_hash is None:
            raise click.ClickException(f"the declarative configuration {named} cannot be loaded: {problem}")
    click.echo(
        f"Warning: the declarative configuration {named} cannot be loaded, the last good one stays in force: {problem}",
        err=True,
    )
