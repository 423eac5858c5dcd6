"""`explain`: what would become of a request, asked of the running gateway and told in a page of text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import click

from kong_gevent.cli.base import CONTEXT, Options, add_options, example
from kong_gevent.cli.remote import Remote, connect, gateway_options

ANSWERED = 2
"""Exit code when the gateway would answer the request by itself."""
WIDTH = 14
Row = Mapping[str, Any]
_RULES = {
    "attributes": "more kinds of attributes decide",
    "plain_hosts": "hosts without wildcard come before others",
    "headers": "more headers decide",
    "regex_path": "regex paths come before prefixes",
    "regex_priority": "the greater regex_priority decides",
    "path_length": "the longer path decides",
    "id": "all else is equal: the greater id decides",
    "position": "the path that is listed first decides",
}
_HEALTH = {"HEALTHY": "green", "UNHEALTHY": "red", "DNS_ERROR": "red"}


@click.command(
    context_settings=CONTEXT,
    epilog=example(
        "kong-gevent explain GET https://api.example.com/orders/7 -H 'X-Version: 2'",
        "kong-gevent explain POST http://127.0.0.1:8000/orders --consumer bob --json",
    )
    + "\n\nExit code: 0 if the request would reach an upstream, 2 if the gateway would answer it, 1 if it cannot tell.",
)
@click.argument("method")
@click.argument("url")
@click.option("-H", "--header", "headers", metavar="'NAME: VALUE'", multiple=True, help="A header field; repeatable.")
@click.option("--client-ip", metavar="IP", help="Where the connection comes from.  [default: 127.0.0.1]")
@click.option("--sni", metavar="NAME", help="Server name of the TLS handshake; else the URL's host.")
@click.option("--consumer", metavar="NAME", help="Assume that this consumer asks (id, username or custom_id).")
@click.option("--credential", metavar="ID", help="Assume that this credential is shown.")
@click.option("--near", type=click.IntRange(0, 100), help="How many other routes to tell of.  [default: 5]")
@click.option("--json", "as_json", is_flag=True, help="Print the whole answer as JSON.")
@gateway_options
@add_options()
def command(
    options: Options,
    method: str,
    url: str,
    headers: Sequence[str],
    as_json: bool,
    remote: Remote,
    **asked: Any,
) -> int:
    """Say what the gateway would do with a request, without sending it. A path alone is asked of localhost.

    Which route wins and why others do not, the plugins that would run with the settings that count, and what would be
    sent to whom.
    """
    if url.startswith("/") and not any(header.lower().startswith("host:") for header in headers):
        url = f"http://localhost{url}"
    with connect(options, remote) as client:
        told = client.explain(method.upper(), url, headers, **asked)
    if as_json:
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        for line in page(told):
            click.echo(line)
    return 0 if told["outcome"]["kind"] == "proxied" else ANSWERED


def page(told: Row) -> Iterator[str]:
    """The answer as lines, with colours (which `click.echo` drops where there is no terminal)."""
    yield from _outcome(told)
    yield from _route(told)
    yield from _candidates(told["candidates"])
    if told["service"] is not None:
        service = told["service"]
        place = f"{service['protocol']}://{service['host']}:{service['port']}{service['path'] or ''}"
        yield _line("Service", f"{_name(service)}  {place}")
    if told["upstream"] is not None:
        yield from _upstream(told["upstream"])
    if told["upstream_request"] is not None:
        yield from _sent(told["upstream_request"])
    yield from _plugins(told)
    for note in told["notes"]:
        yield _line("Note", click.style(note, fg="yellow"))


def _line(label: str, text: str) -> str:
    return click.style(f"{label:<{WIDTH}}", bold=bool(label)) + text


def _name(entity: Row | None) -> str:
    return "-" if entity is None else str(entity.get("name") or entity["id"])


def _outcome(told: Row) -> Iterator[str]:
    outcome, asked = told["outcome"], told["request"]
    host = asked.get("host")
    yield _line(
        "Request", f"{asked['method']} {asked['scheme']}://{host or '-'}{asked['target']} from {asked['client_ip']}"
    )
    if outcome["kind"] == "proxied":
        yield _line("Outcome", click.style(f"goes to {told['upstream_request']['url']}", fg="green"))
        return
    yield _line("Outcome", click.style(f"{outcome['status']} {outcome['message'] or ''}".rstrip(), fg="red"))
    if outcome.get("reason") not in (None, outcome["message"]):
        yield _line("", outcome["reason"])
    for header in outcome.get("headers", ()):
        yield _line("", f"{header['name']}: {header['value']}")


def _route(told: Row) -> Iterator[str]:
    route, match = told["route"], told["match"]
    if route is None:
        yield _line("Route", "none")
        return
    path = f"  by path {match['path']}" if match["path"] else ""
    yield _line("Route", click.style(_name(route), fg="cyan") + path)
    wanted = [f"{name}: {_short(route[name])}" for name in ("methods", "hosts", "headers", "snis") if route[name]]
    if wanted:
        yield _line("", ", ".join(wanted))
    if match["captures"]:
        captures = match["captures"]["named"] or match["captures"]["unnamed"]
        yield _line("", f"captures {json.dumps(captures, ensure_ascii=False)}")


def _candidates(rows: Iterable[Row]) -> Iterator[str]:
    label = "Other routes"
    for row in rows:
        yield _line(label, f"{_name(row['route'])}: {_why(row)}")
        label = ""


def _why(row: Row) -> str:
    if row.get("not_served"):
        return f"would match, but {row['not_served']}"
    if row["matches"]:
        lost = row.get("lost_by")
        if lost is None:
            return "matches"
        sides = "" if lost["rule"] in ("id", "position") else f" ({lost['winner']} against {lost['loser']})"
        return f"matches too; {_RULES[lost['rule']]}{sides}"
    first = row["first"]
    given = "nothing" if first["given"] is None else _short(first["given"])
    more = len(row["fails"]) - 1
    rest = f", and {more} more" if more else ""
    return f"{first['attribute']} {_short(first['wanted'])}, the request has {given}{rest}"


def _short(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        text = ", ".join(value)
    else:
        text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."


def _upstream(upstream: Row) -> Iterator[str]:
    if upstream["name"] is None:
        places = ", ".join(f"{address['ip']}:{address['port']}" for address in upstream["addresses"])
        yield _line("Addresses", places or click.style(upstream.get("error", "none"), fg="red"))
        return
    state = "" if upstream["healthy"] else click.style(" (unhealthy)", fg="red")
    yield _line("Upstream", f"{upstream['name']}  {upstream['algorithm']}{state}")
    if upstream.get("hash"):
        hashed = upstream["hash"]
        chosen = hashed.get("chosen")
        where = f" leads to {chosen['target']} ({chosen['ip']}:{chosen['port']})" if chosen else ""
        key = "a new cookie" if hashed.get("new_cookie") else repr(hashed["key"])
        yield _line("", f"hash of {hashed['hash_on']} {key}{where}")
    for target in upstream["targets"]:
        health = click.style(str(target["health"] or "-").lower(), fg=_HEALTH.get(target["health"]))
        places = ", ".join(f"{address['ip']}:{address['port']}" for address in target["addresses"])
        yield _line("", f"{target['target']}  weight {target['weight']}  {health}  {places}")


def _sent(request: Row) -> Iterator[str]:
    yield _line("Sends", f"{request['method']} {request['url']}")
    for header in request["headers"]:
        yield _line("", click.style(f"{header['name']}: ", dim=True) + header["value"])


def _plugins(told: Row) -> Iterator[str]:
    rows = {row["id"]: row for row in told["plugins"]["order"]}
    label = "Plugins"
    for row in rows.values():
        yield _line(label, click.style(row["name"], fg="cyan") + f"  {_scope(row)}  priority {row['priority']}")
        label = ""
        settings = {name: value for name, value in row["config"].items() if value not in (None, [], {})}
        yield _line("", "  " + click.style(_short(settings), dim=True))
        for other in row["shadows"]:
            yield _line("", f"  instead of that of {_scope(other)} ({other['id']})")
        if row.get("broken"):
            yield _line("", click.style(f"  {row['broken']}", fg="red"))
    for row in told["without_effect"]:
        yield _line(label, f"{row['name']}  {_scope(row)}  " + click.style(row["reason"], fg="yellow"))
        label = ""
    label = "Phases"
    for phase, chosen in told["plugins"]["phases"].items():
        if chosen:
            yield _line(label, f"{phase}: {', '.join(plugin['name'] for plugin in chosen)}")
            label = ""


def _scope(row: Row) -> str:
    entities = row["scope_entities"]
    return " + ".join(f"{kind} {_name(entity)}" for kind, entity in entities.items()) or "global"
