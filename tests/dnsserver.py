"""A name server for the tests, over UDP and TCP on loopback, which does what a test says.

with NameServer() as names:
    names.put("a.test", "A", "127.0.0.2", "127.0.0.3", ttl=60)
    names.put("s.test", "SRV", "0 10 8080 a.test.")
    names.mode = "drop"          # or "servfail", "truncate" (over UDP), "" for answers
"""

import socket
import threading
from collections import Counter
from collections.abc import Callable
from typing import Self

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from tests.gateway import free_ports


class NameServer:
    """`asked` counts the questions by (name, type); `delay` is in s; names without records do not exist."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        (self.port,) = free_ports(1)
        self.mode = ""
        self.delay = 0.0
        self.asked: Counter[tuple[str, str]] = Counter()
        self.over_tcp = 0
        self._records: dict[str, dict[str, dns.rrset.RRset]] = {}
        self._ended = threading.Event()
        self._datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

    @property
    def address(self) -> str:
        """As `dns_resolver` takes it."""
        return f"{self.host}:{self.port}"

    def __enter__(self) -> Self:
        self._datagrams.bind((self.host, self.port))
        self._listener.bind((self.host, self.port))
        self._listener.listen(50)
        for serve in (self._serve_datagrams, self._serve_connections):
            threading.Thread(target=serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for sock in (self._datagrams, self._listener):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()

    def put(self, name: str, kind: str, *records: str, ttl: int = 3600) -> None:
        """Set the records of one type; none: there are no such records, though there is the name."""
        known = self._records.setdefault(f"{name}.", {})
        known.pop(kind, None)
        if records:
            known[kind] = dns.rrset.from_text(f"{name}.", ttl, "IN", kind, *records)

    def remove(self, name: str) -> None:
        """The name does not exist any more."""
        self._records.pop(f"{name}.", None)

    def _answer(self, octets: bytes, datagram: bool) -> bytes | None:
        try:
            query = dns.message.from_wire(octets)
        except dns.exception.DNSException:
            return None
        question = query.question[0]
        name, kind = question.name.to_text(), question.rdtype.name
        self.asked[name.rstrip("."), kind] += 1
        self._ended.wait(self.delay)
        if self.mode == "drop":
            return None
        answer = dns.message.make_response(query)
        if self.mode == "servfail":
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif self.mode == "truncate" and datagram:
            answer.flags |= dns.flags.TC
        elif name not in self._records:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        else:
            for wanted in (kind, "CNAME"):
                if wanted in self._records[name]:
                    answer.answer.append(self._records[name][wanted])
                    break
        return answer.to_wire()

    def _serve_datagrams(self) -> None:
        while not self._ended.is_set():
            try:
                octets, peer = self._datagrams.recvfrom(65535)
            except OSError:
                return
            threading.Thread(target=self._reply, args=(octets, peer), daemon=True).start()

    def _reply(self, octets: bytes, peer: tuple[str, int]) -> None:
        reply = self._answer(octets, True)
        if reply is not None and not self._ended.is_set():
            self._datagrams.sendto(reply, peer)

    def _serve_connections(self) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                read: Callable[[int], bytes] = connection.makefile("rb").read
                reply = self._answer(read(int.from_bytes(read(2), "big")), False)
                self.over_tcp += 1
                if reply is not None:
                    connection.sendall(len(reply).to_bytes(2, "big") + reply)
