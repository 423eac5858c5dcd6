"""Certificates and server names of the store, as clients of a TLS listener see them: live, by name, on all workers."""

import os
import socket
import ssl
import threading

import pytest
import requests

from tests import pki, wire
from tests.gateway import LOOPBACK, Gateway, free_ports


def wait_until(condition):
    wire.wait_until(condition, 30)


@pytest.fixture(scope="module")
def port():
    return free_ports(1)[0]


@pytest.fixture(scope="module")
def node(port):
    with Gateway(workers=2, start=False, env={"log_level": "info"}) as gateway:
        gateway.settings["KONG_PROXY_LISTEN"] += f", {LOOPBACK}:{port} ssl"
        gateway.settings["TEST_TLS_CERT"] = REFERRED.cert
        gateway.settings["TEST_TLS_KEY"] = REFERRED.key
        gateway.start()
        yield gateway


@pytest.fixture(autouse=True)
def empty(node):
    node.reset(["snis", "certificates", "plugins", "routes", "services"])


REFERRED = pki.pair("referred.test")
PAIRS = {name: pki.pair(name) for name in ("a.test", "b.test", "*.example.com", "example.*")}


def shown(port, name, **options):
    """The serial number of the certificate that a new connection is shown."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for option, value in options.items():
        if callable(getattr(context, option)):
            getattr(context, option)(value)
        else:
            setattr(context, option, value)
    with (
        socket.create_connection((LOOPBACK, port), 10) as sock,
        context.wrap_socket(sock, server_hostname=name) as peer,
    ):
        return pki.serial_of(peer.getpeercert(binary_form=True))


def store(node, pair, *names):
    return node.create("/certificates", cert=pair.cert, key=pair.key, snis=list(names))


def test_every_handshake_after_the_answer_sees_the_change(node, port):
    default = shown(port, "a.test")
    for _ in range(5):
        first, second = pki.pair("a.test"), pki.pair("a.test")
        made = store(node, first, "a.test")
        assert {shown(port, "a.test") for _ in range(8)} == {first.serial}
        node.change(f"/certificates/{made['id']}", cert=second.cert, key=second.key)
        assert {shown(port, "a.test") for _ in range(8)} == {second.serial}
        node.delete("/snis/a.test")
        assert {shown(port, "a.test") for _ in range(8)} == {default}
        node.create("/snis", name="a.test", certificate={"id": made["id"]})
        assert {shown(port, "a.test") for _ in range(8)} == {second.serial}
        node.delete(f"/certificates/{made['id']}")
        assert {shown(port, "a.test") for _ in range(8)} == {default}


def test_a_name_moves_to_another_certificate(node, port):
    first, second = (store(node, PAIRS[name]) for name in ("a.test", "b.test"))
    sni = node.create("/snis", name="moves.test", certificate={"id": first["id"]})
    assert shown(port, "moves.test") == PAIRS["a.test"].serial
    node.change(f"/snis/{sni['id']}", certificate={"id": second["id"]})
    assert shown(port, "moves.test") == PAIRS["b.test"].serial
    node.change(f"/snis/{sni['id']}", name="moved.test")
    assert shown(port, "moved.test") == PAIRS["b.test"].serial
    assert shown(port, "moves.test") not in pki.serials_of(*PAIRS.values())


def test_exact_names_win_over_wildcards_and_these_over_the_default(node, port):
    default = shown(port, None)
    left, right, exact, every = (PAIRS["*.example.com"], PAIRS["example.*"], PAIRS["a.test"], PAIRS["b.test"])
    store(node, left, "*.example.com")
    store(node, right, "example.*", "sub.example.*")
    store(node, exact, "sub.example.com")
    expected = {
        "sub.example.com": exact, "SUB.example.COM": exact, "other.example.com": left, "sub.example.org": right,
        "example.org": right, "deep.sub.example.com": None, "example.com": right, "unknown.test": None, None: None,
    }  # fmt: skip
    for name, pair in expected.items():
        assert shown(port, name) == (pair.serial if pair else default), name
    node.delete("/snis/sub.example.com")
    assert shown(port, "sub.example.com") == left.serial
    store(node, every, "*")
    assert shown(port, "unknown.test") == shown(port, None) == every.serial
    assert shown(port, "other.example.com") == left.serial


def test_the_alternative_certificate_is_for_clients_that_need_its_kind(node, port):
    elliptic, rsa = pki.pair("both.test"), pki.pair("both.test", kind="rsa")
    node.create(
        "/certificates", cert=elliptic.cert, key=elliptic.key, cert_alt=rsa.cert, key_alt=rsa.key, snis=["both.test"]
    )
    old = {"maximum_version": ssl.TLSVersion.TLSv1_2}
    assert shown(port, "both.test", set_ciphers="ECDHE-RSA-AES128-GCM-SHA256", **old) == rsa.serial
    assert shown(port, "both.test", set_ciphers="ECDHE-ECDSA-AES128-GCM-SHA256", **old) == elliptic.serial


def test_references_lead_to_secrets(node, port):
    made = node.create(
        "/certificates", cert="{vault://env/test-tls-cert}", key="{vault://env/test-tls-key}", snis=["referred.test"]
    )
    assert made["key"] == "{vault://env/test-tls-key}"
    assert shown(port, "referred.test") == REFERRED.serial


def test_a_missing_secret_is_named_in_the_log_and_the_default_certificate_shown(node, port):
    default = shown(port, None)
    made = node.create(
        "/certificates", cert="{vault://env/test-tls-cert}", key="{vault://env/test-tls-missing}", snis=["gone.test"]
    )
    assert shown(port, "gone.test") == default
    wait_until(lambda: f"certificate {made['id']}: '{{vault://env/test-tls-missing}}'" in node.log())


def test_a_secret_that_is_no_key_is_named_in_the_log(node, port):
    default = shown(port, None)
    made = node.create(
        "/certificates", cert="{vault://env/test-tls-cert}", key="{vault://env/test-tls-cert}", snis=["bad.test"]
    )
    assert shown(port, "bad.test") == shown(port, "bad.test") == default
    wait_until(lambda: f"certificate {made['id']} cannot be used:" in node.log())
    assert "Traceback" not in node.log()


def test_names_that_are_no_ascii_cost_one_line(node, port):
    context = ssl.create_default_context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="x.test")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    before = node.log().count("the server name is not ASCII")
    with socket.create_connection((LOOPBACK, port), 10) as peer:
        peer.sendall(outgoing.read().replace(b"x.test", b"\xff.test"))
        while peer.recv(1000):
            pass
    wait_until(lambda: node.log().count("the server name is not ASCII") == before + 1)
    assert "Traceback" not in node.log() + node.log("output")


def test_many_clients_at_once_for_a_certificate_that_is_not_ready(node, port):
    pair = pki.pair("rush.test")
    store(node, pair, "rush.test")
    found = []
    clients = [threading.Thread(target=lambda: found.append(shown(port, "rush.test"))) for _ in range(20)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(30)
    assert found == [pair.serial] * 20


def resumed(port, name, session, context):
    with (
        socket.create_connection((LOOPBACK, port), 10) as sock,
        context.wrap_socket(sock, server_hostname=name, session=session) as peer,
    ):
        peer.sendall(b"GET / HTTP/1.0\r\n\r\n")
        while peer.recv(65536):
            pass
        return peer.session_reused, peer.session


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_sessions_are_resumed_on_every_worker_after_a_crash_and_after_a_reload(node, port, version):
    store(node, PAIRS["a.test"], "a.test")
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    _, session = resumed(port, "a.test", None, context)
    for _ in range(12):
        again, session = resumed(port, "a.test", session, context)
        assert again
    old = set(node.worker_pids())
    os.kill(min(old), 9)
    wait_until(lambda: len(set(node.worker_pids()) - old) == 1)
    node.reload()
    for _ in range(4):
        again, session = resumed(port, "a.test", session, context)
        assert again


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_the_classic_plugin_ssl(node, port, upstream):
    """It is served for the API's host as soon as it is stored, and refuses HTTP where it is told to."""
    default = shown(port, "a.test")
    first, second = pki.pair("a.test"), pki.pair("a.test")
    form = {"name": "a", "request_host": "a.test", "upstream_url": upstream.url}
    assert node.admin("POST", "/classic/apis", data=form).status_code == 201
    form = {"name": "ssl", "config.cert": first.cert, "config.key": first.key, "config.only_https": "true"}
    made = node.admin("POST", "/classic/apis/a/plugins", data=form)
    assert made.status_code == 201, made.text
    path = f"/classic/apis/a/plugins/{made.json()['id']}"
    assert {shown(port, "a.test") for _ in range(8)} == {first.serial}
    assert shown(port, "b.test") == default
    refused = node.get("/x", headers={"Host": "a.test"})
    assert (refused.status_code, refused.json()["message"]) == (426, "Please use HTTPS protocol")
    assert (refused.headers["Upgrade"], refused.headers["Connection"].lower()) == ("TLS/1.2, HTTP/1.1", "upgrade")
    secured = requests.get(f"https://{LOOPBACK}:{port}/x", headers={"Host": "a.test"}, verify=False, timeout=30)
    assert secured.status_code == 200
    form = {"config.cert": second.cert, "config.key": second.key, "config.only_https": "false"}
    assert node.admin("PATCH", path, data=form).status_code == 200
    assert {shown(port, "a.test") for _ in range(8)} == {second.serial}
    assert node.get("/x", headers={"Host": "a.test"}).status_code == 200
    assert node.admin("DELETE", "/classic/apis/a").status_code == 204
    assert {shown(port, "a.test") for _ in range(8)} == {default}
