"""Origins of web pages that belong to the gateway."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit


def origins(urls: str | Iterable[str]) -> list[str]:
    """Origins (`scheme://host[:port]`) of the web manager's addresses."""
    found = []
    for url in [urls] if isinstance(urls, str) else urls:
        parts = urlsplit(url.strip())
        found.append(f"{parts.scheme}://{parts.netloc}")
    return found
