"""`migrations`: create, upgrade, show or empty the datastore, with Kong's sub-commands and exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import click

from kong_gevent.cli.base import CONTEXT, Options, Subcommands, add_options, example, timeout_options
from kong_gevent.cli.datastore import Patience, describe, migrations, require_lasting
from kong_gevent.errors import MigrationError

NEEDS_BOOTSTRAP, PENDING, NEW = 3, 4, 5
"""Exit codes of `list`."""
_QUESTION = "> Are you sure? This operation is irreversible. [y/n] "


@click.command(
    "migrations",
    cls=Subcommands,
    invoke_without_command=True,
    context_settings=CONTEXT,
    epilog=example("kong-gevent migrations bootstrap", "kong-gevent migrations list -c kong.conf"),
)
@add_options()
@click.pass_context
def command(ctx: click.Context, options: Options) -> None:
    """Create, upgrade, show or empty the datastore."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def _subcommand(name: str, *examples: str) -> Callable[[Callable[..., Any]], click.Command]:
    """A sub-command with the options that all of them have; it gets `options` and the migrations of the store."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        @command.command(name, context_settings=CONTEXT, epilog=example(*examples))
        @click.option("-y", "--yes", is_flag=True, help="Do not ask.")
        @click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
        @click.option("-f", "--force", is_flag=True, help="With bootstrap: empty the datastore first.")
        @timeout_options
        @add_options()
        @wraps(function)
        def run(
            options: Options, yes: bool, quiet: bool, force: bool, db_timeout: float | None, lock_timeout: float
        ) -> Any:
            settings = options.load()
            require_lasting(settings, "nothing that could be migrated: there is nothing to do")
            say = _Say(quiet)
            options.verbose(f"store: {describe(settings)}")
            with migrations(settings, Patience(db_timeout, lock_timeout), None if quiet else _show) as found:
                from kong_gevent.db.migrations import LockHeld

                try:
                    return function(found, say, yes=yes, force=force)
                except LockHeld as error:
                    # The other node does what was asked for: no failure, as with Kong.
                    say(str(error))
                    return 0

        return run

    return decorate


def _show(text: str) -> None:
    """Progress goes where it does not mix with what scripts read."""
    click.echo(text, err=True)


class _Say:
    """Prints, unless told to be quiet."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet

    def __call__(self, text: str) -> None:
        if not self._quiet:
            click.echo(text)

    def names(self, title: str, names: Sequence[str]) -> None:
        """A group of migrations, as Kong lists them."""
        self(f"{title}\ncore: {', '.join(names)}")


@_subcommand("bootstrap", "kong-gevent migrations bootstrap", "kong-gevent migrations bootstrap --force --yes")
def bootstrap(found: Any, say: _Say, yes: bool, force: bool) -> int:
    """Create the schema of an empty datastore."""
    state = found.state()
    found.refuse_newer(state)
    if force and not found.untouched and not _sure(yes, "bootstrap --force"):
        say("cancelled")
        return 0
    if not force and not state.needs_bootstrap:
        say("Database already bootstrapped")
        return 0
    say("Bootstrapping database...")
    say("Database is up-to-date" if found.bootstrap(force=force) else "Database already bootstrapped")
    return 0


@_subcommand("up", "kong-gevent migrations up")
def up(found: Any, say: _Say, yes: bool, force: bool) -> int:
    """Run new migrations; nodes of the old version may go on serving."""
    done = found.up()
    if not done:
        say("Database is already up-to-date")
        return 0
    say.names("Migrations executed:", done)
    if found.state().pending:
        say("\nDatabase has pending migrations; run 'kong migrations finish' when ready")
    return 0


@_subcommand("finish", "kong-gevent migrations finish")
def finish(found: Any, say: _Say, yes: bool, force: bool) -> int:
    """Finish migrations after all nodes of the old version are gone."""
    done = found.finish()
    if done:
        say.names("Migrations finished:", done)
    else:
        say("No pending migrations to finish")
    return 0


@_subcommand("list", "kong-gevent migrations list")
def list_(found: Any, say: _Say, yes: bool, force: bool) -> int:
    """List migrations; exit code 0 up to date, 3 needs bootstrap, 4 pending ones, 5 new ones."""
    state = found.state()
    found.refuse_newer(state)
    if state.needs_bootstrap:
        say("Database needs bootstrapping or is older than Kong 1.0. Run 'kong migrations bootstrap'")
        return NEEDS_BOOTSTRAP
    if state.executed:
        say.names("Executed migrations:", state.executed)
    if state.pending:
        say.names("\nPending migrations:", state.pending)
        say("\nRun 'kong migrations finish' when ready")
    if state.new:
        say.names("\nNew migrations available:", state.new)
        say("\nRun 'kong migrations up' to proceed")
        return NEW
    return PENDING if state.pending else 0


@_subcommand("status", "kong-gevent migrations status")
def status(found: Any, say: _Say, yes: bool, force: bool) -> int:
    """Print the state of the schema as JSON."""
    say(json.dumps(found.state().to_dict(), sort_keys=True))
    return 0


@_subcommand("reset", "kong-gevent migrations reset --yes")
def reset(found: Any, say: _Say, yes: bool, force: bool) -> int:
    """Remove all content and the schema. This cannot be undone."""
    found.refuse_newer(found.state())
    if found.untouched:
        raise MigrationError("Database not bootstrapped, nothing to reset")
    if not _sure(yes, "reset"):
        say("cancelled")
        return 0
    say("Resetting database...")
    found.reset()
    say("Database successfully reset")
    return 0


def _sure(yes: bool, name: str) -> bool:
    """Ask on a terminal, three times at most; elsewhere --yes is needed. Raises ClickException."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise click.ClickException(f"not a tty: invoke '{name}' non-interactively with the --yes flag")
    for _ in range(3):
        click.echo(_QUESTION, nl=False)
        answer = sys.stdin.readline().strip().lower()
        if answer in ("y", "yes", "n", "no"):
            return answer.startswith("y")
    return False
