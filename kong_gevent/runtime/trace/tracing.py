"""One worker's part in the traces of its node: the instrumented pipeline, in use only while a trace is on."""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Any

import gevent

from kong_gevent.errors import HttpError
from kong_gevent.pdk import Context
from kong_gevent.router import Match
from kong_gevent.runtime.pipeline import Pipeline
from kong_gevent.runtime.trace.board import TraceBoard
from kong_gevent.runtime.trace.message import message_of
from kong_gevent.runtime.trace.recording import Recording, Timed
from kong_gevent.runtime.trace.spec import TraceSpec

if TYPE_CHECKING:
    from kong_gevent.runtime.gateway import Gateway

log = logging.getLogger("kong_gevent.trace")
LOOK_SECONDS = 5.0
"""How often a tracing worker looks whether the traces' owners still live."""


class TracingPipeline(Pipeline):
    """The pipeline, with notes on the requests that a trace wants."""

    def __init__(self, gateway: Gateway, tracing: Tracing) -> None:
        super().__init__(gateway)
        self._tracing = tracing

    def handle(self, ctx: Context) -> None:
        """See `Pipeline.handle`."""
        wanted = [trace for trace in self._tracing.traces if trace[2].picks()]
        if not wanted:
            super().handle(ctx)
            return
        recording = ctx.trace = Recording(ctx.started)
        try:
            super().handle(ctx)
        except BaseException as error:
            recording.failure = error
            raise
        finally:
            self._tracing.finish(ctx, recording, wanted)

    def refuse(self, ctx: Context, error: HttpError) -> None:
        """See `Pipeline.refuse`."""
        recording = ctx.trace = Recording(ctx.started)
        try:
            super().refuse(ctx, error)
        finally:
            self._tracing.finish(ctx, recording, [trace for trace in self._tracing.traces if trace[2].picks()])

    def find(self, ctx: Context, router: Any) -> Match | None:
        """See `Pipeline.find`."""
        began = monotonic()
        match: Match | None = super().find(ctx, router)
        if ctx.trace is not None:
            ctx.trace.router = {"at_us": ctx.trace.at(began), "took_us": round((monotonic() - began) * 1e6)}
        return match


class Tracing:
    """Switches tracing on and off in this worker (`index`: its lane), and sends what finished requests have to tell."""

    def __init__(self, gateway: Gateway, board: TraceBoard, index: int, node_id: str) -> None:
        self._gateway = gateway
        self._board = board
        self._index = index
        self._node_id = node_id
        self._plain = gateway.pipeline
        self._epoch = 0
        self._looking = False
        self.traces: list[tuple[int, int, TraceSpec]] = []

    def refresh(self) -> None:
        """Do what the board says, if that has changed."""
        epoch = self._board.epoch
        if epoch != self._epoch:
            self._epoch = epoch
            self._read()
            self._board.seen(self._index, epoch)

    def _read(self) -> None:
        known = {(slot, serial): spec for slot, serial, spec in self.traces}
        self.traces = [
            (slot, serial, known.get((slot, serial)) or TraceSpec(spec)) for slot, serial, spec in self._board.active()
        ]
        tracing = isinstance(self._gateway.pipeline, TracingPipeline)
        if self.traces and not tracing:
            self._gateway.plan.table.bind_with(Timed)
            self._gateway.use(TracingPipeline(self._gateway, self))
        elif not self.traces and tracing:
            self._gateway.plan.table.bind_with(getattr)
            self._gateway.use(self._plain)
        if self.traces and not self._looking:
            self._looking = True
            gevent.spawn(self._look)

    def _look(self) -> None:
        """End tracing when the owner of the last trace has died."""
        while self.traces:
            gevent.sleep(LOOK_SECONDS)
            self._read()
        self._looking = False

    def finish(self, ctx: Context, recording: Recording, wanted: list[tuple[int, int, TraceSpec]]) -> None:
        """Send the story of a request to those who want it; nothing of this may hurt the request."""
        try:
            message = b""
            for slot, serial, spec in wanted:
                if spec.wants(ctx):
                    message = message or message_of(ctx, recording, self._node_id)
                    self._board.send(slot, serial, message)
        except Exception:
            log.exception("request %s: the trace failed", ctx.id)
