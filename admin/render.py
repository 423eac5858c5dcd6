"""Answers: JSON as Kong prints it, and errors as bodies that clients of Kong know."""

from __future__ import annotations

import json
from typing import Any

import orjson
from flask import Response

JSON = "application/json; charset=utf-8"


def encode(value: Any) -> bytes:
    """Compact JSON. Integers of any size come out exactly, which orjson alone refuses beyond 64 bits."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str).encode(errors="replace")


def answer(value: Any, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(encode(value), status, content_type=JSON)


def message(status: int, text: str) -> Response:
    """An answer whose body has only a `message`."""
    return Response(encode({"message": text}), status, content_type=JSON)


def not_found() -> Response:
    """404, as for an unknown path."""
    return message(404, "Not found")


def empty(status: int = 204) -> Response:
    """An answer without a body. Only 204 goes without Content-Length."""
    made = Response(status=status)
    made.headers.pop("Content-Type", None)
    if status == 204:
        made.headers.pop("Content-Length", None)
    return made
