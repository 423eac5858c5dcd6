"""Change sets made beside the requests: small ones in pieces, large ones in a process of their own.

Reading and validating ten thousand entities is seconds of pure Python, which in a thread would slow down each request
that the worker serves meanwhile.
"""

from __future__ import annotations

import pickle
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gevent import subprocess

from kong_gevent.conf import environment
from kong_gevent.db.strategies.memory import MemoryStrategy
from kong_gevent.declarative import history
from kong_gevent.declarative.applying import Advance, Busy, Outcome, Request, apply, rollback
from kong_gevent.declarative.changes import TooManyChanges
from kong_gevent.declarative.flattening import flatten
from kong_gevent.declarative.history import NoSuchChangeSet, RollbackRefused
from kong_gevent.declarative.posted import NothingPosted, Posted, from_json, from_text
from kong_gevent.declarative.problems import InvalidDocument
from kong_gevent.declarative.progress import Begin, JobProgress, unheard
from kong_gevent.errors import DaoError, DatabaseError, StoreUnavailable
from kong_gevent.pacing import Pacer

if TYPE_CHECKING:
    from kong_gevent.db.store import Store

LARGE = 64 * 1024
"""Bytes from which a document gets a process of its own; starting that takes about a second."""
MANY = 500
"""Changes from which the way back has one."""
_RUN = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from kong_gevent.turns import ShortTurns
with ShortTurns():
    from kong_gevent.cli import main
    main()
"""


class Refused(Exception):
    """A document is not applied: the problem, and with `flatten_errors` the problems by entity."""

    def __init__(
        self, error: InvalidDocument, fields: Any = None, flattened: list[dict[str, Any]] | None = None
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.fields = error.fields if fields is None else fields
        self.flattened = flattened


def posted(kind: str, content: Any) -> Posted:
    """The document in a request: `kind` is "json" (bytes of a body) or "text"."""
    return from_json(content) if kind == "json" else from_text(content)


class Task(ABC):
    """Work that ends in a change set, done here or in another process."""

    @abstractmethod
    def is_large(self, store: Store) -> bool:
        """Whether it needs a process of its own, so that requests do not notice."""

    @abstractmethod
    def run(self, store: Store, advance: Advance, begin: Begin = unheard) -> Outcome:
        """Do it. `advance` is called between small pieces of work, `begin` before large ones."""


@dataclass
class Application(Task):
    """A document that was posted, as "json" or "text". `flattening`: problems are told by entity, too."""

    kind: str
    content: Any
    request: Request
    flattening: bool = False

    def is_large(self, store: Store) -> bool:
        """See `Task`."""
        return len(self.content) >= LARGE

    def run(self, store: Store, advance: Advance, begin: Begin = unheard) -> Outcome:
        """See `Task`. Raises `Refused` and what `apply` raises."""
        try:
            document = posted(self.kind, self.content)
            self.request.hash = document.hash
            return apply(store, document.items, self.request, advance, begin)
        except InvalidDocument as error:
            if not self.flattening or set(error.tree) == {"error"}:
                raise Refused(error, flattened=[] if self.flattening else None) from None
            left, flattened = flatten(error.tree, posted(self.kind, self.content).items, store.catalogue)
            raise Refused(error, InvalidDocument(left).fields, flattened) from None


@dataclass
class Rollback(Task):
    """The way back to before a change set: by id or the beginning of one, the newest without."""

    key: str | None
    author: str
    dry_run: bool = False

    def is_large(self, store: Store) -> bool:
        """See `Task`. Raises `NoSuchChangeSet`."""
        return history.size(store, history.find(store, self.key)) >= MANY

    def run(self, store: Store, advance: Advance, begin: Begin = unheard) -> Outcome:
        """See `Task`. Raises what `rollback` raises."""
        return rollback(store, self.key, self.author, advance, begin, dry_run=self.dry_run)


def run_beside(store: Store, settings: Any, task: Task) -> Outcome:
    """Do a task, wherever that disturbs least. Raises what the task raises."""
    if store.strategy.name == MemoryStrategy.name or not task.is_large(store):
        return task.run(store, Pacer())
    root = str(Path(__file__).resolve().parents[2])
    child = subprocess.Popen(
        [sys.executable, "-c", _RUN, root, "config", "job"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(settings),
    )  # fmt: skip
    try:
        output, said = child.communicate(pickle.dumps((store.origin, task)))
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    if child.returncode:
        last = said.decode("utf-8", "replace").strip().splitlines()[-1:] or [f"code {child.returncode}"]
        raise DatabaseError(f"the process that changes the configuration failed: {last[0]}")
    return _result(pickle.loads(output))


def run_job(store: Store, job: Any, progress: JobProgress) -> bytes:
    """In that process: do it; what came of it, for the process that asked."""
    task: Task
    store.origin, task = job
    found: tuple[Any, ...]
    try:
        found = ("outcome", task.run(store, progress.advance, progress.begin))
    except Refused as refused:
        found = ("refused", dict(refused.error.tree), refused.error.left_out, refused.fields, refused.flattened)
    except (Busy, TooManyChanges, NothingPosted) as error:
        found = ("raised", type(error))
    except NoSuchChangeSet as error:
        found = ("raised", NoSuchChangeSet, str(error))
    except RollbackRefused as error:
        found = ("raised", RollbackRefused, error.problems)
    except DaoError as error:
        found = ("error", type(error), error.message, error.fields)
    return pickle.dumps(found)


def _result(found: tuple[Any, ...]) -> Outcome:
    kind, *rest = found
    if kind == "outcome":
        outcome: Outcome = rest[0]
        return outcome
    if kind == "refused":
        tree, left_out, fields, flattened = rest
        raise Refused(InvalidDocument(tree, left_out), fields, flattened)
    if kind == "raised":
        raised, *arguments = rest
        raise raised(*arguments)
    error, message, fields = rest
    if issubclass(error, StoreUnavailable):
        raise StoreUnavailable(message)
    raise error(message, fields=fields)
