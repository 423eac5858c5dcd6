"""The cases wrk measures: what is configured, what is asked for, and the bars for CPU time as a multiple of nginx's.

Each case is measured against the same nginx reverse proxy with the same requests in the same run; nginx has no notion
of consumers, limits or routes, so it always does the plain job.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from harness.gateway import Addresses, Admin, in_parallel
from harness.load import Request

CONSUMERS = 1000
ROUTE_PATH = "/api/r{index}"
KEY = "consumer-{index}-d1c5a7e09b3f4826"
PLAIN_PATH = "/api/items/42?fields=id,name"
RATE_LIMITS = {"minute": 100_000_000, "hour": 10_000_000_000, "policy": "local"}


@dataclass(frozen=True)
class Bar:
    """Upper limits of a ratio: `must` decides, `aim` is wished for; None where there is no bar."""

    must: float | None = None
    aim: float | None = None
    added: bool = False  # the bar is for what the case adds to the same gateway without plugins and `settings`


@dataclass(frozen=True)
class Case:
    """One row. `configure` uses the Admin API; `routes` counts routes seeded into the store before the start."""

    name: str
    title: str
    request: Request
    bar: Bar = field(default_factory=Bar)
    configure: Callable[[Admin, Addresses], None] | None = None
    routes: int = 0
    settings: Mapping[str, str] = field(default_factory=dict)
    kong: float | None = None  # ratio of Kong 3.9.1, measured once in the same way
    proxied: bool = True  # every request reaches the upstream (checked); otherwise none does
    cached: bool = False  # nginx answers from its cache as well

    @property
    def needs_admin(self) -> bool:
        """Whether the case can only be set up on our own gateway."""
        return bool(self.routes or self.settings) or self.configure is not one_route


def one_route(admin: Admin, behind: Addresses) -> None:
    """One service, one route without conditions but a path prefix, nothing else."""
    admin.post("/services", name="plain", url=f"http://127.0.0.1:{behind.upstream}")
    admin.post("/services/plain/routes", name="plain", paths=["/api"])


def _with_plugins(*plugins: tuple[str, Mapping[str, object]]) -> Callable[[Admin, Addresses], None]:
    """`one_route` with plugins on its service; consumers and their keys too when key-auth is among them."""

    def configure(admin: Admin, behind: Addresses) -> None:
        one_route(admin, behind)
        for name, config in plugins:
            admin.post("/services/plain/plugins", name=name, config=dict(config))
        if any(name == "key-auth" for name, _ in plugins):
            add_consumers(admin)

    return configure


def add_consumers(admin: Admin, count: int = CONSUMERS, jobs: int = 4) -> None:
    """Create consumers with a key each."""

    def work(job: int) -> None:
        for index in range(job, count, jobs):
            admin_of_job = admins[job]
            admin_of_job.post("/consumers", username=f"consumer-{index}")
            admin_of_job.post(f"/consumers/consumer-{index}/key-auth", key=KEY.format(index=index))

    admins = [admin.another() for _ in range(jobs)]
    in_parallel(jobs, work)
    for each in admins:
        each.close()


def _terminated(admin: Admin, behind: Addresses) -> None:
    one_route(admin, behind)
    admin.post("/routes/plain/plugins", name="request-termination", config={"status_code": 503})


def _added(name: str, title: str, must: float, aim: float, *headers: str, **config: object) -> Case:
    """What one plugin adds to a plain request; the bars are in multiples of nginx's 18 µs."""
    return Case(
        f"added-{name}",
        f"{title}: added to plain",
        Request(PLAIN_PATH, headers),
        Bar(round(must / 18, 2), round(aim / 18, 2), added=True),
        _with_plugins((name, config)),
    )


def _transformer(**more: object) -> dict[str, object]:
    """A rule of each kind for headers."""
    return {
        "remove": {"headers": ["x-a"]},
        "rename": {"headers": ["x-b:x-d"]},
        "replace": {"headers": ["x-c:1"]},
        "add": {"headers": ["x-e:1"], **more},
        "append": {"headers": ["x-f:2"]},
    }


TEN_RANGES = ["127.0.0.0/8", *[f"10.{number}.0.0/16" for number in range(9)]]
KEY_AUTH: tuple[str, Mapping[str, object]] = ("key-auth", {})
RATE_LIMITING: tuple[str, Mapping[str, object]] = ("rate-limiting", RATE_LIMITS)
CORS: tuple[str, Mapping[str, object]] = ("cors", {"origins": ["https://bench.example"], "credentials": True})
CORRELATION_ID: tuple[str, Mapping[str, object]] = ("correlation-id", {"echo_downstream": True})
IP_RESTRICTION: tuple[str, Mapping[str, object]] = ("ip-restriction", {"allow": ["127.0.0.0/8", "10.0.0.0/8"]})

WITH_KEY = (f"apikey: {KEY}",)

CASES = (
    Case("plain", "plain proxy, 1 route", Request(PLAIN_PATH), Bar(2.0, 1.5), one_route, kong=2.0),
    Case(
        "header",
        "plain proxy, one header differs in every request",
        Request(PLAIN_PATH, ("X-Trace: {hex}{hex}",)),
        Bar(),  # shows what remembered header sections are worth; no goal of its own
        one_route,
    ),
    Case(
        "key-auth",
        "key-auth, 1,000 consumers at random",
        Request(PLAIN_PATH, WITH_KEY, CONSUMERS),
        Bar(2.3, 1.8),
        _with_plugins(KEY_AUTH),
        kong=3.1,
    ),
    Case(
        "rate-limiting",
        "key-auth + rate-limiting (minute and hour, local)",
        Request(PLAIN_PATH, WITH_KEY, CONSUMERS),
        Bar(2.7, 2.0),
        _with_plugins(KEY_AUTH, RATE_LIMITING),
        kong=8,
    ),
    Case(
        "five-plugins",
        "five plugins: those + cors, correlation-id, ip-restriction",
        Request(PLAIN_PATH, (*WITH_KEY, "Origin: https://bench.example"), CONSUMERS),
        Bar(3.2, 2.4),
        _with_plugins(KEY_AUTH, RATE_LIMITING, CORS, CORRELATION_ID, IP_RESTRICTION),
        kong=10,
    ),
    Case(
        "routes-10k",
        "10,000 routes at random",
        Request(f"{ROUTE_PATH}/items?page=2", count=10_000),
        Bar(2.6, 1.8),
        routes=10_000,
        kong=2.6,
    ),
    Case(
        "routes-100k",
        "100,000 routes at random",
        Request(f"{ROUTE_PATH}/items?page=2", count=100_000),
        Bar(2.8, 2.0),
        routes=100_000,
    ),
    Case("no-route", "no route (404)", Request("/nowhere", status=404), Bar(1.5, 1.0), one_route, proxied=False),
    Case(
        "termination",
        "request-termination (503)",
        Request(PLAIN_PATH, status=503),
        Bar(1.5, 1.0),
        _terminated,
        proxied=False,
    ),
    Case(
        "access-log",
        "access log (combined) on: added to plain",
        Request(PLAIN_PATH),
        Bar(0.2, 0.1, added=True),
        one_route,
        settings={"proxy_access_log": "logs/access.log"},
    ),
    Case("100k", "100 KiB answer", Request("/api/files/100k", length=100 << 10), Bar(1.3, 0.9), one_route, kong=1.3),
    Case("1m", "1 MiB answer", Request("/api/files/1m", length=1 << 20), Bar(1.0, 0.4), one_route, kong=1.2),
    Case(
        "new-connection",
        "new connection for each request",
        Request(PLAIN_PATH, ("Connection: close",)),
        Bar(3.0, 2.0),
        one_route,
    ),
    _added(
        "cors", "cors", 3, 1.5, "Origin: https://bench.example", origins=["https://bench.example"], credentials=True
    ),
    _added("correlation-id", "correlation-id", 3, 1.5),
    _added("ip-restriction", "ip-restriction, 10 ranges", 3, 1.5, allow=TEN_RANGES),
    _added("request-size-limiting", "request-size-limiting", 3, 1.5),
    _added("bot-detection", "bot-detection", 3, 1.5, "User-Agent: curl/8.5.0"),
    _added("rate-limiting", "rate-limiting, two windows, local", 8, 4, **RATE_LIMITS),
    _added(
        "request-transformer",
        "request-transformer, 5 headers, 1 argument",
        10,
        5,
        *("X-A: 1", "X-B: 2", "X-C: 3"),
        **_transformer(querystring=["page:1"]),
    ),
    _added("response-transformer", "response-transformer, 5 headers", 10, 5, **_transformer()),
    Case(
        "cached",
        "proxy-cache hit, 1 KiB, against nginx's proxy_cache",
        Request("/api/cached/items/42?fields=id,name"),
        Bar(2.0, 1.2),
        _with_plugins(("proxy-cache", {"strategy": "memory", "cache_ttl": 3600})),
        proxied=False,
        cached=True,
    ),
)
