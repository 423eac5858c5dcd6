"""How long texts of entities may be where their fields say nothing, so that every store can keep and index them."""

from __future__ import annotations

from kong_gevent.schema import fields, kinds

LONGEST = 64 * 1024
"""Bytes of names, hosts, paths, values of header fields and the like."""
LONGEST_TAG = 2000
"""Bytes of a tag: it is part of an index as it is."""
_RULES = ("len_max", "len_eq", "one_of", "uuid")


def limit(field: kinds.Field) -> None:
    """Give a field of an entity an upper length, and so its elements.

    Not what the schema bounds itself, and not what may rightly be large: certificates and keys, which are never looked
    up by their value, and everything in records, such as the configurations of plugins.
    """
    if isinstance(field, kinds.Array):
        limit(field.elements)
    elif isinstance(field, kinds.Map):
        limit(field.keys)
        limit(field.values)
    elif isinstance(field, kinds.String) and not _large(field) and not any(map(field.attributes.get, _RULES)):
        field.limit(LONGEST_TAG if isinstance(field, fields.Tag) else LONGEST)


def _large(field: kinds.String) -> bool:
    if isinstance(field, (fields.Certificate, fields.PrivateKey)) or field.attributes.get("referenceable"):
        return True
    return bool(field.attributes.get("encrypted")) and not field.attributes.get("unique")
