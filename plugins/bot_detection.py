"""bot-detection: programs that say who they are may be kept out."""

from __future__ import annotations

from typing import Any

from kong_gevent.pdk import Conf, Config, Context, Exit, Plugin, fields
from kong_gevent.pdk.patterns import compile_regex

MAX_DECISIONS = 10_000
"""User agents whose outcome a configuration remembers per worker."""
MAX_AGENT = 512
"""Longer ones are decided anew each time."""
SEVERAL = "Only one User-Agent header allowed"
BOTS = (
    r"(?i)\b[\w.+-]*(?:bot|crawler|spider|scraper)(?:[-_][\w.+-]+)?[/ -]v?\d",
    r"(?i)\b(?:googlebot|bingbot|baiduspider|yandex\w*bot|duckduckbot|applebot|petalbot|ahrefsbot|semrushbot|mj12bot)\b",
    r"(?i)\b(?:slurp|ia_archiver|nutch|heritrix|teoma|gigablast|mediapartners-google|adsbot-google)\b",
    r"(?i)\b(?:facebookexternalhit|facebookcatalog|twitterbot|linkedinbot|pinterest(?:bot)?/|slackbot|discordbot)",
    r"(?i)\b(?:pingdom(?:\.com)?|uptimerobot|statuscake|site24x7|newrelicpinger)",
    r"\bPTST/\d",
    r"\bBoto3?/\d",
    r"(?i)\bpython-(?:urllib|requests|httpx)/\d",
    r"(?i)\b(?:aiohttp|httplib2|urllib3)/\d",
    r"(?i)^apache-httpclient/\d|\bjakarta commons-httpclient/",
    r"(?i)^go-http-client/\d|^go \d[\d.]* package http",
    r"(?i)\bokhttp/\d",
    r"(?i)^(?:axios|node-fetch|got|superagent)/\d",
    r"(?i)^(?:java|libwww-perl|lwp::simple|ruby|php|perl)[/ ]\d",
    r"(?i)\b(?:scrapy|httrack|headlesschrome|phantomjs)/\d",
)
"""What crawlers, monitors and HTTP libraries call themselves; browsers and curl are not among them."""


def _patterns(description: str) -> fields.Array:
    return fields.Array(fields.Regex(), load_default=[], metadata={"description": description})


class BotDetectionConfig(Config):
    """Settings of bot-detection."""

    allow = _patterns("Regular expressions of user agents that may come in whatever else matches.")
    deny = _patterns("Regular expressions of user agents that are refused beyond the known ones.")


class BotDetection(Plugin):
    """Refuses user agents that are known to be programs."""

    name = "bot-detection"
    priority = 2500
    config = BotDetectionConfig
    forbidden_scopes = ("consumer",)

    def init_worker(self) -> None:
        """Compile what all configurations have in common."""
        self.known = _any_of(BOTS)

    def configure(self, conf: Conf) -> None:
        """Compile the lists."""
        conf.allowed = _any_of(conf.allow or ())
        conf.denied = _any_of(conf.deny or ())
        conf.passes = {}

    def access(self, ctx: Context, conf: Conf) -> Exit | None:
        """Let the user agent in, or refuse it; who does not tell one comes in."""
        agent = ctx.field("user-agent")
        if agent is None:
            return None
        if isinstance(agent, list):
            return ctx.error(400, SEVERAL)
        passes = conf.passes.get(agent)
        if passes is None:
            passes = self._decide(conf, agent)
        return None if passes else ctx.error(403)

    def _decide(self, conf: Conf, agent: str) -> bool:
        text = agent.strip()
        passes = _found(conf.allowed, text) or not (_found(conf.denied, text) or _found(self.known, text))
        if len(agent) <= MAX_AGENT:
            if len(conf.passes) >= MAX_DECISIONS:
                conf.passes.clear()
            conf.passes[agent] = passes
        return passes


def _any_of(patterns: Any) -> list[Any]:
    return [compile_regex(pattern) for pattern in patterns]


def _found(expressions: list[Any], text: str) -> bool:
    return any(expression.search(text) for expression in expressions)
