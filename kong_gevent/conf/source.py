"""Where settings come from: the file's syntax, the environment, and the file of final values in the prefix."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kong_gevent.errors import ConfigurationError

DEFAULT_FILES = ("/etc/kong/kong.conf", "/etc/kong.conf")
RUNNING_FILE = ".kong_env"
"""Name of the file in the prefix that holds the settings of the gateway started there."""

_MOST_PROBLEMS = 5
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_COMMENT = re.compile(r"(?<!\\)#.*")
_NOT_SETTINGS = re.compile(r"(?:CONF|GEVENT_\w+|TEST_\w+)\Z")
_SERVICE_LINKS = re.compile(r"(?:\w+_SERVICE_(?:HOST|PORT\w*)|\w*PORT_\d+_(?:TCP|UDP)\w*)\Z")
"""Variables that Kubernetes puts into every container when a service is called kong-something."""


@dataclass(frozen=True, slots=True)
class Given:
    """A value as somebody wrote it, and where: text for messages."""

    value: str
    origin: str
    rank: int
    """1 file, 2 environment, 3 flag: the higher wins."""


def read_file(path: str | os.PathLike[str]) -> tuple[dict[str, Given], list[str]]:
    """Read a settings file; returns the values and warnings. Raises ConfigurationError with every malformed line."""
    path = Path(path)
    found: dict[str, Given] = {}
    warnings: list[str] = []
    problems: list[str] = []
    escaped = path.name == RUNNING_FILE
    for number, line in enumerate(_text(path).splitlines(), 1):
        text = _COMMENT.sub("", line).replace("\\#", "#").strip()
        if not text:
            continue
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not _KEY.match(key):
            problems.append(f"{path}:{number}: expected 'key = value', got '{_short(text)}'")
            continue
        if key in found:
            warnings.append(f"{path}:{number}: '{key}' was set before ({found[key].origin}); the later value counts")
        found[key] = Given(_unescape(value) if escaped else value, f"{path}:{number}", 1)
    if len(problems) > _MOST_PROBLEMS:
        problems[_MOST_PROBLEMS:] = [f"{path}: {len(problems) - _MOST_PROBLEMS} more lines like these"]
    if problems:
        raise ConfigurationError(problems)
    return found, warnings


def _text(path: Path) -> str:
    if not path.exists():
        raise ConfigurationError(f"no file at: {path}")
    if path.is_dir():
        raise ConfigurationError(f"{path} is a directory, not a configuration file")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def from_environment(environ: Mapping[str, str]) -> dict[str, Given]:
    """The `KONG_*` variables, by the name of the setting; values are taken literally."""
    found = {}
    for variable, value in environ.items():
        name = variable.removeprefix("KONG_")
        if name == variable or not name or _NOT_SETTINGS.match(name) or _SERVICE_LINKS.match(name):
            continue
        found[name.lower()] = Given(value.strip(), f"environment variable {variable}", 2)
    return found


def from_flags(overrides: Mapping[str, str]) -> dict[str, Given]:
    """Values of command line flags."""
    return {key: Given(value, "command line", 3) for key, value in overrides.items()}


def write_running(path: Path, values: Mapping[str, str]) -> None:
    """Write the final values so that `read_file` gives them back exactly; only the owner may read them."""
    lines = ["# Settings of the gateway that was started here; written at each start and reload."]
    lines += [f"{key} = {_escape(value)}" for key, value in sorted(values.items())]
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=0o600)
    temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    temporary.replace(path)


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r").replace("#", "\\#")


def _unescape(value: str) -> str:
    return re.sub(r"\\(.)", lambda match: {"n": "\n", "r": "\r"}.get(match[1], match[1]), value)
