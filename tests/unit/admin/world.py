"""An API with one row of each kind behind it, which fuzzed requests may write to and which can be put back."""

import copy
import random
import re
from collections.abc import Iterator
from typing import Any

from kong_gevent.admin import LocalNode, PluginInfo, create_app
from kong_gevent.conf import load
from kong_gevent.db import open_store
from kong_gevent.pdk.loader import load_plugins
from tests.pem import certificate, private_key, public_key
from tests.unit.admin.api import Api
from tests.unit.admin.hostile import Shape, fields_of, likely_record

JSON = "application/json"
Rows = dict[tuple[str, str], bytes]
SEEDS: dict[str, tuple[str, Shape]] = {
    "certificates": ("/certificates", {"cert": certificate(), "key": private_key(), "snis": ["own.test"]}),
    "ca_certificates": ("/ca_certificates", {"cert": certificate(ca=True, days=3000)}),
    "services": ("/services", {"name": "s", "host": "h", "protocol": "https"}),
    "routes": ("/services/s/routes", {"name": "r", "paths": ["/a"]}),
    "consumers": ("/consumers", {"username": "u", "custom_id": "c"}),
    "plugins": ("/services/s/plugins", {"name": "key-auth", "instance_name": "p"}),
    "upstreams": ("/upstreams", {"name": "up"}),
    "targets": ("/upstreams/up/targets", {"target": "h:80"}),
    "vaults": ("/vaults", {"name": "env", "prefix": "mine", "config": {"prefix": "X"}}),
    "key_sets": ("/key-sets", {"name": "ks"}),
    "keys": ("/key-sets/ks/keys", {"name": "k", "kid": "1", "pem": {"public_key": public_key()}}),
    "sessions": ("/sessions", {"session_id": "sid", "expires": 2_000_000_000, "data": "x"}),
    "acls": ("/consumers/u/acls", {"group": "g"}),
    "basicauth_credentials": ("/consumers/u/basic-auth", {"username": "b", "password": "x"}),
    "hmacauth_credentials": ("/consumers/u/hmac-auth", {"username": "h"}),
    "jwt_secrets": ("/consumers/u/jwt", {"key": "j"}),
    "keyauth_credentials": ("/consumers/u/key-auth", {"key": "k"}),
    "oauth2_credentials": (
        "/consumers/u/oauth2",
        {"name": "o", "client_id": "cid", "redirect_uris": ["https://a.test/"]},
    ),
    "oauth2_tokens": ("/oauth2/cid/oauth2_tokens", {"expires_in": 0}),
}
"""One row of each kind, and where it is made."""
KINDS = {
    "create": (r"/[\w-]+", ("POST",)),
    "replace": (r"/[\w-]+/<\w+>", ("PUT",)),
    "change": (r"/[\w-]+/<\w+>", ("PATCH",)),
    "create below": (r"/[\w-]+/<\w+>/[\w-]+", ("POST",)),
    "write below": (r"/[\w-]+/<\w+>/[\w-]+/<\w+>", ("PUT", "PATCH")),
    "reference": (r"/[\w-]+/<\w+>/\w+", ("PUT", "PATCH")),
    "validate": (r"/schemas/[<>\w]+/validate", ("POST",)),
}
"""Classes of endpoints: what their paths look like, and the methods."""


class World:
    """An API with one row of each kind, which can be put back."""

    def __init__(self, prefix: str) -> None:
        settings = load(overrides={"database": "memory", "prefix": prefix}, environ={})
        plugins = load_plugins(["bundled"])
        self.store = open_store(settings, plugins)
        self.store.connect()
        infos = {name: PluginInfo(schema=plugin) for name, plugin in plugins.items()}
        self.node = LocalNode(settings, self.store, infos)
        self.api = Api(create_app(self.node), self.node)
        self.ids: dict[str, str] = {name: self.api.make(path, **body)["id"] for name, (path, body) in SEEDS.items()}
        self.ids["snis"] = self.api.get("/snis/own.test")[1]["id"]
        service = {"service": {"id": self.ids["services"]}}
        assert self.api.patch(f"/oauth2_tokens/{self.ids['oauth2_tokens']}", service)[0] == 200
        self.configs = {name: self._shape(f"plugins/{name}")["config"] for name in plugins}
        self.shapes = {name: self._shape(name) for name in (*SEEDS, "snis", "filter_chains")}
        self._saved = self._content()
        self.before = self.rows()

    def _shape(self, name: str) -> Shape:
        status, document = self.api.get(f"/schemas/{name}")
        assert status == 200
        return fields_of(document)

    def _content(self) -> Shape:
        content = {name: held for name, held in vars(self.store.strategy).items() if name != "_clock"}
        return copy.deepcopy(content)

    def put_back(self) -> None:
        """Make the store what it was at first."""
        vars(self.store.strategy).update(copy.deepcopy(self._saved))

    def rows(self) -> Rows:
        """Everything that is stored."""
        names = [name for name in self.store.catalogue if name != "audit_requests"]
        found = [row for name in names for row in self.store.strategy.page(name, None, 1000)]
        return {(row.kind, row.id): row.body for row in found}

    def endpoints(self, kind: str) -> list[tuple[str, str, str]]:
        """Method, path and written entity of every endpoint of a class."""
        pattern, methods = KINDS[kind]
        found = []
        for rule in sorted(self.api.app.url_map.iter_rules(), key=str):
            if not re.fullmatch(pattern, rule.rule) or rule.rule.startswith("/classic"):
                continue
            for method in methods:
                if method in (rule.methods or ()):
                    found += [(method, *made) for made in self._concrete(kind, rule.rule)]
        return found

    def _concrete(self, kind: str, rule: str) -> Iterator[tuple[str, str]]:
        """The rule with ids of rows that are there, and the entity that it writes."""
        if kind == "validate":
            names = self.shapes if "<" in rule else [rule.split("/")[2]]
            yield from ((f"/schemas/{name}/validate", name) for name in names)
            return
        path = re.sub(r"<(\w+)>", lambda found: self.ids.get(found[1], "x"), rule)
        segments = rule.split("/")
        first = self.store.catalogue.by_collection(segments[1])
        if kind == "reference" and first is not None:
            foreign = first.foreign.get(segments[3])
            if foreign is not None:
                yield path, foreign.reference
            return
        last = re.findall(r"<(\w+)>", rule)
        written = last[-1] if rule.endswith(">") else self._collection(first, segments)
        if written in self.shapes:
            yield path, written

    def _collection(self, first: Any, segments: list[str]) -> str | None:
        if len(segments) == 2:
            return first.name if first else None
        for entity in self.store.catalogue.values():
            if (entity.nested or entity.collection) == segments[3] and first is not None:
                return str(entity.name)
        return None

    def likely(self, source: random.Random, name: str, method: str) -> Shape:
        """A body for an entity: a few more or less likely fields, often on top of what has been accepted before."""
        fields = {key: field for key, field in self.shapes[name].items() if key != "id" or source.random() < 0.1}
        body = likely_record(source, fields)
        if name == "plugins":
            plugin = source.choice(list(self.configs))
            body |= {"name": plugin, "config": likely_record(source, fields_of(self.configs[plugin]), 0.03)}
        if name in SEEDS and source.random() < 0.7:
            body = {**SEEDS[name][1], **source.choice([{}, body, dict(list(body.items())[:1])])}
        for key, field in fields.items():
            if field["type"] == "foreign" and (key in body or field.get("required")) and source.random() < 0.8:
                body[key] = source.choice([None, *[{"id": self.ids.get(field["reference"], "x")}] * 3])
        unique = {*self.store.catalogue[name].keys, self.store.catalogue[name].nested_key, "kid"}
        for key in body:
            if key in unique and isinstance(body[key], str) and len(body[key]) < 20 and source.random() < 0.7:
                body[key] += str(source.randrange(100))
        if method == "PATCH":
            body = dict(source.sample(list(body.items()), min(len(body), source.randint(0, 3))))
        return body

    def refused(self, method: str, path: str, body: bytes, content_type: str = JSON) -> None:
        """Send what nothing may accept."""
        status, answer = self.send(method, path, body, content_type)
        assert 400 <= status < 500, (method, path, body[:300], status, answer)

    def judged(self, method: str, path: str, name: str, body: bytes, content_type: str) -> int:
        """Send what may be accepted; a success has to be one."""
        status, answer = self.send(method, path, body, content_type)
        if status < 300 and not path.startswith("/schemas"):
            assert status == (201 if method == "POST" else 200)
            self._check_stored(name, answer, path)
            self.put_back()
        return status

    def send(self, method: str, path: str, body: bytes, content_type: str) -> tuple[int, Any]:
        """A call that may not be a 5xx; a refusal has a message and changes nothing."""
        published = self.node.publications
        status, answer = self.api.call(method, path, data=body, content_type=content_type)
        shown = (method, path, body[:1000], status, answer)
        assert status < 500, shown
        if status >= 400:
            assert answer is None or isinstance(answer["message"], str), shown
            assert "code" not in answer or isinstance(answer["code"], int) if answer else status == 415, shown
            assert self.rows() == self.before, shown
            assert self.node.publications == published, shown
        return status, answer

    def changed(self, now: Rows) -> set[tuple[str, str]]:
        """Kind and id of the rows that are not as they were at first."""
        return {key for key in {*now, *self.before} if now.get(key) != self.before.get(key)}

    def _check_stored(self, name: str, answer: Shape, path: str) -> None:
        now = self.rows()
        changed = self.changed(now)
        allowed = {"certificates": {"snis"}}.get(name, set())
        owners = {(kind, key) for kind, key in self.ids.items() if key in path}
        assert (name, answer["id"]) in now, (path, answer)
        for key in changed - {(name, answer["id"])} - owners:
            assert key[0] in allowed, (path, answer, changed)
        collection = self.store.catalogue[name].collection
        if name not in ("targets", "filter_chains"):
            assert self.api.get(f"/{collection}/{answer['id']}") == (200, answer)
