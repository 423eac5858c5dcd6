"""Secrets that live elsewhere: references such as `{vault://env/NAME}` and the vaults that they lead to."""

from kong_gevent.vaults.lookup import resolve, type_of
from kong_gevent.vaults.reference import Reference, Unresolved, is_reference, parse

__all__ = ["Reference", "Unresolved", "is_reference", "parse", "resolve", "type_of"]
