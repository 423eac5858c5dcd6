"""response-transformer: what the client gets."""

import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import pytest
from backports import zstd

from kong_gevent.errors import SchemaViolation
from kong_gevent.pdk.testing import InMemoryGateway, Run, respond
from kong_gevent.plugins import response_transformer
from tests.gateway import Gateway
from tests.upstream import Upstream, plain

Make = Callable[..., InMemoryGateway]
DOCUMENT = {"id": 5, "secret": "s", "ok": True, "list": [], "no": False, "none": None}


def answered(plugin: Make, config: dict[str, Any], body: Any = None, **headers: str) -> Run:
    made = plugin("response-transformer", **config)
    fields = {"Content-Type": "application/json", "X-A": "1", "X-B": "2", **headers}
    made.upstream.respond = respond(200, DOCUMENT if body is None else body, fields)
    run = made.get()
    assert run.status == 200
    return run


class TestHeaders:
    @pytest.mark.parametrize(
        ("config", "got"),
        [
            ({"remove": {"headers": ["x-a", "no such"]}}, {"x-b": ["2"]}),
            ({"rename": {"headers": ["x-a:x-c", "x-none:x-d"]}}, {"x-b": ["2"], "x-c": ["1"]}),
            ({"rename": {"headers": ["x-a:x-b"]}}, {"x-b": ["1"]}),
            ({"replace": {"headers": ["x-a:9", "x-none:9"]}}, {"x-a": ["9"], "x-b": ["2"]}),
            ({"add": {"headers": ["x-a:9", "x-new:a:b"]}}, {"x-a": ["1"], "x-b": ["2"], "x-new": ["a:b"]}),
            ({"append": {"headers": ["x-a:9", "x-new:1"]}}, {"x-a": ["1", "9"], "x-b": ["2"], "x-new": ["1"]}),
            ({"remove": {"headers": ["x-a"]}, "add": {"headers": ["x-a:9"]}}, {"x-a": ["9"], "x-b": ["2"]}),
            ({"remove": {"headers": ["x-a"]}, "replace": {"headers": ["x-a:9"]}}, {"x-a": ["9"], "x-b": ["2"]}),
            ({"add": {"headers": ["x-d:$(x)", "x-e:"]}}, {"x-a": ["1"], "x-b": ["2"], "x-d": ["$(x)"]}),
            ({"add": {"headers": ["content-length:1", "connection:close"]}}, {"x-a": ["1"], "x-b": ["2"]}),
        ],
    )
    def test_rules(self, plugin: Make, config: dict[str, Any], got: dict[str, list[str]]) -> None:
        headers = answered(plugin, config).response.headers
        found = {name.lower(): headers.all(name) for name, _ in headers.fields if name.lower().startswith("x-")}
        assert {name: values for name, values in found.items() if not name.startswith("x-kong")} == got
        assert (headers.all("Content-Length"), headers.all("Connection")) == (
            [str(len(json.dumps(DOCUMENT)))],
            ["keep-alive"],
        )

    def test_a_value_begins_no_new_field(self, plugin: Make) -> None:
        made = plugin("response-transformer", add={"headers": ["x-a:1\r\nX-B: 2\0"]}, remove={"headers": ["x-secret"]})
        made.upstream.respond = respond(200, "", {"X-Secret": "s"})
        headers = made.get().response.headers
        assert headers["x-a"] == "1%0D%0AX-B: 2%00"
        assert "X-B" not in headers and "X-Secret" not in headers

    def test_answers_of_other_plugins_and_of_the_gateway(self, plugin: Make) -> None:
        made = plugin("response-transformer", add={"headers": ["x-new:1"]}, replace={"headers": ["content-type:x/y"]})
        made.use("request-termination", on="route", status_code=403, message="m")
        run = made.get()
        assert (run.status, run.response.headers["x-new"], run.response.headers.all("Content-Type")) == (
            403,
            "1",
            ["x/y"],
        )
        made.delete("routes", made.route["id"])
        run = made.get()
        assert (run.status, run.response.headers["x-new"]) == (404, "1")


class TestJson:
    @pytest.mark.parametrize(
        ("config", "changes"),
        [
            ({"remove": {"json": ["secret", "nothing"]}}, {"secret": ...}),
            ({"rename": {"json": ["id:key", "nothing:x"]}}, {"id": ..., "key": 5}),
            ({"replace": {"json": ["id:6"], "json_types": ["number"]}}, {"id": 6}),
            ({"replace": {"json": ["id:6"]}}, {"id": "6"}),
            ({"replace": {"json": ["no:x", "missing:1"]}}, {}),
            ({"add": {"json": ["v:1", "ok:no"], "json_types": ["number", "string"]}}, {"v": 1}),
            ({"add": {"json": ["none:x", "no:y"]}}, {"none": "x", "no": "y"}),
            ({"add": {"json": ["t:true", "f:yes"], "json_types": ["boolean", "boolean"]}}, {"t": True, "f": False}),
            ({"add": {"json": ['p:"v"']}}, {"p": '"v"'}),
            ({"add": {"json": ["n:1.5", "m:1e3"], "json_types": ["number", "number"]}}, {"n": 1.5, "m": 1000}),
            ({"append": {"json": ["list:x", "id:9"], "json_types": ["string", "number"]}}, {"list": ["x"], "id": [9]}),
            ({"append": {"json": ["secret:t", "new:1"]}}, {"secret": ["s", "t"], "new": ["1"]}),
            ({"rename": {"json": ["id:a.b"]}}, {"id": ..., "a.b": 5}),
        ],
    )
    def test_rules(self, plugin: Make, config: dict[str, Any], changes: dict[str, Any]) -> None:
        run = answered(plugin, config)
        wanted = {**DOCUMENT, **changes}
        assert run.response.json() == {name: value for name, value in wanted.items() if value is not ...}

    def test_paths_when_dots_mean_something(self, plugin: Make) -> None:
        config = {"remove": {"json": ["items[*].secret"]}, "add": {"json": ["meta.by:x"]}, "dots_in_keys": False}
        run = answered(plugin, config, {"items": [{"secret": 1, "id": 2}, {"secret": 3}]})
        assert run.response.json() == {"items": [{"id": 2}, {}], "meta": {"by": "x"}}

    @pytest.mark.parametrize(
        "kind", ["application/json; charset=utf-8", "Application/JSON", "text/plain, application/json"]
    )
    def test_types_that_count_as_json(self, plugin: Make, kind: str) -> None:
        run = answered(plugin, {"remove": {"json": ["secret"]}}, **{"Content-Type": kind})
        assert "secret" not in run.response.json()

    @pytest.mark.parametrize(
        ("body", "kind"),
        [
            ("{", "application/json"),
            ("[1]", "application/json"),
            ("", "application/json"),
            ('{"secret":1}', "text/plain"),
        ],
    )
    def test_other_bodies_stay(self, plugin: Make, body: str, kind: str) -> None:
        assert answered(plugin, {"remove": {"json": ["secret"]}}, body, **{"Content-Type": kind}).response.text == body

    def test_its_length_is_not_told(self, plugin: Make) -> None:
        run = answered(plugin, {"remove": {"json": ["secret"]}})
        assert "Content-Length" not in run.response.headers
        assert run.response.headers["Transfer-Encoding"] == "chunked"

    def test_bodies_made_here_are_changed_too(self, plugin: Make) -> None:
        made = plugin("response-transformer", replace={"json": ["message:x"]})
        made.use("request-termination", message="m")
        run = made.get()
        assert (run.response.json(), run.response.headers["Content-Length"]) == ({"message": "x"}, "15")

    def test_head_and_304_have_no_body(self, plugin: Make) -> None:
        made = plugin("response-transformer", remove={"json": ["a"]})
        made.upstream.respond = respond(200, {"a": 1})
        assert made.request("HEAD", "/").response.body == b""
        made.upstream.respond = lambda _: b"HTTP/1.1 304 x\r\nContent-Type: application/json\r\n\r\n"
        assert made.get().status == 304

    def test_head_tells_no_length_that_is_wrong(self, plugin: Make) -> None:
        made = plugin("response-transformer", remove={"json": ["a"]})
        made.upstream.respond = respond(200, {"a": 1})
        assert "Content-Length" not in made.request("HEAD", "/").response.headers
        made.upstream.respond = respond(200, "text", {"Content-Type": "text/plain"})
        assert made.request("HEAD", "/").response.headers["Content-Length"] == "4"

    @pytest.mark.parametrize(("config", "asked"), [({"json": ["secret"]}, None), ({"headers": ["x-a"]}, "bytes=0-9")])
    def test_no_part_is_asked_for_of_which_nothing_could_be_removed(
        self, plugin: Make, config: dict[str, Any], asked: str | None
    ) -> None:
        run = plugin("response-transformer", remove=config).get("/", headers={"Range": "bytes=0-9"})
        assert run.upstream.headers.get("Range") == asked


class TestEncodings:
    @pytest.mark.parametrize(
        ("name", "encode"),
        [
            ("gzip", gzip.compress),
            ("x-gzip", gzip.compress),
            ("deflate", zlib.compress),
            ("br", brotli.compress),
            ("zstd", zstd.compress),
            ("zstd", lambda data: zstd.compress(data[:4]) + zstd.compress(data[4:])),
            ("deflate", lambda data: zlib.compress(data)[2:-4]),
            ("gzip", lambda data: gzip.compress(data[:4]) + gzip.compress(data[4:])),
        ],
    )
    def test_a_readable_one_is_changed_and_sent_without(self, plugin: Make, name: str, encode: Any) -> None:
        body = encode(json.dumps(DOCUMENT).encode())
        made = plugin("response-transformer", remove={"json": ["secret"]})
        fields = {"Content-Type": "application/json", "Content-Encoding": name}
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n" + "".join(
            f"{k}: {v}\r\n" for k, v in fields.items()
        )
        made.upstream.respond = lambda _: head.encode() + b"\r\n" + body
        run = made.get("/", headers={"Accept-Encoding": "gzip"})
        assert "Content-Encoding" not in run.response.headers
        assert "secret" not in run.response.json()

    @pytest.mark.parametrize(
        ("sent", "asked"),
        [
            ("gzip, br;q=0.9, compress", "gzip, br;q=0.9"),
            ("zstd", "zstd"),
            ("compress", "identity"),
            ("gzip;q=0.5, deflate", "gzip;q=0.5, deflate"),
            (None, None),
        ],
    )
    def test_upstreams_are_asked_for_readable_ones(self, plugin: Make, sent: str | None, asked: str | None) -> None:
        made = plugin("response-transformer", remove={"json": ["secret"]})
        run = made.get("/", headers={"Accept-Encoding": sent} if sent else {})
        assert run.upstream.headers.get("Accept-Encoding") == asked

    def test_without_rules_for_bodies_nothing_is_asked_otherwise(self, plugin: Make) -> None:
        made = plugin("response-transformer", remove={"headers": ["x-a"]})
        assert made.get("/", headers={"Accept-Encoding": "br"}).upstream.headers["Accept-Encoding"] == "br"

    def test_another_one_stays(self, plugin: Make) -> None:
        run = answered(plugin, {"remove": {"json": ["secret"]}}, "\x0b", **{"Content-Encoding": "compress"})
        assert (run.response.body, run.response.headers["Content-Encoding"]) == (b"\x0b", "compress")

    @pytest.mark.parametrize(
        ("name", "body"),
        [
            ("gzip", b"no gzip"),
            ("gzip", gzip.compress(b'{"secret":1}', mtime=0)[:-6]),
            ("gzip", gzip.compress(b"", mtime=0) * 5000),
            ("zstd", zstd.compress(b"") * 5000),
            ("br", b"no br"),
            ("br", brotli.compress(b'{"secret":1}')[:-3]),
            ("zstd", b"no zstd"),
            ("zstd", zstd.compress(b'{"secret":1}')[:-3]),
        ],
        ids=["no gzip", "cut gzip", "many members", "many frames", "no br", "cut br", "no zstd", "cut zstd"],
    )
    def test_a_broken_one_is_cut(self, plugin: Make, name: str, body: bytes) -> None:
        made = plugin("response-transformer", remove={"json": ["secret"]})
        head = (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n"
        )
        made.upstream.respond = lambda _: head % (name.encode(), len(body)) + body
        with pytest.raises(AssertionError, match="not complete"):
            made.get()

    def test_a_large_one_is_decoded_too(self, plugin: Make) -> None:
        value = "".join(f"{number:x} " for number in range(100_000))
        body = brotli.compress(json.dumps({"secret": 1, "kept": value}).encode(), quality=1)
        assert len(body) > 1 << 17
        made = plugin("response-transformer", remove={"json": ["secret"]})
        head = (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: br\r\nContent-Length: %d\r\n\r\n"
        )
        made.upstream.respond = lambda _: head % len(body) + body
        assert made.get().response.json() == {"kept": value}

    def test_one_that_is_too_large_is_cut(self, plugin: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(response_transformer, "MAX_BODY", 20)
        made = plugin("response-transformer", remove={"json": ["secret"]})
        made.upstream.respond = respond(200, {"secret": "x" * 100})
        with pytest.raises(AssertionError, match="not complete"):
            made.get()


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({"rename": {"headers": ["a"]}}, {"rename": {"headers": ["invalid value: a"]}}),
        ({"rename": {"headers": ["a b:c"]}}, {"rename": {"headers": ["'a b' is not a valid header"]}}),
        ({"rename": {"json": ["a"]}}, {"rename": {"json": ["invalid value: a"]}}),
        *[
            ({verb: {part: ["a"]}}, {verb: {part: ["invalid value: a"]}})
            for verb in ("replace", "add", "append")
            for part in ("headers", "json")
        ],
        ({"add": {"json_types": ["list"]}}, {"add": {"json_types": ["expected one of: boolean, number, string"]}}),
        ({"add": {"headers": ["a b:c"]}}, {"add": {"headers": ["'a b' is not a valid header"]}}),
        ({"remove": {"json": None}}, {"remove": {"json": "required field missing"}}),
    ],
)
def test_bad_settings_are_refused(plugin: Make, config: dict[str, Any], error: Any) -> None:
    with pytest.raises(SchemaViolation) as caught:
        plugin("response-transformer", **config)
    assert caught.value.fields == {"config": error}


def test_through_a_gateway(gateway: Gateway, make_upstream: Callable[..., Upstream]) -> None:
    upstream = make_upstream(plain(b'{"a":1,"b":2}', headers=[("Content-Type", "application/json")]))
    gateway.route(upstream.url, service={"name": "s"})
    config = {"remove": {"json": ["a"]}, "add": {"headers": ["x-by:me"]}}
    gateway.create("/services/s/plugins", name="response-transformer", config=config)
    answer = gateway.get("/")
    assert (answer.json(), answer.headers["x-by"]) == ({"b": 2}, "me")
