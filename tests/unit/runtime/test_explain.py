"""What `/debug/explain` says is what happens: compared with real requests through the same gateway, in process."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from kong_gevent.dns import Answer, Place
from kong_gevent.pdk.testing import InMemoryGateway

Row = dict[str, Any]


@pytest.fixture(scope="module")
def gateway() -> Iterator[InMemoryGateway]:
    """Routes of several kinds, among them some that lose, redirect, lead nowhere or are not served."""
    node = InMemoryGateway(trusted_ips="10.0.0.0/8")
    based = node.insert("services", name="based", host="based.test", port=8080, path="/base")
    balanced = node.insert("services", name="balanced", host="pool", port=80)
    off = node.insert("services", name="off", host="off.test", enabled=False)
    for name, service, fields in (
        ("orders", based, {"paths": ["/orders"], "methods": ["GET", "POST"]}),
        ("orders-v2", based, {"paths": ["/orders"], "headers": {"x-version": ["2"]}, "methods": ["GET"]}),
        ("kept", based, {"paths": ["/kept"], "strip_path": False, "preserve_host": True}),
        ("regex", based, {"paths": [r"~/items/(?<item>\d+)"]}),
        ("secure", based, {"paths": ["/secure"], "protocols": ["https"]}),
        ("moved", based, {"paths": ["/moved"], "protocols": ["https"], "https_redirect_status_code": 301}),
        ("grpc", based, {"paths": ["/grpc"], "protocols": ["grpc"]}),
        ("pool", balanced, {"paths": ["/pool"]}),
        ("off", off, {"paths": ["/off"]}),
        ("nowhere", None, {"paths": ["/nowhere"]}),
    ):
        node.insert("routes", name=name, service={"id": service["id"]} if service else None, **fields)
    upstream = node.insert("upstreams", name="pool", algorithm="consistent-hashing", hash_on="path")
    for target in ("one.test:9001", "two.test:9002"):
        node.insert("targets", upstream={"id": upstream["id"]}, target=target, weight=10)
    yield node
    node.close()


def explain(gateway: InMemoryGateway, url: str, **asked: Any) -> Row:
    answer = gateway.admin("POST", "/debug/explain", json={"url": url, **asked})
    assert answer.status_code == 200, answer.json
    told: Row = answer.json
    return told


REQUESTS: dict[str, tuple[str, str, Row]] = {
    "stripped and joined": ("GET", "/orders/7?a=1&b", {}),
    "the header decides": ("GET", "/orders/7", {"X-Version": "2"}),
    "nothing stripped, host kept": ("GET", "/kept/x", {}),
    "regex": ("GET", "/items/12/parts", {}),
    "path in another spelling": ("GET", "/%6frders/./a/../b%2Fc", {}),
    "any route": ("DELETE", "/else", {"Connection": "close, X-Hop", "X-Hop": "1", "X-Forwarded-For": "1.2.3.4"}),
    "chunked": ("POST", "/orders", {"Transfer-Encoding": "chunked"}),
    "body": ("POST", "/orders", {"Content-Length": "3"}),
    "upgrade": ("GET", "/orders", {"Connection": "Upgrade", "Upgrade": "websocket"}),
    "cookies": ("GET", "/orders", {"Cookie": "a=b", "TE": "trailers"}),
}


@pytest.mark.parametrize(("method", "path", "headers"), REQUESTS.values(), ids=REQUESTS.keys())
def test_what_is_sent(gateway: InMemoryGateway, method: str, path: str, headers: Row) -> None:
    told = explain(gateway, f"http://api.test{path}", method=method, headers=headers)
    data = b"abc" if "Content-Length" in headers else b""
    if "Transfer-Encoding" in headers:
        data = b"3\r\nabc\r\n0\r\n\r\n"
    lines = "".join(f"{name}: {value}\r\n" for name, value in {"Host": "api.test", **headers}.items())
    run = gateway.send(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + data)
    assert told["outcome"] == {"kind": "proxied"}
    sent = told["upstream_request"]
    assert f"{sent['method']} {sent['url'].partition('.test')[2].lstrip(':0123456789')} HTTP/1.1" == run.upstream.line
    varying = {("Transfer-Encoding", "chunked"), ("Content-Length", "3")}  # a body that is here already is measured
    mine = {(row["name"], row["value"]) for row in sent["headers"]} - varying
    real = {(name, _shown(name, value)) for name, value in run.upstream.headers.fields} - varying
    assert mine == real


def _shown(name: str, value: str) -> str:
    return {"X-Kong-Request-Id": "(one for each request)", "Cookie": "******"}.get(name, value)


ANSWERS: dict[str, tuple[str, str, Row, int]] = {
    "https only": ("GET", "/secure", {}, 426),
    "redirect": ("GET", "/moved?x=1", {}, 301),
    "grpc": ("POST", "/grpc", {"Content-Type": "application/grpc"}, 426),
    "not grpc": ("POST", "/grpc", {}, 415),
    "no service": ("GET", "/nowhere", {}, 503),
    "refused method": ("TRACE", "/orders", {}, 405),
    "refused path": ("GET", "/a/..%2f..", {}, 400),
    "bad length": ("POST", "/orders", {"Content-Length": "x"}, 400),
    "two framings": ("POST", "/orders", {"Content-Length": "1", "Transfer-Encoding": "chunked"}, 400),
}


@pytest.mark.parametrize(("method", "path", "headers", "status"), ANSWERS.values(), ids=ANSWERS.keys())
def test_what_the_gateway_answers(gateway: InMemoryGateway, method: str, path: str, headers: Row, status: int) -> None:
    told = explain(gateway, f"http://api.test{path}", method=method, headers=headers)
    run = gateway.request(method, path, headers={"Host": "api.test", **headers})
    outcome = told["outcome"]
    assert (outcome["status"], run.status) == (status, status)
    if outcome["message"] and "grpc" not in path and run.response.body:
        assert outcome["message"] in run.response.text
    for header in outcome.get("headers", ()):
        if header["name"] not in ("Content-Type", "Connection"):
            assert run.response.headers[header["name"]] == header["value"]
    assert told["upstream_request"] is None


def test_no_route() -> None:
    node = InMemoryGateway()
    try:
        node.delete("routes", node.route["id"])
        near = {"methods": ["PUT"], "paths": ["/a"], "service": {"id": node.service["id"]}}
        for name, fields in (("method", near), ("path", {**near, "paths": ["/b"]}), ("host", {**near, "hosts": ["x"]})):
            node.insert("routes", name=name, **fields)
        node.use("correlation-id").use("rate-limiting", on="service", minute=1)
        told = explain(node, "http://api.test/a")
        assert (told["outcome"]["status"], told["outcome"]["message"]) == (404, "no Route matched with those values")
        assert told["route"] is None
        found = [(row["route"]["name"], row["fails"]) for row in told["candidates"]]
        assert found == [("method", ["methods"]), ("host", ["hosts", "methods"]), ("path", ["paths", "methods"])]
        first = told["candidates"][0]["first"]
        assert first == {"attribute": "methods", "wanted": ["PUT"], "given": "GET"}
        assert [row["name"] for row in told["plugins"]["order"]] == ["correlation-id"]
        assert told["plugins"]["phases"]["access"] == []
    finally:
        node.close()


def test_routes_that_lose_and_by_which_rule(gateway: InMemoryGateway) -> None:
    told = explain(gateway, "http://api.test/orders", headers={"x-version": "2"}, near=2)
    assert told["route"]["name"] == "orders-v2"
    assert told["match"]["path"] == "/orders"
    lost = told["candidates"][0]
    assert lost["route"]["name"] == "orders"
    assert lost["lost_by"] == {"rule": "attributes", "winner": 3, "loser": 2}
    assert len(told["candidates"]) == 2
    other = explain(gateway, "http://api.test/orders", headers={"x-version": "1"})
    assert other["route"]["name"] == "orders"
    assert other["candidates"][1]["first"] == {
        "attribute": "headers", "wanted": {"x-version": ["2"]}, "given": ["1"],
    }  # fmt: skip


def test_captures(gateway: InMemoryGateway) -> None:
    match = explain(gateway, "http://api.test/items/12")["match"]
    assert match["path"] == r"~/items/(?<item>\d+)"
    assert (match["prefix"], match["captures"]) == ("/items/12", {"named": {"item": "12"}, "unnamed": ["12"]})


def test_a_route_that_is_not_served_is_told(gateway: InMemoryGateway) -> None:
    told = explain(gateway, "http://api.test/off", near=0)
    assert told["service"]["name"] == "upstream"
    assert [(row["route"]["name"], row["not_served"]) for row in told["candidates"]] == [
        ("off", "its service is disabled")
    ]


def test_targets_and_the_one_that_a_hash_leads_to(gateway: InMemoryGateway) -> None:
    told = explain(gateway, "http://api.test/pool/x")
    upstream = told["upstream"]
    assert (upstream["name"], upstream["algorithm"]) == ("pool", "consistent-hashing")
    assert sorted((row["target"], row["weight"], row["health"]) for row in upstream["targets"]) == [
        ("one.test:9001", 10, "HEALTHCHECKS_OFF"),
        ("two.test:9002", 10, "HEALTHCHECKS_OFF"),
    ]
    assert (upstream["hash"]["hash_on"], upstream["hash"]["key"]) == ("path", "/pool/x")
    host = next(row["value"] for row in told["upstream_request"]["headers"] if row["name"] == "Host")
    assert gateway.get("/pool/x").upstream.headers["Host"] == host == upstream["hash"]["chosen"]["target"]


def test_the_host_has_the_port_of_an_srv_record() -> None:
    node = InMemoryGateway()
    try:
        answer = Answer("SRV", [Place(2, "10.0.0.1", 9009, 1, "one.test")], 60)
        node.upstream.look = lambda _host: answer  # type: ignore[method-assign]
        told = explain(node, "http://api.test/")
        assert told["upstream"]["addresses"] == [{"ip": "10.0.0.1", "port": 9009}]
        host = next(row["value"] for row in told["upstream_request"]["headers"] if row["name"] == "Host")
        assert node.get("/").upstream.headers["Host"] == host == "upstream.test:9009"
    finally:
        node.close()


def test_nothing_is_counted() -> None:
    node = InMemoryGateway()
    try:
        upstream = node.insert("upstreams", name="pool")
        for target in ("one.test:9001", "two.test:9002"):
            node.insert("targets", upstream={"id": upstream["id"]}, target=target, weight=10)
        node.update("services", node.service["id"], host="pool")
        node.use("rate-limiting", minute=2, policy="local", limit_by="ip")
        hosts = set()
        for _ in range(2):
            for _ in range(3):
                assert explain(node, "http://api.test/")["outcome"] == {"kind": "proxied"}
            run = node.get("/")
            hosts.add(run.upstream.headers["Host"])
        assert hosts == {"one.test:9001", "two.test:9002"}  # its turn did not move between the two
        assert len(node.upstream.requests) == 2
    finally:
        node.close()


def test_an_upstream_without_targets_ends_in_503() -> None:
    node = InMemoryGateway()
    try:
        node.insert("upstreams", name="empty")
        node.update("services", node.service["id"], host="empty")
        outcome = explain(node, "http://api.test/")["outcome"]
        assert (outcome["status"], outcome["message"]) == (503, "failure to get a peer from the ring-balancer")
    finally:
        node.close()


@pytest.fixture(scope="module")
def plugged() -> Iterator[InMemoryGateway]:
    """Plugins on all scopes."""
    node = InMemoryGateway()
    bob = node.consumer("bob", "bobs-key", custom_id="7")
    node.consumer("eve", "eves-key")
    for scope, minute in (("global", 1), ("service", 2), ("route", 3), ({"consumer": bob}, 4)):
        node.use("rate-limiting", on=scope, minute=minute, redis={"password": "s3cret"})
    node.use("key-auth", on="service")
    node.use("correlation-id", on={"consumer": bob})
    node.use("http-log", on="route", http_endpoint="http://log.test/", headers={"Authorization": "Bearer hushhush"})
    node.insert("plugins", name="cors", enabled=False, route={"id": node.route["id"]}, config={})
    yield node
    node.close()


def test_the_most_specific_configuration_runs_and_shadows_the_others(plugged: InMemoryGateway) -> None:
    told = explain(plugged, "http://api.test/")
    rows = {row["name"]: row for row in told["plugins"]["order"]}
    assert list(rows) == ["key-auth", "rate-limiting", "http-log"]
    limiting = rows["rate-limiting"]
    assert (limiting["scope"], limiting["config"]["minute"]) == ("route", 3)
    assert [(row["scope"], row["config"]["minute"]) for row in limiting["shadows"]] == [("service", 2), ("global", 1)]
    assert [row["name"] for row in told["plugins"]["phases"]["access"]] == ["key-auth", "rate-limiting"]
    assert [row["name"] for row in told["plugins"]["phases"]["log"]] == ["http-log"]
    assert [(row["name"], row["reason"]) for row in told["without_effect"]] == [("cors", "it is disabled")]
    assert "key-auth asks who sends the request" in told["notes"][0]


@pytest.mark.parametrize("name", ["bob", "7", "id"])
def test_a_consumer_counts_after_the_plugin_that_finds_it(plugged: InMemoryGateway, name: str) -> None:
    bob = plugged.store.dao("consumers").select_by("username", "bob")
    told = explain(plugged, "http://api.test/", consumer=bob["id"] if name == "id" else name)
    rows = {row["name"]: row for row in told["plugins"]["order"]}
    assert list(rows) == ["key-auth", "rate-limiting", "http-log"]  # correlation-id comes before key-auth
    assert (rows["rate-limiting"]["scope"], rows["rate-limiting"]["config"]["minute"]) == ("consumer", 4)
    assert rows["rate-limiting"]["consumer"]["name"] == "bob"
    assert len(rows["rate-limiting"]["shadows"]) == 3
    sent = {row["name"]: row["value"] for row in told["upstream_request"]["headers"]}
    assert sent["X-Consumer-Username"] == "bob"
    assert "X-Anonymous-Consumer" not in sent
    assert told["notes"] == []


def test_a_credential_names_its_consumer(plugged: InMemoryGateway) -> None:
    credential = plugged.store.dao("keyauth_credentials").select_by("key", "bobs-key")
    told = explain(plugged, "http://api.test/", credential=credential["id"])
    assert told["consumer"]["name"] == "bob"
    sent = {row["name"]: row["value"] for row in told["upstream_request"]["headers"]}
    assert sent["X-Credential-Identifier"] == credential["id"]
    assert "bobs-key" not in str(told)


def test_secrets_are_masked(plugged: InMemoryGateway) -> None:
    headers = {
        "Authorization": "Bearer hushhush",
        "Cookie": "a=hushhush",
        "X-Api-Key": "hushhush",
        "apikey": "hushhush",
        "X-Other": "shown",
    }
    told = explain(plugged, "http://api.test/?apikey=hushhush&x=shown", headers=headers)
    sent = {row["name"]: row["value"] for row in told["upstream_request"]["headers"]}
    assert {sent[name] for name in ("Authorization", "Cookie", "X-Api-Key", "apikey")} == {"******"}
    assert sent["X-Other"] == "shown"
    assert told["request"]["target"] == "/?apikey=******&x=shown"
    assert "s3cret" not in str(told)
    assert "hushhush" not in str(told)


def test_without_a_plugin_that_authenticates_nobody_is_known(gateway: InMemoryGateway) -> None:
    gateway.insert("consumers", username="lost")
    told = explain(gateway, "http://api.test/orders", consumer="lost")
    assert told["consumer"] is None
    assert "no plugin of this route can find out" in told["notes"][0]


def test_tls_and_trusted_peers(gateway: InMemoryGateway) -> None:
    told = explain(gateway, "https://api.test/secure")
    assert told["outcome"] == {"kind": "proxied"}
    assert told["request"]["sni"] == "api.test"
    trusted = explain(
        gateway,
        "http://api.test/secure",
        client_ip="10.1.1.1",
        headers={"X-Forwarded-Proto": "https", "X-Real-IP": "9.9.9.9"},
    )
    assert trusted["outcome"] == {"kind": "proxied"}
    sent = {row["name"]: row["value"] for row in trusted["upstream_request"]["headers"]}
    assert (sent["X-Real-IP"], sent["X-Forwarded-Proto"]) == ("9.9.9.9", "https")


def test_get_says_the_same_as_post(gateway: InMemoryGateway) -> None:
    url = "http://api.test/orders?a=1"
    query = f"url={quote(url)}&headers={quote('X-Version: 2')}&headers={quote('X-Other: a,b')}&near=1"
    told = gateway.admin("GET", f"/debug/explain?{query}").json
    assert told == explain(gateway, url, headers=["X-Version: 2", "X-Other: a,b"], near=1)
    assert told["route"]["name"] == "orders-v2"


BAD: dict[str, tuple[Row, Row]] = {
    "nothing": ({}, {"url": "required field missing"}),
    "no host": ({"url": "/a"}, {"url": "expected http(s)://host[:port]/path, or a path with the header Host"}),
    "other scheme": (
        {"url": "ftp://a/"},
        {"url": "expected http(s)://host[:port]/path, or a path with the header Host"},
    ),
    "port": ({"url": "http://a:x/"}, {"url": "expected http(s)://host[:port]/path, or a path with the header Host"}),
    "user": ({"url": "http://u@a/"}, {"url": "expected http(s)://host[:port]/path, or a path with the header Host"}),
    "line break": ({"url": "http://a/\r\nX: y"}, {"url": "must not contain spaces or control characters"}),
    "header": ({"url": "http://a/", "headers": ["x"]}, {"headers": ["expected 'Name: value' in one line"]}),
    "header with a line break": (
        {"url": "http://a/", "headers": ["a: b", "x: y\r\nz: 1"]},
        {"headers": [None, "expected 'Name: value' in one line"]},
    ),
    "headers of another type": ({"url": "http://a/", "headers": 5}, {"headers": "expected an array"}),
    "value of another type": ({"url": "http://a/", "headers": {"a": {}}}, {"headers": ["expected a string"]}),
    "address": ({"url": "http://a/", "client_ip": "x"}, {"client_ip": "not an ip address: x"}),
    "server name": ({"url": "http://a/", "sni": "b"}, {"sni": "only https URLs have a server name"}),
    "consumer": ({"url": "http://a/", "consumer": "nobody"}, {"consumer": "there is no such consumer"}),
    "credential": (
        {"url": "http://a/", "credential": "00000000-0000-4000-8000-000000000000"},
        {"credential": "there is no credential with this id"},
    ),
    "near": ({"url": "http://a/", "near": 101}, {"near": "value should be between 0 and 100"}),
    "unknown": ({"url": "http://a/", "x": 1}, {"x": "unknown field"}),
    "method": ({"url": "http://a/", "method": "G T"}, {"method": "invalid value: G T"}),
}


@pytest.mark.parametrize(("body", "fields"), BAD.values(), ids=BAD.keys())
def test_bad_questions(gateway: InMemoryGateway, body: Row, fields: Row) -> None:
    answer = gateway.admin("POST", "/debug/explain", json=body)
    assert (answer.status_code, answer.json["code"], answer.json["fields"]) == (400, 2, fields)


def test_a_credential_of_somebody_else(plugged: InMemoryGateway) -> None:
    credential = plugged.store.dao("keyauth_credentials").select_by("key", "bobs-key")
    body = {"url": "http://a/", "consumer": "eve", "credential": credential["id"]}
    answer = plugged.admin("POST", "/debug/explain", json=body)
    assert answer.json["fields"] == {"credential": "it belongs to another consumer"}
