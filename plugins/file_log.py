"""file-log: one JSON object per request, as a line of a file."""

from __future__ import annotations

import os

from kong_gevent.pdk import Conf, Config, Kit, custom_fields, fields
from kong_gevent.pdk.kit import Queue
from kong_gevent.pdk.logging import AT_ONCE, LogPlugin


class FileLogConfig(Config):
    """Settings of file-log."""

    path = fields.String(
        required=True,
        match="^[^*&%%\\`]+$",
        err="not a valid filename",
        metadata={"description": "The file to append to; it is made when it is missing, its folder is not."},
    )
    reopen = fields.Boolean(
        required=True,
        load_default=False,
        metadata={"description": "Whether the file is opened anew each time, so that it may be moved away."},
    )
    custom_fields_by_lua = custom_fields.field()


class LogFile:
    """A file of one worker; `write` blocks and runs in the thread pool, one call at a time."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._file: int | None = None
        self._torn = False  # whether the file ends in the midst of a line

    def write(self, lines: list[bytes], reopen: bool) -> None:
        """Append lines. Raises OSError; what was not written then is lost."""
        if reopen:
            self.close()
        if self._file is None:
            self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        view = memoryview(b"\n".join([*([b""] if self._torn else []), *lines, b""]))
        size = len(view)
        try:
            while view:
                view = view[os.write(self._file, view) :]
        finally:  # what comes later begins a line of its own
            if len(view) < size:
                self._torn = bool(view)

    def close(self) -> None:
        """Close the file; the next write opens it again."""
        descriptor, self._file = self._file, None
        if descriptor is not None:
            os.close(descriptor)


class FileLog(LogPlugin):
    """Writes log records behind the requests' back."""

    name = "file-log"
    priority = 9
    config = FileLogConfig

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self._files: dict[tuple[str, bool], LogFile] = {}

    def queue_of(self, conf: Conf) -> Queue:
        """One queue for all configurations that write to the same file in the same way."""
        return self.open_queue(conf, f"file-log:{conf.path}:{conf.reopen}", AT_ONCE)

    def send(self, conf: Conf, records: list[bytes]) -> None:
        """Write a batch of lines."""
        key = (conf.path, conf.reopen)
        file = self._files.get(key)
        if file is None:
            file = self._files[key] = LogFile(conf.path)
        try:
            self.kit.offload(file.write, records, conf.reopen)
        except OSError as error:
            raise OSError(f"failed to open the file: {error.strerror or error}") from error
