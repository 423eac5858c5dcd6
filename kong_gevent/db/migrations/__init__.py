"""Migrations of the store: numbered modules with two halves, so that old and new nodes can run side by side in between.

`up` only adds; `finish` may remove what the old version needed. States and words are those of `kong migrations`.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from gevent import sleep

from kong_gevent.db.migrations import m000_base
from kong_gevent.db.strategies.base import Strategy
from kong_gevent.errors import MigrationError

SUBSYSTEM, NAMESPACE = "core", "kong.db.migrations.core"
LOCK, LOCK_SECONDS = "migrations", 60.0
CORE = (m000_base,)
"""Migration modules in order. Each has `NAME`, and by strategy name `UP` and `FINISH` (SQL, or a function)."""

NEEDS_BOOTSTRAP = "Database needs bootstrapping or is older than Kong 1.0. Run 'kong migrations bootstrap'"
_NEWER = "The store was migrated by a newer version (unknown migrations: {}); start that version, or a later one"


class LockHeld(MigrationError):
    """Another node is performing database changes."""


@dataclass(frozen=True)
class MigrationState:
    """Names of migrations by what is left to do. `missing`: executed by a version that knew more than this one."""

    executed: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    needs_bootstrap: bool = False

    @property
    def up_to_date(self) -> bool:
        """Nothing to do."""
        return not (self.needs_bootstrap or self.pending or self.new)

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
    """Runs the migrations of one store. `owner` and `wait` (seconds) concern the lock between nodes."""

    def __init__(self, strategy: Strategy, modules: Sequence[Any] = CORE, *, wait: float = 60.0) -> None:
        self._strategy = strategy
        self._modules = {module.NAME: module for module in modules}
        self._owner = str(uuid.uuid4())
        self._wait = wait

    def state(self) -> MigrationState:
        """What has been done to the store and what is left."""
        known = self._strategy.meta().migrations
        if not known:
            return MigrationState(new=list(self._modules), needs_bootstrap=True)
        return MigrationState(
            executed=[name for name, state in known.items() if state == "done" or name in self._modules],
            pending=[name for name, state in known.items() if state == "up" and name in self._modules],
            new=[name for name in self._modules if name not in known],
            missing=[name for name in known if name not in self._modules],
        )

    def check(self) -> None:
        """Raises `MigrationError` unless this version may run on the store; outstanding second halves do not matter."""
        state = self.state()
        if state.needs_bootstrap:
            raise MigrationError(NEEDS_BOOTSTRAP)
        self._refuse_newer(state)
        if state.new:
            raise MigrationError("New migrations available; run 'kong migrations up' to proceed")

    def bootstrap(self, force: bool = False) -> list[str]:
        """Make the tables; the names of the migrations that ran, none when another process was faster.

        `force` removes everything that was there first.
        """
        if force:
            self.reset()
        self._strategy.prepare()
        with self._locked():
            state = self.state()
            self._refuse_newer(state)
            if not state.needs_bootstrap:
                return []
            for name, module in self._modules.items():
                self._run(name, "up", module.UP)
                self._run(name, "done", module.FINISH)
            self._strategy.set_value("cluster_id", str(uuid.uuid4()))
            return list(self._modules)

    def up(self) -> list[str]:
        """Run the first halves of new migrations. Raises `MigrationError` while second halves are outstanding."""
        self._refuse_empty()
        with self._locked():
            state = self.state()
            self._refuse_newer(state)
            if state.pending:
                raise MigrationError("Database has pending migrations; run 'kong migrations finish'")
            for name in state.new:
                self._run(name, "up" if self._modules[name].FINISH else "done", self._modules[name].UP)
            return state.new

    def finish(self) -> list[str]:
        """Run the outstanding second halves."""
        self._refuse_empty()
        with self._locked():
            state = self.state()
            self._refuse_newer(state)
            for name in state.pending:
                self._run(name, "done", self._modules[name].FINISH)
            return state.pending

    def reset(self) -> None:
        """Remove all content and all tables."""
        if self._strategy.meta().migrations is None:
            self._strategy.reset()
            return
        with self._locked(release=False):
            self._strategy.reset()

    def _run(self, name: str, state: str, steps: dict[str, str | Callable[..., None]]) -> None:
        if not self._strategy.lock(LOCK, self._owner, LOCK_SECONDS):
            raise LockHeld("another node took over the migrations")
        self._strategy.migrate(name, state, steps.get(self._strategy.name))

    def _refuse_empty(self) -> None:
        if self.state().needs_bootstrap:
            raise MigrationError(f"Cannot run migrations: {NEEDS_BOOTSTRAP}")

    def _refuse_newer(self, state: MigrationState) -> None:
        if state.missing:
            raise MigrationError(_NEWER.format(", ".join(state.missing)))

    @contextmanager
    def _locked(self, *, release: bool = True) -> Iterator[None]:
        until = time.monotonic() + self._wait
        while not self._strategy.lock(LOCK, self._owner, LOCK_SECONDS):
            if time.monotonic() > until:
                raise LockHeld("aborted: another node is performing database changes")
            sleep(0.05)
        try:
            yield
        finally:
            if release:
                self._strategy.unlock(LOCK, self._owner)
