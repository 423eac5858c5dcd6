"""`config from-openapi`: the description of an API as services and routes."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from kong_gevent.cli.base import CONTEXT, Options, add_options, example
from kong_gevent.cli.config import new_file


@click.command(
    "from_openapi",
    context_settings=CONTEXT,
    epilog=example(
        "kong-gevent config from-openapi petstore.yaml -o kong.yml", "kong-gevent config db_import kong.yml"
    ),
)
@click.argument("file", metavar="FILE")
@click.option("-o", "--output", metavar="FILE", help="Where to write (.yml, .yaml or .json); else standard output.")
@click.option("--server", metavar="URL", help="Where the API is, when FILE does not say it with a host.")
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="A tag for every entity; may be repeated.")
@add_options()
def command(options: Options, file: str, output: str | None, server: str | None, tags: tuple[str, ...]) -> None:
    """Turn an OpenAPI 3.0 or 3.1 document into a declarative configuration."""
    from kong_gevent.declarative import InvalidDocument, YamlWriter, read_whole, write_all, writer_for
    from kong_gevent.declarative.openapi import InvalidOpenApi, convert

    try:
        collections = convert(read_whole(file), server=server, tags=tags)
    except InvalidOpenApi as error:
        raise click.ClickException(f"{file}: {error}") from None
    except InvalidDocument as error:
        raise click.ClickException(f"{file}: {error.lines()[0]}") from None
    if output is None:
        write_all(YamlWriter(sys.stdout), collections, stored=False)
        return
    with new_file(Path(output)) as stream:
        write_all(writer_for(Path(output), stream), collections, stored=False)
    routes = sum(len(service.get("routes", ())) for service in collections["services"])
    click.echo(f"{len(collections['services'])} services and {routes} routes written to {output}")
