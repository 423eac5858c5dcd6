"""Requests to one Admin API: a connection pool, time limits, and retries of what may be repeated."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, TypedDict
from urllib.parse import urlsplit

import orjson
import requests
import requests.adapters
from urllib3.exceptions import MaxRetryError, NewConnectionError

from kong_gevent.client.errors import ClientError, Unreachable, refusal

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""Methods that may be repeated without knowing what became of the first try (RFC 9110, section 9.2.2)."""
BUSY = frozenset({429, 502, 503, 504})
"""Statuses that another try may turn into success."""
FIRST_PAUSE = 0.2
"""Seconds before the first retry; each further pause is twice as long."""
LONGEST_PAUSE = 10.0
"""Most seconds that an answer's Retry-After can ask for."""
POOL_SIZE = 32


Argument = str | int | float | bool | None
"""A query argument; None leaves it out."""


class Credentials(TypedDict):
    """How to reach the same API in another way; see `Transport`."""

    token: str | None
    verify: bool | str
    cert: str | tuple[str, str] | None
    timeout: float


class Transport:
    """Sends requests and gives decoded answers.

    `timeout`: seconds to connect, and between two parts of an answer; `retries`: further tries of idempotent requests
    that got no answer, 429, 502, 503 or 504 (of other methods only when no connection came about).
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        verify: bool | str = True,
        cert: str | tuple[str, str] | None = None,
        timeout: float = 30.0,
        retries: int = 2,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise ClientError(f"'{url}' is no address of an Admin API: write http://host:port or https://host:port")
        self.url = url.rstrip("/")
        self._timeout = timeout
        self.connection: Credentials = {"token": token, "verify": verify, "cert": cert, "timeout": timeout}
        """For connections of another kind to the same API."""
        self._retries = retries
        self._session = requests.Session()
        # Neither a proxy nor a .netrc of the environment may see, or replace, the token.
        self._session.trust_env = False
        self._session.verify = verify
        self._session.cert = cert
        self._session.headers.update(headers or {})
        if token is not None:
            self._session.headers["Authorization"] = f"Bearer {token}"
        adapter = requests.adapters.HTTPAdapter(pool_connections=1, pool_maxsize=POOL_SIZE)
        self._session.mount(f"{self.url}/", adapter)

    def close(self) -> None:
        """Close the idle connections."""
        self._session.close()

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: Mapping[str, Argument] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Status and decoded body (None without one). Raises `ApiError` for a status of 400 and more, `Unreachable`.

        `body`: anything that JSON can express; bytes go as they are, with the content type that `headers` name.
        """
        data, kind = (body, {}) if isinstance(body, bytes) else _encoded(body)
        tries = 0
        while True:
            tries += 1
            try:
                answer = self._session.request(
                    method,
                    self.url + path,
                    params=_query(query),
                    data=data,
                    headers={**kind, **(headers or {})},
                    timeout=self._timeout,
                    allow_redirects=False,
                )
            except (requests.RequestException, OSError) as error:
                if tries > self._retries or not (method in IDEMPOTENT or _never_sent(error)):
                    raise Unreachable(f"{method} {self.url}{path}: {_reason(error)}") from error
                time.sleep(_pause(tries, None))
                continue
            status = answer.status_code
            if status in BUSY and method in IDEMPOTENT and tries <= self._retries:
                time.sleep(_pause(tries, answer.headers.get("Retry-After")))
                continue
            if status == 404 and method == "DELETE" and tries > 1:
                return 204, None  # an earlier try has done it
            return status, self._judged(method, path, answer)

    def _judged(self, method: str, path: str, answer: requests.Response) -> Any:
        value = _decoded(answer)
        if answer.status_code >= 400:
            raise refusal(method, path, answer.status_code, value)
        if 300 <= answer.status_code < 400 and answer.status_code != 304:
            raise Unreachable(
                f"{self.url} redirects to {answer.headers.get('Location')}: use that address if it is yours"
            )
        return value


def _encoded(body: Any) -> tuple[bytes | None, dict[str, str]]:
    return (None, {}) if body is None else (orjson.dumps(body), {"Content-Type": "application/json"})


def _query(query: Mapping[str, Argument] | None) -> dict[str, str]:
    """Arguments as the API reads them; those that are None are left out."""
    words = {True: "1", False: "0"}
    given = {name: value for name, value in (query or {}).items() if value is not None}
    return {name: words[value] if isinstance(value, bool) else str(value) for name, value in given.items()}


def _decoded(answer: requests.Response) -> Any:
    if not answer.content:
        return None
    try:
        return orjson.loads(answer.content)
    except ValueError:
        return answer.text


def _never_sent(error: Exception) -> bool:
    """Whether no connection came about, so that the other side cannot have seen the request."""
    cause = error.args[0] if error.args else None
    return isinstance(cause, MaxRetryError) and isinstance(cause.reason, NewConnectionError)


def _reason(error: Exception) -> str:
    """The innermost cause in one line: what requests says repeats itself."""
    cause: BaseException = error.args[0] if error.args and isinstance(error.args[0], BaseException) else error
    cause = getattr(cause, "reason", None) or cause
    text = str(cause) or type(cause).__name__
    return text.rpartition(">: ")[2]


def _pause(tries: int, retry_after: str | None) -> float:
    """Seconds before the next try."""
    if retry_after is not None and retry_after.isascii() and retry_after.isdigit():
        return min(float(retry_after), LONGEST_PAUSE)
    return FIRST_PAUSE * float(2 ** (tries - 1))
