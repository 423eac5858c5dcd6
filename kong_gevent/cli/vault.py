"""`vault`: what a reference leads to."""

from __future__ import annotations

from typing import Any

import click

from kong_gevent.cli.base import CONTEXT, Options, Subcommands, add_options, example
from kong_gevent.cli.datastore import Patience, describe, opened
from kong_gevent.cli.waiting import reach


@click.command(
    "vault",
    cls=Subcommands,
    invoke_without_command=True,
    context_settings=CONTEXT,
    epilog=example("kong-gevent vault get env/my-secret", "kong-gevent vault get '{vault://env/my-secret/password}'"),
)
@add_options()
@click.pass_context
def command(ctx: click.Context, options: Options) -> None:
    """Look up a secret by its reference."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@command.command("get", context_settings=CONTEXT, epilog=example("kong-gevent vault get env/my-secret"))
@click.argument("reference", metavar="REFERENCE")
@add_options()
def get(options: Options, reference: str) -> None:
    """Print the secret of REFERENCE: `env/NAME`, `PREFIX/NAME/KEY`, or with `{vault://` and `}` around it."""
    from kong_gevent.conf.references import variables
    from kong_gevent.vaults import Unresolved, parse, resolve
    from kong_gevent.vaults.lookup import TYPES

    try:
        found = parse(reference if reference.startswith("{") else f"{{vault://{reference}}}")
        vaults = {} if found.vault in TYPES else _vaults(options, found.vault)
        click.echo(resolve(found, vaults, variables()))
    except Unresolved as error:
        raise click.ClickException(str(error)) from None


def _vaults(options: Options, prefix: str) -> dict[str, dict[str, Any]]:
    """The vault entity with a prefix, if the datastore has one."""
    settings = options.load()
    if settings.database in ("memory", "off"):
        return {}
    with opened(settings) as store:
        reach(store.migrations.check, describe(settings), Patience().seconds(settings))
        row = store.strategy.find("vaults", "prefix", prefix)
        if row is None:
            return {}
        entity = store.dao("vaults").select(row.id)
        return {prefix: entity} if entity else {}
