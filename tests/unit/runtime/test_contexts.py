"""Contexts of a worker's TLS listeners: made when asked for, bounded in number, gone with their certificate."""

import ssl
import time
import weakref
from types import SimpleNamespace

import gevent
import pytest

from kong_gevent.conf import load, prefix
from kong_gevent.runtime.certificates import CertificateTable, ServerNames
from kong_gevent.runtime.contexts import AT_ONCE, ListenerContexts, ServerCertificates
from kong_gevent.vaults.secrets import Secrets
from tests import pki
from tests.wire import wait_until

TLS = {"proxy_listen": "127.0.0.1:8443 ssl", "admin_listen": "off", "status_listen": "off"}
PAIRS = [pki.pair(f"{number}.test") for number in range(4)]


def settings_with(folder, **own):
    return load(overrides={**TLS, "prefix": str(folder), **own}, environ={})


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    made = settings_with(tmp_path_factory.mktemp("prefix"))
    prefix.prepare(made)
    return made


class Side:
    """Certificates and names, and clients that shake hands with them in memory."""

    def __init__(self, settings, capacity=None, environ=None):
        if capacity is not None:
            settings = settings_with(settings.prefix, ssl_cert_cache_size=str(capacity))
        self.table = CertificateTable(Secrets(environ or {}))
        self.names = ServerNames(self.table)
        self.certificates = ServerCertificates(settings, self.table, self.names)
        self.made = []
        self.meanwhile = lambda: None  # is called each time when one is being made
        self.contexts = weakref.WeakSet()
        self._make = self.certificates._make
        self.certificates._make = self._note

    def _note(self, certificate, key):
        made = self._make(certificate, key)
        self.made.append(certificate.id)
        self.meanwhile()
        if made is not None:
            self.contexts.add(made)
        return made

    def put(self, number, *names, pair=None):
        pair = pair or PAIRS[number]
        entity = {"id": f"c{number}", "cert": pair.cert, "key": pair.key, "cert_alt": None, "key_alt": None}
        self.table.put(entity)
        for name in names:
            self.names.put({"id": f"{number} {name}", "name": name, "certificate": {"id": f"c{number}"}})

    def shown(self, name):
        """The number of the certificate that a client is shown, None for the default one."""
        to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        peer = self.hello(name, to_client, to_server)
        self.answer(to_server.read(), to_client)
        peer.do_handshake()
        return self.number(peer)

    @staticmethod
    def hello(name, to_client, to_server):
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
        peer = client.wrap_bio(to_client, to_server, server_hostname=name)
        with pytest.raises(ssl.SSLWantReadError):
            peer.do_handshake()
        return peer

    @staticmethod
    def number(peer):
        serial = pki.serial_of(peer.getpeercert(binary_form=True))
        return next((number for number, pair in enumerate(PAIRS) if pair.serial == serial), None)

    def answer(self, hello, to_client):
        """The server's side, and what it reads from."""
        context = self.certificates.listener_context("proxy")
        while context is not None:
            incoming = ssl.MemoryBIO()
            incoming.write(hello)
            own = context.wrap_bio(incoming, to_client, server_side=True)
            try:
                own.do_handshake()
            except ssl.SSLWantReadError:
                return own, incoming
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


def test_more_names_at_once_than_stay_ready_each_get_their_own(settings):
    side = Side(settings, capacity=1)
    for number in range(4):
        side.put(number, f"{number}.test")
    under_way = []
    at_once = []

    def meanwhile():
        under_way.append(None)
        at_once.append(len(under_way))
        time.sleep(0.002)
        under_way.pop()

    side.meanwhile = meanwhile
    clients = [gevent.spawn(side.shown, f"{turn % 4}.test") for turn in range(24)]
    gevent.joinall(clients, 30, raise_error=True)
    assert [client.value for client in clients] == [turn % 4 for turn in range(24)]
    assert set(at_once) == {1}, "one is made after the other"
    assert len(side.certificates._ready) == 1


def test_a_change_while_it_is_being_made_counts(settings):
    side = Side(settings)
    side.put(0, "a.test")
    side.meanwhile = lambda: len(side.made) == 1 and side.put(0, pair=PAIRS[1])
    assert side.shown("a.test") == 1
    assert side.made == ["c0", "c0"]
    assert side.shown("a.test") == 1
    assert len(side.made) == 2


def test_what_goes_while_it_is_being_made_is_not_kept(settings):
    side = Side(settings)
    side.put(0, "a.test")
    side.meanwhile = lambda: side.table.remove("c0")
    assert side.shown("a.test") is None
    side.meanwhile = lambda: None
    side.put(0, pair=PAIRS[2])
    assert side.shown("a.test") == 2


def test_what_goes_before_its_turn_is_not_made(settings):
    side = Side(settings)
    side.put(0, "a.test")
    side.put(1, "b.test")

    def meanwhile():
        wait_until(lambda: ("c1", None) in side.certificates._making, 30)
        side.table.remove("c1")

    side.meanwhile = meanwhile
    clients = [gevent.spawn(side.shown, name) for name in ("a.test", "b.test")]
    gevent.joinall(clients, 30, raise_error=True)
    assert [client.value for client in clients] == [0, None]
    assert side.made == ["c0"]
    side.meanwhile = lambda: None
    side.put(1)
    assert side.shown("b.test") == 1


def test_a_name_that_moves_while_a_context_for_it_alone_is_made_gets_the_new_certificate(settings):
    """Contexts of such handshakes, which another session or a certificate is to be refused or asked for, are final."""
    side = Side(settings)
    side.put(0, "a.test")
    side.put(1)
    name = {"id": "0 a.test", "name": "a.test", "certificate": {"id": "c1"}}
    side.meanwhile = lambda: side.names.put(name)
    tls = SimpleNamespace(unready=True, authorities=None, resumes_another=True, asked_for="a.test")
    context = side.certificates.begin_anew(tls)
    assert side.made == ["c0", "c1"]
    assert context is side.certificates._ready["c1", None]


def test_a_client_that_has_to_say_hello_again_keeps_its_certificate(settings):
    """RFC 8446, section 4.1.4: OpenSSL asks for the certificate a second time then."""
    side = Side(settings, capacity=1)
    side.put(0, "a.test")
    side.put(1, "b.test")
    side.certificates.listener_context("proxy").set_ecdh_curve("secp521r1")  # none that a client tries first
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    peer = side.hello("a.test", to_client, to_server)
    own, incoming = side.answer(to_server.read(), to_client)
    with pytest.raises(ssl.SSLWantReadError):
        peer.do_handshake()
    side.put(1, "a.test")  # the name has another certificate now, which is not ready
    incoming.write(to_server.read())
    with pytest.raises(ssl.SSLWantReadError):
        own.do_handshake()
    peer.do_handshake()
    assert side.number(peer) == 0


def test_many_that_change_together_are_let_go_of_beside_the_requests(settings):
    side = Side(settings)
    for number in range(AT_ONCE + 1):
        side.put(number, f"{number}.test", pair=PAIRS[0])
        assert side.shown(f"{number}.test") == 0
    fork = side.table.fork()
    for key in list(fork.entities):
        fork.remove(key)
    side.table.become(fork)
    assert not side.certificates._ready
    assert len(side.contexts) == AT_ONCE + 1
    with gevent.Timeout(30):
        while side.contexts:
            gevent.sleep(0.001)


def test_a_context_that_asks_for_certificates_goes_with_its_own(settings):
    side = Side(settings)
    side.put(0)
    side.put(1)
    keys = [("c0", ()), ("c1", ("authority",)), ("c1", None)]
    for key in keys:
        side.certificates._get(key, side.certificates._make if key[1] is None else side.certificates._make_asking)
    side.put(0)
    assert list(side.certificates._ready) == keys[1:]
    side.certificates._forget_authorities({"authority"})
    assert list(side.certificates._ready) == keys[2:]


def test_as_many_as_there_is_room_for_are_made_ready_beforehand(settings):
    side = Side(settings, capacity=2)
    for number in range(4):
        side.put(number)
    for number in (0, 2, 3):
        side.names.put({"id": f"n{number}", "name": f"{number}.test", "certificate": {"id": f"c{number}"}})
    side.names.put({"id": "n9", "name": "other.test", "certificate": {"id": "c0"}})
    assert side.certificates.warm_up(lambda: 0) == 2
    assert side.made == ["c0", "c2"], "c1 has no name"
    assert [side.shown("0.test"), side.shown("2.test")] == [0, 2]
    assert len(side.made) == 2
    assert side.certificates.warm_up(lambda: 0) == 0


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
