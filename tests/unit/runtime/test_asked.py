"""For which server names clients are asked for a certificate, as configurations and routes come and go."""

from types import SimpleNamespace
from typing import Any

import pytest

from kong_gevent.pdk import CertificateRequest
from kong_gevent.runtime.asked import AskedNames

PLAIN, NAMING, OTHER = CertificateRequest(), CertificateRequest(("a", "b")), CertificateRequest(("b", "c"))


class Side:
    """Routes and services as a plan has them."""

    def __init__(self) -> None:
        self.routes: dict[str, Any] = {}
        self.routes_of: dict[str | None, set[str]] = {}
        self.asked = AskedNames(self.routes, self.routes_of)

    def route(self, key: str, *snis: str, service: str = "s", protocols: tuple[str, ...] = ("http", "https")) -> None:
        self.gone(key)
        entity = {"protocols": list(protocols), "snis": list(snis) or None}
        self.routes[key] = SimpleNamespace(entity=entity, service=SimpleNamespace(id=service))
        self.routes_of.setdefault(service, set()).add(key)
        self.asked.route_changed(key)

    def gone(self, key: str) -> None:
        self.routes.pop(key, None)
        for several in self.routes_of.values():
            several.discard(key)
        self.asked.route_changed(key)


@pytest.fixture
def side() -> Side:
    return Side()


def test_nobody_is_asked_without_a_configuration(side: Side) -> None:
    side.route("r", "a.test")
    assert side.asked.find("a.test") is None
    assert not side.asked.names


@pytest.mark.parametrize(
    ("sni", "yes", "no"),
    [
        ("a.test", ["a.test", "A.TEST", "a.test."], ["b.test", "x.a.test", "test", "", None]),
        ("A.Test.", ["a.test"], ["b.test"]),
        ("*.a.test", ["x.a.test", "y.x.a.test"], ["a.test", "b.test", None]),
        ("a.*", ["a.test", "a.b.test"], ["a", "b.a.test", None]),
        (None, ["a.test", "", None], []),
    ],
    ids=["exact", "spelt otherwise", "first label", "last label", "every name"],
)
def test_names(side: Side, sni: str | None, yes: list[str | None], no: list[str | None]) -> None:
    side.route("r", *([sni] if sni else []))
    side.asked.put("c", "r", None, PLAIN)
    assert [side.asked.find(name) for name in yes] == [()] * len(yes)
    assert [side.asked.find(name) for name in no] == [None] * len(no)


def test_whom_a_configuration_is_for(side: Side) -> None:
    side.route("one", "one.test")
    side.route("two", "two.test")
    side.route("three", "three.test", service="t")
    names = ["one.test", "two.test", "three.test", "four.test"]

    def asked() -> list[bool]:
        return [side.asked.find(name) is not None for name in names]

    side.asked.put("c", "two", None, PLAIN)
    assert asked() == [False, True, False, False]
    side.asked.remove("c")
    side.asked.put("c", None, "s", PLAIN)
    assert asked() == [True, True, False, False]
    side.asked.remove("c")
    side.asked.put("c", None, None, PLAIN)
    assert asked() == [True] * 4
    side.asked.remove("c")
    side.asked.remove("c")
    assert asked() == [False] * 4
    assert not side.asked.names


def test_routes_come_and_go(side: Side) -> None:
    side.asked.put("c", "r", None, PLAIN)
    side.asked.put("d", None, "s", PLAIN)
    assert side.asked.find("a.test") is None
    side.route("r", "a.test", "a.test")
    assert side.asked.find("a.test") == ()
    side.route("r", "b.test")
    assert (side.asked.find("a.test"), side.asked.find("b.test")) == (None, ())
    side.route("r", "b.test", protocols=("http",))
    assert side.asked.find("b.test") is None
    side.route("r")
    assert side.asked.find("c.test") == ()
    side.route("q", "q.test")
    side.gone("r")
    assert (side.asked.find("c.test"), side.asked.find("q.test")) == (None, ())
    side.route("q", "q.test", service="t")
    assert side.asked.find("q.test") is None
    assert not side.asked.names


def test_whose_certificates_are_asked_for(side: Side) -> None:
    """Authorities are only named when all who ask name some."""
    side.route("one", "a.test")
    side.route("two", "*.test")
    side.asked.put("c", "one", None, NAMING)
    assert side.asked.find("a.test") == ("a", "b")
    side.asked.put("d", "two", None, OTHER)
    assert side.asked.find("a.test") == ("a", "b", "c")
    assert side.asked.find("b.test") == ("b", "c")
    side.asked.put("e", None, None, PLAIN)
    assert side.asked.find("a.test") == ()
    side.asked.remove("e")
    assert side.asked.find("a.test") == ("a", "b", "c")


def test_a_change_touches_the_routes_concerned(side: Side) -> None:
    """Ten thousand other routes that ask cost nothing when one changes."""
    for number in range(10_000):
        side.routes[f"r{number}"] = SimpleNamespace(
            entity={"protocols": ["https"], "snis": [f"{number}.test"]}, service=None
        )
        side.asked.put(f"c{number}", f"r{number}", None, PLAIN)
    looked = []
    side.asked._routes = SimpleNamespace(get=lambda key: (looked.append(key), side.routes[key])[1])  # type: ignore[assignment]
    side.asked.route_changed("r1")
    side.asked.remove("c2")
    assert looked == ["r1", "r2"]
    assert (side.asked.find("1.test"), side.asked.find("2.test"), side.asked.find("3.test")) == ((), None, ())
