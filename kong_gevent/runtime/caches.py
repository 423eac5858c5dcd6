"""A worker's memory of what the datastore said: values and misses, loaded once for all who ask, dropped by events."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from time import monotonic
from typing import Any

from gevent.event import AsyncResult

from kong_gevent.errors import Overloaded, StoreUnavailable
from kong_gevent.pdk.kit import Conclusions
from kong_gevent.runtime.gate import Gate

CAPACITY = 128 << 20
"""Bytes, by estimate, that a worker's look-ups may take; `mem_cache_size`."""
MISSES = 4
"""Misses get one part in so many: clients choose their keys, and must not crowd out what is in use."""
FULL = 0.8
"""The part of the capacity that may be filled ahead of requests."""
RETRY = 1.0
"""Seconds for which a value that outlived its time serves before the store is asked again."""
FOREVER = float("inf")

_KONGS_KEY = re.compile(r"([^:]+):(.*):::::[^:]*", re.DOTALL)

Entry = tuple[Any, float, float, int]
"""Value, monotonic time until which it is fresh, time until which it may serve while the store is away, weight."""
_ABANDONED = object()


class _Oblivious(Conclusions):
    """Conclusions that are never kept."""

    def __setitem__(self, key: Any, value: Any) -> None:
        return


class _Shelf:
    """Entries by key within a number of bytes; the oldest make room."""

    def __init__(self, capacity: int) -> None:
        self.entries: OrderedDict[str, Entry] = OrderedDict()
        self.capacity = capacity
        self.weight = 0

    def put(self, key: str, entry: Entry) -> None:
        self.discard(key)
        self.entries[key] = entry
        self.weight += entry[3]
        while self.weight > self.capacity and self.entries:
            self.weight -= self.entries.popitem(last=False)[1][3]

    def discard(self, key: str) -> None:
        old = self.entries.pop(key, None)
        if old is not None:
            self.weight -= old[3]

    def clear(self) -> None:
        self.entries.clear()
        self.weight = 0


class LookupCache:
    """Values by key with times to live in s (None or 0: until dropped). Misses (None) are remembered as well.

    Requests that want the same missing key wait for one load. A load that a drop overtakes is not kept, since it may
    have read what was true before the change; whoever asks after the drop starts a load of its own. While the store is
    away, a value that is past its time serves for `resurrect` s more; an entity that has expired never does.
    `capacity` is in bytes, by estimate.
    """

    def __init__(
        self,
        ttl: float | None = None,
        negative_ttl: float | None = None,
        capacity: int = CAPACITY,
        resurrect: float = 0.0,
    ) -> None:
        self._ttl = ttl or None
        self._negative_ttl = negative_ttl if negative_ttl is not None else self._ttl
        self._resurrect = resurrect
        self._values = _Shelf(capacity)
        self._misses = _Shelf(capacity // MISSES)
        self._loading: dict[str, AsyncResult] = {}
        self._memories: list[Conclusions] = []
        self._gate = Gate()
        self._epoch = 0
        self.version = 0
        """Grows whenever something is dropped."""
        self.kept = self._values.entries.get
        """Key → (value, monotonic time at which it is too old, …), or None: for the hot path. Misses are elsewhere."""

    def get(
        self, key: str, load: Callable[[], Any], ttl: float | None = None, negative_ttl: float | None = None
    ) -> Any:
        """The value of `key`; calls `load` when it is unknown or too old. Raises what `load` raises."""
        while True:
            found = self._values.entries.get(key) or self._misses.entries.get(key)
            if found is not None and found[1] > monotonic():
                return found[0]
            running = self._loading.get(key)
            if running is None:
                return self._load(key, load, ttl, negative_ttl)
            value = running.get()
            if value is not _ABANDONED:
                return value

    def _load(self, key: str, load: Callable[[], Any], ttl: float | None, negative_ttl: float | None) -> Any:
        result = self._loading[key] = AsyncResult()
        epoch = self._epoch
        try:
            value = self._gate.run(key.partition(":")[0], load)
        except (StoreUnavailable, Overloaded) as error:
            stale = self._stale(key)
            if stale is None:
                result.set_exception(error)
                raise
            value = stale[0]
        except Exception as error:
            result.set_exception(error)
            raise
        except BaseException:  # this greenlet is being ended, which is no answer for those who wait
            result.set(_ABANDONED)
            raise
        else:
            if self._loading.get(key) is result and epoch == self._epoch:
                self._keep(key, value, ttl, negative_ttl)
        finally:
            if self._loading.get(key) is result:
                del self._loading[key]
        result.set(value)
        return value

    def _stale(self, key: str) -> Entry | None:
        """The old value of a key, if it may serve while the store is away; then also for those who ask soon."""
        entry = self._values.entries.get(key)
        now = monotonic()
        if entry is None or entry[2] <= now:
            return None
        self._values.entries[key] = (entry[0], min(now + RETRY, entry[2]), entry[2], entry[3])
        return entry

    def _keep(self, key: str, value: Any, ttl: float | None, negative_ttl: float | None) -> None:
        if value is None:
            life = self._negative_ttl if negative_ttl is None else negative_ttl
        else:
            life = self._ttl if ttl is None else ttl
        until = FOREVER
        if isinstance(value, dict) and value.get("ttl") is not None:
            # An entity that expires: its remaining seconds are rounded up, and it must not outlive them here.
            left = value["ttl"] - 1
            if left <= 0:
                return
            life = min(life, left) if life else left
            until = monotonic() + left
        fresh = monotonic() + life if life else FOREVER
        entry = (value, fresh, min(fresh + self._resurrect, until), weight(key, value))
        shelf, other = (self._misses, self._values) if value is None else (self._values, self._misses)
        other.discard(key)
        shelf.put(key, entry)

    def warm(self, entries: Iterable[tuple[str, Any]], version: int) -> bool:
        """Keep values that were read while the cache had this `version`; False when something was dropped since."""
        if version != self.version:
            return False
        for key, value in entries:
            self._keep(key, value, None, None)
        return True

    @property
    def full(self) -> bool:
        """Whether there is no room left for values that nobody has asked for."""
        return self._values.weight > FULL * self._values.capacity

    @property
    def weight(self) -> int:
        """Bytes in use, by estimate."""
        return self._values.weight + self._misses.weight

    def memory(self) -> Conclusions:
        """A dict for conclusions from cached values: emptied whenever one of them is dropped, so it needs no keys.

        While cached values also end by time, nothing is kept in it.
        """
        memory = _Oblivious() if self._ttl else Conclusions()
        self._memories.append(memory)
        return memory

    def _forget_conclusions(self) -> None:
        self.version += 1
        for memory in self._memories:
            memory.clear()
            memory.version += 1

    def store_answers(self) -> None:
        """The store has answered somebody: look-ups need not wait until one of them has found out."""
        self._gate.open()

    def peek(self, key: str) -> tuple[bool, Any]:
        """Whether the key is here, and its value; never loads."""
        found = self._values.entries.get(key) or self._misses.entries.get(key)
        if found is None or found[1] <= monotonic():
            return False, None
        return True, found[0]

    def drop(self, key: str) -> None:
        """Forget one key, and what is being loaded for it."""
        self._values.discard(key)
        self._misses.discard(key)
        self._loading.pop(key, None)
        self._forget_conclusions()

    def drop_all(self, keys: AbstractSet[str]) -> None:
        """Forget many keys; costs little for those that are not here."""
        for shelf in (self._values, self._misses):
            for key in keys & shelf.entries.keys():
                shelf.discard(key)
        for key in keys & self._loading.keys():
            del self._loading[key]
        self._forget_conclusions()

    def clear(self) -> None:
        """Forget everything."""
        self._values.clear()
        self._misses.clear()
        self._loading.clear()
        self._forget_conclusions()
        self._epoch += 1

    def __len__(self) -> int:
        return len(self._values.entries) + len(self._misses.entries)


def weight(key: str, value: Any) -> int:
    """About how many bytes an entry takes. Cheap, and rather too much than too little."""
    total = 400 + len(key)
    if isinstance(value, dict):
        total += 300 + 100 * len(value)
        for part in value.values():
            if isinstance(part, str):
                total += len(part)
            elif isinstance(part, (list, dict)):
                total += 100 + 100 * len(part)
    elif isinstance(value, (str, bytes)):
        total += len(value)
    elif isinstance(value, list):
        total += sum(weight("", part) for part in value)
    return total


def own_key(catalogue: Mapping[str, Any], key: str) -> str:
    """Our key for Kong's form `<entity>:<value>:::::<workspace>`; others are as they are. There is one workspace."""
    match = _KONGS_KEY.fullmatch(key)
    if match is None:
        return key
    name, value = match.groups()
    entity = catalogue.get(name)
    return f"{name}:{entity.cache_key[0] if entity is not None and entity.cache_key else 'id'}:{value}"
