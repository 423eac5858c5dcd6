"""The classic model through a running gateway: its listener, which API a request finds, and what the upstream gets."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.gateway import LOOPBACK, Gateway, free_ports
from tests.upstream import Upstream

PORT = free_ports(1)[0]
APIS = [
    "name=host&request_host=a.test",
    "name=other&request_host=b.test&preserve_host=true",
    "name=wild&request_host=*.w.test",
    "name=tail&request_host=t.*",
    "name=short&request_path=/p&strip_request_path=true",
    "name=long&request_path=/p/q.r",
    "name=both&request_host=c.test&request_path=/c&strip_request_path=true",
    "name=base&request_path=/base/&strip_request_path=true",
    "name=secure&request_path=/s",
]


@pytest.fixture(scope="module")
def node(upstream: Upstream) -> Iterator[Gateway]:
    """A gateway with a classic listener and the APIs; the upstream's path begins with the name of the API."""
    with Gateway(env={"CLASSIC_ADMIN_LISTEN": f"{LOOPBACK}:{PORT}"}) as gateway:
        for api in APIS:
            name = api.partition("&")[0].removeprefix("name=")
            made = classic("POST", "/apis/", f"{api}&upstream_url={upstream.url}/{name}")
            assert made.status_code == 201, made.text
        yield gateway


def classic(method: str, path: str, form: str | None = None) -> requests.Response:
    """One request to the classic listener."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"} if form is not None else {}
    return requests.request(method, f"http://{LOOPBACK}:{PORT}{path}", data=form, headers=headers, timeout=30)


FOUND = [
    ("/x", {"Host": "a.test"}, "/host/x"),
    ("/x", {"Host": "a.test:99"}, "/host/x"),
    ("/x", {"Host": "A.TEST"}, "/host/x"),
    ("/p/q.r", {"Host": "a.test"}, "/host/p/q.r"),
    ("/x?b=1&a=%20", {"Host": "a.test"}, "/host/x?b=1&a=%20"),
    ("/x", {"Host": "z.w.test"}, "/wild/x"),
    ("/p/q.r", {"Host": "y.z.w.test"}, "/wild/p/q.r"),
    ("/p", {"Host": "t.anything"}, "/tail/p"),
    ("/x", {"Host": "none", "X-Host-Override": "a.test"}, "/host/x"),
    ("/p/x", {"Host": "none", "X-Host-Override": "a.test"}, "/host/p/x"),
    ("/x", {"Host": "none", "X-Host-Override": "z.w.test:80"}, "/wild/x"),
    ("/x", {"Host": "a.test", "X-Host-Override": "b.test"}, "/host/x"),
    ("/x", {"Host": "z.w.test", "X-Host-Override": "b.test"}, "/wild/x"),
    ("/p/x", {"Host": "none", "X-Host-Override": "none"}, "/short/x"),
    ("/p/x", {}, "/short/x"),
    ("/p/", {}, "/short/"),
    ("/p/q.r", {}, "/long/p/q.r"),
    ("/p/q.r/x", {}, "/long/p/q.r/x"),
    ("/p/qxr", {}, "/short/qxr"),
    ("/p/q.rs", {}, "/short/q.rs"),
    ("/c/x", {}, "/both/x"),
    ("/c/x", {"Host": "c.test"}, "/both/c/x"),
    ("/d", {"Host": "c.test"}, "/both/d"),
    ("/base/base/x", {}, "/base/base/x"),
]


@pytest.mark.parametrize(("path", "headers", "target"), FOUND)
def test_which_api_a_request_finds(
    node: Gateway, upstream: Upstream, path: str, headers: dict[str, str], target: str
) -> None:
    answer = node.get(path, headers=headers)
    assert answer.status_code == 200
    assert json.loads(answer.content)["target"] == target


@pytest.mark.parametrize(("path", "host"), [("/pq", "none"), ("/", "w.test"), ("/x", "a.tes"), ("/P", "none")])
def test_which_requests_find_nothing(node: Gateway, path: str, host: str) -> None:
    answer = node.get(path, headers={"Host": host})
    assert (answer.status_code, answer.json()["message"]) == (404, "no Route matched with those values")


def test_whose_host_the_upstream_sees(node: Gateway, upstream: Upstream) -> None:
    def seen(host: str) -> str:
        told = node.get("/x", headers={"Host": host}).json()
        return next(str(value) for name, value in told["headers"] if name.lower() == "host")

    assert seen("b.test:8000") == "b.test:8000"
    assert seen("a.test") == upstream.url.removeprefix("http://")


def test_a_plugin_covers_an_api_however_it_is_found(node: Gateway) -> None:
    made = classic("POST", "/apis/both/plugins", "name=keyauth&config.key_names=k").json()
    assert classic("POST", "/consumers", "username=bob").status_code == 201
    assert classic("POST", "/consumers/bob/key-auth", "key=secret").status_code == 201
    for path, host in (("/c/x", "none"), ("/d", "c.test")):
        assert node.get(path, headers={"Host": host}).status_code == 401
        assert node.get(f"{path}?k=secret", headers={"Host": host}).status_code == 200
    assert node.get("/p").status_code == 200
    assert node.admin("GET", f"/classic/plugins/{made['id']}").json() == made
    assert classic("DELETE", f"/apis/both/plugins/{made['id']}").status_code == 204
    assert node.get("/c/x").status_code == 200


def test_changes_are_served_at_once(node: Gateway, upstream: Upstream) -> None:
    form = f"name=new&request_path=/new&upstream_url={upstream.url}/one"
    assert classic("POST", "/apis", form).status_code == 201
    assert node.get("/new").json()["target"] == "/one/new"
    assert classic("PATCH", "/apis/new", f"upstream_url={upstream.url}/two&strip_request_path=true").status_code == 200
    assert node.get("/new/x").json()["target"] == "/two/x"
    assert classic("PATCH", "/apis/new", "request_host=new.test&request_path=").status_code == 200
    assert node.get("/new/x").status_code == 404
    assert node.get("/new/x", headers={"Host": "new.test"}).json()["target"] == "/two/new/x"
    assert classic("DELETE", "/apis/new").status_code == 204
    assert node.get("/new/x", headers={"Host": "new.test"}).status_code == 404


def test_of_many_writers_one_gets_a_host(upstream: Upstream) -> None:
    with Gateway(workers=2) as other:

        def attempt(number: int) -> int:
            form = f"name=n{number}&request_host=one.test&request_path=/p{number}&upstream_url={upstream.url}"
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            answer = requests.post(f"{other.admin_url}/classic/apis", data=form, headers=headers, timeout=30)
            assert answer.status_code in (201, 409), answer.text
            return answer.status_code

        with ThreadPoolExecutor(16) as pool:
            assert sorted(pool.map(attempt, range(16))) == [201] + [409] * 15
        assert len(other.admin("GET", "/services").json()["data"]) == 1
        assert len(other.admin("GET", "/routes").json()["data"]) == 3


def test_the_next_page_can_be_asked_for(node: Gateway) -> None:
    page = classic("GET", "/apis/?size=2").json()
    assert page["next"].startswith(f"http://{LOOPBACK}:{PORT}/apis/?")
    rest = requests.get(page["next"], timeout=30).json()
    assert len(page["data"]) == len(rest["data"]) == 2
    assert page["data"][0]["id"] not in [row["id"] for row in rest["data"]]


def test_the_listener_speaks_tls(node: Gateway) -> None:
    (port,) = free_ports(1)
    with Gateway(env={"CLASSIC_ADMIN_LISTEN": f"{LOOPBACK}:{port} ssl"}) as other:
        answer = requests.get(
            f"https://{LOOPBACK}:{port}/apis", verify=other.prefix / "ssl/admin-kong-default-ecdsa.crt", timeout=30
        )
        assert answer.json() == {"data": []}


def test_the_listener_serves_nothing_else(node: Gateway) -> None:
    assert classic("GET", "/services").status_code == 404
    answer = classic("GET", "/")
    assert answer.json()["version"].startswith("0.5.")
    assert answer.headers["Server"].startswith("kong/")
    assert node.admin("GET", "/apis").status_code == 404
    assert node.admin("GET", "/classic/apis/host").json() == classic("GET", "/apis/host").json()
