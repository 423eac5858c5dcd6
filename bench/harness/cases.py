"""The cases wrk measures: what is configured, what is asked for, and the bars for CPU time as a multiple of nginx's.

Each case is measured against the same nginx reverse proxy with the same requests in the same run; nginx has no notion
of consumers, limits or routes, so it always does the plain job, but for what its own cache answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from harness.gateway import Addresses, Admin
from harness.load import Request
from harness.plugins import ITEMS, add_consumers, add_service, request_for

ROUTE_PATH = "/api/r{index}"
PLAIN_PATH = f"/api{ITEMS}"


@dataclass(frozen=True)
class Bar:
    """Upper limits of a ratio: `must` decides, `aim` is wished for; None where there is no bar."""

    must: float | None = None
    aim: float | None = None
    added: bool = False  # the bar is for what the case adds to the same gateway without `settings`


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
        return bool(self.routes or self.settings or self.request.tls) or self.configure is not one_route


def one_route(admin: Admin, behind: Addresses) -> None:
    """One service, one route without conditions but a path prefix, nothing else."""
    add_service(admin, behind, "plain", "/api")


def _with_plugins(*plugins: str) -> Callable[[Admin, Addresses], None]:
    """`one_route` with plugins on its service, and the consumers that they know."""

    def configure(admin: Admin, behind: Addresses) -> None:
        add_service(admin, behind, "plain", "/api", plugins)
        add_consumers(admin, plugins)

    return configure


def _terminated(admin: Admin, behind: Addresses) -> None:
    one_route(admin, behind)
    admin.post("/routes/plain/plugins", name="request-termination", config={"status_code": 503})


FIRST_FIVE = ("key-auth", "rate-limiting", "cors", "correlation-id", "ip-restriction")
FIVE = ("key-auth", "rate-limiting", "cors", "correlation-id", "prometheus")
TEN = (*FIVE, "acl", "request-transformer", "response-transformer", "ip-restriction", "request-size-limiting")

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
        request_for(PLAIN_PATH, ("key-auth",)),
        Bar(2.3, 1.8),
        _with_plugins("key-auth"),
        kong=3.1,
    ),
    Case(
        "rate-limiting",
        "key-auth + rate-limiting (minute and hour, local)",
        request_for(PLAIN_PATH, ("key-auth", "rate-limiting")),
        Bar(2.7, 2.0),
        _with_plugins("key-auth", "rate-limiting"),
        kong=8,
    ),
    Case(
        "five-plugins",
        "five plugins: those + cors, correlation-id, ip-restriction",
        request_for(PLAIN_PATH, FIRST_FIVE),
        Bar(3.2, 2.4),
        _with_plugins(*FIRST_FIVE),
        kong=10,
    ),
    Case(
        "five-measured",
        "five plugins, all metrics: those + cors, correlation-id, prometheus",
        request_for(PLAIN_PATH, FIVE),
        Bar(3.2, 2.4),
        _with_plugins(*FIVE),
        kong=10,
    ),
    Case(
        "ten-plugins",
        "ten plugins: those + acl, both transformers, ip-restriction, request-size-limiting",
        request_for(PLAIN_PATH, TEN),
        Bar(4.2, 3.0),
        _with_plugins(*TEN),
        kong=12,
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
    Case("tls", "plain proxy, clients over TLS", Request(PLAIN_PATH, tls=True), Bar(2.5, 1.8), one_route),
    Case(
        "cached",
        "proxy-cache hit, 1 KiB, against nginx's proxy_cache",
        Request(f"/api/cached{ITEMS}"),
        Bar(2.0, 1.2),
        _with_plugins("proxy-cache"),
        proxied=False,
        cached=True,
    ),
)
