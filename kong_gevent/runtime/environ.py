"""What a client has sent, as far as the environment (PEP 3333) of a foreign WSGI server still tells it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote_from_bytes


def section_of(environ: dict[str, Any]) -> bytes:
    """The header section that a WSGI environment was made from, as far as it can be told."""
    lines = []
    for key, value in environ.items():
        if key.startswith("HTTP_"):
            name = key[5:].replace("_", "-").title()
        elif key in ("CONTENT_TYPE", "CONTENT_LENGTH") and value:
            name = key.replace("_", "-").title()
        else:
            continue
        lines.append(f"{name}: {value}".encode("latin-1"))
    return b"\r\n".join(lines)


def target_of(environ: dict[str, Any]) -> bytes:
    """The request target as the client sent it, where the server tells; else rebuilt from the decoded path."""
    for key in ("RAW_URI", "REQUEST_URI"):
        if environ.get(key):
            raw: str = environ[key]
            return raw.encode("latin-1")
    path = quote_from_bytes(
        (environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")).encode("latin-1"), safe="/%:@!$&'()*+,;=-._~"
    )
    query = environ.get("QUERY_STRING", "")
    return (f"{path}?{query}" if query else path).encode("latin-1") or b"/"
