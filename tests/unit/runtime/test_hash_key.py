"""What of a request is hashed: every input with every fallback, with the input there and absent."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from kong_gevent.runtime.hash_key import HashKey

ALWAYS = {"ip": "10.0.0.7", "path": "/a(b/ü"}
"""Inputs that no request is without."""
GIVEN = {"consumer": "consumer-1", "header": "one, two", "cookie": "chosen", "query_arg": "x", "uri_capture": "42"}
INPUTS = (*GIVEN, *ALWAYS)


class Asked:
    """As much of a request as is hashed, with these inputs in it; both names of a kind have their own value."""

    def __init__(self, *given: str) -> None:
        self.given = given
        self.cookies: list[str] = []
        self.consumer_id = GIVEN["consumer"] if "consumer" in given else None
        self.credential: dict[str, str] | None = None
        self.client_ip = ALWAYS["ip"]
        self.path = "/a%28b/%C3%BC"
        self.request = self
        self.response = SimpleNamespace(add_header=lambda name, value: self.cookies.append(f"{name}: {value}"))

    def header_values(self, name: str) -> list[str]:
        found = {"cookie": ["a=b; lb=chosen; lb=other"] if "cookie" in self.given else ["lb=; other=x", "lbx=1"]}
        if "header" in self.given:
            found["X-First"] = ["one", "two"]
        if "header fallback" in self.given:
            found["X-Second"] = ["second"]
        return found.get(name, [])

    def query_arg(self, name: str) -> Any:
        found = {"first": "x"} if "query_arg" in self.given else {}
        if "query_arg fallback" in self.given:
            found["second"] = "second"
        return found.get(name)

    @property
    def captures(self) -> dict[str, Any]:
        named = {"first": "42"} if "uri_capture" in self.given else {}
        if "uri_capture fallback" in self.given:
            named["second"] = "second"
        return {"named": named, "unnamed": []}


def hash_key(**fields: str | None) -> HashKey:
    entity: dict[str, Any] = {
        "hash_on": "none",
        "hash_fallback": "none",
        "hash_on_cookie": "lb",
        "hash_on_cookie_path": "/shop",
        "hash_on_header": "X-First",
        "hash_fallback_header": "X-Second",
    }
    for kind in ("query_arg", "uri_capture"):
        entity |= {f"hash_on_{kind}": "first", f"hash_fallback_{kind}": "second"}
    return HashKey(entity | fields)


def key(asked: Asked, **fields: str | None) -> str:
    return hash_key(**fields).of(asked).decode()  # type: ignore[arg-type]


def pairs() -> Iterator[Any]:
    """Every input with every fallback that the Admin API takes."""
    for hash_on in INPUTS:
        for fallback in ("none", *INPUTS):
            if fallback != hash_on or fallback in ("header", "query_arg", "uri_capture"):
                if hash_on != "cookie" or fallback == "none":
                    yield pytest.param(hash_on, fallback, id=f"{hash_on}-{fallback}")


@pytest.mark.parametrize(("hash_on", "fallback"), list(pairs()))
def test_every_input_and_fallback(hash_on: str, fallback: str) -> None:
    names = {"hash_on": hash_on, "hash_fallback": fallback}
    second = fallback if fallback != hash_on else f"{fallback} fallback"
    value = ALWAYS.get(hash_on) or GIVEN[hash_on]
    assert key(Asked(*GIVEN), **names) == value, "the fallback does not count"
    if hash_on in ALWAYS or hash_on == "cookie":
        return
    if fallback in ("header", "query_arg", "uri_capture"):
        second, expected = f"{fallback} fallback", "second"
    elif fallback == "none":
        expected = ""
    else:
        expected = ALWAYS.get(fallback) or GIVEN[fallback]
    assert key(Asked(second), **names) == expected
    if fallback not in (*ALWAYS, "cookie"):
        assert key(Asked(), **names) == "", "neither is there: all such requests have the same key"


def test_nothing_is_hashed() -> None:
    assert key(Asked(*GIVEN)) == ""


def test_a_credential_without_a_consumer() -> None:
    asked = Asked()
    asked.credential = {"id": "credential-1"}
    assert key(asked, hash_on="consumer") == "credential-1"


@pytest.mark.parametrize("names", [{"hash_on": "cookie"}, {"hash_on": "header", "hash_fallback": "cookie"}])
def test_a_client_without_the_cookie_gets_one(names: dict[str, str]) -> None:
    asked = Asked()
    value = key(asked, **names)
    assert asked.cookies == [f"Set-Cookie: lb={value}; Path=/shop; SameSite=Lax; HttpOnly"]
    assert len(value) == 36
    assert key(Asked(), **names) != value, "each client has its own"
    having = Asked("cookie")
    assert (key(having, **names), having.cookies) == ("chosen", [])


@pytest.mark.parametrize(
    ("argument", "expected"),
    [("", ""), (True, "true"), (["b", "a"], "a,b"), ([True, "a"], "a,true"), ("ü", "ü")],
)
def test_arguments(argument: Any, expected: str) -> None:
    """An argument without value counts as `true`, an empty one is no reason to fall back; several are sorted."""
    asked = Asked()
    asked.query_arg = lambda name: argument  # type: ignore[method-assign]
    assert key(asked, hash_on="query_arg", hash_fallback="ip") == expected


@pytest.mark.parametrize(("capture", "expected"), [("1", "one"), ("2", "two"), ("3", "10.0.0.7"), ("0", "10.0.0.7")])
def test_groups_by_number(capture: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Asked, "captures", {"named": {}, "unnamed": ["one", "two"]})
    assert key(Asked(), hash_on="uri_capture", hash_on_uri_capture=capture, hash_fallback="ip") == expected
