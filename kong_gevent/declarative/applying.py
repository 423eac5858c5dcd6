"""Documents applied to a store as one change set: read, validated, compared, committed with its history, or nothing."""

from __future__ import annotations

import hashlib
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kong_gevent.db import audit, codec
from kong_gevent.db.store import CONFIGURATION
from kong_gevent.db.strategies.base import (
    Change,
    Duplicate,
    Exists,
    Index,
    MissingParent,
    Operation,
    Put,
    Referenced,
    Stale,
)
from kong_gevent.declarative import history
from kong_gevent.declarative.changes import Adopter, Changes, plan
from kong_gevent.declarative.document import Document
from kong_gevent.declarative.history import ChangeSet, RollbackRefused
from kong_gevent.declarative.moving import check_conflicts
from kong_gevent.declarative.progress import Begin, unheard
from kong_gevent.declarative.reader import Item
from kong_gevent.errors import DatabaseError, ForeignKeyViolation, GatewayError, UniqueViolation, key_text

if TYPE_CHECKING:
    from kong_gevent.db.store import Store

_log = logging.getLogger(__name__)
_LOCK, _LOCK_SECONDS = "configuration", 30.0
_ATTEMPTS = 5
Advance = Callable[[int], None]


class Busy(GatewayError):
    """Another document is being applied."""

    def __init__(self) -> None:
        super().__init__("Currently loading previous configuration")


@dataclass
class Request:
    """How to apply a document.

    `prune`: what the store has beyond the document goes, of those with all `tags` only; `whole`: the document is all
    that there is (`database = off`), and its hash the configuration's; `dry_run`: change nothing.
    """

    author: str
    source: str
    hash: str | None = None
    prune: bool = False
    tags: Sequence[str] = ()
    whole: bool = False
    dry_run: bool = False


@dataclass
class Outcome:
    """What was, or would be, done. `id`: of the change set; None when there was nothing to do, or nothing was done."""

    id: str | None
    hash: str | None
    summary: dict[str, int]
    changes: list[dict[str, Any]] = field(default_factory=list)

    def shown(self) -> dict[str, Any]:
        """As the API and the command line show it."""
        return {"id": self.id, "hash": self.hash, "summary": self.summary, "changes": self.changes}


def text_hash(text: bytes) -> str:
    """The hash of a document's text, as Kong computes it."""
    return hashlib.md5(text, usedforsecurity=False).hexdigest()


def apply(store: Store, items: Iterable[Item], request: Request, advance: Advance, begin: Begin = unheard) -> Outcome:
    """Apply a document. Raises `InvalidDocument`, `Busy`, `UniqueViolation`, `TooManyChanges` and what stores raise."""
    with _turn(store, advance, request.dry_run) as heard:
        # In a store that only documents fill, ids follow from the documents alone.
        adopt = None if request.whole else Adopter(store)
        with Document.load(items, store.catalogue, heard, adopt, begin) as document:
            tags = list(dict.fromkeys([*request.tags, *document.select_tags]))
            prune = request.prune or request.whole
            if not prune:
                check_conflicts(store, document, at_once=True)
            begin("comparing", document.count())
            return _commit(
                store,
                lambda: plan(store, document, prune=prune, tags=tags, advance=heard),
                ChangeSet(request.author, request.source, request.hash),
                request,
                begin,
            )


def rollback(
    store: Store, key: str | None, author: str, advance: Advance, begin: Begin = unheard, *, dry_run: bool = False
) -> Outcome:
    """Go back to before a change set (by id; the newest without one), in one change set.

    Raises `NoSuchChangeSet`, `RollbackRefused`, `Busy`, `TooManyChanges` and what stores raise.
    """
    with _turn(store, advance, dry_run) as heard:
        entry = history.find(store, key)
        made = ChangeSet(author, "rollback")

        def changes() -> Changes:
            found, made.rollback_of = history.undo(store, entry, heard)
            return found

        begin("comparing", history.size(store, entry))
        try:
            return _commit(store, changes, made, Request(author, "rollback", dry_run=dry_run), begin)
        except ForeignKeyViolation as refused:
            raise RollbackRefused([refused.message]) from None


def _commit(store: Store, work_out: Callable[[], Changes], entry: ChangeSet, request: Request, begin: Begin) -> Outcome:
    kept: GatewayError | None = None
    for _ in range(_ATTEMPTS):
        changes = work_out()
        outcome = Outcome(None, entry.hash, changes.summary(), changes.shown)
        if request.dry_run:
            return outcome
        state_changes = _new_state(store, request)
        if not changes.operations and not state_changes:
            return outcome
        operations, events = [*changes.operations, *state_changes], list(changes.events)
        if changes.operations:
            entry.parts = 0
            noted, told = history.remember(store, entry, changes)
            operations, events = operations + noted, events + told
            outcome.id = entry.id
        else:
            events.append(Change(*CONFIGURATION, "update"))
        begin("storing", None)
        try:
            store.strategy.commit(operations, events, store.origin)
        except (Exists, Stale):
            continue  # somebody else writes at the same time: look again
        except Referenced as refused:
            kept = _still_needed(refused, changes)
            continue  # a child came in between, unless it is one that is not to go
        except Duplicate as refused:
            held = {refused.field: refused.value}
            text = f"UNIQUE violation: '{refused.kind}' with '{key_text(held)}' is there under another id"
            raise UniqueViolation(text, fields=held) from None
        except MissingParent as refused:
            text = f"'{refused.parent_kind}' {refused.parent_id}, to which '{refused.kind}' refer, is gone"
            raise ForeignKeyViolation(text, fields={refused.field: {"id": refused.parent_id}}) from None
        audit.note(store.catalogue, changes.operations, changes.before())
        return outcome
    raise kept or DatabaseError("the datastore changed too often while the document was applied")


def _still_needed(refused: Referenced, changes: Changes) -> ForeignKeyViolation:
    """An entity cannot go: others refer to it that are neither in the document nor known to who wrote it."""
    name = next(record.name for record in changes.records if (record.kind, record.id) == (refused.kind, refused.id))
    text = f"an existing '{refused.child_kind}' entity references {refused.kind} {name or refused.id}, which is to go"
    return ForeignKeyViolation(text, fields={"@referenced_by": refused.child_kind})


def _new_state(store: Store, request: Request) -> list[Operation]:
    """The operation that notes the hash of a whole configuration, unless it is known."""
    if not request.whole:
        return []
    row = store.strategy.read(*CONFIGURATION)
    body = codec.dumps({"hash": request.hash, "source": request.source})
    if row is not None and row.body == body:
        return []
    return [Put(*CONFIGURATION, body, Index(), row.version if row is not None else None)]


@contextmanager
def _turn(store: Store, advance: Advance, dry_run: bool) -> Iterator[Advance]:
    """One document at a time in a store; hearing of progress renews the claim."""
    if dry_run:
        yield advance
        return
    owner, renewed = str(uuid.uuid4()), time.monotonic()
    if not store.strategy.lock(_LOCK, owner, _LOCK_SECONDS):
        raise Busy

    def heard(count: int) -> None:
        nonlocal renewed
        advance(count)
        if time.monotonic() - renewed > _LOCK_SECONDS / 3:
            renewed = time.monotonic()
            store.strategy.lock(_LOCK, owner, _LOCK_SECONDS)

    try:
        yield heard
    finally:
        _give_back(store, owner)


def _give_back(store: Store, owner: str) -> None:
    """End a claim. What was done is done, or has failed for a reason of its own: the claim does not change that."""
    try:
        store.strategy.unlock(_LOCK, owner)
    except GatewayError as error:
        _log.warning("no other document can be applied for %d s: %s", _LOCK_SECONDS, error)
