"""Contexts of a worker's TLS listeners: made when asked for, bounded in number, gone with their certificate."""

import ssl
import weakref

import pytest

from kong_gevent.conf import load, prefix
from kong_gevent.runtime.certificates import CertificateTable, ServerNames
from kong_gevent.runtime.contexts import ListenerContexts, ServerCertificates
from kong_gevent.vaults.secrets import Secrets
from tests import pki

TLS = {"proxy_listen": "127.0.0.1:8443 ssl", "admin_listen": "off", "status_listen": "off"}
PAIRS = [pki.pair(f"{number}.test") for number in range(4)]


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    made = load(overrides={**TLS, "prefix": str(tmp_path_factory.mktemp("prefix"))}, environ={})
    prefix.prepare(made)
    return made


class Side:
    """Certificates and names, and clients that shake hands with them in memory."""

    def __init__(self, settings, capacity=1000, environ=None):
        self.table = CertificateTable(Secrets(environ or {}))
        self.names = ServerNames(self.table)
        self.certificates = ServerCertificates(settings, self.table, self.names, None, capacity)
        self.made = []
        self.contexts = weakref.WeakSet()
        self._make = self.certificates._make
        self.certificates._make = self._note

    def _note(self, certificate, key):
        made = self._make(certificate, key)
        self.made.append(certificate.id)
        if made is not None:
            self.contexts.add(made)
        return made

    def put(self, number, *names):
        pair = PAIRS[number]
        entity = {"id": f"c{number}", "cert": pair.cert, "key": pair.key, "cert_alt": None, "key_alt": None}
        self.table.put(entity)
        for name in names:
            self.names.put({"id": f"{number} {name}", "name": name, "certificate": {"id": f"c{number}"}})

    def shown(self, name):
        """The number of the certificate that a client is shown, None for the default one."""
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
        to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        peer = client.wrap_bio(to_client, to_server, server_hostname=name)
        with pytest.raises(ssl.SSLWantReadError):
            peer.do_handshake()
        self._answer(to_server.read(), to_client)
        peer.do_handshake()
        serial = pki.serial_of(peer.getpeercert(binary_form=True))
        return next((number for number, pair in enumerate(PAIRS) if pair.serial == serial), None)

    def _answer(self, hello, to_client):
        context = self.certificates.listener_context("proxy")
        while context is not None:
            incoming = ssl.MemoryBIO()
            incoming.write(hello)
            own = context.wrap_bio(incoming, to_client, server_side=True)
            try:
                own.do_handshake()
            except ssl.SSLWantReadError:
                return
            except ssl.SSLError:
                to_client.read()
                context = self.certificates.begin_anew(own)
        raise AssertionError("the handshake failed")


def test_a_context_is_made_once_and_anew_after_a_change(settings):
    side = Side(settings)
    side.put(0, "a.test")
    assert [side.shown("a.test") for _ in range(3)] == [0, 0, 0]
    assert side.made == ["c0"]
    side.put(0)
    assert side.shown("a.test") == 0
    assert side.made == ["c0", "c0"]


def test_only_the_latest_used_stay(settings):
    side = Side(settings, capacity=2)
    for number in range(3):
        side.put(number, f"{number}.test")
    for number in (0, 1, 0, 2, 0, 1):
        assert side.shown(f"{number}.test") == number
    assert side.made == ["c0", "c1", "c2", "c1"]
    assert len(side.contexts) == 2, "what is not kept takes no memory"


def test_what_is_removed_is_forgotten_with_its_key(settings):
    side = Side(settings)
    side.put(1, "a.test")
    assert side.shown("a.test") == 1
    side.table.remove("c1")
    assert side.shown("a.test") is None
    assert not side.certificates._ready


def test_a_certificate_that_cannot_be_used_is_tried_once(settings):
    side = Side(settings)
    broken = {"id": "c9", "cert": PAIRS[0].cert, "key": PAIRS[1].key, "cert_alt": None, "key_alt": None}
    side.table.put(broken)
    side.names.put({"id": "n", "name": "a.test", "certificate": {"id": "c9"}})
    assert [side.shown("a.test") for _ in range(2)] == [None, None]
    assert side.made == ["c9"]


def test_names_whose_certificate_is_not_there_get_the_default_one(settings):
    side = Side(settings)
    side.names.put({"id": "n", "name": "a.test", "certificate": {"id": "c5"}})
    assert side.shown("a.test") is None


def test_a_name_that_another_has_taken_over_stays(settings):
    side = Side(settings)
    side.put(0, "a.test")
    side.put(1)
    side.names.put({"id": "new", "name": "a.test", "certificate": {"id": "c1"}})
    side.names.remove("0 a.test")
    assert side.shown("a.test") == 1


def test_secrets_are_looked_up_again_when_vaults_change(settings):
    environ = {"CERT": PAIRS[2].cert}
    side = Side(settings, environ=environ)
    entity = {"id": "c2", "cert": "{vault://env/cert}", "key": "{vault://env/key}", "cert_alt": None, "key_alt": None}
    side.table.put(entity)
    side.names.put({"id": "n", "name": "a.test", "certificate": {"id": "c2"}})
    assert side.shown("a.test") is None
    environ["KEY"] = PAIRS[2].key
    side.table.resolve_again()
    assert side.shown("a.test") == 2
    assert side.table.entities["c2"] is entity


def test_contexts_of_listeners_outlive_a_reload_unless_something_in_them_changed(settings):
    contexts = ListenerContexts()
    first = contexts.get(settings, "proxy")
    assert contexts.get(settings, "proxy") is first
    same = load(overrides={**TLS, "prefix": settings.prefix, "log_level": "debug"}, environ={})
    assert contexts.get(same, "proxy") is first
    other = load(overrides={**TLS, "prefix": settings.prefix, "ssl_cipher_suite": "modern"}, environ={})
    assert contexts.get(other, "proxy") is not first
