"""Finding plugins by name: those that come with the gateway, and installed ones by their entry point."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from importlib.metadata import entry_points

from kong_gevent.errors import ConfigurationError
from kong_gevent.pdk.plugin import Plugin

GROUP = "kong_gevent.plugins"


def wanted_names(setting: Iterable[str], bundled: Iterable[str]) -> list[str]:
    """The names that the `plugins` setting stands for: `bundled` is all that ship, a first `off` is none."""
    names: list[str] = []
    for entry in setting:
        if entry == "off" and not names:
            return []
        names += bundled if entry == "bundled" else [entry]
    return list(dict.fromkeys(names))


def load_plugins(setting: Iterable[str]) -> dict[str, type[Plugin]]:
    """The plugin classes that the setting names. Raises `ConfigurationError` for each that cannot be had."""
    package = importlib.import_module("kong_gevent.plugins")
    bundled: tuple[str, ...] = package.BUNDLED
    installed = {entry.name: entry for entry in entry_points(group=GROUP)}
    found: dict[str, type[Plugin]] = {}
    errors = []
    for name in wanted_names(setting, bundled):
        try:
            if name in bundled:
                found[name] = _class_in(importlib.import_module(f"{GROUP}.{name.replace('-', '_')}"), name)
            elif name in installed:
                found[name] = _checked(installed[name].load(), name)
            else:
                errors.append(f"plugins: there is no plugin '{name}'; install its package or correct the name")
        except Exception as error:  # a plugin's own code runs here
            errors.append(f"plugins: plugin '{name}' cannot be loaded: {type(error).__name__}: {error}")
    if errors:
        raise ConfigurationError(errors)
    return found


def load_announced() -> dict[str, type[Plugin]]:
    """The plugins of which only the settings are known; they can be validated and cannot be enabled."""
    names: tuple[str, ...] = importlib.import_module("kong_gevent.plugins").ANNOUNCED
    return {
        name: _class_in(importlib.import_module(f"{GROUP}.announced.{name.replace('-', '_')}"), name) for name in names
    }


def _class_in(module: object, name: str) -> type[Plugin]:
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, Plugin) and value.name == name:
            return value
    raise LookupError(f"no Plugin class with this name in {module!r}")


def _checked(value: object, name: str) -> type[Plugin]:
    if not (isinstance(value, type) and issubclass(value, Plugin)):
        raise TypeError("its entry point is not a Plugin class")
    if value.name != name:
        raise ValueError(f"its class is named '{value.name}'")
    return value
