"""One look-up: the hosts file before everybody, types of records in order, SRV records and their addresses."""

import socket
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from kong_gevent.dns.answers import Answer, NameNotResolved, Place, Server, servers_at, spread
from kong_gevent.dns.client import Client
from kong_gevent.dns.lookup import Lookup
from kong_gevent.dns.system import Asking, Hosts

V4, V6 = int(socket.AF_INET), int(socket.AF_INET6)
ONE, TWO, SIX = (V4, "10.0.0.1"), (V4, "10.0.0.2"), (V6, "fd00::1")


class Wire:
    """Records are what they stand for already."""

    @staticmethod
    def addresses_of(records: list[Any]) -> list[Any]:
        return records

    servers_of = addresses_of


class Reply:
    """A reply with addresses of servers beside their records."""

    def __init__(self, beside: dict[str, Any]) -> None:
        self._beside = beside

    def addresses_beside(self, name: str) -> tuple[list[Any], float]:
        return self._beside.get(name, []), 20.0


class Servers(Client):
    """Name servers with these records by name and type; a text in their place is how they fail."""

    wire = Wire()  # type: ignore[assignment]

    def __init__(self, asking: Asking = Asking(), **beside: Any) -> None:  # noqa: B008 (it never changes)
        super().__init__(asking)
        self.records: dict[tuple[str, str], Any] = {}
        self.asked: Counter[tuple[str, str]] = Counter()
        self._reply = Reply(beside)

    def ask(self, name: str, kind: str) -> Any:
        self.asked[name, kind] += 1
        found = self.records.get((name, kind), [])
        if isinstance(found, str):
            raise NameNotResolved(found, missing=found == "missing")
        return found, 60.0, self._reply


def lookup(servers: Servers, tmp_path: Path, *types: str, hosts: str = "", valid: float | None = None) -> Lookup:
    file = tmp_path / "hosts"
    file.write_text(hosts)
    made = Lookup(servers, Hosts(str(file)), types or ("SRV", "A"), valid, lambda name: made.addresses(name))
    return made


def told(answer: Answer) -> tuple[str, list[Any]]:
    return answer.kind, answer.addresses


def test_the_hosts_file_counts_first(tmp_path: Path) -> None:
    servers = Servers()
    servers.records["a.test.", "A"] = [TWO]
    hosts = "10.0.0.1 a.test\nfd00::1 a.test\nfd00::1 six.test\n"
    found = lookup(servers, tmp_path, "A", "AAAA", hosts=hosts)
    assert told(found.find("A.Test.", None)) == ("A", [ONE])
    assert told(found.find("six.test", None)) == ("AAAA", [SIX])
    assert told(lookup(servers, tmp_path, "AAAA", "A", hosts=hosts).find("a.test", None)) == ("AAAA", [SIX])
    assert told(found.addresses("a.test")) == ("A", [ONE, SIX])
    assert not servers.asked
    servers.records["other.a.test.", "A"] = [TWO]
    assert told(found.find("other.a.test", None)) == ("A", [TWO])


def test_the_first_type_in_order_that_there_is(tmp_path: Path) -> None:
    servers = Servers()
    servers.records["a.test.", "A"] = [ONE]
    servers.records["a.test.", "AAAA"] = [SIX]
    assert told(lookup(servers, tmp_path, "SRV", "A", "AAAA").find("a.test", None)) == ("A", [ONE])
    assert told(lookup(servers, tmp_path, "AAAA", "A").find("a.test", None)) == ("AAAA", [SIX])


def test_the_type_that_was_found_before_is_asked_for_alone(tmp_path: Path) -> None:
    servers = Servers()
    servers.records["a.test.", "A"] = [ONE]
    found = lookup(servers, tmp_path)
    known = found.find("a.test", None)
    servers.asked.clear()
    assert told(found.find("a.test", known)) == ("A", [ONE])
    assert servers.asked == {("a.test.", "A"): 1}
    servers.records = {("a.test.", "SRV"): [Server(1, 80, "s.test")], ("s.test.", "A"): [TWO]}
    assert told(found.find("a.test", known)) == ("SRV", [TWO]), "there are others now"


def test_a_server_that_fails_is_not_asked_for_other_types(tmp_path: Path) -> None:
    servers = Servers()
    servers.records["a.test.", "A"] = "servfail"
    with pytest.raises(NameNotResolved, match="servfail"):
        lookup(servers, tmp_path).find("a.test", Answer("A", [Place(*ONE)], 1))
    assert servers.asked == {("a.test.", "A"): 1}


def test_search_domains_come_in_their_order(tmp_path: Path) -> None:
    servers = Servers(Asking(search=("one.test", "two.test")))
    servers.records["api.two.test.", "A"] = [TWO]
    servers.records["api.", "A"] = [ONE]
    assert told(lookup(servers, tmp_path).find("api", None)) == ("A", [TWO])
    servers.records["api.one.test.", "SRV"] = "missing"
    assert told(lookup(servers, tmp_path).find("api", None)) == ("A", [TWO])
    servers.records["api.one.test.", "A"] = "servfail"
    with pytest.raises(NameNotResolved, match="servfail"):  # it could be that name, nobody knows
        lookup(servers, tmp_path).find("api", None)


@pytest.mark.parametrize(
    ("records", "missing"),
    [
        ({}, True),
        ({"A": "missing", "SRV": "missing"}, True),
        ({"A": "missing", "SRV": "servfail"}, False),
        ({"A": "servfail"}, False),
    ],
)
def test_rather_nobody_knows_than_there_is_none(tmp_path: Path, records: dict[str, str], missing: bool) -> None:
    servers = Servers()
    servers.records = {("a.test.", kind): found for kind, found in records.items()}
    with pytest.raises(NameNotResolved) as failure:
        lookup(servers, tmp_path).find("a.test", None)
    assert failure.value.missing is missing


def test_servers_with_and_without_addresses_beside_them(tmp_path: Path) -> None:
    servers = Servers(**{"beside.test": [ONE]})
    servers.records["a.test.", "SRV"] = [
        Server(3, 81, "beside.test"), Server(1, 82, "asked.test"), Server(1, 83, "lost.test")
    ]  # fmt: skip
    servers.records["asked.test.", "A"] = [TWO]
    found = lookup(servers, tmp_path).find("a.test", None)
    assert found.places == (Place(*ONE, 81, 3, "beside.test"), Place(*TWO, 82, 1, "asked.test"))
    assert found.ttl == 20, "the shortest of all"
    assert ("beside.test.", "A") not in servers.asked


def test_servers_that_lead_nowhere_are_a_failure(tmp_path: Path) -> None:
    servers = Servers()
    servers.records["a.test.", "SRV"] = [Server(1, 80, "lost.test")]
    servers.records["a.test.", "A"] = [ONE]
    servers.records["lost.test.", "A"] = servers.records["lost.test.", "AAAA"] = "servfail"
    assert told(lookup(servers, tmp_path).find("a.test", None)) == ("A", [ONE])
    del servers.records["a.test.", "A"]
    with pytest.raises(NameNotResolved) as failure:
        lookup(servers, tmp_path).find("a.test", None)
    assert not failure.value.missing


def test_the_settings_may_say_how_long_answers_count(tmp_path: Path) -> None:
    servers = Servers()
    servers.records["a.test.", "A"] = [ONE]
    assert lookup(servers, tmp_path).find("a.test", None).ttl == 60
    assert lookup(servers, tmp_path, valid=5).find("a.test", None).ttl == 5
    assert lookup(servers, tmp_path, hosts="10.0.0.1 a.test\n", valid=5).find("a.test", None).ttl == 5


def test_all_addresses_of_a_host(tmp_path: Path) -> None:
    servers = Servers()
    servers.records = {("a.test.", "A"): [TWO, ONE], ("a.test.", "AAAA"): [SIX]}
    assert told(lookup(servers, tmp_path).addresses("a.test")) == ("A", [ONE, TWO, SIX])
    servers.records["a.test.", "A"] = "servfail"
    assert told(lookup(servers, tmp_path).addresses("a.test")) == ("AAAA", [SIX])


@pytest.mark.parametrize(
    ("weights", "counts"),
    [([], {}), ([0, 0], {0: 1, 1: 1}), ([2, 4], {0: 1, 1: 2}), ([30, 10, 20], {0: 3, 1: 1, 2: 2})],
)
def test_turns_by_weight(weights: list[int], counts: dict[int, int]) -> None:
    assert Counter(spread(weights)) == counts


def test_rounds_stay_short_and_leave_nobody_out() -> None:
    turns = Counter(spread([65535, 1, 32768]))
    assert sum(turns.values()) <= 1001
    assert turns[1] == 1


def test_servers_with_several_addresses_share_their_weight() -> None:
    found = [
        (Server(1, 80, "one"), [ONE, TWO]),
        (Server(0, 80, "two"), [(V4, "10.0.0.3")]),
        (Server(5, 80, "none"), []),
    ]
    weights = {place.ip: place.weight for place in servers_at(found)}
    assert weights == {"10.0.0.1": 1, "10.0.0.2": 1, "10.0.0.3": 2}
