"""Keeping the last good configuration on disk up to date, and starting from it while the datastore is away."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic, time
from typing import TYPE_CHECKING, Any

import gevent

from kong_gevent.db import rows
from kong_gevent.db.strategies.base import Row
from kong_gevent.errors import GatewayError
from kong_gevent.offload import offload
from kong_gevent.runtime import snapshot
from kong_gevent.runtime.pace import REST, paced

if TYPE_CHECKING:
    from kong_gevent.runtime.plan import Plan
    from kong_gevent.runtime.sync import Synchronizer

log = logging.getLogger("kong_gevent.snapshot")
LOOK = 0.5
"""Seconds between two looks for changes to write."""
QUIET = 1.0
"""Seconds without a change before the file is written anew,"""
LATEST = 10.0
"""and seconds after which it is written even while changes go on."""
SHARE = 20.0
"""The file is written at most for one part in so many of the time."""
AGAIN = 30.0
"""Seconds after which writing is tried again when it failed."""
FAREWELL = 5.0
"""Seconds for which a worker that leaves may write."""
KEPT = ("sqlite", "cassandra", "postgres")
"""Datastores whose configuration is kept: those that can be away while the node is there."""


class Keeper:
    """One worker's part in keeping the file. `chosen` tells whether this worker is the one to write it."""

    def __init__(self, settings: Any, store: Any, plan: Plan, sync: Synchronizer, chosen: Callable[[], bool]) -> None:
        self.path: Path = snapshot.path(settings.prefix)
        self._enabled = settings.database in KEPT
        self._origin = snapshot.origin_of(settings)
        self._store = store
        self._plan = plan
        self._sync = sync
        self._chosen = chosen
        self._written = 0
        self._changed_since = 0.0
        self._not_before = 0.0
        self._refused = False
        self._complained = False
        self._leaving = False

    # --- reading -----------------------------------------------------------------------------------------------------

    def load(self) -> bool:
        """Fill the plan from the file; False when there is none that may be used, which is logged once."""
        if not self._enabled or self._refused:
            return False
        try:
            header = offload(snapshot.check, self.path, self._origin)
            used = self._sync.load_from(self._read())
        except FileNotFoundError:
            return False
        except Exception as error:
            # Also what this version cannot make sense of, though another one has written it: the store may come back.
            self._refused = True
            foreseen = isinstance(error, (snapshot.SnapshotRefused, OSError))
            log.error(
                "the last good configuration in %s is not used: %s", self.path, error,
                exc_info=None if foreseen else error,
            )  # fmt: skip
            return False
        if used:
            log.warning(
                "the datastore does not answer; serving the last good configuration from %s: %d services, %d routes, "
                "%d plugins, written %d s ago",
                self.path,
                *(header.counts.get(kind, 0) for kind in ("services", "routes", "plugins")),
                max(0, int(time() - header.written)),
            )
        return used

    def _read(self) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        parts = snapshot.entities(self.path)
        catalogue = self._store.catalogue
        while (part := offload(next, parts, None)) is not None:
            for kind, body in paced(part):
                try:
                    entity = rows.show(catalogue[kind], Row(kind, "", body, 0))
                except (ValueError, KeyError, TypeError) as error:
                    raise snapshot.SnapshotRefused(f"it is damaged: {type(error).__name__}: {error}") from None
                found.setdefault(kind, []).append(entity)
        return found

    # --- writing -----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Write whenever something has changed; never returns."""
        while self._enabled:
            gevent.sleep(LOOK)
            if self._due():
                self.save()

    def close(self) -> None:
        """Write what has not been written yet; called when the worker leaves."""
        if self._enabled and self._pending():
            self._leaving = True
            with gevent.Timeout(FAREWELL, False):
                self.save()

    def _rests(self) -> float:
        return 0 if self._leaving else REST

    def _pending(self) -> bool:
        return self._sync.reached and self._sync.changes != self._written

    def _due(self) -> bool:
        now = monotonic()
        if not self._pending():
            self._changed_since = 0.0
            return False
        self._changed_since = self._changed_since or now
        quiet = now - self._sync.changed_at >= QUIET or now - self._changed_since >= LATEST
        return quiet and now >= self._not_before and self._chosen()

    def save(self) -> bool:
        """Write the plan as it is now; whether the file has its content afterwards. Failures are logged once."""
        began = monotonic()
        state = self._sync.changes
        try:
            self._write()
        except snapshot.SnapshotBusy:
            self._not_before = began + QUIET
            return False
        except (OSError, GatewayError) as error:
            if not self._complained:
                log.error("the last good configuration cannot be written to %s: %s", self.path, error)
            self._complained = True
            self._not_before = monotonic() + AGAIN
            return False
        self._complained = False
        self._written = state
        self._changed_since = 0.0
        self._not_before = monotonic() + SHARE * (monotonic() - began)
        return True

    def _write(self) -> None:
        held = self._plan.entities()
        kinds: dict[str, list[Mapping[str, Any]]] = {
            kind: [entities[key] for key in sorted(entities)] for kind, entities in held.items()
        }
        # Entities never change, so both passes make the same bytes, and only one piece is in memory at a time.
        header = snapshot.describe(kinds, paced(snapshot.lines(kinds), self._rests), self._origin)
        writer = offload(snapshot.Writer, self.path)
        try:
            if offload(writer.begin, header):
                for piece in paced(snapshot.lines(kinds), self._rests):
                    offload(writer.write, piece)
                offload(writer.finish)
        finally:
            offload(writer.close)
