"""cors: which origins may read answers, what preflights are told, and where the fields appear."""

from collections.abc import Callable
from typing import Any

import pytest

from kong_gevent.errors import SchemaViolation
from kong_gevent.pdk.testing import InMemoryGateway, Run, respond
from kong_gevent.plugins.cors import MAX_DECISIONS

Make = Callable[..., InMemoryGateway]
ALL_METHODS = "GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS,TRACE,CONNECT"
SHOP = "https://shop.example"
TWO = [SHOP, "https://admin.example:8443"]
MIXED = [r"partner\.example", "x.example"]


def told(run: Run) -> dict[str, str]:
    """The fields that cors is about."""
    fields = run.response.headers.fields
    return {name: value for name, value in fields if name.startswith("Access-Control-") or name == "Vary"}


def preflight(made: InMemoryGateway, origin: str = SHOP, **headers: str) -> Run:
    asked = {name.replace("_", "-"): value for name, value in headers.items()}
    return made.request("OPTIONS", "/", headers={"Origin": origin, "Access-Control-Request-Method": "PUT", **asked})


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        ([SHOP], None, SHOP),
        ([SHOP], "https://evil.example", SHOP),
        (TWO, "https://shop.example:443", SHOP),
        (TWO, "http://shop.example", None),
        (TWO, "https://admin.example", None),
        (TWO, "https://admin.example:8443", "https://admin.example:8443"),
        (TWO, None, None),
        (MIXED, "https://partner.example:7777", "https://partner.example:7777"),
        (MIXED, "https://evil-partner.example", None),
        (MIXED, "https://x.example", None),
        (MIXED, "x.example", "x.example"),
        (
            [r"https://[a-z]+\.partner\.example:8443", "x.example"],
            "https://a.partner.example:8443",
            "https://a.partner.example:8443",
        ),
        ([r"https://[a-z]+\.partner\.example:8443", "x.example"], "https://a.partner.example", None),
        ([r"https://*.cdn.example", "x.example"], "https://a.cdn.example", None),
        ([r"https?://a\.example"], "https://a.example", "https://a.example"),
        ([r"https?://a\.example"], "https://a.example.evil.test", None),
        ([SHOP, "*"], "https://any.example", "*"),
        ([SHOP, "*"], None, None),
        ([r".*\.example"], "null", None),
        ([SHOP, "null"], "null", "null"),
    ],
)
def test_the_origin_decides(plugin: Make, origins: list[str], origin: str | None, allowed: str | None) -> None:
    made = plugin("cors", origins=origins)
    headers = {"Origin": origin} if origin else {}
    for _ in range(2):  # decided, then remembered
        run = made.get("/", headers=headers)
        expected = {"Vary": "Origin"} | ({"Access-Control-Allow-Origin": allowed} if allowed else {})
        assert told(run) == expected
        assert run.upstream.headers.get("Origin") == origin


@pytest.mark.parametrize("config", [{}, {"origins": ["*"]}, {"origins": []}], ids=["unset", "star", "empty"])
@pytest.mark.parametrize("headers", [{}, {"Origin": SHOP}], ids=["without origin", "with origin"])
def test_without_origins_everybody_may_read(plugin: Make, config: dict[str, Any], headers: dict[str, str]) -> None:
    assert told(plugin("cors", **config).get("/", headers=headers)) == {"Access-Control-Allow-Origin": "*"}


class TestCredentials:
    def test_the_wildcard_becomes_the_origin(self, plugin: Make) -> None:
        made = plugin("cors", credentials=True)
        assert told(made.get("/", headers={"Origin": "https://Any.example:443"})) == {
            "Access-Control-Allow-Origin": "https://Any.example:443",
            "Access-Control-Allow-Credentials": "true",
            "Vary": "Origin",
        }

    def test_without_origin_the_wildcard_stays(self, plugin: Make) -> None:
        assert told(plugin("cors", credentials=True).get()) == {"Access-Control-Allow-Origin": "*"}

    @pytest.mark.parametrize("origin", [SHOP, "https://evil.example"])
    def test_listed_origins_come_with_credentials_even_if_none_matched(self, plugin: Make, origin: str) -> None:
        made = plugin("cors", origins=TWO, credentials=True)
        assert told(made.get("/", headers={"Origin": origin}))["Access-Control-Allow-Credentials"] == "true"


class TestAnswers:
    def test_fields_to_expose_are_named(self, plugin: Make) -> None:
        made = plugin("cors", exposed_headers=["X-A", "X-B"])
        assert told(made.get())["Access-Control-Expose-Headers"] == "X-A,X-B"

    def test_the_upstreams_own_permission_is_replaced(self, plugin: Make) -> None:
        made = plugin("cors", origins=TWO)
        made.upstream.respond = respond(headers={"access-control-allow-origin": "https://evil.example"})
        run = made.get("/", headers={"Origin": SHOP})
        assert run.response.headers.all("Access-Control-Allow-Origin") == [SHOP]

    def test_the_upstreams_own_permission_goes_when_nobody_is_allowed(self, plugin: Make) -> None:
        made = plugin("cors", origins=TWO)
        made.upstream.respond = respond(headers={"Access-Control-Allow-Origin": "*"})
        assert "Access-Control-Allow-Origin" not in made.get("/").response.headers

    def test_the_upstreams_vary_stays(self, plugin: Make) -> None:
        made = plugin("cors", origins=TWO)
        made.upstream.respond = respond(headers={"Vary": "Accept"})
        assert made.get("/").response.headers.all("Vary") == ["Accept", "Origin"]

    @pytest.mark.parametrize("path", ["/", "/no-route"])
    def test_errors_made_here_can_be_read_too(self, plugin: Make, path: str) -> None:
        made = plugin("cors", origins=TWO).use("request-termination", on="route", status_code=403)
        if path == "/no-route":
            made.update("routes", made.route["id"], paths=["/only"])
        run = made.get(path, headers={"Origin": SHOP})
        assert run.status in (403, 404)
        assert told(run) == {"Access-Control-Allow-Origin": SHOP, "Vary": "Origin"}

    def test_decisions_remembered_are_bounded(self, plugin: Make) -> None:
        made = plugin("cors", origins=[r".*\.example", "x"])
        conf = next(iter(made.gateway.plan.global_chain.phases_without_access().chosen))[1]
        for number in range(MAX_DECISIONS + 10):
            made.get("/", headers={"Origin": f"https://{number}.example"})
        assert 0 < len(conf.decisions) <= MAX_DECISIONS
        made.get("/", headers={"Origin": "https://" + "a" * 4000 + ".example"})
        assert all(origin is None or len(origin) < 1000 for origin in conf.decisions)


@pytest.mark.parametrize("credentials", [False, True])
def test_a_star_among_others_allows_all(plugin: Make, credentials: bool) -> None:
    made = plugin("cors", origins=[SHOP, "*"], credentials=credentials)
    run = made.get("/", headers={"Origin": "https://any.example"})
    assert told(run)["Access-Control-Allow-Origin"] == ("https://any.example" if credentials else "*")
    assert ("Access-Control-Allow-Credentials" in told(run)) == credentials


def test_a_private_network_is_not_granted_to_who_did_not_ask(plugin: Make) -> None:
    assert "Access-Control-Allow-Private-Network" not in told(preflight(plugin("cors", private_network=True)))


class TestPreflight:
    def test_it_is_answered_here(self, plugin: Make) -> None:
        run = preflight(plugin("cors"))
        assert run.upstreams == []
        assert (run.status, run.response.body, run.response.headers["Content-Length"]) == (200, b"", "0")
        assert told(run) == {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Methods": ALL_METHODS}

    def test_everything_configured_is_told(self, plugin: Make) -> None:
        made = plugin(
            "cors",
            origins=TWO,
            methods=["GET", "POST"],
            headers=["X-A", "X-B"],
            exposed_headers=["X-C"],
            max_age=600,
            credentials=True,
        )
        assert told(preflight(made)) == {
            "Access-Control-Allow-Origin": SHOP,
            "Access-Control-Allow-Credentials": "true",
            "Access-Control-Allow-Headers": "X-A,X-B",
            "Access-Control-Allow-Methods": "GET,POST",
            "Access-Control-Max-Age": "600",
            "Vary": "Origin",
        }

    def test_the_headers_asked_for_are_granted_when_none_are_listed(self, plugin: Make) -> None:
        run = preflight(plugin("cors"), Access_Control_Request_Headers="x-q, x-r")
        assert told(run)["Access-Control-Allow-Headers"] == "x-q, x-r"

    def test_no_methods_means_all(self, plugin: Make) -> None:
        assert told(preflight(plugin("cors", methods=None)))["Access-Control-Allow-Methods"] == ALL_METHODS

    def test_an_origin_that_is_not_allowed_gets_no_permission(self, plugin: Make) -> None:
        run = preflight(plugin("cors", origins=TWO), "https://evil.example")
        assert (run.status, told(run)) == (200, {"Access-Control-Allow-Methods": ALL_METHODS, "Vary": "Origin"})

    @pytest.mark.parametrize(("wanted", "granted"), [(True, "true"), (False, None)])
    def test_private_networks_are_granted_where_that_is_wanted(
        self, plugin: Make, wanted: bool, granted: str | None
    ) -> None:
        run = preflight(plugin("cors", private_network=wanted), Access_Control_Request_Private_Network="true")
        assert told(run).get("Access-Control-Allow-Private-Network") == granted

    def test_it_can_be_left_to_the_upstream_untouched(self, plugin: Make) -> None:
        made = plugin("cors", origins=TWO, preflight_continue=True)
        made.upstream.respond = respond(204, headers={"Access-Control-Allow-Origin": "https://own.example"})
        run = preflight(made)
        assert (run.status, told(run)) == (204, {"Access-Control-Allow-Origin": "https://own.example"})

    @pytest.mark.parametrize("headers", [{"Origin": SHOP}, {"Access-Control-Request-Method": "PUT"}])
    def test_other_options_requests_are_proxied(self, plugin: Make, headers: dict[str, str]) -> None:
        run = plugin("cors").request("OPTIONS", "/", headers=headers)
        assert run.upstream.method == "OPTIONS"
        assert told(run) == {"Access-Control-Allow-Origin": "*"}

    def test_it_comes_before_authentication(self, plugin: Make) -> None:
        assert preflight(plugin("cors").use("key-auth")).status == 200


@pytest.mark.parametrize(
    ("config", "fields"),
    [
        ({"origins": ["("]}, {"origins": ["'(' is not a valid regex"]}),
        (
            {"methods": ["FETCH"]},
            {"methods": ["expected one of: GET, HEAD, PUT, PATCH, POST, DELETE, OPTIONS, TRACE, CONNECT"]},
        ),
        ({"max_age": "600"}, {"max_age": "expected a number"}),
        ({"credentials": None}, {"credentials": "required field missing"}),
    ],
)
def test_bad_settings_are_refused(plugin: Make, config: dict[str, Any], fields: dict[str, Any]) -> None:
    with pytest.raises(SchemaViolation) as caught:
        plugin("cors", **config)
    assert caught.value.fields == {"config": fields}
