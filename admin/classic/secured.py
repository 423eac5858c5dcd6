"""What the plugin `ssl` is today: a certificate with the host of an API as its server name, and routes without HTTP.

The certificate says in its tags which API it is for, so that both Admin APIs see one object.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from marshmallow import ValidationError

from kong_gevent.db import Batch, Store
from kong_gevent.schema import fields
from kong_gevent.schema.rules import is_uuid

MARK = "classic-ssl"
"""The tag of all certificates that are configurations of `ssl`."""
_OF = "classic-ssl-of-"
"""Begins the tag that names the API."""
_OFF = "classic-ssl-off"
"""The tag of those that are not enabled: they have no server name."""
_ONLY = "classic-ssl-only-https"
"""The tag of those that would refuse HTTP if they were enabled."""
IN_USE = "The certificate is in use elsewhere, see /certificates"
_HTTPS = ["https"]
_BOTH = ["http", "https"]
_NAME = fields.WildcardHost()
Row = Mapping[str, Any]


def api_of(certificate: Row) -> str | None:
    """The id of the API that a certificate is for; None for other certificates."""
    tags = certificate["tags"] or ()
    named = (tag.removeprefix(_OF) for tag in tags if tag.startswith(_OF))
    return next(filter(is_uuid, named), None) if MARK in tags else None


def tag_of(api: str) -> str:
    """The tag that the certificate of an API bears."""
    return _OF + api


def certificate_of(store: Store, api: str) -> dict[str, Any] | None:
    """The certificate of an API."""
    rows, _ = store.dao("certificates").page(size=1, tags=[tag_of(api)])
    return rows[0] if rows else None


def any_of(store: Store) -> bool:
    """Whether there is any."""
    rows, _ = store.dao("certificates").page(size=1, tags=[MARK])
    return bool(rows)


def is_enabled(certificate: Row) -> bool:
    """Whether it is in use."""
    return _OFF not in (certificate["tags"] or ())


def only_https(certificate: Row, routes: Iterable[Row]) -> bool:
    """Whether HTTP is refused, or would be."""
    routes = list(routes)
    if not is_enabled(certificate):
        return _ONLY in certificate["tags"]
    return bool(routes) and all(route["protocols"] == _HTTPS for route in routes)


def tags_of(api: str, enabled: bool, only: bool, others: Iterable[str]) -> list[str]:
    """The tags of a certificate; `others`: those that it has, of which the ones that mean nothing here stay."""
    kept = [tag for tag in others if not tag.startswith(MARK)]
    return [MARK, tag_of(api), *([] if enabled else [_OFF, *([_ONLY] if only else [])]), *kept]


def names_of(api: Row, enabled: bool) -> list[str]:
    """The server names for which the certificate is shown: hosts that cannot be one, such as addresses, have none."""
    host = api.get("request_host") if enabled else None
    try:
        return [_NAME.deserialize(host.lower())] if host else []
    except ValidationError:
        return []


def refuse_http(batch: Batch, routes: Iterable[Row], refused: bool) -> None:
    """Make all routes of an API take HTTPS only, or no longer."""
    for route in routes:
        if (route["protocols"] == _HTTPS) is not refused:
            batch.update("routes", route["id"], {"protocols": _HTTPS if refused else _BOTH})


def follow(batch: Batch, store: Store, api: Row, routes: Iterable[Row]) -> dict[str, Any]:
    """Keep the certificate of an API in step with a change of its host; what further routes of it have to say."""
    certificate = certificate_of(store, api["id"])
    if certificate is None or not is_enabled(certificate):
        return {}
    names = names_of(api, enabled=True)
    if certificate["snis"] != names:
        batch.update("certificates", certificate["id"], {"snis": names})
    return {"protocols": _HTTPS} if only_https(certificate, routes) else {}
