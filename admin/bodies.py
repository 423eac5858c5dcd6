"""From the octets of a request's body to a plain value, or the 4xx that says why not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal

import orjson
from flask import Request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from kong_gevent.admin import forms
from kong_gevent.errors import HttpError
from kong_gevent.offload import offload

Kind = Literal["none", "json", "form", "multipart", "yaml", "unsupported"]
WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
MAX_DEPTH = 128
"""Nested containers of a JSON body; no entity is deeper than a dozen."""

MAX_VALUES = 20_000
"""Values in one JSON body: validation costs some 10 µs for each and holds up whatever else the worker does."""

LARGE = 65536
"""Octets beyond which a body is decoded in a thread."""

NOT_JSON = "Cannot parse JSON body"
TOO_LARGE = "Payload too large"
_LARGE = 1 << 53


def kind_of(request: Request) -> Kind:
    """How the body of a request has to be read, by its content type (a case-sensitive prefix, as in Kong)."""
    content_type = request.environ.get("CONTENT_TYPE") or ""
    if not content_type:
        return "unsupported" if has_body(request) else "none"
    for prefix, kind in _KINDS:
        if content_type.startswith(prefix):
            return kind
    return "unsupported"


_KINDS: tuple[tuple[str, Kind], ...] = (
    ("application/json", "json"),
    ("application/x-www-form-urlencoded", "form"),
    ("multipart/form-data", "multipart"),
    ("application/yaml", "yaml"),
    ("text/yaml", "yaml"),
)


def has_body(request: Request) -> bool:
    """Whether the head announces a body that is not empty."""
    length = request.environ.get("CONTENT_LENGTH")
    return bool(request.environ.get("HTTP_TRANSFER_ENCODING")) or length not in (None, "", "0")


def check_length(request: Request, limit: int) -> None:
    """Refuse a body that its head announces as larger than `limit` octets (0: no limit), or with no valid length."""
    length = request.environ.get("CONTENT_LENGTH") or "0"
    if not (length.isascii() and length.isdigit() and len(length) < 20):
        raise HttpError(400, "Bad request", "invalid Content-Length")
    if limit and int(length) > limit:
        raise HttpError(413, TOO_LARGE)


def read(request: Request, limit: int) -> bytes:
    """The whole body. Raises `HttpError` 413 above `limit` octets, 400 when it ends before its announced length."""
    if not has_body(request):
        return b""
    check_length(request, limit)
    source = request.environ["wsgi.input"]
    if not request.environ.get("HTTP_TRANSFER_ENCODING"):
        length = int(request.environ.get("CONTENT_LENGTH") or 0)
        body = b"".join(_blocks(source, length))
        if len(body) < length:
            raise HttpError(400, "Request body is incomplete")
        return body
    body = b"".join(_blocks(source, limit + 1 if limit else None))
    if limit and len(body) > limit:
        raise HttpError(413, TOO_LARGE)
    return body


def _blocks(source: Any, most: int | None) -> list[bytes]:
    found, left = [], most
    while left is None or left > 0:
        block = source.read(65536 if left is None else min(left, 65536))
        if not block:
            break
        found.append(block)
        if left is not None:
            left -= len(block)
    return found


def parse_json(raw: bytes) -> Any:
    """Decode JSON strictly: no NaN, no infinite numbers, no duplicate keys, no NUL or lone surrogates in texts.

    Numbers follow Kong's (doubles): integral ones come out as `int`. Raises `HttpError` 400, 413 beyond `MAX_VALUES`.
    """
    try:
        value = orjson.loads(raw)
        # Two readings of one body must not differ: with duplicate keys, parsers disagree on which one counts.
        json.loads(raw, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise HttpError(400, NOT_JSON) from None
    if raw.count(b",") >= MAX_VALUES and _size(value) > MAX_VALUES:
        raise HttpError(413, TOO_LARGE)
    return _checked(value, 0)


def _size(value: Any) -> int:
    """How many values there are, containers included."""
    total, waiting = 0, [value]
    while waiting:
        inside = waiting.pop()
        total += 1
        if isinstance(inside, (dict, list)):
            waiting += inside.values() if isinstance(inside, dict) else inside
    return total


def _unique(found: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(found)
    if len(made) != len(found):
        raise ValueError("duplicate key")
    return made


def _checked(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind is str:
        if "\0" in value:
            raise HttpError(400, NOT_JSON)
    elif kind is float:
        return int(value) if value.is_integer() and abs(value) <= _LARGE else value
    elif kind is int:
        return value if -_LARGE <= value <= _LARGE else _as_double(value)
    elif kind is dict or kind is list:
        if depth == MAX_DEPTH:
            raise HttpError(400, NOT_JSON)
        if kind is list:
            return [_checked(item, depth + 1) for item in value]
        return {_checked(key, depth): _checked(item, depth + 1) for key, item in value.items()}
    return value


def _as_double(value: int) -> int | float:
    double = float(value)
    return int(double) if -(2**63) <= double < 2**63 else double


def parse_object(raw: bytes) -> dict[str, Any]:
    """A JSON body that has to be an object."""
    value = parse_json(raw)
    if not isinstance(value, dict):
        raise HttpError(400, NOT_JSON)
    return value


def parse_form(raw: bytes) -> dict[str, Any]:
    """A urlencoded body, nested but not typed yet."""
    return forms.decode(forms.pairs(raw))


def parse_multipart(raw: bytes, content_type: str) -> dict[str, Any]:
    """A multipart body: parts with JSON content are parsed, files and fields are texts; names as in forms."""
    boundary = parse_options_header(content_type)[1].get("boundary", "")
    if not boundary or not boundary.isascii():
        raise HttpError(400, "Cannot parse multipart body")
    decoder = MultipartDecoder(boundary.encode(), max_parts=forms.MAX_ARGUMENTS)
    found: list[tuple[str, Any]] = []
    part: Field | File | None = None
    content = bytearray()
    try:
        decoder.receive_data(raw)
        decoder.receive_data(None)
        while not isinstance(event := decoder.next_event(), (Epilogue, NeedData)):
            if isinstance(event, (Field, File)):
                part, content = event, bytearray()
            elif isinstance(event, Data) and part is not None:
                content += event.data
                if not event.more_data:
                    found.append((_part_name(part), _part_value(part, bytes(content))))
        if raw and isinstance(event, NeedData):  # it does not end as it should, so some of it may be missing
            raise ValueError("incomplete")
    except RequestEntityTooLarge:
        raise HttpError(400, forms.TOO_MANY) from None
    except (ValueError, KeyError, TypeError):  # how the decoder says that parts are malformed
        raise HttpError(400, "Cannot parse multipart body") from None
    return forms.decode(found)


def _part_name(part: Field | File) -> str:
    if not part.name or "\0" in part.name or "\ufffd" in part.name:
        raise HttpError(400, "Cannot parse multipart body")
    return part.name


def _part_value(part: Field | File, content: bytes) -> Any:
    if (part.headers.get("Content-Type") or "").startswith("application/json"):
        return parse_json(content)
    return forms.text_of(content)


def decode(kind: Kind, raw: bytes, content_type: str) -> dict[str, Any]:
    """The value of a JSON or form body; large ones are decoded in a thread, so that other requests go on."""
    readers: dict[Kind, Callable[[], dict[str, Any]]] = {
        "json": lambda: parse_object(raw),
        "form": lambda: parse_form(raw),
        "multipart": lambda: parse_multipart(raw, content_type),
    }
    return offload(readers[kind]) if len(raw) > LARGE else readers[kind]()
