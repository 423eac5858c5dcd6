"""The command line: Kong's commands, options, messages and exit codes. Each command is a module, imported when used."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

import click

from kong_gevent.cli.base import CONTEXT, HINT, Options, add_options, merge
from kong_gevent.errors import ConfigurationError, GatewayError

COMMANDS = {
    "start": "Start the gateway in this prefix.",
    "stop": "Stop a running gateway at once.",
    "quit": "Stop a running gateway after its requests have finished.",
    "restart": "Stop, then start again.",
    "reload": "Give a running gateway new settings without losing a request.",
    "health": "Say whether a gateway is running.",
    "drain": "Report 'not ready' to load balancers while serving on.",
    "check": "Check a configuration file.",
    "prepare": "Make and check the prefix without starting.",
    "migrations": "Create, upgrade or reset the datastore.",
    "config": "Move a whole configuration into or out of the datastore.",
    "explain": "Say what would become of a request.",
    "trace": "Show real requests as they are served.",
    "admin-token": "Create, list or revoke tokens of the Admin API.",
    "plugin": "Begin a plugin of your own.",
    "dev": "Run servers for development.",
    "vault": "Look up a secret.",
    "version": "Print the version.",
}
HIDDEN = ("settings-page",)
STORE_COMMANDS = {"start", "restart", "reload", "prepare", "migrations", "config", "vault", "admin-token"}
"""Commands that talk to the datastore."""
LATER = ("hybrid",)
"""Commands of Kong that this version does not have: a clear answer rather than 'no such command'."""


class Commands(click.Group):
    """A group that imports a command's module only when that command runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order of the help page."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; its module defines it as `command`."""
        if cmd_name not in COMMANDS and cmd_name not in HIDDEN:
            return None
        command: click.Command = import_module(f"kong_gevent.cli.{cmd_name.replace('-', '_')}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As Kong, name the command that does not exist."""
        if args[0] in LATER:
            raise click.ClickException(f"the command '{args[0]}' is not available in this version yet")
        if args[0] not in COMMANDS and args[0] not in HIDDEN:
            raise click.ClickException(f"No such command: {args[0]}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(
    cls=Commands,
    context_settings=CONTEXT,
    invoke_without_command=True,
    epilog="Example: kong-gevent start -p /var/lib/kong\n\nThe options may stand before or after the command.",
)
@add_options()
@click.pass_context
def program(ctx: click.Context, options: Options) -> None:
    """Kong-gevent, an API gateway that speaks Kong's language."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and end the process: 0, or 1 with `Error: ...` on standard error."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None and STORE_COMMANDS.intersection(given):
        _make_cooperative()
    try:
        result = program.main(args=given, prog_name="kong-gevent", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(0)
    except click.ClickException as error:
        _fail([error.format_message()], given)
    except ConfigurationError as error:
        _fail(error.messages, given)
    except (GatewayError, OSError) as error:
        _fail([str(error)], given)
    except (KeyboardInterrupt, click.Abort):
        _fail(["interrupted"], given)
    except Exception as error:  # nobody who only uses the command should have to read a traceback; --vv shows it
        _fail([f"unexpected {type(error).__name__}: {error}"], given)
    sys.exit(result if isinstance(result, int) else 0)


def _make_cooperative() -> None:
    """Let waiting for a store leave room for other greenlets, as in the gateway's workers; before drivers load."""
    from gevent import monkey

    monkey.patch_all()


def _fail(messages: Sequence[str], given: Sequence[str]) -> NoReturn:
    if "--vv" in given:
        import traceback

        traceback.print_exc()
    click.echo("Error: " + "\n       ".join(messages), err=True)
    if not {"--v", "--vv"} & set(given):
        click.echo(HINT, err=True)
    sys.exit(1)


__all__ = ["COMMANDS", "main", "merge", "program"]
