"""Questions and answers of DNS as octets (RFC 1035, RFC 2782, RFC 6891), by dnspython.

Loaded with the first question that a name server is asked: dnspython takes a while and several MiB.
"""

from __future__ import annotations

from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.CNAME
import dns.rdtypes.ANY.OPT
import dns.rdtypes.ANY.SOA
import dns.rdtypes.IN.A
import dns.rdtypes.IN.AAAA
import dns.rdtypes.IN.SRV

from kong_gevent.dns.answers import Address, NameNotResolved, Server, numeric_address

PAYLOAD = 1232
"""Octets of a datagram that pass everywhere without fragments."""
MAX_CHAIN = 16
"""Aliases (CNAME) that are followed."""
_NO_EDNS = (dns.rcode.FORMERR, dns.rcode.NOTIMP, dns.rcode.BADVERS)


class Question:
    """A question for the records of a `kind` (A, AAAA, SRV) that a full name has. Raises `NameNotResolved`."""

    def __init__(self, name: str, kind: str) -> None:
        self.name = name
        self.kind = kind
        try:
            full = dns.name.from_text(name if name.endswith(".") else f"{name}.")
            self._query = dns.message.make_query(full, kind, use_edns=0, payload=PAYLOAD)
        except (dns.exception.DNSException, UnicodeError) as error:
            raise NameNotResolved(f"{name}: {error}", missing=True) from None

    @property
    def octets(self) -> bytes:
        """The message to send."""
        return self._query.to_wire()

    def without_extensions(self) -> None:
        """Ask as of old: the server does not know EDNS."""
        self._query.use_edns(False)

    def read(self, octets: bytes) -> Reply | None:
        """A message as the reply to this question; None for one that is not, or that cannot be read."""
        cut = len(octets) > 2 and bool(octets[2] & 2)  # the bit TC: the last record may be half there
        try:
            message = dns.message.from_wire(octets, ignore_trailing=True, continue_on_error=cut)
        except (dns.exception.DNSException, ValueError):
            return None
        return Reply(self, message) if self._query.is_response(message) else None


class Reply:
    """What a server said. `truncated`: there is more than a datagram holds; `old`: the server does not know EDNS."""

    def __init__(self, question: Question, message: Any) -> None:
        self._name = message.question[0].name if message.question else dns.name.from_text(question.name)
        self._message = message
        self._kind = dns.rdatatype.from_text(question.kind)
        self.truncated = bool(message.flags & dns.flags.TC)
        code = message.rcode()
        self.old = code in _NO_EDNS
        self.failure = None if code in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN) else dns.rcode.to_text(code)
        """Why the server gives no answer; None for an answer, which may be that there is no such name."""

    def records(self) -> tuple[list[Any], float, str | None]:
        """The records asked for, for how many s they hold, and the full name to ask for instead when there are none.

        Raises `NameNotResolved` for aliases that lead nowhere.
        """
        name, ttl = self._name, None
        for _ in range(MAX_CHAIN):
            found = self._message.get_rrset(self._message.answer, name, dns.rdataclass.IN, self._kind)
            if found is not None:
                return list(found), float(min(ttl, found.ttl) if ttl is not None else found.ttl), None
            alias = self._message.get_rrset(self._message.answer, name, dns.rdataclass.IN, dns.rdatatype.CNAME)
            if alias is None:
                ends = name == self._name or self._message.rcode() == dns.rcode.NXDOMAIN
                return [], float(ttl or 0), None if ends else name.to_text()
            ttl = alias.ttl if ttl is None else min(ttl, alias.ttl)
            name = alias[0].target
        raise NameNotResolved(f"{self._name.to_text()}: its aliases lead nowhere", missing=True)

    def addresses_beside(self, name: str) -> tuple[list[Address], float]:
        """The addresses that the server added for the name of an SRV record, and for how many s they hold."""
        found: list[Address] = []
        ttls = []
        for kind in (dns.rdatatype.A, dns.rdatatype.AAAA):
            full = dns.name.from_text(name)
            rrset = self._message.get_rrset(self._message.additional, full, dns.rdataclass.IN, kind)
            if rrset is not None and not found:
                found = addresses_of(list(rrset))
                ttls.append(rrset.ttl)
        return found, float(min(ttls, default=0))


def addresses_of(records: list[Any]) -> list[Address]:
    """The addresses of A or AAAA records, without doubles."""
    found = (numeric_address(record.address) for record in records)
    return list(dict.fromkeys(address for address in found if address is not None))


def servers_of(records: list[Any]) -> list[Server]:
    """The servers of SRV records, of the best priority only; none when the service is decidedly not there (`.`)."""
    best = min(record.priority for record in records)
    return [
        Server(record.weight, record.port, record.target.to_text(omit_final_dot=True))
        for record in records
        if record.priority == best and record.target != dns.name.root
    ]
