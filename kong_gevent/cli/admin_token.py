"""`admin-token`: create, list and revoke tokens of the Admin API, on the datastore, since the API may be locked."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from kong_gevent.cli.base import CONTEXT, Options, Subcommands, add_options, example
from kong_gevent.cli.datastore import Patience, describe, make_ready, opened, require_lasting
from kong_gevent.errors import DaoError

if TYPE_CHECKING:
    from kong_gevent.db import Store

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


@click.group(
    "admin-token",
    cls=Subcommands,
    context_settings=CONTEXT,
    epilog=example("kong-gevent admin-token create ops", "kong-gevent admin-token create ci --read-only --expires 30d"),
)
def command() -> None:
    """Tokens with which clients use the Admin API (setting admin_auth = token)."""


class _Duration(click.ParamType[int]):
    """A time in seconds, or with a unit: 90, 30m, 12h, 30d."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number of seconds."""
        match = re.fullmatch(r"(\d{1,9})([smhd]?)", str(value), re.ASCII)
        if not match or not int(match[1]):
            self.fail(f"'{value}' is no time: write 90, 30m, 12h or 30d", param, ctx)
        return int(match[1]) * _UNITS[match[2]]


@contextmanager
def _store(options: Options) -> Iterator[Store]:
    """The store of the settings, with its schema in order."""
    settings = options.load()
    require_lasting(settings, "no tokens; the setting admin_token is one")
    make_ready(settings, False, Patience(), options.verbose)
    options.verbose(f"datastore: {describe(settings)}")
    with opened(settings) as store:
        store.connect()
        try:
            yield store
        except DaoError as error:
            raise click.ClickException(error.message) from error


def _as_json(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


@command.command("create", context_settings=CONTEXT, epilog=example("kong-gevent admin-token create ops"))
@click.argument("name")
@click.option("--read-only", is_flag=True, help="The token may read, and change nothing.")
@click.option("--expires", type=_Duration(), metavar="TIME", help="How long it is valid: 90 (s), 30m, 12h, 30d.")
@_as_json
@add_options()
def create(options: Options, name: str, read_only: bool, expires: int | None, as_json: bool) -> None:
    """Create the token NAME and print it. It cannot be shown again: the datastore only has its digest."""
    from kong_gevent.db import tokens

    with _store(options) as store:
        values = {
            "name": name,
            "read_only": read_only,
            "expires_at": int(time.time()) + expires if expires else None,
        }
        made = tokens.create(store, values)
    click.echo(json.dumps(made) if as_json else made["token"])


@command.command("list", context_settings=CONTEXT, epilog=example("kong-gevent admin-token list"))
@_as_json
@add_options()
def list_(options: Options, as_json: bool) -> None:
    """List the tokens: name, rights, when they were made and when they end."""
    from kong_gevent.db import tokens

    with _store(options) as store:
        rows = [tokens.shown(row) for row in store.dao(tokens.KIND).each()]
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in sorted(rows, key=lambda row: str(row["name"])):
        rights = "read only" if row["read_only"] else "all rights"
        click.echo(f"{row['name']}  {rights}  made {_date(row['created_at'])}  {_end(row['expires_at'])}")


def _date(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(seconds))


def _end(expires_at: int | None) -> str:
    if expires_at is None:
        return "no end"
    return f"{'expired' if expires_at <= time.time() else 'until'} {_date(expires_at)}"


@command.command("revoke", context_settings=CONTEXT, epilog=example("kong-gevent admin-token revoke ops"))
@click.argument("name")
@add_options()
def revoke(options: Options, name: str) -> None:
    """Revoke the token NAME (or id); every node refuses it within db_update_frequency seconds."""
    from kong_gevent.db import tokens
    from kong_gevent.schema.rules import is_uuid

    with _store(options) as store:
        dao = store.dao(tokens.KIND)
        gone = dao.delete(name) if is_uuid(name) else dao.delete_by("name", name)
    if not gone:
        raise click.ClickException(f"there is no token '{name}'")
    click.echo(f"token '{name}' revoked")
