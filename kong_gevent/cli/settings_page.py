"""`settings-page`: the reference page of the settings, made from their table (docs/configuration.md)."""

from __future__ import annotations

from itertools import groupby

import click

from kong_gevent.conf.defaults import ALIASES, TABLE, Setting

_INTRODUCTION = """\
# Settings

<!-- Made by `kong-gevent settings-page > docs/configuration.md` from the table in kong_gevent/conf/defaults. -->

Where a value comes from, later ones win: the default below; the file given with `-c`, else `$KONG_CONF`, else
`/etc/kong/kong.conf` or `/etc/kong.conf`; the environment variable `KONG_` + the name in capitals; the command line
(`-p` is `prefix`).

The file has one `name = value` per line. `#` begins a comment, `\\#` is a literal one. Lists are comma separated;
booleans are `on`, `off`, `true` or `false`; sizes are bytes or a number with `k`, `m`, `g`; times are seconds or a
number with `ms`, `s`, `m`, `h`, `d`. An empty environment variable takes back what the file says. A value may be
`{vault://env/NAME}`: then it is read from the environment variable `NAME` when the settings load.

An unknown name is ignored with a warning that proposes the nearest one. A wrong value is refused with its name, the
value and what is allowed; `kong-gevent check FILE` lists all errors of a file.

Marks: **own** – Kong has no such setting; **no effect** – accepted so that Kong's files load, but nothing depends on
it in this version.

## Listeners

`proxy_listen`, `admin_listen`, `classic_admin_listen` and `status_listen` are `off` or a list of
`<address>:<port> [flags]`. The address is IPv4, IPv6 in brackets, a host name or `*`. Flags: `reuseport`,
`ssl` ([tls.md](tls.md)), `proxy_protocol` ([proxies.md](proxies.md)), `backlog=N`, `bind`, `deferred`,
`ipv6only=on|off`, `so_keepalive=on|off|[idle]:[interval]:[count]`. `http2` is understood and refused: the gateway does
not offer it yet.
"""

_PREFIXES = """
## Names that begin like nginx directives

Kong passes `nginx_http_...`, `nginx_proxy_...` and similar names on to nginx. There is no nginx here: the names in this
table are mapped to settings, every other one is accepted with a warning and has no effect.

| name | setting |
|---|---|
"""


def page() -> str:
    """The page as Markdown."""
    parts = [_INTRODUCTION]
    for section, settings in groupby(TABLE.values(), key=lambda setting: setting.section):
        parts.append(f"\n## {section}\n\n| name | type | default | meaning |\n|---|---|---|---|\n")
        parts += [_row(setting) for setting in settings]
    parts.append(_PREFIXES)
    parts += [f"| `{alias}` | `{name}` |\n" for alias, name in sorted(ALIASES.items())]
    return "".join(parts)


def _row(setting: Setting) -> str:
    kind = "boolean" if setting.type == "ngx_boolean" else setting.type
    default = "–" if setting.default is None else f"`{setting.default}`"
    text = setting.help
    if setting.allowed:
        text += " One of " + ", ".join(f"`{value}`" for value in setting.allowed) + "."
    if setting.minimum is not None and setting.maximum is not None:
        text += f" {setting.minimum:g} to {setting.maximum:g}."
    elif setting.minimum:
        text += f" At least {setting.minimum:g}."
    text += " **own**" if setting.own else ""
    text += "" if setting.used else " **no effect**"
    return f"| `{setting.name}` | {kind} | {default} | {text} |\n"


@click.command("settings-page", hidden=True)
def command() -> None:
    """Print the reference page of the settings."""
    click.echo(page(), nl=False)
