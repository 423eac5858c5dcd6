"""A worker's memory of what the datastore said: values and misses, loaded once for all who ask, dropped by events."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from time import monotonic
from typing import Any

from gevent.event import AsyncResult

MAX_ENTRIES = 100_000


class _Oblivious(dict[Any, Any]):
    """A dict that keeps nothing."""

    def __setitem__(self, key: Any, value: Any) -> None:
        return


class LookupCache:
    """Values by key with times to live in s (None or 0: until dropped). Misses (None) are remembered as well.

    Requests that want the same missing key wait for one load. A load that a drop overtakes is not kept, since it may
    have read what was true before the change.
    """

    def __init__(self, ttl: float | None = None, negative_ttl: float | None = None, size: int = MAX_ENTRIES) -> None:
        self._ttl = ttl or None
        self._negative_ttl = negative_ttl if negative_ttl is not None else self._ttl
        self._size = size
        self._entries: OrderedDict[str, tuple[Any, float]] = OrderedDict()
        self._loading: dict[str, AsyncResult] = {}
        self._epoch = 0
        self._memories: list[dict[Any, Any]] = []
        self.kept = self._entries.get
        """Key → (value, monotonic time at which it is too old), or None: for the hot path."""

    def get(
        self, key: str, load: Callable[[], Any], ttl: float | None = None, negative_ttl: float | None = None
    ) -> Any:
        """The value of `key`; calls `load` when it is unknown or too old. Raises what `load` raises."""
        found = self._entries.get(key)
        if found is not None and found[1] > monotonic():
            return found[0]
        return self._load(key, load, ttl, negative_ttl)

    def _load(self, key: str, load: Callable[[], Any], ttl: float | None, negative_ttl: float | None) -> Any:
        running = self._loading.get(key)
        if running is not None:
            return running.get()
        result = self._loading[key] = AsyncResult()
        epoch = self._epoch
        try:
            value = load()
        except BaseException as error:
            result.set_exception(error)
            raise
        else:
            if self._loading.get(key) is result and epoch == self._epoch:
                self._keep(key, value, ttl, negative_ttl)
            result.set(value)
            return value
        finally:
            if self._loading.get(key) is result:
                del self._loading[key]

    def _keep(self, key: str, value: Any, ttl: float | None, negative_ttl: float | None) -> None:
        if value is None:
            life = self._negative_ttl if negative_ttl is None else negative_ttl
        else:
            life = self._ttl if ttl is None else ttl
        if isinstance(value, dict) and value.get("ttl") is not None:
            # An entity that expires: its remaining seconds are rounded up, and it must not outlive them here.
            left = value["ttl"] - 1
            if left <= 0:
                return
            life = min(life, left) if life else left
        if len(self._entries) >= self._size:
            self._entries.popitem(last=False)
        self._entries[key] = (value, monotonic() + life if life else float("inf"))

    def memory(self) -> dict[Any, Any]:
        """A dict for conclusions from cached values: emptied whenever one of them is dropped, so it needs no keys.

        While cached values also end by time, nothing is kept in it.
        """
        memory: dict[Any, Any] = _Oblivious() if self._ttl else {}
        self._memories.append(memory)
        return memory

    def _forget_conclusions(self) -> None:
        for memory in self._memories:
            memory.clear()

    def peek(self, key: str) -> tuple[bool, Any]:
        """Whether the key is here, and its value; never loads."""
        found = self._entries.get(key)
        if found is None or found[1] <= monotonic():
            return False, None
        return True, found[0]

    def drop(self, key: str) -> None:
        """Forget one key, and what is being loaded for it."""
        self._entries.pop(key, None)
        self._loading.pop(key, None)
        self._forget_conclusions()

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._loading.clear()
        self._forget_conclusions()
        self._epoch += 1

    def __len__(self) -> int:
        return len(self._entries)
