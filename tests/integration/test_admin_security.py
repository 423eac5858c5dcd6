"""Tokens and the audit log on real gateways: made by the command line, seen by every node, kept in the store."""

import json
import subprocess
import sys

import pytest

from kong_gevent.client import Client, Unauthorized
from tests.wire import wait_until


def admin_token(node, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "kong_gevent", "admin-token", *arguments],
        env=node.environment(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip


@pytest.fixture(scope="module")
def locked():
    from tests.gateway import Gateway

    with Gateway(workers=2, env={"admin_auth": "token", "db_update_frequency": "0.2"}) as node:
        yield node


def client(node, token=None):
    return Client(node.admin_url, token=token, retries=0)


def test_from_the_command_line_to_revocation(locked):
    with client(locked) as api, pytest.raises(Unauthorized, match="Unauthorized"):
        api.node()
    made = admin_token(locked, "create", "ops")
    assert made.returncode == 0, made
    token = made.stdout.strip()
    with client(locked, token) as api:
        wait_until(lambda: accepted(api))
        for _ in range(20):  # both workers
            api.collection("services").list()
        api.collection("services").create({"name": "s", "host": "h"})
        wait_until(lambda: len(api.request("GET", "/audit/requests")["data"]) == 1)
        [record] = api.request("GET", "/audit/requests")["data"]
        assert (record["who"], record["who_kind"], record["path"]) == ("ops", "token", "/services")
        assert len(record["request_id"]) == 32
    listed = json.loads(admin_token(locked, "list", "--json").stdout)
    assert [row["name"] for row in listed] == ["ops"]
    assert token not in str(listed)
    assert admin_token(locked, "list").stdout.startswith("ops  all rights  made ")
    assert admin_token(locked, "revoke", "ops").stdout == "token 'ops' revoked\n"
    with client(locked, token) as api:
        wait_until(lambda: not accepted(api) and not accepted(api))
    assert admin_token(locked, "revoke", "ops").returncode == 1


def test_what_a_url_should_not_have_told_is_not_logged(locked):
    secret = admin_token(locked, "create", "url").stdout.strip()
    asked = [
        f"/services?token={secret}",
        f"/services?size=1&X_Access-Token=hush1&tags={secret}",
        f"/{secret}",
        "/key-auths/hush2?apikey=hush3",
        "/cache/keyauth_credentials:hush4:::::",
    ]
    for path in asked:
        assert locked.session.get(locked.admin_url + path).status_code == 401
        answer = locked.session.get(locked.admin_url + path, headers={"Kong-Admin-Token": secret})
        assert answer.status_code in (200, 404)
    wait_until(lambda: locked.log("admin_access.log").count("/cache/******") == 2)
    lines = locked.log("admin_access.log")
    assert "hush" not in lines + locked.log() and secret not in lines + locked.log()
    assert '"GET /services?size=1&X_Access-Token=******&tags=****** HTTP/1.1" 200' in lines
    assert '"GET /key-auths/******?apikey=****** HTTP/1.1" 404' in lines


def accepted(api):
    try:
        api.status()
    except Unauthorized:
        return False
    return True


def test_revoked_over_the_api_counts_at_once_in_all_workers(locked):
    boss = admin_token(locked, "create", "boss", "--json")
    token = json.loads(boss.stdout)["token"]
    with client(locked, token) as api:
        wait_until(lambda: accepted(api))
        guest = api.collection("admin-tokens").create({"name": "guest", "read_only": True})["token"]
        with client(locked, guest) as other:
            for _ in range(20):
                assert accepted(other)
            api.collection("admin-tokens").delete("guest")
            assert not any(accepted(client(locked, guest)) for _ in range(20))


def test_bad_arguments(locked):
    for arguments, text in (
        (("create", "x", "--expires", "soon"), "is no time"),
        (("create",), "NAME"),
        (("drop",), "No such command"),
    ):
        done = admin_token(locked, *arguments)
        assert done.returncode != 0
        assert text in done.stderr, done
        assert "Traceback" not in done.stderr


def test_exposure_is_said_at_the_start_and_in_the_log(make_gateway):
    node = make_gateway(env={"admin_listen": "127.0.0.1:1"}, start=False)
    node.settings["KONG_ADMIN_LISTEN"] = f"0.0.0.0:{node.admin_port}"
    node.start()
    wait_until(lambda: "SECURITY: the Admin API listens on the public address" in node.log())
