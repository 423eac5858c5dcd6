"""Passing a request's body on while the answer is awaited, or already on its way back."""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING

import gevent

from kong_gevent.errors import ConnectionClosed, DeadlineExceeded, HttpError
from kong_gevent.http import problem
from kong_gevent.http.chunked import encode_chunk, last_chunk
from kong_gevent.proxy.deadlines import NEVER
from kong_gevent.proxy.stream import Stream
from kong_gevent.runtime.answers import ClientFault

if TYPE_CHECKING:
    from kong_gevent.runtime.exchange import Exchange

log = logging.getLogger("kong_gevent.proxy")


class Upload:
    """One body on its way to an upstream, in a greenlet of its own.

    While it runs the upstream may take as long as the client does; its time to answer (`answer_timeout`, s) starts
    when the body is through. `done` tells that all of it was sent; `failure` is set when the client broke off or broke
    a rule, and then the upstream's stream has been closed. When the upstream stops taking the body, its answer (or the
    lack of one) tells why. `body`: all of it, when it has been read before; else the client is read from.
    """

    def __init__(
        self, exchange: Exchange, stream: Stream, chunked: bool, answer_timeout: float, body: bytes | None = None
    ) -> None:
        self.done = False
        self.failure: Exception | None = None
        self._exchange = exchange
        self._stream = stream
        self._chunked = chunked
        self._body = body
        self._answer_timeout = answer_timeout
        exchange.uploading = body is None
        stream.read_timeout = NEVER
        self._greenlet = gevent.spawn(self._run)

    def complete(self) -> None:
        """Wait for its end. Raises `ClientFault`, or `HttpError` when the upstream did not take all of the body."""
        self._greenlet.join()
        if self.failure is not None:
            raise ClientFault(self.failure)
        if not self.done:
            raise HttpError(502, problem.MESSAGES[502], "an upgrade in the middle of the request's body")

    def stop(self) -> None:
        """End the upload, finished or not."""
        if not self._greenlet.dead:
            self._greenlet.kill()
        self._exchange.uploading = False

    def _run(self) -> None:
        stream = self._stream
        try:
            self._pass_on()
        except ClientFault as fault:
            self._give_up(fault.cause)
        except (ConnectionClosed, DeadlineExceeded, OSError):
            pass  # the one who waits for the answer learns why
        except Exception:
            log.exception("passing a request's body on failed")
            stream.close()  # nobody would ever answer half a request
        else:
            self.done = True
            self._exchange.wait_for(stream)  # all that the client said may have been taken without being waited for
        stream.read_timeout = self._answer_timeout
        stream.deadline = monotonic() + self._answer_timeout

    def _pass_on(self) -> None:
        """Send the whole body. Raises `ClientFault`, or what writing to the upstream raises."""
        exchange, stream = self._exchange, self._stream
        if self._body is not None:
            stream.write(self._body)
            return
        if not self._chunked and stream.plain and exchange.splice_body(stream):
            return
        while True:
            try:
                data = exchange.read_body()
            except (ConnectionClosed, DeadlineExceeded, OSError, HttpError) as error:
                raise ClientFault(error) from error
            if not data:
                break
            stream.write(encode_chunk(data) if self._chunked else data)
        if self._chunked:
            stream.write(last_chunk(exchange.trailers))

    def _give_up(self, cause: Exception) -> None:
        self.failure = cause.with_traceback(None)
        self._stream.close()
