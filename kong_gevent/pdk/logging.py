"""What plugins have in common that send a record of each request somewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any

from kong_gevent.pdk.context import Context
from kong_gevent.pdk.custom_fields import CustomFields
from kong_gevent.pdk.expressions import NOT_ALLOWED
from kong_gevent.pdk.kit import Kit, Queue
from kong_gevent.pdk.plugin import Conf, Plugin
from kong_gevent.pdk.queue_block import legacy_warnings, queue_parameters
from kong_gevent.schema import fields

SEVERITIES = ("debug", "info", "notice", "warning", "err", "crit", "alert", "emerg")
"""Syslog's severities, from the least to the gravest; the number on the wire is 7 for the first, 0 for the last."""
BATCH = 1000
DELAY = 0.2
WAITING = 10_000
WAITING_BYTES = 32 << 20
"""Records, and their bytes, that may wait for a sink that is slow; beyond it the oldest are dropped and counted."""
AT_ONCE: Mapping[str, Any] = {
    "max_batch_size": BATCH,
    "max_coalescing_delay": DELAY,
    "max_entries": WAITING,
    "max_bytes": WAITING_BYTES,
    "max_retry_time": 0,
}
"""Parameters of a queue for sinks that get many records at a time, and no second try."""


class LogPlugin(Plugin):
    """Puts the record of each request, as JSON, into a queue; subclasses say where batches of them go.

    A subclass defines `send(conf, records)`, which may raise to have the batch tried again or counted as lost
    (`EntriesLost`: in part), `queue_of(conf)` when the plugin's configuration says how the queue works, and
    `release(conf)` when there is something to close.
    """

    protocols_allowed = "any"

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self._warned: dict[str, float] = {}

    def configure(self, conf: Conf) -> None:
        """Parse the custom fields and make the queue; a subclass that overrides this calls it last."""
        conf.retired = False
        conf.custom = None
        if conf.custom_fields_by_lua and self.kit.runs_programs:
            conf.custom = CustomFields(conf.custom_fields_by_lua)
        elif conf.custom_fields_by_lua:
            self.kit.log.error("%s %s: custom fields are left out: %s", self.name, conf.plugin_id, NOT_ALLOWED)
        conf.queue_now = self.queue_of(conf)

    def queue_of(self, conf: Conf) -> Queue:
        """The queue of a configuration: many records at a time, no second try."""
        return self.open_queue(conf, str(conf.plugin_id), AT_ONCE)

    def batches(self, conf: Conf) -> dict[str, Any]:
        """Parameters of the setting `queue`, older fields included; of these it warns, at most once a minute."""
        for text in legacy_warnings(vars(conf)):
            if monotonic() >= self._warned.get(text, 0):
                self._warned[text] = monotonic() + 60
                self.kit.log.warning("[%s plugin %s] %s", self.name, conf.plugin_id, text)
        return queue_parameters(conf.queue, vars(conf))

    def open_queue(self, conf: Conf, name: str, parameters: Mapping[str, Any]) -> Queue:
        """The queue of this name; batches go to `send` with this configuration."""
        instance = f" ({conf.instance_name})" if conf.instance_name else ""
        label = f"[{self.name} plugin {conf.plugin_id}{instance}]"
        return self.kit.queue(name, lambda records: self._deliver(conf, records), label=label, **parameters)

    def retire(self, conf: Conf) -> None:
        """Let go of connections; what still waits opens its own for a batch."""
        conf.retired = True
        self.release(conf)

    def release(self, conf: Conf) -> None:
        """Close what a configuration has opened; sending may open it again."""

    def _deliver(self, conf: Conf, records: list[Any]) -> None:
        try:
            self.send(conf, records)
        finally:
            if conf.retired:
                self.release(conf)

    def send(self, conf: Conf, records: list[Any]) -> None:
        """Deliver a batch."""
        raise NotImplementedError

    def log(self, ctx: Context, conf: Conf) -> None:
        """Queue the request's record."""
        conf.queue_now.put(self.entry(ctx, conf))

    def entry(self, ctx: Context, conf: Conf) -> Any:
        """What is put into the queue for a request: its record as JSON."""
        if conf.custom is not None:
            conf.custom.apply(ctx, self.kit.log)
        return ctx.record_json()


def severity_fields(required: bool) -> dict[str, fields.Choice]:
    """`log_level`, `successful_severity`, `client_errors_severity`, `server_errors_severity`."""

    def severity(description: str) -> fields.Choice:
        return fields.Choice(*SEVERITIES, required=required, load_default="info", metadata={"description": description})

    return {
        "log_level": severity("The least severity that is sent."),
        "successful_severity": severity("Severity of answers below 400."),
        "client_errors_severity": severity("Severity of answers from 400 to 499."),
        "server_errors_severity": severity("Severity of answers from 500 on."),
    }


class Severities:
    """A configuration's severities, looked up by status: the number on the wire, None for what is not sent."""

    def __init__(self, conf: Conf) -> None:
        levels: Sequence[str | None] = (
            conf.successful_severity,
            conf.client_errors_severity,
            conf.server_errors_severity,
        )
        least = SEVERITIES.index(conf.log_level or "info")
        self._numbers = [7 - at if (at := SEVERITIES.index(level or "info")) >= least else None for level in levels]

    def of(self, status: int) -> int | None:
        """Syslog's number for an answer with this status."""
        return self._numbers[2 if status >= 500 else 1 if status >= 400 else 0]
