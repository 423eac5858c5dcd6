"""`plugin`: begin a plugin of one's own, and keep its documentation page true."""

from __future__ import annotations

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import click

from kong_gevent.cli.base import CONTEXT, Options, Subcommands, add_options, example
from kong_gevent.cli.plugin_template import files
from kong_gevent.pdk import Plugin
from kong_gevent.pdk.docs import page_with_table

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@click.group(
    "plugin",
    cls=Subcommands,
    invoke_without_command=True,
    context_settings=CONTEXT,
    epilog=example("kong-gevent plugin new greeting", "kong-gevent plugin docs kong-gevent-greeting"),
)
@add_options(with_conf=False)
@click.pass_context
def command(ctx: click.Context, options: Options) -> None:
    """Begin a plugin of your own: code, settings, test and documentation page."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@command.command("new", context_settings=CONTEXT, epilog=example("kong-gevent plugin new greeting"))
@click.argument("name")
@click.option("--directory", metavar="DIR", help="Folder to make.  [default: kong-gevent-NAME]")
@add_options(with_conf=False)
def new(options: Options, name: str, directory: str | None) -> None:
    """Write a package with a plugin called NAME; its test passes at once."""
    if not NAME.fullmatch(name):
        raise click.ClickException(
            f"'{name}' is no name for a plugin: lower-case letters and digits, with single dashes between them"
        )
    if name in _bundled():
        raise click.ClickException(f"there is a bundled plugin called '{name}' already; choose another name")
    folder = Path(directory or f"kong-gevent-{name}")
    if folder.exists():
        raise click.ClickException(f"{folder} exists already; nothing was written")
    try:
        for path, text in files(name).items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
            options.verbose(f"wrote {target}")
    except OSError as error:
        raise click.ClickException(f"cannot write {error.filename or folder}: {error.strerror}") from None
    _write_table(folder)
    click.echo(
        f"Wrote {folder}. Next:\n"
        f"  python -m pytest {folder}                # its test\n"
        f"  pip install {folder}                     # where the gateway is installed\n"
        f"  KONG_PLUGINS=bundled,{name} kong-gevent restart"
    )


@command.command("docs", context_settings=CONTEXT, epilog=example("kong-gevent plugin docs kong-gevent-greeting"))
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@add_options(with_conf=False)
def docs(options: Options, folder: Path) -> None:
    """Bring the attribute table of a plugin's page up to date with its code; imports the code in FOLDER."""
    click.echo(f"{_write_table(folder)} is up to date")


def _bundled() -> tuple[str, ...]:
    from kong_gevent.plugins import BUNDLED

    return BUNDLED


def _write_table(folder: Path) -> Path:
    """Write the attribute table of the page in `folder`/docs; returns the page."""
    modules = [path for path in sorted(folder.glob("*/__init__.py")) if path.parent.name != "tests"]
    for module in modules:
        plugin = _plugin_in(module)
        if plugin is not None:
            page = folder / "docs" / f"{plugin.name}.md"
            try:
                page.write_text(page_with_table(page.read_text(encoding="utf-8"), plugin), encoding="utf-8")
            except FileNotFoundError:
                raise click.ClickException(f"there is no page {page}") from None
            except ValueError as error:
                raise click.ClickException(str(error)) from None
            return page
    raise click.ClickException(f"there is no plugin in {folder}")


def _plugin_in(path: Path) -> type[Plugin] | None:
    """The plugin class that a module defines."""
    spec = spec_from_file_location(path.parent.name, path, submodule_search_locations=[str(path.parent)])
    if spec is None or spec.loader is None:
        return None
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a plugin's own code runs here
        raise click.ClickException(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    own = (value for value in vars(module).values() if isinstance(value, type) and issubclass(value, Plugin))
    return next((value for value in own if value.__module__ == module.__name__ and value.name), None)
