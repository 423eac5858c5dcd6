"""A gateway that keeps fewer certificates ready than clients ask for: each name is shown its own all the same."""

import itertools
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import pki, wire
from tests.gateway import LOOPBACK, Gateway, free_ports

READY = 2
NAMES = [f"{number}.test" for number in range(3 * READY)]
PAIRS = {name: pki.pair(name) for name in NAMES}
VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
ENVIRONMENT = {"ssl_cert_cache_size": str(READY), "db_cache_warmup_entities": "certificates"}
REQUEST = b"GET / HTTP/1.0\r\n\r\n"


@pytest.fixture(scope="module")
def port():
    return free_ports(1)[0]


@pytest.fixture(scope="module")
def node(port):
    with Gateway(workers=1, start=False, env=ENVIRONMENT) as gateway:
        gateway.settings["KONG_PROXY_LISTEN"] += f", {LOOPBACK}:{port} ssl"
        gateway.start()
        yield gateway


@pytest.fixture(autouse=True)
def stored(node):
    """The names' certificates, by name."""
    node.reset(["snis", "certificates"])
    return {name: store(node, name, pair) for name, pair in PAIRS.items()}


def store(node, name, pair):
    return node.create("/certificates", cert=pair.cert, key=pair.key, snis=[name])


def client(version):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    return context


def visit(port, name, context, session=None):
    """The serial number of the certificate that a client is shown, whether it resumed its session, and the next one."""
    with (
        socket.create_connection((LOOPBACK, port), 30) as sock,
        context.wrap_socket(sock, server_hostname=name, session=session) as peer,
    ):
        peer.sendall(REQUEST)
        while peer.recv(65536):
            pass
        return pki.serial_of(peer.getpeercert(binary_form=True)), peer.session_reused, peer.session


@VERSIONS
def test_each_name_has_its_own(node, port, version):
    context = client(version)
    asked = NAMES * 4

    def shown(name):
        return visit(port, name, context)[0]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(shown, asked)) == [PAIRS[name].serial for name in asked]
    assert list(map(shown, asked)) == [PAIRS[name].serial for name in asked]


@VERSIONS
def test_changes_are_seen_at_once_while_others_are_made_ready(node, port, version, stored):
    context = client(version)
    default = visit(port, "unknown.test", context)[0]
    steady, changing = NAMES[:-1], NAMES[-1]
    stopped = threading.Event()

    def keep_asking(turns):
        wrong = []
        for name in turns:
            if stopped.is_set():
                return wrong
            if visit(port, name, context)[0] != PAIRS[name].serial:
                wrong.append(name)
        return wrong

    def shown():
        return [visit(port, changing, context)[0] for _ in range(3)]

    with ThreadPoolExecutor(2) as pool:
        others = [pool.submit(keep_asking, itertools.cycle(order)) for order in (steady, steady[::-1])]
        try:
            assert shown() == [PAIRS[changing].serial] * 3
            for _ in range(4):
                other = pki.pair(changing)
                node.change(f"/certificates/{stored[changing]['id']}", cert=other.cert, key=other.key)
                assert shown() == [other.serial] * 3
            node.delete(f"/certificates/{stored[changing]['id']}")
            assert shown() == [default] * 3
            again = store(node, changing, PAIRS[changing])
            assert shown() == [PAIRS[changing].serial] * 3
            node.change(f"/snis/{NAMES[0]}", certificate={"id": again["id"]})
            assert visit(port, NAMES[0], context)[0] == PAIRS[changing].serial
            node.change(f"/snis/{NAMES[0]}", certificate={"id": stored[NAMES[0]]["id"]})
        finally:
            stopped.set()
        assert [name for found in others for name in found.result(60) if name != NAMES[0]] == []


@VERSIONS
def test_sessions_of_names_that_are_no_longer_ready_are_resumed(node, port, version):
    context = client(version)
    sessions = {name: visit(port, name, context)[2] for name in NAMES}
    for name in NAMES * 2:
        _, resumed, sessions[name] = visit(port, name, context, sessions[name])
        assert resumed, name


def test_a_new_worker_makes_as_many_ready_as_the_setting_says(node):
    node.reload()
    wire.wait_until(lambda: f"{READY} certificates made ready for handshakes" in node.log(), 30)
