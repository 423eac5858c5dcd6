"""The plugins as they are measured: settings, the consumers they know, and the header fields of the requests."""

from __future__ import annotations

import hmac
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from email.utils import formatdate

from harness.gateway import Addresses, Admin, in_parallel
from harness.load import Request

CONSUMERS = 1000
KEY = "consumer-{index}-d1c5a7e09b3f4826"
WITH_KEY = (f"apikey: {KEY}",)
GROUP = "customers"
USER, SECRET = "consumer-0", "c8a4f17e6b2d49d0a3"
ITEMS = "/items/42?fields=id,name"
MEASURED_PATH = "/with"
TOKEN_HEAD = b'{"alg":"HS256","typ":"JWT"}'
DAY = 86_400


def _token() -> str:
    """A JSON web token of USER (RFC 7519) that is valid while a run takes."""
    claims = f'{{"iss":"{USER}","sub":"4f1c6d20","exp":{int(time.time()) + DAY}}}'.encode()
    signed = f"{_base64url(TOKEN_HEAD)}.{_base64url(claims)}"
    return f"{signed}.{_base64url(hmac.digest(SECRET.encode(), signed.encode(), 'sha256'))}"


def _base64url(part: bytes) -> str:
    return urlsafe_b64encode(part).rstrip(b"=").decode()


def _signed() -> tuple[str, ...]:
    """Date and signature of a request for ITEMS below MEASURED_PATH."""
    date = formatdate(usegmt=True)
    signed = f"date: {date}\nGET {MEASURED_PATH}{ITEMS} HTTP/1.1".encode()
    signature = b64encode(hmac.digest(SECRET.encode(), signed, "sha256")).decode()
    parts = f'username="{USER}", algorithm="hmac-sha256", headers="date request-line", signature="{signature}"'
    return f"Date: {date}", f"Authorization: hmac {parts}"


def _transformer(**more: object) -> dict[str, object]:
    """A rule of each kind for headers."""
    return {
        "remove": {"headers": ["x-a"]},
        "rename": {"headers": ["x-b:x-d"]},
        "replace": {"headers": ["x-c:1"]},
        "add": {"headers": ["x-e:1"], **more},
        "append": {"headers": ["x-f:2"]},
    }


# {sink} stands for the port of the sink, {folder} for a folder for files.
SETTINGS: Mapping[str, Mapping[str, object]] = {
    "acl": {"allow": [GROUP]},
    "basic-auth": {},
    "bot-detection": {},
    "correlation-id": {"echo_downstream": True},
    "cors": {"origins": ["https://bench.example"], "credentials": True},
    "file-log": {"path": "{folder}/requests.log"},
    "hmac-auth": {"clock_skew": DAY},
    "http-log": {
        "http_endpoint": "http://127.0.0.1:{sink}/log",
        "queue": {"max_batch_size": 1000, "max_coalescing_delay": 0.2, "max_entries": 100_000},
    },
    "ip-restriction": {"allow": ["127.0.0.0/8", *(f"10.{number}.0.0/16" for number in range(9))]},
    "jwt": {"claims_to_verify": ["exp"]},
    "key-auth": {},
    "prometheus": {
        f"{name}_metrics": True for name in ("status_code", "latency", "bandwidth", "upstream_health")
    } | {"per_consumer": True},
    "proxy-cache": {"strategy": "memory", "cache_ttl": 3600},
    "rate-limiting": {"minute": 100_000_000, "hour": 10_000_000_000, "policy": "local"},
    "request-size-limiting": {},
    "request-transformer": _transformer(querystring=["page:1"]),
    "response-transformer": _transformer(),
}  # fmt: skip
HEADERS: Mapping[str, tuple[str, ...]] = {
    "basic-auth": (f"Authorization: Basic {b64encode(f'{USER}:{SECRET}'.encode()).decode()}",),
    "cors": ("Origin: https://bench.example",),
    "hmac-auth": _signed(),
    "jwt": (f"Authorization: Bearer {_token()}",),
    "key-auth": WITH_KEY,
    "request-transformer": ("X-A: 1", "X-B: 2", "X-C: 3"),
}
CREDENTIALS: Mapping[str, Mapping[str, str]] = {
    "basic-auth": {"username": USER, "password": SECRET},
    "hmac-auth": {"username": USER, "secret": SECRET},
    "jwt": {"key": USER, "secret": SECRET},
}


def request_for(path: str, names: Sequence[str]) -> Request:
    """A request that these plugins let pass."""
    headers = [line for name in names for line in HEADERS.get(name, ())]
    return Request(path, tuple(headers), CONSUMERS if "key-auth" in names else 1)


def add_service(admin: Admin, behind: Addresses, name: str, path: str, plugins: Sequence[str] = ()) -> None:
    """One service with plugins, and one route without conditions but a path prefix."""
    admin.post("/services", name=name, url=f"http://127.0.0.1:{behind.upstream}")
    admin.post(f"/services/{name}/routes", name=name, paths=[path])
    for plugin in plugins:
        config = {setting: _filled(value, behind) for setting, value in SETTINGS[plugin].items()}
        admin.post(f"/services/{name}/plugins", name=plugin, config=config)


def _filled(value: object, behind: Addresses) -> object:
    if isinstance(value, str):
        return value.replace("{sink}", str(behind.sink)).replace("{folder}", str(behind.folder))
    return value


def add_consumers(admin: Admin, plugins: Sequence[str]) -> None:
    """Create the consumers that the plugins need: many with a key each where there are keys, or else one."""
    if "key-auth" in plugins:
        _add_many(admin, grouped="acl" in plugins)
    elif not CREDENTIALS.keys().isdisjoint(plugins):
        admin.post("/consumers", username=USER)
    for name in plugins:
        if name in CREDENTIALS:
            admin.post(f"/consumers/{USER}/{name}", **CREDENTIALS[name])


def _add_many(admin: Admin, grouped: bool, jobs: int = 4) -> None:
    def work(job: int) -> None:
        own = admins[job]
        for index in range(job, CONSUMERS, jobs):
            own.post("/consumers", username=f"consumer-{index}")
            own.post(f"/consumers/consumer-{index}/key-auth", key=KEY.format(index=index))
            if grouped:
                own.post(f"/consumers/consumer-{index}/acls", group=GROUP)

    admins = [admin.another() for _ in range(jobs)]
    in_parallel(jobs, work)
    for each in admins:
        each.close()
