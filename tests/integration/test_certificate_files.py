"""What the files of certificates and parameters hold at the start or at a reload counts, not what becomes of them."""

import os
import signal
import socket
import ssl

from kong_gevent.conf import dh
from tests import pki, wire
from tests.gateway import LOOPBACK, Gateway, free_ports


def serial(port, name):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection((LOOPBACK, port), 30) as sock,
        context.wrap_socket(sock, server_hostname=name) as peer,
    ):
        return pki.serial_of(peer.getpeercert(binary_form=True))


def test_files_that_are_being_renewed_neither_stop_a_worker_nor_change_what_is_shown(tmp_path):
    first, second, stored = pki.pair("localhost"), pki.pair("localhost"), pki.pair("a.test")
    files = {name: tmp_path / name for name in ("cert", "key", "dh")}

    def write(cert, key, parameters):
        for path, text in zip(files.values(), (cert, key, parameters), strict=True):
            path.write_text(text)

    write(first.cert, first.key, dh.group("ffdhe2048").decode())
    port = free_ports(1)[0]
    with Gateway(workers=1, start=False) as node:
        node.settings["KONG_PROXY_LISTEN"] += f", {LOOPBACK}:{port} ssl"
        node.settings["KONG_SSL_CERT"], node.settings["KONG_SSL_CERT_KEY"] = str(files["cert"]), str(files["key"])
        node.settings["KONG_SSL_DHPARAM"] = str(files["dh"])
        node.start()
        node.create("/certificates", cert=stored.cert, key=stored.key, snis=["a.test"])
        write("half", "of", "them")
        assert serial(port, "a.test") == stored.serial
        (old,) = node.worker_pids()
        os.kill(old, signal.SIGKILL)
        wire.wait_until(lambda: node.is_ready() and node.worker_pids() not in ([], [old]), 30)
        assert serial(port, None) == first.serial
        assert serial(port, "a.test") == stored.serial
        write(second.cert, second.key, dh.group("ffdhe3072").decode())
        node.reload()
        assert serial(port, None) == second.serial
        assert serial(port, "a.test") == stored.serial


def test_a_reload_with_a_default_certificate_that_is_no_good_is_refused():
    """The node made the files itself, and somebody has put others in their place: what was in force goes on serving."""
    port = free_ports(1)[0]
    with Gateway(workers=1, start=False) as node:
        node.settings["KONG_PROXY_LISTEN"] += f", {LOOPBACK}:{port} ssl"
        node.start()
        shown = serial(port, None)
        (node.prefix / "ssl" / "kong-default.key").write_text(pki.pair("localhost", kind="rsa").key)
        node.reload()
        assert serial(port, None) == shown
        refused = "reload refused, the old settings stay in force: ssl_cert: one of "
        wire.wait_until(lambda: refused in node.log("error.log"), 30)
        assert "kong-default.crt" in node.log("error.log")
