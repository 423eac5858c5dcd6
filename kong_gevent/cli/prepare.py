"""`prepare`: make the prefix without starting."""

from __future__ import annotations

from typing import Any

import click

from kong_gevent.cli import datastore, process, startup
from kong_gevent.cli.base import CONTEXT, Options, add_options, example, ignored, nginx_options
from kong_gevent.cli.declared import load_document
from kong_gevent.conf import prefix


@click.command(
    "prepare",
    context_settings=CONTEXT,
    epilog=example(
        "kong-gevent prepare -p /var/lib/kong",
    ),
)
@click.option("--store", is_flag=True, help="Also make the embedded store, and refuse when a gateway runs here.")
@nginx_options
@add_options()
def command(options: Options, store: bool, **kong: Any) -> None:
    """Make the prefix and record the settings there, so that the server can be started by hand."""
    ignored(kong)
    settings = options.load()
    prefix.prepare(settings)
    startup.check_plugins(settings)
    if store:
        with process.start_lock(settings.prefix):
            startup.refuse_running(settings)
            datastore.make_ready(settings, False, datastore.Patience(), options.verbose)
            load_document(settings, fallback=True)
    prefix.save(settings)
    options.verbose(f"prepared; `KONG_CONF={settings.running_file} gunicorn -c gunicorn.conf.py` runs it")
