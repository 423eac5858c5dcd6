"""Certificates: any of their server names stands for them in a path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kong_gevent.admin.entities import EntityViews, Row
from kong_gevent.admin.request import current
from kong_gevent.db import DAO
from kong_gevent.errors import HttpError
from kong_gevent.schema.rules import is_uuid


class CertificateViews(EntityViews):
    """The pseudo-field `snis` is the data access object's business; here are paths and forms."""

    def _snis(self) -> DAO:
        return self.node.store.dao("snis")

    def body(self, stored: Mapping[str, Any] | None = None) -> Row:
        """What was sent; one name in a form is a list of one."""
        sent = super().body(stored)
        if current().is_form and isinstance(sent.get("snis"), str):
            sent["snis"] = [sent["snis"]]
        return sent

    def key_of(self, key: str) -> tuple[str, str]:
        """The id, directly or by a server name. Raises `HttpError` 404 for a name that no certificate has."""
        if is_uuid(key):
            return "id", key.lower()
        sni = self._snis().select_by("name", key)
        if sni is None:
            raise HttpError(404, "SNI not found")
        return "id", sni["certificate"]["id"]

    def upsert(self, key: str, fields: Row) -> Row:
        """A name that no certificate has makes a new one, with that name among its own."""
        if is_uuid(key) or self._snis().select_by("name", key) is not None:
            return super().upsert(key, fields)
        names = fields.get("snis") or []
        if isinstance(names, list) and key not in names:
            names = [*names, key]
        return self.insert({**{name: value for name, value in fields.items() if name != "id"}, "snis": names})
