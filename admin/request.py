"""The request as views see it: body read and decoded, query arguments nested."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, cast

from flask import Request
from flask import request as proxy

from kong_gevent.admin import forms
from kong_gevent.admin.bodies import Kind
from kong_gevent.errors import HttpError

_FALSE = frozenset({"0", "false", "off", "no"})
_TRUE = frozenset({"1", "true", "on", "yes"})

if TYPE_CHECKING:
    from kong_gevent.admin.access import Who


class AdminRequest(Request):
    """A request with its body read and decoded, as far as its content type allows without a schema."""

    def __init__(self, environ: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        self.started = time.monotonic()
        self.kind: Kind = "none"
        self.who: Who | None = None
        """Who sent it, once that is known."""
        self.sent: dict[str, Any] = {}
        """The body: JSON as it came, forms nested but with texts only (see `kind`)."""
        self.text = b""
        """A body that is neither JSON nor a form, undecoded."""
        super().__init__(environ, *args, **kwargs)

    @property
    def is_form(self) -> bool:
        """Whether values still have to be typed by a schema."""
        return self.kind in ("form", "multipart")

    def query_arguments(self) -> dict[str, Any]:
        """Query arguments: texts, lists of repeated ones, None for an empty value, True for a name without `=`."""
        query = self.environ.get("QUERY_STRING", "")
        return forms.decode(forms.pairs(query.encode("latin-1", "replace"))) if query else {}


def current() -> AdminRequest:
    """The request being answered."""
    return cast(AdminRequest, proxy)


def flag(value: Any) -> bool:
    """Whether a query argument says yes; without a value it does. Raises `HttpError` 400 for a word that is no answer.

    Whether something is to be written, or deleted, must not be guessed.
    """
    word = value.lower() if isinstance(value, str) else value
    if word is True or (isinstance(word, str) and word in _TRUE):
        return True
    if word is not None and (not isinstance(word, str) or word not in _FALSE):
        raise HttpError(400, "expected 'true' or 'false' as the value of a query argument")
    return False
