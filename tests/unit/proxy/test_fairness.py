"""Peers that are faster than this process, or keep it busy with nothing: others have their turns all the same."""

import _socket
import itertools
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from kong_gevent.pdk.testing import InMemoryGateway
from kong_gevent.proxy.asking import AskingContext
from kong_gevent.proxy.deadlines import Streams
from kong_gevent.proxy.splice import splice
from kong_gevent.proxy.stream import Stream
from kong_gevent.proxy.tls import MAX_EMPTY, ServerTlsStream, TlsStream
from tests.pki import pair, server_context

ENOUGH = 6
"""Turns that others have at least."""


class Turns:
    """Somebody else, who counts his turns."""

    def __init__(self) -> None:
        self.count = 0
        self._greenlet = gevent.spawn(self._run)

    def _run(self) -> None:
        while True:
            self.count += 1
            gevent.sleep(0)

    def __enter__(self) -> "Turns":
        return self

    def __exit__(self, *_: object) -> None:
        self._greenlet.kill()


@pytest.fixture
def sockets() -> Iterator[Callable[[], tuple[_socket.socket, _socket.socket]]]:
    made = []

    def make() -> tuple[_socket.socket, _socket.socket]:
        ends = []
        for end in socket.socketpair():
            end.setblocking(False)
            ends.append(_socket.socket(fileno=end.detach()))
        made.extend(ends)
        return ends[0], ends[1]

    yield make
    for end in made:
        end.close()
    gevent.sleep(0)


Sockets = Callable[[], tuple[_socket.socket, _socket.socket]]


def test_a_body_that_the_kernel_moves(sockets: Sockets, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither of its two peers ever has to be waited for."""
    source, sink = Stream(sockets()[0], Streams()), Stream(sockets()[0], Streams())
    monkeypatch.setattr(os, "splice", lambda source, sink, count, flags: count)
    with Turns() as turns:
        assert splice(source, sink, 64 << 20, lambda count: None)
        assert turns.count >= ENOUGH
    source.close()
    sink.close()


def test_an_encrypted_body(sockets: Sockets, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = TlsStream(sockets()[0], Streams(), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), "a.test")
    monkeypatch.setattr(TlsStream, "_decrypt", lambda stream, size: b"x" * size)
    with Turns() as turns:
        for _ in range(1000):
            stream.read(16384)
        assert turns.count >= ENOUGH
    stream.close()


SIZE = 160_000
BODIES = {
    "tiny chunks": (b"Transfer-Encoding: chunked", b"1\r\nx\r\n" * SIZE + b"0\r\n\r\n", SIZE),
    "large": (b"Content-Length: %d" % (100 * SIZE), b"x" * (100 * SIZE), 100 * SIZE),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_request_body(body: tuple[bytes, bytes, int]) -> None:
    """Chunks of one byte each cost the most to read."""
    framing, sent, size = body
    made = InMemoryGateway()
    try:
        with Turns() as turns:
            run = made.send(b"POST / HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n%b" % (framing, sent))
            assert turns.count >= ENOUGH
        assert run.status == 200
        assert len(run.upstream.body) == size
    finally:
        made.close()


class Sender:
    """A client of TLS 1.3 that says whatever it likes after its handshake (RFC 8446, sections 4.6.3, 5 and 7)."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._use()

    def _use(self) -> None:
        self._key, self._iv = AESGCM(self._expanded(b"key", 32)), self._expanded(b"iv", 12)
        self._numbers = itertools.count()

    def _expanded(self, label: bytes, size: int) -> bytes:
        label = b"tls13 " + label
        info = size.to_bytes(2) + bytes([len(label)]) + label + b"\0"
        return HKDFExpand(SHA384(), size, info).derive(self._secret)

    def _record(self, kind: int, content: bytes) -> bytes:
        inner = content + bytes([kind])
        head = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2)
        nonce = (int.from_bytes(self._iv) ^ next(self._numbers)).to_bytes(12)
        return head + self._key.encrypt(nonce, inner, head)

    def data(self, content: bytes) -> bytes:
        """Application data."""
        return self._record(23, content)

    def key_update(self, asks: bool) -> bytes:
        """A message without data, which costs more to read than to send; `asks`: the other side is to do the same."""
        record = self._record(22, b"\x18\0\0\1" + bytes([asks]))
        self._secret = self._expanded(b"traffic upd", 48)
        self._use()
        return record


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Those of servers, by the library that they use."""
    folder, shown = tmp_path_factory.mktemp("tls"), pair("a.test")
    plain = server_context(folder, shown)
    asking = AskingContext(plain)
    asking.load_cert_chain(*map(str, shown.files(Path(folder))))
    return {"tls": plain, "asking": asking}


Served = tuple[ServerTlsStream, TlsStream, Sender]


@pytest.fixture(params=["tls", "asking"])
def served(
    request: pytest.FixtureRequest, contexts: dict[str, Any], sockets: Sockets, tmp_path: Path
) -> Iterator[Served]:
    """A server's stream after its handshake, the client's, and what the client says by hand."""
    near, far = sockets()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.keylog_filename = str(tmp_path / "secrets")
    client = TlsStream(near, Streams(), context, "a.test")
    server = ServerTlsStream(far, Streams(), contexts[request.param])
    gevent.joinall([gevent.spawn(client.handshake), gevent.spawn(server.handshake)], raise_error=True)
    cipher = client.tls.cipher()
    assert cipher is not None
    assert cipher[0] == "TLS_AES_256_GCM_SHA384"
    secrets = dict(line.split()[::2] for line in (tmp_path / "secrets").read_text().splitlines() if line[0] != "#")
    yield server, client, Sender(bytes.fromhex(secrets["CLIENT_TRAFFIC_SECRET_0"]))
    server.close()
    client.close()


@pytest.mark.parametrize("kind", ["tls", "asking"])
def test_a_handshake_that_goes_on_and_on(kind: str, contexts: dict[str, Any], sockets: Sockets) -> None:
    """Its first message comes in pieces of one byte each, all of which would be held."""
    near, far = sockets()
    client, server = Stream(near, Streams()), ServerTlsStream(far, Streams(), contexts[kind])
    hello = b"\1\1\xf0\0\3\3" + bytes(0x1F000 - 2)
    writing = gevent.spawn(client.write, b"".join(b"\x16\3\1\0\1%c" % octet for octet in hello))
    with pytest.raises(ssl.SSLError, match="too long"):
        gevent.spawn(server.handshake).get(timeout=30)
    writing.kill()
    server.close()
    client.close()


def reader(server: ServerTlsStream) -> tuple[gevent.Greenlet, list[bytes]]:
    """Reads until that fails."""
    got: list[bytes] = []

    def read() -> None:
        while data := server.read():
            got.append(data)

    return gevent.spawn(read), got


def test_messages_without_data_end_a_connection(served: Served) -> None:
    server, client, sender = served
    flood = b"".join(sender.key_update(asks=False) for _ in range(MAX_EMPTY // 10))
    reading, got = reader(server)
    writing = gevent.spawn(Stream.write, client, flood)
    with Turns() as turns, pytest.raises(ssl.SSLError, match="without data"):
        reading.get(timeout=30)
    assert got == []
    assert turns.count
    writing.kill()


def test_keys_may_change_now_and_then(served: Served) -> None:
    server, client, sender = served
    reading, got = reader(server)
    for number in range(2000):
        Stream.write(client, sender.key_update(asks=False) + sender.data(b"%d," % number))
    while b"1999," not in b"".join(got):
        gevent.sleep(0)
        assert not reading.dead
    reading.kill()


def test_answers_that_nobody_takes_do_not_pile_up(served: Served) -> None:
    server, client, sender = served
    flood = b"".join(sender.key_update(asks=True) + sender.data(b"x") for _ in range(10_000))
    reading, _ = reader(server)
    writing = gevent.spawn(Stream.write, client, flood)
    with pytest.raises(ssl.SSLError, match="does not take"):
        reading.get(timeout=60)
    writing.kill()
