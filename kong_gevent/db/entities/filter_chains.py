"""filter_chains: Wasm filters of a service or a route. No filter can be installed here, so that none is ever stored."""

from __future__ import annotations

from kong_gevent.db.catalogue import Entity
from kong_gevent.schema import Record, checks, fields


def filter_error(name: str) -> str | None:
    """No filter is installed."""
    return "no such filter"


class FilterChain(Record):
    """Schema of a chain of filters."""

    id = fields.UUID(auto=True, metadata={"description": "Identifier of the chain."})
    name = fields.Utf8Name(metadata={"description": "Unique name of the chain."})
    enabled = fields.Boolean(required=True, load_default=True, metadata={"description": "Whether the chain runs."})
    route = fields.Foreign(
        "routes", on_delete="cascade", unique=True, metadata={"description": "Route whose requests pass the chain."}
    )
    service = fields.Foreign(
        "services", on_delete="cascade", unique=True, metadata={"description": "Service whose requests pass it."}
    )
    filters = fields.Array(
        fields.Record(
            {
                "name": fields.String(required=True, custom_validator=filter_error),
                "enabled": fields.Boolean(required=True, load_default=True),
                "config": fields.Json(),
            }
        ),
        required=True,
        len_min=1,
        metadata={"description": "The filters, in order."},
    )
    created_at = fields.AutoTimestamp(metadata={"description": "When the chain was created (epoch seconds)."})
    updated_at = fields.AutoTimestamp(metadata={"description": "When the chain was last changed (epoch seconds)."})
    tags = fields.Tags(metadata={"description": "Labels for grouping and filtering."})

    checks = (checks.OnlyOneOf("service", "route"),)


def entity() -> Entity:
    """The catalogue's entry."""
    return Entity(
        "filter_chains",
        FilterChain(),
        collection="filter-chains",
        nested="filter-chains",
        endpoint_key="name",
        cache_key=("route", "service"),
        admin=False,  # its paths answer that there are no filters; see `admin.unavailable`
    )
