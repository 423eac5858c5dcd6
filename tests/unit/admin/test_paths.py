"""Every path that there is without plugins, and the methods that it knows."""

import pytest

COLLECTION = "GET, HEAD, OPTIONS, POST"
ENTITY = "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"
READ = "GET, HEAD, OPTIONS"
PATHS = {
    COLLECTION: """
        /services /certificates/{certificates}/services /routes /services/{services}/routes /consumers
        /plugins /routes/{routes}/plugins /services/{services}/plugins /consumers/{consumers}/plugins
        /certificates /snis /certificates/{certificates}/snis /ca_certificates
        /upstreams /certificates/{certificates}/upstreams /upstreams/{upstreams}/targets /targets
        /vaults /keys /key-sets/{key_sets}/keys /key-sets
        /filter-chains /routes/{routes}/filter-chains /services/{services}/filter-chains /config /tags
    """,
    ENTITY: """
        /services/{services} /services/{services}/client_certificate
        /certificates/{certificates}/services/{services}
        /routes/{routes} /routes/{routes}/service /services/{services}/routes/{routes} /consumers/{consumers}
        /plugins/{plugins} /plugins/{plugins}/route /plugins/{plugins}/service /plugins/{plugins}/consumer
        /routes/{routes}/plugins/{plugins} /services/{services}/plugins/{plugins}
        /consumers/{consumers}/plugins/{plugins}
        /certificates/{certificates} /snis/{snis} /snis/{snis}/certificate /certificates/{certificates}/snis/{snis}
        /ca_certificates/{ca_certificates} /upstreams/{upstreams} /upstreams/{upstreams}/client_certificate
        /certificates/{certificates}/upstreams/{upstreams} /upstreams/{upstreams}/targets/{targets}
        /targets/{targets} /targets/{targets}/upstream /vaults/{vaults}
        /keys/{keys} /keys/{keys}/set /key-sets/{key_sets}/keys/{keys} /key-sets/{key_sets}
        /filter-chains/{filter_chains} /filter-chains/{filter_chains}/route /filter-chains/{filter_chains}/service
        /routes/{routes}/filter-chains/{filter_chains} /services/{services}/filter-chains/{filter_chains}
    """,
    READ: """
        /upstreams/{upstreams}/targets/all /upstreams/{upstreams}/health /tags/{tags}
        /routes/{routes}/filters/all /routes/{routes}/filters/enabled /routes/{routes}/filters/disabled
        / /status /status/dns /timers /endpoints /plugins/enabled /plugins/schema/{name}
        /schemas/{name} /schemas/plugins/{name} /schemas/vaults/{name} /schemas/filters/{name}
        /debug/node/log-level /clustering/data-planes /clustering/status
    """,
    "OPTIONS, POST": "/schemas/{db_entity_name}/validate /schemas/plugins/validate /schemas/vaults/validate",
    "OPTIONS, PUT": """
        /upstreams/{upstreams}/targets/{targets}/healthy /upstreams/{upstreams}/targets/{targets}/unhealthy
        /upstreams/{upstreams}/targets/{targets}/{address}/healthy
        /upstreams/{upstreams}/targets/{targets}/{address}/unhealthy
        /debug/node/log-level/{log_level} /debug/cluster/log-level/{log_level}
    """,
    "DELETE, OPTIONS": "/cache",
    "DELETE, GET, HEAD, OPTIONS": "/cache/{key}",
}
UNLISTED = "/robots.txt"


@pytest.fixture
def database():
    """Nothing here depends on the store."""
    return "memory"


def test_all_paths_of_kong_are_listed(api):
    known = {path for paths in PATHS.values() for path in paths.split()}
    listed = set(api.get("/endpoints")[1]["data"])
    assert known <= listed
    assert UNLISTED not in listed
    assert api.client.get(UNLISTED).status_code == 200


@pytest.mark.parametrize("methods", PATHS)
def test_methods(api, methods):
    for path in PATHS[methods].split():
        answer = api.client.options(path)
        assert (path, answer.status_code, answer.headers["Allow"]) == (path, 204, methods)
        assert answer.headers["Access-Control-Allow-Methods"] == methods
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - set(methods.split(", ")):
            assert (path, *api.call(method, path)) == (path, 405, {"message": "Method not allowed"})


@pytest.mark.parametrize("path", ["/workspaces", "/workspaces/default", "/parameters", "/consumer_groups", "/licenses"])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_paths_that_kong_does_not_have(api, path, method):
    assert api.call(method, path) == (404, {"message": "Not found"})


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/upstreams/u.test/targets/all", "the list of all targets"),
        ("/plugins/enabled", "the plugins that may be configured"),
    ],
)
def test_literal_segments_win(api, path, name):
    api.make("/upstreams", name="u.test")
    status, body = api.get(path)
    assert status == 200, name
    assert body.keys() & {"data", "enabled_plugins"}
