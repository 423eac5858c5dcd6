"""One traced request: what each plugin did in each phase, how long it took, and what it changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

from kong_gevent.http.fields import normalised_name
from kong_gevent.observe.secrets import shown_fields, shown_target
from kong_gevent.pdk import Exit
from kong_gevent.pdk.context import Override
from kong_gevent.pdk.edits import FieldEdits

if TYPE_CHECKING:
    from kong_gevent.pdk import Conf, Context, Plugin

Row = dict[str, Any]
_EMPTY = FieldEdits()
_UNCHANGED = Override()


class Timed:
    """A plugin's phase that notes what it does, where a request is traced; it stands in for the method."""

    __slots__ = ("__self__", "_call", "phase")

    def __init__(self, plugin: Plugin, phase: str) -> None:
        self.__self__ = plugin
        self.phase = phase
        self._call: Callable[..., Any] = getattr(plugin, phase)

    def __call__(self, ctx: Context, conf: Conf, *rest: Any) -> Any:
        recording = ctx.trace
        if recording is None:
            return self._call(ctx, conf, *rest)
        if self.phase == "body_filter":
            return recording.filtered(self.__self__, self._call, ctx, conf, *rest)
        return recording.step(self.__self__, self.phase, self._call, ctx, conf)


class Recording:
    """The notes on one request; times in µs since it began."""

    def __init__(self, started: float) -> None:
        self._started = started
        self.steps: list[Row] = []
        self.router: Row | None = None
        self.exit_by: str | None = None
        self.failure: BaseException | None = None
        self.secrets: set[str] = set()
        """Names of fields and arguments that carry credentials, as the plugins of the request say."""
        self._filters: dict[str, Row] = {}

    def at(self, moment: float) -> int:
        """A time of the monotonic clock in µs since the request began."""
        return round((moment - self._started) * 1e6)

    def step(self, plugin: Plugin, phase: str, call: Callable[..., Any], ctx: Context, conf: Conf) -> Any:
        """Call a plugin's phase."""
        before = _State(ctx)
        began = monotonic()
        note: Row = {"phase": phase, "plugin": plugin.name, "id": conf.plugin_id, "at_us": self.at(began)}
        self.steps.append(note)
        try:
            result = call(ctx, conf)
        except BaseException as error:
            note["raised"] = type(error).__name__
            raise
        finally:
            note["took_us"] = round((monotonic() - began) * 1e6)
            self.secrets.update(map(normalised_name, plugin.credential_names(conf)))
            note["changed"] = before.changes(ctx)
        if isinstance(result, Exit):
            note["exit"] = {"status": result.status, "source": result.source}
            self.exit_by = plugin.name
        return result

    def filtered(
        self, plugin: Plugin, call: Callable[..., Any], ctx: Context, conf: Conf, part: bytes, last: bool
    ) -> Any:
        """Call a plugin's `body_filter`: all parts of the body make one note."""
        began = monotonic()
        note = self._filters.get(plugin.name)
        if note is None:
            note = self._filters[plugin.name] = {
                "phase": "body_filter", "plugin": plugin.name, "id": conf.plugin_id, "at_us": self.at(began),
                "took_us": 0, "parts": 0, "changed": {},
            }  # fmt: skip
            self.steps.append(note)
        result = call(ctx, conf, part, last)
        note["took_us"] += round((monotonic() - began) * 1e6)
        note["parts"] += 1
        if result is not None and result != part:
            note["changed"]["response_body"] = "replaced"
        return result

    def mask(self) -> None:
        """Take secrets out of the notes; once all plugins have said what they keep secret."""
        for note in self.steps:
            for side in ("request_headers", "response_headers"):
                edits = note["changed"].get(side)
                if edits is not None:
                    edits["set"] = shown_fields(edits["set"], self.secrets)
            call = note["changed"].get("upstream")
            if call is not None and call.get("query"):
                call["query"] = shown_target(f"?{call['query']}", self.secrets)[1:]


class _State:
    """What plugins can change, at one moment."""

    __slots__ = ("body", "down", "identity", "override", "status", "up")

    def __init__(self, ctx: Context) -> None:
        self.up = (ctx.up or _EMPTY).snapshot()
        self.down = (ctx.down or _EMPTY).snapshot()
        self.identity = ctx.identity
        override = ctx.override or _UNCHANGED
        self.override = {name: getattr(override, name) for name in Override.__annotations__}
        self.status = ctx.status
        self.body = ctx.buffered_answer

    def changes(self, ctx: Context) -> Row:
        """What has changed since."""
        now = _State(ctx)
        changed: Row = {}
        for name, before, after in (("request_headers", self.up, now.up), ("response_headers", self.down, now.down)):
            if before != after:
                changed[name] = _edited(before, after)
        if now.identity is not self.identity and now.identity is not None:
            consumer = now.identity.consumer
            changed["consumer"] = consumer and {"id": consumer["id"], "username": consumer.get("username")}
        differing = {name: value for name, value in now.override.items() if value != self.override[name]}
        if differing:
            changed["upstream"] = {name: _plain(name, value) for name, value in differing.items()}
        if now.status != self.status:
            changed["status"] = now.status
        if now.body != self.body:
            changed["response_body"] = "replaced"
        return changed


def _edited(before: tuple[Any, bytes], after: tuple[Any, bytes]) -> Row:
    """Lines that were set or added, and names that were cleared."""
    new = Counter(after[1].split(b"\r\n")) - Counter(before[1].split(b"\r\n"))
    lines = [line.decode("latin-1").partition(": ") for line in new.elements() if line]
    return {
        "set": [(name, value) for name, _, value in lines],
        "removed": sorted(_cleared(after) - _cleared(before)),
    }


def _cleared(state: tuple[Any, bytes]) -> set[str]:
    touched, lines = state
    kept = {normalised_name(line.partition(b":")[0].decode("latin-1")) for line in lines.split(b"\r\n") if line}
    return set(touched) - kept


def _plain(name: str, value: Any) -> Any:
    if name == "body":
        return None if value is None else f"{len(value)} bytes"
    return value.decode("latin-1") if isinstance(value, bytes) else value
