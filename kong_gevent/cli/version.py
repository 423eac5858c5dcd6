"""`version`: which Kong this is compatible with, and what it is made of."""

from __future__ import annotations

import platform

import click

import kong_gevent
from kong_gevent.cli.base import CONTEXT, Options, add_options, example


@click.command("version", context_settings=CONTEXT, epilog=example("kong-gevent version -a"))
@click.option("-a", "--all", "everything", is_flag=True, help="Also this product's own version and its parts.")
@add_options(with_conf=False)
def command(options: Options, everything: bool) -> None:
    """Print the version of Kong that this gateway is compatible with."""
    if not everything:
        click.echo(kong_gevent.KONG_VERSION)
        return
    from importlib.metadata import version

    click.echo(f"Kong: {kong_gevent.KONG_VERSION}")
    click.echo(f"kong-gevent: {kong_gevent.__version__}")
    for package in ("gunicorn", "gevent"):
        click.echo(f"{package}: {version(package)}")
    click.echo(f"Python: {platform.python_version()}")
