"""`examples/behind-haproxy` and `examples/behind-nginx`, with their very files: two gateways behind a real balancer."""

import random
import re
import socket
import ssl
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack

import pytest
import requests

from kong_gevent.devtools import certificates
from tests.gateway import LOOPBACK, ROOT, Gateway, free_ports
from tests.integration.support import Load, ask, cli, head, in_thread
from tests.servers.process import is_free
from tests.upstream import Pause, Step, Take, Upstream, answer, by_path, echo
from tests.wire import Client, Request, Stream, wait_until

FILES = {"haproxy": "haproxy.cfg", "nginx": "gateways.conf"}
PORTS = {"haproxy": (8000, 8443, 8007), "nginx": (8000, 8007)}
CLIENT = "127.77.7.7"


class Slow:
    """Answers that come when the test says so."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def __call__(self, request: Request) -> Iterable[Step]:
        while not self.go_on.is_set():
            yield Pause(0.02)
        yield answer(200, b"slow")


def tunnel(request: Request) -> Iterable[Step]:
    """An upgrade whose upstream sends everything back."""

    def serve(stream: Stream) -> None:
        for piece in stream.rest():
            stream.sock.sendall(piece)

    return [b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", Take(serve)]


class Site:
    """The balancer at `net`.10, gateways at .11 and .12, as the example has them."""

    def __init__(self, name: str, net: str, upstream: Upstream, slow: Slow, stack: ExitStack) -> None:
        self.name, self.net, self.upstream, self.slow = name, net, upstream, slow
        self.address = f"{net}.10"
        self.http, self.https = free_ports(2)
        self.folder = ROOT / "examples" / f"behind-{name}"
        self.gateways = [self._gateway(number, stack) for number in (11, 12)]

    def configuration(self, secret: certificates.Certificates) -> str:
        """The balancer's file, with addresses, ports and certificate of this site."""
        text = (self.folder / FILES[self.name]).read_text()
        text = re.sub(r"127\.0\.0\.10:80\b", f"{self.address}:{self.http}", text)
        text = re.sub(r"127\.0\.0\.10:443\b", f"{self.address}:{self.https}", text)
        text = re.sub(r"/etc/nginx/tls/gateway\.pem", str(secret.server), text)
        text = re.sub(r"/etc/nginx/tls/gateway\.key", str(secret.server_key), text)
        return text.replace("127.0.0.1", f"{self.net}.1")

    def _gateway(self, number: int, stack: ExitStack) -> Gateway:
        """With the example's settings, on an address of its own instead of 0.0.0.0."""
        gateway = stack.enter_context(Gateway(start=False))
        file = self.folder / "kong.conf"
        gateway.settings["KONG_CONF"] = str(file)
        wanted = re.search(r"^proxy_listen = (.*)$", file.read_text(), re.MULTILINE)
        assert wanted is not None
        gateway.settings["KONG_PROXY_LISTEN"] = wanted[1].replace("0.0.0.0", f"{self.net}.{number}")
        gateway.settings["KONG_STATUS_LISTEN"] = f"{self.net}.{number}:8007, {LOOPBACK}:{gateway.status_port}"
        gateway.start()
        gateway.route(self.upstream.url, protocols=["http", "https"])
        return gateway

    def client(self, timeout: float = 30, tls: bool = False) -> Client:
        """A connection to the balancer, from an address that only this client has."""
        client = Client(self.https if tls else self.http, self.address, timeout, source=CLIENT)
        if tls:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            client.sock = context.wrap_socket(client.sock, server_hostname="a.test")
            client.stream = Stream(client.sock)
        return client

    @staticmethod
    def served(gateway: Gateway) -> int:
        """Requests that a gateway has had from clients."""
        status: int = requests.get(f"{gateway.admin_url}/status", timeout=30).json()["server"]["total_requests"]
        return status

    def serves(self, gateway: Gateway) -> bool:
        """Whether the balancer sends requests to a gateway."""
        before = self.served(gateway)
        with ExitStack() as stack:
            for _ in range(4):
                assert ask(stack.enter_context(self.client()), "GET", "/").status == 200
        return self.served(gateway) > before

    def told(self, name: str) -> str | None:
        """A field of the last request that the upstream got."""
        return self.upstream.requests[-1].get(name)


def free_net(ports: Iterable[int]) -> str:
    """A network of loopback addresses on which the example's ports are free."""
    while True:
        net = f"127.{random.randrange(64, 250)}.{random.randrange(256)}"
        if all(is_free(f"{net}.{number}", port) for number in (11, 12) for port in ports):
            return net


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> certificates.Certificates:
    return certificates.make(tmp_path_factory.mktemp("certificates"), [LOOPBACK], ["a.test"])


@pytest.fixture(scope="module", params=[pytest.param(name, marks=pytest.mark.needs(name)) for name in FILES])
def site(request: pytest.FixtureRequest, secret: certificates.Certificates) -> Iterator[Site]:
    name: str = request.param
    slow = Slow()
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream(by_path({"/tunnel": tunnel, "/slow": slow}, echo)))
        made = Site(name, free_net(PORTS[name]), upstream, slow, stack)
        make = request.getfixturevalue(f"make_{name}")
        make(made.configuration(secret), made.http, address=made.address)
        with made.client() as client:
            assert ask(client, "GET", "/").status == 200
        yield made


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_the_upstream_is_told_how_the_client_came(site: Site, tls: bool) -> None:
    with site.client(tls=tls) as client:
        assert ask(client, "GET", "/x", host="a.test").status == 200
    by_proxy_protocol = site.name == "haproxy"
    port = (443 if tls else 80) if by_proxy_protocol else (site.https if tls else site.http)
    assert site.told("x-real-ip") == CLIENT
    assert site.told("x-forwarded-for") == (CLIENT if by_proxy_protocol else f"{CLIENT}, {LOOPBACK}")
    assert site.told("x-forwarded-proto") == ("https" if tls else "http")
    assert site.told("x-forwarded-port") == str(port)
    assert site.told("x-forwarded-host") == "a.test"


def test_a_client_cannot_say_who_it_is(site: Site) -> None:
    with site.client() as client:
        assert ask(client, "GET", "/", "X-Forwarded-For: 9.9.9.9", "X-Real-IP: 9.9.9.9").status == 200
    assert site.told("x-real-ip") == CLIENT


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_a_connection_is_kept(site: Site, tls: bool) -> None:
    with site.client(tls=tls) as client:
        for number in range(5):
            body = b"x" * (number * 100_000)
            reply = ask(client, "POST", f"/{number}", body=body)
            assert (reply.status, site.upstream.requests[-1].size) == (200, len(body))


def test_both_gateways_serve(site: Site) -> None:
    before = [site.served(gateway) for gateway in site.gateways]
    with ExitStack() as stack:
        for _ in range(20):
            assert ask(stack.enter_context(site.client()), "GET", "/").status == 200
    for gateway, number in zip(site.gateways, before, strict=True):
        wait_until(lambda gateway=gateway, number=number: site.served(gateway) > number + 3, 30)


@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
def test_websocket(site: Site, tls: bool) -> None:
    with site.client(tls=tls) as client:
        client.send(head("GET", "/tunnel", "Connection: Upgrade", "Upgrade: websocket"))
        assert client.answer().status == 101
        for word in (b"one", b"two" * 50_000):
            client.send(word)
            assert b"".join(client.stream.take(len(word))) == word


def _accepts(site: Site, number: int) -> bool:
    try:
        socket.create_connection((f"{site.net}.{number}", 8000), 30).close()
    except ConnectionRefusedError:
        return False
    return True


def _ready(gateway: Gateway) -> bool:
    try:
        return requests.get(f"{gateway.status_url}/status/ready", timeout=30).status_code == 200
    except requests.ConnectionError:
        return False


@pytest.mark.parametrize("wait", ["0", "3"], ids=["at once", "after a wait"])
def test_a_gateway_leaves_without_a_lost_request(site: Site, wait: str) -> None:
    """It says so, then goes on accepting, then stops; what is in flight comes to its end."""
    leaving = site.gateways[0]
    before = len(site.upstream.requests)
    slow: list[int] = []

    def post() -> None:
        with site.client(timeout=90) as client:
            slow.append(ask(client, "POST", "/slow", body=b"change").status)

    def count_slow() -> int:
        return sum(request.target == "/slow" for request in list(site.upstream.requests[before:]))

    in_flight = [threading.Thread(target=post, daemon=True) for _ in range(6)]
    seen = set()
    with Load(site, kept=3, fresh=3) as load:  # type: ignore[arg-type]  # it needs no more than `client`
        load.more(100)
        for thread in in_flight:
            thread.start()
        wait_until(lambda: count_slow() == 6, 30)
        with in_thread(lambda: cli(leaving, "quit", "-w", wait, "-t", "70")) as done:
            while (state := (_ready(leaving), _accepts(site, 11)))[1]:
                seen.add(state)
            load.more(200)
            assert leaving.process is not None
            assert leaving.process.poll() is None, "it waits for what is in flight"
            site.slow.go_on.set()
        for thread in in_flight:
            thread.join(90)
        load.more(100)
    assert (False, True) in seen, "readiness fails while it still listens"
    assert done[0].stdout == "Kong stopped (gracefully)\n"
    assert (load.failures, load.retried) == ([], 0)
    assert slow == [200] * 6
    assert count_slow() == 6, "none was sent twice"
    site.slow.go_on.clear()
    leaving.stop()
    leaving.process = None
    leaving.start()
    wait_until(lambda: site.serves(leaving), 60)
