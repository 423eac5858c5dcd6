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
from kong_gevent.cli.datastore import Patience, make_ready
from kong_gevent.cli.stopping import stop_now


@click.command("restart", context_settings=CONTEXT, epilog=example("kong-gevent restart -c kong.conf"))
@click.option("--run-migrations", is_flag=True, help="Upgrade the datastore first.")
@timeout_options
@nginx_options
@add_options()
def command(options: Options, run_migrations: bool, lock_timeout: float, db_timeout: float | None, **kong: Any) -> None:
    """Stop the gateway if it runs, then start it.

    Settings and datastore are checked first: bad ones, or a datastore that is away, leave it running.
    """
    ignored(kong)
    settings = conf.load(options.file, options.overrides)
    startup.check_plugins(settings)
    pid, patience = process.running_pid(settings.prefix), Patience(db_timeout, lock_timeout)
    if pid is not None:
        make_ready(settings, run_migrations, patience, options.verbose, startup.has_last_good(settings))
        stop_now(settings.prefix, pid)
    startup.start(options, False, run_migrations, patience)
