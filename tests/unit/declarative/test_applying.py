"""Documents applied as change sets: one commit, a history, and the way back."""

from collections.abc import Mapping
from typing import Any
from unittest.mock import Mock

import pytest

from kong_gevent.db import Store, build, codec
from kong_gevent.db.strategies.memory import MemoryStrategy
from kong_gevent.declarative import InvalidDocument, applying, history, read_json
from kong_gevent.declarative.applying import Busy, Outcome, Request, apply, rollback
from kong_gevent.declarative.history import NoSuchChangeSet, RollbackRefused
from kong_gevent.errors import ForeignKeyViolation, StoreUnavailable, UniqueViolation
from kong_gevent.pdk.loader import load_plugins


@pytest.fixture
def store() -> Store:
    made = Store(MemoryStrategy(), build(load_plugins(["bundled"])))
    made.connect()
    return made


def put(store: Store, content: Mapping[str, Any], **options: Any) -> Outcome:
    text = codec.dumps({"_format_version": "3.0", **content})
    request = Request("tester", "test", applying.text_hash(text), **options)
    return apply(store, read_json(text), request, lambda count: None)


def ignore(count: int) -> None:
    """For those who want to hear of no progress."""


def names(store: Store, kind: str = "services") -> dict[str, Any]:
    return {entity["name"]: entity for entity in store.dao(kind).each()}


SERVICE = {"name": "a", "host": "h", "routes": [{"name": "r", "paths": ["/"], "plugins": [{"name": "cors"}]}]}


def test_a_document_is_applied_in_one_commit_and_again_without_a_change(store: Store) -> None:
    commits: list[int] = []
    commit = store.strategy.commit
    store.strategy.commit = lambda *args: (commits.append(len(args[0])), commit(*args))[1]  # type: ignore[method-assign]
    outcome = put(store, {"services": [SERVICE]})
    assert outcome.summary == {"created": 3, "updated": 0, "deleted": 0, "unchanged": 0}
    assert {change["op"] for change in outcome.changes} == {"create"}
    assert outcome.id is not None
    again = put(store, {"services": [SERVICE]})
    assert (again.id, again.summary["unchanged"], len(commits)) == (None, 3, 1)


def test_an_entity_without_an_id_is_the_stored_one_with_its_name(store: Store) -> None:
    service = store.dao("services").insert({"name": "a", "host": "old"})
    route = store.dao("routes").insert({"name": "r", "paths": ["/old"], "service": {"id": service["id"]}})
    plugin = store.dao("plugins").insert({"name": "cors", "route": {"id": route["id"]}})
    outcome = put(store, {"services": [SERVICE]})
    assert outcome.summary == {"created": 0, "updated": 2, "deleted": 0, "unchanged": 1}
    assert names(store)["a"]["id"] == service["id"]
    assert names(store)["a"]["created_at"] == service["created_at"]
    assert names(store, "plugins")["cors"]["id"] == plugin["id"]


def test_without_prune_what_the_document_lacks_stays(store: Store) -> None:
    put(store, {"services": [SERVICE]})
    put(store, {"services": [{"name": "b", "host": "h"}]})
    assert set(names(store)) == {"a", "b"}


def test_prune_deletes_what_the_document_lacks_children_included(store: Store) -> None:
    put(store, {"services": [SERVICE], "consumers": [{"username": "u", "keyauth_credentials": [{"key": "k"}]}]})
    outcome = put(store, {"services": [{"name": "b", "host": "h"}]}, prune=True)
    assert outcome.summary["deleted"] == 5
    assert set(names(store)) == {"b"}
    assert store.dao("consumers").count() == store.dao("keyauth_credentials").count() == 0


def test_prune_within_tags_leaves_everything_else(store: Store) -> None:
    put(store, {"services": [{"name": "a", "host": "h", "tags": ["mine"]}, {"name": "b", "host": "h"}]})
    put(store, {"services": [{"name": "c", "host": "h"}], "_info": {"select_tags": ["mine"]}}, prune=True)
    assert set(names(store)) == {"b", "c"}
    assert names(store)["c"]["tags"] == ["mine"]


def test_prune_within_tags_does_not_break_what_others_refer_to(store: Store) -> None:
    put(store, {"services": [{**SERVICE, "tags": ["mine"]}]})
    with pytest.raises(ForeignKeyViolation):
        put(store, {"_info": {"select_tags": ["mine"]}}, prune=True)
    assert set(names(store)) == {"a"}


def test_a_child_that_moves_to_another_parent_survives_the_end_of_the_first(store: Store) -> None:
    put(store, {"services": [SERVICE]})
    outcome = put(store, {"services": [{**SERVICE, "name": "b"}]}, prune=True)
    assert outcome.summary["deleted"] >= 1
    assert names(store, "routes")["r"]["service"] == {"id": names(store)["b"]["id"]}


def test_a_name_may_go_to_a_new_id_when_the_old_entity_goes(store: Store) -> None:
    store.dao("services").insert({"name": "a", "host": "old"})
    key = "11111111-1111-4111-8111-111111111111"
    with pytest.raises(InvalidDocument, match="uniqueness violation"):
        put(store, {"services": [{"id": key, "name": "a", "host": "new"}]})
    put(store, {"services": [{"id": key, "name": "a", "host": "new"}]}, prune=True)
    assert names(store)["a"]["id"] == key


def test_a_dry_run_tells_and_changes_nothing(store: Store) -> None:
    before = store.last_event_id()
    outcome = put(store, {"services": [SERVICE]}, dry_run=True)
    assert (outcome.id, outcome.summary["created"], store.last_event_id()) == (None, 3, before)
    assert not names(store)
    assert not history.entries(store)


def test_a_bad_document_changes_nothing(store: Store) -> None:
    put(store, {"services": [SERVICE]})
    with pytest.raises(InvalidDocument):
        put(store, {"services": [{"name": "b", "host": "h"}, {"name": "c"}]}, prune=True)
    assert set(names(store)) == {"a"}


def test_the_whole_configuration_has_the_hash_of_its_text(store: Store) -> None:
    first = put(store, {"services": [SERVICE]}, whole=True)
    assert store.configuration_hash == first.hash
    second = put(store, {"services": [SERVICE], "_comment": "same"}, whole=True)
    assert (second.id, store.configuration_hash) == (None, second.hash)


def test_one_document_at_a_time(store: Store) -> None:
    assert store.strategy.lock("configuration", "somebody", 30)
    with pytest.raises(Busy):
        put(store, {})


def test_a_claim_that_cannot_be_given_back_changes_no_outcome(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store.strategy, "unlock", Mock(side_effect=StoreUnavailable("away")))
    assert put(store, {"services": [SERVICE]}).summary["created"] == 3
    store.strategy.reset()
    with pytest.raises(InvalidDocument):
        put(store, {"services": [{"name": "c"}]})


def test_what_others_need_stays_whatever_kind_they_are_of(store: Store) -> None:
    put(store, {"consumers": [{"username": "u", "keyauth_credentials": [{"key": "k"}]}]})
    fewer = Store(store.strategy, build(load_plugins(["cors"])))
    with pytest.raises(ForeignKeyViolation, match="'keyauth_credentials' entity references consumers u") as caught:
        put(fewer, {}, prune=True)
    assert caught.value.fields == {"@referenced_by": "keyauth_credentials"}


def test_values_that_nobody_could_store_are_problems_and_not_lookups(store: Store) -> None:
    put(store, {"services": [SERVICE]})
    with pytest.raises(InvalidDocument):
        put(store, {"services": [{"name": {"id": 3}, "host": "h"}, {"name": 5, "host": "h"}]})
    with pytest.raises(InvalidDocument):
        put(store, {"plugins": [{"name": "cors", "service": {"x": []}}, {"name": ["cors"]}]})


def test_the_history_tells_who_did_what_newest_first(store: Store) -> None:
    put(store, {"services": [SERVICE]})
    put(store, {"services": [{**SERVICE, "host": "other"}]})
    newest, oldest = history.entries(store)
    assert (newest.author, newest.source, newest.summary["updated"]) == ("tester", "test", 1)
    assert [record.op for record in history.records(store, oldest)] == ["create"] * 3
    assert "parts" not in newest.shown()


def test_the_history_is_bounded(store: Store) -> None:
    for number in range(history.KEPT + 3):
        put(store, {"services": [{"name": "a", "host": f"h{number}"}]})
    assert len(history.entries(store)) == history.KEPT
    assert store.strategy.count(history.PARTS) == history.KEPT


def test_rollback_undoes_the_newest_change_set(store: Store) -> None:
    put(store, {"services": [SERVICE]})
    before = names(store)
    put(store, {"services": [{"name": "b", "host": "h"}, {"name": "c", "host": "h"}]}, prune=True)
    outcome = rollback(store, None, "me", ignore)
    assert outcome.summary == {"created": 3, "updated": 0, "deleted": 2, "unchanged": 0}
    assert names(store) == before
    assert names(store, "routes")["r"]["service"] == {"id": before["a"]["id"]}


def test_rollback_to_before_an_older_one_undoes_all_later_ones_and_can_be_undone(store: Store) -> None:
    put(store, {"services": [SERVICE]})
    second = put(store, {"services": [{**SERVICE, "host": "two"}]})
    third = put(store, {"services": [{**SERVICE, "host": "three"}, {"name": "b", "host": "h"}]})
    assert second.id and third.id
    rollback(store, second.id[:8], "me", ignore)
    assert names(store)["a"]["host"] == "h"
    assert "b" not in names(store)
    assert history.entries(store)[0].rollback_of == [third.id, second.id]
    rollback(store, None, "me", ignore)
    assert (names(store)["a"]["host"], set(names(store))) == ("three", {"a", "b"})


def test_rollback_of_many_reads_them_together_and_tells_how_far_it_is(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, {"services": [{"name": f"s{number}", "host": "h"} for number in range(450)]})
    monkeypatch.setattr(store.strategy, "read_many", read := Mock(wraps=store.strategy.read_many))
    heard: list[int] = []
    outcome = rollback(store, None, "me", heard.append)
    assert (outcome.summary["deleted"], names(store), sum(heard)) == (450, {}, 450)
    assert len(read.mock_calls) == 3


def test_rollback_is_refused_when_something_was_changed_since(store: Store) -> None:
    put(store, {"services": [SERVICE]})
    store.dao("services").update_by("name", "a", {"host": "mine"})
    with pytest.raises(RollbackRefused, match="services a: was changed since"):
        rollback(store, None, "me", ignore)
    assert names(store)["a"]["host"] == "mine"


def test_rollback_is_refused_when_others_refer_to_what_would_go(store: Store) -> None:
    put(store, {"services": [SERVICE]})
    store.dao("routes").insert({"name": "later", "paths": ["/l"], "service": {"id": names(store)["a"]["id"]}})
    with pytest.raises(RollbackRefused, match="an existing 'routes' entity references services a, which is to go"):
        rollback(store, None, "me", ignore)
    assert set(names(store, "routes")) == {"r", "later"}


def test_rollback_needs_a_change_set(store: Store) -> None:
    with pytest.raises(NoSuchChangeSet, match="no change set has been applied"):
        rollback(store, None, "me", ignore)
    put(store, {"services": [SERVICE]})
    with pytest.raises(NoSuchChangeSet, match="there is no change set 'zz'"):
        rollback(store, "zz", "me", ignore)


@pytest.mark.parametrize("prune", [True, False])
@pytest.mark.parametrize("now", ["ba", "ca", "bc"])
def test_entities_pass_unique_values_to_one_another(store: Store, now: str, *, prune: bool) -> None:
    keys = [store.dao("services").insert({"name": name, "host": "h"})["id"] for name in "ab"]
    services = [{"id": key, "name": name, "host": "h"} for key, name in zip(keys, now, strict=True)]
    put(store, {"services": services}, prune=prune)
    assert {service["id"]: name for name, service in names(store).items()} == dict(zip(keys, now, strict=True))
    rollback(store, None, "me", ignore)
    assert {service["id"]: name for name, service in names(store).items()} == dict(zip(keys, "ab", strict=True))


def test_a_unique_value_of_an_entity_that_stays_is_refused(store: Store) -> None:
    held = store.dao("services").insert({"name": "a", "host": "h"})["id"]
    key = "11111111-1111-4111-8111-111111111111"
    with pytest.raises(UniqueViolation, match="is there under another id"):
        put(store, {"services": [{"id": key, "name": "a", "host": "h"}]}, prune=True, tags=["mine"])
    assert names(store)["a"]["id"] == held
