"""Request bodies by media type, for plugins that look into them."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote_plus

import orjson

from kong_gevent.pdk.multipart import MultipartForm, boundary_of
from kong_gevent.pdk.queries import parse_query

MAX_ARGUMENTS = 100
MAX_PARTS = 1000
"""Parts of a multipart form that is looked into; one that has more is taken for broken."""
FORM, JSON, MULTIPART = "application/x-www-form-urlencoded", "application/json", "multipart/form-data"


def parse_body(content_type: str, body: bytes) -> dict[str, Any] | list[Any] | None:
    """Decode an urlencoded, multipart or JSON body; None for other types and for what does not decode.

    Urlencoded and multipart give name → text (or list of texts when repeated); names are taken literally.
    """
    media = _media(content_type)
    if media == FORM:
        return dict(parse_query(body.decode("latin-1"), MAX_ARGUMENTS))
    if media == JSON:
        value = load_json(body)
        return value if isinstance(value, (dict, list)) and _is_text(body, value) else None
    if media == MULTIPART:
        return _parse_multipart(content_type, body)
    return None


def is_parsable(content_type: str) -> bool:
    """Whether `parse_body` knows this media type; others need not be read at all."""
    return _media(content_type) in (FORM, JSON, MULTIPART)


def without_field(content_type: str, body: bytes, name: str) -> bytes:
    """The body without the arguments, parts or JSON member of this name; what is left keeps its bytes (JSON: is written
    anew). A body that cannot be decoded comes back as it is.
    """
    media = _media(content_type)
    if media == FORM:
        parts = body.split(b"&")
        return b"&".join([part for part in parts if unquote_plus(part.partition(b"=")[0].decode("latin-1")) != name])
    if media == JSON:
        value = load_json(body)
        if not isinstance(value, dict) or name not in value:
            return body
        return dump_json({key: item for key, item in value.items() if key != name})
    if media == MULTIPART:
        return _without_part(content_type, body, name)
    return body


def _without_part(content_type: str, body: bytes, name: str) -> bytes:
    form = multipart_form(content_type, body)
    if form is None or name not in form:
        return body
    form.remove(name)
    return form.encode()


def multipart_form(content_type: str, body: bytes, most: int = MAX_PARTS) -> MultipartForm | None:
    """A form taken apart; None without a boundary, or with more than `most` parts, of which each takes time."""
    boundary = boundary_of(content_type)
    if boundary is None or body.count(b"--" + boundary) > most:
        return None
    return MultipartForm(boundary, body)


def load_json(body: bytes) -> Any:
    """The value of a JSON text; None when it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _is_text(body: bytes, value: Any) -> bool:
    """Whether all texts in the value of a JSON text can be written: an escaped half of a surrogate pair is no text."""
    if b"\\u" not in body:
        return True
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError):
        return False
    return True


def dump_json(value: Any) -> bytes:
    """A JSON text, compact; also of numbers and texts that are beyond what the fast writer takes."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":")).encode()


def _media(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _parse_multipart(content_type: str, body: bytes) -> dict[str, Any] | None:
    form = multipart_form(content_type, body)
    if form is None or not form.parts:
        return None
    found: dict[str, Any] = {}
    for part in form.parts:
        name, text = part.name, part.content.decode("utf-8", "replace")
        if name is None:
            continue
        if name not in found:
            found[name] = text
        elif isinstance(found[name], list):
            found[name].append(text)
        else:
            found[name] = [found[name], text]
    return found
