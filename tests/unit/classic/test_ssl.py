"""The plugin `ssl`: a certificate and routes without HTTP, seen from both Admin APIs."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pytest

from tests.pem import certificate, private_key
from tests.unit.classic.conftest import Classic

PEM, KEY = certificate().strip(), private_key().strip()
OTHER, OTHER_KEY = certificate("ec", 1).strip(), private_key("ec", 1).strip()
SETTINGS = {"cert": PEM, "key": KEY}
FORM = f"name=ssl&config.cert={quote(PEM)}&config.key={quote(KEY)}"
EXISTS = (409, {"message": "Plugin configuration already exists"})
NOT_FOUND = (404, {"message": "Not found"})
BOTH = [["http", "https"]]
HTTPS = [["https"]]


@pytest.fixture
def secured(api: Classic) -> Classic:
    """An API `a` with a host and a path, and one without a host."""
    api.made("/apis", "name=a&request_host=A.test&request_path=/a&upstream_url=http://h")
    api.made("/apis", "name=b&request_path=/b&upstream_url=http://h")
    return api


def names(api: Classic) -> dict[str, str]:
    """Server name → certificate."""
    return {row["name"]: row["certificate"]["id"] for row in api.today.all("/snis")}


def protocols(api: Classic, name: str = "a") -> list[list[str]]:
    """Of all routes of an API, each kind once."""
    found: list[list[str]] = []
    for row in api.today.all(f"/services/{name}/routes"):
        found += [row["protocols"]] if row["protocols"] not in found else []
    return found


def test_it_is_a_certificate_with_the_host_as_its_name(secured: Classic) -> None:
    made = secured.made("/apis/a/plugins", FORM)
    api = secured.get("/apis/a")[1]
    assert made == {
        "id": made["id"], "created_at": made["created_at"], "api_id": api["id"], "name": "ssl", "enabled": True,
        "config": {"cert": PEM, "key": KEY, "only_https": False},
    }  # fmt: skip
    assert made["created_at"] > 1_400_000_000_000
    row = secured.today.get(f"/certificates/{made['id']}")[1]
    assert (row["cert"], row["key"], row["snis"]) == (PEM, KEY, ["a.test"])
    assert protocols(secured) == BOTH
    for path in (f"/apis/a/plugins/{made['id']}", "/apis/a/plugins/ssl", f"/plugins/{made['id']}"):
        assert secured.get(path) == (200, made)
    assert secured.get("/apis/b/plugins/ssl") == secured.get(f"/apis/b/plugins/{made['id']}") == NOT_FOUND
    assert secured.get(f"/plugins_configurations/{made['id']}")[1]["value"] == made["config"]
    assert secured.get("/apis/a")[1] == api


def test_by_multipart_as_curl_sends_files(secured: Classic) -> None:
    fields = {"name": "ssl", "config.cert": certificate(), "config.key": private_key()}
    body = "".join(
        f'--X\r\nContent-Disposition: form-data; name="{name}"; filename="x"\r\n\r\n{text}\r\n'
        for name, text in fields.items()
    )
    status, made = secured.post(
        "/apis/a/plugins", data=body + "--X--\r\n", content_type="multipart/form-data; boundary=X"
    )
    assert (status, made["config"]["cert"]) == (201, PEM)


def test_only_https(secured: Classic) -> None:
    made = secured.made("/apis/a/plugins", FORM + "&config.only_https=true")
    assert made["config"]["only_https"] is True
    assert protocols(secured) == HTTPS and protocols(secured, "b") == BOTH
    assert secured.patch("/apis/a", "request_host=&request_path=/z")[0] == 200
    assert secured.patch("/apis/a", "request_host=n.test")[0] == 200
    assert protocols(secured) == HTTPS, "of routes that are new, too"
    assert names(secured) == {"n.test": made["id"]}
    path = f"/plugins/{made['id']}"
    assert secured.patch(path, "config.only_https=false")[1]["config"]["only_https"] is False
    assert protocols(secured) == BOTH
    assert secured.patch(path, "config.only_https=true")[0] == 200
    assert secured.delete(path) == (204, None)
    assert protocols(secured) == BOTH and names(secured) == {}
    assert secured.get(path) == secured.get("/apis/a/plugins/ssl") == NOT_FOUND


def test_while_it_is_off_nothing_of_it_counts(secured: Classic) -> None:
    made = secured.made("/apis/a/plugins", FORM + "&config.only_https=true&enabled=false")
    assert (made["enabled"], made["config"]["only_https"]) == (False, True)
    assert protocols(secured) == BOTH and names(secured) == {}
    assert secured.patch("/apis/a", "request_host=n.test")[0] == 200
    assert names(secured) == {}
    assert secured.patch(f"/plugins/{made['id']}", "enabled=true")[1]["config"]["only_https"] is True
    assert protocols(secured) == HTTPS and names(secured) == {"n.test": made["id"]}
    off = secured.patch(f"/plugins/{made['id']}", "enabled=false")[1]
    assert (off["enabled"], off["config"]["only_https"]) == (False, True)
    assert protocols(secured) == BOTH and names(secured) == {}


def test_the_name_follows_the_host(secured: Classic) -> None:
    made = secured.made("/apis/a/plugins", FORM)
    assert secured.patch("/apis/a", "request_host=*.n.test")[0] == 200
    assert names(secured) == {"*.n.test": made["id"]}
    assert secured.put("/apis", f"id={made['api_id']}&name=a&request_path=/a&upstream_url=http://h")[0] == 200
    assert names(secured) == {}
    assert secured.patch("/apis/a", "request_host=1.2.3.4")[0] == 200
    assert names(secured) == {}, "addresses are no server names"


def test_put_replaces_the_settings(secured: Classic) -> None:
    made = secured.made("/apis/a/plugins", FORM + "&config.only_https=true")
    body = {"id": made["id"], "name": "ssl", "config": {"cert": OTHER, "key": OTHER_KEY}}
    status, changed = secured.put("/apis/a/plugins", body)
    assert (status, changed["config"]) == (200, {"cert": OTHER, "key": OTHER_KEY, "only_https": False})
    assert protocols(secured) == BOTH
    other = "11111111-1111-4111-8111-111111111111"
    status, new = secured.put("/apis/b/plugins", {"id": other, "name": "ssl", "config": SETTINGS})
    assert (status, new["id"]) == (201, other)


def test_moving_it_to_another_api(secured: Classic) -> None:
    made = secured.made("/apis/a/plugins", FORM + "&config.only_https=true")
    other = secured.get("/apis/b")[1]["id"]
    assert secured.patch(f"/plugins/{made['id']}", f"api_id={other}")[1]["api_id"] == other
    assert (protocols(secured), protocols(secured, "b"), names(secured)) == (BOTH, HTTPS, {})


REFUSED: list[tuple[str, int, Mapping[str, Any]]] = [
    ("name=ssl", 400, {"config.cert": "cert is required", "config.key": "key is required"}),
    ("name=ssl&config.cert=&config.key=x", 400, {"config.cert": "cert is required"}),
    (FORM + "&config.only_https=1", 400, {"config.only_https": "only_https is not a boolean"}),
    (FORM + "&config.x=1", 400, {"config.x": "x is an unknown field"}),
    (f"name=ssl&config.cert={quote(PEM)}&config.key={quote(OTHER_KEY)}", 400,
     {"config": "certificate does not match key"}),
    (FORM + "&consumer_id={bob}", 400, {"message": "No consumer can be configured for that plugin"}),
    ("name=ssl&config=1", 400, {"config": "config is not a table"}),
]  # fmt: skip


@pytest.mark.parametrize(("form", "status", "errors"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_refused(secured: Classic, form: str, status: int, errors: Mapping[str, Any]) -> None:
    bob = secured.made("/consumers", "username=bob")["id"]
    assert secured.post("/apis/a/plugins", form.replace("{bob}", bob)) == (status, errors)
    assert secured.get("/plugins")[1] == {"data": []} and secured.today.all("/certificates") == []


def test_texts_that_are_no_certificate(secured: Classic) -> None:
    status, body = secured.post("/apis/a/plugins", "name=ssl&config.cert=x&config.key=y")
    assert (status, set(body)) == (400, {"config.cert", "config.key"})
    assert body["config.cert"].startswith("invalid certificate")


def test_one_for_each_api(secured: Classic) -> None:
    made = secured.made("/apis/a/plugins", FORM)
    assert secured.post("/apis/a/plugins", FORM) == EXISTS
    other = secured.made("/apis/b/plugins", FORM)
    assert secured.patch(f"/plugins/{other['id']}", f"api_id={made['api_id']}") == EXISTS
    assert secured.post("/apis/b/plugins", f"name=key-auth&id={other['id']}")[0] == 409
    assert secured.patch(f"/plugins/{made['id']}", "name=cors") == (400, {"name": "name cannot be updated"})
    plain = secured.made("/apis/a/plugins", "name=key-auth")
    assert secured.delete(f"/plugins/{made['id']}")[0] == 204
    assert secured.patch(f"/plugins/{plain['id']}", "name=ssl") == (400, {"name": "name cannot be updated"})
    assert secured.post("/apis/a/plugins", FORM + f"&id={plain['id']}")[0] == 409


def test_names_that_other_certificates_have(secured: Classic) -> None:
    row = secured.today.make("/certificates", cert=OTHER, key=OTHER_KEY, snis=["a.test", "n.test"])
    text = f"a.test already associated with existing certificate '{row['id']}'"
    assert secured.post("/apis/a/plugins", FORM) == (409, {"message": text})
    secured.today.patch(f"/certificates/{row['id']}", {"snis": ["n.test"]})
    secured.made("/apis/a/plugins", FORM)
    assert secured.patch("/apis/a", "request_host=n.test") == (409, {"request_host": text.replace("a.test", "n.test")})
    assert secured.get("/apis/a")[1]["request_host"] == "A.test"


def test_lists_and_filters(secured: Classic) -> None:
    made = [secured.made("/apis/a/plugins", FORM), secured.made("/apis/b/plugins", FORM)]
    made += [secured.made(f"/apis/{api}/plugins", f"name={name}") for api in "ab" for name in ("cors", "key-auth")]
    secured.today.make("/certificates", cert=PEM, key=KEY)
    by_id = sorted(made, key=lambda row: row["id"])
    found, address = [], "/plugins?size=1"
    while address:
        page = secured.get(address)[1]
        found += page["data"]
        address = page.get("next", "").removeprefix("http://localhost/classic")
    assert found == by_id
    mine = [row for row in by_id if row["api_id"] == made[0]["api_id"]]
    assert secured.get("/apis/a/plugins")[1]["data"] == mine
    assert secured.get(f"/plugins?api_id={made[0]['api_id']}")[1]["data"] == mine
    assert secured.get("/plugins?name=ssl")[1]["data"] == [row for row in by_id if row["name"] == "ssl"]
    assert secured.get(f"/plugins?id={made[0]['id']}")[1]["data"] == [made[0]]


def test_what_today_changes_is_seen(secured: Classic) -> None:
    made = secured.made("/apis/a/plugins", FORM)
    secured.today.patch(f"/certificates/{made['id']}", {"cert": OTHER, "key": OTHER_KEY})
    for route in secured.today.all("/services/a/routes"):
        secured.today.patch(f"/routes/{route['id']}", {"protocols": ["https"]})
    assert secured.get("/apis/a/plugins/ssl")[1]["config"] == {"cert": OTHER, "key": OTHER_KEY, "only_https": True}
    row = secured.today.get(f"/certificates/{made['id']}")[1]
    secured.today.patch(f"/certificates/{made['id']}", {"tags": ["mine", *row["tags"]]})
    assert secured.patch("/apis/a/plugins/ssl", "config.only_https=false")[0] == 200
    assert "mine" in secured.today.get(f"/certificates/{made['id']}")[1]["tags"]
    secured.today.delete(f"/certificates/{made['id']}")
    assert secured.get("/apis/a/plugins/ssl") == NOT_FOUND


def test_the_api_takes_its_certificate_along(secured: Classic) -> None:
    made = secured.made("/apis/a/plugins", FORM)
    user = secured.today.make("/services", host="h", protocol="https", client_certificate={"id": made["id"]})
    in_use = (409, {"message": "The certificate is in use elsewhere, see /certificates"})
    assert secured.delete("/apis/a") == secured.delete(f"/plugins/{made['id']}") == in_use
    assert secured.get("/apis/a")[0] == 200
    secured.today.delete(f"/services/{user['id']}")
    assert secured.delete("/apis/a") == (204, None)
    assert secured.today.all("/certificates") == []


def test_tags_that_name_no_api(secured: Classic) -> None:
    for tags in (["classic-ssl"], ["classic-ssl", "classic-ssl-of-x"], [f"classic-ssl-of-{'1' * 36}"]):
        row = secured.today.make("/certificates", cert=PEM, key=KEY, tags=tags)
        assert secured.get(f"/plugins/{row['id']}") == NOT_FOUND
    assert secured.get("/plugins") == (200, {"data": []})


def test_what_is_told_of_it(secured: Classic) -> None:
    assert secured.get("/plugins/schema/ssl") == (200, {
        "fields": {
            "cert": {"type": "string", "required": True},
            "key": {"type": "string", "required": True},
            "only_https": {"type": "boolean", "default": False},
        },
        "no_consumer": True,
    })  # fmt: skip
    assert "ssl" in secured.get("/plugins/enabled")[1]["enabled_plugins"]
    assert secured.get("/")[1]["plugins"]["enabled_in_cluster"] == []
    secured.made("/apis/a/plugins", FORM)
    assert secured.get("/")[1]["plugins"]["enabled_in_cluster"] == ["ssl"]
