"""What both kinds of exchange do alike with request bodies: limits, looking ahead, reading all of one."""

from __future__ import annotations

from kong_gevent.errors import HttpError
from kong_gevent.http import problem

Limit = tuple[int, int, str, type[HttpError]]
"""Most bytes of a body, and the status, message and error class when there are more."""


class BodyBuffer:
    """The parts of `Exchange` that only need `read_body`; bytes put back are kept in `_pushed`."""

    __slots__ = ("_left", "_limit", "_pushed", "length", "received")

    length: int
    received: int
    _left: int
    _limit: Limit | None
    _pushed: bytes

    def read_body(self) -> bytes:
        """See `Exchange.read_body`."""
        raise NotImplementedError("an exchange defines this")

    def _unframed(self) -> None:
        """The whole body has been read and put back: nothing of it is left in the transport."""
        raise NotImplementedError("an exchange defines this")

    def _refused(self) -> None:
        """The body was too large to be read."""
        raise NotImplementedError("an exchange defines this")

    def limit_body(self, limit: int, status: int, message: str, kind: type[HttpError] = HttpError) -> None:
        """See `Exchange.limit_body`."""
        if self._limit is None or limit < self._limit[0]:
            self._limit = (limit, status, message, kind)

    def _gather(self, limit: int) -> bytes | None:
        """Read the body up to `limit` bytes; when there is more, what was read counts as unread again."""
        parts: list[bytes] = []
        size = 0
        while part := self.read_body():
            parts.append(part)
            size += len(part)
            if size > limit:
                self._pushed = b"".join(parts)
                self.received -= size
                return None
        return b"".join(parts)

    def read_short_body(self, limit: int) -> bytes | None:
        """See `Exchange.read_short_body`."""
        body = None if self._left > limit else self._gather(limit)
        if body is None:
            return None
        self._unframed()
        self._pushed = body
        self.length = len(body)
        self.received -= len(body)
        return body

    def read_whole_body(self, limit: int) -> bytes:
        """See `Exchange.read_whole_body`."""
        body = self.read_short_body(limit)
        if body is None:
            self._refused()
            raise HttpError(413, problem.MESSAGES[413], "the body is larger than a plugin may read")
        return body
