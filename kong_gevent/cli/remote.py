"""What the `config` commands that talk to a running gateway share: its address, documents to it, changes shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kong_gevent.cli import probe
from kong_gevent.cli.base import Options

if TYPE_CHECKING:
    from kong_gevent.client import Client

TIMEOUT = 120.0
_SIGNS = {"create": ("+", "green"), "update": ("~", "yellow"), "delete": ("-", "red")}


def gateway_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--addr` and `--token`."""
    function = click.option("--addr", metavar="URL", help="The Admin API; else that of the gateway in the prefix.")(
        function
    )
    return click.option(
        "--token",
        metavar="TOKEN",
        envvar="KONG_GEVENT_ADMIN_TOKEN",
        help="Token for the Admin API, where it wants one.",
    )(function)


def tag_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--select-tag`."""
    return click.option(
        "--select-tag", "tags", metavar="TAG", multiple=True,
        help="Only delete entities with this tag; may be repeated, then they have all of them.",
    )(function)  # fmt: skip


def connect(options: Options, addr: str | None, token: str | None) -> Client:
    """A client of the gateway that is meant. Raises ClickException when there is no address."""
    from kong_gevent.client import Client

    if addr is None:
        listeners = options.running().admin_listeners
        plain = [listener for listener in listeners if not listener.ssl]
        if not plain:
            raise click.ClickException("the gateway has no Admin listener without TLS; say where it is with --addr")
        addr = probe.client_url(plain[0])
    return Client(addr, token=token, timeout=TIMEOUT)


def send(client: Client, file: str, query: dict[str, Any]) -> dict[str, Any]:
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
    kind = "application/json" if path.suffix.lower() == ".json" else "text/yaml"
    try:
        found: dict[str, Any] = client.request("POST", "/config", body, query=query, headers={"Content-Type": kind})
    except ApiError as error:
        raise click.ClickException("\n".join(_explained(error.body, str(error)))) from None
    return found


def _explained(body: Any, text: str) -> list[str]:
    """An answer's problems line by line."""
    from kong_gevent.declarative import InvalidDocument

    if not isinstance(body, dict) or body.get("code") != 14 or not isinstance(body.get("fields"), dict):
        return [text]
    return ["Failed parsing:", *(f"  {line}" for line in InvalidDocument(_positions(body["fields"])).lines())]


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
