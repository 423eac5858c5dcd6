"""proxy-cache: what is stored, when it is served, and what the client is told."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from typing import Any

import gevent
import pytest

from kong_gevent.errors import SchemaViolation
from kong_gevent.pdk.testing import InMemoryGateway, Run, respond
from kong_gevent.plugins import proxy_cache
from kong_gevent.plugins.proxy_cache.entries import place_of, query_text
from kong_gevent.plugins.proxy_cache.rules import media_type
from kong_gevent.runtime.node_cache import NodeCache
from tests.gateway import Gateway
from tests.upstream import Pause, Upstream, answer, plain, script

Make = Callable[..., InMemoryGateway]


@pytest.fixture
def cache(plugin: Make) -> Make:
    """A gateway with the plugin, and an upstream whose answers are JSON."""

    def make(answer: dict[str, str] | None = None, status: int = 200, **config: Any) -> InMemoryGateway:
        made = plugin("proxy-cache", strategy="memory", **config)
        made.upstream.respond = respond(status, "{}", {"Content-Type": "application/json", **(answer or {})})
        return made

    return make


def told(run: Run) -> str | None:
    return run.response.headers.get("X-Cache-Status")


def at(made: InMemoryGateway, seconds: float) -> None:
    made.plugins["proxy-cache"].clock = lambda: time.time() + seconds  # type: ignore[attr-defined]


def twice(made: InMemoryGateway, *requests: dict[str, Any]) -> list[str | None]:
    return [told(made.request(**{"method": "GET", "path": "/a", **request})) for request in requests or ({}, {})]


def test_a_hit_is_the_stored_answer(cache: Make) -> None:
    made = cache({"X-Own": "1", "X-RateLimit-Remaining-Minute": "3", "Connection": "x-hop", "X-Hop": "1"})
    miss, hit = made.get("/a?b"), made.get("/a?b")
    assert (told(miss), told(hit), hit.upstreams) == ("Miss", "Hit", [])
    headers = hit.response.headers
    assert (hit.status, hit.response.text, headers["X-Own"], headers["Content-Type"]) == (
        200,
        "{}",
        "1",
        "application/json",
    )
    assert headers["Age"] == "0" and "Age" not in miss.response.headers
    assert headers["X-Cache-Key"] == miss.response.headers["X-Cache-Key"]
    assert len(headers["X-Cache-Key"]) == 64
    assert "X-RateLimit-Remaining-Minute" not in headers and "X-Hop" not in headers
    assert "X-Kong-Upstream-Latency" in headers and "X-Kong-Proxy-Latency" in headers
    assert "X-Kong-Response-Latency" not in headers
    assert headers.all("Content-Length") == ["2"]


def test_the_age_grows_and_ends(cache: Make) -> None:
    made = cache(cache_ttl=10)
    made.get("/a")
    at(made, 5)
    assert 4 <= int(made.get("/a").response.headers["Age"]) <= 6


def test_an_old_answer_is_stored_anew(cache: Make) -> None:
    made = cache(cache_ttl=10, storage_ttl=1000)
    made.get("/a")
    at(made, 20)
    assert twice(made) == ["Refresh", "Hit"]


@pytest.mark.parametrize(
    ("method", "got"), [("GET", "Hit"), ("HEAD", "Hit"), ("POST", "Bypass"), ("PATCH", "Bypass"), ("PUT", "Bypass")]
)
def test_methods(cache: Make, method: str, got: str) -> None:
    assert twice(cache(), {"method": method}, {"method": method})[1] == got


def test_a_hit_of_head_tells_the_length_that_the_upstream_told(cache: Make) -> None:
    made = cache()
    runs = [made.request(method, "/a") for method in ("HEAD", "HEAD", "GET", "GET", "HEAD")]
    assert [told(run) for run in runs] == ["Miss", "Hit", "Miss", "Hit", "Hit"]
    assert [run.response.headers.all("Content-Length") for run in runs] == [["2"]] * 5
    assert [run.response.body for run in runs] == [b"", b"", b"{}", b"{}", b""]


@pytest.mark.parametrize("changed", [False, True])
def test_a_hit_of_head_tells_no_length_that_may_be_wrong(cache: Make, changed: bool) -> None:
    made = cache()
    if changed:
        made.use("response-transformer", add={"json": ["a:1"]})
    else:
        made.upstream.respond = lambda _: (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
    runs = [made.request("HEAD", "/a") for _ in range(2)]
    assert [told(run) for run in runs] == ["Miss", "Hit"]
    assert runs[1].response.headers.all("Content-Length") == []


def test_methods_are_told_apart_and_can_be_chosen(cache: Make) -> None:
    made = cache(request_method=["GET", "POST"])
    assert twice(made, {}, {"method": "POST"}, {"method": "POST"}, {}, {"method": "HEAD"}) == [
        "Miss",
        "Miss",
        "Hit",
        "Hit",
        "Bypass",
    ]


@pytest.mark.parametrize(
    ("status", "got"), [(200, "Hit"), (301, "Hit"), (404, "Hit"), (201, "Bypass"), (500, "Bypass")]
)
def test_statuses(cache: Make, status: int, got: str) -> None:
    assert twice(cache(status=status)) == ["Bypass" if got == "Bypass" else "Miss", got]


@pytest.mark.parametrize(
    ("entry", "kind", "stored"),
    [
        ("application/json", "application/json", True),
        ("application/json", "application/json; charset=utf-8", False),
        ("application/json; charset=utf-8", "Application/JSON; Charset=utf-8", True),
        ("application/json; charset=utf-8", "application/json; charset=UTF-8", False),
        ("text/*", "text/html", True),
        ("*/*", "image/png", True),
        ("text/plain", "text/plain", True),
        ("text/plain", "", False),
        ("nonsense", "nonsense", False),
    ],
)
def test_media_types(cache: Make, entry: str, kind: str, stored: bool) -> None:
    made = cache({"Content-Type": kind}, content_type=[entry])
    assert twice(made)[1] == ("Hit" if stored else "Bypass")


def test_what_tells_answers_apart(cache: Make) -> None:
    made = cache(vary_headers=["x-v"])
    paths = ["/a", "/A", "/a?x=1&y=2", "/a?y=2&x=1", "/a?x=1"]
    assert twice(made, *({"path": path} for path in paths)) == ["Miss", "Miss", "Miss", "Hit", "Miss"]
    assert twice(made, *({"headers": {"x-v": value}} for value in ("1", "2", "1"))) == ["Miss", "Miss", "Hit"]


def test_case_and_arguments_can_be_ignored(cache: Make) -> None:
    made = cache(ignore_uri_case=True, vary_query_params=["x"])
    assert twice(made, *({"path": path} for path in ("/a?x=1&z=1", "/A?z=2&x=1", "/a?x=2"))) == ["Miss", "Hit", "Miss"]


def test_consumers_are_told_apart(cache: Make) -> None:
    made = cache()
    made.use("key-auth")
    for name in ("ada", "bob"):
        made.consumer(name, name)
    assert twice(made, *({"headers": {"apikey": name}} for name in ("ada", "bob", "ada"))) == ["Miss", "Miss", "Hit"]
    assert made.get("/a").status == 401


def test_the_text_of_a_query() -> None:
    query = "b=2&a=1&&a=0&flag"
    assert query_text(query, None) == "a=0&a=1&b=2&flag"
    assert query_text(query, ["b", "zz"]) == "b=2"
    assert query_text(query, ["flag", "a"]) == "flag&a=0&a=1"
    assert query_text("%61=1&c=2", ["a"]) == "%61=1"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a=0%3Ab%3D2", "a=0&b=2"),
        ("a=0:b=2", "a=0&b=2"),
        ("a=1,2", "a=1&a=2"),
        ("a", "a="),
        ("a&a=1", "a=True&a=1"),
        ("a=%ff", "a=%fe"),
        ("&".join(["x"] * 1001), "&".join(["x"] * 1000) + "&y"),
    ],
)
def test_no_query_gets_what_another_one_was_answered(cache: Make, one: str, other: str) -> None:
    for config in ({}, {"vary_query_params": ["a", "b", "x", "y"]}):
        made = cache(**config)
        assert twice(made, {"path": f"/a?{one}"}, {"path": f"/a?{other}"}) == ["Miss", "Miss"]


@pytest.mark.parametrize("text", ["", "a", "a/", "/b", "a/b/c", "a b/c"])
def test_what_is_no_media_type(text: str) -> None:
    assert media_type(text) is None


class TestCacheControl:
    @pytest.mark.parametrize(
        ("answer", "after", "got"),
        [
            ({"Cache-Control": "max-age=60"}, 30, "Hit"),
            ({"Cache-Control": "max-age=60, s-maxage=10"}, 5, "Hit"),
            ({"Cache-Control": "max-age=60, s-maxage=10"}, 15, "Refresh"),
            ({"Cache-Control": "private, max-age=60"}, 0, "Bypass"),
            ({"Cache-Control": "no-store"}, 0, "Bypass"),
            ({"Cache-Control": "no-cache"}, 0, "Bypass"),
            ({"Cache-Control": "max-age=0"}, 0, "Bypass"),
            ({"Cache-Control": "max-age=x"}, 0, "Bypass"),
            ({"Expires": formatdate(time.time() + 3000, usegmt=True)}, 100, "Hit"),
            ({"Expires": "0"}, 0, "Bypass"),
            ({}, 0, "Bypass"),
        ],
    )
    def test_answers(self, cache: Make, answer: dict[str, str], after: float, got: str) -> None:
        made = cache(answer, cache_control=True, storage_ttl=1000)
        made.get("/a")
        at(made, after)
        assert told(made.get("/a")) == got

    @pytest.mark.parametrize(
        ("asked", "age", "got"),
        [
            ("no-store", 0, "Bypass"),
            ("no-cache", 0, "Bypass"),
            ("max-age=10", 5, "Hit"),
            ("max-age=" + "9" * 5000, 5, "Hit"),
            ("min-fresh=" + "9" * 5000, 5, "Refresh"),
            ("max-age=10", 15, "Refresh"),
            ("min-fresh=30", 20, "Hit"),
            ("min-fresh=30", 40, "Refresh"),
            ("max-stale=30", 80, "Hit"),
            ("max-stale=30", 100, "Refresh"),
            ("max-stale", 500, "Hit"),
            ("max-age=10, only-if-cached", 5, "Hit"),
        ],
    )
    def test_requests(self, cache: Make, asked: str, age: float, got: str) -> None:
        made = cache({"Cache-Control": "max-age=60"}, cache_control=True, storage_ttl=1000)
        made.get("/a")
        at(made, age)
        assert told(made.get("/a", headers={"Cache-Control": asked})) == got

    def test_only_if_cached(self, cache: Make) -> None:
        run = cache(cache_control=True).get("/a", headers={"Cache-Control": "only-if-cached"})
        assert (run.status, run.response.body, run.upstreams) == (504, b"", [])

    def test_requests_with_credentials_are_not_stored(self, cache: Make) -> None:
        made = cache({"Cache-Control": "max-age=60"}, cache_control=True)
        assert twice(made, *[{"headers": {"Authorization": "x"}}] * 2) == ["Bypass", "Bypass"]

    def test_without_the_setting_nobody_is_asked(self, cache: Make) -> None:
        made = cache({"Cache-Control": "no-store"})
        assert twice(made, *[{"headers": {"Cache-Control": "no-cache", "Authorization": "x"}}] * 2) == ["Miss", "Hit"]


class TestHeaders:
    @pytest.mark.parametrize("name", ["Age", "X-Cache-Status", "X-Cache-Key"])
    def test_each_can_be_switched_off(self, cache: Make, name: str) -> None:
        made = cache(response_headers={"age" if name == "Age" else name: False})
        made.get("/a")
        shown = {"Age", "X-Cache-Status", "X-Cache-Key"} - {name}
        headers = made.get("/a").response.headers
        assert {field for field in ("Age", "X-Cache-Status", "X-Cache-Key") if field in headers} == shown

    def test_kong_debug_shows_all(self, cache: Make) -> None:
        made = cache(response_headers={"age": False, "X-Cache-Status": False, "X-Cache-Key": False})
        runs = [made.get("/a", headers={"Kong-Debug": "1"}) for _ in range(2)]
        assert [told(run) for run in runs] == ["Miss", "Hit"]
        assert "Age" in runs[1].response.headers and "X-Cache-Key" in runs[0].response.headers


class TestWithOthers:
    def test_other_plugins_work_on_hits_as_on_misses(self, cache: Make) -> None:
        made = cache()
        made.use("response-transformer", append={"json": ["a:1"], "headers": ["x-a:1"]})
        runs = [made.get("/a") for _ in range(3)]
        assert [run.response.json() for run in runs] == [{"a": ["1"]}] * 3
        assert [run.response.headers.all("x-a") for run in runs] == [["1"]] * 3

    def test_limits_are_told_as_they_are_now(self, cache: Make) -> None:
        made = cache()
        made.use("rate-limiting", year=5)
        assert [made.get("/a").response.headers["X-RateLimit-Remaining-Year"] for _ in range(2)] == ["4", "3"]

    def test_fields_of_the_upstream_are_no_more_on_a_hit_than_on_a_miss(self, cache: Make) -> None:
        made = cache({"Age": "70", "X-Cache-Status": "Hit", "X-Cache-Key": "k", "RateLimit-Limit": "9", "Vary": "A"})
        made.use("rate-limiting", year=5).use("cors", origins=["https://a.test", "https://b.test"])
        miss, hit = (made.get("/a", headers={"Origin": "https://a.test"}).response.headers for _ in range(2))
        key = miss["X-Cache-Key"]
        assert [hit.all(name) for name in ("Age", "X-Cache-Status", "X-Cache-Key")] == [["0"], ["Hit"], [key]]
        for name in ("RateLimit-Limit", "Vary", "Access-Control-Allow-Origin"):
            assert hit.all(name) == miss.all(name)
        assert (hit["RateLimit-Limit"], hit["RateLimit-Remaining"]) == ("5", "3")

    def test_a_hit_has_the_date_of_the_answer_that_was_stored(self, cache: Make) -> None:
        date = formatdate(time.time() - 30, usegmt=True)
        made = cache({"Date": date, "Server": "upstream"})
        runs = [made.get("/a") for _ in range(2)]
        for name, value in (("Date", date), ("Server", "upstream")):
            assert [run.response.headers.all(name) for run in runs] == [[value], [value]]
            assert [run.log["response"]["headers"][name.lower()] for run in runs] == [value, value]

    def test_an_age_that_is_not_told_is_not_the_upstreams_either(self, cache: Make) -> None:
        made = cache({"Age": "70"}, response_headers={"age": False})
        assert [made.get("/a").response.headers.all("Age") for _ in range(2)] == [["70"], []]

    def test_answers_of_the_gateway_are_not_stored(self, cache: Make) -> None:
        made = cache(response_code=[503], content_type=["*/*"])
        made.use("request-termination")
        assert twice(made) == ["Bypass", "Bypass"]
        assert made.kit.node_cache.usage()[1] == 0


class TestCollapse:
    def slow(self, made: InMemoryGateway) -> None:
        answer = made.upstream.respond

        def respond_slowly(request: Any) -> bytes:
            gevent.sleep(0.1)
            return answer(request)

        made.upstream.respond = respond_slowly

    @pytest.mark.parametrize(("config", "asked"), [({"collapse_misses": True}, 1), ({}, 5)])
    def test_equal_requests_at_a_time(self, cache: Make, config: dict[str, Any], asked: int) -> None:
        made = cache(**config)
        self.slow(made)
        jobs = [gevent.spawn(made.get, "/a") for _ in range(5)]
        gevent.joinall(jobs, raise_error=True)
        assert [job.value.status for job in jobs] == [200] * 5
        assert len(made.upstream.requests) == asked

    def test_a_request_that_only_wants_what_is_stored_holds_up_nobody(self, cache: Make) -> None:
        made = cache({"Cache-Control": "max-age=60"}, cache_control=True, collapse_misses=True)
        assert made.get("/a", headers={"Cache-Control": "only-if-cached"}).status == 504
        with gevent.Timeout(5):
            assert twice(made) == ["Miss", "Hit"]

    def test_when_the_answer_is_not_stored_the_others_ask_for_themselves(self, cache: Make) -> None:
        made = cache(status=500, collapse_misses=True)
        self.slow(made)
        jobs = [gevent.spawn(made.get, "/a") for _ in range(3)]
        gevent.joinall(jobs, raise_error=True)
        assert [job.value.status for job in jobs] == [500] * 3
        assert made.kit.node_cache.claim(b"proxy-cache:x", 1)

    @pytest.mark.parametrize("length", [5, 1 << 20], ids=["status", "size"])
    def test_nobody_waits_for_the_end_of_an_answer_that_is_not_stored(
        self, plugin: Make, length: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(proxy_cache, "MAX_ENTRY", 10)
        made = plugin("proxy-cache", strategy="memory", collapse_misses=True)
        freed: list[bytes] = []
        monkeypatch.setattr(made.kit.node_cache, "release", freed.append)
        instance, seen = made.plugins["proxy-cache"], []
        log = instance.log  # type: ignore[attr-defined]
        monkeypatch.setattr(instance, "log", lambda ctx, conf: seen.append(len(freed)) or log(ctx, conf))
        made.use("request-transformer")  # chains are compiled anew
        made.upstream.respond = respond(500 if length == 5 else 200, b"x" * length, {"Content-Type": "text/plain"})
        made.get("/a")
        assert (seen, len(freed)) == ([1], 1)


class TestStoring:
    """What is stored, for how long, and what never is."""

    @pytest.mark.parametrize(
        ("config", "answer", "seconds"),
        [
            ({}, {}, 300),
            ({"cache_ttl": 7}, {}, 7),
            ({"cache_ttl": 7, "storage_ttl": 50}, {}, 50),
            ({"cache_ttl": 7, "storage_ttl": 3}, {}, 3),
            ({"cache_control": True}, {"Cache-Control": "max-age=20"}, 20),
            ({"cache_control": True}, {"Cache-Control": "max-age=20, s-maxage=10"}, 10),
            ({"cache_control": True, "storage_ttl": 90}, {"Cache-Control": "max-age=20"}, 90),
            ({"cache_control": True}, {"Cache-Control": "max-age=" + "9" * 5000}, 1 << 31),
            ({"cache_control": True}, {"Cache-Control": "max-age=0060"}, 60),
            ({"storage_ttl": 2**53}, {}, 2**53),
        ],
    )
    def test_how_long(
        self,
        cache: Make,
        config: dict[str, Any],
        answer: dict[str, str],
        seconds: int,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        made = cache(answer, **config)
        kept: list[float] = []
        put = made.kit.node_cache.put
        monkeypatch.setattr(
            made.kit.node_cache, "put", lambda key, entry, ttl, *more: kept.append(ttl) or put(key, entry, ttl, *more)
        )
        made.get("/a")
        assert kept == [seconds]

    def test_an_entry_of_another_version_is_replaced(self, cache: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        made = cache()
        made.get("/a")
        monkeypatch.setattr(proxy_cache, "VERSION", 2)
        assert twice(made, {}, {}) == ["Bypass", "Hit"]

    @pytest.mark.parametrize("framing", ["Content-Length: 20", "Transfer-Encoding: chunked"])
    def test_an_answer_that_was_cut_is_not_stored(self, cache: Make, framing: str) -> None:
        made = cache()
        whole = made.upstream.respond
        body = "5\r\nhello\r\n" if "chunked" in framing else "hello"
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n{framing}\r\n\r\n"
        made.upstream.respond = lambda _: (head + body).encode()
        with pytest.raises(AssertionError, match="not complete"):
            made.get("/a")
        made.upstream.respond = whole
        assert twice(made) == ["Miss", "Hit"]

    def test_chunked_answers_are_stored_when_they_are_complete(self, cache: Make) -> None:
        made = cache()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
        made.upstream.respond = lambda _: head + b"2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"
        runs = [made.get("/a") for _ in range(2)]
        assert [told(run) for run in runs] == ["Miss", "Hit"]
        assert [run.response.text for run in runs] == ["abcde"] * 2
        assert runs[1].response.headers["Content-Length"] == "5"

    def test_hop_by_hop_fields_are_not_served_again(self, cache: Make) -> None:
        hop = {"Keep-Alive": "timeout=5", "Proxy-Authenticate": "Basic", "Upgrade": "x", "TE": "x", "Trailers": "x"}
        made = cache(hop)
        made.get("/a")
        assert not {name.lower() for name, _ in made.get("/a").response.headers.fields} & {name.lower() for name in hop}

    def test_routes_are_told_apart(self, cache: Make) -> None:
        made = cache()
        made.insert("routes", hosts=["other.test"], service={"id": made.service["id"]})
        assert twice(made, {}, {"headers": {"Host": "other.test"}}, {}, {"headers": {"Host": "other.test"}}) == [
            *["Miss"] * 2,
            *["Hit"] * 2,
        ]

    def test_values_of_a_repeated_header_make_a_difference(self, cache: Make) -> None:
        made = cache(vary_headers=["x-v", "x-w"])
        sent: list[Any] = [[("X-V", "1"), ("X-V", "2")], [("X-V", "1")], [("X-W", "1")], [("x-v", "1"), ("x-v", "2")]]
        assert twice(made, *({"headers": fields} for fields in sent)) == ["Miss", "Miss", "Miss", "Hit"]

    def test_a_hit_has_a_log_record_like_any_answer(self, cache: Make) -> None:
        made = cache()
        made.get("/a")
        record = made.get("/a").log
        assert (record["response"]["status"], record["tries"], record["upstream_status"]) == (200, [], "")

    @pytest.mark.parametrize("status", [204, 304])
    def test_answers_without_body(self, cache: Make, status: int) -> None:
        made = cache(response_code=[status])
        made.upstream.respond = lambda _: f"HTTP/1.1 {status} x\r\nContent-Type: text/plain\r\n\r\n".encode()
        runs = [made.get("/a") for _ in range(2)]
        assert [(run.status, told(run), run.response.body) for run in runs] == [
            (status, "Miss", b""),
            (status, "Hit", b""),
        ]


def test_what_is_too_large_is_not_stored(cache: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_cache, "MAX_ENTRY", 1)
    assert twice(cache()) == ["Miss", "Miss"]


class TestAdmin:
    def test_entries_are_shown_and_removed(self, cache: Make) -> None:
        made = cache()
        key = made.get("/a").response.headers["X-Cache-Key"]
        shown = made.admin("GET", f"/proxy-cache/{key}")
        assert shown.status_code == 200
        assert {name: shown.json[name] for name in ("status", "body", "body_len", "ttl", "version", "req_body")} == {
            "status": 200, "body": "{}", "body_len": 2, "ttl": 300, "version": 1, "req_body": "",
        }  # fmt: skip
        assert shown.json["headers"]["Content-Type"] == "application/json"
        assert isinstance(shown.json["timestamp"], int)
        assert set(shown.json) == {
            "status", "headers", "body", "body_len", "timestamp", "ttl", "version", "req_body",
        }  # fmt: skip
        assert [made.admin("DELETE", f"/proxy-cache/{key}").status_code for _ in range(2)] == [204, 404]
        gone = made.admin("GET", f"/proxy-cache/{key}")
        assert (gone.status_code, gone.data) == (404, b"")
        assert told(made.get("/a")) == "Miss"

    def test_what_is_stored_of_head_is_shown_alike(self, cache: Make) -> None:
        made = cache()
        key = made.request("HEAD", "/a").response.headers["X-Cache-Key"]
        shown = made.admin("GET", f"/proxy-cache/{key}").json
        assert (shown["body"], shown["body_len"], "length" in shown) == ("", 0, False)

    @pytest.mark.parametrize("key", ["x", "0" * 63, "A" * 64, "é" * 64, "0" * 64 + "%0a", "*"])
    def test_what_is_no_key_is_not_found(self, cache: Make, key: str) -> None:
        made = cache()
        (entity,) = made.store.dao("plugins").each(10)
        for path in (f"/proxy-cache/{key}", f"/proxy-cache/{entity['id']}/caches/{key}"):
            for method in ("GET", "DELETE"):
                assert (made.admin(method, path).status_code, made.admin(method, path).data) == (404, b"")

    @pytest.mark.parametrize("everything", [True, False])
    def test_what_is_on_its_way_while_it_is_purged_is_not_stored(self, cache: Make, everything: bool) -> None:
        made = cache()
        key = made.get("/a").response.headers["X-Cache-Key"]
        made.admin("DELETE", "/proxy-cache")
        answer = made.upstream.respond

        def respond_to_purge(request: Any) -> bytes:
            made.admin("DELETE", "/proxy-cache" if everything else f"/proxy-cache/{key}")
            return answer(request)

        made.upstream.respond = respond_to_purge
        assert told(made.get("/a")) == "Miss"
        made.upstream.respond = answer
        assert twice(made) == ["Miss", "Hit"]

    def test_by_plugin(self, cache: Make) -> None:
        made = cache()
        (entity,) = made.store.dao("plugins").each(10)
        key = made.get("/a").response.headers["X-Cache-Key"]
        other = made.route["id"]
        assert made.admin("GET", f"/proxy-cache/{entity['id']}/caches/{key}").status_code == 200
        assert made.admin("GET", f"/proxy-cache/{other}/caches/{key}").status_code == 404
        assert made.admin("DELETE", f"/proxy-cache/{other}/caches/{key}").status_code == 404
        assert made.admin("DELETE", f"/proxy-cache/{entity['id']}/caches/{key}").status_code == 204

    def test_purge(self, cache: Make) -> None:
        made = cache()
        twice(made, {"path": "/a"}, {"path": "/b"})
        assert made.admin("DELETE", "/proxy-cache").status_code == 204
        assert twice(made, {"path": "/a"}, {"path": "/b"}) == ["Miss", "Miss"]
        assert made.admin("GET", "/proxy-cache").status_code == 405

    def test_a_purge_reaches_nodes_that_have_what_this_one_has_not(self, cache: Make) -> None:
        made = cache()
        key = made.get("/a").response.headers["X-Cache-Key"]
        made.kit.node_cache.delete(place_of(key))
        heard: list[str] = []
        made.kit.signal = lambda topic, text: heard.append(text)  # type: ignore[method-assign]
        for asked in (key, "*", "nonsense"):
            assert made.admin("DELETE", f"/proxy-cache/{asked}").status_code == 404
        assert heard == [key]

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
    def test_other_methods_are_not_allowed(self, cache: Make, method: str) -> None:
        assert cache().admin(method, "/proxy-cache/x").status_code == 405

    def test_repeated_fields_are_shown_as_lists(self, cache: Make) -> None:
        made = cache()
        made.upstream.respond = lambda _: (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-A: 1\r\nX-A: 2\r\nX-A: 3\r\nContent-Length: 0\r\n\r\n"
        )
        key = made.get("/a").response.headers["X-Cache-Key"]
        assert made.admin("GET", f"/proxy-cache/{key}").json["headers"]["X-A"] == ["1", "2", "3"]

    def test_what_other_nodes_purge_is_purged_here(self, cache: Make) -> None:
        made = cache()
        key = made.get("/a").response.headers["X-Cache-Key"]
        made.get("/b")
        here = made.store.origin
        for text in (key, "*"):
            made.store.origin = "another node"
            made.store.signal("proxy-cache", text)
            made.store.origin = here
            made.sync.poll()
            assert twice(made, {"path": "/a"}, {"path": "/b"}) == ["Miss", "Hit" if text == key else "Miss"]


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({}, {"strategy": "required field missing"}),
        ({"strategy": "redis"}, {"strategy": "expected one of: memory"}),
        ({"strategy": "memory", "response_code": []}, {"response_code": "length must be at least 1"}),
        ({"strategy": "memory", "response_code": [99]}, {"response_code": ["value should be between 100 and 900"]}),
        ({"strategy": "memory", "cache_ttl": 0}, {"cache_ttl": "value must be greater than 0"}),
        (
            {"strategy": "memory", "request_method": ["X"]},
            {"request_method": ["expected one of: HEAD, GET, POST, PATCH, PUT"]},
        ),
    ],
)
def test_bad_settings_are_refused(plugin: Make, config: dict[str, Any], error: Any) -> None:
    with pytest.raises(SchemaViolation) as caught:
        plugin("proxy-cache", **config)
    assert caught.value.fields == {"config": error}


class TestNodeCache:
    def test_what_was_deleted_meanwhile_is_not_put_in(self) -> None:
        cache = NodeCache(16_000, 64)
        for purge in (lambda: cache.delete(b"a"), cache.clear):
            before = cache.purges(b"a")
            assert cache.put(b"a", b"1", 100, before)
            purge()
            assert not cache.put(b"a", b"2", 100, before)
            assert cache.get(b"a") is None
            assert cache.put(b"a", b"3", 100, cache.purges(b"a"))

    def test_who_waits_long_looks_seldom(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cache = NodeCache(16_000, 64)
        clock = [1000.0]
        pauses: list[float] = []

        def sleep(seconds: float) -> None:
            pauses.append(seconds)
            clock[0] += seconds

        monkeypatch.setattr("kong_gevent.runtime.node_cache.monotonic", lambda: clock[0])
        monkeypatch.setattr("kong_gevent.runtime.node_cache.gevent.sleep", sleep)
        assert cache.claim(b"a", 20)
        assert cache.claim(b"a", 10)
        assert pauses[0] == 0.005 and pauses == sorted(pauses)
        assert len(pauses) < 300

    def test_no_time_is_too_long(self) -> None:
        cache = NodeCache(16_000, 64)
        assert cache.put(b"a", b"1", 10**40)
        assert cache.get(b"a") == b"1"

    @pytest.mark.parametrize("capacity", [1 << 20, 5_000_000, 128 << 20])
    def test_there_are_slots_for_small_entries(self, capacity: int) -> None:
        cache = NodeCache(capacity)
        assert all(cache.put(b"%d" % number, b"x" * 1000, 100) for number in range(capacity // 4096))
        kept = sum(cache.get(b"%d" % number) is not None for number in range(capacity // 4096))
        assert kept > 0.98 * (capacity // 4096)

    def test_the_oldest_make_room(self) -> None:
        cache = NodeCache(16_000, 64)
        for number in range(100):
            assert cache.put(b"k%d" % number, bytes([number]) * 900, 100)
        found = [number for number in range(100) if cache.get(b"k%d" % number) is not None]
        assert found[-1] == 99 and 8 <= len(found) <= 17
        assert all(cache.get(b"k%d" % number) == bytes([number]) * 900 for number in found)
        assert not cache.put(b"k", bytes(1001), 100)

    def test_entries_end_and_are_replaced(self) -> None:
        cache = NodeCache(16_000, 64)
        cache.put(b"a", b"1", -1)
        assert cache.get(b"a") is None
        cache.put(b"a", b"2", 100)
        assert cache.get(b"a") == b"2"
        cache.put(b"a", b"3", 100)
        assert cache.get(b"a") == b"3"
        assert (cache.delete(b"a"), cache.delete(b"a"), cache.get(b"a")) == (True, False, None)

    def test_clear(self) -> None:
        cache = NodeCache(16_000, 64)
        cache.clear()
        cache.put(b"a", b"1", 100)
        cache.get(b"a")
        cache.clear()
        assert cache.get(b"a") is None


def test_the_size_is_a_setting(make_gateway: Callable[..., Gateway], make_upstream: Callable[..., Upstream]) -> None:
    body = b"x" * 40_000
    upstream = make_upstream(plain(body, headers=[("Content-Type", "text/plain")]))
    node = make_gateway(env={"mem_cache_size": "2m"})
    node.route(upstream.url)
    node.create("/plugins", name="proxy-cache", config={"strategy": "memory"})
    for number in range(60):
        assert node.get(f"/{number}").content == body
    told = [node.get(f"/{number}").headers["X-Cache-Status"] for number in (59, 58, 0)]
    assert told == ["Hit", "Hit", "Miss"]
    shown = node.admin("GET", "/status").json()["memory"]["lua_shared_dicts"]["kong_db_cache"]
    assert (shown["capacity"], shown["allocated_slabs"]) == ("2.00 MiB", "2.00 MiB")


def test_of_equal_requests_in_all_workers_one_asks_the_upstream(
    make_gateway: Callable[..., Gateway], make_upstream: Callable[..., Upstream]
) -> None:
    reply = answer(200, b"{}", [("Content-Type", "application/json")])
    upstream = make_upstream(script(Pause(0.5), reply))
    node = make_gateway(workers=2)
    node.route(upstream.url)
    node.create("/plugins", name="proxy-cache", config={"strategy": "memory", "collapse_misses": True})
    with ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(lambda _: node.get("/a", headers={"Connection": "close"}), range(30)))
    assert {found.status_code for found in answers} == {200}
    assert sorted(found.headers["X-Cache-Status"] for found in answers) == ["Hit"] * 29 + ["Miss"]
    assert len(upstream.requests) == 1


def test_workers_share_the_cache(make_gateway: Callable[..., Gateway], make_upstream: Callable[..., Upstream]) -> None:
    upstream = make_upstream(plain(b"{}", headers=[("Content-Type", "application/json")]))
    node = make_gateway(workers=2)
    node.route(upstream.url, service={"name": "s"})
    node.create("/services/s/plugins", name="proxy-cache", config={"strategy": "memory"})
    told = [node.get("/a", headers={"Connection": "close"}).headers["X-Cache-Status"] for _ in range(20)]
    assert told == ["Miss"] + ["Hit"] * 19
    assert node.admin("DELETE", "/proxy-cache").status_code == 204
    told = [node.get("/a", headers={"Connection": "close"}).headers["X-Cache-Status"] for _ in range(20)]
    assert told == ["Miss"] + ["Hit"] * 19
