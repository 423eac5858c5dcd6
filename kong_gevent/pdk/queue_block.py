"""The `queue` record that Kong's plugins with a batch queue have in common, and what a queue makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kong_gevent.schema import fields

_SECONDS = [0.001, 1_000_000]


def queue_record(max_batch_size: int = 1) -> fields.Record:
    """The record; its value goes through `queue_parameters` into `Kit.queue`."""
    own: dict[str, Any] = {} if max_batch_size == 1 else {"load_default": {"max_batch_size": max_batch_size}}
    return fields.Record(
        {
            "max_batch_size": fields.Integer(
                load_default=1,
                between=[1, 1_000_000],
                metadata={"description": "Most entries that are sent together."},
            ),
            "max_coalescing_delay": fields.Number(
                load_default=1,
                between=[0, 3600],
                metadata={"description": "Seconds that the first entry of a batch waits for others."},
            ),
            "max_entries": fields.Integer(
                load_default=10_000,
                between=[1, 1_000_000],
                metadata={"description": "Entries that may wait; beyond it the oldest are dropped and counted."},
            ),
            "max_bytes": fields.Integer(metadata={"description": "Bytes that may wait; beyond it likewise."}),
            "max_retry_time": fields.Number(
                load_default=60,
                metadata={"description": "Seconds after which a batch that cannot be sent is given up."},
            ),
            "initial_retry_delay": fields.Number(
                load_default=0.01,
                between=_SECONDS,
                metadata={"description": "Seconds before the second try; each further wait is twice as long."},
            ),
            "max_retry_delay": fields.Number(
                load_default=60,
                between=_SECONDS,
                metadata={"description": "Longest wait between two tries in seconds."},
            ),
            "concurrency_limit": fields.Integer(
                load_default=1,
                one_of=[-1, 1],
                metadata={
                    "description": "`1`: one batch at a time; `-1`: no queue, each entry is sent at once by itself."
                },
            ),
        },
        required=True,
        metadata={"description": "How records wait until they are sent."},
        **own,
    )


_LEGACY: dict[str, tuple[type[fields.Integer | fields.Number], float, str | None]] = {
    "retry_count": (fields.Integer, 10, None),
    "queue_size": (fields.Integer, 1, "max_batch_size"),
    "flush_timeout": (fields.Number, 2, "max_coalescing_delay"),
}
"""Older names: their type, what was their default, and the field of the record that took their place."""


def legacy_queue_fields() -> dict[str, fields.Integer | fields.Number]:
    """`retry_count`, `queue_size`, `flush_timeout`: older names that still count (see `queue_parameters`)."""
    return {name: _legacy_field(name, *facts) for name, facts in _LEGACY.items()}


def _legacy_field(
    name: str, kind: type[fields.Integer | fields.Number], old_default: float, current: str | None
) -> fields.Integer | fields.Number:
    advice = _advice(current)
    return kind(
        deprecation={
            "message": f"{name} is deprecated: {advice}",
            "removal_in_version": "4.0",
            "old_default": old_default,
        },
        metadata={"description": f"Deprecated: {advice}."},
    )


def _advice(current: str | None) -> str:
    return f"use queue.{current}" if current else "it has no effect; see queue.max_retry_time"


def legacy_warnings(legacy: Mapping[str, Any]) -> list[str]:
    """What to tell about older fields that differ from what was their default."""
    return [
        f"{name} is deprecated: {_advice(current)}"
        for name, (_, old_default, current) in _LEGACY.items()
        if legacy.get(name) not in (None, old_default)
    ]


def queue_parameters(queue: Mapping[str, Any], legacy: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Parameters for `Kit.queue`: those of the record, and older fields that differ from what was their default."""
    parameters = dict(queue)
    for name, (_, old_default, current) in _LEGACY.items():
        value = (legacy or {}).get(name)
        if current is not None and value is not None and value != old_default:
            parameters[current] = value
    return parameters
