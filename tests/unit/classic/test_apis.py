"""APIs: their fields, checks and texts, and the verbs."""

import pytest

from kong_gevent.admin.classic.apis import Apis

NEITHER = "At least a 'request_host' or a 'request_path' must be specified"
UNKNOWN_ID = "11111111-1111-4111-8111-111111111111"


def test_a_new_api(api):
    status, made = api.post("/apis/", "request_host=mockbin.test&upstream_url=http://mockbin.test")
    assert status == 201
    assert made.pop("id") and made.pop("created_at") > 1_400_000_000_000
    assert made == {"name": "mockbin.test", "request_host": "mockbin.test", "upstream_url": "http://mockbin.test"}


def test_answers_end_with_a_newline(api):
    assert api.client.get("/classic/apis").data == b'{"data":[]}\n'


NAMES = [
    ("request_host=a.test", "a.test"),
    ("request_host=*.a.test", "-.a.test"),
    ("request_path=/a/b/", "a-b-"),
    ("request_path=a", "a"),
    ("request_host=a.test&request_path=/b", "a.test"),
    ("request_path=/b&name=x.y_~-", "x.y_~-"),
    ("request_path=/", None),
    ("public_dns=a.test", "a.test"),
]


@pytest.mark.parametrize(("fields", "name"), NAMES)
def test_default_names(api, fields, name):
    assert api.made("/apis", f"{fields}&upstream_url=http://h").get("name") == name


STORED = [
    ("request_path=/a/b/&strip_request_path=true&upstream_url=http://h/base/",
     {"request_path": "/a/b", "strip_request_path": True, "upstream_url": "http://h/base/"}),
    ("request_path=a&preserve_host=TRUE&upstream_url=https://h:8443",
     {"request_path": "/a", "preserve_host": True, "upstream_url": "https://h:8443"}),
    ("request_path=/&upstream_url=http://h/", {"request_path": "/", "upstream_url": "http://h/"}),
    ("request_host=x.*&upstream_url=http://1.2.3.4:80/p", {"request_host": "x.*", "upstream_url": "http://1.2.3.4/p"}),
    ("request_host=A.test&request_path=/a-b_c.d~e&upstream_url= http://h ",
     {"request_host": "A.test", "request_path": "/a-b_c.d~e", "upstream_url": "http://h"}),
    ("public_dns=a&path=/b&strip_path=true&target_url=http://h",
     {"request_host": "a", "request_path": "/b", "strip_request_path": True, "upstream_url": "http://h"}),
]  # fmt: skip


@pytest.mark.parametrize(("form", "shown"), STORED)
def test_what_is_stored(api, form, shown):
    made = api.made("/apis", form)
    assert {name: value for name, value in made.items() if name not in ("id", "name", "created_at")} == shown
    assert api.get(f"/apis/{made['id']}") == (200, made)
    assert api.get("/apis")[1] == {"data": [made]}


URL = "upstream_url=http://h"
REFUSED = [
    ("", {"upstream_url": "upstream_url is required", "request_host": NEITHER, "request_path": NEITHER}),
    (URL, {"request_host": NEITHER, "request_path": NEITHER}),
    ("request_host=a&upstream_url=", {"upstream_url": "upstream_url is not a url"}),
    ("request_host=a&upstream_url=h", {"upstream_url": "upstream_url is not a url"}),
    ("request_host=a&upstream_url=http://", {"upstream_url": "upstream_url is not a url"}),
    ("request_host=a&upstream_url=http://h/?a=b", {"upstream_url": "upstream_url is not a url"}),
    ("request_host=a&upstream_url=http://u@h", {"upstream_url": "upstream_url is not a url"}),
    ("request_host=a&upstream_url=http://h/a b", {"upstream_url": "upstream_url is not a url"}),
    ("request_host=a&upstream_url=http://h:99999", {"upstream_url": "upstream_url is not a url"}),
    ("request_host=a&upstream_url=http://-", {"upstream_url": "upstream_url is not a url"}),
    ("request_host=a&upstream_url=ftp://h", {"upstream_url": "Supported protocols are HTTP and HTTPS"}),
    (f"request_host=*.a.*&{URL}", {"request_host": "Only one wildcard is allowed: *.a.*"}),
    (f"request_host=a.*.b&{URL}", {"request_host": "Invalid wildcard placement: a.*.b"}),
    (f"request_host=*&{URL}", {"request_host": "Invalid wildcard placement: *"}),
    (f"request_host=a*&{URL}", {"request_host": "Invalid wildcard placement: a*"}),
    (f"request_host=a_b&{URL}", {"request_host": "Invalid value: a_b"}),
    (f"request_host=a:80&{URL}", {"request_host": "Invalid value: a:80"}),
    (f"request_host=a..b&{URL}", {"request_host": "Invalid value: a..b"}),
    (f"request_path=/a?b&{URL}",
     {"request_path": "request_path must only contain alphanumeric and '., -, _, ~, /' characters"}),
    (f"request_path=/a//b&{URL}", {"request_path": "request_path is invalid: /a//b"}),
    (f"request_path=/a/../b&{URL}", {"request_path": "request_path is invalid: /a/../b"}),
    (f"request_path=/a&name=a b&{URL}", {"name": "name must only contain alphanumeric and '., -, _, ~' characters"}),
    (f"request_path=/a&preserve_host=1&strip_request_path=no&{URL}",
     {"preserve_host": "preserve_host is not a boolean", "strip_request_path": "strip_request_path is not a boolean"}),
    (f"request_path=/a&foo=1&{URL}", {"foo": "foo is an unknown field"}),
    (f"request_path=/a&id=x&created_at=y&{URL}",
     {"id": "id is not a id", "created_at": "created_at is not a timestamp"}),
]  # fmt: skip


@pytest.mark.parametrize(("form", "errors"), REFUSED)
def test_what_is_refused(api, form, errors):
    assert api.post("/apis", form) == (400, errors)
    assert api.get("/apis")[1] == {"data": []}
    assert api.today.get("/services")[1]["data"] == api.today.get("/routes")[1]["data"] == []


def test_json_has_types(api):
    body = {"request_path": "/a", "upstream_url": "http://h", "strip_request_path": True}
    assert api.post("/apis", body)[1]["strip_request_path"] is True
    assert api.post("/apis", {**body, "request_path": 1, "preserve_host": None}) == (
        400,
        {"request_path": "request_path is not a string", "preserve_host": "preserve_host is not a boolean"},
    )


def test_arguments_of_query_and_body_are_one_set(api):
    assert api.made("/apis?upstream_url=http://h", "request_path=/a")["upstream_url"] == "http://h"


def test_what_exists_already(api):
    api.made("/apis", "request_host=a.test&request_path=/a&upstream_url=http://h&name=a")
    taken = "already exists with value"
    same = "request_host=A.test&request_path=/a/&upstream_url=http://h&name=a"
    assert api.post("/apis", same) == (
        409,
        {
            "name": f"name {taken} 'a'",
            "request_host": f"request_host {taken} 'A.test'",
            "request_path": f"request_path {taken} '/a'",
        },
    )
    other = api.made("/apis", "request_host=b.test&upstream_url=http://h")
    assert api.patch(f"/apis/{other['id']}", "request_path=/a") == (
        409, {"request_path": f"request_path {taken} '/a'"},
    )  # fmt: skip
    assert api.patch("/apis/b.test", "request_host=b.test&name=b.test")[0] == 200
    assert api.post("/apis", f"id={other['id']}&request_path=/z&upstream_url=http://h") == (
        409, {"id": f"id {taken} '{other['id']}'"},
    )  # fmt: skip


def test_another_writer_was_faster(api, monkeypatch):
    form = "request_host=a.test&request_path=/a&upstream_url=http://h"
    api.made("/apis", form)
    monkeypatch.setattr(Apis, "checked", lambda self, values, old: values)
    status, body = api.post("/apis", form)
    assert (status, set(body)) == (409, {"name", "request_host", "request_path"})
    assert len(api.today.get("/services")[1]["data"]) == 1


def test_a_freed_host_may_be_taken_again(api):
    api.made("/apis", "request_host=a.test&request_path=/a&upstream_url=http://h&name=a")
    assert api.patch("/apis/a", "request_host=")[1].keys().isdisjoint({"request_host"})
    api.made("/apis", "request_host=a.test&upstream_url=http://h")
    assert api.delete("/apis/a") == (204, None)
    api.made("/apis", "request_path=/a&upstream_url=http://h&name=a")


def test_patch(api):
    old = api.made("/apis", "request_path=/a&strip_request_path=true&upstream_url=http://h&name=a")
    changed = api.patch("/apis/a", "request_host=*.b&upstream_url=https://i/x&strip_request_path=false&id=zz")
    assert changed == (400, {"id": "id is not a id"})
    status, new = api.patch("/apis/a", "request_host=*.b&upstream_url=https://i/x&strip_request_path=false")
    assert (status, new) == (200, {
        "id": old["id"], "created_at": old["created_at"], "name": "a", "request_host": "*.b", "request_path": "/a",
        "upstream_url": "https://i/x",
    })  # fmt: skip
    assert api.patch("/apis/a", "request_host=&request_path=") == (
        400,
        {"request_host": NEITHER, "request_path": NEITHER},
    )
    assert api.patch("/apis/a", "upstream_url=") == (400, {"upstream_url": "upstream_url is not a url"})
    assert api.patch("/apis/none", "request_host=a") == (404, {"message": "Not found"})
    assert api.get("/apis/a") == (200, new)


def test_put(api):
    status, made = api.put("/apis/", "request_path=/a&upstream_url=http://h")
    assert status == 201
    body = {**made, "request_host": "a.test", "strip_request_path": True, "preserve_host": True}
    assert api.put("/apis", body) == (200, body)
    status, cleared = api.put("/apis", f"id={made['id']}&request_host=b.test&upstream_url=http://i")
    assert (status, cleared) == (200, {
        "id": made["id"], "created_at": made["created_at"], "name": "b.test", "request_host": "b.test",
        "upstream_url": "http://i",
    })  # fmt: skip
    status, other = api.put("/apis", f"id={UNKNOWN_ID}&request_path=/z&upstream_url=http://h")
    assert (status, other["id"]) == (201, UNKNOWN_ID)
    assert api.put("/apis", f"id={made['id']}") == (
        400, {"upstream_url": "upstream_url is required", "request_host": NEITHER, "request_path": NEITHER},
    )  # fmt: skip


def test_delete_takes_everything_along(api):
    made = api.made("/apis", "request_host=a.test&request_path=/a&upstream_url=http://h")
    api.made("/apis/a.test/plugins", "name=key-auth")
    assert api.delete("/apis/a.test") == (204, None)
    assert api.delete(f"/apis/{made['id']}") == (404, {"message": "Not found"})
    for collection in ("services", "routes", "plugins"):
        assert api.today.get(f"/{collection}")[1]["data"] == []


def test_lists(api):
    made = [api.made("/apis", f"request_path=/p{at}&upstream_url=http://h{at % 2}") for at in range(7)]
    api.today.make("/services", name="plain", host="h")
    found, address = [], "/apis/?size=3"
    while address:
        page = api.get(address)[1]
        found += page["data"]
        assert set(page) <= {"data", "next"}
        address = page.get("next", "").removeprefix("http://localhost/classic")
    assert sorted(found, key=lambda row: row["name"]) == made
    assert [row["name"] for row in api.get("/apis?name=p3")[1]["data"]] == ["p3"]
    assert [row["name"] for row in api.get("/apis?request_path=/p4")[1]["data"]] == ["p4"]
    assert len(api.get("/apis?upstream_url=http://h1&size=3")[1]["data"]) == 3
    assert api.get(f"/apis?id={made[0]['id']}")[1] == {"data": [made[0]]}
    page = api.get("/apis?upstream_url=http://h0&size=2")[1]
    rest = api.get(page["next"].removeprefix("http://localhost/classic"))[1]
    assert len(page["data"]) == len(rest["data"]) == 2 and "next" not in rest


BAD_LISTS = [
    ("foo=bar", {"foo": "foo is an unknown field"}),
    ("preserve_host=true", {"preserve_host": "preserve_host is not queryable"}),
    ("id=x", {"id": "id is not a id"}),
    ("size=0", {"size": "size must be an integer between 1 and 1000"}),
    ("size=x", {"size": "size must be a number"}),
    ("offset=%25", {"offset": "'%' is not a valid offset: bad base64 encoding"}),
]


@pytest.mark.parametrize(("query", "errors"), BAD_LISTS)
def test_bad_lists(api, query, errors):
    assert api.get(f"/apis?{query}") == (400, errors)
