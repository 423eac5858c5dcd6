"""correlation-id: one identifier per request, seen by the upstream, the client and the log."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from random import Random
from time import time
from uuid import UUID, uuid4

from kong_gevent.pdk import Conf, Config, Context, HeaderTemplate, Plugin, fields

DEFAULT_HEADER = "Kong-Request-ID"
DEFAULT_GENERATOR = "uuid#counter"


class CorrelationIdConfig(Config):
    """Settings of correlation-id."""

    header_name = fields.String(
        load_default=DEFAULT_HEADER,
        metadata={"description": "The header that carries the identifier. A request that has it keeps its value."},
    )
    generator = fields.Choice(
        "uuid",
        "uuid#counter",
        "tracker",
        required=True,
        load_default=DEFAULT_GENERATOR,
        metadata={
            "description": "How identifiers are made: a UUID for each request; a UUID of the worker and a counter; or "
            "address, port, process, connection, request on the connection and time."
        },
    )
    echo_downstream = fields.Boolean(
        required=True,
        load_default=False,
        metadata={"description": "Whether the answer to the client carries the header too."},
    )


class CorrelationId(Plugin):
    """Gives each request an identifier unless it brought one."""

    name = "correlation-id"
    priority = 100_001
    config = CorrelationIdConfig

    def init_worker(self) -> None:
        """Make the generators; their seeds belong to this worker alone."""
        seed, serial = str(uuid4()), count(1)
        bits = Random(uuid4().int).getrandbits
        self.generators: dict[str, Callable[[Context], str]] = {
            "uuid": lambda ctx: str(UUID(int=bits(128), version=4)),
            "uuid#counter": lambda ctx: f"{seed}#{next(serial)}",
            "tracker": tracker,
        }

    def configure(self, conf: Conf) -> None:
        """Choose the generator and prepare the header."""
        conf.header = conf.header_name or DEFAULT_HEADER
        conf.generate = self.generators[conf.generator or DEFAULT_GENERATOR]
        conf.template = HeaderTemplate([(conf.header, "%b")])
        conf.unused_phases = () if conf.echo_downstream else ("header_filter",)

    def access(self, ctx: Context, conf: Conf) -> None:
        """Keep the client's identifier or make one for the upstream."""
        found = ctx.field(conf.header)
        value = found[0] if isinstance(found, list) else found
        if value is None or not value.strip():
            value = conf.generate(ctx)
            ctx.set_upstream(conf.template, (value.encode("latin-1"),))
        ctx.log["correlation_id"] = value

    def header_filter(self, ctx: Context, conf: Conf) -> None:
        """Tell the client, also on answers that the gateway makes."""
        value = ctx.log.get("correlation_id")
        if value is None:
            value = ctx.request.header(conf.header) or conf.generate(ctx)
        ctx.set_response(conf.template, (value.encode("latin-1"),))


def tracker(ctx: Context) -> str:
    """Where and when: `<server ip>-<port>-<pid>-<connection>-<request on it>-<time>`."""
    client = ctx.client
    place = f"{client.server_ip}-{ctx.request.port}-{client.worker_pid}"
    return f"{place}-{client.connection_serial}-{client.connection_requests}-{time():.3f}"
