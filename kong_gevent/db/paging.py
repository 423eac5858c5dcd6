"""What lists take: page sizes, page tokens and tag filters, with Kong 3.9's errors."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Any

from kong_gevent.db import codec
from kong_gevent.errors import InvalidOffset, InvalidOptions, InvalidSize
from kong_gevent.schema import names

DEFAULT_SIZE = 100
MAX_SIZE = 1000
MAX_TAGS = 5
_BASE64 = re.compile(r"[A-Za-z0-9+/]*\Z")


def check_size(size: Any) -> int:
    """A page size: an integer or its text. Raises `InvalidSize`."""
    if size is None:
        return DEFAULT_SIZE
    if isinstance(size, str):
        try:
            size = float(size.replace("_", "?"))
        except ValueError:
            raise InvalidSize("size must be a number") from None
    if isinstance(size, bool) or not isinstance(size, (int, float)):
        raise InvalidSize("size must be a number")
    if size != size or size in (float("inf"), float("-inf")) or size != int(size) or not 1 <= size <= MAX_SIZE:
        raise InvalidSize(f"size must be an integer between 1 and {MAX_SIZE}")
    return int(size)


def encode_offset(values: Sequence[str]) -> str:
    """The token behind a page: unpadded base64 of a JSON array, good on every node."""
    return base64.b64encode(codec.dumps(list(values))).decode().rstrip("=")


def decode_offset(token: Any, size: int = 1) -> list[str]:
    """What a token holds: `size` texts. Raises `InvalidOffset`."""
    if not isinstance(token, str) or not _BASE64.match(token.rstrip("=")):
        raise InvalidOffset(f"'{token}' is not a valid offset: bad base64 encoding")
    try:
        raw = base64.b64decode(token.rstrip("=") + "=" * (-len(token.rstrip("=")) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidOffset(f"'{token}' is not a valid offset: bad base64 encoding") from None
    try:
        values = codec.loads(raw)
    except ValueError:
        raise InvalidOffset(f"'{token}' is not a valid offset: bad json encoding") from None
    if not isinstance(values, list) or len(values) != size or not all(map(_possible, values)):
        raise InvalidOffset(f"'{token}' is not a valid offset: bad json encoding")
    return values


def _possible(value: Any) -> bool:
    """Whether a token of ours may hold it: stores differ in what they make of NUL characters."""
    return isinstance(value, str) and "\0" not in value


def parse_tags(text: Any) -> tuple[list[str], str]:
    """A `tags` filter, `a,b` (all of them) or `a/b` (any): the tags and "and" or "or". Raises `InvalidOptions`."""
    if text is None or text == "":
        raise _tags_error("cannot be null")
    if not isinstance(text, str) or ("," in text and "/" in text):
        raise _tags_error("invalid filter syntax")
    tags = text.split("/" if "/" in text else ",")
    if any(not tag or names.tag(tag) for tag in tags):
        raise _tags_error("invalid filter syntax")
    if len(tags) > MAX_TAGS:
        raise _tags_error(f"cannot query more than {MAX_TAGS} tags")
    return tags, "or" if "/" in text else "and"


def _tags_error(text: str) -> InvalidOptions:
    return InvalidOptions(f"invalid option (tags: {text})", options={"tags": text})
