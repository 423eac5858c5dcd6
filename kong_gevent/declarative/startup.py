"""The document that the settings name when there is no database: applied at each start and reload."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kong_gevent.declarative.applying import Outcome, Request, apply, text_hash
from kong_gevent.declarative.posted import from_text
from kong_gevent.declarative.reader import Item, read_file
from kong_gevent.errors import ConfigurationError

if TYPE_CHECKING:
    from kong_gevent.db.store import Store


def load_named(store: Store, settings: Any, advance: Callable[[int], None] = lambda count: None) -> Outcome | None:
    """Make the store hold what `declarative_config` or `declarative_config_string` says; None when neither is set.

    Raises `ConfigurationError` for a file that cannot be read, `InvalidDocument` with every problem; then the store
    holds what it held before.
    """
    found = _named(settings)
    if found is None:
        return None
    source, hash_, items = found
    return apply(store, items, Request("settings", source, hash_, whole=True), advance)


def named_text(settings: Any) -> tuple[str, bytes]:
    """What the settings name, and its text. Raises OSError."""
    if settings.declarative_config:
        path = Path(settings.path(settings.declarative_config))
        return str(path), path.read_bytes()
    return "declarative_config_string", str(settings.declarative_config_string).encode()


def _named(settings: Any) -> tuple[str, str, Iterator[Item]] | None:
    file, text = settings.declarative_config, settings.declarative_config_string
    if file:
        path = Path(settings.path(file))
        try:
            return str(path), text_hash(path.read_bytes()), read_file(path)
        except OSError as error:
            raise ConfigurationError(f"declarative_config: cannot read {path}: {error.strerror}") from error
    if text:
        posted = from_text(text)
        return "declarative_config_string", posted.hash, posted.items
    return None
