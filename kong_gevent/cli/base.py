"""What commands share: their options, their output, and the settings they work with."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any

import click

from kong_gevent import conf

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
HINT = "\n  Run with --v (verbose) or --vv (debug) for more details"


@dataclass(frozen=True)
class Options:
    """The options that every command takes."""

    file: str | None = None
    """The configuration file (-c)."""
    prefix: str | None = None
    verbosity: int = 0
    """0 plain, 1 verbose, 2 debug."""

    @property
    def overrides(self) -> dict[str, str]:
        """Settings that flags decide."""
        return {} if self.prefix is None else {"prefix": self.prefix}

    def load(self) -> conf.Settings:
        """Load the settings as a new gateway would, and tell about them."""
        settings = conf.load(self.file, self.overrides)
        for warning in settings.warnings:
            click.echo(f"Warning: {warning}", err=True)
        self.verbose(f"prefix: {settings.prefix}")
        for name, value in settings.as_dict().items():
            self.debug(f"{name} = {value}")
        return settings

    def running_prefix(self) -> str:
        """The prefix of the running gateway that is meant. Raises ClickException when there is no such directory."""
        prefix = conf.find_prefix(self.prefix, self.file)
        if not os.path.isdir(prefix):
            raise click.ClickException(f"no such prefix: {prefix}")
        return prefix

    def running(self) -> conf.Settings:
        """The settings of the gateway that runs in the prefix."""
        return conf.load_running(self.running_prefix())

    def verbose(self, text: str) -> None:
        """Print with --v and --vv."""
        if self.verbosity >= 1:
            click.echo(f"[verbose] {text}", err=True)

    def debug(self, text: str) -> None:
        """Print with --vv."""
        if self.verbosity >= 2:
            click.echo(f"[debug] {text}", err=True)


class Subcommands(click.Group):
    """A group of sub-commands that names the one which does not exist, as Kong does."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a sub-command."""
        if args[0] not in self.list_commands(ctx):
            raise click.ClickException(f"No such command for {self.name}: {args[0]}")
        return super().resolve_command(ctx, args)


def merge(outer: Options | None, inner: Options) -> Options:
    """Options given before the command and after it; the later ones win."""
    if outer is None:
        return inner
    return Options(inner.file or outer.file, inner.prefix or outer.prefix, max(inner.verbosity, outer.verbosity))


def add_options(with_conf: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command `-p`, `--v`, `--vv` and (when `with_conf`) a visible `-c`; it receives them as `options`."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @click.option("-c", "--conf", "conf_", metavar="FILE", hidden=not with_conf, help="Configuration file to read.")
        @click.option("-p", "--prefix", metavar="DIR", help="Working directory of the gateway.")
        @click.option("--v", "verbose", is_flag=True, help="Say more.")
        @click.option("--vv", "debug", is_flag=True, help="Say all.")
        @click.pass_context
        @wraps(function)
        def run(
            ctx: click.Context, /, conf_: str | None, prefix: str | None, verbose: bool, debug: bool, **rest: Any
        ) -> Any:
            own = Options(conf_, prefix, 2 if debug else int(verbose))
            ctx.obj = merge(ctx.obj, own)
            return ctx.invoke(function, options=ctx.obj, **rest)

        return run

    return decorate


def example(*lines: str) -> str:
    """An epilog with examples, kept line by line."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def ignored(options: Mapping[str, Any]) -> None:
    """Say that options of Kong which have no meaning here were given."""
    for name, value in options.items():
        if value is not None:
            click.echo(f"Warning: --{name.replace('_', '-')} is accepted for Kong's sake and has no effect", err=True)


def nginx_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Kong's options about its nginx template: accepted, without effect."""
    function = click.option("--nginx-conf", metavar="FILE", hidden=True)(function)
    return click.option("--nginx-conf-flags", metavar="FLAGS", hidden=True)(function)


def timeout_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--db-timeout` and `--lock-timeout`, as every command takes them that may touch the schema."""
    function = click.option(
        "--lock-timeout", type=click.FloatRange(min=0), default=60, show_default=True,
        help="Seconds to wait for another process that changes the schema.",
    )(function)  # fmt: skip
    return click.option(
        "--db-timeout", type=click.FloatRange(min=0), default=None,
        help="Seconds to wait for a shared datastore that does not answer.  [default: 60]",
    )(function)  # fmt: skip
