"""What it means that a store refuses a commit: an error for whoever asked, or a reason to look again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import random
from typing import TYPE_CHECKING, Any, TypeVar

from gevent import sleep

from kong_gevent.db.cascade import referenced
from kong_gevent.db.strategies.base import CommitRefused, Duplicate, Exists, MissingParent, Referenced, Stale
from kong_gevent.errors import (
    DaoError,
    DatabaseError,
    ForeignKeyViolation,
    PrimaryKeyViolation,
    UniqueViolation,
    key_text,
)

if TYPE_CHECKING:
    from kong_gevent.db.catalogue import Catalogue

T = TypeVar("T")
ATTEMPTS = 20
"""Tries of a write that another writer's change of the same entity keeps overtaking."""
_PAUSE = 0.01


def coded(refusal: CommitRefused, entity: Mapping[str, Any], catalogue: Catalogue) -> DaoError | CommitRefused:
    """A refused commit as the error of the entity that was written, or `Stale` when looking again may help."""
    if isinstance(refusal, Exists):
        key: Mapping[str, Any] = {"id": refusal.id}
        return PrimaryKeyViolation(f"primary key violation on key '{key_text(key)}'", fields=key)
    if isinstance(refusal, Duplicate):
        key = {name: entity[name] for name in refusal.field.split(",")}
        return UniqueViolation(f"UNIQUE violation detected on '{key_text(key)}'", fields=key)
    if isinstance(refusal, MissingParent):
        key = {"id": refusal.parent_id}
        text = f"the foreign key '{key_text(key)}' does not reference an existing '{refusal.parent_kind}' entity."
        return ForeignKeyViolation(text, fields={refusal.field: key})
    if isinstance(refusal, Referenced):
        if refusal.child_kind not in catalogue:
            return referenced(refusal.child_kind, refusal.kind)  # of a plugin that is not there: nobody may judge
        return Stale(refusal.kind, refusal.id)  # a child came in between: look at the children again
    return DatabaseError(str(refusal))


def retry(
    attempt: Callable[[], T], name: str, overtaken: tuple[type[Exception], ...] = (Stale, PrimaryKeyViolation)
) -> T:
    """Do a write again while other writers overtake it. Raises `DatabaseError` after `ATTEMPTS`.

    `overtaken`: the errors that say so. An id that is taken does where the row was read before: it came in between.
    """
    for number in range(ATTEMPTS):
        if number > 1:
            sleep(random() * _PAUSE * number)  # so that writers which keep overtaking one another fall out of step
        try:
            return attempt()
        except overtaken:
            continue
    raise DatabaseError(f"an entity of {name} changed too often while it was written")
