"""Migrations of the store: numbered modules with two halves, so that old and new nodes can run side by side in between.

`up` only adds; `finish` may remove what the old version needed. States and words are those of `kong migrations`.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from kong_gevent.db.migrations import m000_base
from kong_gevent.db.migrations.lock import LOCK, LOCK_SECONDS, LockHeld, StoreLock
from kong_gevent.db.migrations.progress import Progress
from kong_gevent.db.strategies.base import Meta, Strategy
from kong_gevent.errors import MigrationError

__all__ = ["CORE", "LOCK", "LOCK_SECONDS", "NEEDS_BOOTSTRAP", "LockHeld", "MigrationState", "Migrations", "Progress"]

SUBSYSTEM, NAMESPACE = "core", "kong.db.migrations.core"
CORE = (m000_base,)
"""Migration modules in order. Each has `NAME`, and by strategy name `UP` and `FINISH` (statements, or a function)."""
CLUSTER_ID = "cluster_id"
"""Name of the value that the last step of a bootstrap stores: a store without it was not finished."""

NEEDS_BOOTSTRAP = "Database needs bootstrapping or is older than Kong 1.0. Run 'kong migrations bootstrap'"
_NEWER = "The store was migrated by a newer version (unknown migrations: {}); start that version, or a later one"


@dataclass(frozen=True)
class MigrationState:
    """Names of migrations by what is left to do. `missing`: executed by a version that knew more than this one."""

    executed: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    needs_bootstrap: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The object that `migrations status` prints; groups without entries are left out."""
        shown: dict[str, Any] = {"needs_bootstrap": self.needs_bootstrap}
        for name in ("executed", "pending", "new", "missing"):
            found: list[str] = getattr(self, name)
            if found:
                group = {"subsystem": SUBSYSTEM, "namespace": NAMESPACE, "migrations": found}
                shown[f"{name}_migrations"] = [group]
        return shown


class Migrations:
    """Runs the migrations of one store.

    `modules`: those of this version, in order; `wait`: seconds to wait for another process that holds the lock;
    `progress` hears what happens; `lock_seconds`: after which the lock of a process that died ends.
    """

    def __init__(
        self,
        strategy: Strategy,
        modules: Sequence[Any] = CORE,
        *,
        wait: float = 60.0,
        progress: Progress | None = None,
        lock_seconds: float = LOCK_SECONDS,
    ) -> None:
        self._strategy = strategy
        self._modules = {module.NAME: module for module in modules}
        self._wait = wait
        self._progress = progress or Progress()
        self._lock = StoreLock(strategy, lock_seconds)

    def state(self) -> MigrationState:
        """What has been done to the store and what is left."""
        return self._state(self._strategy.meta())

    def _state(self, meta: Meta) -> MigrationState:
        known = meta.migrations or {}
        missing = [name for name in known if name not in self._modules]
        if not known or CLUSTER_ID not in meta.values:
            done = [name for name, state in known.items() if state == "done" and name in self._modules]
            left = [name for name in self._modules if name not in done]
            return MigrationState(executed=done, new=left, missing=missing, needs_bootstrap=True)
        return MigrationState(
            executed=[name for name, state in known.items() if state == "done" or name in self._modules],
            pending=[name for name, state in known.items() if state == "up" and name in self._modules],
            new=[name for name in self._modules if name not in known],
            missing=missing,
        )

    def check(self) -> None:
        """Raises `MigrationError` unless this version may run on the store; outstanding second halves do not matter."""
        state = self.state()
        self.refuse_newer(state)
        if state.needs_bootstrap:
            raise MigrationError(NEEDS_BOOTSTRAP)
        if state.new:
            raise MigrationError("New migrations available; run 'kong migrations up' to proceed")

    def refuse_newer(self, state: MigrationState) -> None:
        """Raises `MigrationError` when a later version has worked on the store."""
        if state.missing:
            raise MigrationError(_NEWER.format(", ".join(state.missing)))

    def bootstrap(self, force: bool = False) -> list[str]:
        """Make the tables; the names of the migrations that ran, none when another process was faster.

        What an interrupted bootstrap has left is completed. `force` removes everything that was there first.
        """
        if force:
            self.reset()
        self._strategy.prepare()
        with self._locked():
            meta = self._strategy.meta()
            state = self._state(meta)
            self.refuse_newer(state)
            if not state.needs_bootstrap:
                return []
            known = meta.migrations or {}
            halves = [(name, "up") for name in state.new if name not in known]
            halves += [(name, "finish") for name in state.new if self._modules[name].FINISH]
            self._run(sorted(halves, key=lambda step: (state.new.index(step[0]), step[1] != "up")))
            self._strategy.set_value(CLUSTER_ID, str(uuid.uuid4()))
            return state.new

    def up(self) -> list[str]:
        """Run the first halves of new migrations; their names, none when another process was faster.

        Raises `MigrationError` while second halves are outstanding.
        """
        self._refuse_outstanding(self._bootstrapped())
        with self._locked():
            state = self.state()
            self.refuse_newer(state)
            if state.new:
                self._refuse_outstanding(state)
                self._run([(name, "up") for name in state.new])
            return state.new

    def finish(self) -> list[str]:
        """Run the outstanding second halves; the names of their migrations."""
        self._bootstrapped()
        with self._locked():
            state = self.state()
            self.refuse_newer(state)
            self._run([(name, "finish") for name in state.pending])
            return state.pending

    def reset(self) -> None:
        """Remove all content and all tables."""
        meta = self._strategy.meta()
        self.refuse_newer(self._state(meta))
        if meta.migrations is None:
            self._strategy.reset()
            return
        with self._locked(release=False):
            self._strategy.reset()

    @property
    def untouched(self) -> bool:
        """Whether nothing has ever been made in the store."""
        return self._strategy.meta().migrations is None

    def _run(self, steps: Sequence[tuple[str, str]]) -> None:
        """Run halves of migrations; a first half that no second one follows is the whole."""
        for number, (name, half) in enumerate(steps, 1):
            self._lock.require()
            module, began = self._modules[name], time.monotonic()
            self._progress.begins(name, half, number, len(steps))
            statements = (module.UP if half == "up" else module.FINISH).get(self._strategy.name)
            state = "up" if half == "up" and module.FINISH else "done"
            self._strategy.migrate(name, state, statements)
            self._progress.ended(name, half, time.monotonic() - began)

    def _bootstrapped(self) -> MigrationState:
        state = self.state()
        self.refuse_newer(state)
        if state.needs_bootstrap:
            raise MigrationError(f"Cannot run migrations: {NEEDS_BOOTSTRAP}")
        return state

    def _refuse_outstanding(self, state: MigrationState) -> None:
        if state.pending:
            raise MigrationError("Database has pending migrations; run 'kong migrations finish'")

    @contextmanager
    def _locked(self, *, release: bool = True) -> Iterator[None]:
        self._lock.take(self._wait, self._progress)
        try:
            yield
        finally:
            if release:
                self._lock.release()
            else:
                self._lock.stop()
