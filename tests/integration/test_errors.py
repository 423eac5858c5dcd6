"""Answers that the gateway makes itself: their form by Accept and Content-Type, their texts, redirects to HTTPS."""

import json
import re
from typing import Any

import pytest

from tests.gateway import Gateway
from tests.integration.support import ask_once
from tests.upstream import script
from tests.wire import Answer

JSON_BODY = re.compile(rb'\{\n  "message":"(.*)",\n  "request_id":"([0-9a-f]{32})"\n\}')
PLAIN_BODY = re.compile(rb"(.*)\nrequest_id: ([0-9a-f]{32})\n")
XML_BODY = re.compile(
    rb'<\?xml version="1.0" encoding="UTF-8"\?>\s*<error>\s*<message>(.*)</message>\s*'
    rb"<requestid>([0-9a-f]{32})</requestid>\s*</error>\s*"
)
HTML_BODY = re.compile(rb"(?s)<!doctype html>.*<p>(.*)\.</p>.*request_id: ([0-9a-f]{32})</p>.*")
TYPES = {
    "application/json; charset=utf-8": JSON_BODY,
    "text/plain; charset=utf-8": PLAIN_BODY,
    "application/xml; charset=utf-8": XML_BODY,
    "text/html; charset=utf-8": HTML_BODY,
}


def error_of(reply: Answer) -> tuple[str, str]:
    """Media type and message of an error; the body must be of that type's form and name the request."""
    kind = reply.get("content-type") or ""
    match = TYPES[kind].fullmatch(reply.body)
    assert match, reply.body
    assert match[2].decode() == reply.get("x-kong-request-id")
    return kind.partition(";")[0], match[1].decode()


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        (None, "application/json"),
        ("text/html", "text/html"),
        ("application/xml", "application/xml"),
        ("text/plain", "text/plain"),
        ("application/*", "application/json"),
        ("text/*", "text/plain"),
        ("*/*", "application/json"),
        ("image/png", "application/json"),
        ("text/html;q=0.1, application/xml;q=0.9", "application/xml"),
        ("text/plain, text/html", "text/plain"),
        ("text/html;q=0, application/xml;q=0.1", "application/xml"),
    ],
)
def test_form_of_errors_by_accept(gateway: Gateway, accept: str | None, media: str) -> None:
    reply = ask_once(gateway, "GET", "/nowhere", *([f"Accept: {accept}"] if accept else []))
    assert (reply.status, *error_of(reply)) == (404, media, "no Route matched with those values")


@pytest.mark.parametrize(
    ("kind", "media"),
    [
        (None, "text/plain"),
        ("application/json", "application/json"),
        ("text/html", "text/html"),
        ("image/png", "text/plain"),
    ],
)
def test_form_of_server_errors_by_content_type(gateway: Gateway, site: Any, kind: str | None, media: str) -> None:
    path, _ = site(script(b"nonsense\r\n\r\n"))
    reply = ask_once(gateway, "GET", path, *([f"Content-Type: {kind}"] if kind else []))
    assert (reply.status, *error_of(reply)) == (502, media, "An invalid response was received from the upstream server")


def test_default_type_of_errors(make_gateway: Any) -> None:
    gateway = make_gateway(env={"error_default_type": "text/html"})
    with gateway.client() as client:
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        assert error_of(client.answer()) == ("text/html", "Bad request")


def test_no_service(gateway: Gateway) -> None:
    gateway.create("/routes", paths=["/bare"])
    reply = ask_once(gateway, "GET", "/bare")
    assert (reply.status, error_of(reply)[1]) == (503, "no Service found with those values")


def test_redirects_to_https(gateway: Gateway, site: Any) -> None:
    for status in (426, 301, 302, 307, 308):
        path, upstream = site(protocols=["https"], https_redirect_status_code=status)
        reply = ask_once(gateway, "GET", path + "/a%20b?c=d", host="Api.test:8000")
        assert reply.status == status
        if status == 426:
            assert error_of(reply)[1] == "Please use HTTPS protocol"
            assert (reply.get("connection"), reply.get("upgrade")) == ("Upgrade", "TLS/1.2, HTTP/1.1")
        else:
            assert (reply.get("location") or "").lower() == f"https://api.test{path}/a%20b?c=d"
            assert reply.body == b""
        assert upstream.requests == []


def test_plugin_answers_are_json(gateway: Gateway, site: Any) -> None:
    path, upstream = site()
    (route,) = [entry for entry in gateway.admin("GET", "/routes?size=1000").json()["data"] if entry["paths"] == [path]]
    gateway.create(f"/routes/{route['id']}/plugins", name="key-auth")
    reply = ask_once(gateway, "GET", path)
    assert (reply.status, reply.get("www-authenticate")) == (401, 'Key realm="key-auth"') or reply.status == 401
    assert json.loads(reply.body)["message"] == "No API key found in request"
    assert upstream.requests == []
