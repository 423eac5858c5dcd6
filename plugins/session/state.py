"""One browser's session: what it holds, how long it lasts, and where it is kept."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from kong_gevent.pdk import Conf, Kit
from kong_gevent.plugins.session.sealing import Seal

ROLL_AFTER = 0.75
"""Share of the rolling time after which a session gets a new identifier."""
TOUCH_AFTER = 60.0
"""Seconds of use after which the time of the last use is noted anew, if the idling time allows so much."""


@dataclass(frozen=True, slots=True)
class State:
    """A session. Times in s since 1970: when it was made, last rolled, last noted as used.

    `data`: id of the consumer, id of the credential, groups; `remembered`: it came from, or has, a remember cookie.
    """

    id: str
    subject: str
    created: float
    rolled: float
    used: float
    data: tuple[str, str, tuple[str, ...]]
    audience: str = "default"
    remembered: bool = field(default=False)

    @classmethod
    def begin(cls, subject: str, audience: str, data: tuple[str, str, tuple[str, ...]], now: float) -> State:
        """A new session."""
        return cls(secrets.token_urlsafe(32), subject, now, now, now, data, audience)

    @classmethod
    def from_json(cls, value: Any) -> State | None:
        """The session that was stored as JSON; None when it is none."""
        try:
            consumer, credential, groups = value["data"]
            return cls(**{**value, "data": (consumer, credential, tuple(groups))})
        except (KeyError, TypeError, ValueError):
            return None

    def as_json(self) -> dict[str, Any]:
        """What `from_json` takes."""
        return asdict(self)

    def roll(self, now: float) -> State:
        """The same session under a new identifier."""
        return replace(self, id=secrets.token_urlsafe(32), rolled=now, used=now)

    def touch(self, now: float) -> State:
        """The same session, used now."""
        return replace(self, used=now)


@dataclass(frozen=True, slots=True)
class Times:
    """How long sessions last, in s; 0: no limit of this kind."""

    idling: float
    rolling: float
    absolute: float

    def left(self, state: State, now: float) -> dict[str, int]:
        """Seconds left of each kind, and of the session as a whole (`timeout`)."""
        found = {
            "idling-timeout": (self.idling, state.used),
            "rolling-timeout": (self.rolling, state.rolled),
            "absolute-timeout": (self.absolute, state.created),
        }
        shown = {name: int(since + limit - now) for name, (limit, since) in found.items() if limit}
        return {"timeout": min(shown.values(), default=0), **{name: shown.get(name, 0) for name in found}}

    def over(self, state: State, now: float) -> bool:
        """Whether the session has ended."""
        return any(
            limit and now - since > limit
            for limit, since in (
                (self.idling, state.used),
                (self.rolling, state.rolled),
                (self.absolute, state.created),
            )
        )

    def rolls(self, state: State, now: float) -> bool:
        """Whether the session is due for a new identifier."""
        return bool(self.rolling) and now - state.rolled > self.rolling * ROLL_AFTER

    def touches(self, state: State, now: float) -> bool:
        """Whether its last use has to be noted."""
        return bool(self.idling) and now - state.used > min(TOUCH_AFTER, self.idling / 2)


class Storage(Protocol):
    """Where sessions are kept: `save` returns the cookie's value, `load` takes it."""

    def save(self, state: State, seconds: float) -> str:
        """Keep a session for so long."""

    def load(self, value: str) -> State | None:
        """The session of a cookie's value."""

    def forget(self, state: State, after: float) -> None:
        """Keep a session for `after` s only."""


class CookieStorage:
    """The session is in the cookie itself, sealed."""

    def __init__(self, seal: Seal) -> None:
        self._seal = seal

    def save(self, state: State, seconds: float) -> str:
        """See `Storage.save`."""
        return self._seal.close(state.as_json())

    def load(self, value: str) -> State | None:
        """See `Storage.load`."""
        return State.from_json(self._seal.open(value))

    def forget(self, state: State, after: float) -> None:
        """Nothing to forget: the cookie is taken away."""


class TableStorage:
    """Sessions are entities, shared by all nodes; the cookie has the identifier, sealed."""

    KIND = "sessions"

    def __init__(self, kit: Kit, seal: Seal, defer: Callable[[Callable[[], None]], None]) -> None:
        self._kit = kit
        self._seal = seal
        self._defer = defer

    def save(self, state: State, seconds: float) -> str:
        """See `Storage.save`; written behind the answer's back."""
        row = {
            "session_id": state.id,
            "expires": int(state.used + seconds),
            "data": self._seal.close(state.as_json()),
        }
        self._defer(lambda: self._put(state.id, row, seconds))
        return self._seal.close(state.id)

    def load(self, value: str) -> State | None:
        """See `Storage.load`. Raises LookupFailed when the datastore does not answer."""
        identifier = self._seal.open(value)
        if not isinstance(identifier, str):
            return None
        sessions = self._kit.entities(self.KIND)
        row = sessions.select_by("session_id", identifier, cached=True) or sessions.select_by("session_id", identifier)
        return State.from_json(self._seal.open(row["data"])) if row is not None and row["data"] else None

    def forget(self, state: State, after: float) -> None:
        """See `Storage.forget`."""
        self._defer(lambda: self._shorten(state.id, after))

    def _put(self, identifier: str, row: dict[str, Any], seconds: float) -> None:
        sessions = self._kit.entities(self.KIND)
        found = sessions.select_by("session_id", identifier)
        if found is None:
            sessions.insert(row, ttl=seconds)
        else:
            sessions.update(found["id"], row, ttl=seconds)

    def _shorten(self, identifier: str, after: float) -> None:
        sessions = self._kit.entities(self.KIND)
        found = sessions.select_by("session_id", identifier)
        if found is None:
            return
        if after > 0:
            sessions.update(found["id"], {}, ttl=after)
        else:
            sessions.delete(found["id"])


def times_of(conf: Conf, remembered: bool) -> Times:
    """How long the sessions of a configuration last."""
    if remembered:
        return Times(0, conf.remember_rolling_timeout or 0, conf.remember_absolute_timeout or 0)
    return Times(conf.idling_timeout or 0, conf.rolling_timeout or 0, conf.absolute_timeout or 0)
