"""APIs: each is a marked service with its routes, so that both Admin APIs see the same objects."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

from kong_gevent.admin.classic import faults, mapping, secured
from kong_gevent.admin.classic.fields import IDENTITY, Field, Values, parse
from kong_gevent.admin.classic.kinds import Kind
from kong_gevent.db import Batch, Store, together
from kong_gevent.errors import ForeignKeyViolation, SchemaViolation, UniqueViolation

READ_ONLY = "This API was changed through its service or routes in a way that cannot be expressed here; change it there"
_NEITHER = "At least a 'request_host' or a 'request_path' must be specified"
_HOST = re.compile(r"[A-Za-z0-9.*-]+\Z")
_PATH = re.compile(r"[A-Za-z0-9.\-_~/]*\Z")
_NAME = re.compile(r"[A-Za-z0-9_.\-~]+\Z")


def _check_name(value: str) -> str | None:
    return None if _NAME.match(value) else "name must only contain alphanumeric and '., -, _, ~' characters"


def _check_host(value: str) -> str | None:
    if value.count("*") > 1:
        return f"Only one wildcard is allowed: {value}"
    if "*" in value and not (re.match(r"\*\..", value) or re.search(r".\.\*\Z", value)):
        return f"Invalid wildcard placement: {value}"
    return None if _HOST.match(value) else f"Invalid value: {value}"


def _check_path(value: str) -> str | None:
    if not _PATH.match(value):
        return "request_path must only contain alphanumeric and '., -, _, ~, /' characters"
    return f"request_path is invalid: {value}" if "//" in value else None


def _check_url(value: str) -> str | None:
    if re.search(r"[?#@]", value):  # a service has no place for them
        return "upstream_url is not a url"
    return None if re.match(r"https?://", value, re.IGNORECASE) else "Supported protocols are HTTP and HTTPS"


FIELDS = (
    *IDENTITY,
    Field("name", unique=True, queryable=True, check=_check_name),
    Field("request_host", queryable=True, aliases=("public_dns",), check=_check_host),
    Field("request_path", queryable=True, aliases=("path",), check=_check_path),
    Field("strip_request_path", "boolean", aliases=("strip_path",)),
    Field("preserve_host", "boolean"),
    Field("upstream_url", "url", required=True, queryable=True, aliases=("target_url",), check=_check_url),
)
_TIME = next(field for field in FIELDS if field.name == "created_at")


class Apis(Kind):
    """APIs over services and routes."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, "services", FIELDS, "name")
        self._routes = store.dao("routes")

    # Reading

    def every(self, size: int, offset: str | None) -> tuple[list[Values], str | None]:
        """Services that bear the mark."""
        return self.dao.page(size=size, offset=offset, tags=[mapping.MARK])

    def show(self, row: Mapping[str, Any]) -> Values | None:
        """A service as an API; None when it is not marked as one."""
        if mapping.MARK not in (row["tags"] or ()):
            return None
        values, _ = mapping.values_of(row, self.routes_of(row["id"]))
        values["created_at"] = _TIME.shown(row)
        return {name: value for name, value in values.items() if value is not None}

    def exists(self, key: str) -> bool:
        """Whether there is an API with an id."""
        row = self.dao.select(key)
        return row is not None and mapping.MARK in (row["tags"] or ())

    def routes_of(self, key: str) -> list[Values]:
        """The routes of a service."""
        return list(self._routes.each(parent=("service", key)))

    # Writing

    def insert(self, given: Mapping[str, Any]) -> Values:
        """A service and its routes in one commit."""
        values = self.checked(self._parsed(given), None)
        values.setdefault("id", str(uuid4()))
        if self.dao.select(values["id"]) is not None:
            raise faults.Refused(409, {"id": faults.exists("id", values["id"])})

        def work(batch: Batch) -> None:
            service = {"id": values["id"], "tags": [mapping.MARK], **mapping.service_of(values)}
            if "created_at" in values:
                service["created_at"] = _TIME.stored(values["created_at"])
            batch.insert("services", service)
            for route in mapping.routes_of(values).values():
                batch.insert("routes", self._new(values["id"], route))

        return self._write(values, work)

    def replace(self, old: Values, given: Mapping[str, Any]) -> Values:
        """All classic fields anew."""
        values = {**self._parsed(given), "id": old["id"]}
        return self._rewrite(old, lambda now: self.checked(values, now))

    def change(self, old: Values, given: Mapping[str, Any]) -> Values:
        """Some classic fields anew."""
        patch, errors = parse(self.fields, _prepared(given), partial=True)

        def changed(now: Values) -> Values:
            merged = self.merged(now, patch)
            _require_place(merged, errors)
            return self.checked(merged, now)

        return self._rewrite(old, changed)

    def remove(self, old: Values) -> None:
        """The service with all its routes, their plugins, and its certificate."""

        def work(batch: Batch) -> None:
            gone = [("routes", route["id"]) for route in self.routes_of(old["id"])]
            certificate = secured.certificate_of(self.store, old["id"])
            if certificate is not None:
                gone.append(("certificates", certificate["id"]))
            batch.delete(*gone, ("services", old["id"]))

        try:
            together(self.store, work)
        except ForeignKeyViolation:
            raise faults.Refused(409, {"message": secured.IN_USE}) from None

    def _parsed(self, given: Mapping[str, Any]) -> Values:
        values, errors = parse(self.fields, _prepared(given))
        _require_place(values, errors)
        name = values.get("name") or _default_name(values, given)
        return {**values, "name": name} if name else values

    def checked(self, values: Values, old: Values | None) -> Values:
        """Names, hosts and paths that nobody else holds."""
        collisions = self.collisions(values)
        if collisions:
            raise faults.Refused(409, collisions)
        return values

    def collisions(self, values: Values) -> dict[str, str]:
        """The name of a service, and those of the routes, which stand for hosts and paths."""
        key, found = values.get("id"), {}
        holder = self._holder("name", values["name"]) if values.get("name") else None
        if holder is not None and holder["id"] != key:
            found["name"] = faults.exists("name", values["name"])
        for part, name in (("host", "request_host"), ("path", "request_path")):
            value = values.get(name)
            route = self._routes.select_by("name", mapping.name_of(part, value)) if value else None
            if route is not None and (route["service"] or {}).get("id") != key:
                found[name] = faults.exists(name, value)
        return found

    def _rewrite(self, old: Values, changed: Callable[[Values], Values]) -> Values:
        """Store what `changed` makes of an API, which may not be any more what it was when the client's way began."""
        values = changed(old)

        def work(batch: Batch) -> None:
            service = batch.select("services", old["id"])
            now = self.current(service)
            latest = values if now == old else changed(now)
            stored = self.routes_of(old["id"])
            before, whole = mapping.values_of(service or {}, stored)
            if not whole:
                raise faults.Refused(409, {"message": READ_ONLY})
            batch.update("services", old["id"], mapping.service_of(latest))
            shared = secured.follow(batch, self.store, latest, stored)
            self._reroute(batch, latest, mapping.routes_of(before), stored, shared)

        return self._write(values, work)

    def _reroute(
        self, batch: Batch, values: Values, before: Mapping[str, Values], stored: list[Values], shared: Values
    ) -> None:
        """Change the routes of an API; what else was set on them stays. `shared`: what new ones have to say as well."""
        wanted = mapping.routes_of(values)
        gone = []
        for part, route in before.items():
            found = mapping.matching(route, stored)
            assert found is not None
            if part not in wanted:
                gone.append(("routes", found["id"]))
            elif mapping.matching(wanted[part], [found]) is None:
                batch.update("routes", found["id"], wanted[part])
        for part in wanted.keys() - before.keys():
            batch.insert("routes", self._new(values["id"], {**shared, **wanted[part]}))
        batch.delete(*gone)

    @staticmethod
    def _new(api: str, route: Values) -> Values:
        return {"service": {"id": api}, "tags": [mapping.MARK], **route}

    def _write(self, values: Values, work: Any) -> Values:
        with self.translated(values):
            try:
                together(self.store, work)
            except UniqueViolation:
                collisions = self.collisions(values)  # another writer was faster
                if not collisions:
                    raise
                raise faults.Refused(409, collisions) from None
        found = self.by_id(values["id"])
        if found is None:  # deleted meanwhile
            raise faults.not_there()
        return found

    def schema_fault(self, error: SchemaViolation, values: Values) -> faults.Refused:
        """What today's rules refuse beyond the classic ones."""
        wrong = set(error.fields)
        if "snis" in wrong:
            return faults.Refused(409, {"request_host": str(error.fields["snis"])})
        if "hosts" in wrong or "headers" in wrong:
            return faults.invalid({"request_host": f"Invalid value: {values.get('request_host')}"})
        if "paths" in wrong:
            return faults.invalid({"request_path": f"request_path is invalid: {values.get('request_path')}"})
        if wrong & {"protocol", "host", "port", "path"}:
            return faults.invalid({"upstream_url": "upstream_url is not a url"})
        return super().schema_fault(error, values)


def _prepared(given: Mapping[str, Any]) -> Values:
    """With the path in its stored form."""
    values = dict(given)
    for name in ("request_path", "path"):
        path = values.get(name)
        if isinstance(path, str) and path and _PATH.match(path):
            values[name] = "/" + path.removeprefix("/").removesuffix("/")
    return values


def _require_place(values: Values, errors: dict[str, str]) -> None:
    """Raise what is wrong with an API as a whole, together with the errors found before."""
    places = ("request_host", "request_path")
    if not any(values.get(name) or name in errors for name in places):
        errors.update(dict.fromkeys(places, _NEITHER))
    if errors:
        raise faults.invalid(errors)


def _default_name(values: Values, given: Mapping[str, Any]) -> str | None:
    """The name of an API that was not given one, made of its host, or of its path as it was sent."""
    path: str = given.get("request_path") or given.get("path") or ""
    text = values.get("request_host") or path.removeprefix("/").replace("/", "-")
    return re.sub(r"[^A-Za-z0-9_.\-~]", "-", text) or None
