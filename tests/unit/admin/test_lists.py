"""Lists: order, pages, tag filters, and addresses of next pages that work."""

from uuid import uuid4

import pytest


@pytest.fixture
def rows(api):
    """Twelve services, one route each on the first."""
    made = [api.make("/services", name=f"s{at}", host="h", id=str(uuid4())) for at in range(12)]
    for at in range(7):
        api.make("/services/s0/routes", name=f"r{at}", paths=["/a"])
    return sorted(made, key=lambda row: row["id"])


def test_an_empty_list(api):
    assert api.get("/services") == (200, {"data": [], "next": None})


def test_rows_come_by_id(api, rows):
    assert api.get("/services") == (200, {"data": rows, "next": None})


@pytest.mark.parametrize("size", [1, 2, 5, 6, 11, 12, 13])
def test_pages_join(api, rows, size):
    assert api.all("/services", size) == rows


@pytest.mark.parametrize("size", [1, 3, 7, 8])
def test_nested_pages_join(api, rows, size):
    expected = sorted(row["id"] for row in api.all("/routes"))
    found = [row["id"] for row in api.all("/services/s0/routes", size)]
    assert found == expected


def test_the_address_of_the_next_page(api, rows):
    _, page = api.get("/services?size=5&unknown=1")
    assert page["data"] == rows[:5]
    assert page["next"].startswith("/services?offset=")
    assert page["next"].endswith("&size=5")
    assert api.get(page["next"])[1]["data"] == rows[5:10]
    assert api.get(f"/services?size=5&offset={page['offset']}")[1]["data"] == rows[5:10]


def test_the_address_of_the_next_nested_page(api, rows):
    _, page = api.get("/services/s0/routes?size=5")
    assert page["next"].startswith("/services/s0/routes?offset=")
    assert "size" not in page["next"]
    assert len(api.get(page["next"])[1]["data"]) == 2


def test_a_page_survives_the_loss_of_its_last_row(api, rows):
    _, page = api.get("/services?size=5")
    api.delete(f"/services/{rows[4]['id']}")
    assert [row["id"] for row in api.get(page["next"])[1]["data"]] == [row["id"] for row in rows[5:10]]


SIZES = {
    "x": "size must be a number",
    "": "size must be a number",
    "0": "size must be an integer between 1 and 1000",
    "1001": "size must be an integer between 1 and 1000",
    "1.5": "size must be an integer between 1 and 1000",
    "-1": "size must be an integer between 1 and 1000",
}


@pytest.mark.parametrize("path", ["/services", "/services/s/routes"])
@pytest.mark.parametrize(("size", "text"), SIZES.items())
def test_bad_sizes(api, path, size, text):
    api.make("/services", name="s", host="h")
    assert api.get(f"{path}?size={size}") == (400, {"code": 9, "name": "invalid size", "message": text})


@pytest.mark.parametrize("path", ["/services", "/services/s/routes"])
@pytest.mark.parametrize("offset", ["x", "%21%21", "e30", "W10", "WzFd", "WyJ4Il0", "bnVsbA", "W1tdXQ", "4" * 5000])
def test_bad_offsets(api, path, offset):
    api.make("/services", name="s", host="h")
    status, body = api.get(f"{path}?offset={offset}")
    assert (status, body["code"], body["name"]) == (400, 7, "invalid offset")


def test_an_offset_that_is_no_base64(api):
    text = "'!!' is not a valid offset: bad base64 encoding"
    assert api.get("/services?offset=!!") == (400, {"code": 7, "name": "invalid offset", "message": text})


def test_an_offset_that_is_no_json(api):
    text = "'eHg' is not a valid offset: bad json encoding"
    assert api.get("/services?offset=eHg")[1]["message"] == text


@pytest.fixture
def tagged(api):
    for name, tags in {"n": None, "a": ["a"], "b": ["b"], "ab": ["a", "b"], "abc": ["c", "a", "b"]}.items():
        api.make("/consumers", username=name, tags=tags)


FILTERS = {
    "a": "a ab abc",
    "a,b": "ab abc",
    "b,a": "ab abc",
    "a/c": "a ab abc",
    "a/b": "a ab abc b",
    "a,b,c": "abc",
    "a,x": "",
    "x": "",
    "a/x": "a ab abc",
    "a,a": "a ab abc",
}


@pytest.mark.parametrize(("tags", "names"), FILTERS.items())
def test_tag_filters(api, tagged, tags, names):
    status, page = api.get(f"/consumers?tags={tags}")
    assert status == 200
    assert sorted(row["username"] for row in page["data"]) == names.split()


@pytest.mark.parametrize(("tags", "names"), FILTERS.items())
def test_tag_filters_page_by_page(api, tagged, tags, names):
    found, following = [], f"/consumers?tags={tags}&size=1"
    while following:
        _, page = api.get(following)
        found += [row["username"] for row in page["data"]]
        following = page["next"]
        assert following is None or f"&tags={tags.replace(',', '%2C').replace('/', '%2F')}&size=1" in following
    assert sorted(found) == names.split()


BAD_TAGS = {
    "": "cannot be null",
    "a,b/c": "invalid filter syntax",
    "a,,b": "invalid filter syntax",
    "%01": "invalid filter syntax",
    "a,b,c,d,e,f": "cannot query more than 5 tags",
}


@pytest.mark.parametrize(("tags", "text"), BAD_TAGS.items())
def test_bad_tag_filters(api, tags, text):
    body = {
        "code": 11,
        "name": "invalid options",
        "message": f"invalid option (tags: {text})",
        "options": {"tags": text},
    }
    assert api.get(f"/consumers?tags={tags}") == (400, body)


def test_nested_lists_ignore_tags(api, tagged):
    api.make("/consumers/n/key-auth", key="k")
    assert len(api.get("/consumers/n/key-auth?tags=x")[1]["data"]) == 1
    assert api.get("/consumers/n/key-auth?tags=")[0] == 200


def test_unknown_arguments_are_ignored(api, tagged):
    assert len(api.get("/consumers?foo=bar&username=a")[1]["data"]) == 5


# -- consumers by custom_id


def test_by_custom_id(api):
    row = api.make("/consumers", custom_id="c 1")
    api.make("/consumers", custom_id="other")
    assert api.get("/consumers?custom_id=c%201") == (200, {"data": [row], "next": None})
    assert api.get("/consumers?custom_id=nothing&size=5") == (200, {"data": [], "next": None})
    assert api.get("/consumers?custom_id=nothing&size=x")[0] == 400


@pytest.mark.parametrize("query", ["custom_id=", "custom_id", "custom_id=a&custom_id=b", "custom_id[]=a"])
def test_custom_id_has_to_be_a_text(api, query):
    assert api.get(f"/consumers?{query}") == (400, {"message": "custom_id must be an unempty string"})


# -- /tags


def test_tags_of_all_entities(api, tagged):
    service = api.make("/services", host="h", tags=["a", "z"])
    rows = api.all("/tags", 2)
    assert {"tag": "z", "entity_name": "services", "entity_id": service["id"]} in rows
    assert len(rows) == 9


def test_entities_of_a_tag(api, tagged):
    service = api.make("/services", host="h", tags=["a", "z"])
    rows = api.all("/tags/a", 2)
    assert {row["tag"] for row in rows} == {"a"}
    assert sorted(row["entity_name"] for row in rows) == ["consumers"] * 3 + ["services"]
    assert api.get("/tags/z") == (
        200,
        {"data": [{"tag": "z", "entity_name": "services", "entity_id": service["id"]}], "next": None},
    )


def test_unknown_tag(api, tagged):
    assert api.get("/tags/nothing") == (200, {"data": [], "next": None})


@pytest.mark.parametrize("tag", ["a%2Cb", "a%2Fb"])
def test_invalid_tag(api, tag):
    status, body = api.get(f"/tags/{tag}")
    assert (status, body["code"], body["name"]) == (400, 10, "invalid unique tag")


def test_tags_follow_their_entities(api):
    api.make("/consumers", username="u", tags=["old"])
    api.patch("/consumers/u", {"tags": ["new"]})
    assert [row["tag"] for row in api.all("/tags")] == ["new"]
    api.delete("/consumers/u")
    assert api.all("/tags") == []


def test_tags_are_read_only(api):
    text = "does not support insert/upsert/update/delete operations"
    status, body = api.post("/tags", {"tag": "a"})
    assert (status, body["code"], body["fields"]) == (400, 2, {"tags": text})
    for method, path in (("PUT", "/tags/a"), ("PATCH", "/tags/a"), ("DELETE", "/tags/a"), ("DELETE", "/tags")):
        assert api.call(method, path, {} if method != "DELETE" else None) == (405, {"message": "Method not allowed"})
