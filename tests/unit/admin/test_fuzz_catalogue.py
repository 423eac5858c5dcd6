"""Every endpoint that writes, found in the URL map, against seeded bodies: a coded refusal that leaves nothing behind,
or a success whose row is there and the only one that changed."""

import json
import random
import re
from collections.abc import Iterator

import pytest

from kong_gevent.schema import document
from tests.unit.admin.api import FORM
from tests.unit.admin.hostile import (
    SPECIAL,
    as_form,
    broken_json,
    fields_of,
    hostile_form,
    hostile_multipart,
    likely_record,
    unknown_field,
    value,
)
from tests.unit.admin.world import JSON, KINDS, SEEDS, World

CASES = 1000
MULTIPART = "multipart/form-data; boundary=XX"
UNKNOWN_PART = b'--XX\r\nContent-Disposition: form-data; name="surely-unknown"\r\n\r\n1\r\n'
LIMIT = 10 << 20


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(str(tmp_path_factory.mktemp("fuzz")))
    yield made
    made.store.close()


@pytest.mark.parametrize("kind", KINDS)
def test_every_writing_endpoint(world: World, kind: str) -> None:
    source = random.Random(kind)
    endpoints = world.endpoints(kind)
    assert len(endpoints) > 9
    for at in range(CASES):
        method, path, _ = endpoints[at % len(endpoints)]
        turn = at // len(endpoints) % 4
        if turn == 0:
            world.refused(method, path, SPECIAL[at % len(SPECIAL)])
        elif turn == 1:
            world.refused(method, path, broken_json(source) if at % 2 else unknown_field(source))
        elif turn == 2:
            world.refused(method, path, hostile_form(source) + b"&surely-unknown=1", FORM)
        else:
            world.refused(method, path, UNKNOWN_PART + hostile_multipart(source), MULTIPART)


@pytest.mark.parametrize("kind", KINDS)
def test_bodies_that_follow_the_published_schema(world: World, kind: str) -> None:
    source = random.Random(f"likely {kind}")
    endpoints = world.endpoints(kind)
    seen: set[int] = set()
    for at in range(CASES):
        method, path, name = endpoints[at % len(endpoints)]
        body = world.likely(source, name, method)
        form = source.random() < 0.15
        raw = as_form(body) if form else json.dumps(body).encode()
        seen.add(world.judged(method, path, name, raw, FORM if form else JSON))
    assert {200, 201} & seen and 400 in seen


def test_documents(world: World) -> None:
    """`/config`: what is refused changes nothing, and what is taken is what the answer says."""
    source = random.Random("documents")
    taken = 0
    for at in range(CASES):
        body = SPECIAL[at] if at < len(SPECIAL) else broken_json(source)
        world.refused("POST", "/config", body, source.choice([JSON, "application/yaml"]) if at % 4 else MULTIPART)
        names = source.sample(list(SEEDS), source.randint(1, 2))
        content = {world.store.catalogue[name].collection: [world.likely(source, name, "POST")] for name in names}
        raw = json.dumps({"_format_version": "3.0", **content}).encode()
        status, answer = world.send("POST", "/config", raw, JSON)
        if status < 300:
            taken += 1
            now = world.rows()
            changed = {key for _, key in world.changed(now)}
            assert changed == {change["id"] for change in answer["changes"] if change["op"] != "unchanged"}, raw
            world.put_back()
    assert taken > CASES // 20


def test_tokens_of_the_api(world: World) -> None:
    source = random.Random("tokens")
    shapes = fields_of(document(world.store.catalogue["admin_tokens"].schema))
    made = 0
    for at in range(CASES):
        body = SPECIAL[at] if at < len(SPECIAL) else source.choice([broken_json, unknown_field])(source)
        world.refused("POST", "/admin-tokens", body)
        fields = {**likely_record(source, shapes, 0.1), "ttl": value(source)}
        body = json.dumps(
            {name: fields[name] for name in fields if name != "digest" and source.random() < 0.6}
        ).encode()
        status, answer = world.send("POST", "/admin-tokens", body, JSON)
        if status == 201:
            made += 1
            assert world.changed(world.rows()) == {("admin_tokens", answer["id"])}
            world.put_back()
    assert made > CASES // 20


OTHERS = ("/config", "/admin-tokens", "/classic")
"""Beginnings of paths that write and have a test of their own."""


def other_endpoints(world: World) -> list[tuple[str, str]]:
    """Method and path of all that takes a body and belongs to no class: switches, questions, what plugins bring."""
    known = {(method, path) for kind in KINDS for method, path, _ in world.endpoints(kind)}
    found = []
    for rule in sorted(world.api.app.url_map.iter_rules(), key=str):
        path = re.sub(r"<(\w+)>", lambda found: world.ids.get(found[1], "debug"), rule.rule)
        for method in ("POST", "PUT", "PATCH"):
            if method in (rule.methods or ()) and not path.startswith(OTHERS) and (method, path) not in known:
                found.append((method, path))
    return found


def test_everything_else_that_takes_a_body(world: World) -> None:
    """Some of them take any object; none writes, and none fails."""
    source = random.Random("others")
    endpoints = other_endpoints(world)
    assert {"/debug/node/log-level/debug", "/debug/explain", "/tags"} <= {path for _, path in endpoints}
    for at in range(CASES):
        method, path = endpoints[at % len(endpoints)]
        turn = at // len(endpoints) % 4
        if turn < 2:
            body, content_type = SPECIAL[at % len(SPECIAL)] if turn else broken_json(source), JSON
        elif turn == 2:
            body, content_type = hostile_form(source), FORM
        else:
            body, content_type = hostile_multipart(source), MULTIPART
        if path == "/debug/explain":  # without a data plane it answers 501 to all that is well-formed
            status, answer = world.api.call(method, path, data=body, content_type=content_type)
            assert status in (400, 501), answer
        else:
            world.send(method, path, body, content_type)
        assert world.rows() == world.before, path


OVERSIZED = {
    "too many octets": (b'{"name":"' + b"a" * (LIMIT + 1 - 11) + b'"}', JSON, 413),
    "form with too many octets": (b"a=" + b"a" * (LIMIT - 1), FORM, 413),
    "too many values": (b'{"tags":[' + b"1," * 300_000 + b"1]}", JSON, 413),
    "too many arguments": (b"&".join(b"f%d=1" % at for at in range(1001)), FORM, 400),
    "too deep": (b'{"tags":' + b"[" * 100_000 + b"]" * 100_000 + b"}", JSON, 400),
}


@pytest.mark.parametrize("kind", [*KINDS, "others"])
@pytest.mark.parametrize("case", OVERSIZED)
def test_oversized_bodies(world: World, kind: str, case: str) -> None:
    others = [("POST", "/admin-tokens", ""), ("POST", "/config", ""), ("POST", "/config/rollback", "")]
    body, content_type, expected = OVERSIZED[case]
    for method, path, _ in world.endpoints(kind)[:3] if kind in KINDS else others:
        status, _ = world.send(method, path, body, content_type)
        assert status == expected or (path == "/config" and expected == 413 and 400 <= status < 500), (path, status)


def test_a_body_of_the_largest_size_is_taken(world: World) -> None:
    name = b'{"username":"' + b"a" * (LIMIT - 15) + b'"}'
    assert world.send("POST", "/consumers", name, JSON)[0] == 400
    head, tail = b'{"name":"request-termination","config":{"body":"', b'"}}'
    body = head + b"a" * (LIMIT - len(head) - len(tail)) + tail
    assert len(body) == LIMIT
    assert world.send("POST", "/plugins", body, JSON)[0] == 201
    world.put_back()
