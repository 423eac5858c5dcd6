"""file-log: one JSON object per request, as a line of a file."""

from __future__ import annotations

import os

import orjson

from kong_gevent.pdk import Conf, Config, Context, Kit, Plugin, custom_fields, fields

BATCH = 1000
"""Most lines per write."""
DELAY = 0.2
"""Seconds that a line may wait for others to be written with it."""
WAITING = 10_000
"""Lines that may wait for a slow disk; beyond it the oldest are dropped and counted."""


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

    def write(self, lines: list[bytes], reopen: bool) -> None:
        """Append lines. Raises OSError; what was not written then is lost."""
        if reopen:
            self.close()
        if self._file is None:
            self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        view = memoryview(b"".join(lines))
        while view:
            view = view[os.write(self._file, view) :]

    def close(self) -> None:
        """Close the file; the next write opens it again."""
        descriptor, self._file = self._file, None
        if descriptor is not None:
            os.close(descriptor)


class FileLog(Plugin):
    """Writes log records behind the requests' back."""

    name = "file-log"
    priority = 9
    config = FileLogConfig
    protocols_allowed = "any"

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self._files: dict[str, LogFile] = {}

    def configure(self, conf: Conf) -> None:
        """Parse the custom fields."""
        conf.custom = custom_fields.CustomFields(conf.custom_fields_by_lua)

    def log(self, ctx: Context, conf: Conf) -> None:
        """Put the record into the file's queue."""
        conf.custom.apply(ctx, self.kit.log)
        line = orjson.dumps(ctx.record(), option=orjson.OPT_APPEND_NEWLINE)
        queue = self.kit.queue(
            f"file-log:{conf.path}",
            self._write,
            max_batch_size=BATCH,
            max_coalescing_delay=DELAY,
            max_entries=WAITING,
        )
        queue.put((conf.path, line, conf.reopen))

    def _write(self, entries: list[tuple[str, bytes, bool]]) -> None:
        """Write a batch; all entries of a queue have the same path."""
        path = entries[0][0]
        file = self._files.get(path)
        if file is None:
            file = self._files[path] = LogFile(path)
        try:
            self.kit.offload(file.write, [line for _, line, _ in entries], any(reopen for _, _, reopen in entries))
        except OSError as error:
            self.kit.log.error("file-log: failed to open the file: %s (%d records lost)", error, len(entries))
