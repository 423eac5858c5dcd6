"""The server name in what a client says first, as OpenSSL's own clients say it, and in what makes no sense."""

import ssl

import pytest

from kong_gevent.proxy.hello import server_name

NAMES = ["a.test", None, "x" * 60 + ".test"]


def hello(name, version=ssl.TLSVersion.TLSv1_3, protocols=()):
    """The first record of a client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.maximum_version = version
    if protocols:
        context.set_alpn_protocols(protocols)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def split(record, size):
    """The same message in records of at most so many bytes."""
    message = record[5:]
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(record[:3] + len(piece).to_bytes(2) + piece for piece in pieces)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
@pytest.mark.parametrize("name", NAMES, ids=["name", "none", "long name"])
def test_the_name_is_found(name, version):
    said = hello(name, version, ["h2", "http/1.1"])
    assert server_name(said) == name
    assert [server_name(split(said, size)) for size in (1, 7, 100)] == [name] * 3
    assert server_name(said + hello("second.test")) == name


def test_an_address_is_no_name():
    assert server_name(hello("127.0.0.1")) is None


def test_nothing_is_found_in_what_makes_no_sense():
    said = hello("a.test")
    for size in range(len(said)):
        assert server_name(said[:size]) in (None, "a.test"[: len("a.test")], *("a.test"[:n] for n in range(6)))
    for at in range(len(said)):
        server_name(said[:at] + bytes([said[at] ^ 0xFF]) + said[at + 1 :])
    assert server_name(b"") is None
    assert server_name(b"\x16\x03\x01\xff\xff" + b"\xff" * 100) is None
