"""session: after another plugin has recognised the client, a cookie does."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from email.utils import formatdate
from time import time
from typing import Any

from kong_gevent.pdk import Conf, Config, Context, Entity, Exit, Identity, Kit, Plugin, Record, field_text, fields
from kong_gevent.plugins.session.sealing import Seal
from kong_gevent.plugins.session.state import CookieStorage, State, Storage, TableStorage, Times, times_of

TOLD = ("id", "audience", "subject", "timeout", "idling-timeout", "rolling-timeout", "absolute-timeout")
BODY_METHODS = ("POST", "PUT", "PATCH", "DELETE")
GROUPS_HEADER = "X-Authenticated-Groups"
MAX_COOKIE = 4096
"""Characters of a cookie's value that are looked at; browsers keep no more."""
FOREVER = 10 * 365 * 86400.0
"""Seconds for which a session without any limit is kept."""
LONG_AGO = "Thu, 01 Jan 1970 00:00:01 GMT"


def _seconds(default: int, description: str) -> fields.Number:
    return fields.Number(load_default=default, metadata={"description": description})


def _told(what: str) -> fields.Set:
    return fields.Set(fields.Choice(*TOLD), metadata={"description": f"What {what} is told about the session."})


class SessionConfig(Config):
    """Settings of session."""

    secret = fields.String(
        required=False,
        load_default=secrets.token_urlsafe(33),
        referenceable=True,
        encrypted=True,
        metadata={"description": "What cookies are sealed with; random when it is not given. The same on all nodes."},
    )
    storage = fields.Choice(
        "cookie",
        "kong",
        load_default="cookie",
        metadata={"description": "Where sessions are kept: in the cookie itself, or in the datastore."},
    )
    audience = fields.String(
        load_default="default",
        metadata={"description": "What sessions are for; others do not count."},
    )
    idling_timeout = _seconds(900, "Seconds without use after which a session ends; 0: never.")
    rolling_timeout = _seconds(3600, "Seconds within which a session is renewed, or ends; 0: never.")
    absolute_timeout = _seconds(86400, "Seconds after which a session ends in any case; 0: never.")
    stale_ttl = _seconds(10, "Seconds for which a renewed session is still good under its old cookie.")
    cookie_name = fields.String(load_default="session", metadata={"description": "Name of the cookie."})
    cookie_path = fields.String(load_default="/", metadata={"description": "Path of the cookie."})
    cookie_domain = fields.String(metadata={"description": "Domain of the cookie; the host itself when not given."})
    cookie_same_site = fields.Choice(
        "Strict", "Lax", "None", "Default", load_default="Strict", metadata={"description": "`SameSite` of the cookie."}
    )
    cookie_http_only = fields.Boolean(
        required=False, load_default=True, metadata={"description": "Whether scripts cannot read the cookie."}
    )
    cookie_secure = fields.Boolean(
        required=False, load_default=True, metadata={"description": "Whether the cookie is for HTTPS only."}
    )
    remember = fields.Boolean(
        required=False, load_default=False, metadata={"description": "Whether a second cookie outlives the browser."}
    )
    remember_cookie_name = fields.String(
        load_default="remember", metadata={"description": "Name of the second cookie."}
    )
    remember_rolling_timeout = _seconds(604800, "As `rolling_timeout`, for the second cookie.")
    remember_absolute_timeout = _seconds(2592000, "As `absolute_timeout`, for the second cookie.")
    response_headers = _told("the client")
    request_headers = _told("the upstream")
    read_body_for_logout = fields.Boolean(
        required=False, load_default=False, metadata={"description": "Whether the body may ask for the session's end."}
    )
    logout_methods = fields.Set(
        fields.Choice("GET", "POST", "DELETE"),
        load_default=["POST", "DELETE"],
        metadata={"description": "Methods with which a request may end the session."},
    )
    logout_query_arg = fields.String(
        load_default="session_logout", metadata={"description": "Query argument that ends the session."}
    )
    logout_post_arg = fields.String(
        load_default="session_logout", metadata={"description": "Field of the body that ends the session."}
    )

    shorthand_fields = {
        "cookie_lifetime": fields.Shorthand(fields.Number(), lambda value: {"rolling_timeout": value}),
        "cookie_idletime": fields.Shorthand(fields.Number(), lambda value: {"idling_timeout": value or 0}),
        "cookie_renew": fields.Shorthand(fields.Number(), lambda value: {}),
        "cookie_discard": fields.Shorthand(fields.Number(), lambda value: {"stale_ttl": value}),
        "cookie_samesite": fields.Shorthand(
            fields.String(), lambda value: {"cookie_same_site": "Lax" if value == "off" else value}
        ),
        "cookie_httponly": fields.Shorthand(fields.Boolean(), lambda value: {"cookie_http_only": value}),
        "cookie_persistent": fields.Shorthand(fields.Boolean(), lambda value: {"remember": value}),
    }

    @staticmethod
    def custom_validator(config: dict[str, Any]) -> None:
        """A secret that is null is one that is not given: without any, everybody could make cookies."""
        if config["secret"] is None:
            config["secret"] = secrets.token_urlsafe(33)


class SessionRow(Record):
    """Schema of a session that is kept in the datastore."""

    id = fields.UUID(auto=True, metadata={"description": "Identifier of the row."})
    session_id = fields.String(
        required=True,
        unique=True,
        secret=True,
        metadata={"description": "Identifier of the session, which its cookie carries."},
    )
    expires = fields.Integer(metadata={"description": "When the session ends (epoch seconds)."})
    data = fields.String(secret=True, metadata={"description": "The session, sealed."})
    created_at = fields.AutoTimestamp(metadata={"description": "When the row was made (epoch seconds)."})


SESSIONS = Entity(
    "sessions",
    SessionRow(),
    endpoint_key="session_id",
    cache_key=("session_id",),
    ttl=True,
    exported=False,
)


class Session(Plugin):
    """Opens a session before other plugins ask who is there, and begins one after they have found out."""

    name = "session"
    priority = 1900
    config = SessionConfig
    forbidden_scopes = ("consumer",)
    protocols_allowed = "any"
    entities = (SESSIONS,)
    clock: Callable[[], float] = staticmethod(time)

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self._later = kit.queue("session", self._run, concurrency_limit=-1, max_retry_time=5)

    @staticmethod
    def _run(jobs: list[Callable[[], None]]) -> None:
        for job in jobs:
            job()

    def configure(self, conf: Conf) -> None:
        """Prepare the storages, and the cookies' attributes. Raises `ValueError` when there is no secret."""
        if not conf.secret:  # as where a reference leads to a variable that is empty
            raise ValueError("cookies that are sealed without a secret could be made by anybody")
        conf.main = Cookie(conf, conf.cookie_name or "session", times_of(conf, False), self._storage(conf, "session"))
        conf.second = None
        if conf.remember:
            name = conf.remember_cookie_name or "remember"
            conf.second = Cookie(conf, name, times_of(conf, True), self._storage(conf, "remember"), persistent=True)
        conf.methods = frozenset(conf.logout_methods or ())

    def _storage(self, conf: Conf, purpose: str) -> Storage:
        seal = Seal(conf.secret, purpose)
        return TableStorage(self.kit, seal, self._later.put) if conf.storage == "kong" else CookieStorage(seal)

    # --- before ------------------------------------------------------------------------------------------------------

    def access(self, ctx: Context, conf: Conf) -> Exit | None:
        """Recognise the client by its session, or end the session."""
        own = ctx.own(self)
        own.state, own.lines, own.cookies = None, [], cookies_of(ctx)
        now = self.clock()
        opened = conf.main.open(own.cookies, now)
        state: State | None = opened or self._remembered(conf, own, now)
        if state is None:
            return None
        if self._ends(ctx, conf):
            return ctx.exit(200, None, {"Set-Cookie": self._destroy(conf, own, state, now)})
        consumer = self.kit.load_consumer(state.data[0])
        if consumer is None:
            own.lines = self._destroy(conf, own, state, now)
            return None
        if opened is None:  # the browser was closed in between: go on as a session of its own
            state = State.begin(state.subject, state.audience, state.data, now)
            own.lines = self._save(conf, own, state, now)
        else:
            state = self._renewed(conf, own, state, now)
        own.state = state
        _, credential, groups = state.data
        self._tell_upstream(ctx, conf, state, now)
        if groups:
            ctx.authenticated_groups = list(groups)
            ctx.upstream.set_header(GROUPS_HEADER, field_text(", ".join(groups)))
        ctx.identify(Identity(consumer, {"id": credential, "consumer": {"id": consumer["id"]}}, credential))
        return None

    @staticmethod
    def _remembered(conf: Conf, own: Any, now: float) -> State | None:
        """What the request's second cookie stands for; looked up when it is needed, which is rarely."""
        second: Cookie | None = conf.second
        return second.open(own.cookies, now) if second is not None else None

    def _renewed(self, conf: Conf, own: Any, state: State, now: float) -> State:
        """The session as it goes on: under a new identifier, or noted as used, when it is time."""
        main: Cookie = conf.main
        if main.times.rolls(state, now):
            old, state = state, state.roll(now)
            own.lines = self._save(conf, own, state, now, old)
        elif main.times.touches(state, now):
            state = state.touch(now)
            own.lines = [main.note(state, now)]
        return state

    def _ends(self, ctx: Context, conf: Conf) -> bool:
        """Whether the request asks for the end of the session."""
        request = ctx.request
        method = request.method
        if method not in conf.methods:
            return False
        if conf.logout_query_arg and request.query_arg(conf.logout_query_arg) is not None:
            return True
        if conf.read_body_for_logout and conf.logout_post_arg and method in BODY_METHODS:
            return request.body_fields().get(conf.logout_post_arg) is not None
        return False

    def _destroy(self, conf: Conf, own: Any, state: State, now: float) -> list[str]:
        """End a session and what remembers it; the lines that take their cookies away. Raises `LookupFailed`."""
        conf.main.storage.end(state)
        remembered = self._remembered(conf, own, now)
        if remembered is not None:
            conf.second.storage.end(remembered)
        return [cookie.gone() for cookie in (conf.main, conf.second) if cookie is not None]

    def _tell_upstream(self, ctx: Context, conf: Conf, state: State, now: float) -> None:
        for name, value in told(conf.request_headers, conf.main.times, state, now):
            ctx.upstream.set_header(name, value)

    # --- after -------------------------------------------------------------------------------------------------------

    def header_filter(self, ctx: Context, conf: Conf) -> None:
        """Begin a session for a client that was recognised, and hand cookies over."""
        own = ctx.own(self)
        if not hasattr(own, "state"):  # the request ended before this plugin saw it
            own.state, own.lines, own.cookies = None, [], {}
        state: State | None = own.state
        lines: list[str] = own.lines
        now = self.clock()
        consumer, credential = ctx.consumer, ctx.credential
        if consumer is not None and credential is not None:
            groups = tuple(ctx.authenticated_groups or ())
            identifier = credential.get("id") or consumer["id"]
            if state is None or state.data[:2] != (consumer["id"], identifier):
                if state is not None:  # another one has come since: their session ends here
                    conf.main.storage.forget(state, 0)
                subject = consumer.get("username") or consumer.get("custom_id") or consumer["id"]
                state = State.begin(subject, conf.main.audience, (consumer["id"], identifier, groups), now)
                lines = self._save(conf, own, state, now)
        for line in lines:
            ctx.response.add_header("Set-Cookie", line)
        if state is not None:
            for name, value in told(conf.response_headers, conf.main.times, state, now):
                ctx.response.set_header(name, value)

    def _save(self, conf: Conf, own: Any, state: State, now: float, old: State | None = None) -> list[str]:
        """Keep a session, which goes on from `old`; the lines of its cookies, the session's own first."""
        main: Cookie = conf.main
        after = 0 if conf.remember else conf.stale_ttl or 0
        lines = [main.begin(state, now) if old is None else main.renew(state, old, now, after)]
        if conf.second is not None:
            lines.append(self._remember(conf, own, state, now))
        return lines

    def _remember(self, conf: Conf, own: Any, state: State, now: float) -> str:
        """The line of the second cookie: under a new identifier, while its absolute time goes on."""
        second: Cookie = conf.second
        before = self._remembered(conf, own, now)
        fresh = State.begin(state.subject, state.audience, state.data, now)
        if before is not None:
            second.storage.forget(before, conf.stale_ttl or 0)
            if before.data == state.data:
                fresh = before.roll(now)
        return second.begin(fresh, now)


class Cookie:
    """One of the two cookies: its name, for whom and how long its sessions are, where they are kept, its attributes."""

    def __init__(self, conf: Conf, name: str, times: Times, storage: Storage, persistent: bool = False) -> None:
        self.name = name
        self.audience: str = conf.audience or "default"
        self.times = times
        self.storage = storage
        self._persistent = persistent
        parts = [f"Path={conf.cookie_path or '/'}"]
        if conf.cookie_domain:
            parts.append(f"Domain={conf.cookie_domain}")
        if conf.cookie_same_site and conf.cookie_same_site != "Default":
            parts.append(f"SameSite={conf.cookie_same_site}")
        if conf.cookie_secure:
            parts.append("Secure")
        if conf.cookie_http_only:
            parts.append("HttpOnly")
        self._attributes = "; ".join(parts)

    def open(self, cookies: Mapping[str, str], now: float) -> State | None:
        """The session that a request's cookies stand for, unless it is over."""
        value = cookies.get(self.name)
        state = self.storage.load(value) if value and len(value) <= MAX_COOKIE else None
        if state is None or state.audience != self.audience or self.times.over(state, now):
            return None
        return state

    def begin(self, state: State, now: float) -> str:
        """Keep a new session and give the value of `Set-Cookie`."""
        return self._line(self.storage.save(state, self._left(state, now)), now)

    def note(self, state: State, now: float) -> str:
        """The same for a session that was used."""
        return self._line(self.storage.note(state, self._left(state, now)), now)

    def renew(self, state: State, old: State, now: float, after: float) -> str:
        """The same for a session that goes on from `old`, which is good for `after` s more."""
        return self._line(self.storage.renew(state, old, self._left(state, now), after), now)

    def _left(self, state: State, now: float) -> float:
        return self.times.left(state, now)["timeout"] or FOREVER

    def _line(self, value: str, now: float) -> str:
        text = f"{self.name}={value}; {self._attributes}"
        if not self._persistent:
            return text
        seconds = int(self.times.rolling or self.times.absolute or FOREVER)
        return f"{text}; Expires={formatdate(now + seconds, usegmt=True)}; Max-Age={seconds}"

    def gone(self) -> str:
        """The value of `Set-Cookie` that takes the cookie away."""
        return f"{self.name}=; {self._attributes}; Expires={LONG_AGO}; Max-Age=0"


def cookies_of(ctx: Context) -> dict[str, str]:
    """The request's cookies; of those with the same name the first counts."""
    found: dict[str, str] = {}
    for header in ctx.request.header_values("cookie"):
        for pair in header.split(";"):
            name, equals, value = pair.strip().partition("=")
            if equals:
                found.setdefault(name.strip(), value.strip().strip('"'))
    return found


def told(names: list[str] | None, times: Times, state: State, now: float) -> list[tuple[str, str | int]]:
    """Header fields that tell about a session."""
    if not names:
        return []
    values: dict[str, str | int] = {
        "id": state.id,
        "audience": state.audience,
        "subject": field_text(state.subject),
        **times.left(state, now),
    }
    return [(f"Session-{name.title()}", values[name]) for name in names]


__all__ = ["Session", "SessionConfig"]
