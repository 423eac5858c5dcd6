"""The description of the API: every path and method, schemas as the entities have them, valid references."""

import re

import pytest

from kong_gevent.schema.lengths import LONGEST, LONGEST_TAG


@pytest.fixture(params=["memory"])
def database(request):
    return request.param


@pytest.fixture
def document(api):
    status, made = api.get("/openapi.json")
    assert status == 200
    return made


def test_every_path_with_every_method(api, document):
    assert document["openapi"].startswith("3.1.")
    assert set(document["paths"]) - {"/robots.txt"} == set(api.get("/endpoints")[1]["data"])
    for path, item in document["paths"].items():
        allow = api.client.open(re.sub(r"\{\w+\}", "x", path), method="OPTIONS").headers
        allowed = (allow.get("Allow") or allow["Access-Control-Allow-Methods"]).split(", ")
        if path.startswith("/classic"):
            continue  # there, OPTIONS names all methods everywhere
        described = {name.upper() for name in item if name != "parameters"}
        assert described == set(allowed) - {"OPTIONS", "HEAD"}, path
        named = [parameter["name"] for parameter in item.get("parameters", ())]
        assert named == re.findall(r"\{(\w+)\}", path)


def test_references_lead_somewhere(document):
    found = set(re.findall(r"#/components/(\w+)/([\w-]+)", str(document)))
    assert found
    for kind, name in found:
        assert name in document["components"][kind]


def test_operations_have_names_of_their_own(document):
    names = [
        operation["operationId"]
        for item in document["paths"].values()
        for method, operation in item.items()
        if method != "parameters"
    ]
    assert len(names) == len(set(names))


def test_entities_are_described_by_their_schemas(document):
    schemas = document["components"]["schemas"]
    service = schemas["services_create"]
    assert service["properties"]["retries"]["default"] == 5
    assert service["properties"]["port"] | {"description": ""} == {
        "type": "integer", "minimum": 0, "maximum": 65535, "default": 80, "description": "",
    }  # fmt: skip
    assert service["properties"]["url"]["writeOnly"] is True
    assert service["additionalProperties"] is False
    assert "required" not in schemas["services_change"]
    assert "url" not in schemas["services"]["properties"]
    body = document["paths"]["/services/{services}/routes"]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"] == {"$ref": "#/components/schemas/routes_create_service"}
    assert schemas["routes_create"]["properties"]["name"] == schemas["routes_create_service"]["properties"]["name"]
    listed = document["paths"]["/services"]["get"]
    assert [parameter["name"] for parameter in listed["parameters"]] == ["size", "offset", "tags"]
    assert listed["summary"] == "List services"


def test_texts_have_an_upper_length(document):
    schemas = document["components"]["schemas"]
    service, route = schemas["services_create"]["properties"], schemas["routes_create"]["properties"]
    assert service["name"]["maxLength"] == service["path"]["maxLength"] == LONGEST
    assert route["paths"]["items"]["maxLength"] == route["hosts"]["items"]["maxLength"] == LONGEST
    assert service["tags"]["items"]["maxLength"] == LONGEST_TAG
    assert schemas["services_change"]["properties"]["name"]["maxLength"] == LONGEST
    certificate = schemas["certificates_create"]["properties"]
    assert "maxLength" not in certificate["cert"] and "maxLength" not in certificate["key"]


def test_settings_of_plugins_are_described(document):
    config = document["components"]["schemas"]["config_key-auth"]
    assert config["properties"]["key_names"]["default"] == ["apikey"]


def test_settings_follow_the_name(document):
    schemas = document["components"]["schemas"]
    created = {case["properties"]["name"]["const"]: case["properties"] for case in schemas["plugins_create"]["anyOf"]}
    assert set(created) == {"key-auth", "limits"}
    assert created["key-auth"]["config"] == {"$ref": "#/components/schemas/config_key-auth"}
    assert schemas["plugins_create"]["additionalProperties"] is False
    assert "anyOf" not in schemas["plugins_change"], "a partial one need not name the plugin"
    shown, gone = schemas["plugins"]["anyOf"][0]["properties"], schemas["plugins"]["anyOf"][-1]["properties"]
    assert shown["config"] == {"$ref": "#/components/schemas/settings_key-auth"}
    assert gone == {"name": {"not": {"enum": ["key-auth", "limits"]}}}
    assert schemas["settings_limits"]["properties"]["redis_host"]["deprecated"] is True
    assert [case["properties"]["name"] for case in schemas["vaults_create"]["anyOf"]] == [{"const": "env"}]


def test_forms_are_described_beside_json(document):
    content = document["paths"]["/services"]["post"]["requestBody"]["content"]
    form = {"$ref": "#/components/schemas/services_create_form"}
    assert content["application/x-www-form-urlencoded"]["schema"] == content["multipart/form-data"]["schema"] == form
    shape = document["components"]["schemas"]["services_create_form"]
    json = document["components"]["schemas"]["services_create"]
    assert set(shape["properties"]) == set(json["properties"])
    assert shape["properties"]["retries"] == {"description": json["properties"]["retries"]["description"]}
    assert shape["additionalProperties"] is False

    def takes(name):
        return name in shape["properties"] or any(re.search(pattern, name) for pattern in shape["patternProperties"])

    assert all(map(takes, ("host", "tags", "tags[]", "tags[1]", "client_certificate.id", "url")))
    assert not any(map(takes, ("host.a", "nothing", "retries[]")))


def test_validation_takes_what_a_post_takes(document):
    def asked(name):
        post = document["paths"][f"/schemas/{name}/validate"]["post"]
        return post["requestBody"]["content"]["application/json"]["schema"]

    assert asked("vaults") == {"$ref": "#/components/schemas/vaults_create"}
    assert {"$ref": "#/components/schemas/services_create"} in asked("{db_entity_name}")["anyOf"]
    judged = document["components"]["schemas"][asked("plugins")["$ref"].rpartition("/")[2]]["anyOf"]
    assert judged[-1] == {"properties": {"name": {"not": {"enum": ["key-auth", "limits"]}}}}, "those that come later"


def test_answers_and_security(document):
    created = document["paths"]["/services"]["post"]["responses"]
    assert {"201", "400", "401", "403", "409", "413", "415", "503"} <= set(created)
    assert "200" not in created
    assert {"bearer": []} in document["security"]


def test_questions_are_described_by_their_fields(document):
    path = document["paths"]["/debug/explain"]
    assert [parameter["name"] for parameter in path["get"]["parameters"]][:3] == ["method", "url", "headers"]
    assert [parameter["name"] for parameter in path["get"]["parameters"] if parameter["required"]] == ["url"]
    body = path["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["url"]
    assert body["properties"]["headers"]["type"] == ["array", "object"]


def test_every_answer_with_a_body_has_a_schema(document):
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method == "parameters":
                continue
            for status, told in operation["responses"].items():
                if "$ref" not in told and status not in ("101", "204", "304", "415"):
                    assert all(media["schema"] for media in told["content"].values()), (path, method, status)
