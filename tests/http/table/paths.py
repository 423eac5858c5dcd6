"""The path that is matched is the path that is sent: normalisation before routing (RFC 3986, section 6.2.2)."""

from tests.http.table import Case, bad, get, good


def path(name: str, rule: str, sent: str, received: str) -> Case:
    """A target and its normal form."""
    return good(f"path-{name}", rule, get(target=sent.encode()), {"target": received})


def refused(name: str, rule: str, sent: str) -> Case:
    """A target without an unambiguous normal form."""
    return bad(f"path-{name}", rule, get(target=sent.encode()), by="target")


CASES: list[Case] = [
    path("unreserved", "3986 6.2.2.2: escapes of unreserved characters are decoded", "/%61%7e%2D%5f%2E%39", "/a~-_.9"),
    path("reserved-upper", "3986 6.2.2.1: other escapes are kept in upper case", "/a%2fb%3a%40", "/a%2Fb%3A%40"),
    path("question-mark", "an escaped question mark starts no query", "/a%3fb?c%3fd", "/a%3Fb?c%3fd"),
    path("number-sign", "an escaped number sign starts no fragment", "/a%23b", "/a%23b"),
    path("space", "escapes of other characters are kept", "/a%20b", "/a%20b"),
    path("utf8", "escapes of other characters are kept", "/%c3%a9", "/%C3%A9"),
    path("invalid-utf8", "bytes are not texts", "/%ff%fe", "/%FF%FE"),
    path("percent", "an escaped percent sign is kept: nothing is decoded twice", "/a%25b", "/a%25b"),
    path("double-encoded-dots", "nothing is decoded twice", "/a/%252e%252e/private", "/a/%252e%252e/private"),
    path("double-encoded-slash", "nothing is decoded twice", "/a%252fb", "/a%252fb"),
    path("merge-slashes", "slashes are merged", "/a//b///c", "/a/b/c"),
    path("only-slashes", "slashes are merged", "///", "/"),
    path("network-path", "a path with two slashes names no host", "//b.test/x", "/b.test/x"),
    path("dot", "3986 5.2.4: dot segments", "/a/./b", "/a/b"),
    path("dot-last", "3986 5.2.4: dot segments", "/a/.", "/a/"),
    path("dots", "3986 5.2.4: dot segments", "/a/b/../c", "/a/c"),
    path("dots-last", "3986 5.2.4: dot segments", "/a/b/..", "/a/"),
    path("dots-above-root", "3986 5.2.4: never above the root", "/../../etc/passwd", "/etc/passwd"),
    path("dots-only", "3986 5.2.4: never above the root", "/..", "/"),
    path("dots-three", "three dots are a name", "/a/.../b", "/a/.../b"),
    path("dots-in-name", "dots inside a segment are a part of its name", "/a../..b/c.d", "/a../..b/c.d"),
    path("dots-encoded", "escaped dots are dots", "/a/%2e%2e/b", "/b"),
    path("dots-encoded-upper", "escaped dots are dots", "/a/%2E./b", "/b"),
    path("dots-encoded-single", "escaped dots are dots", "/a/%2e/b", "/a/b"),
    path("dots-after-slashes", "dots and merged slashes", "/a//../b", "/b"),
    path("dots-slashes-private", "what is matched is what is sent", "/x/..//private", "/zone/private"),
    path("private", "the fixture's own route", "/private", "/zone/private"),
    path("private-escaped", "what is matched is what is sent", "/%70rivate", "/zone/private"),
    path("private-dots", "what is matched is what is sent", "/x/%2e%2e/private/y", "/zone/private/y"),
    path("private-left", "what is matched is what is sent", "/private/../x", "/x"),
    path("private-left-encoded", "what is matched is what is sent", "/private/%2e%2e/x", "/x"),
    path("private-upper-case", "paths have case", "/PRIVATE", "/PRIVATE"),
    path("slash-encoded", "an escaped slash ends no segment", "/x%2fprivate", "/x%2Fprivate"),
    path("slash-encoded-first", "an escaped slash ends no segment", "/%2fprivate", "/%2Fprivate"),
    path("backslash", "a raw backslash is escaped", "/a\\b", "/a%5Cb"),
    path("backslash-encoded", "an escaped backslash is no slash", "/a%5cb", "/a%5Cb"),
    path("parameter", "a parameter is a part of its segment", "/x;a=b/c", "/x;a=b/c"),
    path("parameter-after-name", "dots inside a segment are a part of its name", "/x/a..;b/c", "/x/a..;b/c"),
    path("parameter-private", "a parameter is a part of its segment", "/private;a=b", "/zone/private;a=b"),
    path("sub-delimiters", "sub-delimiters stay as they are", "/!$&'()*+,;=:@", "/!$&'()*+,;=:@"),
    path("query-dots", "a query is not normalised", "/a?b=/../c//d%2e", "/a?b=/../c//d%2e"),
    path("query-empty", "a bare question mark is kept", "/a?", "/a?"),
    path("query-question-marks", "only the first question mark counts", "/a??b?c", "/a??b?c"),
    path("query-order", "arguments keep their order and repetitions", "/?b=1&a=2&b=3&c", "/?b=1&a=2&b=3&c"),
    refused("escape-cut", "3986 2.1: two digits after a percent sign", "/a%2"),
    refused("escape-alone", "3986 2.1: two digits after a percent sign", "/a%"),
    refused("escape-no-hex", "3986 2.1: two digits after a percent sign", "/a%zz"),
    refused("escape-overlong-u", "3986 2.1: two digits after a percent sign", "/a%u002e"),
    refused("nul-encoded", "an escaped NUL ends names in C programs", "/private%00/x"),
    refused("nul-encoded-dots", "dots before an escaped NUL are a dot segment to some", "/x/..%00/private"),
    refused("slash-encoded-dots", "dots before an escaped slash are a dot segment to some", "/x/..%2fprivate"),
    refused("slash-encoded-around", "dots between escaped slashes are a dot segment to some", "/x%2f..%2fprivate"),
    refused("slash-encoded-leaving", "dots between escaped slashes are a dot segment to some", "/private%2f..%2fx"),
    refused("slash-encoded-all", "dots between escaped slashes are a dot segment to some", "/x%2f%2e%2e%2fprivate"),
    refused("slash-encoded-dots-last", "dots behind an escaped slash are a dot segment to some", "/private%2f.."),
    refused("backslash-encoded-dots", "an escaped backslash is a slash to some", "/x/..%5cprivate"),
    refused("backslash-encoded-around", "an escaped backslash is a slash to some", "/x%5c..%5cprivate"),
    refused("backslash-dots", "3986 3.3: a backslash is a slash to some", "/x\\..\\private"),
    refused("parameter-dots", "dots with a parameter are a dot segment to some", "/x/..;/private"),
    refused("parameter-dots-leaving", "dots with a parameter are a dot segment to some", "/private/..;a/x"),
    refused("parameter-dots-last", "dots with a parameter are a dot segment to some", "/private/..;a"),
    refused("parameter-dots-encoded", "dots with a parameter are a dot segment to some", "/x/%2e%2e;a/private"),
]
