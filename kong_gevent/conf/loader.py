"""From file, environment and flags to `Settings`: merge, resolve references, parse, check, and report all errors."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kong_gevent
from kong_gevent.conf import checks, exposure, references, source, storage_checks, tls_checks, values
from kong_gevent.conf.defaults import ALIASES, DYNAMIC_PREFIXES, TABLE, Setting
from kong_gevent.conf.settings import Settings
from kong_gevent.conf.source import Given
from kong_gevent.errors import ConfigurationError


def load(
    path: str | os.PathLike[str] | None = None,
    overrides: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Load the settings: defaults < file < `KONG_*` environment < `overrides` (text values by setting name).

    Without `path` the file is `$KONG_CONF`, else the first of Kong's usual places that exists, else none. A file
    named `.kong_env` holds final values: the environment then adds nothing, so that a reload in a running
    gateway sees what the command line decided and not what was in the environment long ago.
    Raises `ConfigurationError` with every problem found.
    """
    environ = os.environ if environ is None else environ
    chosen = path or _usual_file(environ)
    recorded = chosen is not None and Path(chosen).name == source.RUNNING_FILE
    return _load(chosen, overrides or {}, environ, with_environment=not recorded)


def _usual_file(environ: Mapping[str, str]) -> str | None:
    return environ.get("KONG_CONF") or next((file for file in source.DEFAULT_FILES if os.path.exists(file)), None)


def _load(
    path: str | os.PathLike[str] | None,
    overrides: Mapping[str, str],
    environ: Mapping[str, str],
    with_environment: bool,
) -> Settings:
    found, warnings = source.read_file(path) if path else ({}, [])
    layers = [found, source.from_environment(environ) if with_environment else {}, source.from_flags(overrides)]
    return _build(_merge(layers, warnings), environ, warnings)


def default_prefix() -> str:
    """Kong's prefix, or `servroot` in the source tree when running from one."""
    if kong_gevent.CHECKOUT is not None:
        return str(kong_gevent.CHECKOUT / "servroot")
    return TABLE["prefix"].default or ""


def _merge(layers: list[dict[str, Given]], warnings: list[str]) -> dict[str, Given]:
    """One value per setting, under its proper name; in one layer the proper name beats its aliases."""
    merged: dict[str, Given] = {}
    for layer in layers:
        for key in sorted(layer, key=lambda name: name in ALIASES):
            given, name = layer[key], ALIASES.get(key, key)
            if name != key and name in layer:
                warnings.append(f"{given.origin}: '{key}' is another name of '{name}', which is set too and counts")
                continue
            if name in TABLE or name.startswith(DYNAMIC_PREFIXES):
                merged[name] = given
            else:
                warnings.append(_unknown(key, given))
    return merged


def _unknown(key: str, given: Given) -> str:
    near = difflib.get_close_matches(key, [*TABLE, *ALIASES], n=1, cutoff=0.75)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"{given.origin}: unknown setting '{key}' is ignored{hint}"


def _build(merged: Mapping[str, Given], environ: Mapping[str, str], warnings: list[str]) -> Settings:
    raw: dict[str, str] = {}
    parsed: dict[str, Any] = {}
    problems: list[str] = []
    resolved: set[str] = set()
    for name in [*TABLE, *(name for name in merged if name not in TABLE)]:
        setting, given = TABLE.get(name), merged.get(name)
        default = setting.default if setting else None
        text = _text(name, given, default)
        parsed[name] = None
        if text is None:
            continue
        raw[name] = text
        try:
            parsed[name] = _value(name, setting, text, environ, resolved)
        except ValueError as error:
            problems.append(f"{error} ({given.origin})" if given else str(error))
            parsed[name] = values.parse(setting, default) if setting and default is not None else None
        if given and not problems:
            warnings += _inert(name, setting, parsed[name], given)
    listeners, malformed = checks.listeners(parsed)
    problems += malformed + checks.check(parsed) + tls_checks.check(parsed, listeners)
    if problems:
        raise ConfigurationError(problems)
    warnings += [*storage_checks.advice(parsed), *exposure.advice(parsed, listeners["admin_listen"])]
    warnings += checks.advice(parsed, listeners)
    for name in ("sqlite_path", *storage_checks.FILES):
        if parsed[name]:
            parsed[name] = os.path.normpath(os.path.join(parsed["prefix"], parsed[name]))
    return Settings(parsed, listeners, raw, warnings, frozenset(resolved))


def _text(name: str, given: Given | None, default: str | None) -> str | None:
    """What is to be parsed: an empty or `NONE` value takes back what an earlier place said."""
    text = given.value if given and given.value not in ("", "NONE") else default
    if name != "prefix":
        return text
    if text is None or text == default:
        text = text if given and given.value else default_prefix()
    return os.path.abspath(os.path.expanduser(text or ""))


def _value(name: str, setting: Setting | None, text: str, environ: Mapping[str, str], resolved: set[str]) -> Any:
    if not references.is_reference(text):
        return values.parse(setting, text) if setting else text
    secret = references.resolve(text, environ)
    resolved.add(name)
    try:
        return values.parse(setting, secret) if setting else secret
    except ValueError:
        # The message of the parser would show the secret.
        raise ValueError(f"{name}: what '{text}' refers to has the wrong form") from None


def _inert(name: str, setting: Setting | None, value: Any, given: Given) -> Iterator[str]:
    """Say so when somebody sets what nothing depends on."""
    if setting is None:
        yield f"{given.origin}: '{name}' is accepted for Kong's sake and has no effect"
    elif not setting.used and value != (None if setting.default is None else values.parse(setting, setting.default)):
        yield f"{given.origin}: '{name}' is accepted and has no effect in this version"


def find_prefix(prefix: str | None = None, path: str | None = None, environ: Mapping[str, str] | None = None) -> str:
    """The absolute prefix that flag, environment or file name, without judging any other setting."""
    environ = os.environ if environ is None else environ
    given = prefix or environ.get("KONG_PREFIX")
    if not given:
        usual = path or _usual_file(environ)
        found = source.read_file(usual)[0].get("prefix") if usual else None
        given = found.value if found else None
    return _text("prefix", Given(given, "", 3) if given else None, TABLE["prefix"].default) or ""


def load_running(prefix: str, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of the gateway that was started in `prefix`; without a record there, those it would start with."""
    record = Path(prefix, source.RUNNING_FILE)
    return load(record if record.exists() else None, {"prefix": prefix}, environ)


def load_again(prefix: str, path: str | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings for a reload: `path` when given, else what runs now; the environment of today on top of it."""
    record = Path(prefix, source.RUNNING_FILE)
    if path is not None or not record.exists():
        return load(path, {"prefix": prefix}, environ)
    return _load(record, {"prefix": prefix}, os.environ if environ is None else environ, with_environment=True)


def environment(settings: Settings, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Environment for the gateway's processes: this one, pointing at the settings recorded in the prefix."""
    inherited = dict(os.environ if environ is None else environ)
    return {**inherited, "KONG_PREFIX": settings.prefix, "KONG_CONF": str(settings.running_file)}


def server_file() -> str:
    """The configuration file for gunicorn that makes it run these settings."""
    return str(Path(kong_gevent.__file__).with_name("runtime") / "gunicorn_conf.py")


def is_prepared(environ: Mapping[str, str] | None = None) -> bool:
    """Whether the settings are those that a command recorded in a prefix, after it had prepared everything else."""
    environ = os.environ if environ is None else environ
    return Path(environ.get("KONG_CONF", "")).name == source.RUNNING_FILE


def inherits_sockets(environ: Mapping[str, str] | None = None) -> bool:
    """Whether whoever started this process handed listening sockets over: gunicorn at a binary upgrade, or systemd."""
    environ = os.environ if environ is None else environ
    return "GUNICORN_FD" in environ or environ.get("LISTEN_PID") == str(os.getpid())
