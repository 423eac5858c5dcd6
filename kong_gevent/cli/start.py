"""`start`: run a gateway in this prefix."""

from __future__ import annotations

from typing import Any

import click

from kong_gevent import conf
from kong_gevent.cli import startup
from kong_gevent.cli.base import (
    CONTEXT,
    Options,
    add_options,
    example,
    ignored,
    nginx_options,
    timeout_options,
)
from kong_gevent.cli.datastore import Patience


@click.command(
    "start",
    context_settings=CONTEXT,
    epilog=example(
        "kong-gevent start -p /var/lib/kong",
        "KONG_PROXY_LISTEN=127.0.0.1:9000 kong-gevent start -c kong.conf",
    ),
)
@click.option("--foreground", is_flag=True, help="Stay in the foreground, as supervisors and containers want it.")
@click.option("--run-migrations", is_flag=True, help="Upgrade the datastore first.")
@timeout_options
@nginx_options
@add_options()
def command(
    options: Options,
    foreground: bool,
    run_migrations: bool,
    lock_timeout: float,
    db_timeout: float | None,
    **kong: Any,
) -> None:
    """Start the gateway; returns when proxy, Admin API and status answer."""
    ignored(kong)
    startup.start(options, foreground, run_migrations, Patience(db_timeout, lock_timeout))
    steps = startup.next_steps(conf.load_running(options.running_prefix()))
    if steps:
        click.echo(steps)
