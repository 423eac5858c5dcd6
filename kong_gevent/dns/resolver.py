"""The resolver of a worker: every name that the gateway has to do with is looked up here, and remembered.

Strategy: whoever asks gets what is known at once; only the first who asks for a name waits. What has expired serves on
while one look-up in the background renews it, and goes on serving when no name server answers, for `stale` seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import gevent
from gevent.event import Event

from kong_gevent.dns.answers import NEVER, Address, Answer, NameNotResolved, Place, kind_of, numeric_address
from kong_gevent.dns.client import Client
from kong_gevent.dns.lookup import Lookup
from kong_gevent.dns.system import Asking, Hosts, read_resolv_conf, server_of
from kong_gevent.errors import Overloaded

if TYPE_CHECKING:
    from kong_gevent.conf import Settings

log = logging.getLogger("kong_gevent.dns")
PATIENCE = 0.1
"""Seconds that a request waits for new records when the old ones say that they are for one use only (TTL 0)."""
TYPES = ("SRV", "A", "AAAA")
"""Types of records that are asked for; aliases (CNAME) are followed whatever is asked for."""


class Times(NamedTuple):
    """How long answers are kept, in s. `valid`: instead of the records' own TTL; `size`: names that are kept."""

    valid: float | None = None
    stale: float = 3600.0
    not_found: float = 30.0
    error: float = 1.0
    size: int = 10000
    merge: bool = True
    """Whether those who wait for the same name wait for one look-up."""


class _Entry:
    __slots__ = ("answer", "asked", "began", "error", "expires", "failed", "found", "good_until", "loading")

    def __init__(self) -> None:
        self.answer: Answer | None = None
        self.error: NameNotResolved | None = None
        self.expires = 0.0
        self.good_until = 0.0
        self.began = 0.0
        self.loading: Event | None = None
        self.asked = self.found = self.failed = 0

    def told(self, now: float) -> dict[str, Any]:
        """What is known, and how often it was looked up, in numbers."""
        told: dict[str, Any] = {"query": self.asked, "query_succ": self.found, "query_fail": self.failed}
        if self.answer is not None:
            told |= {"type": self.answer.kind, "records": len(self.answer.places)}
        if self.error is not None:
            told["error"] = str(self.error)
        return told | {"ttl": round(self.expires - now, 3), "stale": self.answer is not None and self.expires <= now}


class Cache:
    """Names and what they lead to. `find(name, last)` looks one up, `last` being the answer before this one."""

    def __init__(self, find: Callable[[str, Answer | None], Answer], times: Times) -> None:
        self._find = find
        self._times = times
        self._entries: dict[str, _Entry] = {}

    def look(self, name: str) -> Answer:
        """What a name leads to. Raises `NameNotResolved`."""
        entry = self._entries.get(name)
        if entry is not None and entry.answer is not None and entry.expires > monotonic():
            return entry.answer
        return self._look(name, entry or self._enter(name))

    def glance(self, name: str) -> tuple[Answer | None, Event | None]:
        """What is known now, without waiting; and what is set when a look-up that has begun is over.

        Raises `NameNotResolved` for a name that is known to lead nowhere.
        """
        entry = self._entries.get(name) or self._enter(name)
        now = monotonic()
        if entry.expires <= now:
            self._begin(name, entry, now)
            if entry.answer is not None and now >= entry.good_until:
                entry.answer = None
        if entry.answer is None and entry.loading is None and entry.error is not None:
            raise _again(entry.error)
        return entry.answer, entry.loading

    def expires(self, name: str) -> float:
        """When (`monotonic`) what is known of a name is out of date."""
        entry = self._entries.get(name)
        return 0.0 if entry is None else entry.expires

    def statistics(self) -> dict[str, dict[str, Any]]:
        """See `Resolver.statistics`; by name."""
        now = monotonic()
        return {name: entry.told(now) for name, entry in self._entries.items() if entry.expires != NEVER}

    def _look(self, name: str, entry: _Entry) -> Answer:
        now = monotonic()
        if entry.answer is not None and now < entry.good_until:
            loading = self._begin(name, entry, now) if entry.expires <= now else None
            if loading is not None and not entry.answer.ttl:
                loading.wait(max(0.0, entry.began + PATIENCE - now))
        elif now >= entry.expires:
            entry.answer = None
            if entry.loading is not None and not self._times.merge:
                self._load(name, entry, Event())
            else:
                self._begin(name, entry, now).wait()
        if entry.answer is None:
            raise _again(entry.error) if entry.error else NameNotResolved(f"{name} has no address", missing=True)
        return entry.answer

    def _begin(self, name: str, entry: _Entry, now: float) -> Event:
        """Look a name up in a greenlet of its own, so that whoever began it may go away."""
        if entry.loading is None:
            entry.loading = Event()
            entry.began = now
            gevent.spawn(self._load, name, entry, entry.loading)
        return entry.loading

    def _enter(self, name: str) -> _Entry:
        entries = self._entries
        if len(entries) >= self._times.size:
            spare = next((key for key, entry in entries.items() if entry.loading is None), None)
            entries.pop(next(iter(entries)) if spare is None else spare)
        entry = entries[name] = _Entry()
        literal = numeric_address(name)
        if literal is not None:
            entry.answer = Answer(kind_of(literal), [Place(*literal)], NEVER)
            entry.expires = entry.good_until = NEVER
        return entry

    def _load(self, name: str, entry: _Entry, done: Event) -> None:
        entry.asked += 1
        try:
            answer = self._find(name, entry.answer)
            answer.take_over(entry.answer)
            self._keep(entry, answer)
        except NameNotResolved as error:
            self._fail(name, entry, error)
        except Overloaded as error:
            self._fail(name, entry, NameNotResolved(str(error), missing=False))
        except Exception as error:
            log.exception("the name %s could not be looked up", name)
            self._fail(name, entry, NameNotResolved(f"{name}: {error}", missing=False))
        finally:
            if entry.loading is done:
                entry.loading = None
            done.set()
            if self._entries.get(name) is entry:  # who was renewed last is dropped last
                self._entries[name] = self._entries.pop(name)

    def _keep(self, entry: _Entry, answer: Answer) -> None:
        now = monotonic()
        entry.found += 1
        entry.answer, entry.error = answer, None
        entry.expires = now + answer.ttl
        entry.good_until = entry.expires + self._times.stale

    def _fail(self, name: str, entry: _Entry, error: NameNotResolved) -> None:
        """A name that is gone is gone; when nobody can tell, what was known serves on."""
        now = monotonic()
        times = self._times
        entry.failed += 1
        if error.missing or now >= entry.good_until:
            entry.answer = None
        if entry.answer is not None and entry.error is None:
            log.warning("%s; what was known of it serves on", error)
        entry.error = error
        entry.expires = now + (times.not_found if error.missing else times.error)


def _again(error: NameNotResolved) -> NameNotResolved:
    return NameNotResolved(str(error), error.missing)


_ASKING, _TIMES = Asking(), Times()


class Resolver:
    """Both kinds of look-ups: services and targets, which may have SRV records, and plain addresses for the rest."""

    look: Callable[[str], Answer]
    """What the host of a service or target leads to. Raises `NameNotResolved`."""
    glance: Callable[[str], tuple[Answer | None, Event | None]]
    """The same without waiting, see `Cache.glance`."""
    expires: Callable[[str], float]
    """When that is out of date, see `Cache.expires`."""

    def __init__(
        self,
        asking: Asking = _ASKING,
        hosts_file: str = "/etc/hosts",
        types: Sequence[str] = ("SRV", "A"),
        times: Times = _TIMES,
        last: bool = True,
    ) -> None:
        lookup = Lookup(Client(asking), Hosts(hosts_file), types, times.valid, self.resolve)
        self._services = Cache(lambda name, known: lookup.find(name, known if last else None), times)
        self._addresses = Cache(lambda name, _: lookup.addresses(name), times)
        self.look = self._services.look
        self.glance = self._services.glance
        self.expires = self._services.expires

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """As `dns_*` say, or `resolver_*` with `new_dns_client`."""
        asking = read_resolv_conf()
        if settings.new_dns_client:
            servers, hosts_file = settings.resolver_address, settings.resolver_hosts_file
            family = [kind.upper() for kind in settings.resolver_family or ()]
            order = [kind for kind in TYPES if kind in family]  # a set: servers come before addresses, A before AAAA
            error, stale = settings.resolver_error_ttl, settings.resolver_stale_ttl
            times = Times(settings.resolver_valid_ttl, stale, error, error, settings.resolver_lru_cache_size)
        else:
            servers, hosts_file = settings.dns_resolver, settings.dns_hostsfile
            order = [kind.upper() for kind in settings.dns_order or ()]
            stale, missing, error = settings.dns_stale_ttl, settings.dns_not_found_ttl, settings.dns_error_ttl
            merge = not settings.dns_no_sync
            times = Times(settings.dns_valid_ttl, stale, missing, error, settings.dns_cache_size, merge)
        if servers:
            asking = asking._replace(servers=tuple(server_of(text) for text in servers))
        types = tuple(kind for kind in order if kind in TYPES) or ("A",)
        return cls(asking, hosts_file, types, times, settings.new_dns_client or "LAST" in order)

    def resolve(self, host: str) -> Answer:
        """The addresses of a host, of IPv4 first, by A and AAAA records only. Raises `NameNotResolved`."""
        return self._addresses.look(host)

    def addresses(self, host: str) -> list[Address]:
        """See `resolve`."""
        return self._addresses.look(host).addresses

    def statistics(self) -> Mapping[str, Mapping[str, Any]]:
        """What this worker knows of names, of `services` (and targets) and of the `addresses` that the rest needs.

        `query`, `query_succ`, `query_fail`: look-ups; `type` and number of `records`; `ttl` in s, less than 0 when it
        is over; `stale`: what serves on all the same; `error`: why the last look-up failed.
        """
        return {"services": self._services.statistics(), "addresses": self._addresses.statistics()}
