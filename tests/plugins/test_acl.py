"""acl: whose groups count, who comes through, and what the upstream is told."""

from collections.abc import Callable
from typing import Any

import pytest

from kong_gevent.errors import SchemaViolation, StoreUnavailable
from kong_gevent.pdk import Conf, Config, Context, Plugin
from kong_gevent.pdk.testing import InMemoryGateway

Make = Callable[..., InMemoryGateway]
NOT_YOU, UNKNOWN = (403, "You cannot consume this service"), (401, "Unauthorized")
BOTH = "exactly one of these fields must be non-empty: 'config.allow', 'config.deny'"
ONE = "at least one of these fields must be non-empty: 'config.allow', 'config.deny'"


class Grouped(Plugin):
    """Finds groups as an authentication without consumers does; `X-Groups` has them, `X-User` a credential."""

    name = "grouped"
    priority = 1000
    config = type("GroupedConfig", (Config,), {})

    def access(self, ctx: Context, conf: Conf) -> None:
        user, groups = ctx.request.header("X-User"), ctx.request.header("X-Groups")
        if groups is not None:
            ctx.authenticated_groups = groups.split()
        if user is not None:
            ctx.authenticate(None, {"id": user}, user)


@pytest.fixture
def gateway(plugin: Make) -> Make:
    def make(**config: Any) -> InMemoryGateway:
        made = plugin(Grouped).use("key-auth", anonymous="guest").use("acl", **config)
        made.consumer("guest")
        made.consumer("loner", "loner")
        ann = made.consumer("ann", "ann")
        for group in ("staff", "admin"):
            made.insert("acls", consumer={"id": ann["id"]}, group=group)
        return made

    return make


def outcome(made: InMemoryGateway, **headers: str) -> tuple[int, str] | dict[str, str]:
    run = made.get(headers={name.replace("_", "-"): value for name, value in headers.items()})
    if run.upstreams:
        names = ("X-Consumer-Groups", "X-Authenticated-Groups")
        return {name: run.upstream.headers[name] for name in names if name in run.upstream.headers}
    assert run.response.json()["request_id"]
    return run.status, run.response.json()["message"]


@pytest.mark.parametrize(
    ("config", "key", "expected"),
    [
        ({"allow": ["admin", "x"]}, "ann", {"X-Consumer-Groups": "admin, staff"}),
        ({"allow": ["Admin"]}, "ann", NOT_YOU),
        ({"deny": ["x"]}, "ann", {"X-Consumer-Groups": "admin, staff"}),
        ({"deny": ["staff"]}, "ann", NOT_YOU),
        ({"allow": ["staff"]}, "loner", NOT_YOU),
        ({"deny": ["staff"]}, "loner", {"X-Consumer-Groups": ""}),
        ({"allow": ["staff"]}, "nobody", UNKNOWN),
        ({"deny": ["staff"]}, "nobody", {"X-Consumer-Groups": ""}),
        ({"allow": ["staff"], "hide_groups_header": True}, "ann", {}),
    ],
)
def test_groups_of_consumers(gateway: Make, config: dict[str, Any], key: str, expected: Any) -> None:
    made = gateway(**config)
    assert outcome(made, apikey=key) == outcome(made, apikey=key) == expected


@pytest.mark.parametrize(
    ("config", "headers", "expected"),
    [
        ({"allow": ["staff"]}, {"X_Groups": "staff", "X_User": "u"}, {"X-Authenticated-Groups": "staff"}),
        ({"allow": ["staff"]}, {"X_Groups": "other", "X_User": "u"}, NOT_YOU),
        ({"deny": ["staff"]}, {"X_Groups": "staff", "X_User": "u"}, NOT_YOU),
        ({"allow": ["staff"]}, {"X_User": "u"}, NOT_YOU),
        ({"allow": ["other"]}, {"X_Groups": "other", "apikey": "ann"}, NOT_YOU),
        ({"allow": ["other"]}, {"X_Groups": "other", "apikey": "nobody"}, {"X-Authenticated-Groups": "other"}),
        ({"allow": ["other"], "always_use_authenticated_groups": True}, {"X_Groups": "other", "apikey": "ann"},
         {"X-Authenticated-Groups": "other"}),
        ({"allow": ["staff"], "always_use_authenticated_groups": True}, {"apikey": "ann"},
         {"X-Consumer-Groups": "admin, staff"}),
    ],
)  # fmt: skip
def test_groups_of_an_authentication(
    plugin: Make, gateway: Make, config: dict[str, Any], headers: dict[str, str], expected: Any
) -> None:
    made = gateway(**config)
    if "apikey" not in headers:
        made = plugin(Grouped).use("acl", **config)
    assert outcome(made, **headers) == expected


@pytest.mark.parametrize(("groups", "expected"), [(None, UNKNOWN), ("staff", {"X-Authenticated-Groups": "staff"})])
def test_without_anybody(plugin: Make, groups: str | None, expected: Any) -> None:
    made = plugin(Grouped).use("acl", allow=["staff"])
    assert outcome(made, **({"X_Groups": groups} if groups else {})) == expected


@pytest.mark.parametrize("config", [{}, {"hide_groups_header": True}])
def test_clients_cannot_claim_groups(gateway: Make, config: dict[str, Any]) -> None:
    made = gateway(allow=["staff"], **config)
    forged = {"X_Consumer_Groups": "forged", "X_Authenticated_Groups": "forged"}
    assert "forged" not in dict(outcome(made, apikey="ann", **forged)).values()  # type: ignore[arg-type]


def test_changes_of_groups_count_at_once(gateway: Make) -> None:
    made = gateway(allow=["new"])
    assert outcome(made, apikey="loner") == NOT_YOU
    loner = made.store.dao("consumers").select_by("username", "loner")
    assert loner is not None
    entry = made.insert("acls", consumer={"id": loner["id"]}, group="new")
    assert outcome(made, apikey="loner") == {"X-Consumer-Groups": "new"}
    made.update("acls", entry["id"], group="old")
    assert outcome(made, apikey="loner") == NOT_YOU


def test_a_datastore_that_is_away_lets_nobody_pass(gateway: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = gateway(deny=["x"])

    def away(*arguments: Any) -> Any:
        raise StoreUnavailable("away")

    monkeypatch.setattr(made.store.strategy, "children", away)
    assert made.get(headers={"apikey": "ann"}).status == 503


@pytest.mark.parametrize(
    ("config", "fields"),
    [
        ({}, {"@entity": [BOTH, ONE]}),
        ({"allow": [], "deny": []}, {"@entity": [BOTH, ONE]}),
        ({"allow": ["a"], "deny": ["b"]}, {"@entity": [BOTH]}),
        ({"allow": "a"}, {"config": {"allow": "expected an array"}}),
        ({"allow": ["a", ""]}, {"config": {"allow": [None, "length must be at least 1"]}}),
        ({"allow": ["a"], "hide_groups_header": None}, {"config": {"hide_groups_header": "required field missing"}}),
    ],
)
def test_bad_configurations(plugin: Make, config: dict[str, Any], fields: dict[str, Any]) -> None:
    with pytest.raises(SchemaViolation) as caught:
        plugin("acl", **config)
    assert caught.value.fields == fields


def test_groups_with_control_characters(gateway: Make) -> None:
    made = gateway(deny=["nobody"])
    odd = made.consumer("odd", "odd")
    made.insert("acls", consumer={"id": odd["id"]}, group="x\ny")
    assert made.get(headers={"apikey": "odd"}).upstream.headers["X-Consumer-Groups"] == "x%0Ay"
