"""Entities as plugins read and write them (see `kong_gevent.pdk.kit.Entities` for what each method promises)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from kong_gevent.db import rows
from kong_gevent.errors import DatabaseError, InvalidPrimaryKey, InvalidUnique, Overloaded
from kong_gevent.pdk.kit import LookupFailed

if TYPE_CHECKING:
    from kong_gevent.db import DAO

T = TypeVar("T")
Values = dict[str, Any]


@contextmanager
def asking() -> Iterator[None]:
    """A store that does not answer is `LookupFailed`; what it refuses keeps its own error."""
    try:
        yield
    except (DatabaseError, Overloaded) as error:
        raise LookupFailed(str(error)) from error


def found(select: Callable[..., T | None], *key: Any) -> T | None:
    """What a look-up finds; what breaks the rules of the key is never there."""
    try:
        return select(*key)
    except (InvalidPrimaryKey, InvalidUnique):
        return None


class EntityAccess:
    """Entities of one kind.

    `lookups`: for reads that may lag a little; `cached(key, load)` keeps what they gave; `publish` tells all workers
    that something was written.
    """

    def __init__(
        self, dao: DAO, lookups: DAO, cached: Callable[[str, Callable[[], Any]], Any], publish: Callable[[], None]
    ) -> None:
        self._dao = dao
        self._lookups = lookups
        self._cached = cached
        self._publish = publish
        self._name = dao.entity.name

    def select(self, key: str, cached: bool = False) -> Values | None:
        """See `Entities.select`."""
        if cached:
            # Events name ids as they are stored.
            return self._kept("id", str(key).lower(), lambda: found(self._lookups.select, key))  # type: ignore[no-any-return]
        with asking():
            return found(self._dao.select, key)

    def select_by(self, field: str, value: str, cached: bool = False) -> Values | None:
        """See `Entities.select_by`."""
        if cached:
            return self._kept(field, value, lambda: found(self._lookups.select_by, field, value))  # type: ignore[no-any-return]
        with asking():
            return found(self._dao.select_by, field, value)

    def select_together(self, values: Mapping[str, Any]) -> Values | None:
        """See `Entities.select_together`."""
        names = next(names for names in self._dao.entity.unique_together if set(names) == set(values))
        key = rows.combination(values, names)
        return self._kept(",".join(names), key, lambda: self._lookups.select_together(values))  # type: ignore[no-any-return]

    def children(self, field: str, parent_id: str, cached: bool = False) -> list[Values]:
        """See `Entities.children`."""
        if not cached:
            with asking():
                return list(self._dao.each(parent=(field, parent_id)))
        if field not in self._dao.entity.listed_by:
            raise ValueError(f"lists of {self._name} by {field} are not kept: name the field in `listed_by`")
        return self._kept(field, parent_id, lambda: list(self._lookups.each(parent=(field, parent_id))))  # type: ignore[no-any-return]

    def _kept(self, field: str, value: str, load: Callable[[], Any]) -> Any:
        return self._cached(f"{self._name}:{field}:{value}", load)

    def each(self) -> Iterator[Values]:
        """See `Entities.each`."""
        with asking():
            yield from self._dao.each()

    def insert(self, values: Mapping[str, Any], ttl: float | None = None) -> Values:
        """See `Entities.insert`."""
        return self._written(lambda: self._dao.insert(values, ttl))

    def upsert(self, key: str, values: Mapping[str, Any], ttl: float | None = None) -> Values:
        """See `Entities.upsert`."""
        return self._written(lambda: self._dao.upsert(key, values, ttl))

    def update(self, key: str, values: Mapping[str, Any], ttl: float | None = None) -> Values:
        """See `Entities.update`."""
        return self._written(lambda: self._dao.update(key, values, ttl))

    def delete(self, key: str) -> bool:
        """See `Entities.delete`."""
        return self._deleted(lambda: self._dao.delete(key))

    def delete_by(self, field: str, value: str) -> bool:
        """See `Entities.delete_by`."""
        return self._deleted(lambda: self._dao.delete_by(field, value))

    def _written(self, write: Callable[[], Values]) -> Values:
        with asking():
            entity = write()
        self._publish()
        return entity

    def _deleted(self, delete: Callable[[], bool]) -> bool:
        with asking():
            deleted = bool(found(delete))
        if deleted:
            self._publish()
        return deleted
