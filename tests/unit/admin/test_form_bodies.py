"""Form bodies as the entities see them: the notation plus the types of the schema."""

import io

import pytest

ACCEPTED = {
    "shorthand": (
        "/services",
        "name=a&url=http%3A%2F%2Fh%3A81%2Fp",
        {"name": "a", "protocol": "http", "host": "h", "port": 81, "path": "/p"},
    ),
    "scalar for an array": ("/routes", "hosts=a.test", {"hosts": ["a.test"]}),
    "appended": ("/routes", "hosts[]=a.test&hosts[]=b.test", {"hosts": ["a.test", "b.test"]}),
    "positions": ("/routes", "hosts[2]=b.test&hosts[1]=a.test", {"hosts": ["a.test", "b.test"]}),
    "repeated": ("/routes", "hosts=a.test&hosts=b.test", {"hosts": ["a.test", "b.test"]}),
    "map of arrays": (
        "/routes",
        "headers.x-ver[]=1&headers.x-ver[]=2",
        {"headers": {"x-ver": ["1", "2"]}},
    ),
    "map in brackets": ("/routes", "headers[x-ver]=1", {"headers": {"x-ver": ["1"]}}),
    "array of records": (
        "/routes",
        "protocols=tcp&sources[1].ip=10.0.0.1&sources[1].port=80&sources[2].port=81",
        {"sources": [{"ip": "10.0.0.1", "port": 80}, {"ip": None, "port": 81}]},
    ),
    "empty is null": ("/routes", "paths=/a&methods=", {"methods": None, "paths": ["/a"]}),
    "boolean and integer": (
        "/routes",
        "paths=/a&strip_path=false&regex_priority=3",
        {"strip_path": False, "regex_priority": 3},
    ),
    "tags": ("/consumers", "username=u&tags[]=x&tags[]=y", {"tags": ["x", "y"]}),
    "digits stay text": ("/consumers", "username=123&custom_id=4.5", {"username": "123", "custom_id": "4.5"}),
    "encoded brackets": ("/consumers", "username=u&tags%5B%5D=x&tags%5b%5d=y", {"tags": ["x", "y"]}),
    "plus and percent": ("/consumers", "username=a+b%2Bc", {"username": "a b+c"}),
    "plugin settings": (
        "/plugins",
        "name=key-auth&config.key_names=a&config.hide_credentials=true",
        {"config": {"key_names": ["a"], "hide_credentials": True, "anonymous": None, "realm": None}},
    ),
    "no reference": ("/routes", "paths=/a&service=", {"service": None}),
}


@pytest.mark.parametrize(("path", "text", "expected"), ACCEPTED.values(), ids=ACCEPTED)
def test_forms(api, path, text, expected):
    status, row = api.form(path, text)
    assert status == 201, row
    assert {name: row[name] for name in expected} == expected


@pytest.mark.parametrize(("path", "text", "expected"), ACCEPTED.values(), ids=ACCEPTED)
def test_multipart_means_the_same(api, path, text, expected):
    from urllib.parse import parse_qsl

    parts = b"".join(
        f'--XX\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in parse_qsl(text, keep_blank_values=True)
    )
    status, row = api.post(path, data=parts + b"--XX--\r\n", content_type="multipart/form-data; boundary=XX")
    assert status == 201, row
    assert {name: row[name] for name in expected} == expected


def test_numbers_of_plugin_settings(api):
    text = "name=limits&config.minute=10&config.policy=local&config.redis.port=1&config.headers.a=1"
    status, row = api.form("/plugins", text + "&config.rules[1].path=/a&config.rules[1].weight=7")
    assert status == 201, row
    config = row["config"]
    assert (config["minute"], config["policy"], config["redis"]["port"]) == (10, "local", 1)
    assert config["headers"] == {"a": "1"}
    assert config["rules"] == [{"path": "/a", "weight": 7}]


@pytest.mark.parametrize("by", ["id", "name"])
def test_references(api, by):
    service = api.make("/services", name="s", host="h")
    status, row = api.form("/routes", f"paths=/a&service.{by}={service[by]}")
    assert (status, row["service"]) == (201, {"id": service["id"]})


REFUSED = {
    "no number": ("/services", "host=h&retries=abc", {"retries": "expected an integer"}),
    "no boolean": ("/services", "host=h&enabled=maybe", {"enabled": "expected a boolean"}),
    "repeated scalar": ("/services", "host=a&host=b", {"host": "expected a string"}),
    "unknown": ("/services", "host=h&foo[bar]=1", {"foo": "unknown field"}),
    "leading dot": ("/services", "host=h&.a=1", {".a": "unknown field"}),
    "trailing dot": ("/services", "host=h&a.=1", {"a.": "unknown field"}),
    "name without value": ("/consumers", "username", {"username": "expected a string"}),
    "path parameter": ("/services", "host=h&services=x", {"services": "unknown field"}),
}


@pytest.mark.parametrize(("path", "text", "fields"), REFUSED.values(), ids=REFUSED)
def test_refused_forms(api, path, text, fields):
    status, body = api.form(path, text)
    assert (status, body["code"], body["fields"]) == (400, 2, fields)


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_forms_in_changes(api, method):
    api.make("/services", name="s", host="h")
    status, row = api.form("/services/s", "host=new&retries=2&tags=", method)
    assert (status, row["host"], row["retries"], row["tags"]) == (200, "new", 2, None)


def test_a_file_is_its_content(api):
    data = {"username": (io.BytesIO("été".encode()), "name.txt")}
    status, row = api.post("/consumers", data=data, content_type="multipart/form-data")
    assert (status, row["username"]) == (201, "été")


def test_a_thousand_arguments(api):
    assert api.form("/consumers", "&".join(f"tags[]=t{at}" for at in range(999)) + "&username=u")[0] == 201


def test_a_thousand_and_one(api):
    status, body = api.form("/consumers", "&".join(f"tags[]=t{at}" for at in range(1000)) + "&username=u")
    assert (status, body) == (400, {"message": "Too many arguments"})
    assert api.all("/consumers") == []


def test_json_is_not_typed(api):
    status, body = api.post("/services", {"host": "h", "enabled": "true"})
    assert (status, body["fields"]) == (400, {"enabled": "expected a boolean"})


PRECISE = [0, 1, -1, 2**31, 2**53, -(2**53), 2**53 - 1]


@pytest.mark.parametrize("number", PRECISE)
def test_integers_survive(api, number):
    row = api.make("/routes", name="r", paths=["/a"], regex_priority=number)
    assert row["regex_priority"] == number
    assert api.get("/routes/r")[1]["regex_priority"] == number


@pytest.mark.parametrize("number", [0.5, 123456.789, 1e-7, 5.0])
def test_numbers_survive(api, number):
    row = api.make("/plugins", name="limits", config={"minute": number})
    assert row["config"]["minute"] == number


def test_an_integral_float_is_an_integer(api):
    answer = api.client.post("/services", data=b'{"host":"h","retries":5.0}', content_type="application/json")
    assert b'"retries":5,' in answer.data
