"""The prefix: the directories that a gateway works in, made and checked before anything starts."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from kong_gevent.conf import certificates
from kong_gevent.conf.settings import Settings
from kong_gevent.conf.source import write_running
from kong_gevent.errors import ConfigurationError

FOLDERS = ("pids", "logs", "sockets", "ssl")


def prepare(settings: Settings) -> None:
    """Make the prefix, its folders and the certificates that TLS listeners lack; check that it can be written.

    Raises ConfigurationError saying what to do.
    """
    root = Path(settings.prefix)
    for folder in (root, *(root / name for name in FOLDERS)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            obstacle = _obstacle(folder)
            raise ConfigurationError(f"the prefix {root} cannot be used: {obstacle} is not a directory") from None
        except OSError as error:
            raise _unusable(root, folder, error.strerror or str(error)) from error
        if not os.access(folder, os.W_OK | os.X_OK):
            raise _unusable(root, folder, "no permission to write")
    for part in ("proxy", "admin", "status"):
        _check_log(f"{part}_access_log", settings.access_log(part).path)
        _check_log(f"{part}_error_log", settings.error_log(part))
    certificates.make_defaults(settings)


def _check_log(key: str, path: str | None) -> None:
    """Raise ConfigurationError when a log file cannot be opened. A disk that is full now is no reason not to start."""
    if path is None or path.startswith("/dev/"):
        return
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o644))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise ConfigurationError(f"{key}: cannot write {path}: {error.strerror}") from None


def _obstacle(folder: Path) -> Path:
    """The nearest existing part of a path that is not a directory."""
    return next((part for part in (folder, *folder.parents) if part.exists() and not part.is_dir()), folder)


def _unusable(root: Path, folder: Path, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"the prefix {root} cannot be used: {folder}: {reason}; "
        "choose another with -p or KONG_PREFIX, or give this user the right to write there"
    )


def save(settings: Settings) -> None:
    """Write the final settings into the prefix, where running commands and the workers read them."""
    try:
        write_running(settings.running_file, settings.raw)
    except OSError as error:
        raise ConfigurationError(f"cannot write {settings.running_file}: {error.strerror}") from error
