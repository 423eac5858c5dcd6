"""Settings of how names are resolved."""

from __future__ import annotations

from kong_gevent.conf.setting import FROM_0, FROM_1, rows

DNS = rows(
    "DNS",
    ("dns_resolver", "array", None, "Name servers, as addresses with optional ports."),
    ("dns_hostsfile", "string", "/etc/hosts", "Hosts file."),
    ("dns_order", "array", "LAST,SRV,A,CNAME", "Order in which record types are tried."),
    ("dns_valid_ttl", "number", None, "Seconds that override the records' own.", FROM_0),
    ("dns_stale_ttl", "number", "3600", "Seconds that old records serve while new ones are fetched.", FROM_0),
    ("dns_cache_size", "integer", "10000", "Names in the cache.", FROM_1),
    ("dns_not_found_ttl", "number", "30", "Seconds that an empty answer counts.", FROM_0),
    ("dns_error_ttl", "number", "1", "Seconds that an error counts.", FROM_0),
    ("dns_no_sync", "boolean", "off", "Do not merge equal queries in flight."),
    ("new_dns_client", "boolean", "off", "Kong's second resolver."),
    ("resolver_address", "array", None, "Name servers of the second resolver."),
    ("resolver_hosts_file", "string", "/etc/hosts", "Its hosts file."),
    ("resolver_family", "array", "A,SRV", "Its record types."),
    ("resolver_valid_ttl", "number", None, "Its override of the records' time.", FROM_0),
    ("resolver_stale_ttl", "number", "3600", "Its time for old records.", FROM_0),
    ("resolver_lru_cache_size", "integer", "10000", "Names in its cache.", FROM_1),
    ("resolver_mem_cache_size", "size", "5m", "Size of its second cache.", "later"),
    ("resolver_error_ttl", "number", "1", "Seconds that an error counts.", FROM_0),
)
