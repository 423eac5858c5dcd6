"""response-ratelimiting: what the upstream says was used, and what follows from it."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from kong_gevent.errors import SchemaViolation, StoreUnavailable
from kong_gevent.pdk.testing import InMemoryGateway, Run, respond
from kong_gevent.pdk.windows import NO_ID, current_windows
from kong_gevent.plugins.response_ratelimiting import parse_use
from tests.servers.process import free_port
from tests.servers.redis import Redis

NO_PERIOD = "at least one of these fields must be non-empty: 'second', 'minute', 'hour', 'day', 'month', 'year'"
Make = Callable[..., InMemoryGateway]


@pytest.fixture
def limited(plugin: Make) -> Make:
    """A gateway whose upstream says that 1 of `a` was used."""

    def make(use: str = "a=1", limits: Any = None, **config: Any) -> InMemoryGateway:
        made = plugin("response-ratelimiting", limits=limits or {"a": {"year": 3}}, **config)
        made.upstream.respond = respond(200, "body", {"X-Kong-Limit": use})
        return made

    return make


def told(run: Run) -> dict[str, str]:
    return {name.lower(): value for name, value in run.response.headers.fields if "RateLimit" in name}


def statuses(made: InMemoryGateway, count: int, **request: Any) -> list[int]:
    return [made.get("/", **request).status for _ in range(count)]


class TestCounting:
    def test_use_is_counted_and_told(self, limited: Make) -> None:
        made = limited(limits={"a": {"month": 3, "year": 5}, "b": {"year": 9}})
        run = made.get()
        assert told(run) == {
            "x-ratelimit-limit-a-month": "3",
            "x-ratelimit-remaining-a-month": "2",
            "x-ratelimit-limit-a-year": "5",
            "x-ratelimit-remaining-a-year": "4",
            "x-ratelimit-remaining-a": "2",
            "x-ratelimit-limit-b-year": "9",
            "x-ratelimit-remaining-b-year": "9",
            "x-ratelimit-remaining-b": "9",
        }
        assert "X-Kong-Limit" not in run.response.headers
        assert told(made.get())["x-ratelimit-remaining-a-year"] == "3"

    def test_the_upstream_is_told_what_is_left(self, limited: Make) -> None:
        made = limited(limits={"a": {"month": 3, "year": 5}})
        assert [made.get().upstream.headers["X-RateLimit-Remaining-a"] for _ in range(3)] == ["3", "2", "1"]

    def test_an_answer_beyond_the_limit_is_withheld_and_not_counted(self, limited: Make) -> None:
        made = limited()
        assert statuses(made, 3) == [200] * 3
        run = made.get()
        assert (run.status, run.response.body, len(run.upstreams)) == (429, b"", 1)
        assert told(run)["x-ratelimit-remaining-a-year"] == "0"
        made.upstream.respond = respond(200, "free")
        assert made.get().status == 200
        made.upstream.respond = respond(200, "free", {"X-Kong-Limit": "a=0"})
        assert made.get().status == 200

    def test_use_may_go_beyond_what_is_left(self, limited: Make) -> None:
        made = limited("a=2")
        assert [told(made.get())["x-ratelimit-remaining-a-year"] for _ in range(2)] == ["1", "0"]
        assert statuses(made, 1) == [429]

    def test_requests_can_be_refused_instead(self, limited: Make) -> None:
        made = limited(block_on_first_violation=True, limits={"a": {"year": 2}, "b": {"year": 1}})
        assert statuses(made, 2) == [200] * 2
        run = made.get()
        assert (run.status, run.upstreams) == (429, [])
        assert run.response.json()["message"] == "API rate limit exceeded for 'a'"

    def test_without_the_header_nothing_is_counted(self, limited: Make) -> None:
        made = limited("")
        assert statuses(made, 5) == [200] * 5

    def test_headers_can_be_hidden(self, limited: Make) -> None:
        run = limited(hide_client_headers=True).get()
        assert (told(run), run.upstream.headers["X-RateLimit-Remaining-a"]) == ({}, "3")
        assert "X-Kong-Limit" not in run.response.headers

    def test_the_header_can_have_another_name(self, plugin: Make) -> None:
        made = plugin("response-ratelimiting", limits={"a": {"year": 3}}, header_name="X-Cost")
        made.upstream.respond = respond(200, "", {"X-Cost": "a=2", "X-Kong-Limit": "a=1"})
        run = made.get()
        assert told(run)["x-ratelimit-remaining-a-year"] == "1"
        assert ("X-Cost" in run.response.headers, run.response.headers["X-Kong-Limit"]) == (False, "a=1")

    def test_windows_end(self, limited: Make) -> None:
        made = limited(limits={"a": {"minute": 1}})
        clock = made.plugins["response-ratelimiting"]
        clock.clock = lambda: time.time()  # type: ignore[attr-defined]
        now = int(time.time()) // 60 * 60
        clock.clock = lambda: now + 60_000_000  # type: ignore[attr-defined]
        assert statuses(made, 2) == [200, 429]
        clock.clock = lambda: now + 60_000_060  # type: ignore[attr-defined]
        assert statuses(made, 1) == [200]

    @pytest.mark.parametrize(("limit_by", "together"), [("ip", True), ("consumer", False), ("credential", False)])
    def test_whose_use_counts_together(self, plugin: Make, limit_by: str, together: bool) -> None:
        made = plugin("key-auth")
        made.consumer("ada", "k1")
        made.consumer("bob", "k2")
        made.use("response-ratelimiting", limits={"a": {"year": 1}}, limit_by=limit_by)
        made.upstream.respond = respond(200, "", {"X-Kong-Limit": "a=1"})
        codes = [made.get("/", headers={"apikey": key}).status for key in ("k1", "k2")]
        assert codes == [200, 429 if together else 200]


class TestScopes:
    def test_use_counts_in_periods_that_are_limited_only_later(self, limited: Make) -> None:
        made = limited(limits={"a": {"year": 9}})
        made.get()
        (entity,) = made.store.dao("plugins").each()
        made.update("plugins", entity["id"], config={"limits": {"a": {"month": 5, "year": 9}}})
        assert told(made.get())["x-ratelimit-remaining-a-month"] == "3"

    def test_configurations_of_other_entities_share_nothing(self, plugin: Make) -> None:
        made = plugin()
        other = made.insert("routes", paths=["/other"], service={"id": made.service["id"]})
        for scope in ({"route": made.route}, {"route": other}):
            made.use("response-ratelimiting", on=scope, limits={"a": {"year": 1}})
        made.upstream.respond = respond(200, "", {"X-Kong-Limit": "a=1"})
        assert [made.get(path).status for path in ("/", "/", "/other", "/other")] == [200, 429, 200, 429]

    def test_a_services_routes_count_together(self, plugin: Make) -> None:
        made = plugin("response-ratelimiting", on="service", limits={"a": {"year": 1}})
        made.insert("routes", paths=["/other"], service={"id": made.service["id"]})
        made.upstream.respond = respond(200, "", {"X-Kong-Limit": "a=1"})
        assert [made.get(path).status for path in ("/", "/other")] == [200, 429]

    def test_null_periods_do_not_limit(self, limited: Make) -> None:
        made = limited(limits={"a": {"second": None, "year": 2}})
        assert set(told(made.get())) == {
            "x-ratelimit-limit-a-year",
            "x-ratelimit-remaining-a-year",
            "x-ratelimit-remaining-a",
        }

    def test_answers_made_here_count_nothing(self, limited: Make) -> None:
        made = limited()
        made.use("request-termination", on="route", status_code=403)
        assert [told(made.get())["x-ratelimit-remaining-a-year"] for _ in range(2)] == ["3", "3"]

    def test_answers_from_the_cache_count_nothing_and_do_not_tell_the_use(self, limited: Make) -> None:
        made = limited()
        made.use("proxy-cache", strategy="memory", content_type=["*/*"])
        made.upstream.respond = respond(200, "body", {"X-Kong-Limit": "a=1", "Content-Type": "text/plain"})
        runs = [made.get() for _ in range(3)]
        assert [told(run)["x-ratelimit-remaining-a-year"] for run in runs] == ["2", "2", "2"]
        assert [len(run.upstreams) for run in runs] == [1, 0, 0]
        assert not any("X-Kong-Limit" in run.response.headers for run in runs)

    def test_what_is_withheld_does_not_come_out_of_the_cache(self, limited: Make) -> None:
        made = limited(limits={"a": {"year": 1}})
        made.use("proxy-cache", strategy="memory", content_type=["*/*"], response_code=[200, 429])
        made.upstream.respond = respond(200, "body", {"X-Kong-Limit": "a=1", "Content-Type": "text/plain"})
        made.get("/first")
        assert [made.get("/b").response.body for _ in range(2)] == [b"", b""]

    @pytest.mark.parametrize("length", [b"", b"Content-Length: 5\r\n"])
    @pytest.mark.parametrize("status", [204, 304])
    def test_an_answer_without_body_is_withheld_like_any(self, limited: Make, status: int, length: bytes) -> None:
        made = limited(limits={"a": {"year": 1}})
        made.get()
        length = b"" if status == 204 else length
        made.upstream.respond = lambda _: b"HTTP/1.1 %d x\r\nX-Kong-Limit: a=1\r\n%b\r\n" % (status, length)
        run = made.get()
        assert (run.status, run.response.body, run.response.headers["Content-Length"]) == (429, b"", "0")

    def test_names_that_cannot_stand_in_a_header_are_written_otherwise(self, limited: Make) -> None:
        made = limited("video calls = 2, \xfc=1", limits={"video calls": {"year": 5}, "\xfc": {"year": 9}})
        run = made.get()
        assert run.upstream.headers["X-RateLimit-Remaining-video-calls"] == "5"
        assert told(run)["x-ratelimit-remaining-video-calls-year"] == "3"
        assert told(run)["x-ratelimit-remaining---year"] == "8"

    def test_a_refusal_comes_with_what_is_left_unless_that_is_hidden(self, limited: Make) -> None:
        for hidden in (False, True):
            made = limited(block_on_first_violation=True, hide_client_headers=hidden, limits={"a": {"year": 1}})
            made.get()
            run = made.get()
            assert (run.status, told(run).get("x-ratelimit-remaining-a")) == (429, None if hidden else "0")


def test_what_upstreams_say() -> None:
    assert parse_use(["a=1, b = 2", "a=3,c,d=x,=4,e=-1,,f=1.5"]) == {"a": 4, "b": 2}
    assert parse_use(["a=1=2, b=\xb2, c=" + "9" * 5000, "," * 1000, " d e = 07 "]) == {"d e": 7}
    assert parse_use(["a=1," + " " * 30_000 + ",b=2", "c" + " " * 30_000 + "d"]) == {"a": 1, "b": 2}


class TestPolicies:
    @pytest.fixture
    def server(self, redis: Redis) -> Iterator[dict[str, Any]]:
        yield {"host": redis.address, "port": redis.port, "database": 6}

    def test_redis(self, limited: Make, server: dict[str, Any]) -> None:
        name = f"r{time.time_ns()}"
        nodes = [limited(f"{name}=1", {name: {"year": 3}}, policy="redis", redis=server) for _ in range(2)]
        assert [nodes[number % 2].get().status for number in range(5)] == [200, 200, 200, 429, 429]
        observer = nodes[0].kit.redis({"timeout": 2000, **server})
        start = current_windows(int(time.time()))["year"].key.rpartition(":")[0]
        key = f"response-ratelimit:{NO_ID}:{NO_ID}:127.0.0.1{start}:{name}:year"
        value, life = observer.call(("GET", key), ("TTL", key))
        observer.close()
        assert (value, life > 0) == (b"3", True)

    def test_cluster(self, limited: Make) -> None:
        made = limited(policy="cluster")
        assert statuses(made, 4) == [200, 200, 200, 429]
        start = current_windows(int(time.time()))["year"].key.rpartition(":")[0]
        key = f"response-ratelimit:{NO_ID}:{NO_ID}:127.0.0.1{start}:a:year"
        with gevent.Timeout(20):
            while sum(made.store.strategy.read_counts([key]).get(key, {}).values()) != 3:
                gevent.sleep(0.02)

    @pytest.mark.parametrize(("tolerant", "status"), [(True, 200), (False, 500)])
    def test_a_server_that_is_away(self, limited: Make, tolerant: bool, status: int) -> None:
        record = {"host": "127.0.0.1", "port": free_port()}
        run = limited(policy="redis", redis=record, fault_tolerant=tolerant).get()
        assert (run.status, told(run)) == (status, {})

    def test_a_store_that_is_away(self, limited: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        made = limited(policy="cluster")

        def fail(*_: object) -> None:
            raise StoreUnavailable("away")

        for name in ("push_counts", "read_counts", "ping"):
            monkeypatch.setattr(made.store.strategy, name, fail)
        assert statuses(made, 4) == [200, 200, 200, 429]


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({}, {"limits": "required field missing"}),
        ({"limits": {}}, {"limits": "length must be at least 1"}),
        ({"limits": {"a": {"second": 0}}}, {"limits": {"second": "value must be greater than 0"}}),
        (
            {"limits": {"a": {"day": 4, "month": 3}}},
            {"limits": "the limit for month(3.0) cannot be lower than the limit for day(4.0)"},
        ),
        (
            {"limits": {"a": {}}},
            {"limits": {"@entity": [NO_PERIOD]}},
        ),
        ({"limits": {"a": {"year": 1}}, "limit_by": "path"}, {"limit_by": "expected one of: consumer, credential, ip"}),
        ({"limits": {"a": {"year": 1}}, "policy": "x"}, {"policy": "expected one of: local, cluster, redis"}),
    ],
)
def test_bad_settings_are_refused(plugin: Make, config: dict[str, Any], error: Any) -> None:
    with pytest.raises(SchemaViolation) as caught:
        plugin("response-ratelimiting", **config)
    assert caught.value.fields == {"config": error}


def test_redis_needs_a_server(plugin: Make) -> None:
    with pytest.raises(SchemaViolation) as caught:
        plugin("response-ratelimiting", limits={"a": {"year": 1}}, policy="redis")
    assert caught.value.fields["config"] == {"redis": {"host": "required field missing"}}
