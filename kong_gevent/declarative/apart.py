"""Documents applied beside the requests: small ones in pieces, large ones in a process of their own.

Reading and validating ten thousand entities is seconds of pure Python, which in a thread would slow down each request
that the worker serves meanwhile.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gevent import subprocess

from kong_gevent.conf import environment
from kong_gevent.db.strategies.memory import MemoryStrategy
from kong_gevent.declarative.applying import Busy, Outcome, Request, apply
from kong_gevent.declarative.changes import TooManyChanges
from kong_gevent.declarative.flattening import flatten
from kong_gevent.declarative.posted import Posted, from_json, from_text
from kong_gevent.declarative.problems import InvalidDocument
from kong_gevent.errors import DaoError, DatabaseError, StoreUnavailable
from kong_gevent.pacing import Pacer

if TYPE_CHECKING:
    from kong_gevent.db.store import Store

LARGE = 64 * 1024
"""Bytes from which a document gets a process of its own; starting that takes about a second."""
_RUN = "import sys; sys.path.insert(0, sys.argv.pop(1)); from kong_gevent.cli import main; main()"


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


def apply_here(store: Store, kind: str, content: Any, request: Request, flattening: bool) -> Outcome:
    """Apply in this process, letting others have their turn. Raises `Refused` and what `apply` raises."""
    pacer = Pacer()
    try:
        document = posted(kind, content)
        request.hash = document.hash
        return apply(store, document.items, request, pacer)
    except InvalidDocument as error:
        if not flattening or set(error.tree) == {"error"}:
            raise Refused(error, flattened=[] if flattening else None) from None
        left, flattened = flatten(error.tree, posted(kind, content).items, store.catalogue)
        raise Refused(error, InvalidDocument(left).fields, flattened) from None


def apply_beside(store: Store, settings: Any, kind: str, content: Any, request: Request, flattening: bool) -> Outcome:
    """Apply, wherever that disturbs least. Raises like `apply_here`."""
    if len(content) < LARGE or store.strategy.name == MemoryStrategy.name:
        return apply_here(store, kind, content, request, flattening)
    job = pickle.dumps((store.origin, kind, content, request, flattening))
    root = str(Path(__file__).resolve().parents[2])
    child = subprocess.Popen(
        [sys.executable, "-c", _RUN, root, "config", "job"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(settings),
    )  # fmt: skip
    try:
        output, said = child.communicate(job)
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    if child.returncode:
        last = said.decode("utf-8", "replace").strip().splitlines()[-1:] or [f"code {child.returncode}"]
        raise DatabaseError(f"the process that applies the document failed: {last[0]}")
    return _result(pickle.loads(output))


def run_job(store: Store, job: Any) -> bytes:
    """In that process: do it; what came of it, for the process that asked."""
    store.origin, kind, content, request, flattening = job
    found: tuple[Any, ...]
    try:
        found = ("outcome", apply_here(store, kind, content, request, flattening))
    except Refused as refused:
        found = ("refused", dict(refused.error.tree), refused.error.left_out, refused.fields, refused.flattened)
    except Busy:
        found = ("busy",)
    except TooManyChanges:
        found = ("many",)
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
    if kind == "busy":
        raise Busy
    if kind == "many":
        raise TooManyChanges
    error, message, fields = rest
    if issubclass(error, StoreUnavailable):
        raise StoreUnavailable(message)
    raise error(message, fields=fields)
