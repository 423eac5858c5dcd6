"""`restart`: stop, then start."""

from __future__ import annotations

from typing import Any

import click

from kong_gevent import conf
from kong_gevent.cli import process, startup
from kong_gevent.cli.base import (
    CONTEXT,
    Options,
    add_options,
    example,
    ignored,
    nginx_options,
    timeout_options,
)
from kong_gevent.cli.stopping import stop_now


@click.command("restart", context_settings=CONTEXT, epilog=example("kong-gevent restart -c kong.conf"))
@click.option("--run-migrations", is_flag=True, help="Upgrade the datastore first.")
@timeout_options
@nginx_options
@add_options()
def command(options: Options, run_migrations: bool, lock_timeout: float, db_timeout: float | None, **kong: Any) -> None:
    """Stop the gateway if it runs, then start it. The settings are checked first: bad ones leave it running."""
    ignored(kong)
    settings = conf.load(options.file, options.overrides)
    startup.check_plugins(settings)
    pid = process.running_pid(settings.prefix)
    if pid is not None:
        stop_now(settings.prefix, pid)
    startup.start(options, False, run_migrations, lock_timeout)
