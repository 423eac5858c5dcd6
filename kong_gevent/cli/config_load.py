"""`config load`: what a gateway without a database does with its document at a start and at a reload."""

from __future__ import annotations

import click

from kong_gevent.cli.base import CONTEXT, Options, add_options
from kong_gevent.cli.declared import load_document


@click.command("load", context_settings=CONTEXT, hidden=True)
@add_options()
def command(options: Options) -> None:
    """Load the document that the settings name into the gateway of this prefix (database = off)."""
    load_document(options.load(), fallback=False)
