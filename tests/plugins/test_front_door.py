"""Authentication and what follows from it through a real gateway: what goes over the wire, in what order, for whom."""

import email.utils
import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from hashlib import sha256
from hmac import digest
from typing import Any

import pytest
import requests

from tests.gateway import Gateway
from tests.upstream import Upstream, plain
from tests.wire import wait_until

WHO = ("X-Consumer-ID", "X-Consumer-Custom-ID", "X-Consumer-Username", "X-Credential-Identifier",
       "X-Anonymous-Consumer", "X-Consumer-Groups", "X-Authenticated-Groups")  # fmt: skip
FORGED = dict.fromkeys(WHO, "forged") | {name.replace("-", "_"): "forged" for name in WHO}
"""What a client may claim of itself, in both spellings."""


@pytest.fixture(scope="module")
def backend() -> Iterator[Upstream]:
    with Upstream(plain(b"ok")) as server:
        yield server


@pytest.fixture(scope="module")
def node(backend: Upstream) -> Iterator[Gateway]:
    """A route for each combination of plugins; the consumers ada, bob (no groups) and guest."""
    with Gateway(workers=2) as gateway:
        service = gateway.create("/services", name="s", url=backend.url)
        for name, custom in (("ada", "c-1"), ("bob", None), ("guest", None)):
            gateway.create("/consumers", username=name, custom_id=custom)
            if name == "guest":
                continue
            gateway.create(f"/consumers/{name}/key-auth", key=f"key of {name}")
            gateway.create(f"/consumers/{name}/basic-auth", username=name, password=f"pass:{name}")
            gateway.create(f"/consumers/{name}/hmac-auth", username=name, secret=f"secret of {name}")
            gateway.create(f"/consumers/{name}/jwt", key=f"jwt-{name}", secret=f"secret of {name}")
        for group in ("staff", "Admin"):
            gateway.create("/consumers/ada/acls", group=group)
        for path, plugins in ROUTES.items():
            gateway.create("/routes", name=path, paths=[f"/{path}"], service={"id": service["id"]})
            for plugin, config in plugins.items():
                gateway.create(f"/routes/{path}/plugins", name=plugin, config=config)
        yield gateway


GUEST = {"anonymous": "guest"}
ROUTES: dict[str, dict[str, dict[str, Any]]] = {
    "basic": {"basic-auth": {}},
    "basic-hidden": {"basic-auth": {"hide_credentials": True, "realm": 'a "b"'}},
    "basic-guest": {"basic-auth": GUEST},
    "jwt": {"jwt": {}},
    "jwt-realm": {"jwt": {"realm": "r", "claims_to_verify": ["exp"], "cookie_names": ["c"], "run_on_preflight": False}},
    "jwt-guest": {"jwt": GUEST},
    "upload": {
        "session": {"read_body_for_logout": True},
        "oauth2": {**GUEST, "enable_client_credentials": True},
        "key-auth": {**GUEST, "key_in_body": True, "hide_credentials": True},
    },
    "hmac": {"hmac-auth": {}},
    "hmac-strict": {
        "hmac-auth": {"hide_credentials": True, "realm": "r", "enforce_headers": ["date", "request-line"],
                      "algorithms": ["hmac-sha256"], "validate_request_body": True},
    },
    "hmac-guest": {"hmac-auth": GUEST},
    "acl-alone": {"acl": {"allow": ["staff"]}},
    "acl-allow": {"key-auth": {}, "acl": {"allow": ["staff", "x"]}},
    "acl-case": {"key-auth": {}, "acl": {"allow": ["Staff"]}},
    "acl-deny": {"key-auth": {}, "acl": {"deny": ["staff"]}},
    "acl-hidden": {"key-auth": {}, "acl": {"allow": ["staff"], "hide_groups_header": True}},
    "acl-guest": {"key-auth": GUEST, "acl": {"allow": ["staff"]}},
    "acl-guest-deny": {"key-auth": GUEST, "acl": {"deny": ["staff"]}},
    "and": {"key-auth": {}, "basic-auth": {}, "jwt": {}, "hmac-auth": {}},
    "or": {"key-auth": GUEST, "basic-auth": GUEST, "jwt": GUEST, "hmac-auth": GUEST},
    "nobody": {"key-auth": {"anonymous": "nobody at all"}},
}  # fmt: skip


def basic(user: str, password: str | None = None) -> str:
    return "Basic " + b64encode(f"{user}:{password or f'pass:{user}'}".encode()).decode()


def token(user: str, alg: str = "HS256", secret: str | None = None, **claims: Any) -> str:
    parts = [json.dumps(part).encode() for part in ({"alg": alg}, {"iss": f"jwt-{user}", **claims})]
    signed = b".".join(urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = digest((secret or f"secret of {user}").encode(), signed, "sha256")
    return (signed + b"." + urlsafe_b64encode(signature).rstrip(b"=")).decode()


def signed(user: str, target: str, algorithm: str = "sha256", names: str = "date request-line") -> dict[str, str]:
    """The headers of a GET that is signed."""
    date = email.utils.formatdate(usegmt=True)
    lines = {"date": f"date: {date}", "request-line": f"GET {target} HTTP/1.1"}
    text = "\n".join(lines[name] for name in names.split())
    value = b64encode(digest(f"secret of {user}".encode(), text.encode(), algorithm)).decode()
    said = f'hmac username="{user}", algorithm="hmac-{algorithm}", headers="{names}", signature="{value}"'
    return {"Date": date, "Authorization": said}


def told(node: Gateway, backend: Upstream, path: str, headers: dict[str, str], **options: Any) -> dict[str, str]:
    """What the upstream is told about who asks, when the client claims to be somebody else."""
    before = len(backend.requests)
    answer = node.request(options.pop("method", "GET"), path, headers={**FORGED, **headers}, **options)
    assert answer.status_code == 200, answer.text
    (request,) = backend.requests[before:]
    found = {name.lower(): value for name, value in request.headers}
    assert "forged" not in found.values()
    return {name: found[name.lower()] for name in WHO if name.lower() in found}


def refused(answer: requests.Response, status: int, message: str, challenge: str | None, exit: bool = False) -> None:
    assert (answer.status_code, answer.headers.get("WWW-Authenticate")) == (status, challenge)
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    body = answer.json()
    assert body["message"] == message
    assert ("request_id" not in body) == exit
    if not exit:
        assert body["request_id"] == answer.headers["X-Kong-Request-Id"]


def ada(node: Gateway, identifier: str) -> dict[str, str]:
    """What the upstream is told of ada."""
    own = node.admin("GET", "/consumers/ada").json()["id"]
    return {"X-Consumer-ID": own, "X-Consumer-Custom-ID": "c-1", "X-Consumer-Username": "ada",
            "X-Credential-Identifier": identifier}  # fmt: skip


def guest(node: Gateway) -> dict[str, str]:
    own = node.admin("GET", "/consumers/guest").json()["id"]
    return {"X-Consumer-ID": own, "X-Consumer-Username": "guest", "X-Anonymous-Consumer": "true"}


@pytest.mark.parametrize(
    ("path", "headers", "identifier"),
    [
        ("/basic", {"Authorization": basic("ada")}, "ada"),
        ("/basic", {"Proxy-Authorization": basic("ada"), "Authorization": basic("bob")}, "ada"),
        ("/basic", {"Proxy-Authorization": basic("eve"), "Authorization": basic("ada")}, "ada"),
        ("/basic-hidden", {"Authorization": basic("ada")}, "ada"),
        ("/basic-guest", {"Authorization": basic("ada")}, "ada"),
        ("/jwt", {"Authorization": f"Bearer {token('ada')}"}, "jwt-ada"),
        (f"/jwt?jwt={token('ada')}", {"Authorization": f"bearer  {token('ada')}"}, "jwt-ada"),
        ("/jwt-realm", {"Cookie": f"a=b; c={token('ada', exp=4102444800)}"}, "jwt-ada"),
        ("/jwt-guest", {"Authorization": f"Bearer {token('ada')}"}, "jwt-ada"),
    ],
)
def test_who_asks(node: Gateway, backend: Upstream, path: str, headers: dict[str, str], identifier: str) -> None:
    for _ in range(3):  # by both workers, and from memory
        assert told(node, backend, path, headers) == ada(node, identifier)


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha384", "sha512"])
def test_who_signs(node: Gateway, backend: Upstream, algorithm: str) -> None:
    target = "/hmac/a%20b?x=1&y"
    assert told(node, backend, target, signed("ada", target, algorithm)) == ada(node, "ada")


@pytest.mark.parametrize(
    ("path", "headers", "message", "challenge", "exit"),
    [
        ("/basic", {}, "Unauthorized", 'Basic realm="service"', False),
        ("/basic", {"Authorization": basic("ada", "wrong")}, "Unauthorized", 'Basic realm="service"', False),
        ("/basic", {"Authorization": basic("eve")}, "Unauthorized", 'Basic realm="service"', False),
        ("/basic", {"Authorization": "Basic YWRh"}, "Unauthorized", 'Basic realm="service"', False),
        ("/basic", {"Authorization": "Basic Ong="}, "Unauthorized", 'Basic realm="service"', False),
        ("/basic", {"Authorization": "Basic !"}, "Unauthorized", 'Basic realm="service"', False),
        ("/basic-hidden", {}, "Unauthorized", r'Basic realm="a \"b\""', False),
        ("/jwt", {}, "Unauthorized", "Bearer", True),
        ("/jwt", {"Authorization": "Bearer"}, "Unauthorized", "Bearer", True),
        ("/jwt-realm", {}, "Unauthorized", 'Bearer realm="r"', True),
        ("/jwt", {"Authorization": "Bearer a.b"}, "Bad token; invalid JSON", 'Bearer error="invalid_token"', True),
        ("/jwt", {"Authorization": f"Bearer {token('ada', alg='none')}"}, "Bad token; invalid alg",
         'Bearer error="invalid_token"', True),
        ("/jwt", {"Authorization": f"Bearer {token('eve')}"}, "No credentials found for given 'iss'",
         'Bearer error="invalid_token"', True),
        ("/jwt", {"Authorization": f"Bearer {token('ada', alg='HS512')}"}, "Invalid algorithm",
         'Bearer error="invalid_token"', True),
        ("/jwt", {"Authorization": f"Bearer {token('ada', secret='x')}"}, "Invalid signature",
         'Bearer error="invalid_token"', True),
        (f"/jwt?jwt={token('bob')}", {"Authorization": f"Bearer {token('ada')}"}, "Multiple tokens provided",
         'Bearer error="invalid_token"', True),
        ("/jwt-realm", {"Authorization": "Bearer a.b"}, "Bad token; invalid JSON",
         'Bearer realm="r" error="invalid_token"', True),
        ("/hmac", {}, "Unauthorized", "hmac", False),
        ("/hmac", {"Authorization": 'hmac username="ada"'},
         "HMAC signature cannot be verified, a valid date or x-date header is required for HMAC Authentication", "hmac",
         False),
        ("/hmac", {"Authorization": 'hmac username="ada"', "Date": "now"}, "HMAC signature cannot be verified", "hmac",
         False),
        ("/hmac", {"Authorization": signed("eve", "/hmac")["Authorization"], "Date": "now"},
         "HMAC signature cannot be verified", "hmac", False),
        ("/hmac", {"Authorization": signed("ada", "/other")["Authorization"], "Date": "now"},
         "HMAC signature does not match", "hmac", False),
        ("/hmac-strict", {"Authorization": signed("ada", "/hmac-strict", names="date")["Authorization"],
                          "Date": "now"}, "HMAC signature cannot be verified", 'hmac realm="r"', False),
        ("/hmac-strict", {"Authorization": signed("ada", "/hmac-strict", "sha1")["Authorization"], "Date": "now"},
         "HMAC signature cannot be verified", 'hmac realm="r"', False),
    ],
)  # fmt: skip
def test_who_is_refused(
    node: Gateway, backend: Upstream, path: str, headers: dict[str, str], message: str, challenge: str, exit: bool
) -> None:
    sent = dict(headers)
    if sent.get("Date") == "now":
        sent["Date"] = email.utils.formatdate(usegmt=True)
    before = len(backend.requests)
    refused(node.get(path, headers=sent), 401, message, challenge, exit)
    assert len(backend.requests) == before


def test_times_of_tokens_are_told_apart(node: Gateway) -> None:
    for claims, wrong in (
        ({"exp": 1}, "token expired"),
        ({"exp": "4102444800"}, "must be a number"),
        ({}, "must be a number"),
    ):
        answer = node.get("/jwt-realm", headers={"Authorization": f"Bearer {token('ada', **claims)}"})
        assert (answer.status_code, answer.json()) == (401, {"exp": wrong})
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="r" error="invalid_token"'


def test_preflight_requests_may_pass(node: Gateway) -> None:
    assert node.request("OPTIONS", "/jwt-realm").status_code == 200
    assert node.request("OPTIONS", "/jwt").status_code == 401


def test_bodies_belong_to_signatures(node: Gateway, backend: Upstream) -> None:
    headers = signed("ada", "/hmac-strict")
    headers["Authorization"] = headers["Authorization"].replace("GET", "POST")
    body = b'{"name":"pear"}'
    told_digest = "SHA-256=" + b64encode(sha256(body).digest()).decode()
    for given, sent, status in (
        (told_digest, body, 200),
        (told_digest, b"other", 401),
        (None, body, 401),
        (None, b"", 200),
    ):
        extra = {"Digest": given} if given else {}
        answer = node.request("GET", "/hmac-strict", headers={**headers, **extra}, data=sent)
        assert answer.status_code == status, answer.text
        if status == 401:
            refused(answer, 401, "HMAC signature does not match", 'hmac realm="r"')
        else:
            assert not [name for name, _ in backend.requests[-1].headers if name.lower() == "authorization"]


@pytest.mark.parametrize("path", ["/basic-guest", "/jwt-guest", "/hmac-guest", "/or"])
def test_guests(node: Gateway, backend: Upstream, path: str) -> None:
    for value in (None, "nonsense", basic("eve"), "Bearer a.b", 'hmac username="ada"'):
        assert told(node, backend, path, {"Authorization": value} if value else {}) == guest(node)


def test_a_guest_who_is_not_there_is_an_error(node: Gateway, backend: Upstream) -> None:
    before = len(backend.requests)
    refused(node.get("/nobody"), 500, "An unexpected error occurred", None)
    assert len(backend.requests) == before


class TestSeveral:
    """In the order of their priorities: jwt, key-auth, basic-auth, hmac-auth."""

    def test_all_of_them_and_the_last_one_says_who_it_is(self, node: Gateway, backend: Upstream) -> None:
        target = f"/and?jwt={token('bob')}&apikey=key+of+bob"
        own = signed("ada", target)
        both = {"Date": own["Date"], "Proxy-Authorization": own["Authorization"], "Authorization": basic("bob")}
        assert told(node, backend, target, both) == ada(node, "ada")

    @pytest.mark.parametrize(
        ("query", "headers", "challenge"),
        [
            ("", {}, "Bearer"),
            ("apikey=key+of+ada", {"Authorization": basic("ada")}, "Bearer"),
            ("jwt={jwt}", {"Authorization": basic("ada")}, "Key"),
            ("jwt={jwt}&apikey=key+of+ada", {}, 'Basic realm="service"'),
            ("jwt={jwt}&apikey=key+of+ada", {"Authorization": basic("ada")}, "hmac"),
        ],
    )
    def test_the_first_that_fails_answers(
        self, node: Gateway, query: str, headers: dict[str, str], challenge: str
    ) -> None:
        answer = node.get(f"/and?{query.format(jwt=token('ada'))}", headers=headers)
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, challenge)

    @pytest.mark.parametrize(
        ("query", "headers", "who", "identifier"),
        [
            ("jwt={jwt}", {"Authorization": basic("bob"), "apikey": "key of bob"}, "ada", "jwt-ada"),
            ("", {"apikey": "key of ada", "Authorization": basic("bob")}, "ada", None),
            ("jwt=a.b", {"apikey": "wrong", "Authorization": basic("ada")}, "ada", "ada"),
        ],
    )
    def test_one_of_them(
        self, node: Gateway, backend: Upstream, query: str, headers: dict[str, str], who: str, identifier: str | None
    ) -> None:
        (key,) = node.admin("GET", f"/consumers/{who}/key-auth").json()["data"]
        found = told(node, backend, f"/or?{query.format(jwt=token('ada'))}", headers)
        assert found == ada(node, identifier or key["id"])


KEY = {"apikey": "key of ada"}


@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [
        ("/acl-alone", {}, (401, "Unauthorized")),
        ("/acl-allow", KEY, {"X-Consumer-Groups": "Admin, staff"}),
        ("/acl-case", KEY, (403, "You cannot consume this service")),
        ("/acl-deny", KEY, (403, "You cannot consume this service")),
        ("/acl-hidden", KEY, {}),
        ("/acl-allow", {"apikey": "key of bob"}, (403, "You cannot consume this service")),
        ("/acl-deny", {"apikey": "key of bob"}, {"X-Consumer-Groups": ""}),
        ("/acl-guest", {}, (401, "Unauthorized")),
        ("/acl-guest-deny", {}, {"X-Consumer-Groups": ""}),
    ],
    ids=str,
)
def test_groups(node: Gateway, backend: Upstream, path: str, headers: dict[str, str], expected: Any) -> None:
    if isinstance(expected, tuple):
        refused(node.get(path, headers=headers), *expected, None)
    else:
        found = told(node, backend, path, headers)
        assert {name: value for name, value in found.items() if name.endswith("Groups")} == expected


@pytest.mark.parametrize(
    ("plugin", "config", "fields"),
    [
        ("basic-auth", {"realm": ""}, {"config": {"realm": "length must be at least 1"}}),
        ("basic-auth", {"x": 1}, {"config": {"x": "unknown field"}}),
        ("jwt", {"maximum_expiration": 31536001, "claims_to_verify": ["exp"]},
         {"config": {"maximum_expiration": "value should be between 0 and 31536000"}}),
        ("jwt", {"maximum_expiration": 60, "claims_to_verify": ["nbf"]},
         {"config": {"claims_to_verify": "expected to contain: exp"},
          "@entity": ["failed conditional validation given value of field 'config.maximum_expiration'"]}),
        ("hmac-auth", {"clock_skew": 0}, {"config": {"clock_skew": "value must be greater than 0"}}),
        ("acl", {}, {"@entity": [
            "exactly one of these fields must be non-empty: 'config.allow', 'config.deny'",
            "at least one of these fields must be non-empty: 'config.allow', 'config.deny'"]}),
        ("response-ratelimiting", {}, {"config": {"limits": "required field missing"}}),
        ("response-ratelimiting", {"limits": {"a": {"day": 4, "month": 3}}},
         {"config": {"limits": "the limit for month(3.0) cannot be lower than the limit for day(4.0)"}}),
    ],
    ids=str,
)  # fmt: skip
def test_bad_configurations(node: Gateway, plugin: str, config: dict[str, Any], fields: dict[str, Any]) -> None:
    answer = node.admin("POST", "/services/s/plugins", {"name": plugin, "config": config})
    body = answer.json()
    assert (answer.status_code, body["code"], body["name"], body["fields"]) == (400, 2, "schema violation", fields)


@pytest.mark.parametrize(
    "plugin", ["basic-auth", "key-auth", "jwt", "hmac-auth", "acl", "oauth2", "ldap-auth", "session"]
)
def test_they_cannot_be_bound_to_consumers(node: Gateway, plugin: str) -> None:
    answer = node.admin("POST", "/consumers/ada/plugins", {"name": plugin})
    assert answer.status_code == 400
    assert answer.json()["fields"]["consumer"] == "value must be null"


def test_no_secret_is_in_the_logs(node: Gateway) -> None:
    for secret in ("pass:ada", "secret of ada", "key of ada", token("ada"), basic("ada")[6:]):
        assert secret not in node.log() + node.log("output"), "an error log has a secret"


@pytest.fixture(scope="module")
def limited(node: Gateway) -> Iterator[Upstream]:
    """An upstream that says that one `video` and two `image` were used."""
    headers = [("X-Kong-Limit", "video=1"), ("x-kong-limit", "image=2, other=9, =, x=y")]
    with Upstream(plain(b"ok", headers=headers)) as server:
        node.create("/services", name="limited", url=server.url)
        node.create("/services/limited/routes", paths=["/limited"])
        limits = {"video": {"year": 3}, "image": {"year": 100}}
        node.create("/services/limited/plugins", name="response-ratelimiting", config={"limits": limits})
        yield server


def test_use_is_exact_over_workers_and_refused_beyond(node: Gateway, limited: Upstream) -> None:
    answers = []
    for number in range(1, 7):
        answers.append(node.get("/limited", headers={"Connection": "close"}))
        # What was used counts once the answer is sent; the access log is written after that.
        wait_until(lambda: node.log("access.log").count("GET /limited ") == number)  # noqa: B023
    assert [answer.status_code for answer in answers] == [200] * 3 + [429] * 3
    shown = [answer.headers.get("X-RateLimit-Remaining-video-year") for answer in answers]
    assert shown == ["2", "1", "0", "0", "0", "0"]
    assert [answer.headers["X-RateLimit-Remaining-image-year"] for answer in answers[:3]] == ["98", "96", "94"]
    assert answers[0].headers["X-RateLimit-Limit-video-year"] == "3"
    assert [answer.content for answer in answers[2:4]] == [b"ok", b""]
    assert all("X-Kong-Limit" not in answer.headers for answer in answers)
    sent = [dict(request.headers).get("X-RateLimit-Remaining-video") for request in limited.requests]
    assert sent == ["3", "2", "1", "0", "0", "0"]


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_uploads_stream_on_where_something_might_have_been_in_the_body(
    node: Gateway, backend: Upstream, framing: str
) -> None:
    """On one connection, which goes on afterwards; 1 MiB is what plugins look into."""
    part = '--b\r\nContent-Disposition: form-data; name="{}"\r\n\r\n'
    large, small = (
        f"{part.format('f')}{'x' * size}\r\n{part.format('apikey')}key of ada\r\n--b--\r\n".encode()
        for size in (3 << 20, 1 << 10)
    )
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    with requests.Session() as session:
        for body, key, who in (
            (large, {"apikey": "key of bob"}, "bob"),
            (large, {}, "guest"),
            (small, {}, "ada"),
        ):
            backend.clear()
            data = body if framing == "length" else iter([body[:900], body[900:]])
            answer = session.post(f"{node.proxy_url}/upload", data=data, headers={**kind, **key}, timeout=30)
            assert answer.status_code == 200
            (received,) = backend.wait_for(1)
            assert received.get("X-Consumer-Username") == who
            if body is large:
                assert received.size == len(large)
            else:
                assert b"key of ada" not in received.body
