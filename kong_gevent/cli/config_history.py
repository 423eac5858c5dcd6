"""`config history`: the change sets of a running gateway."""

from __future__ import annotations

import datetime

import click

from kong_gevent.cli.base import CONTEXT, Options, add_options, example
from kong_gevent.cli.remote import Remote, connect, gateway_options


@click.command("history", context_settings=CONTEXT, epilog=example("kong-gevent config history"))
@gateway_options
@add_options()
def command(options: Options, remote: Remote) -> None:
    """List the documents that were applied, newest first: id, time (UTC), who, from where, what changed."""
    with connect(options, remote) as client:
        entries = client.request("GET", "/config/history")["data"]
    for entry in entries:
        when = datetime.datetime.fromtimestamp(entry["at"], datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")
        summary = entry["summary"]
        words = f"+{summary['created']} ~{summary['updated']} -{summary['deleted']}"
        click.echo(f"{entry['id']}  {when}  {entry['author']}  {entry['source']}  {words}")
