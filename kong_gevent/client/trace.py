"""Live traces over a WebSocket."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import certifi
import orjson
import websocket

from kong_gevent.client.errors import Unreachable, refusal

TEXT, BINARY, CLOSE = websocket.ABNF.OPCODE_TEXT, websocket.ABNF.OPCODE_BINARY, websocket.ABNF.OPCODE_CLOSE

Filter = str | int | float | Sequence[str | int] | None
"""What a trace is limited to: a value, or several."""


class Trace(Iterator[dict[str, Any]]):
    """The messages of one trace, as they come; `close` ends it. Raises `ApiError` and `Unreachable` while opening."""

    def __init__(
        self,
        url: str,
        query: Mapping[str, Filter],
        *,
        token: str | None,
        verify: bool | str,
        cert: str | tuple[str, str] | None,
        timeout: float,
    ) -> None:
        address = "ws" + url.removeprefix("http") + "/debug/trace?" + urlencode(query, doseq=True)
        try:
            self._socket: Any = websocket.create_connection(
                address,
                timeout=timeout,
                subprotocols=["kong.trace"],
                header=[f"Authorization: Bearer {token}"] if token is not None else [],
                sslopt=_tls(verify, cert),
                suppress_origin=True,
                http_no_proxy=["*"],
                redirect_limit=0,
            )
        except websocket.WebSocketBadStatusException as error:
            raise refusal("GET", "/debug/trace", error.status_code, _decoded(error.resp_body)) from None
        except (websocket.WebSocketException, OSError) as error:
            raise Unreachable(f"GET {url}/debug/trace: {error}") from error
        self._socket.settimeout(None)

    def __next__(self) -> dict[str, Any]:
        try:
            code, data = self._socket.recv_data()
        except websocket.WebSocketConnectionClosedException:
            raise StopIteration from None
        except (websocket.WebSocketException, OSError) as error:
            self._socket.shutdown()
            raise Unreachable(f"the trace was cut: {error}") from error
        if code not in (TEXT, BINARY):
            self._socket.shutdown()
            reason = data[2:].decode("utf-8", "replace")
            if int.from_bytes(data[:2], "big") not in (0, 1000):
                raise Unreachable(f"the gateway ended the trace: {reason or 'it is going away'}")
            raise StopIteration
        message: dict[str, Any] = orjson.loads(data)
        return message

    def close(self) -> None:
        """End the trace."""
        self._socket.close(timeout=1)


def _tls(verify: bool | str, cert: str | tuple[str, str] | None) -> dict[str, ssl.SSLContext]:
    """As requests does it: its own list of authorities unless another one is named."""
    context = ssl.create_default_context(cafile=verify if isinstance(verify, str) else certifi.where())
    if verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if cert is not None:
        context.load_cert_chain(*([cert] if isinstance(cert, str) else cert))
    return {"context": context}


def _decoded(body: bytes | None) -> Any:
    try:
        return orjson.loads(body or b"")
    except ValueError:
        return (body or b"").decode("utf-8", "replace")
