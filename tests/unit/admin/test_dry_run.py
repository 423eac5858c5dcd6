"""`?dry_run=1`: the answer of the real write, and nothing written."""

import pytest

SERVICE = {"name": "a", "host": "h"}


def call(api, method, path, body=None):
    """Status, body, and whether the answer says that it was a dry run."""
    answer = api.client.open(path, method=method, json=body)
    return answer.status_code, answer.json if answer.data else None, answer.headers.get("X-Kong-Dry-Run") == "true"


@pytest.fixture
def state(api):
    """What must not change."""
    service = api.make("/services", **SERVICE)
    route = api.make("/services/a/routes", name="r", paths=["/"])
    store = api.node.store
    before = (store.last_event_id(), api.node.publications, api.all("/services"), api.all("/routes"))
    yield service, route
    assert (store.last_event_id(), api.node.publications, api.all("/services"), api.all("/routes")) == before


def test_create(api, state):
    status, body, dry = call(api, "POST", "/services?dry_run=1", {"name": "b", "host": "h"})
    assert (status, body["name"], body["retries"], dry) == (201, "b", 5, True)
    assert api.get("/services/b")[0] == 404


def test_update_and_replace(api, state):
    assert call(api, "PATCH", "/services/a?dry_run=true", {"host": "x"})[1]["host"] == "x"
    assert call(api, "PUT", "/services/a?dry_run=1", {"host": "y"})[1]["host"] == "y"
    assert call(api, "PUT", "/services/new?dry_run=1", {"host": "y"})[0] == 200
    assert call(api, "PATCH", "/services/nobody?dry_run=1", {})[0] == 404


def test_delete(api, state):
    service, route = state
    assert call(api, "DELETE", f"/routes/{route['id']}?dry_run=1")[0] == 204
    status, body, _ = call(api, "DELETE", "/services/a?dry_run=1")
    assert (status, body["code"]) == (400, 4)


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/services", {"name": "a", "host": "h"}, 409, 5),
        ("/services", {"name": "x"}, 400, 2),
        ("/routes", {"paths": ["/"], "service": {"id": "11111111-1111-4111-8111-111111111111"}}, 400, 4),
        ("/routes", {"paths": ["/"], "service": {"name": "nobody"}}, 400, 13),
    ],
)
def test_refusals_are_the_real_ones(api, state, path, body, status, code):
    found = call(api, "POST", f"{path}?dry_run=1", body)
    assert (found[0], found[1]["code"], found[2]) == (status, code, True)
    assert api.post(path, body)[1]["code"] == code


def test_a_write_of_several_entities_sees_what_it_has_tried_itself(api):
    api.make("/routes", name="alone", paths=["/alone"])
    status, body, _ = call(api, "PUT", "/routes/alone/service?dry_run=1", {"name": "fresh", "host": "h"})
    assert (status, body["name"]) == (200, "fresh")
    assert api.all("/services") == []
    assert api.get("/routes/alone")[1]["service"] is None


def test_what_cannot_be_tried_says_so(api):
    assert call(api, "PUT", "/debug/node/log-level/debug?dry_run=1")[:2] == (
        400,
        {"message": "dry_run is not possible here"},
    )
    assert call(api, "DELETE", "/cache?dry_run=1")[0] == 400


@pytest.mark.parametrize("word", ["maybe", "2", "tru"])
def test_a_word_that_is_neither_yes_nor_no_is_refused(api, state, word):
    assert call(api, "POST", f"/services?dry_run={word}", {"name": "b", "host": "h"})[0] == 400


def test_no_means_a_real_write(api):
    assert call(api, "POST", "/services?dry_run=0", SERVICE) == (201, api.get("/services/a")[1], False)
    assert call(api, "GET", "/services?dry_run=1")[0] == 200


def test_an_argument_that_is_no_answer_is_refused(api):
    for query in ("dry_run=maybe", "dry_run=1&dry_run=0", "dry_run[a]=1"):
        assert api.post(f"/services?{query}", {"name": "s", "host": "h"})[0] == 400
    assert api.get("/services")[1]["data"] == []
