"""`config`: a whole configuration as a file, checked, moved into the datastore or out of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kong_gevent.cli.base import CONTEXT, Options, Subcommands, add_options, example, timeout_options
from kong_gevent.cli.datastore import Patience, describe, opened
from kong_gevent.cli.problems import told
from kong_gevent.cli.progress import meter
from kong_gevent.cli.waiting import reach
from kong_gevent.conf import Settings

if TYPE_CHECKING:
    from kong_gevent.db import Catalogue, Store
    from kong_gevent.declarative import Document

SUBCOMMANDS = {
    "load": "kong_gevent.cli.config_load",
    "job": "kong_gevent.cli.config_job",
    "diff": "kong_gevent.cli.config_diff",
    "sync": "kong_gevent.cli.config_sync",
    "apply": "kong_gevent.cli.config_apply",
    "history": "kong_gevent.cli.config_history",
    "rollback": "kong_gevent.cli.config_rollback",
    "from_openapi": "kong_gevent.cli.config_openapi",
}
"""Sub-commands that are modules of their own: name → module, which defines it as `command`."""
DEFAULT_FILE = "kong.yml"
_EXAMPLE = """\
# A declarative configuration: `kong-gevent config parse kong.yml` checks it, `config db_import kong.yml` stores it.
_format_version: "3.0"

services:
- name: example
  url: http://127.0.0.1:8007/status
  routes:
  - name: example
    paths:
    - /example

# consumers:
# - username: somebody
#   keyauth_credentials:
#   - key: a-secret
"""


class ConfigCommands(Subcommands):
    """Takes hyphens for underscores."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a sub-command."""
        name = args[0].replace("-", "_")
        return super().resolve_command(ctx, [name if name in self.list_commands(ctx) else args[0], *args[1:]])

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All sub-commands, in the order of the help page."""
        return [*self.commands, *SUBCOMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A sub-command of this module or, imported only when needed, of another one."""
        if cmd_name not in SUBCOMMANDS:
            return super().get_command(ctx, cmd_name)
        found: click.Command = import_module(SUBCOMMANDS[cmd_name]).command
        return found


@click.command(
    "config",
    cls=ConfigCommands,
    invoke_without_command=True,
    context_settings=CONTEXT,
    epilog=example("kong-gevent config db_export kong.yml", "kong-gevent config db_import kong.yml -c other.conf"),
)
@add_options()
@click.pass_context
def command(ctx: click.Context, options: Options) -> None:
    """Check a declarative configuration, move one into the datastore or out of it."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def _quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")(function)


@command.command("init", context_settings=CONTEXT, epilog=example("kong-gevent config init"))
@click.argument("file", default=DEFAULT_FILE, metavar="[FILE]")
@add_options()
def init(options: Options, file: str) -> None:
    """Write an example of a declarative configuration to FILE."""
    with new_file(Path(file)) as stream:
        stream.write(_EXAMPLE)


@command.command("parse", context_settings=CONTEXT, epilog=example("kong-gevent config parse kong.yml"))
@click.argument("file", metavar="FILE")
@_quiet
@add_options()
def parse(options: Options, file: str, quiet: bool) -> None:
    """Check a declarative configuration without touching any datastore."""
    settings = options.load()
    with _parsed(file, catalogue_of(settings), quiet):
        _say("parse successful", quiet)


def _with_store(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a sub-command the store of the settings, reached and with a schema of this version."""

    @timeout_options
    @_quiet
    @add_options()
    @wraps(function)
    def run(options: Options, quiet: bool, db_timeout: float | None, lock_timeout: float, **given: Any) -> Any:
        settings = options.load()
        if settings.database in ("memory", "off"):
            reason = (
                "keeps nothing between two commands"
                if settings.database == "memory"
                else ("has no datastore: a running gateway takes documents by POST /config")
            )
            raise click.ClickException(f"database = {settings.database} {reason}")
        options.verbose(f"store: {describe(settings)}")
        with opened(settings, plugins=True) as store:
            reach(store.migrations.check, describe(settings), Patience(db_timeout).seconds(settings))
            return function(store, quiet, **given)

    return run


@command.command("db_import", context_settings=CONTEXT, epilog=example("kong-gevent config db_import kong.yml"))
@click.argument("file", metavar="FILE")
@_with_store
def db_import(store: Store, quiet: bool, file: str) -> None:
    """Store the entities of FILE (.yml, .yaml or .json) under their ids.

    The file is checked as a whole before anything is written. What the datastore has beyond the file stays.
    """
    from kong_gevent.declarative import check_conflicts, import_into

    with _parsed(file, store.catalogue, quiet) as document:
        with _telling(file, store.catalogue):
            check_conflicts(store, document)
        _say("parse successful, beginning import", quiet)
        with meter("Importing", document.count(), quiet=quiet) as shown:
            changed = import_into(store, document, shown.advance)
        _say(f"{document.count()} entities, {changed} of them new or changed\nimport successful", quiet)


@command.command("db_export", context_settings=CONTEXT, epilog=example("kong-gevent config db_export kong.yml"))
@click.argument("file", default=DEFAULT_FILE, metavar="[FILE]")
@_with_store
def db_export(store: Store, quiet: bool, file: str) -> None:
    """Write everything that the datastore holds to FILE (kong.yml; JSON when it ends in .json).

    The file holds secrets: only its owner may read it. An existing file is not overwritten.
    """
    from kong_gevent.declarative import export, writer_for

    path = Path(file)
    before = store.last_event_id()
    with new_file(path) as stream, meter("Exporting", quiet=quiet) as shown:
        count = export(store, writer_for(path, stream), shown.advance)
    _say(f"exported {count} entities to {path}", quiet)
    if store.last_event_id() != before:
        click.echo(
            "Warning: the configuration changed while it was exported; references in the file may lead nowhere. "
            "Export again when nobody changes anything",
            err=True,
        )


def _say(text: str, quiet: bool) -> None:
    if not quiet:
        click.echo(text)


def catalogue_of(settings: Settings) -> Catalogue:
    """What this build knows about entities, with the plugins that the settings name."""
    from kong_gevent.db import build
    from kong_gevent.pdk.loader import load_plugins

    return build(load_plugins(settings.plugins))


@contextlib.contextmanager
def _parsed(file: str, catalogue: Catalogue, quiet: bool) -> Iterator[Document]:
    """The valid document of a file. Raises ClickException with every problem and its place."""
    from kong_gevent.declarative import Document, read_file

    with _telling(file, catalogue), meter("Checking", quiet=quiet) as shown:
        document = Document.load(read_file(file), catalogue, shown.advance)
    with document:
        yield document


@contextlib.contextmanager
def _telling(file: str, catalogue: Catalogue) -> Iterator[None]:
    """Turn what is wrong with a document into the command's message."""
    from kong_gevent.declarative import InvalidDocument

    try:
        yield
    except InvalidDocument as error:
        raise click.ClickException(told(error, file, Path(file).read_bytes(), catalogue)) from None


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Any]:
    """A file to write that appears under its name when it is complete. Raises ClickException when there is one."""
    refusal = click.ClickException(f"{path} already exists; it is not overwritten")
    if os.path.lexists(path):
        raise refusal
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(part, path)
        except FileExistsError:
            raise refusal from None
        except OSError:
            os.rename(part, path)  # a file system without hard links
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
