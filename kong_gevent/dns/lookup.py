"""One look-up of a name: the hosts file, then the name servers, which are asked for several types at once."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import gevent

from kong_gevent.dns.answers import Address, Answer, NameNotResolved, Place, Server, kind_of, servers_at
from kong_gevent.dns.client import Client
from kong_gevent.dns.system import Hosts
from kong_gevent.offload import offload

HOSTS_TTL = 10.0
"""Seconds after which the hosts file is looked at again."""
GRACE = 0.2
"""Seconds that addresses of one family wait for those of the other."""
_FAMILIES = {"A": int(socket.AF_INET), "AAAA": int(socket.AF_INET6)}
_Failures = list[NameNotResolved]


class Lookup:
    """`types` of records in order; `valid`: what counts instead of their TTL, in s; `resolve`: addresses of a host."""

    def __init__(
        self,
        client: Client,
        hosts: Hosts,
        types: Sequence[str],
        valid: float | None,
        resolve: Callable[[str], Answer],
    ) -> None:
        self._client = client
        self._hosts = hosts
        self._types = types
        self._families = [_FAMILIES[kind] for kind in types if kind in _FAMILIES] or [_FAMILIES["A"]]
        self._valid = valid
        self._resolve = resolve

    def find(self, name: str, known: Answer | None) -> Answer:
        """What a service is at: records of the first of the types that it has; that of `known` is asked for before.

        Raises `NameNotResolved`.
        """
        listed = self._listed(name)
        if listed:
            chosen = self._of_one_family(listed)
            return Answer(kind_of(chosen[0]), [Place(*address) for address in chosen], self._ttl(HOSTS_TTL))
        failures: _Failures = []
        answer = None
        if known is not None and known.kind in self._types:
            answer = self._search(name, (known.kind,), failures)
        if answer is None and all(failure.missing for failure in failures):
            answer = self._search(name, self._types, failures)
        return answer or _refuse(name, failures)

    def addresses(self, name: str) -> Answer:
        """All addresses of a host. Raises `NameNotResolved`."""
        listed = self._listed(name)
        if listed:
            return Answer(kind_of(listed[0]), [Place(*address) for address in listed], self._ttl(HOSTS_TTL))
        failures: _Failures = []
        return self._search(name, tuple(_FAMILIES), failures, _merged) or _refuse(name, failures)

    def _listed(self, name: str) -> list[Address]:
        found: list[Address] = offload(self._hosts.of, name.lower().rstrip("."))
        return found

    def _ttl(self, ttl: float) -> float:
        return ttl if self._valid is None else self._valid

    def _of_one_family(self, addresses: Sequence[Address]) -> list[Address]:
        """The addresses of the family that comes first in the order of types; of another one when there are none."""
        family = next((family for family in self._families if any(each[0] == family for each in addresses)), None)
        return [each for each in addresses if each[0] == (family or addresses[0][0])]

    def _search(
        self, name: str, types: Sequence[str], failures: _Failures, choose: Callable[..., Answer | None] | None = None
    ) -> Answer | None:
        """Try the full names that it may stand for, until one has records or no server answers."""
        for full in self._client.candidates(name):
            asked = [gevent.spawn(self._ask, full, kind) for kind in types]
            try:
                answer = (choose or _first)(asked, failures)
            finally:
                gevent.killall(asked, block=False)
            if answer is not None or not all(failure.missing for failure in failures):
                return answer
        return None

    def _ask(self, name: str, kind: str) -> Answer | NameNotResolved | None:
        try:
            records, ttl, reply = self._client.ask(name, kind)
            if not records:
                return None
            if kind == "SRV":
                return self._services(self._client.wire.servers_of(records), ttl, reply)
            return Answer(kind, [Place(*found) for found in self._client.wire.addresses_of(records)], self._ttl(ttl))
        except NameNotResolved as error:
            return error

    def _services(self, servers: Iterable[Server], ttl: float, reply: Any) -> Answer | None:
        """An answer with the addresses of all servers; those that cannot be found are left out."""
        found: list[tuple[Server, Sequence[Address]]] = []
        failure: NameNotResolved | None = None
        for server in servers:
            beside, lasts = reply.addresses_beside(server.name)
            try:
                if not beside:
                    answer = self._resolve(f"{server.name}.")
                    beside, lasts = answer.addresses, answer.ttl
            except NameNotResolved as error:
                failure = error
            else:
                ttl = min(ttl, lasts)
                found.append((server, self._of_one_family(beside)))
        if not found and failure is not None:
            raise failure
        return Answer("SRV", servers_at(found), self._ttl(ttl)) if found else None


def _first(asked: Sequence[gevent.Greenlet], failures: _Failures) -> Answer | None:
    """The answer to the first question that has one."""
    for question in asked:
        found = question.get()
        if isinstance(found, Answer):
            return found
        if found is not None:
            failures.append(found)
    return None


def _merged(asked: Sequence[gevent.Greenlet], failures: _Failures) -> Answer | None:
    """The answers to all questions as one; those that take longer than others are not waited for."""
    found: list[Answer] = []
    for question in asked:
        question.join(GRACE if found else None)
        if isinstance(question.value, Answer):
            found.append(question.value)
        elif question.value is not None:
            failures.append(question.value)
    if not found:
        return None
    places = [place for answer in found for place in answer.places]
    return Answer(found[0].kind, places, min(answer.ttl for answer in found))


def _refuse(name: str, failures: _Failures) -> Answer:
    """Raise why there is no answer: rather that nobody could tell than that there is none."""
    for failure in sorted(failures, key=lambda failure: failure.missing):
        raise failure
    raise NameNotResolved(f"{name} has no address", missing=True)
