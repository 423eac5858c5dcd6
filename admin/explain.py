"""`/debug/explain`: what would become of a request, without sending it."""

from __future__ import annotations

import ipaddress
import re
from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response

from kong_gevent.admin.access import EXPLAIN
from kong_gevent.admin.node import NodeFacade
from kong_gevent.admin.render import answer, message
from kong_gevent.admin.request import current
from kong_gevent.admin.routing import add_path
from kong_gevent.http.imagined import ImaginedRequest
from kong_gevent.schema import Errors, Record, fields, violation
from kong_gevent.schema.rules import is_uuid

_CONTROLS = re.compile(r"[\x00-\x20\x7f]")
_BREAKS = re.compile(r"[\r\n\0]")
_NO_URL = "expected http(s)://host[:port]/path, or a path with the header Host"
_LONGEST = 16384
_NEAR = 5
Row = dict[str, Any]


class HeaderLines(fields.Array):
    """Texts `Name: value`; an object of names and values (or lists of them) becomes such texts."""

    takes_objects = True

    def convert(self, value: Any) -> list[Any]:
        if isinstance(value, dict):
            value = [
                f"{name}: {one}" if isinstance(one, (str, int, float)) else one
                for name, given in value.items()
                for one in (given if isinstance(given, list) else [given])
            ]
        return super().convert(value)


class Question(Record):
    """The request to explain."""

    method = fields.HttpMethod(required=True, load_default="GET", metadata={"description": "Method of the request."})
    url = fields.String(
        required=True,
        len_max=_LONGEST,
        metadata={
            "description": "`http(s)://host[:port]/path?query`, or a path alone with a `Host` among the headers."
        },
    )
    headers = HeaderLines(
        fields.String(required=True, len_max=_LONGEST),
        required=True,
        load_default=[],
        len_max=100,
        metadata={"description": "Header fields, each as `Name: value`, or an object of names and values."},
    )
    client_ip = fields.Ip(
        required=True, load_default="127.0.0.1", metadata={"description": "Address that the connection comes from."}
    )
    sni = fields.Sni(metadata={"description": "Server name in the TLS handshake; else the host of an https URL."})
    consumer = fields.String(
        metadata={"description": "Id, username or custom_id of the consumer that is assumed to ask."}
    )
    credential = fields.UUID(
        metadata={"description": "Id of the credential that is assumed to be shown; its consumer asks."}
    )
    near = fields.Integer(
        required=True,
        load_default=_NEAR,
        between=[0, 100],
        metadata={"description": "How many routes are told that do not win."},
    )


QUESTION = Question()


class Explain:
    """Asks the node."""

    def __init__(self, node: NodeFacade) -> None:
        self._node = node

    def show(self) -> Response:
        """`GET` with query arguments, `POST` with a body; both take the fields of `Question`."""
        asked = current()
        given = {**asked.query_arguments(), **asked.sent}
        if asked.is_form or not asked.sent:
            given = QUESTION.infer(given)
        values, errors = QUESTION.run(given)
        request = None if errors else _imagined(values, errors)
        consumer, credential = (None, None) if errors else self._who(values, errors)
        if errors or request is None:
            raise violation(errors)
        told = self._node.explain(request, consumer, credential, values["near"])
        if told is None:
            return message(501, "This node does not serve requests")
        return answer(told)

    def _who(self, values: Row, errors: Errors) -> tuple[Row | None, Row | None]:
        """The consumer and the credential (with its `kind`) that are named."""
        credential = None
        if values["credential"] is not None:
            credential = self._credential(values["credential"])
            if credential is None:
                errors["credential"] = "there is no credential with this id"
                return None, None
        name = values["consumer"] or (credential["consumer"]["id"] if credential else None)
        if name is None:
            return None, None
        consumer = self._consumer(name)
        if consumer is None:
            errors["consumer"] = "there is no such consumer"
        elif credential is not None and credential["consumer"]["id"] != consumer["id"]:
            errors["credential"] = "it belongs to another consumer"
        return consumer, credential

    def _consumer(self, name: str) -> Row | None:
        dao = self._node.store.dao("consumers")
        found = dao.select(name) if is_uuid(name) else None
        return found or dao.select_by("username", name) or dao.select_by("custom_id", name)

    def _credential(self, key: str) -> Row | None:
        """What any plugin stores for a consumer under this id."""
        store = self._node.store
        for entity, _, field in store.catalogue.referrers["consumers"]:
            if entity.name != "plugins" and field.required:
                found = store.dao(entity.name).select(key)
                if found is not None:
                    return {**found, "kind": entity.name}
        return None


def _imagined(values: Row, errors: Errors) -> ImaginedRequest | None:
    """The request; what cannot be one goes to `errors`."""
    found = _headers(values["headers"], errors)
    named = next((value for name, value in found if name.lower() == "host"), None)
    scheme, host, port, target = _split(values["url"], named, errors)
    if errors:
        return None
    if named is None:
        found.insert(0, ("Host", host))
    sni = values["sni"]
    if sni is not None and scheme != "https":
        errors["sni"] = "only https URLs have a server name"
        return None
    if sni is None and scheme == "https":
        sni = _server_name(urlsplit(f"//{host}").hostname)
    return ImaginedRequest(values["method"], scheme, port, target, found, values["client_ip"], sni)


def _server_name(host: str | None) -> str | None:
    """What clients ask for in a TLS handshake: the host's name, and nothing for an address."""
    try:
        ipaddress.ip_address(host or "")
    except ValueError:
        return host
    return None


def _headers(lines: list[str], errors: Errors) -> list[tuple[str, str]]:
    found = []
    wrong: Errors = {}
    for position, line in enumerate(lines, 1):
        name, colon, value = line.partition(":")
        if not colon or not name or _BREAKS.search(line):
            wrong[position] = "expected 'Name: value' in one line"
        found.append((name, value.strip()))
    if wrong:
        errors["headers"] = wrong
    return found


def _split(url: str, host: str | None, errors: Errors) -> tuple[str, str, int | None, str]:
    """Scheme, authority, port (None when it is not said) and target."""
    if _CONTROLS.search(url):
        errors["url"] = "must not contain spaces or control characters"
    elif url.startswith("/") and host:
        return "http", host, None, url.partition("#")[0]
    else:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            errors["url"] = _NO_URL
            return "", "", None, ""
        if parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc:
            rest = url.partition("://")[2].partition("#")[0][len(parts.netloc) :]
            return parts.scheme, parts.netloc, port, rest if rest.startswith("/") else f"/{rest}"
        errors["url"] = _NO_URL
    return "", "", None, ""


def blueprint(node: NodeFacade) -> Blueprint:
    """`/debug/explain`."""
    made = Blueprint("explain", __name__)
    views = Explain(node)
    add_path(made, EXPLAIN, {"GET": views.show, "POST": views.show})
    return made
