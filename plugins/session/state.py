"""One browser's session: what it holds, how long it lasts, and where it is kept."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from kong_gevent.pdk import Conf, DaoError, Entities, Kit
from kong_gevent.plugins.session.sealing import Seal

ROLL_AFTER = 0.75
"""Share of the rolling time after which a session gets a new identifier."""
TOUCH_AFTER = 60.0
"""Seconds of use after which the time of the last use is noted anew, if the idling time allows so much."""


@dataclass(frozen=True, slots=True)
class State:
    """A session. Times in s since 1970: when it was made, last rolled, last noted as used.

    `data`: id of the consumer, id of the credential, groups; `remembered`: it came from, or has, a remember cookie;
    `successors`: ids under which it goes on, of one that is in the datastore and was renewed.
    """

    id: str
    subject: str
    created: float
    rolled: float
    used: float
    data: tuple[str, str, tuple[str, ...]]
    audience: str = "default"
    remembered: bool = field(default=False)
    successors: tuple[str, ...] = ()

    @classmethod
    def begin(cls, subject: str, audience: str, data: tuple[str, str, tuple[str, ...]], now: float) -> State:
        """A new session."""
        return cls(secrets.token_urlsafe(32), subject, now, now, now, data, audience)

    @classmethod
    def from_json(cls, value: Any) -> State | None:
        """The session that was stored as JSON; None when it is none."""
        try:
            consumer, credential, groups = value["data"]
            successors = tuple(value.get("successors", ()))
            return cls(**{**value, "data": (consumer, credential, tuple(groups)), "successors": successors})
        except (KeyError, TypeError, ValueError):
            return None

    def as_json(self) -> dict[str, Any]:
        """What `from_json` takes."""
        value = asdict(self)
        if not self.successors:
            del value["successors"]
        return value

    def roll(self, now: float) -> State:
        """The same session under a new identifier."""
        return replace(self, id=secrets.token_urlsafe(32), rolled=now, used=now, successors=())

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
    """Where sessions are kept: `save`, `note` and `renew` return the cookie's value, `load` takes it."""

    def save(self, state: State, seconds: float) -> str:
        """Keep a new session for so long."""

    def note(self, state: State, seconds: float) -> str:
        """Keep what has changed of a session, unless it has been ended meanwhile."""

    def renew(self, state: State, old: State, seconds: float, after: float) -> str:
        """Keep a session under its new identifier, and under the old one for `after` s only.

        If `after` is more than 0, one that is ended under the old identifier is ended under the new one, too.
        """

    def load(self, value: str) -> State | None:
        """The session of a cookie's value."""

    def forget(self, state: State, after: float) -> None:
        """Keep a session for `after` s only."""

    def end(self, state: State) -> None:
        """End a session, and what it goes on as. When this returns, nobody has it any more.

        Raises `LookupFailed` when it may not have been ended.
        """


class CookieStorage:
    """The session is in the cookie itself, sealed."""

    def __init__(self, seal: Seal) -> None:
        self._seal = seal

    def save(self, state: State, seconds: float) -> str:
        """See `Storage.save`."""
        return self._seal.close(state.as_json())

    def note(self, state: State, seconds: float) -> str:
        """See `Storage.note`."""
        return self.save(state, seconds)

    def renew(self, state: State, old: State, seconds: float, after: float) -> str:
        """See `Storage.renew`."""
        return self.save(state, seconds)

    def load(self, value: str) -> State | None:
        """See `Storage.load`."""
        return State.from_json(self._seal.open(value))

    def forget(self, state: State, after: float) -> None:
        """Nothing to forget: the cookie is taken away."""

    def end(self, state: State) -> None:
        """Nothing to end but the cookie."""


class TableStorage:
    """Sessions are entities, shared by all nodes; the cookie has the identifier, sealed."""

    KIND = "sessions"

    def __init__(self, kit: Kit, seal: Seal, defer: Callable[[Callable[[], None]], None]) -> None:
        self._kit = kit
        self._seal = seal
        self._defer = defer

    def save(self, state: State, seconds: float) -> str:
        """See `Storage.save`; written behind the answer's back."""
        self._defer(lambda: self._put(state, seconds))
        return self._seal.close(state.id)

    def note(self, state: State, seconds: float) -> str:
        """See `Storage.note`; written behind the answer's back."""
        self._defer(lambda: self._change(state, seconds))
        return self._seal.close(state.id)

    def renew(self, state: State, old: State, seconds: float, after: float) -> str:
        """See `Storage.renew`; written behind the answer's back."""
        self._defer(lambda: self._replace(state, old, seconds, after))
        return self._seal.close(state.id)

    def load(self, value: str) -> State | None:
        """See `Storage.load`. Raises LookupFailed when the datastore does not answer."""
        identifier = self._seal.open(value)
        if not isinstance(identifier, str):
            return None
        return self._state(self._sessions.select_by("session_id", identifier, cached=True) or self._row(identifier))

    def forget(self, state: State, after: float) -> None:
        """See `Storage.forget`."""
        self._defer(lambda: self._shorten(self._row(state.id), after))

    def end(self, state: State) -> None:
        """See `Storage.end`."""
        identifiers = [state.id]
        while identifiers:
            row = self._row(identifiers.pop())
            if row is not None:
                found = self._state(row)
                identifiers += found.successors if found is not None else ()
                self._sessions.delete(row["id"])

    # --- rows --------------------------------------------------------------------------------------------------------

    @property
    def _sessions(self) -> Entities:
        return self._kit.entities(self.KIND)

    def _row(self, identifier: str) -> dict[str, Any] | None:
        return self._sessions.select_by("session_id", identifier)

    def _state(self, row: Mapping[str, Any] | None) -> State | None:
        return State.from_json(self._seal.open(row["data"])) if row is not None and row["data"] else None

    def _values(self, state: State, seconds: float) -> dict[str, Any]:
        data = self._seal.close(state.as_json())
        return {"session_id": state.id, "expires": int(state.used + seconds), "data": data}

    def _put(self, state: State, seconds: float) -> None:
        row = self._row(state.id)
        if row is None:
            self._sessions.insert(self._values(state, seconds), ttl=seconds)
        else:  # what was to be tried again had been done
            self._sessions.update(row["id"], self._values(state, seconds), ttl=seconds)

    def _change(self, state: State, seconds: float) -> None:
        row = self._row(state.id)
        found = self._state(row)
        if row is not None and found is not None and not found.successors:
            self._update(row, self._values(state, seconds), seconds)

    def _replace(self, state: State, old: State, seconds: float, after: float) -> None:
        row = self._row(old.id)
        if after <= 0:
            self._put(state, seconds)
            self._shorten(row, after)
            return
        if row is not None:
            self._put(state, seconds)
            found = self._state(row) or old
            linked = replace(found, successors=tuple(dict.fromkeys((*found.successors, state.id))))
            if self._update(row, {"data": self._seal.close(linked.as_json())}, after):
                return
        self._sessions.delete_by("session_id", state.id)  # it has been ended meanwhile

    def _shorten(self, row: Mapping[str, Any] | None, after: float) -> None:
        if row is not None and after > 0:
            self._update(row, {}, after)
        elif row is not None:
            self._sessions.delete(row["id"])

    def _update(self, row: Mapping[str, Any], values: Mapping[str, Any], seconds: float) -> bool:
        """Change a row; False when it is gone."""
        try:
            self._sessions.update(row["id"], values, ttl=seconds)
        except DaoError as error:
            if error.status != 404:
                raise
            return False
        return True


def times_of(conf: Conf, remembered: bool) -> Times:
    """How long the sessions of a configuration last."""
    if remembered:
        return Times(0, conf.remember_rolling_timeout or 0, conf.remember_absolute_timeout or 0)
    return Times(conf.idling_timeout or 0, conf.rolling_timeout or 0, conf.absolute_timeout or 0)
