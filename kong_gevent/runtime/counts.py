"""Counters that several nodes share, in memory that the workers of a node share.

A slot holds what this node has counted, what the others are known to have counted, how much of the own count has been
told to them, and the text of its key: so any worker can synchronise any counter, and none is forgotten when the
worker that counted dies. Everything changes under one lock. The slots of counters in use are in a list, so that a
synchronisation looks at nothing else. A slot is a cache: one that has been told completely may be given away, since
the next use reads its counts again.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Hashable, Iterable, Sequence
from time import monotonic, time
from typing import Any, NamedTuple
from uuid import uuid4

from kong_gevent.runtime.lock import SharedLock, process_lives

WORD = 8
SLOTS = 1 << 15
PROBES = 64
GROUPS = 64
"""Places to synchronise with (the datastore, a Redis server at one rate) that a node may have at a time."""
CODE, OWN, OTHERS, EXPIRES, SENT, CONFIRMED, SEEN, ACTIVE, READ, GROUP, LISTED, LENGTH = range(12)
"""Words of a slot. OTHERS is `~count` while the count is too old to be used; SENT: how much of OWN others may have been
told, CONFIRMED: how much of it they have been told for sure; SEEN: OWN when last looked at; ACTIVE, READ: monotonic
ms when OWN last changed and OTHERS was last read; LISTED: 1 + position in the list of slots in use."""
SLOT_WORDS = 12
TEXT = 192
"""Bytes of a key's text; longer ones are told by a digest."""
_HOLDER, _COUNT, _FIRST_GROUP = 0, 1, 2
_ID, _UNTIL, _BY, _FAILED, _GROUP_WORDS = 0, 1, 2, 3, 4
IDLE = 10.0
"""Seconds without a count after which a counter is no longer synchronised; its next use reads it again."""
REFRESH = 0.9
"""Seconds between readings of a counter that has not changed here."""
MAX_KNOWN = 8192
"""Places that a worker remembers."""


class Slot(NamedTuple):
    """A counter at the time it was looked at; `ends` in epoch s."""

    place: int
    code: int
    key: str
    fresh: bool
    """Whether others have been told nothing of it yet."""
    ends: int


class Claim(NamedTuple):
    """Counts that are about to be told: the slot, the own total, and how much of it is new."""

    slot: Slot
    total: int
    added: int


def key_text(owner: tuple[str, ...], name: str) -> str:
    """The text of a counter's key; of one that is long, or not fit for every store, its ends and a digest."""
    text = "".join((*owner, name))
    data = text.encode(errors="surrogatepass")
    if len(data) <= TEXT and text.isprintable():
        return text
    digest = hashlib.blake2b(data, digest_size=20).hexdigest()
    return (owner[0][:90] + f"#{digest}" + name[:40]).encode("ascii", "replace").decode()


class CountTable:
    """The slots, and for each group who synchronises it and whether that failed last time. Times in s.

    `origin` names this memory: it is new whenever the memory is, so that what an origin has counted never shrinks.
    """

    def __init__(self, slots: int = SLOTS) -> None:
        self.origin = uuid4().hex
        header = _FIRST_GROUP + GROUPS * _GROUP_WORDS
        size = (header + slots + slots * SLOT_WORDS) * WORD
        self._map = mmap.mmap(-1, size + slots * TEXT)
        whole = memoryview(self._map)
        numbers = whole[:size].cast("q")
        self._header = numbers[:header]
        self._list = numbers[header : header + slots]
        self.words = numbers[header + slots :]
        self._texts = whole[size:]
        self._mask = slots - 1
        self._places: dict[int, int] = {}
        self.lock = SharedLock(self._header, _HOLDER)

    # --- groups ------------------------------------------------------------------------------------------------------

    def group(self, identity: Hashable) -> int:
        """The number of a group; it is taken when it is new, if need be from one that nobody synchronises any more."""
        code = hash((identity, "group")) or 1
        header = self._header
        starts = range(_FIRST_GROUP, _FIRST_GROUP + GROUPS * _GROUP_WORDS, _GROUP_WORDS)
        with self.lock:
            for start in starts:
                if header[start] == code:
                    return start
            start = min(starts, key=lambda start: (header[start] != 0, header[start + _UNTIL]))
            header[start : start + _GROUP_WORDS] = memoryview(bytearray(_GROUP_WORDS * WORD)).cast("q")
            header[start] = code
            return start

    def take_turn(self, group: int, pid: int, seconds: float) -> bool:
        """Whether this worker is to synchronise a group, and for so long; another may when it has ended."""
        header = self._header
        now = int(monotonic() * 1000)
        with self.lock:
            holder = header[group + _BY]
            if holder not in (0, pid) and header[group + _UNTIL] > now and process_lives(holder):
                return False
            header[group + _BY] = pid
            header[group + _UNTIL] = now + int(seconds * 1000)
            return True

    def leave_turn(self, group: int, pid: int) -> None:
        """Let another worker synchronise the group."""
        with self.lock:
            if self._header[group + _BY] == pid:
                self._header[group + _BY] = 0

    def failure(self, group: int) -> memoryview:
        """One word: 1 when the place that the group is synchronised with could not be reached when last tried."""
        return self._header[group + _FAILED : group + _FAILED + 1]

    def set_failed(self, group: int, failed: bool) -> bool:
        """Set the word that `failure` shows; returns whether it is news."""
        with self.lock:
            news = bool(self._header[group + _FAILED]) != failed
            self._header[group + _FAILED] = failed
            return news

    # --- slots; the caller holds the lock ----------------------------------------------------------------------------

    def place(self, code: int, group: int, owner: tuple[str, ...], window: Sequence[Any], now: float) -> int:
        """The first word of a counter's slot, made when need be; OTHERS of a new one is not known."""
        words = self.words
        place = self._places.get(code, -1)
        if place < 0 or words[place] != code:
            place = self._search(code, now)
            if len(self._places) >= MAX_KNOWN:
                self._places.clear()
            self._places[code] = place
        if words[place] != code or words[place + EXPIRES] <= now:
            text = key_text(owner, window[0]).encode()
            listed = words[place + LISTED]
            for word in range(SLOT_WORDS):
                words[place + word] = 0
            words[place] = code
            words[place + OTHERS] = -1
            words[place + EXPIRES] = int(window[2]) + 1
            words[place + GROUP] = group
            words[place + LISTED] = listed
            words[place + LENGTH] = len(text)
            start = place // SLOT_WORDS * TEXT
            self._texts[start : start + len(text)] = text
        return place

    def _search(self, code: int, now: float) -> int:
        """The slot of a code, else a free or ended one, else one that holds nothing new, else that which ends first."""
        words = self.words
        best, worth = -1, (3, 0)
        for step in range(PROBES):
            place = ((code + step) & self._mask) * SLOT_WORDS
            held = words[place]
            if held == code:
                return place
            if not held:
                return place if worth[0] else best
            ends = words[place + EXPIRES]
            told = words[place + OWN] == words[place + CONFIRMED]
            rank = (0 if ends <= now else 1 if told else 2, ends)
            if best < 0 or rank < worth:
                best, worth = place, rank
        return best

    def list_slot(self, place: int) -> None:
        """Have a slot synchronised from now on."""
        words = self.words
        words[place + ACTIVE] = int(monotonic() * 1000)
        if not words[place + LISTED]:
            count = self._header[_COUNT]
            self._list[count] = place
            self._header[_COUNT] = count + 1
            words[place + LISTED] = count + 1

    def _unlist(self, place: int) -> None:
        words = self.words
        position = words[place + LISTED] - 1
        words[place + LISTED] = 0
        count = self._header[_COUNT] - 1
        self._header[_COUNT] = count
        if position != count:
            last = self._list[count]
            self._list[position] = last
            words[last + LISTED] = position + 1

    def use_anyway(self, place: int) -> None:
        """Use what is known of the others' count although it may be too old."""
        if self.words[place + OTHERS] < 0:
            self.words[place + OTHERS] = ~self.words[place + OTHERS]
        self.list_slot(place)

    # --- synchronisation; these take the lock themselves -------------------------------------------------------------

    def in_use(self, group: int) -> list[int]:
        """Places of a group's slots that are in use."""
        with self.lock:
            places = self._list[: self._header[_COUNT]].tolist()
        words = self.words
        return [place for place in places if words[place + GROUP] == group]

    def look(self, places: Iterable[int], group: int) -> list[Slot]:
        """Those of the slots that have to be synchronised now; ended and idle ones leave the list."""
        words = self.words
        found: list[Slot] = []
        now, tick = time(), int(monotonic() * 1000)
        with self.lock:
            for place in places:
                if words[place + GROUP] != group or not words[place + LISTED]:
                    continue
                own = words[place + OWN]
                if words[place + EXPIRES] <= now:
                    self._unlist(place)
                    continue
                if own != words[place + SEEN]:
                    words[place + SEEN] = own
                    words[place + ACTIVE] = tick
                elif own == words[place + CONFIRMED]:
                    if tick - words[place + ACTIVE] > IDLE * 1000:
                        self._unlist(place)
                        if words[place + OTHERS] >= 0:
                            words[place + OTHERS] = ~words[place + OTHERS]
                        continue
                    if tick - words[place + READ] < REFRESH * 1000:
                        continue
                words[place + READ] = tick
                found.append(self._slot(place))
        return found

    def _slot(self, place: int) -> Slot:
        words = self.words
        start = place // SLOT_WORDS * TEXT
        text = bytes(self._texts[start : start + words[place + LENGTH]]).decode()
        fresh = not words[place + SENT]
        return Slot(place, words[place], text, fresh, words[place + EXPIRES] - 1)

    def slots_of(self, wanted: Iterable[tuple[int, int]]) -> list[Slot]:
        """The slots at places that still have the given codes."""
        with self.lock:
            return [self._slot(place) for place, code in wanted if self.words[place] == code]

    def learn(self, found: Iterable[tuple[Slot, int, int]]) -> None:
        """Take over what has been read: slot, the others' count, the own count as it was told.

        More told than this slot remembers comes from an earlier slot of the same counter; that is counted again. What
        the others have counted never shrinks.
        """
        words = self.words
        with self.lock:
            for slot, others, told in found:
                place = slot.place
                if words[place] != slot.code:
                    continue
                if told > words[place + SENT]:
                    words[place + OWN] += told - words[place + SENT]
                    words[place + SENT] = words[place + CONFIRMED] = told
                self._know(place, others)

    def learn_sum(self, slot: Slot, total: int) -> None:
        """Take over a total of all nodes, this one included as far as it has told its count."""
        with self.lock:
            if self.words[slot.place] == slot.code:
                self._know(slot.place, total - self.words[slot.place + SENT])

    def _know(self, place: int, others: int) -> None:
        words = self.words
        held = words[place + OTHERS]
        words[place + OTHERS] = max(held if held >= 0 else ~held, others)
        if not words[place + LISTED]:
            self.list_slot(place)

    def claim(self, slots: Iterable[Slot], confirmed: bool) -> list[Claim]:
        """What has to be told of these slots: all that is not `confirmed`, or all that was not claimed before."""
        words = self.words
        claims: list[Claim] = []
        with self.lock:
            for slot in slots:
                place = slot.place
                own = words[place + OWN]
                told = words[place + (CONFIRMED if confirmed else SENT)]
                if words[place] == slot.code and own != told:
                    words[place + SENT] = own
                    claims.append(Claim(slot, own, own - told))
        return claims

    def confirm(self, claims: Iterable[Claim]) -> None:
        """The totals of these claims have been told."""
        words = self.words
        with self.lock:
            for (place, code, *_), total, _ in claims:
                if words[place] == code and total > words[place + CONFIRMED]:
                    words[place + CONFIRMED] = total

    def confirm_sum(self, claim: Claim, total: int) -> None:
        """The new part of a claim has been added, and `total` is what all nodes have come to.

        When that is less than this node alone has told, counts were lost where they are kept; they are told again.
        """
        words = self.words
        place = claim.slot.place
        with self.lock:
            if words[place] != claim.slot.code:
                return
            told = words[place + CONFIRMED] + claim.added
            lost = max(0, told - total)
            words[place + CONFIRMED] = told - lost
            words[place + SENT] -= lost
            self._know(place, total - words[place + SENT])

    def give_back(self, claims: Iterable[Claim]) -> None:
        """These claims could not be told."""
        words = self.words
        with self.lock:
            for (place, code, *_), _, added in claims:
                if words[place] == code:
                    words[place + SENT] -= added

    def forked(self) -> None:
        """Forget the parent's process id; call it in a new worker."""
        self.lock.forked()
