"""`check`: judge a configuration file."""

from __future__ import annotations

import click

from kong_gevent import conf
from kong_gevent.cli.base import CONTEXT, Options, add_options, example
from kong_gevent.cli.startup import check_plugins


@click.command("check", context_settings=CONTEXT, epilog=example("kong-gevent check /etc/kong/kong.conf"))
@click.argument("file", required=False, metavar="FILE")
@add_options()
def command(options: Options, file: str | None) -> int:
    """Check a configuration file together with the KONG_* variables, and list everything that is wrong."""
    path = file or options.file
    try:
        settings = conf.load(path, options.overrides)
        check_plugins(settings)
    except conf.ConfigurationError as error:
        for message in error.messages:
            click.echo(f"[error] {message}", err=True)
        return 1
    for warning in settings.warnings:
        click.echo(f"[warn] {warning}", err=True)
    click.echo(f"configuration at {path} is valid" if path else "the configuration is valid")
    return 0
