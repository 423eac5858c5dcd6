"""Entities that a plugin brings, reads and writes, through the kit."""

from collections.abc import Callable
from typing import Any

import gevent
import pytest

from kong_gevent.db import build
from kong_gevent.errors import ConfigurationError, EntityNotFound, SchemaViolation, StoreUnavailable, UniqueViolation
from kong_gevent.pdk import Conf, Config, Context, Entity, Exit, LookupFailed, Plugin, Record, fields
from kong_gevent.pdk.testing import InMemoryGateway

Make = Callable[..., InMemoryGateway]


class Note(Record):
    id = fields.UUID(auto=True)
    name = fields.String(required=True, unique=True)
    consumer = fields.Foreign("consumers", on_delete="cascade")


NOTES = Entity("notes", Note(), nested="notes", listed_by=("consumer",))
TICKETS = Entity("tickets", type("Ticket", (Note,), {})(), ttl=True, admin=False)


class Notebook(Plugin):
    """Keeps notes."""

    name = "notebook"
    priority = 1
    config = type("NotebookConfig", (Config,), {})
    entities = (NOTES, TICKETS)

    def access(self, ctx: Context, conf: Conf) -> Exit | None:
        notes = self.kit.entities("notes")
        if ctx.method == b"POST":
            notes.insert({"name": ctx.path})
        return ctx.exit(200 if notes.select_by("name", ctx.path, cached=True) else 404)


@pytest.fixture
def made(plugin: Make) -> InMemoryGateway:
    return plugin(Notebook)


def test_life_of_an_entity(made: InMemoryGateway) -> None:
    notes = made.kit.entities("notes")
    note = notes.insert({"name": "a"})
    assert notes.select(note["id"]) == notes.select_by("name", "a") == note
    changed = notes.update(note["id"], {"name": "b"})
    assert changed == {**note, "name": "b"}
    assert notes.select_by("name", "a") is None
    assert notes.upsert(note["id"], {"name": "c"})["name"] == "c"
    assert [entry["name"] for entry in notes.each()] == ["c"]
    assert notes.delete(note["id"]) is True
    assert notes.delete(note["id"]) is False
    assert notes.delete_by("name", "c") is False


def test_what_was_written_is_seen_at_once_by_cached_reads_too(made: InMemoryGateway) -> None:
    assert made.get("/x").status == 404
    assert made.post("/x").status == 200
    assert made.get("/x").status == 200
    assert made.kit.entities("notes").delete_by("name", "/x")
    assert made.get("/x").status == 404


def test_an_id_is_the_same_in_whatever_case(made: InMemoryGateway) -> None:
    consumer = made.consumer("ann", id="AAAAAAAA-0000-4000-8000-00000000000A")
    note = made.insert("notes", name="a")
    notes, shouted = made.kit.entities("notes"), str(consumer["id"]).upper()
    assert made.kit.load_consumer(shouted, by_username=True) == consumer
    assert notes.select(note["id"].upper(), cached=True) == note
    made.update("consumers", consumer["id"], custom_id="new")
    made.delete("notes", note["id"])
    found = made.kit.load_consumer(shouted, by_username=True)
    assert found is not None and found["custom_id"] == "new"
    assert notes.select(note["id"].upper(), cached=True) is None


def test_lists_are_kept_until_one_of_their_entities_changes(made: InMemoryGateway) -> None:
    notes, ann, bob = made.kit.entities("notes"), made.consumer("ann"), made.consumer("bob")

    def names(consumer: dict[str, Any]) -> list[str]:
        kept = notes.children("consumer", consumer["id"], cached=True)
        assert kept == notes.children("consumer", consumer["id"])
        return sorted(note["name"] for note in kept)

    assert names(ann) == []
    first = made.insert("notes", name="a", consumer={"id": ann["id"]})
    made.insert("notes", name="b", consumer={"id": ann["id"]})
    assert (names(ann), names(bob)) == (["a", "b"], [])
    assert notes.children("consumer", ann["id"], cached=True) is notes.children("consumer", ann["id"], cached=True)
    made.update("notes", first["id"], consumer={"id": bob["id"]})
    assert (names(ann), names(bob)) == (["b"], ["a"])
    made.delete("consumers", ann["id"])
    assert names(ann) == []


def test_only_lists_that_are_announced_are_kept(made: InMemoryGateway) -> None:
    with pytest.raises(ValueError, match="name the field in `listed_by`"):
        made.kit.entities("tickets").children("consumer", made.consumer("ann")["id"], cached=True)


def test_entities_that_expire(made: InMemoryGateway) -> None:
    tickets = made.kit.entities("tickets")
    ticket = tickets.insert({"name": "t"}, ttl=1)
    assert ticket["ttl"] == 1
    assert tickets.select_by("name", "t", cached=True) == ticket
    with gevent.Timeout(30):
        while tickets.select_by("name", "t") is not None:
            gevent.sleep(0.01)
    assert tickets.select_by("name", "t") is tickets.select_by("name", "t", cached=True) is None
    assert tickets.delete(ticket["id"]) is False


def test_a_ticket_is_used_once(made: InMemoryGateway) -> None:
    tickets = made.kit.entities("tickets")
    ticket = tickets.insert({"name": "t"})
    tries = [gevent.spawn(tickets.delete, ticket["id"]) for _ in range(50)]
    gevent.joinall(tries, raise_error=True)
    assert sorted(attempt.value for attempt in tries) == [False] * 49 + [True]


@pytest.mark.parametrize("key", ["", "no uuid", "\ud800", 5])
def test_what_cannot_be_a_key_is_not_there(made: InMemoryGateway, key: Any) -> None:
    notes = made.kit.entities("notes")
    for cached in (False, True):
        assert notes.select(key, cached) is notes.select_by("name", key, cached) is None
    assert notes.delete(key) is notes.delete_by("name", key) is False
    assert made.kit.select_by("notes", "name", key) is None
    assert made.kit.load_consumer(key, by_username=True) is None


def test_refusals_are_coded_errors(made: InMemoryGateway) -> None:
    notes = made.kit.entities("notes")
    note = notes.insert({"name": "a"})
    with pytest.raises(UniqueViolation):
        notes.insert({"name": "a"})
    with pytest.raises(SchemaViolation):
        notes.update(note["id"], {"size": 1})
    notes.delete(note["id"])
    with pytest.raises(EntityNotFound):
        notes.update(note["id"], {"name": "b"})
    with pytest.raises(KeyError):
        made.kit.entities("nothing")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_store_that_is_away_ends_the_request(
    made: InMemoryGateway, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def away(*arguments: Any) -> Any:
        raise StoreUnavailable("away")

    for name in ("find", "commit", "page", "read"):
        monkeypatch.setattr(made.store.strategy, name, away)
    assert made.request(method, "/x").status == 503
    with pytest.raises(LookupFailed):
        list(made.kit.entities("notes").each())


@pytest.mark.parametrize(
    ("entity", "text"),
    [
        (Entity("consumers", Note()), "there is an entity named consumers already"),
        (Entity("others", Note(), collection="services"), "there are entities at /services already"),
    ],
    ids=["name", "path"],
)
def test_names_and_paths_are_taken_once(entity: Entity, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        build({"greedy": type("Greedy", (Notebook,), {"name": "greedy", "entities": (entity,)})})


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"endpoint_key": "label"}, "things: the schema has no field label"),
        ({"unique_together": [("name", "size")]}, "things: the schema has no field size"),
        ({"listed_by": ("consumer",), "ttl": True}, "things: lists of entities that expire cannot be kept"),
    ],
)
def test_descriptions_are_checked(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Entity("things", Note(), **options)
