"""The plugin `ssl`, kept as the certificate that it is today; see `secured`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

from kong_gevent.admin.classic import faults, secured, tables
from kong_gevent.admin.classic.apis import Apis
from kong_gevent.admin.classic.configurations import EXISTS, Configurations
from kong_gevent.admin.classic.fields import IDENTITY, Field, Values, parse, parsed
from kong_gevent.admin.classic.kinds import Page
from kong_gevent.db import Batch, Store, together
from kong_gevent.errors import ForeignKeyViolation, SchemaViolation
from kong_gevent.schema.messages import ENTITY

NAME = "ssl"
_SETTINGS = tables.OWN[NAME]
_TIME: Field = next(field for field in IDENTITY if field.name == "created_at")


class SslConfigurations(Configurations):
    """Certificates that bear the mark; each has the id of the configuration that it is."""

    def __init__(self, store: Store, apis: Apis, settings: str) -> None:
        super().__init__(store, "certificates", apis, settings)

    # Reading

    def show(self, row: Mapping[str, Any]) -> Values | None:
        """A certificate as a configuration; None when it is for no API."""
        api = secured.api_of(row)
        if api is None or not self._apis.exists(api):
            return None
        only = secured.only_https(row, self._apis.routes_of(api))
        return {
            "id": row["id"],
            "api_id": api,
            "name": NAME,
            self._settings: {"cert": row["cert"], "key": row["key"], "only_https": only},
            "enabled": secured.is_enabled(row),
            "created_at": _TIME.shown(row),
        }

    def of_api(self, api: str) -> Values | None:
        """The one configuration of an API."""
        row = secured.certificate_of(self.store, api)
        return self.show(row) if row is not None else None

    def pages(self, filters: Mapping[str, Any]) -> Page:
        """By the API, if it is asked for."""
        if "api_id" not in filters:
            return super().pages(filters)
        tags = [secured.tag_of(filters["api_id"])]
        return lambda size, offset: self.dao.page(size=size, offset=offset, tags=tags)

    def every(self, size: int, offset: str | None) -> tuple[list[Values], str | None]:
        """Certificates that bear the mark."""
        return self.dao.page(size=size, offset=offset, tags=[secured.MARK])

    # Writing

    def insert(self, given: Mapping[str, Any]) -> Values:
        """A new certificate."""
        values = self.checked(parsed(self.fields, given), None)
        values.setdefault("id", str(uuid4()))
        return self._write(values, lambda batch: self._stage(batch, values, None))

    def replace(self, old: Values, given: Mapping[str, Any]) -> Values:
        """All settings anew."""
        values = {**parsed(self.fields, given), "id": old["id"]}
        return self._rewrite(old, lambda now: self.checked(dict(values), now))

    def change(self, old: Values, given: Mapping[str, Any]) -> Values:
        """Some settings anew."""
        patch = parsed(self.fields, given, partial=True)
        return self._rewrite(old, lambda now: self.checked(self.merged(now, patch), now))

    def remove(self, old: Values) -> None:
        """The certificate goes, and its API takes HTTP again."""

        def work(batch: Batch) -> None:
            batch.delete(("certificates", old["id"]))
            self._release(batch, old)

        try:
            together(self.store, work)
        except ForeignKeyViolation:
            raise faults.Refused(409, {"message": secured.IN_USE}) from None

    def checked(self, values: Values, old: Values | None) -> Values:
        """Settings of the right types, on an API that has no others."""
        values = super().checked(values, old)
        self._refuse_consumer(values)
        settings, errors = parse(_SETTINGS, values.get(self._settings) or {})
        if errors:
            raise self._wrong(errors)
        self._require_api(values)
        other = self.of_api(values["api_id"])
        if other is not None and other["id"] != values.get("id"):
            raise faults.Refused(409, {"message": EXISTS})
        return {**values, self._settings: settings, "enabled": values.get("enabled", True)}

    def _rewrite(self, old: Values, changed: Callable[[Values], Values]) -> Values:
        """Store what `changed` makes of a configuration, which others may have changed meanwhile."""
        values = changed(old)

        def work(batch: Batch) -> None:
            now = self.current(batch.select("certificates", old["id"]))
            self._stage(batch, values if now == old else changed(now), now)

        return self._write(values, work)

    def _write(self, values: Values, work: Callable[[Batch], None]) -> Values:
        with self.translated(values):
            together(self.store, work)
        found = self.by_id(values["id"])
        if found is None:  # deleted meanwhile
            raise faults.not_there()
        return found

    def _stage(self, batch: Batch, values: Values, old: Values | None) -> None:
        api = self._apis.by_id(values["api_id"])
        stored = batch.select("certificates", values["id"]) if old is not None else None
        if api is None or (old is not None and stored is None):
            raise faults.not_there()
        settings, enabled = values[self._settings], values["enabled"]
        only = settings.get("only_https", False)
        certificate = {
            "cert": settings["cert"],
            "key": settings["key"],
            "snis": secured.names_of(api, enabled),
            "tags": secured.tags_of(api["id"], enabled, only, (stored or {}).get("tags") or ()),
        }
        if old is None:
            time = {"created_at": _TIME.stored(values["created_at"])} if "created_at" in values else {}
            batch.insert("certificates", {"id": values["id"], **time, **certificate})
        else:
            batch.update("certificates", values["id"], certificate)
        if old is not None and (old["api_id"] != api["id"] or not (enabled and only)):
            self._release(batch, old)
        if enabled and only:
            secured.refuse_http(batch, self._apis.routes_of(api["id"]), refused=True)

    def _release(self, batch: Batch, old: Values) -> None:
        """Let an API take HTTP again if this configuration was what refused it."""
        if old["enabled"] and old[self._settings]["only_https"]:
            secured.refuse_http(batch, self._apis.routes_of(old["api_id"]), refused=False)

    # Errors

    def schema_fault(self, error: SchemaViolation, values: Values) -> faults.Refused:
        """What today's certificates refuse: a name that another one has, texts that are no certificate or key."""
        if "snis" in error.fields:
            return faults.Refused(409, {"message": str(error.fields["snis"])})
        wrong = {name: str(error.fields[name]) for name in ("cert", "key") if name in error.fields}
        if wrong:
            return self._wrong(wrong)
        return faults.invalid(
            {self._settings: "; ".join(map(str, error.fields.get(ENTITY, ()))) or error.message or ""}
        )
