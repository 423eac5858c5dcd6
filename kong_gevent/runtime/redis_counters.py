"""Counters in Redis: counted there at once, or told to it in batches."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from time import time
from typing import Any

from kong_gevent.pdk.kit import RedisFailed
from kong_gevent.runtime.counts import MAX_KNOWN, Claim, CountTable, Slot
from kong_gevent.runtime.redis import RedisClient, pack

MAX_MADE = 50_000
"""Keys that a worker remembers to have given an end."""


def _life(expires: float) -> int:
    """Whole seconds until a counter ends, as EX takes them."""
    return max(1, ceil(expires - time()))


def _number(reply: bytes | None) -> int:
    """What a counter holds. Raises RedisFailed for what is no number: somebody else uses its key."""
    try:
        return int(reply or 0)
    except (TypeError, ValueError):
        raise RedisFailed(f"a counter holds {str(reply)[:40]}") from None


class RedisCounters:
    """See `kong_gevent.pdk.kit.SharedCounters`: every request counts in Redis, in all of its windows.

    The first use of a key makes it together with its end, so that none stays for ever, whatever breaks meanwhile.
    """

    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._exchange = client.exchange
        self._owners: dict[Any, tuple[Any, bytes]] = {}
        self._made: set[str] = set()

    def close(self) -> None:
        """See `SharedCounters.close`."""

    def consume(self, owner: tuple[str, ...], windows: Sequence[tuple[Any, ...]]) -> tuple[bool, list[int]]:
        """See `SharedCounters.consume`."""
        known = self._owners.get(owner)
        if known is None or known[0] is not windows:
            return _judge(self._first(owner, windows), windows)
        replies = self._exchange(known[1], len(windows))
        if 1 in replies:  # made by this very command: the server has lost it, or its time was over
            self._end("".join(owner), [window for reply, window in zip(replies, windows, strict=True) if reply == 1])
        return _judge(replies, windows)

    def usage(self, owner: tuple[str, ...], windows: Sequence[tuple[Any, ...]]) -> list[int]:
        """See `SharedCounters.usage`."""
        text = "".join(owner)
        return [_number(reply) for reply in self._client.call(*(("GET", text + window[0]) for window in windows))]

    def add(self, owner: tuple[str, ...], windows: Sequence[tuple[Any, ...]], amount: int) -> None:
        """See `SharedCounters.add`."""
        text = "".join(owner)
        making = [("SET", text + window[0], 0, "EX", _life(window[2]), "NX") for window in windows]
        self._client.call(*making, *(("INCRBY", text + window[0], amount) for window in windows))

    def _first(self, owner: tuple[str, ...], windows: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Count, and have every key made that this worker has not used before."""
        text = "".join(owner)
        made = [window for window in windows if text + window[0] not in self._made]
        making = pack(("SET", text + window[0], 0, "EX", _life(window[2]), "NX") for window in made)
        counting = pack(("INCR", text + window[0]) for window in windows)
        replies = self._exchange(making + counting, len(made) + len(windows))[len(made) :]
        self._end(text, [win for reply, win in zip(replies, windows, strict=True) if reply == 1 and win not in made])
        if len(self._owners) >= MAX_KNOWN:
            self._owners.clear()
        self._owners[owner] = (windows, counting)
        if len(self._made) >= MAX_MADE:
            self._made.clear()
        self._made.update(text + window[0] for window in made)
        return replies

    def _end(self, text: str, windows: Sequence[tuple[Any, ...]]) -> None:
        """Give keys an end that were made without one."""
        if windows:
            self._client.post(*(("EXPIRE", text + window[0], _life(window[2])) for window in windows))


def _judge(replies: list[Any], windows: Sequence[tuple[Any, ...]]) -> tuple[bool, list[int]]:
    """What `consume` returns for the counts after counting. Raises RedisFailed when they are none."""
    below = True
    values = []
    try:
        for reply, window in zip(replies, windows):  # noqa: B905 - one of each per window
            value = reply - 1
            values.append(value)
            if value >= window[1]:
                below = False
    except TypeError:
        raise RedisFailed(f"counting was answered with {str(replies)[:40]}") from None
    return below, values


class RedisPlace:
    """A Redis server as the place where nodes add up what they count (see `replicas.Place`)."""

    def __init__(self, table: CountTable, client: RedisClient) -> None:
        self._table = table
        self._client = client
        self.name = client.name

    def read(self, slots: Sequence[Slot]) -> None:
        """See `Place.read`."""
        if slots:
            self._learn(slots, self._client.call(*(("GET", slot.key) for slot in slots)))

    def _learn(self, slots: Sequence[Slot], replies: Sequence[Any]) -> None:
        for slot, reply in zip(slots, replies, strict=True):
            self._table.learn_sum(slot, _number(reply))

    def sync(self, slots: Sequence[Slot]) -> None:
        """See `Place.sync`."""
        told = {claim.slot.place for claim in self.push(slots)}
        self.read([slot for slot in slots if slot.place not in told])

    def push(self, slots: Sequence[Slot]) -> list[Claim]:
        """See `Place.push`; returns what was told. What may have been told before the server failed is not repeated."""
        claims = self._table.claim(slots, confirmed=False)
        if not claims:
            return []
        making = [
            ("SET", claim.slot.key, 0, "EX", _life(claim.slot.ends), "NX") for claim in claims if claim.slot.fresh
        ]
        adding = [("INCRBY", claim.slot.key, claim.added) for claim in claims]
        try:
            replies = self._client.call(*making, *adding)[len(making) :]
        except RedisFailed as error:
            if not error.unknown:
                self._table.give_back(claims)
            raise
        for claim, reply in zip(claims, replies, strict=True):
            self._table.confirm_sum(claim, reply)
        again = [
            ("EXPIRE", claim.slot.key, _life(claim.slot.ends))
            for claim, reply in zip(claims, replies, strict=True)
            if reply == claim.added and not claim.slot.fresh
        ]
        if again:
            self._client.post(*again)
        return claims

    def ping(self) -> None:
        """See `Place.ping`."""
        self._client.call(("PING",))
