"""Request targets: normal form, hosts, and the joining with service paths."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kong_gevent.errors import ProtocolError
from kong_gevent.http.target import (
    escape_path,
    normalise_path,
    parse_host,
    split_absolute,
    upstream_path,
)

NORMAL_FORMS = [
    ("/", "/"),
    ("", "/"),
    ("/a/b", "/a/b"),
    ("/a/b/", "/a/b/"),
    ("/A/b", "/A/b"),
    # escapes of unreserved characters are decoded
    ("/%65%66", "/ef"),
    ("/%7Euser/%2D%5F", "/~user/-_"),
    ("/%41%7a%30", "/Az0"),
    # the others are kept in capitals
    ("/a%2fb", "/a%2Fb"),
    (
        "/%21%2a%27%28%29%3b%3a%40%26%3d%2b%24%2c%2f%3f%25%23%5b%5d",
        "/%21%2A%27%28%29%3B%3A%40%26%3D%2B%24%2C%2F%3F%25%23%5B%5D",
    ),
    ("/a%20b%c3%A9", "/a%20b%C3%A9"),
    ("/a%5cb", "/a%5Cb"),
    ("/a;p=1/b", "/a;p=1/b"),
    # nothing is decoded twice
    ("/%2565", "/%2565"),
    ("/%252e%252e/a", "/%252e%252e/a"),
    ("/%25%32%65", "/%252e"),
    ("/a%252Fb", "/a%252Fb"),
    # adjacent slashes are merged
    ("//", "/"),
    ("//a///b//", "/a/b/"),
    ("/a//../b", "/b"),
    # dot segments
    ("/.", "/"),
    ("/..", "/"),
    ("/./a", "/a"),
    ("/a/.", "/a/"),
    ("/a/./b", "/a/b"),
    ("/a/..", "/"),
    ("/a/b/..", "/a/"),
    ("/a/b/../", "/a/"),
    ("/a/b/../c", "/a/c"),
    ("/a/../../../b", "/b"),
    ("/../../etc", "/etc"),
    ("/a/b/c/./../../g", "/a/g"),
    ("/%2e%2E/a", "/a"),
    ("/a/%2e/b", "/a/b"),
    ("/a/.%2e/b", "/b"),
    ("/a/%2e./b", "/b"),
    ("/a/b/%2e%2e", "/a/"),
    # names with dots
    ("/.well-known/x", "/.well-known/x"),
    ("/a/.../b", "/a/.../b"),
    ("/a/..b/.c/d..", "/a/..b/.c/d.."),
    ("/a./b..", "/a./b.."),
    # characters that a URI cannot hold
    ('/a"<>^`{|}', "/a%22%3C%3E%5E%60%7B%7C%7D"),
    ("/a\\b", "/a%5Cb"),
    ("/é", "/%C3%A9"),
    ("/a b", "/a%20b"),
]


@pytest.mark.parametrize(("raw", "normal"), NORMAL_FORMS)
def test_normal_form(raw: str, normal: str) -> None:
    assert normalise_path(raw) == normal


@pytest.mark.parametrize("normal", sorted({normal for _, normal in NORMAL_FORMS}))
def test_normal_form_stays(normal: str) -> None:
    assert normalise_path(normal) == normal


@settings(max_examples=500)
@given(st.text("/.%2eEfF5cC;a0\\{", max_size=20))
def test_normal_form_of_anything_is_final_or_refused(raw: str) -> None:
    try:
        normal = normalise_path("/" + raw)
    except ProtocolError as error:
        assert error.status == 400
        return
    assert normalise_path(normal) == normal
    assert "//" not in normal
    assert not {".", ".."} & set(normal.split("/"))
    assert normal.startswith("/")


@pytest.mark.parametrize("raw", ["/%", "/a%2", "/%zz", "/%2g/b", "/a%%41", "/%u0041", "/a%"])
def test_broken_escapes_are_refused(raw: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        normalise_path(raw)
    assert refused.value.status == 400


@pytest.mark.parametrize("raw", ["/a%00", "/a%00b/c", "/%00", "/a/..%00/admin"])
def test_escaped_nul_is_refused(raw: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        normalise_path(raw)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "raw",
    [
        "/public/..%2fadmin",
        "/public/..%2Fadmin",
        "/public/%2e%2e%2fadmin",
        "/public/x%2f..%2fadmin",
        "/public/x%2f../admin%2f..",
        "/public/..%5cadmin",
        "/public/..\\admin",
        "/public\\..\\admin",
        "/public/..;/admin",
        "/public/..;x=1/admin",
        "/public/%2e%2e;/admin",
        "/public/.;/admin",
        "/public/.%2fadmin",
        "/public%2f..",
        "/public/..;",
    ],
)
def test_disguised_dot_segments_are_refused(raw: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        normalise_path(raw)
    assert refused.value.status == 400


@pytest.mark.parametrize("path", ["/a;x/b", "/a%2Fb", "/a%5Cb", "/a%3Bb", "/@scope%2Fname"])
def test_escapes_that_an_upstream_may_undo_are_sent_as_they_were_matched(path: str) -> None:
    assert upstream_path("/", "", normalise_path(path), True) == path


def test_escape_path_leaves_escapes_alone() -> None:
    assert escape_path("/%7euser/{x}") == "/%7euser/%7Bx%7D"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"http://a.com/b?c", (b"a.com", b"/b?c")),
        (b"HTTPS://a.com:8443/", (b"a.com:8443", b"/")),
        (b"http://a.com", (b"a.com", b"/")),
        (b"http://a.com?x=/y", (b"a.com", b"/?x=/y")),
        (b"http://[::1]:80/x", (b"[::1]:80", b"/x")),
        (b"http://a.com/b@c", (b"a.com", b"/b@c")),
        (b"/a", None),
        (b"*", None),
        (b"a.com:443", None),
        (b"ftp://a.com/", None),
        (b"http:/a.com/", None),
    ],
)
def test_split_absolute(raw: bytes, expected: tuple[bytes, bytes] | None) -> None:
    assert split_absolute(raw) == expected


@pytest.mark.parametrize("raw", [b"http:///a", b"http://", b"http://user@a.com/", b"http://u:p@a.com", b"http://?x"])
def test_absolute_targets_with_a_bad_authority_are_refused(raw: bytes) -> None:
    with pytest.raises(ProtocolError) as refused:
        split_absolute(raw)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"a.com", ("a.com", None)),
        (b"A.com", ("A.com", None)),
        (b"a.com:80", ("a.com", 80)),
        (b"a.com:0", ("a.com", 0)),
        (b"a.com:65535", ("a.com", 65535)),
        (b"localhost", ("localhost", None)),
        (b"a_b.c-d", ("a_b.c-d", None)),
        (b"a.com.", ("a.com", None)),
        (b"a.com.:80", ("a.com", 80)),
        (b"127.0.0.1:8000", ("127.0.0.1", 8000)),
        (b"[::1]", ("[::1]", None)),
        (b"[::1]:8000", ("[::1]", 8000)),
        (b"[::ffff:1.2.3.4]", ("[::ffff:1.2.3.4]", None)),
        (b"a" * 255, ("a" * 255, None)),
    ],
)
def test_hosts(value: bytes, expected: tuple[str, int | None]) -> None:
    assert parse_host(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b":80",
        b"a.com:",
        b"a.com:x",
        b"a.com:+80",
        b"a.com:-1",
        b"a.com: 80",
        b"a.com:65536",
        b"a.com:000080",
        b"a.com:80:80",
        b"user@a.com",
        b"user:pass@a.com",
        b"a.com,b.com",
        b"a.com b.com",
        b" a.com",
        b"a.com/",
        b"a.com/x",
        b"a.com?x",
        b"a.com#x",
        b"a.com\\x",
        b"a%2ecom",
        b"a..com",
        b".a.com",
        b"a.com..",
        b".",
        b"\xe9.com",
        b"a\tb",
        b"a\n",
        b"a.com:80\n",
        b"[::1",
        b"::1",
        b"[]",
        b"[:::1]",
        b"[1.2.3.4]",
        b"[::g]",
        b"[::1%25eth0]",
        b"[::1]x",
        b"[::1]:",
        b"[v1.x]",
        b"a" * 256,
        b"*.com",
        b"<a>",
    ],
)
def test_bad_hosts_are_refused(value: bytes) -> None:
    with pytest.raises(ProtocolError) as refused:
        parse_host(value)
    assert refused.value.status == 400


BOTH = (True, False)
JOINS: list[tuple[str, str, tuple[bool, ...], str, str, str]] = [
    # service path, matched prefix, strip_path, request path, v0, v1
    ("/", "/", BOTH, "/x/", "/x/", "/x/"),
    ("/", "/a", (False,), "/a/", "/a/", "/a/"),
    ("/", "/a", (True,), "/a", "/", "/"),
    ("/", "/a", (True,), "/a/", "/", "/"),
    ("/", "/a", (True,), "/abc", "/bc", "/bc"),
    ("/", "/a/", (True,), "/a/b", "/b", "/b"),
    ("/s", "/", BOTH, "/", "/s", "/s"),
    ("/s", "/", BOTH, "/x", "/s/x", "/sx"),
    ("/s", "/", BOTH, "/x/", "/s/x/", "/sx/"),
    ("/s", "/a", (False,), "/a", "/s/a", "/sa"),
    ("/s", "/a", (False,), "/a/b", "/s/a/b", "/sa/b"),
    ("/s", "/a", (True,), "/a", "/s", "/s"),
    ("/s", "/a", (True,), "/a/", "/s/", "/s/"),
    ("/s", "/a", (True,), "/a/b", "/s/b", "/s/b"),
    ("/s", "/a", (True,), "/abc", "/s/bc", "/sbc"),
    ("/s", "/a/", (True,), "/a/", "/s/", "/s"),
    ("/s", "/a/", (True,), "/a/b", "/s/b", "/sb"),
    ("/s/", "/", BOTH, "/", "/s/", "/s/"),
    ("/s/", "/", BOTH, "/x/y", "/s/x/y", "/s/x/y"),
    ("/s/", "/a", (False,), "/a", "/s/a", "/s/a"),
    ("/s/", "/a", (True,), "/a", "/s", "/s/"),
    ("/s/", "/a", (True,), "/a/", "/s/", "/s/"),
    ("/s/", "/a", (True,), "/abc", "/s/bc", "/s/bc"),
    ("/s/", "/a/", (True,), "/a/", "/s/", "/s/"),
    ("/s/", "/a/", (True,), "/a/b", "/s/b", "/s/b"),
    ("/", "", BOTH, "/x/", "/x/", "/x/"),
    ("/s", "", BOTH, "/", "/s", "/s"),
    ("/s", "", BOTH, "/x", "/s/x", "/sx"),
]


@pytest.mark.parametrize(
    ("service", "prefix", "strip", "path", "v0", "v1"),
    [(service, prefix, strip, *rest) for service, prefix, strips, *rest in JOINS for strip in strips],
)
class TestJoins:
    def test_v0(self, service: str, prefix: str, strip: bool, path: str, v0: str, v1: str) -> None:
        assert upstream_path(service, prefix, path, strip) == v0

    def test_v1(self, service: str, prefix: str, strip: bool, path: str, v0: str, v1: str) -> None:
        assert upstream_path(service, prefix, path, strip, "v1") == v1


def test_a_service_without_path_has_the_root() -> None:
    assert upstream_path(None, "/a", "/a/b", True) == "/b"


@pytest.mark.parametrize("path_handling", ["v0", "v1"])
@pytest.mark.parametrize(
    ("path", "rest"),
    [
        ("/a../secret", "secret"),
        ("/a./secret", "secret"),
        ("/a..", ""),
        ("/a.", ""),
        ("/a../.hidden", ".hidden"),
        ("/a..%2Fsecret", "secret"),
        ("/a..%5Csecret", "secret"),
        ("/a..;x=1/secret", "secret"),
        ("/a..%2F..%2Fsecret", None),
        ("/a...b", "...b"),
        ("/a.b", ".b"),
    ],
)
def test_stripping_inside_a_name_never_makes_a_dot_segment(path: str, rest: str | None, path_handling: str) -> None:
    if rest is None:
        with pytest.raises(ProtocolError):
            normalise_path(path)
        return
    expected = f"/s/{rest}" if rest or path_handling == "v1" else "/s"
    assert upstream_path("/s/", "/a", normalise_path(path), True, "v0" if path_handling == "v0" else "v1") == expected


@settings(max_examples=300)
@given(st.text("/.;a%2F", max_size=12), st.integers(1, 6), st.sampled_from(["/", "/s", "/s/"]), st.booleans())
def test_no_request_climbs_out_of_the_service_path(raw: str, cut: int, service: str, strip: bool) -> None:
    try:
        path = normalise_path("/" + raw)
    except ProtocolError:
        return
    joined = upstream_path(service, path[:cut] if "%" not in path[:cut] else "/", path, strip)
    assert joined.startswith(service.rstrip("/") or "/")
    assert normalise_path(joined) == joined
