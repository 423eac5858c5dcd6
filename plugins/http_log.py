"""http-log: records of requests, posted to an HTTP server."""

from __future__ import annotations

from base64 import b64encode
from time import monotonic
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from kong_gevent.pdk import Conf, Config, custom_fields, fields, legacy_queue_fields, queue_record
from kong_gevent.pdk.kit import Queue
from kong_gevent.pdk.logging import LogPlugin

_OWN_FIELDS = [
    {"pattern": "^[Hh][Oo][Ss][Tt]$", "err": "cannot contain 'Host' header"},
    {
        "pattern": "^[Cc][Oo][Nn][Tt][Ee][Nn][Tt]%-[Ll][Ee][nn][Gg][Tt][Hh]$",
        "err": "cannot contain 'Content-Length' header",
    },
    {
        "pattern": "^[Cc][Oo][Nn][Tt][Ee][Nn][Tt]%-[Tt][Yy][Pp][Ee]$",
        "err": "cannot contain 'Content-Type' header",
    },
]
SHOWN, READ = 300, 16 << 10
"""Characters of a refusing server's answer that are logged, and bytes of any answer that are read."""


class HttpLogConfig(Config):
    """Settings of http-log."""

    http_endpoint = fields.Url(
        required=True,
        referenceable=True,
        encrypted=True,
        metadata={
            "description": "URL that records are sent to; a user and password in it become basic authentication."
        },
    )
    method = fields.Choice(
        "POST", "PUT", "PATCH", load_default="POST", metadata={"description": "Method of the requests."}
    )
    content_type = fields.Choice(
        "application/json",
        "application/json; charset=utf-8",
        load_default="application/json",
        metadata={"description": "`Content-Type` of the requests."},
    )
    timeout = fields.Number(
        load_default=10000, metadata={"description": "Milliseconds for connecting, sending and receiving."}
    )
    keepalive = fields.Number(
        load_default=60000, metadata={"description": "Milliseconds for which an idle connection is kept."}
    )
    retry_count, queue_size, flush_timeout = legacy_queue_fields().values()
    headers = fields.Map(
        keys=fields.HeaderName(match_none=_OWN_FIELDS),
        values=fields.String(referenceable=True),
        metadata={"description": "Further header fields of the requests."},
    )
    queue = queue_record()
    custom_fields_by_lua = custom_fields.field()

    @staticmethod
    def custom_validator(config: dict[str, Any]) -> str | None:
        """There is one way to say who we are."""
        names = {name.lower() for name in config["headers"] or ()}
        if "authorization" in names and "@" in urlsplit(config["http_endpoint"]).netloc:
            return "specifying both an 'Authorization' header and user info in 'http_endpoint' is not allowed"
        return None


class HttpLog(LogPlugin):
    """Sends records in batches and tries again while the server refuses them."""

    name = "http-log"
    priority = 12
    config = HttpLogConfig

    def configure(self, conf: Conf) -> None:
        """Take the URL apart and prepare the connection."""
        # Loaded when a configuration needs them: they take as much memory as a tenth of a worker.
        import requests
        import urllib3

        # As in Kong, the server's certificate is not verified; one warning per request would fill the log.
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        parts = urlsplit(conf.http_endpoint)
        conf.place = f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
        conf.url = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path or "/", parts.query, ""))
        user_info = parts.netloc.rpartition("@")[0]
        conf.who = f"{hash(user_info):x}" if user_info else ""  # a part of the queue's name, which is logged
        conf.fields = {"Content-Type": conf.content_type}
        conf.fields |= {name: value.encode() for name, value in (conf.headers or {}).items()}  # as UTF-8
        if parts.username is not None:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            conf.fields["Authorization"] = f"Basic {b64encode(user).decode()}"
        conf.seconds = conf.timeout / 1000 if conf.timeout else None
        conf.keep, conf.used = (conf.keepalive or 0) / 1000, monotonic()
        conf.session = requests.Session()
        conf.session.trust_env = False
        conf.session.verify = False
        super().configure(conf)

    def queue_of(self, conf: Conf) -> Queue:
        """One queue for all configurations that send to the same place in the same way."""
        way = (conf.url, conf.who, conf.method, conf.content_type, conf.timeout, conf.keepalive, conf.retry_count)
        conf.bare = conf.queue["max_batch_size"] == 1 and conf.queue_size in (None, 1)
        return self.open_queue(conf, ":".join(map(str, way)), self.batches(conf))

    def release(self, conf: Conf) -> None:
        """Let idle connections go; what still waits opens its own."""
        conf.session.close()

    def send(self, conf: Conf, records: list[Any]) -> None:
        """One request for a batch. Raises when the server does not take it."""
        body = records[0] if conf.bare else _array(records)
        if monotonic() - conf.used > conf.keep:
            conf.session.close()  # idle for too long; it opens another connection
        with conf.session.request(
            conf.method,
            conf.url,
            data=body,
            headers=conf.fields,
            timeout=conf.seconds,
            allow_redirects=False,
            stream=True,
        ) as answer:
            said = answer.raw.read(READ, decode_content=True)  # the connection is kept if that is all
        conf.used = monotonic()
        if answer.status_code >= 300:
            text = said.decode("utf-8", "replace")[:SHOWN]
            raise OSError(f"request to {conf.place} returned status code {answer.status_code} and body {text}")


def _array(texts: list[bytes]) -> bytes:
    """A JSON array; the elements, which may be megabytes, are copied once."""
    return b",".join([b"[" + texts[0], *texts[1:-1], texts[-1] + b"]"]) if len(texts) > 1 else b"[%b]" % texts[0]
