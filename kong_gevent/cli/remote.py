"""What the `config` commands that talk to a running gateway share: its address, documents to it, changes shown."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Callable, Container, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kong_gevent.cli import probe
from kong_gevent.cli.base import Options
from kong_gevent.cli.problems import told
from kong_gevent.cli.progress import elsewhere

if TYPE_CHECKING:
    from kong_gevent.client import ApiError, Client

TIMEOUT = 120.0
_TOKEN = re.compile(r"[!-~]+")
_SIGNS = {"create": ("+", "green"), "update": ("~", "yellow"), "delete": ("-", "red")}


@dataclass(frozen=True)
class Remote:
    """Which gateway is meant, and how to speak to it; None where the command line says nothing.

    `ca`: PEM file with whom to trust; `cert`, `key`: PEM files that show who asks; `insecure`: trust everybody.
    """

    addr: str | None = None
    token: str | None = None
    token_file: str | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    insecure: bool = False

    def secret(self) -> str | None:
        """The token. Raises ClickException for a file that cannot be read, and for what cannot be a token."""
        token = self.token
        if token is None and self.token_file is not None:
            try:
                token = Path(self.token_file).read_text(encoding="latin-1").strip()
            except OSError as error:
                raise click.ClickException(f"cannot read a token from {self.token_file}: {error.strerror}") from None
        if token is not None and not _TOKEN.fullmatch(token):
            place = "--token" if self.token is not None else self.token_file
            raise click.ClickException(f"{place} holds no token: one is a word of visible ASCII characters")
        return token

    def identity(self) -> str | tuple[str, str] | None:
        """The client certificate, with its key when that is in a file of its own."""
        if self.key is not None and self.cert is None:
            raise click.ClickException("--key is the key of a certificate: say which with --cert")
        return self.cert if self.cert is None or self.key is None else (self.cert, self.key)


_FILE = click.Path(exists=True, dir_okay=False, readable=True)
_OPTIONS = (
    click.option("--addr", metavar="URL", help="The Admin API; else that of the gateway in the prefix."),
    click.option(
        "--token", metavar="TOKEN", envvar="KONG_GEVENT_ADMIN_TOKEN",
        help="Token for the Admin API, where it wants one.",
    ),
    click.option("--token-file", metavar="FILE", type=_FILE, help="File that holds the token."),
    click.option("--ca", metavar="FILE", type=_FILE, help="Authorities (PEM) to trust with https, else the system's."),
    click.option("--cert", metavar="FILE", type=_FILE, help="Client certificate (PEM), with its key or with --key."),
    click.option("--key", metavar="FILE", type=_FILE, help="Key of --cert (PEM)."),
    click.option("--insecure", is_flag=True, help="Trust any server: only where nobody else can answer."),
)  # fmt: skip


def gateway_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which gateway; the command gets them as one `remote`."""
    names = [field.name for field in dataclasses.fields(Remote)]

    @functools.wraps(function)
    def command(*args: Any, **given: Any) -> Any:
        return function(*args, remote=Remote(**{name: given.pop(name) for name in names}), **given)

    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def tag_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--select-tag`."""
    return click.option(
        "--select-tag", "tags", metavar="TAG", multiple=True,
        help="Only delete entities with this tag; may be repeated, then they have all of them.",
    )(function)  # fmt: skip


def connect(options: Options, remote: Remote) -> Client:
    """A client of the gateway that is meant. Raises ClickException when there is no address."""
    from kong_gevent.client import Client

    addr = remote.addr
    if addr is None:
        listeners = options.running().admin_listeners
        if not listeners:
            raise click.ClickException("the gateway has no Admin listener")
        addr = probe.client_url(
            next((each for each in listeners if not (each.ssl or each.proxy_protocol)), listeners[0])
        )
    verify = not remote.insecure and (remote.ca or True)
    return Client(addr, token=remote.secret(), verify=verify, cert=remote.identity(), timeout=TIMEOUT)


def send(options: Options, client: Client, file: str, query: dict[str, Any]) -> dict[str, Any]:
    """Send a document. Raises ClickException with every problem of it."""
    from kong_gevent.client import ApiError
    from kong_gevent.declarative import ENDINGS

    path = Path(file)
    if path.suffix.lower() not in ENDINGS:
        raise click.ClickException(f"{path} is no declarative file: its name must end in {', '.join(ENDINGS)}")
    try:
        body = path.read_bytes()
    except OSError as error:
        raise click.ClickException(f"cannot read {path}: {error.strerror}") from None
    headers = {"Content-Type": "application/json" if path.suffix.lower() == ".json" else "text/yaml"}
    try:
        with at_work("Comparing" if "dry_run" in query else "Applying", client):
            found: dict[str, Any] = client.request("POST", "/config", body, query=query, headers=headers)
    except ApiError as error:
        raise click.ClickException(_explained(options, error, file, body)) from None
    return found


def at_work(title: str, client: Client) -> AbstractContextManager[None]:
    """Show how far the gateway is with a change set, while it works on one."""
    from kong_gevent.client import ClientError

    def ask() -> dict[str, Any]:
        try:
            found: dict[str, Any] = client.request("GET", "/config/progress")
        except ClientError:  # an earlier version, or a token that may not: the time has to do
            return {}
        return found

    return elsewhere(title, ask)


def _explained(options: Options, error: ApiError, file: str, text: bytes) -> str:
    """An answer's problems line by line."""
    from kong_gevent.cli.config import catalogue_of
    from kong_gevent.declarative import InvalidDocument
    from kong_gevent.errors import ConfigurationError

    body = error.body
    if not isinstance(body, dict) or body.get("code") != 14 or not isinstance(body.get("fields"), dict):
        return str(error)
    problems = InvalidDocument(_positions(body["fields"]))
    try:
        kinds: Container[str] = catalogue_of(options.load())
    except ConfigurationError:  # this machine is not set up like the gateway's, which may be another one
        return told(problems, file, None, ())
    return told(problems, file, text, kinds)


def _positions(fields: Any) -> Any:
    """A tree as `InvalidDocument` has it: lists with holes are maps by position."""
    if isinstance(fields, list):
        return {at: _positions(inner) for at, inner in enumerate(fields, 1) if inner is not None}
    if isinstance(fields, dict):
        return {name: inner if name == "@entity" else _positions(inner) for name, inner in fields.items()}
    return fields


def show(outcome: dict[str, Any], color: bool | None = None) -> None:
    """Print changes as lines, coloured on a terminal, and how many there are."""
    summary = outcome["summary"]
    for change in outcome["changes"]:
        sign, shade = _SIGNS[change["op"]]
        click.secho(f"{sign} {change['entity']} {change['name'] or change['id']}", fg=shade, color=color)
        for name, (old, new) in change.get("fields", {}).items():
            click.echo(f"    {name}: {_short(old)} -> {_short(new)}")
    left = count(summary) - len(outcome["changes"])
    if left > 0:
        click.echo(f"... and {left:,} more")
    words = [f"{summary[name]:,} {name}" for name in ("created", "updated", "deleted", "unchanged")]
    click.echo(", ".join(words))


def count(summary: dict[str, int]) -> int:
    """Number of changes."""
    return summary["created"] + summary["updated"] + summary["deleted"]


def query_of(tags: Sequence[str], *, prune: bool, dry_run: bool) -> dict[str, Any]:
    """The query arguments of `POST /config`."""
    given = {"prune": "1" if prune else None, "dry_run": "1" if dry_run else None, "tags": ",".join(tags) or None}
    return {name: value for name, value in given.items() if value is not None}


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
