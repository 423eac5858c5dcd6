"""bot-detection: which user agents come in."""

from collections.abc import Callable
from typing import Any

import pytest

from kong_gevent.errors import SchemaViolation
from kong_gevent.pdk.testing import InMemoryGateway
from kong_gevent.plugins import bot_detection
from tests.gateway import Gateway
from tests.upstream import Upstream

Make = Callable[..., InMemoryGateway]
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


def status(made: InMemoryGateway, agent: str) -> int:
    return made.get("/", headers={"User-Agent": agent}).status


@pytest.mark.parametrize(
    "agent",
    [
        FIREFOX,
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (like Gecko) Chrome/126.0.0.0 Safari/537.36",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Version/17.5 Mobile Safari/604.1",
        "curl/8.5.0",
        "Wget/1.21",
        "my-app/1.0",
        "Robotics Weekly Reader",
        "",
    ],
)
def test_browsers_and_curl_pass(plugin: Make, agent: str) -> None:
    assert status(plugin("bot-detection"), agent) == 200


@pytest.mark.parametrize(
    "agent",
    [
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
        "Mozilla/5.0 (compatible; Baiduspider/2.0)",
        "Mozilla/5.0 (compatible; YandexBot/3.0)",
        "Mozilla/5.0 (compatible; Yahoo! Slurp)",
        "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
        "Twitterbot/1.0",
        "Pingdom.com_bot_version_1.4_(http://www.pingdom.com/)",
        "Mozilla/5.0 Chrome/120 PTST/240101",
        "Boto/2.49.0 Python/3.8",
        "Apache-Nutch/1.20",
        "SomethingBot/1.2",
        "my-crawler/0.1",
        "a_spider_v/3",
        "Python-urllib/3.11",
        "Apache-HttpClient/4.5.14 (Java/17)",
        "Go-http-client/1.1",
        "okhttp/4.12.0",
        "axios/1.6.2",
        "  Twitterbot/1.0  ",
    ],
)
def test_programs_that_say_so_are_refused(plugin: Make, agent: str) -> None:
    run = plugin("bot-detection").get("/", headers={"User-Agent": agent})
    assert (run.status, run.response.json()["message"], run.upstreams) == (403, "Forbidden", [])


def test_no_user_agent_passes(plugin: Make) -> None:
    assert plugin("bot-detection").get().status == 200


def test_two_user_agents_are_one_too_many(plugin: Make) -> None:
    run = plugin("bot-detection").get("/", headers=[("User-Agent", FIREFOX), ("User-Agent", FIREFOX)])
    assert (run.status, run.response.json()["message"]) == (400, "Only one User-Agent header allowed")


def test_allow_wins_over_everything(plugin: Make) -> None:
    made = plugin("bot-detection", allow=["^Googlebot", "friend"], deny=["friend", "foe"])
    agents = ["Googlebot/2.1", "friend", "foe", "friend or foe", "Mozilla Googlebot/2.1"]
    assert [status(made, agent) for agent in agents] == [200, 200, 403, 200, 403]


def test_expressions_match_anywhere(plugin: Make) -> None:
    made = plugin("bot-detection", deny=[r"Firefox/\d+"])
    assert [status(made, agent) for agent in (FIREFOX, "curl/8.5.0")] == [403, 200]


def test_denied_before_known_and_allowed_before_denied(plugin: Make) -> None:
    made = plugin("bot-detection", allow=["^Pingdom"], deny=["Pingdom", "^$"])
    assert [status(made, agent) for agent in ("Pingdom.com_bot_version_1.4", "xPingdom", "", "curl/8")] == [
        200,
        403,
        403,
        200,
    ]


def test_what_is_remembered_is_bounded(plugin: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bot_detection, "MAX_DECISIONS", 3)
    made = plugin("bot-detection", deny=["bad"])
    agents = [f"{kind}/{number}" for number in range(5) for kind in ("good", "bad")]
    for _ in range(2):
        assert [status(made, agent) for agent in agents] == [200, 403] * 5
    assert status(made, "bad" + "x" * bot_detection.MAX_AGENT) == 403
    ((_, conf),) = made.gateway.plan.global_chain.access
    assert 0 < len(conf.passes) <= 3


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({"deny": ["("]}, {"deny": ["not a valid regex: ("]}),
        ({"allow": ["a", "["]}, {"allow": [None, "not a valid regex: ["]}),
        ({"allow": "a"}, {"allow": "expected an array"}),
    ],
)
def test_bad_settings_are_refused(plugin: Make, config: dict[str, Any], error: Any) -> None:
    with pytest.raises(SchemaViolation) as caught:
        plugin("bot-detection", **config)
    assert caught.value.fields == {"config": error}


def test_consumers_cannot_have_it(plugin: Make) -> None:
    made = plugin()
    with pytest.raises(SchemaViolation) as caught:
        made.use("bot-detection", on={"consumer": made.consumer("ada")})
    assert caught.value.fields == {"consumer": "value must be null"}


def test_through_a_gateway(gateway: Gateway, upstream: Upstream) -> None:
    gateway.route(upstream.url, service={"name": "s"})
    gateway.admin("POST", "/services/s/plugins", {"name": "bot-detection"})
    assert gateway.request("GET", "/", headers={"User-Agent": "curl/8"}).status_code == 200
    assert gateway.request("GET", "/", headers={"User-Agent": "Twitterbot/1.0"}).status_code == 403
