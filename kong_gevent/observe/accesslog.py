"""Access logs: lines are gathered in memory and written in one go by a thread, several times a second."""

from __future__ import annotations

import logging
import os
from time import localtime, monotonic, strftime, time
from typing import TYPE_CHECKING, Any

import gevent
import orjson
from gevent.lock import BoundedSemaphore

from kong_gevent.errors import Overloaded
from kong_gevent.offload import offload

if TYPE_CHECKING:
    from kong_gevent.http.fields import FieldIndex, RequestFields
    from kong_gevent.pdk import Context

log = logging.getLogger("kong_gevent.accesslog")
FLUSH_SECONDS = 0.2
MAX_WAITING = 100_000
"""Lines that may wait for a slow disk; more are dropped and counted."""


class LineWriter:
    """Appends lines to a file without ever holding up a request; the file is opened anew on `reopen`."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.dropped = 0
        self._lines: list[bytes] = []
        self._turn = BoundedSemaphore(1)
        self._file: int | None = None
        self._reopen = False
        self._failed = False

    def start(self) -> None:
        """Write from now on, in the background."""
        gevent.spawn(self._run)

    def append(self, line: bytes) -> None:
        """Add a line (with its line end)."""
        if len(self._lines) < MAX_WAITING:
            self._lines.append(line)
        else:
            self.dropped += 1

    def reopen(self) -> None:
        """Use the file that has the path's name at the next write: the old one has been moved away."""
        self._reopen = True

    def _run(self) -> None:
        while True:
            gevent.sleep(FLUSH_SECONDS)
            self.flush()

    def flush(self) -> None:
        """Write what waits; what another greenlet is writing has been written as well when this returns."""
        with self._turn:
            if not self._lines and not self._reopen:
                return
            lines, self._lines = self._lines, []
            try:
                offload(self._write, b"".join(lines))
                self._failed = False
            except (OSError, Overloaded) as error:
                self.dropped += len(lines)
                if not self._failed:
                    log.error("access log %s: %s", self.path, error)
                self._failed = True

    def _write(self, data: bytes) -> None:
        """Blocking; runs in the thread pool, one at a time."""
        if self._reopen and self._file is not None:
            os.close(self._file)
            self._file = None
        self._reopen = False
        if self._file is None:
            self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]


class AccessLog:
    """Formats one line per request: nginx's combined format with the request id, or one JSON object."""

    def __init__(self, writer: LineWriter, form: str) -> None:
        self._append = writer.append
        self.writer = writer
        self._json = form == "json"
        self._second = self._next_second = 0
        self._stamp = b""

    def write(self, ctx: Context) -> None:
        """Log a request that has ended."""
        if self._json:
            self._append(self._as_json(ctx))
            return
        if not self._second <= time() < self._next_second:
            self._begin_second()
        connection = ctx.connection
        fields = ctx.fields
        target = ctx.target
        self._append(
            b'%b%b%b %b HTTP/1.%d" %d %d %b%b"\n'
            % (
                self._address(ctx) if connection.trusted else connection.peer_bytes,
                self._stamp,
                ctx.method,
                _quoted(target) if b'"' in target or b"\\" in target else target,  # visible ASCII, see `http.heads`
                ctx.minor,
                ctx.status,
                ctx.exchange.sent,
                fields.logged or _who(fields),
                ctx.request_id,
            )
        )

    def _begin_second(self) -> None:
        """Make the time stamp of this second; also when the clock was set back."""
        self._second = int(time())
        self._next_second = self._second + 1
        self._stamp = strftime(' - - [%d/%b/%Y:%H:%M:%S %z] "', localtime(self._second)).encode()

    @staticmethod
    def _address(ctx: Context) -> bytes:
        """The client's address, which a trusted peer may have told."""
        return ctx.client_ip.encode() or b"unix:"

    def _as_json(self, ctx: Context) -> bytes:
        index = ctx.fields.index
        record: dict[str, Any] = {
            "time": time(),
            "client_ip": self._address(ctx).decode(),
            "request_id": ctx.id,
            "method": ctx.method.decode("latin-1"),
            "uri": ctx.target.decode("latin-1"),
            "protocol": f"HTTP/1.{ctx.minor}",
            "host": (index.get("host") or [""])[0],
            "status": ctx.status,
            "bytes_sent": ctx.exchange.sent,
            "request_time_ms": round((monotonic() - ctx.started) * 1000, 3),
            "route": ctx.route.id if ctx.route is not None else None,
            "service": ctx.service.id if ctx.service is not None else None,
            "consumer": ctx.consumer["id"] if ctx.consumer else None,
            "upstream": [f"{attempt.ip}:{attempt.port}" for attempt in ctx.tries or ()],
            "user_agent": next(iter(index.get("user-agent") or ()), None),
            "referer": next(iter(index.get("referer") or ()), None),
        }
        return orjson.dumps(record) + b"\n"


def _who(fields: RequestFields) -> bytes:
    """Referer, agent and what introduces the request id; remembered with the header section, which comes again."""
    index = fields.index
    logged = fields.logged = b'"%b" "%b" kong_request_id: "' % (
        _quoted(_first(index, "referer")),
        _quoted(_first(index, "user-agent")),
    )
    return logged


_get: Any = dict.get  # the bytes of a field, where `FieldIndex.get` would make texts of them


def _first(index: FieldIndex, name: str) -> bytes:
    found = _get(index, name)
    if found is None:
        return b"-"
    return found if isinstance(found, bytes) else found[0]


_UNSAFE = bytes(code for code in range(256) if code < 32 or code in (34, 92) or code >= 127)


def _quoted(value: bytes) -> bytes:
    """Escape what could break the line or the quotes, as nginx does: `\\xHH`."""
    if len(value.translate(None, _UNSAFE)) != len(value):
        return b"".join([b"\\x%02X" % byte if byte in _UNSAFE else bytes((byte,)) for byte in value])
    return value
