"""`config rollback`: back to before a change set."""

from __future__ import annotations

import click

from kong_gevent.cli.base import CONTEXT, Options, add_options, example
from kong_gevent.cli.remote import Remote, at_work, connect, gateway_options, show


@click.command("rollback", context_settings=CONTEXT, epilog=example("kong-gevent config rollback 3f2a"))
@click.argument("change_set", metavar="[ID]", required=False)
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@gateway_options
@add_options()
def command(options: Options, change_set: str | None, dry_run: bool, remote: Remote) -> None:
    """Undo the change set ID (or the beginning of one; else the newest) and all that came after it, in one step."""
    from kong_gevent.client import ApiError

    body = {} if change_set is None else {"id": change_set}
    with connect(options, remote) as client:
        try:
            with at_work("Comparing" if dry_run else "Rolling back", client):
                outcome = client.request("POST", "/config/rollback", body, query={"dry_run": "1"} if dry_run else None)
        except ApiError as error:
            problems = error.body.get("problems", []) if isinstance(error.body, dict) else []
            raise click.ClickException("\n  ".join([str(error), *problems])) from None
    show(outcome)
