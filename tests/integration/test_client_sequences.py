"""What a declarative client does to a running gateway: dump, difference, sync of every kind of entity.

The client knows what clients of Kong know: lists page by page, defaults from the published schemas, PUT by id.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from uuid import UUID, uuid5

import pytest

from tests.defaults import fill_config, fill_record
from tests.gateway import Gateway
from tests.integration.stores import LASTING, Stores
from tests.pem import certificate, private_key, public_key

ROOT = UUID("fd02801f-0957-4a15-a55a-c8d9606f30b5")
WITH_DEFAULTS = ("services", "routes", "upstreams", "targets")
"""Kinds of entities whose defaults such clients read from `/schemas/{kind}`."""
LISTS = {
    "services": "/services", "routes": "/routes", "consumers": "/consumers", "keyauth_credentials": "/key-auths",
    "plugins": "/plugins", "certificates": "/certificates", "snis": "/snis", "ca_certificates": "/ca_certificates",
    "upstreams": "/upstreams", "vaults": "/vaults", "keys": "/keys", "key_sets": "/key-sets",
    "hmacauth_credentials": "/hmac-auths", "jwt_secrets": "/jwts", "acls": "/acls", "oauth2_credentials": "/oauth2",
    "basicauth_credentials": "/basic-auths", "mtls_auth_credentials": "/mtls-auths",
}  # fmt: skip
ENTERPRISE = ("/licenses", "/consumer_groups", "/partials", "/degraphql_routes", "/workspaces")
CREDENTIALS: dict[str, tuple[str, dict[str, Any]]] = {
    "keyauth_credentials": ("key-auth", {"key": "secret"}),
    "hmacauth_credentials": ("hmac-auth", {"username": "h", "secret": "s"}),
    "jwt_secrets": ("jwt", {"key": "k", "secret": "s", "algorithm": "HS512"}),
    "acls": ("acls", {"group": "g"}),
    "oauth2_credentials": ("oauth2", {"name": "app", "client_id": "i", "client_secret": "s",
                                      "redirect_uris": ["https://a.test/b"]}),
}  # fmt: skip
"""Kind → last part of the path below a consumer, and what one has."""
PLUGINS: dict[str, dict[str, Any]] = {
    "correlation-id": {},
    "cors": {"origins": ["https://a.test"], "methods": ["GET"]},
    "http-log": {"http_endpoint": "http://127.0.0.1:9/x", "headers": {"x-a": "1"}, "queue": {"max_batch_size": 5}},
    "ip-restriction": {"deny": ["10.0.0.0/8"]},
    "key-auth": {"key_names": ["b", "a"]},
    "rate-limiting": {"minute": 5, "policy": "local"},
    "request-size-limiting": {"allowed_payload_size": 1},
    "request-termination": {"status_code": 403, "message": "no"},
}
Row = dict[str, Any]


class Wanted(NamedTuple):
    """An entity that the client wants: its kind, the path of its PUT, and the object."""

    kind: str
    path: str
    values: Row


def key(kind: str, name: str) -> str:
    """The deterministic id that clients give."""
    return str(uuid5(uuid5(ROOT, kind), name))


def ref(kind: str, name: str) -> dict[str, str]:
    return {"id": key(kind, name)}


class Wishes(list[Wanted]):
    """What the client wants, parents first."""

    def add(self, kind: str, name: str, path: str | None = None, /, **values: Any) -> None:
        """An entity of which `name` makes the id."""
        own = key(kind, name)
        self.append(Wanted(kind, f"{path or LISTS[kind]}/{own}", {"id": own, "tags": ["team", kind], **values}))

    def add_secrets(self) -> None:
        """Certificates, keys, vaults."""
        self.add("certificates", "c", cert=certificate(), key=private_key())
        for name in ("*.b.test", "a.test"):
            self.add("snis", name, name=name, certificate=ref("certificates", "c"))
        self.add("ca_certificates", "ca", cert=certificate(ca=True))
        self.add("key_sets", "set", name="set")
        self.add(
            "keys",
            "pem",
            name="pem",
            kid="k1",
            set=ref("key_sets", "set"),
            pem={"public_key": public_key(), "private_key": private_key()},
        )
        self.add("vaults", "my-env", prefix="my-env", name="env", description="d", config={"prefix": "APP_"})

    def add_proxied(self) -> None:
        """Upstreams with targets, services and routes."""
        self.add(
            "upstreams",
            "u.test",
            name="u.test",
            hash_on="header",
            hash_on_header="x-user",
            algorithm="consistent-hashing",
            healthchecks={"active": {"http_path": "/h", "healthy": {"interval": 5}}},
        )
        self.add(
            "upstreams",
            "v.test",
            name="v.test",
            algorithm="least-connections",
            client_certificate=ref("certificates", "c"),
        )
        for name, weight in (("127.0.0.1:9001", 100), ("h.test:80", 0)):
            self.add(
                "targets",
                name,
                f"/upstreams/{key('upstreams', 'u.test')}/targets",
                target=name,
                weight=weight,
                upstream=ref("upstreams", "u.test"),
            )
        self.add("services", "plain", name="plain", host="u.test", path="/p")
        self.add(
            "services",
            "tls",
            name="tls",
            host="h.test",
            protocol="https",
            port=443,
            tls_verify=True,
            client_certificate=ref("certificates", "c"),
            ca_certificates=[key("ca_certificates", "ca")],
        )
        for number in range(5):
            self.add(
                "routes",
                f"r{number}",
                name=f"r{number}",
                service=ref("services", "plain"),
                methods=["PUT", "GET"],
                hosts=["b.test", "a.test"],
                paths=[f"/r{number}", f"~/x{number}/\\d+$"],
                headers={"x-a": ["~*^a", "2"]},
            )
        self.add("routes", "grpc", name="grpc", protocols=["grpc", "grpcs"], paths=["/g"], strip_path=False)

    def add_users(self) -> None:
        """Consumers with credentials, and plugins of every scope."""
        for number in range(3):
            self.add("consumers", f"c{number}", username=f"c{number}", custom_id=f"id {number}")
        for kind, (nested, values) in CREDENTIALS.items():
            path = f"/consumers/{key('consumers', 'c1')}/{nested}"
            self.add(kind, "c1", path, consumer=ref("consumers", "c1"), **values)
        for name, config in PLUGINS.items():
            self.add(
                "plugins", name, name=name, config=config, service=ref("services", "plain"), instance_name=f"one-{name}"
            )
        self.add("plugins", "global", name="correlation-id", config={"generator": "uuid"})
        self.add(
            "plugins",
            "scoped",
            name="rate-limiting",
            config={"hour": 7},
            route=ref("routes", "r1"),
            consumer=ref("consumers", "c2"),
        )


def state() -> list[Wanted]:
    """A rich configuration, parents first. (Passwords of basic-auth never come back as they were sent.)"""
    wishes = Wishes()
    wishes.add_secrets()
    wishes.add_proxied()
    wishes.add_users()
    return wishes


class Client:
    """A client with the manners of decK."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._documents: dict[str, Any] = {}

    def call(self, method: str, path: str, body: Any = None, *statuses: int) -> Any:
        """One request that has to be answered with one of these."""
        answer = self._gateway.admin(method, path, body)
        assert answer.status_code in (statuses or (200,)), f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def all(self, path: str) -> list[Row]:
        """A list, page by page."""
        found: list[Row] = []
        offset = ""
        while True:
            page = self.call("GET", f"{path}?size=1000{offset}")
            found += page["data"]
            if "offset" not in page:
                return found
            offset = f"&offset={page['offset']}"

    def dump(self) -> dict[str, Row]:
        """Everything, by id."""
        rows = [row for path in LISTS.values() for row in self.all(path)]
        for upstream in self.all("/upstreams"):
            rows += self.all(f"/upstreams/{upstream['id']}/targets")
        return {row["id"]: row for row in rows}

    def expected(self, wanted: Wanted) -> Row:
        """The object with the defaults that the schemas promise."""
        if wanted.kind in WITH_DEFAULTS:
            return fill_record(self._document(wanted.kind)["fields"], wanted.values)
        if wanted.kind != "plugins":
            return wanted.values
        fields = {name: field for entry in self._document(f"plugins/{wanted.values['name']}")["fields"]
                  for name, field in entry.items()}  # fmt: skip
        config = fill_config(fields["config"], wanted.values["config"])
        filled = {"enabled": True, "protocols": fields["protocols"]["default"]}
        return {**filled, **wanted.values, "config": config}

    def _document(self, name: str) -> Any:
        if name not in self._documents:
            self._documents[name] = self.call("GET", f"/schemas/{name}")
        return self._documents[name]

    def sync(self, wanted: list[Wanted]) -> list[str]:
        """Make it so; the calls that changed something."""
        held = self.dump()
        calls = []
        for one in wanted:
            if not agrees(self.expected(one), held.get(one.values["id"])):
                calls.append(f"PUT {one.path}")
                self.put(one)
        return calls

    def put(self, one: Wanted) -> None:
        """Create or replace; targets are made by POST when PUT knows none."""
        if one.kind != "targets":
            self.call("PUT", one.path, one.values)
        elif self._gateway.admin("PUT", one.path, one.values).status_code == 404:
            self.call("POST", one.path.rpartition("/")[0], one.values, 201)


def agrees(expected: Mapping[str, Any], held: Mapping[str, Any] | None) -> bool:
    """Whether all that is expected is there; old names of settings, and times, do not count."""
    if held is None:
        return False
    for name, value in expected.items():
        if isinstance(value, dict) and isinstance(held.get(name), dict):
            if not agrees(value, held[name]):
                return False
        elif held.get(name) != value:
            return False
    return True


@pytest.fixture(params=LASTING)
def gateway(request: pytest.FixtureRequest, stores: Stores) -> Iterator[Gateway]:
    """A node with an empty store, once for each strategy."""
    commands = stores(request.param)
    commands.done("migrations", "bootstrap")
    with Gateway(prefix=commands.prefix, env=commands.settings) as node:
        yield node


def test_dump_difference_and_sync_of_everything(gateway: Gateway) -> None:
    client, wanted = Client(gateway), state()
    assert client.call("GET", "/")["version"] == "3.9.1"
    for path in ENTERPRISE:
        client.call("GET", path, None, 404)
    client.call("GET", "/filter-chains", None, 400)
    client.call("GET", "/tags")
    for one in wanted:
        client.call("POST", f"/schemas/{one.kind}/validate", one.values)

    assert len(client.sync(wanted)) == len(wanted)
    first = client.dump()
    assert first.keys() == {one.values["id"] for one in wanted}
    assert client.sync(wanted) == []
    assert client.dump() == first

    changed = [one._replace(values={**one.values, "tags": ["team"]}) if one.kind == "routes" else one for one in wanted]
    assert len(client.sync(changed)) == sum(one.kind == "routes" for one in wanted)
    assert client.sync(changed) == []

    put_back = [Wanted(one.kind, one.path, {**first[one.values["id"]]}) for one in wanted]
    for one in put_back:
        client.put(one)
    again = client.dump()
    for row in (*first.values(), *again.values()):
        row.pop("updated_at", None)
    assert again == first

    for one in reversed(wanted):
        client.call("DELETE", one.path, None, 204, 404)
    assert client.dump() == {}
