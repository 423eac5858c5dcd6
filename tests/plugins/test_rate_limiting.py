"""rate-limiting: windows, numbers, whose requests count together, and what clients are told."""

from calendar import timegm
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from kong_gevent.errors import GatewayError, SchemaViolation
from kong_gevent.pdk.testing import InMemoryGateway, LocalCounters, Run
from kong_gevent.plugins.rate_limiting import PERIODS, RateLimiting, current_windows

Make = Callable[..., InMemoryGateway]
PI_DAY = timegm((2026, 3, 14, 15, 9, 26))


class FrozenCounters(LocalCounters):
    """Counters that never expire, for tests that live in the past."""

    def value(self, key: Any) -> int:
        return self.values.get(key, (0, 0.0))[0]


@pytest.fixture
def limited(plugin: Make) -> Make:
    """A gateway whose clock stands still at 2026-03-14T15:09:26Z."""

    def make(**config: Any) -> InMemoryGateway:
        made = plugin()
        made.kit.counters = FrozenCounters()
        set_clock(made, PI_DAY)
        on = config.pop("on", "global")
        return made.use("rate-limiting", on=on, **config)

    return make


def set_clock(made: InMemoryGateway, now: float) -> None:
    instance = made.plugins["rate-limiting"]
    assert isinstance(instance, RateLimiting)
    instance.clock = lambda: now


def told(run: Run) -> dict[str, str]:
    return {name: value for name, value in run.response.headers.fields if "RateLimit" in name or name == "Retry-After"}


class TestWindows:
    def test_the_last_day_of_a_long_month_is_beyond_the_nominal_length(self) -> None:
        last = int(datetime(2026, 1, 31, 6, tzinfo=UTC).timestamp())
        window = current_windows(last)["month"]
        assert (window.reset, window.end - last) == (1, 18 * 3600)

    @pytest.mark.parametrize(
        ("period", "start", "reset"),
        [
            ("second", 1773500966000, 1),
            ("minute", 1773500940000, 34),
            ("hour", 1773500400000, 3034),
            ("day", 1773446400000, 31834),
            ("month", 1772323200000, 1414234),
            ("year", 1767225600000, 25260634),
        ],
    )
    def test_they_start_on_the_calendar(self, period: str, start: int, reset: int) -> None:
        window = current_windows(PI_DAY)[period]
        assert window.key == f":{start}:{period}"
        assert window.reset == reset

    def test_reset_is_never_below_one_although_months_may_be_longer_than_they_nominally_are(self) -> None:
        assert current_windows(timegm((2026, 1, 31, 6, 0, 0)))["month"].reset == 1

    @pytest.mark.parametrize("month", range(1, 13))
    def test_months_end_where_the_next_begins(self, month: int) -> None:
        last = timegm((2026 + month // 12, month % 12 + 1, 1, 0, 0, 0)) - 1
        before, after = current_windows(last)["month"], current_windows(last + 1)["month"]
        assert before.end == last + 1
        assert before.key != after.key

    @pytest.mark.parametrize("year", [2024, 2026])
    def test_years_end_where_the_next_begins(self, year: int) -> None:
        last = timegm((year + 1, 1, 1, 0, 0, 0)) - 1
        assert current_windows(last)["year"].end == last + 1
        assert current_windows(last)["year"].key == f":{timegm((year, 1, 1, 0, 0, 0)) * 1000}:year"

    @pytest.mark.parametrize("period", ["second", "minute", "hour", "day"])
    def test_shorter_ones_have_their_nominal_length(self, period: str) -> None:
        window = current_windows(PI_DAY)[period]
        start = int(window.key.split(":")[1]) // 1000
        assert window.end - start == PERIODS[period]
        assert datetime.fromtimestamp(start, UTC).microsecond == 0


def test_two_windows_are_counted_and_told(limited: Make) -> None:
    made = limited(minute=2, hour=100)
    first, second, third, fourth = (made.get() for _ in range(4))
    common = {"X-RateLimit-Limit-Minute": "2", "X-RateLimit-Limit-Hour": "100", "RateLimit-Limit": "2"}
    assert [run.status for run in (first, second, third, fourth)] == [200, 200, 429, 429]
    assert told(first) == {
        **common,
        "X-RateLimit-Remaining-Minute": "1",
        "X-RateLimit-Remaining-Hour": "99",
        "RateLimit-Remaining": "1",
        "RateLimit-Reset": "34",
    }
    empty = {
        **common,
        "X-RateLimit-Remaining-Minute": "0",
        "X-RateLimit-Remaining-Hour": "98",
        "RateLimit-Remaining": "0",
        "RateLimit-Reset": "34",
    }
    assert told(second) == empty
    assert told(third) == told(fourth) == {**empty, "Retry-After": "34"}


def test_refusals_have_kongs_body_and_do_not_reach_the_upstream(limited: Make) -> None:
    made = limited(minute=1)
    made.get()
    refused = made.get()
    assert refused.upstreams == []
    assert refused.response.json()["message"] == "API rate limit exceeded"
    assert refused.response.json()["request_id"] == refused.response.headers["X-Kong-Request-Id"]


def test_of_equally_tight_windows_the_longest_is_told(limited: Make) -> None:
    run = limited(second=5, minute=5).get()
    assert (run.response.headers["RateLimit-Remaining"], run.response.headers["RateLimit-Reset"]) == ("4", "34")


def test_of_several_full_windows_the_longest_says_when_to_come_again(limited: Make) -> None:
    made = limited(second=1, hour=1)
    made.get()
    run = made.get()
    assert run.response.headers["Retry-After"] == "3034"
    assert run.response.headers["X-RateLimit-Remaining-Second"] == "0"


def test_a_new_window_starts_at_zero(limited: Make) -> None:
    made = limited(minute=1)
    assert [made.get().status for _ in range(2)] == [200, 429]
    set_clock(made, PI_DAY + 34)
    run = made.get()
    assert (run.status, run.response.headers["RateLimit-Reset"]) == (200, "60")


def test_refused_requests_count_in_no_window(limited: Make) -> None:
    made = limited(second=1, minute=3)
    assert [made.get().status for _ in range(5)] == [200, 429, 429, 429, 429]
    set_clock(made, PI_DAY + 1)
    assert made.get().response.headers["X-RateLimit-Remaining-Minute"] == "1"


def test_limits_that_are_no_whole_numbers_are_told_so(limited: Make) -> None:
    made = limited(minute=1.5)
    runs = [made.get() for _ in range(3)]
    assert [run.status for run in runs] == [200, 200, 429]
    assert told(runs[0])["X-RateLimit-Limit-Minute"] == "1.5"
    assert [told(run)["X-RateLimit-Remaining-Minute"] for run in runs] == ["0.5", "0", "0"]


def test_headers_can_be_hidden(limited: Make) -> None:
    made = limited(minute=1, hide_client_headers=True)
    assert [(run.status, told(run)) for run in (made.get(), made.get())] == [(200, {}), (429, {})]


def test_the_refusal_can_be_worded(limited: Make) -> None:
    made = limited(minute=1, error_code=418, error_message="slow down")
    made.get()
    refused = made.get()
    assert (refused.status, refused.response.json()["message"]) == (418, "slow down")


def test_a_refusal_with_a_status_of_success_is_an_error(limited: Make) -> None:
    made = limited(minute=1, error_code=200)
    made.get()
    assert made.get().status == 500


def test_headers_stay_when_a_later_plugin_answers(limited: Make) -> None:
    run = limited(minute=5).use("request-termination").get()
    assert (run.status, run.response.headers["RateLimit-Remaining"]) == (503, "4")


def test_the_upstreams_own_fields_of_that_name_go(limited: Make) -> None:
    from kong_gevent.pdk.testing import respond

    made = limited(minute=5)
    made.upstream.respond = respond(headers={"RateLimit-Limit": "1000", "x_ratelimit_limit_minute": "7"})
    run = made.get()
    assert run.response.headers.all("RateLimit-Limit") == ["5"]
    assert "x_ratelimit_limit_minute" not in run.response.headers


class TestWhoseRequests:
    def left(self, run: Run) -> str:
        return run.response.headers["RateLimit-Remaining"]

    def test_consumers_are_told_apart(self, limited: Make) -> None:
        made = limited(minute=5).use("key-auth")
        made.consumer("ada", "k1", "k2")
        made.consumer("bob", "k3")
        assert [self.left(made.get("/", headers={"apikey": key})) for key in ("k1", "k2", "k3")] == ["4", "3", "4"]

    def test_credentials_are_told_apart(self, limited: Make) -> None:
        made = limited(minute=5, limit_by="credential").use("key-auth")
        made.consumer("ada", "k1", "k2")
        assert [self.left(made.get("/", headers={"apikey": key})) for key in ("k1", "k2", "k1")] == ["4", "4", "3"]

    @pytest.mark.parametrize("limit_by", ["consumer", "credential", "ip", "header", "path", "service"])
    def test_unknown_ones_are_told_apart_by_address(self, limited: Make, limit_by: str) -> None:
        made = limited(minute=5, limit_by=limit_by, header_name="x-tenant", path="/elsewhere")
        if limit_by == "service":
            made.update("routes", made.route["id"], service=None)
        seen = []
        for ip in ("10.0.0.1", "10.0.0.1", "10.0.0.2"):
            made.peer = (ip, 1)
            seen.append(self.left(made.get()))
        assert seen == ["4", "3", "4"]

    def test_values_of_a_header_are_told_apart(self, limited: Make) -> None:
        made = limited(minute=5, limit_by="header", header_name="X-Tenant")
        assert [self.left(made.get("/", headers={"x-tenant": name})) for name in "aab"] == ["4", "3", "4"]

    def test_long_values_of_a_header_are_told_apart_but_not_kept(self, limited: Make) -> None:
        made = limited(minute=5, limit_by="header", header_name="X-Tenant")
        names = ["\xfc" * 2000 + last for last in "aab"]
        assert [self.left(made.get("/", headers={"x-tenant": name})) for name in names] == ["4", "3", "4"]
        counters = made.kit.counters
        assert isinstance(counters, FrozenCounters)
        assert max(len("".join(owner)) for owner, _ in counters.values) < 300

    def test_one_path_is_counted_for_everybody(self, limited: Make) -> None:
        made = limited(minute=5, limit_by="path", path="/shared")
        made.peer = ("10.0.0.1", 1)
        assert [self.left(made.get(path)) for path in ("/shared", "/shared/x", "/shared?a=1")] == ["4", "4", "3"]
        made.peer = ("10.0.0.2", 1)
        assert [self.left(made.get(path)) for path in ("/shared", "/shared/x")] == ["2", "4"]

    def test_a_service_is_counted_for_everybody(self, limited: Make) -> None:
        made = limited(minute=5, limit_by="service")
        made.peer = ("10.0.0.1", 1)
        made.get()
        made.peer = ("10.0.0.2", 1)
        assert self.left(made.get()) == "3"


class TestScopes:
    def two_routes(self, made: InMemoryGateway) -> None:
        made.insert("routes", paths=["/other"], service={"id": made.service["id"]})

    @pytest.mark.parametrize(("on", "left"), [("global", "3"), ("service", "3")])
    def test_routes_are_counted_together(self, limited: Make, on: str, left: str) -> None:
        made = limited(minute=5, on=on)
        self.two_routes(made)
        made.get("/")
        assert made.get("/other").response.headers["RateLimit-Remaining"] == left

    def test_a_route_has_its_own_count(self, limited: Make) -> None:
        made = limited(minute=5, on="route")
        self.two_routes(made)
        made.get("/")
        assert "RateLimit-Remaining" not in made.get("/other").response.headers

    def test_configurations_of_different_scopes_never_share(self, limited: Make) -> None:
        made = limited(minute=5)
        other = made.insert("routes", paths=["/other"], service={"id": made.service["id"]})
        made.use("rate-limiting", on={"route": other}, minute=5)
        made.get("/")
        assert made.get("/other").response.headers["RateLimit-Remaining"] == "4"

    def test_a_consumers_own_limit_comes_before_that_of_the_route(self, limited: Make) -> None:
        made = limited(minute=5, on="route").use("key-auth")
        ada = made.consumer("ada", "k1")
        made.use("rate-limiting", on={"consumer": ada}, minute=50)
        assert made.get("/", headers={"apikey": "k1"}).response.headers["RateLimit-Limit"] == "50"
        made.use("rate-limiting", on={"consumer": ada, "route": made.route}, minute=500)
        assert made.get("/", headers={"apikey": "k1"}).response.headers["RateLimit-Limit"] == "500"


class TestFailure:
    class Broken(LocalCounters):
        def consume(self, owner: Any, windows: Any) -> tuple[bool, list[int]]:
            raise GatewayError("the counters are gone")

    def broken(self, plugin: Make, **config: Any) -> InMemoryGateway:
        made = plugin()
        made.kit.counters = self.Broken()
        return made.use("rate-limiting", **config)

    def test_requests_pass_without_headers_when_it_is_tolerated(self, plugin: Make) -> None:
        run = self.broken(plugin, minute=1).get()
        assert (run.status, told(run)) == (200, {})

    def test_requests_end_with_an_error_otherwise(self, plugin: Make) -> None:
        run = self.broken(plugin, minute=1, fault_tolerant=False).get()
        assert (run.status, run.response.json()["message"]) == (500, "An unexpected error occurred")


class TestSettings:
    @pytest.mark.parametrize(
        ("config", "fields"),
        [
            (
                {},
                {
                    "@entity": [
                        "at least one of these fields must be non-empty: 'config.second', 'config.minute', "
                        "'config.hour', 'config.day', 'config.month', 'config.year'"
                    ]
                },
            ),
            (
                {"day": 5, "minute": 7},
                {"config": "The limit for day(5.0) cannot be lower than the limit for minute(7.0)"},
            ),
            ({"second": 0}, {"config": {"second": "value must be greater than 0"}}),
            ({"second": "5"}, {"config": {"second": "expected a number"}}),
            (
                {"second": 1, "limit_by": "colour"},
                {"config": {"limit_by": "expected one of: consumer, credential, ip, service, header, path"}},
            ),
            ({"second": 1, "policy": "magic"}, {"config": {"policy": "expected one of: local, cluster, redis"}}),
            ({"second": 1, "sync_rate": 1}, {"config": "sync_rate can only be used with the redis policy"}),
            (
                {"second": 1, "policy": "redis", "redis": {"host": "r.test"}, "sync_rate": 0.01},
                {"config": "sync_rate must be greater than 0.02, or -1 to disable"},
            ),
            (
                {"second": 1, "policy": "cluster", "sync_rate": 0.5},
                {"config": "sync_rate can only be used with the redis policy"},
            ),
            ({"second": 1, "redis": {"host": "r:1"}}, {"config": {"redis": {"host": "must not have a port"}}}),
            (
                {"second": 1, "redis": {"port": 6380}, "redis_port": 1},
                {
                    "config": {
                        "redis_port": "both deprecated and new field are used but their values mismatch: "
                        "redis_port = 1 vs redis.port = 6380"
                    }
                },
            ),
        ],
    )
    def test_bad_ones_are_refused(self, plugin: Make, config: dict[str, Any], fields: dict[str, Any]) -> None:
        with pytest.raises(SchemaViolation) as caught:
            plugin("rate-limiting", **config)
        assert caught.value.fields == fields

    @pytest.mark.parametrize(
        ("config", "field"),
        [({"limit_by": "header"}, "header_name"), ({"limit_by": "path"}, "path")],
    )
    def test_a_way_of_counting_needs_its_name(self, plugin: Make, config: dict[str, Any], field: str) -> None:
        with pytest.raises(SchemaViolation) as caught:
            plugin("rate-limiting", minute=1, **config)
        assert caught.value.fields == {
            "config": {field: "required field missing"},
            "@entity": ["failed conditional validation given value of field 'config.limit_by'"],
        }

    def test_old_names_are_taken_and_shown(self, plugin: Make) -> None:
        made = plugin()
        entity = made.insert("plugins", name="rate-limiting", config={"minute": 1, "redis_host": "r.test"})
        assert entity["config"]["redis"]["host"] == entity["config"]["redis_host"] == "r.test"
        assert entity["config"]["redis_port"] == 6379
