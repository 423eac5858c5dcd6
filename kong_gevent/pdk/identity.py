"""Who asks, with the fields that tell the upstream; prepared once and used for many requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kong_gevent.pdk.edits import IDENTITY_HEADERS, HeaderTemplate, field_text


class Identity:
    """A consumer (or none) and the credential that proved it (None for the anonymous consumer).

    `identifier` is what `X-Credential-Identifier` says; fields without a value are removed from the request.
    """

    __slots__ = ("consumer", "consumer_id", "credential", "described", "fields", "lines")

    def __init__(
        self, consumer: Mapping[str, Any] | None, credential: Mapping[str, Any] | None, identifier: str | None = None
    ) -> None:
        self.consumer = consumer
        self.credential = credential
        self.consumer_id: str | None = consumer["id"] if consumer else None
        known = consumer or {}
        values = (
            known.get("id"),
            known.get("custom_id"),
            known.get("username"),
            identifier if credential else None,
            "true" if consumer and not credential else None,
        )
        fields = [
            (name, HeaderTemplate.constant(field_text(value)))
            for name, value in zip(IDENTITY_HEADERS, values, strict=True)
            if value
        ]
        self.fields = HeaderTemplate(fields, cleared=IDENTITY_HEADERS)
        self.lines = self.fields.pattern % ()
        self.described = b""  # its JSON in log records (see `pdk.record`), once it was asked for
