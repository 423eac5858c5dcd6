"""Host names to addresses: hosts file, name servers, SRV records, and a cache that outlives the servers' failures."""

from kong_gevent.dns.answers import Address, Answer, NameNotResolved, Place, numeric_address
from kong_gevent.dns.resolver import Resolver

__all__ = ["Address", "Answer", "NameNotResolved", "Place", "Resolver", "numeric_address"]
