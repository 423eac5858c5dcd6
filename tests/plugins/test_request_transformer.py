"""request-transformer: what the upstream gets."""

import gzip
import json
import zlib
from collections.abc import Callable
from contextlib import closing
from typing import Any

import brotli
import pytest
from backports import zstd

from kong_gevent.errors import SchemaViolation
from kong_gevent.pdk.outcomes import ADMITTED
from kong_gevent.pdk.testing import InMemoryGateway, Received, respond
from tests.gateway import Gateway
from tests.upstream import Upstream

Make = Callable[..., InMemoryGateway]
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
DOCUMENT = '{"name":"Ada","role":"admin","tags":["a"],"n":7,"flag":false,"none":null,"empty":[]}'
MULTIPART = (
    b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    b'--b\r\nContent-Disposition: form-data; name="f"; filename="x.bin"\r\n'
    b"Content-Type: x/y\r\n\r\n\x00\xff\r\n--b--\r\n"
)


def received(plugin: Make, config: dict[str, Any], path: str = "/v1/users?page=2&debug=1", **request: Any) -> Received:
    request.setdefault("headers", {"X-Tenant": "blue", "X-Old": "1"})
    run = plugin("request-transformer", **config).request(request.pop("method", "GET"), path, **request)
    assert run.status == 200
    return run.upstream


class TestHeaders:
    @pytest.mark.parametrize(
        ("config", "sent", "got"),
        [
            ({"remove": {"headers": ["x-old"]}, "rename": {"headers": ["x-tenant:x-org"]}}, {}, {"x-org": ["blue"]}),
            ({"remove": {"headers": ["X_OLD"]}}, {}, {"x-tenant": ["blue"]}),
            ({"rename": {"headers": ["x-none:x-org"]}}, {}, {"x-tenant": ["blue"], "x-old": ["1"]}),
            ({"rename": {"headers": ["x-tenant:x-old"]}}, {}, {"x-old": ["blue"]}),
            ({"rename": {"headers": ["x-tenant:x-tenant"]}}, {}, {"x-tenant": ["blue"], "x-old": ["1"]}),
            (
                {
                    "replace": {"headers": ["x-new:1"]},
                    "add": {"headers": ["x-new:2"]},
                    "append": {"headers": ["x-new:3"]},
                },
                {},
                {"x-tenant": ["blue"], "x-old": ["1"], "x-new": ["2", "3"]},
            ),
            ({"replace": {"headers": ["x-old:2"]}}, {}, {"x-tenant": ["blue"], "x-old": ["2"]}),
            ({"add": {"headers": ["x-old:2"]}}, {}, {"x-tenant": ["blue"], "x-old": ["1"]}),
            ({"append": {"headers": ["x-old:2"]}}, {}, {"x-tenant": ["blue"], "x-old": ["1", "2"]}),
            (
                {"remove": {"headers": ["x-old"]}, "add": {"headers": ["x-old:2"]}},
                {},
                {"x-tenant": ["blue"], "x-old": ["2"]},
            ),
            (
                {"remove": {"headers": ["x-old"]}, "replace": {"headers": ["x-old:2"]}},
                {},
                {"x-tenant": ["blue"]},
            ),
            (
                {"add": {"headers": ["x-url:http://a:80/b"]}},
                {},
                {"x-tenant": ["blue"], "x-old": ["1"], "x-url": ["http://a:80/b"]},
            ),
            ({"add": {"headers": ["x-a::b", "x-c:"]}}, {}, {"x-tenant": ["blue"], "x-old": ["1"], "x-a": ["b"]}),
            (
                {"add": {"headers": ["x-percent:100%d"]}},
                {},
                {"x-tenant": ["blue"], "x-old": ["1"], "x-percent": ["100%d"]},
            ),
        ],
    )
    def test_rules(self, plugin: Make, config: dict[str, Any], sent: Any, got: dict[str, list[str]]) -> None:
        headers = received(plugin, config).headers
        found = {name.lower(): headers.all(name) for name, _ in headers.fields if name.lower().startswith("x-")}
        ours = {
            name: values for name, values in found.items() if not name.startswith(("x-forwarded", "x-real", "x-kong"))
        }
        assert ours == got

    def test_names_are_spelled_as_configured(self, plugin: Make) -> None:
        config = {"rename": {"headers": ["x-tenant:X-ORG", "X-OLD:x-OLD"]}, "add": {"headers": ["xX-Yy:1"]}}
        names = [name for name, _ in received(plugin, config).headers.fields]
        assert {"X-ORG", "x-OLD", "xX-Yy"} <= set(names)

    def test_a_repeated_header_is_renamed_and_appended_to_as_a_whole(self, plugin: Make) -> None:
        config = {"rename": {"headers": ["x-a:x-b"]}, "append": {"headers": ["x-b:3", "x-c:2"]}}
        headers = received(plugin, config, headers=[("X-A", "1"), ("X-A", "2"), ("X-C", "1")]).headers
        assert (headers.all("x-a"), headers.all("x-b"), headers.all("x-c")) == ([], ["1", "2", "3"], ["1", "2"])

    @pytest.mark.parametrize(
        ("verb", "host"), [("replace", "other.test"), ("append", "other.test"), ("add", "upstream.test")]
    )
    def test_host(self, plugin: Make, verb: str, host: str) -> None:
        assert received(plugin, {verb: {"headers": ["host:other.test"]}}).headers.all("Host") == [host]

    def test_framing_stays_the_gateways(self, plugin: Make) -> None:
        config = {
            verb: {"headers": ["Content-Length:1", "transfer_encoding:chunked", "connection:x-a"]}
            for verb in ("replace", "add", "append")
        }
        got = received(plugin, config, method="POST", body="abc").headers
        assert (got.all("Content-Length"), got.all("Transfer-Encoding"), got.all("Connection")) == (
            ["3"],
            [],
            ["keep-alive"],
        )

    def test_what_earlier_plugins_set_counts(self, plugin: Make) -> None:
        made = plugin("correlation-id", header_name="X-Id", generator="uuid")
        made.use("key-auth")
        made.consumer("ada", "k")
        made.use(
            "request-transformer",
            rename={"headers": ["x-consumer-username:X-User"]},
            replace={"headers": ["x-id:mine"]},
            add={"headers": ["x-consumer-id:none"]},
        )
        headers = made.get("/", headers={"apikey": "k"}).upstream.headers
        assert (headers.all("X-User"), headers.all("X-Consumer-Username"), headers.all("X-Id")) == (
            ["ada"],
            [],
            ["mine"],
        )
        assert headers["X-Consumer-ID"] != "none"


class TestQuery:
    @pytest.mark.parametrize(
        ("config", "got"),
        [
            ({"remove": {"querystring": ["debug"]}, "add": {"querystring": ["page:9", "size:50"]}}, "page=2&size=50"),
            ({"append": {"querystring": ["page:3"]}}, "page=2&page=3&debug=1"),
            ({"append": {"querystring": ["new:3"]}}, "page=2&debug=1&new=3"),
            ({"rename": {"querystring": ["page:p", "none:x"]}}, "debug=1&p=2"),
            ({"replace": {"querystring": ["page:a b", "none:1"]}}, "page=a%20b&debug=1"),
            ({"remove": {"querystring": ["PAGE"]}}, "page=2&debug=1"),
            ({"remove": {"querystring": ["page", "debug"]}}, ""),
        ],
    )
    def test_rules(self, plugin: Make, config: dict[str, Any], got: str) -> None:
        assert received(plugin, config).target == "/v1/users" + (f"?{got}" if got else "")

    def test_an_untouched_query_passes_byte_for_byte(self, plugin: Make) -> None:
        path = "/a?b=%c3%bc&[x]=1&&y=a+b"
        assert received(plugin, {"add": {"headers": ["x-a:1"]}}, path).target == path

    def test_arguments_keep_their_shape(self, plugin: Make) -> None:
        target = received(plugin, {"add": {"querystring": ["z:1"]}}, "/?flag&e=&l=1&l=2&s=%26").target
        assert target == "/?flag&e=&l=1&l=2&s=%26&z=1"


class TestJson:
    @pytest.mark.parametrize(
        ("config", "changes"),
        [
            ({"remove": {"body": ["role", "nothing"]}}, {"role": None}),
            ({"replace": {"body": ["role:user", "missing:1"]}}, {"role": "user"}),
            ({"replace": {"body": ["flag:true", "none:1"]}}, {}),
            ({"add": {"body": ["flag:x", "name:y", "new:z"]}}, {"flag": "x", "new": "z"}),
            (
                {"append": {"body": ["tags:b", "name:Lovelace", "n:8", "new:1", "empty:e"]}},
                {"tags": ["a", "b"], "name": ["Ada", "Lovelace"], "n": ["8"], "new": ["1"], "empty": ["e"]},
            ),
            ({"rename": {"body": ["name:full.name", "flag:f"]}}, {"name": None, "full.name": "Ada"}),
            ({"remove": {"body": ["name"]}, "add": {"body": ["name:x"]}}, {"name": "x"}),
        ],
    )
    def test_rules(self, plugin: Make, config: dict[str, Any], changes: dict[str, Any]) -> None:
        got = received(plugin, config, method="POST", body=DOCUMENT, headers=JSON)
        wanted = {**json.loads(DOCUMENT), **changes}
        missing = [name for name, value in changes.items() if value is None]
        assert got.json() == {name: value for name, value in wanted.items() if name not in missing}
        assert got.headers["Content-Length"] == str(len(got.body))

    @pytest.mark.parametrize("body", ["{", "[1]", '"a"', "nul"])
    def test_what_is_no_object_stays(self, plugin: Make, body: str) -> None:
        config = {"add": {"body": ["a:1"]}}
        assert received(plugin, config, method="POST", body=body, headers=JSON).text == body

    def test_adding_makes_a_body_and_the_others_do_not(self, plugin: Make) -> None:
        assert received(plugin, {"add": {"body": ["a:1"]}}, method="POST", headers=JSON).json() == {"a": "1"}
        config = {"remove": {"body": ["a"]}, "rename": {"body": ["a:b"]}, "replace": {"body": ["a:1"]}}
        assert received(plugin, config, method="POST", body="", headers=JSON).body == b""

    def test_the_type_may_have_parameters(self, plugin: Make) -> None:
        headers = {"Content-Type": "Application/JSON; charset=utf-8"}
        assert received(plugin, {"add": {"body": ["a:ü"]}}, method="POST", body="{}", headers=headers).json() == {
            "a": "ü"
        }

    def test_other_types_are_not_read(self, plugin: Make) -> None:
        got = received(
            plugin, {"add": {"body": ["a:1"]}}, method="POST", body="{}", headers={"Content-Type": "text/plain"}
        )
        assert got.text == "{}"

    def test_great_numbers_and_odd_texts_survive(self, plugin: Make) -> None:
        body = '{"a":123456789012345678901234567890,"b":"\\ud800"}'
        got = received(plugin, {"add": {"body": ["c:1"]}}, method="POST", body=body, headers=JSON).json()
        assert got == {"a": 123456789012345678901234567890, "b": "\ud800", "c": "1"}

    @pytest.mark.parametrize(
        ("config", "got"),
        [
            ({"remove": {"body": ["user.name"]}}, {"user": {"tags": []}, "list": [{"a": 1}, {"a": 2}]}),
            ({"remove": {"body": ["list[*].a"]}}, {"user": {"name": "x", "tags": []}, "list": [{}, {}]}),
            ({"remove": {"body": ["list[*]"]}}, {"user": {"name": "x", "tags": []}, "list": []}),
            (
                {"replace": {"body": ["list[*].a:9", "user.none:1"]}},
                {"user": {"name": "x", "tags": []}, "list": [{"a": "9"}, {"a": "9"}]},
            ),
            (
                {"add": {"body": ["user.address.city:Rome"]}},
                {"user": {"name": "x", "tags": [], "address": {"city": "Rome"}}, "list": [{"a": 1}, {"a": 2}]},
            ),
            (
                {"append": {"body": ["user.tags:t"]}, "rename": {"body": ["user.name:full"]}},
                {"user": {"full": "x", "tags": ["t"]}, "list": [{"a": 1}, {"a": 2}]},
            ),
            ({"add": {"body": ["list.x:1", "user.name.deep:1"]}}, None),
        ],
    )
    def test_paths_when_dots_mean_something(self, plugin: Make, config: dict[str, Any], got: Any) -> None:
        body = {"user": {"name": "x", "tags": []}, "list": [{"a": 1}, {"a": 2}]}
        config = {**config, "dots_in_keys": False}
        assert received(plugin, config, method="POST", body=json.dumps(body), headers=JSON).json() == (got or body)


class TestOtherBodies:
    def test_forms(self, plugin: Make) -> None:
        config = {
            "remove": {"body": ["r"]},
            "rename": {"body": ["o:new"]},
            "replace": {"body": ["p:2", "none:1"]},
            "add": {"body": ["p:9", "a:x y"]},
            "append": {"body": ["p:3", "z:1"]},
        }
        got = received(plugin, config, method="POST", body="r=1&o=2&p=1&q=%26", headers=FORM)
        assert got.text == "p=2&p=3&q=%26&new=2&a=x%20y&z=1"

    def test_multipart_forms(self, plugin: Make) -> None:
        config = {
            "rename": {"body": ["a:b"]},
            "remove": {"body": ["gone"]},
            "replace": {"body": ["b:2", "none:1"]},
            "add": {"body": ["c:3", "f:no"]},
            "append": {"body": ["d:4"]},
        }
        headers = {"Content-Type": 'multipart/form-data; boundary="b"'}
        got = received(plugin, config, method="POST", body=MULTIPART, headers=headers).body
        assert got == (
            b'--b\r\nContent-Disposition: form-data; name="b"\r\n\r\n2\r\n'
            b'--b\r\nContent-Disposition: form-data; name="f"; filename="x.bin"\r\n'
            b"Content-Type: x/y\r\n\r\n\x00\xff\r\n"
            b'--b\r\nContent-Disposition: form-data; name="c"\r\n\r\n3\r\n--b--\r\n'
        )

    def test_a_multipart_part_keeps_its_file_name_when_renamed(self, plugin: Make) -> None:
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        got = received(plugin, {"rename": {"body": ["f:g"]}}, method="POST", body=MULTIPART, headers=headers).body
        assert b'name="g"; filename="x.bin"' in got and b"\x00\xff" in got

    @pytest.mark.parametrize(
        ("name", "encode"),
        [
            ("gzip", gzip.compress),
            ("deflate", zlib.compress),
            ("br", brotli.compress),
            ("zstd", zstd.compress),
            ("BR", brotli.compress),
        ],
    )
    def test_encoded_bodies_are_changed_and_go_out_decoded(self, plugin: Make, name: str, encode: Any) -> None:
        headers = {**JSON, "Content-Encoding": name}
        got = received(plugin, {"add": {"body": ["b:1"]}}, method="POST", body=encode(b'{"a":1}'), headers=headers)
        assert (got.json(), "Content-Encoding" in got.headers) == ({"a": 1, "b": "1"}, False)

    @pytest.mark.parametrize(
        ("name", "body"),
        [
            ("compress", b"\x0b\x02"),
            ("gzip, br", b"\x0b\x02"),
            ("br", b"\x0b\x02"),
            ("zstd", b"no zstd"),
            ("gzip", b"no gzip"),
            ("gzip", gzip.compress(bytes(9 << 20))),
            ("br", brotli.compress(bytes(9 << 20))),
            ("zstd", zstd.compress(bytes(9 << 20))),
        ],
        ids=["unknown", "two", "cut br", "no zstd", "no gzip", "large gzip", "large br", "large zstd"],
    )
    def test_bodies_that_cannot_be_decoded_stay(self, plugin: Make, name: str, body: bytes) -> None:
        headers = {**JSON, "Content-Encoding": name}
        got = received(plugin, {"add": {"body": ["b:1"]}}, method="POST", body=body, headers=headers)
        assert (got.body, got.headers["Content-Encoding"]) == (body, name)

    def test_json_in_another_charset_stays_unless_it_can_be_read(self, plugin: Make) -> None:
        for body, changed in (
            ('{"a":"é"}'.encode("latin-1"), None),
            ('{"a":"é"}'.encode("utf-16"), {"a": "é", "b": "1"}),
        ):
            got = received(plugin, {"add": {"body": ["b:1"]}}, method="POST", body=body, headers=JSON)
            assert (got.body == body) if changed is None else (got.json() == changed)

    def test_chunked_bodies(self, plugin: Make) -> None:
        got = received(plugin, {"add": {"body": ["b:1"]}}, method="POST", body="{}", chunked=True, headers=JSON)
        assert got.json() == {"b": "1"}


class TestMethod:
    def test_the_method_changes(self, plugin: Make) -> None:
        assert received(plugin, {"http_method": "PATCH"}, method="POST", body="x").line.startswith("PATCH /")

    @pytest.mark.parametrize("method", ["GET", "HEAD", "TRACE"])
    def test_a_form_goes_into_the_query(self, plugin: Make, method: str) -> None:
        got = received(plugin, {"http_method": method}, "/a?x=1", method="POST", body="x=2&y=3", headers=FORM)
        assert (got.method, got.target, got.text) == (method, "/a?x=1&x=2&y=3", "x=2&y=3")

    def test_an_encoded_form_is_decoded_for_that(self, plugin: Make) -> None:
        headers = {**FORM, "Content-Encoding": "gzip"}
        body = gzip.compress(b"x=2")
        got = received(plugin, {"http_method": "GET"}, "/a?x=1", method="POST", body=body, headers=headers)
        assert (got.target, got.body) == ("/a?x=1&x=2", body)

    @pytest.mark.parametrize(("encoding", "body"), [("gzip", b"x=2"), ("compress", b"x=2")])
    def test_a_form_that_cannot_be_read_stays_where_it_is(self, plugin: Make, encoding: str, body: bytes) -> None:
        headers = {**FORM, "Content-Encoding": encoding}
        got = received(plugin, {"http_method": "GET"}, "/a?x=1", method="POST", body=body, headers=headers)
        assert (got.target, got.body) == ("/a?x=1", body)

    def test_no_body_is_awaited_when_only_the_head_was_asked_for(self, plugin: Make) -> None:
        made = plugin("request-transformer", http_method="HEAD")
        made.upstream.respond = respond(200, "body")
        assert made.get().response.headers["Content-Length"] == "0"
        assert made.request("HEAD", "/").response.headers["Content-Length"] == "4"

    def test_head_asked_with_another_method_gets_no_body(self, plugin: Make) -> None:
        run = plugin("request-transformer", http_method="GET").request("HEAD", "/")
        assert (run.upstream.method, run.response.body) == ("GET", b"")

    def test_rules_for_the_query_see_the_form(self, plugin: Make) -> None:
        config = {"http_method": "GET", "remove": {"querystring": ["y"]}}
        assert received(plugin, config, "/a", method="POST", body="x=2&y=3", headers=FORM).target == "/a?x=2"

    def test_a_type_given_by_a_rule_counts_for_the_body(self, plugin: Make) -> None:
        config = {"http_method": "POST", "add": {"headers": ["content-type:application/json"], "body": ["a:1"]}}
        assert received(plugin, config).json() == {"a": "1"}


class TestTemplates:
    @pytest.mark.parametrize(
        ("value", "got"),
        [
            ("$(query_params.page)", "2"),
            ('$(headers["x-unknown"])', ""),
            ("$(headers.X_Tenant)-$(headers['X-TENANT'])", "blue-blue"),
            ("$(headers.none or 'default')", "default"),
            ("$(query_params.page + 1)", "3"),
            ("a$b$$", "a$b$$"),
            ("$('$(x)')", "$(x)"),
            ("$(type(headers.none))", "nil"),
            ("$(string.upper(headers.host))", "GATEWAY.TEST"),
            ("$(string.gsub(query_params.debug, '(%d)', '<%1>'))", "<1>"),
            ("$(query_params.none == nil and 'no' or 'yes')", "no"),
            ("$(uri_captures[1] or 'none')", "none"),
            ("$(headers.double)", "1, 2"),
            ("$(headers.double[2])", "2"),
        ],
    )
    def test_values(self, plugin: Make, value: str, got: str) -> None:
        headers = [("X-Tenant", "blue"), ("Double", "1"), ("Double", "2")]
        assert received(plugin, {"add": {"headers": [f"x-v:{value}"]}}, headers=headers).headers.all("x-v") == [got]

    def test_they_see_the_request_as_it_was_sent(self, plugin: Make) -> None:
        config = {
            "remove": {"headers": ["x-tenant"], "querystring": ["page"]},
            "add": {"headers": ["x-page:$(query_params.page)"], "querystring": ["t:$(headers.x_tenant)"]},
        }
        got = received(plugin, config)
        assert (got.headers["x-page"], got.target) == ("2", "/v1/users?debug=1&t=blue")

    @pytest.mark.parametrize(
        ("route", "uri", "got"),
        [
            ("~/v1/users", "/v2$(uri_captures[0])", "/v2/v1/users"),
            (r"~/(?<kind>\w+)/(\w+)", "/$(uri_captures[2])/$(uri_captures.kind)", "/users/v1"),
            ("/v1", "/fixed", "/fixed"),
            ("/", "no-slash", "/no-slash"),
            ("/", "/a b?c", "/a%20b%3Fc"),
        ],
    )
    def test_the_path(self, plugin: Make, route: str, uri: str, got: str) -> None:
        made = plugin("request-transformer", replace={"uri": uri})
        made.update("routes", made.route["id"], paths=[route])
        assert made.get("/v1/users?page=2").upstream.target == f"{got}?page=2"

    def test_shared_values(self, plugin: Make) -> None:
        made = plugin("request-transformer", add={"headers": ["x-s:$(shared.a or 'none')"]})
        assert made.get().upstream.headers["x-s"] == "none"

    def test_what_clients_send_cannot_begin_a_field(self, plugin: Make) -> None:
        config = {"add": {"headers": ["x-v:$(query_params.v)"]}}
        got = received(plugin, config, "/?v=a%0d%0aX-Evil:1%00").headers
        assert (got["x-v"], "X-Evil" in got) == ("a%0D%0AX-Evil:1%00", False)

    def test_octets_that_are_no_utf8_pass(self, plugin: Make) -> None:
        config = {"add": {"headers": ["x-v:ü$(headers.x_a)"]}}
        got = received(plugin, config, headers={"X-A": "\xff\xc3\xbc"})
        assert got.headers["x-v"].encode("latin-1") == "ü".encode() + b"\xff\xc3\xbc"

    def test_octets_that_are_no_utf8_pass_into_path_and_query(self, plugin: Make) -> None:
        config = {"replace": {"uri": "/$(headers.x_a)"}, "add": {"querystring": ["q:$(headers.x_a)"]}}
        assert received(plugin, config, "/", headers={"X-A": "\xff\xc3\xbc"}).target == "/%FF%C3%BC?q=%FF%C3%BC"

    @pytest.mark.parametrize(
        "value",
        ["$(nothing())", "$(headers.none + 1)", "$(headers.none.deeper)", "$(string.gsub('a', '(', ''))", "$(1 < 'a')"],
    )
    def test_one_that_fails_ends_the_request(self, plugin: Make, value: str) -> None:
        run = plugin("request-transformer", add={"headers": [f"x-v:{value}"]}).get()
        assert (run.status, run.upstreams) == (500, [])
        assert run.response.json()["message"] == "An unexpected error occurred"

    @pytest.mark.parametrize(("setting", "status"), [("off", 500), ("sandbox", 200), ("on", 200)])
    def test_they_may_be_forbidden(self, setting: str, status: int, caplog: pytest.LogCaptureFixture) -> None:
        with closing(InMemoryGateway(untrusted_lua=setting)) as made:
            made.use("request-transformer", add={"headers": ["x-v:$(headers.x_a or 'none')"]})
            assert made.get().status == status
        assert ("untrusted_lua = off" in caplog.text) == (status == 500)

    def test_what_needs_none_is_never_forbidden(self) -> None:
        with closing(InMemoryGateway(untrusted_lua="off")) as made:
            made.use("request-transformer", add={"headers": ["x-v:$1"]})
            assert made.get().upstream.headers["x-v"] == "$1"


NO_HEADER = "'a b' is not a valid header"


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({"http_method": "get"}, {"http_method": "invalid value: get"}),
        ({"http_method": "GET X"}, {"http_method": "invalid value: GET X"}),
        ({"remove": {"headers": ["a b"]}}, {"remove": {"headers": [NO_HEADER]}}),
        ({"rename": {"headers": ["a"]}}, {"rename": {"headers": ["invalid value: a"]}}),
        ({"rename": {"headers": ["a b:c"]}}, {"rename": {"headers": [NO_HEADER]}}),
        ({"rename": {"headers": ["c:a b"]}}, {"rename": {"headers": [NO_HEADER]}}),
        ({"rename": {"querystring": ["a"]}}, {"rename": {"querystring": ["key 'a' has no value"]}}),
        ({"rename": {"body": ["a:"]}}, {"rename": {"body": ["key 'a' has no value"]}}),
        *[
            ({verb: {"headers": ["a"]}}, {verb: {"headers": ["invalid value: a"]}})
            for verb in ("replace", "add", "append")
        ],
        *[({verb: {"headers": ["a b:1"]}}, {verb: {"headers": [NO_HEADER]}}) for verb in ("replace", "add", "append")],
        *[
            ({verb: {part: ["x:1", "a"]}}, {verb: {part: [None, "key 'a' has no value"]}})
            for verb in ("replace", "add", "append")
            for part in ("querystring", "body")
        ],
        (
            {"add": {"body": ["a:$(x"]}},
            {"add": {"body": ["value '$(x' is not in supported format, error:')' expected near '<eof>'"]}},
        ),
        (
            {"replace": {"uri": "$(x"}},
            {"replace": {"uri": "value '$(x' is not in supported format, error:')' expected near '<eof>'"}},
        ),
        ({"remove": {"headers": None}}, {"remove": {"headers": "required field missing"}}),
        ({"remove": None}, {"remove": "required field missing"}),
        ({"add": {"json": []}}, {"add": {"json": "unknown field"}}),
    ],
)
def test_bad_settings_are_refused(plugin: Make, config: dict[str, Any], error: Any) -> None:
    with pytest.raises(SchemaViolation) as caught:
        plugin("request-transformer", **config)
    assert caught.value.fields == {"config": error}


def test_a_body_that_is_too_large_is_refused(plugin: Make) -> None:
    run = plugin("request-transformer", add={"body": ["a:1"]}).post("/", bytes(9 << 20), headers=JSON)
    assert (run.status, run.upstreams) == (413, [])


def test_a_connection_with_a_body_that_nobody_read_is_not_used_again(gateway: Gateway, upstream: Upstream) -> None:
    gateway.reset()
    gateway.route(upstream.url, service={"name": "s"})
    gateway.create("/services/s/plugins", name="request-transformer", config={"http_method": "GET"})
    for path in ("/a", "/b", "/c"):
        assert gateway.request("HEAD", path).status_code == 200
        assert gateway.get(path).json()["target"] == path


def test_through_a_gateway(gateway: Gateway, upstream: Upstream) -> None:
    gateway.reset()
    gateway.route(upstream.url, service={"name": "s"})
    config = {"add": {"headers": ["x-q:$(query_params.q)"], "body": ["a:1"]}, "replace": {"uri": "/new"}}
    gateway.create("/services/s/plugins", name="request-transformer", config=config)
    told = gateway.request("POST", "/old?q=5", json={"b": 2}).json()
    assert told["target"] == "/new?q=5" and json.loads(told["body"]) == {"a": "1", "b": 2}
    assert {name.lower(): value for name, value in dict(told["headers"]).items()}["x-q"] == "5"


def test_what_is_kept_of_one_request_changes_no_other(plugin: Make) -> None:
    rules = {"remove": {"headers": ["x-a"]}, "rename": {"headers": ["x-b:x-d"]}, "add": {"querystring": ["page:1"]}}
    made = plugin("request-transformer", **rules)
    asked = [("/?n=1", "page=1", "v1"), ("/?n=2&page=7", "page=7", "v2"), ("/?n=1", "page=1", "v3")]
    for _ in range(2 * ADMITTED):
        for path, page, value in asked:
            upstream = made.get(path, headers={"X-A": "1", "X-B": value}).upstream
            assert upstream.target == f"/?{path[2:5]}&{page}"
            assert (upstream.headers.get("X-A"), upstream.headers["X-D"]) == (None, value)


def test_computed_values_are_those_of_each_request(plugin: Make) -> None:
    made = plugin(
        "request-transformer",
        add={"headers": ["x-n:$(query_params.n)"], "querystring": ["m:$(query_params.n)"]},
    )
    for number in [str(number) for number in range(2 * ADMITTED)]:
        upstream = made.get(f"/?n={number}").upstream
        assert (upstream.headers["X-N"], upstream.target) == (number, f"/?n={number}&m={number}")
