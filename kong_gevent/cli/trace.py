"""`trace`: real requests as they are served, each as a small waterfall."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import click

from kong_gevent.cli.base import CONTEXT, Options, add_options, example
from kong_gevent.cli.remote import Remote, connect, gateway_options

BAR = 24
Row = Mapping[str, Any]


@click.command(
    context_settings=CONTEXT,
    epilog=example(
        "kong-gevent trace --route orders --limit 10",
        "kong-gevent trace --status 5xx --json",
    )
    + "\n\nCtrl-C ends it. Exit code: 0 at the end, 1 when the gateway cannot be reached or refuses.",
)
@click.option("--route", metavar="NAME", help="Only requests of this route (name or id).")
@click.option("--service", metavar="NAME", help="Only requests of this service.")
@click.option("--consumer", metavar="NAME", help="Only requests of this consumer.")
@click.option("--path", metavar="PREFIX", help="Only paths that begin so.")
@click.option("--status", metavar="STATUS", multiple=True, help="Only these statuses: 404, 5xx; may be repeated.")
@click.option("--sample", type=click.FloatRange(0, 1), help="Look at this share of the requests only.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), help="End after so many requests.")
@click.option("--json", "as_json", is_flag=True, help="Print each message as one line of JSON.")
@gateway_options
@add_options()
def command(options: Options, as_json: bool, remote: Remote, **filters: Any) -> None:
    """Show real requests of all workers of a node as they finish: plugins, their times and changes, the upstream."""
    with connect(options, remote) as client:
        messages = client.trace(**filters)
        try:
            for message in messages:
                if as_json:
                    click.echo(json.dumps(message, ensure_ascii=False))
                else:
                    click.echo("\n".join(lines(message)))
        except KeyboardInterrupt:
            return
        finally:
            messages.close()


def lines(message: Row) -> Iterator[str]:
    """One message as text, with colours (which `click.echo` drops where there is no terminal)."""
    if message["type"] == "started":
        yield click.style(f"tracing {len(message['workers'])} workers; Ctrl-C ends it", dim=True)
    elif message["type"] == "dropped":
        yield click.style(
            f"{message['count']} requests are not shown: they came faster than they could be", fg="yellow"
        )
    else:
        yield from _request(message)


def _request(message: Row) -> Iterator[str]:
    status = message["status"]
    shade = "green" if status < 400 else "yellow" if status < 500 else "red"
    names = " ".join(
        f"{kind} {message[kind]['name'] or message[kind]['id']}"
        for kind in ("route", "service", "consumer")
        if message[kind]
    )
    yield (
        click.style(f"{status} ", fg=shade, bold=True)
        + f"{message['method']} {message['host']}{message['target']}  {_time(message['took_us'])}  "
        + click.style(f"{names}  {message['request_id']} worker {message['worker']}", dim=True)
    )
    total = max(message["took_us"], 1)
    for at, took, name, more in sorted(_events(message), key=lambda event: event[0]):
        yield f"  {_bar(at, took, total)} {_time(took):>9}  {name}" + (
            click.style(f"  {more}", dim=True) if more else ""
        )
    yield f"  ended: {_end(message)}"


def _events(message: Row) -> Iterator[tuple[int, int, str, str]]:
    """What happened: when it began and how long it took (µs), its name, and more about it."""
    router, upstream = message["router"], message["upstream"]
    if router is not None:
        yield router["at_us"], router["took_us"], "router", ""
    for step in message["steps"]:
        yield step["at_us"], step["took_us"], f"{step['phase']} {step['plugin']}", _changes(step)
    for one in message["tries"]:
        state = f"failed with {one['status']}" if one["failed"] else ""
        kind = "kept connection" if one["reused"] else "new connection"
        yield one["at_us"], one["took_us"], f"upstream {one['ip']}:{one['port']}", f"{kind} {state}".rstrip()
    if upstream is not None and upstream["received_us"] is not None:
        yield upstream["at_us"] + upstream["waited_us"], upstream["received_us"], "answer", ""


def _changes(step: Row) -> str:
    told = []
    for name, value in step["changed"].items():
        if name in ("request_headers", "response_headers"):
            told += [f"{'>' if name == 'request_headers' else '<'} {key}: {text}" for key, text in value["set"]]
            told += [f"-{key}" for key in value["removed"]]
        elif name == "consumer":
            told.append(f"consumer {value and (value['username'] or value['id'])}")
        else:
            told.append(f"{name} {json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value}")
    if step.get("exit"):
        told.append(click.style(f"answers {step['exit']['status']}", fg="yellow"))
    if step.get("raised"):
        told.append(click.style(f"raised {step['raised']}", fg="red"))
    return ", ".join(told)


def _bar(at: int, took: int, total: int) -> str:
    start = min(BAR - 1, at * BAR // total)
    length = max(1, min(BAR - start, round(took * BAR / total)))
    return " " * start + "█" * length + " " * (BAR - start - length)


def _time(micros: int) -> str:
    return f"{micros} µs" if micros < 1000 else f"{micros / 1000:.1f} ms"


def _end(message: Row) -> str:
    if message["ended"] == "plugin":
        return f"plugin {message['ended_by']}"
    if message["ended"] == "upstream":
        return "upstream"
    word = "the client has gone" if message["ended"] == "client_gone" else "error"
    return click.style(f"{word}: {message['reason']}", fg="red")
