"""The syntax of listen settings."""

import pytest

from kong_gevent.conf.listeners import HTTP_FLAGS, STREAM_FLAGS, parse, usage


def one(entry: str) -> object:
    (listener,) = parse([entry])
    return listener


@pytest.mark.parametrize(
    ("entry", "ip", "port", "address"),
    [
        ("0.0.0.0:8000", "0.0.0.0", 8000, "0.0.0.0:8000"),
        ("127.0.0.1:1", "127.0.0.1", 1, "127.0.0.1:1"),
        ("[::1]:9000", "[0000:0000:0000:0000:0000:0000:0000:0001]", 9000, "[::1]:9000"),
        ("example:8000", "example", 8000, "example:8000"),
        ("a.example.com:65535", "a.example.com", 65535, "a.example.com:65535"),
        ("*:80", "*", 80, "0.0.0.0:80"),
    ],
)
def test_reads_addresses(entry: str, ip: str, port: int, address: str) -> None:
    listener = one(entry)
    assert (listener.ip, listener.port, listener.address) == (ip, port, address)  # type: ignore[attr-defined]


def test_reads_every_flag() -> None:
    listener = parse(
        [
            "[::]:8443 ssl http2 proxy_protocol deferred bind reuseport backlog=1024 ipv6only=on so_keepalive=30m::10",
        ]
    )[0]
    assert listener.ssl and listener.http2 and listener.proxy_protocol
    assert listener.deferred and listener.bind and listener.reuseport
    assert (listener.backlog, listener.ipv6only, listener.so_keepalive) == (1024, True, "30m::10")


def test_flags_are_off_unless_given() -> None:
    listener = parse(["127.0.0.1:1"])[0]
    assert not any(listener.flags.values())
    assert (listener.backlog, listener.ipv6only, listener.so_keepalive) == (16384, None, None)


def test_shows_kongs_form() -> None:
    assert parse(["127.0.0.1:8443   ssl http2  backlog=1024"])[0].as_dict() == {
        "listener": "127.0.0.1:8443 ssl backlog=1024",
        "ip": "127.0.0.1",
        "port": 8443,
        "ssl": True,
        "http2": True,
        "proxy_protocol": False,
        "deferred": False,
        "bind": False,
        "reuseport": False,
        "backlog=1024": True,
        "ipv6only=on": False,
        "ipv6only=off": False,
        "so_keepalive=on": False,
        "so_keepalive=off": False,
        "so_keepalive=%w*:%w*:%d*": False,
    }


def test_off_gives_none_and_what_follows_is_not_read() -> None:
    assert parse(["off", "what ever"]) == []


def test_keeps_the_order_of_several() -> None:
    assert [listener.port for listener in parse(["127.0.0.1:2", "127.0.0.1:1 ssl"])] == [2, 1]


@pytest.mark.parametrize(
    "entry",
    [
        "127.0.0.1",
        "8000",
        ":8000",
        "127.0.0.1:",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "127.0.0.1:١",
        "127.0.0.1:8000 sll",
        "127.0.0.1:8000 SSL",
        "127.0.0.1:8000 backlog=",
        "127.0.0.1:8000 backlog=many",
        "127.0.0.1:8000 backlog=1 backlog=2",
        "127.0.0.1:8000 ipv6only=maybe",
        "127.0.0.1:8000 off",
        "ssl 127.0.0.1:8000",
        "::1:8000",
        "[127.0.0.1]:8000",
        "[::1:8000",
        "300.1.1.1:80",
        "1.2.3:80",
        "bad_name!:80",
        "-a:80",
        "http://127.0.0.1:8000",
        "",
        " ",
    ],
)
def test_refuses_what_is_malformed(entry: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse([entry])
    assert str(caught.value) == usage()


def test_refuses_an_empty_list() -> None:
    with pytest.raises(ValueError):
        parse([])


def test_the_message_lists_the_flags_of_the_kind() -> None:
    assert usage(HTTP_FLAGS).startswith("must be of form: [off] | <ip>:<port> [ssl] [http2] [proxy_protocol]")
    assert usage(STREAM_FLAGS).startswith("must be of form: [off] | <ip>:<port> [udp] [ssl]")


def test_udp_is_no_flag_of_http() -> None:
    assert parse(["127.0.0.1:53 udp"], STREAM_FLAGS)[0].flags["udp"]
    with pytest.raises(ValueError):
        parse(["127.0.0.1:53 udp"], HTTP_FLAGS)
