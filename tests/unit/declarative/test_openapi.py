"""OpenAPI documents as services and routes."""

from typing import Any

import pytest

from kong_gevent.declarative.openapi import InvalidOpenApi, convert
from kong_gevent.router.regex import PathRegex


def document(**more: Any) -> dict[str, Any]:
    return {
        "openapi": "3.1.0",
        "info": {"title": "Pet Store", "version": "1"},
        "servers": [{"url": "https://api.example.test/v1/"}],
        "paths": {"/pets/{id}": {"get": {"operationId": "showPet"}}},
        **more,
    }


def only(collections: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    (service,) = collections["services"]
    return service


def test_a_service_for_the_document_and_a_route_per_operation() -> None:
    paths = {"/pets": {"get": {}, "post": {"operationId": "makePet"}, "summary": "x"}, "x-note": 1}
    service = only(convert(document(paths=paths)))
    routes = service.pop("routes")
    assert service == {
        "name": "pet-store", "protocol": "https", "host": "api.example.test", "port": 443, "path": "/v1",
    }  # fmt: skip
    assert [(route["name"], route["methods"], route["paths"]) for route in routes] == [
        ("pet-store_pets_get", ["GET"], ["~/pets$"]),
        ("pet-store_makepet", ["POST"], ["~/pets$"]),
    ]
    assert all(route["strip_path"] is False and route["regex_priority"] == 200 for route in routes)


@pytest.mark.parametrize(
    ("template", "path", "captures"),
    [
        ("/pets/{pet-id}", b"/pets/7", {"pet_id": "7"}),
        ("/pets/{id}", b"/pets/7/toys", None),
        ("/pets/{id}", b"/pets/", None),
        ("/a.b/{x}.json", b"/a.b/c.json", {"x": "c"}),
        ("/a.b/{x}.json", b"/aXb/c.json", None),
        ("/{1st}", b"/x", {"_1st": "x"}),
        ("/plus+(x)", b"/plus+(x)", {}),
    ],
)
def test_parameters_become_named_groups(template: str, path: bytes, captures: dict[str, str] | None) -> None:
    (route,) = only(convert(document(paths={template: {"get": {}}})))["routes"]
    regex = PathRegex(route["paths"][0][1:])
    assert (regex.captures(path)[0] if regex.end(path) >= 0 else None) == captures
    assert route["regex_priority"] == (100 if "{" in template else 200)


def test_plugins_go_where_they_are_said_and_lower_levels_win() -> None:
    paths = {
        "/a": {
            "x-kong-plugin-cors": {"config": {"max_age": 1}},
            "get": {"x-kong-plugin-cors": {"config": {"max_age": 2}}},
            "post": {"x-kong-plugin-key-auth": None, "x-kong-plugin-cors": None},
        }
    }
    service = only(convert(document(paths=paths, **{"x-kong-plugin-key-auth": {"enabled": True}})))
    assert service["plugins"] == [{"name": "key-auth", "enabled": True}]
    get, post = service["routes"]
    assert get["plugins"] == [{"name": "cors", "config": {"max_age": 2}}]
    assert post["plugins"] == [{"name": "key-auth", "enabled": False}]


def test_defaults_names_and_tags() -> None:
    made = convert(
        document(
            paths={"/a": {"x-kong-name": "first", "get": {"x-kong-route-defaults": {"hosts": ["h"]}}}},
            **{"x-kong-name": "Shop", "x-kong-tags": ["a"], "x-kong-service-defaults": {"retries": 1}},
        ),
        tags=["b"],
    )
    service = only(made)
    assert (service["name"], service["retries"], service["tags"]) == ("shop", 1, ["a", "b"])
    (route,) = service["routes"]
    assert (route["name"], route["hosts"], route["tags"]) == ("shop_first_get", ["h"], ["a", "b"])


def test_several_servers_are_an_upstream_and_lower_ones_a_service_of_their_own() -> None:
    servers = [{"url": "http://{host}:81", "variables": {"host": {"default": "one.test"}}}, {"url": "http://[::1]"}]
    paths = {"/a": {"get": {"servers": servers}}, "/b": {"get": {}}}
    made = convert(document(paths=paths))
    assert [service["name"] for service in made["services"]] == ["pet-store_a_get", "pet-store"]
    (upstream,) = made["upstreams"]
    assert made["services"][0]["host"] == upstream["name"] == "pet-store_a_get.upstream"
    assert [target["target"] for target in upstream["targets"]] == ["one.test:81", "[::1]:80"]


def test_references_to_path_items_are_followed() -> None:
    shared = {"components": {"pathItems": {"p/q": {"get": {"operationId": "x"}}}}}
    service = only(convert(document(paths={"/a": {"$ref": "#/components/pathItems/p~1q"}}, **shared)))
    assert service["routes"][0]["name"] == "pet-store_x"


def test_a_relative_server_counts_from_the_given_one() -> None:
    service = only(convert(document(servers=[{"url": "/v2"}]), server="http://h.test:8080/api/"))
    assert (service["host"], service["port"], service["path"]) == ("h.test", 8080, "/api/v2")
    service = only(convert(document(servers=[]), server="http://h.test/api"))
    assert (service["host"], service["path"]) == ("h.test", "/api")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"openapi": "2.0"}, "#/openapi: expected version 3.0 or 3.1"),
        ({"openapi": None, "swagger": "2.0"}, "got '2.0'"),
        ({"info": {}}, "#/info/title: expected a text"),
        ({"servers": [{"url": "/v1"}]}, "#/servers/0/url: '/v1' names no host"),
        ({"servers": None}, "names no host"),
        ({"servers": [{"url": "ftp://h"}]}, "protocol 'ftp'"),
        ({"servers": [{"url": "http://h:x"}]}, "no address"),
        ({"servers": [{"url": "http://{h}"}]}, "#/servers/0/variables/h: a variable of an address needs a default"),
        ({"servers": [{"url": "http://a/x"}, {"url": "http://b/y"}]}, "#/servers/1: servers of one list"),
        ({"servers": "x"}, "#/servers: expected a list"),
        ({"paths": []}, None),
        ({"paths": ["/a"]}, "#/paths: expected an object"),
        ({"paths": {"a": {}}}, "#/paths/a: a path begins"),
        ({"paths": {"/a/{x": {"get": {}}}}, "#/paths/~1a~1{x/get: the path's braces"),
        ({"paths": {"/{x}/{x}": {"get": {}}}}, "two parameters 'x'"),
        ({"paths": {"/a": []}}, "#/paths/~1a: expected an object"),
        ({"paths": {"/a": {"get": 1}}}, "#/paths/~1a/get: expected an object"),
        ({"paths": {"/a": {"$ref": "other.yml"}}}, "only references inside the document"),
        ({"paths": {"/a": {"$ref": "#/paths/~1a"}}}, "circle"),
        ({"paths": {"/a": {"$ref": "#/nothing"}}}, "names nothing"),
        ({"paths": {"/a": {"get": {"operationId": "x"}, "put": {"operationId": "X"}}}}, "has the name 'pet-store_x'"),
        ({"x-kong-plugin-cors": 1}, "#/x-kong-plugin-cors: expected an object"),
        ({"x-kong-plugin-cors": {"name": "acl"}}, "expected 'cors'"),
        ({"x-kong-tags": "a"}, "#/x-kong-tags: expected a list of texts"),
        ({"x-kong-route-defaults": []}, "#/x-kong-route-defaults: expected an object"),
    ],
)
def test_what_cannot_be_converted_is_named_with_its_place(wrong: dict[str, Any], message: str | None) -> None:
    if message is None:
        assert convert(document(**wrong)) == {"services": []}
        return
    with pytest.raises(InvalidOpenApi) as caught:
        convert(document(**wrong))
    assert message in str(caught.value)


def test_what_is_no_object_is_refused() -> None:
    with pytest.raises(InvalidOpenApi, match="expected an object"):
        convert([])
