"""Every rule of every field, as clients meet it: what is sent where, and what `fields` of the refusal says."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.pem import certificate, private_key, public_key
from tests.unit.admin.world import World

Row = tuple[dict[str, Any], dict[str, Any]]


def entity(text: str) -> dict[str, Any]:
    """An error of the entity as a whole."""
    return {"@entity": [text]}


def cond(field: str, **more: Any) -> dict[str, Any]:
    """What is wrong because of the value of another field."""
    return {**entity(f"failed conditional validation given value of field '{field}'"), **more}


def between(low: int, high: int) -> str:
    return f"value should be between {low} and {high}"


NO = "11111111-1111-4111-8111-111111111111"
REQ = "required field missing"
ASCII = "the only accepted ascii characters are alphanumerics or ., -, _, and ~"
PROTOCOLS = "expected one of: grpc, grpcs, http, https, tcp, tls, tls_passthrough, udp"
COOKIE = (
    "contains one or more invalid characters. ASCII control characters (0-31;127), space, tab and the characters "
    '()<>@,;:\\"/?={}[] are not allowed.'
)
S = {"host": "h"}
SERVICES: list[Row] = [
    ({}, {"host": REQ}),
    ({**S, "host": None}, {"host": REQ}),
    ({**S, "id": "x"}, {"id": "expected a valid UUID"}),
    ({**S, "name": "x y"}, {"name": f"invalid value 'x y': {ASCII}"}),
    ({**S, "name": ""}, {"name": "length must be at least 1"}),
    ({**S, "name": 5}, {"name": "expected a string"}),
    ({**S, "retries": -1}, {"retries": between(0, 32767)}),
    ({**S, "retries": 32768}, {"retries": between(0, 32767)}),
    ({**S, "retries": 1.5}, {"retries": "expected an integer"}),
    ({**S, "retries": "5"}, {"retries": "expected an integer"}),
    ({**S, "protocol": "x"}, {"protocol": PROTOCOLS}),
    ({**S, "protocol": None}, {"protocol": REQ}),
    ({"host": "a b"}, {"host": "invalid value: a b"}),
    ({"host": "a:80"}, {"host": "must not have a port"}),
    ({"host": "a..b"}, {"host": "invalid value: a..b"}),
    ({"host": "a-"}, {"host": "invalid value: a-"}),
    ({**S, "port": 65536}, {"port": between(0, 65535)}),
    ({**S, "port": -1}, {"port": between(0, 65535)}),
    ({**S, "port": None}, {"port": REQ}),
    ({**S, "path": "a"}, {"path": "should start with: /"}),
    ({**S, "path": "/a//b"}, {"path": "must not have empty segments"}),
    (
        {**S, "path": "/a b"},
        {"path": "invalid path: '/a b' (characters outside of the reserved list of RFC 3986 found)"},
    ),
    ({**S, "path": "/%zz"}, {"path": "invalid url-encoded value: '%zz'"}),
    *(
        ({**S, f"{k}_timeout": v}, {f"{k}_timeout": between(1, 2147483646)})
        for k in ("connect", "write", "read")
        for v in (0, 2147483647)
    ),
    ({**S, "protocol": "https", "tls_verify_depth": 65}, {"tls_verify_depth": between(0, 64)}),
    ({**S, "protocol": "https", "tls_verify": "x"}, {"tls_verify": "expected a boolean"}),
    ({**S, "protocol": "https", "ca_certificates": ["x"]}, {"ca_certificates": ["expected a valid UUID"]}),
    ({**S, "tls_verify": True}, cond("protocol", tls_verify="value must be null")),
    ({**S, "tls_verify_depth": 1}, cond("protocol", tls_verify_depth="value must be null")),
    ({**S, "ca_certificates": [NO]}, cond("protocol", ca_certificates="value must be null")),
    ({**S, "client_certificate": {"id": NO}}, cond("protocol", client_certificate="value must be null")),
    *(
        ({**S, "protocol": p, "path": "/x"}, cond("protocol", path="value must be null"))
        for p in ("tcp", "tls", "udp", "grpc", "grpcs")
    ),
    ({**S, "enabled": None}, {"enabled": REQ}),
    ({**S, "enabled": "true"}, {"enabled": "expected a boolean"}),
    ({**S, "tags": "a"}, {"tags": "expected a set"}),
    (
        {**S, "tags": ["a,b"]},
        {"tags": ["invalid tag 'a,b': expected printable ascii (except `,` and `/`) or valid utf-8 sequences"]},
    ),
    (
        {**S, "tags": ["a", "b/c"]},
        {"tags": [None, "invalid tag 'b/c': expected printable ascii (except `,` and `/`) or valid utf-8 sequences"]},
    ),
    ({**S, "created_at": -1}, {"created_at": "expected a valid timestamp"}),
    ({**S, "created_at": 1.5}, {"created_at": "expected an integer"}),
    ({"url": "ftp://h"}, {"protocol": PROTOCOLS}),
    ({"url": "http:///p"}, {"host": REQ}),
    ({"url": 5}, {"host": REQ, "url": "expected a string"}),
    ({**S, "foo": 1}, {"foo": "unknown field"}),
]
R = {"paths": ["/a"]}
HTTPS = "must set one of 'methods', 'hosts', 'headers', 'paths', 'snis' when 'protocols' is 'https'"
HTTP = "must set one of 'methods', 'hosts', 'headers', 'paths' when 'protocols' is 'http'"
STREAM = "cannot set '{}' when 'protocols' is 'tcp', 'tls', 'tls_passthrough' or 'udp'"
ROUTES: list[Row] = [
    ({}, entity(HTTPS)),
    ({"protocols": ["http"]}, entity(HTTP)),
    ({"protocols": ["grpc"]}, entity("must set one of 'hosts', 'headers', 'paths' when 'protocols' is 'grpc'")),
    (
        {"protocols": ["grpcs"]},
        entity("must set one of 'hosts', 'headers', 'paths', 'snis' when 'protocols' is 'grpcs'"),
    ),
    (
        {"protocols": ["tcp"]},
        entity("must set one of 'sources', 'destinations', 'snis' when 'protocols' is 'tcp', 'tls' or 'udp'"),
    ),
    ({"protocols": ["tls_passthrough"]}, entity("must set snis when 'protocols' is 'tls_passthrough'")),
    ({**R, "sources": [{"ip": "1.1.1.1"}]}, {"sources": "cannot set 'sources' when 'protocols' is 'http' or 'https'"}),
    (
        {**R, "destinations": [{"port": 1}]},
        {"destinations": "cannot set 'destinations' when 'protocols' is 'http' or 'https'"},
    ),
    *(
        (
            {**R, "protocols": ["grpc"], "strip_path": False, k: v},
            {k: f"cannot set '{k}' when 'protocols' is 'grpc' or 'grpcs'"},
        )
        for k, v in (("methods", ["GET"]), ("sources", [{"port": 1}]), ("destinations", [{"port": 1}]))
    ),
    *(
        ({"protocols": ["tcp"], "sources": [{"port": 1}], k: v}, {k: STREAM.format(k)})
        for k, v in (("methods", ["GET"]), ("hosts", ["a"]), ("paths", ["/a"]), ("headers", {"a": ["b"]}))
    ),
    (
        {**R, "protocols": ["grpc"], "strip_path": True},
        {"strip_path": "cannot set 'strip_path' when 'protocols' is 'grpc' or 'grpcs'"},
    ),
    ({**R, "protocols": []}, {"protocols": "length must be at least 1"}),
    ({**R, "protocols": None}, {"protocols": REQ}),
    ({**R, "protocols": ["x"]}, {"protocols": "unknown type: x"}),
    (
        {**R, "protocols": ["http", "tcp"]},
        {"protocols": "these sets are mutually exclusive: ('http', 'https'), ('tcp', 'tls', 'udp')"},
    ),
    (
        {**R, "protocols": ["http", "grpc"]},
        {"protocols": "these sets are mutually exclusive: ('http', 'https'), ('grpc', 'grpcs')"},
    ),
    (
        {**R, "https_redirect_status_code": 300},
        {"https_redirect_status_code": "expected one of: 426, 301, 302, 307, 308"},
    ),
    ({**R, "strip_path": None}, {"strip_path": REQ}),
    ({**R, "preserve_host": None}, {"preserve_host": REQ}),
    ({**R, "request_buffering": None}, {"request_buffering": REQ}),
    ({**R, "response_buffering": "x"}, {"response_buffering": "expected a boolean"}),
    (
        {**R, "protocols": ["http"], "snis": ["a.test"]},
        {
            "@entity": ["'snis' can only be set when 'protocols' is 'grpcs', 'https', 'tls' or 'tls_passthrough'"],
            "snis": "length must be 0",
        },
    ),
    ({**R, "snis": ["1.1.1.1"]}, {"snis": ["must not be an IP"]}),
    ({**R, "snis": ["a:1"]}, {"snis": ["must not have a port"]}),
    ({**R, "snis": ["*.a.*"]}, {"snis": ["only one wildcard must be specified"]}),
    ({**R, "snis": ["a.*.b"]}, {"snis": ["wildcard must be leftmost or rightmost character"]}),
    (
        {"protocols": ["tcp"], "sources": [{}]},
        {"sources": [entity("at least one of these fields must be non-empty: 'ip', 'port'")]},
    ),
    ({"protocols": ["tcp"], "sources": [{"ip": "x"}]}, {"sources": [{"ip": "invalid ip or cidr range: 'x'"}]}),
    ({"protocols": ["tcp"], "destinations": [{"port": 65536}]}, {"destinations": [{"port": between(0, 65535)}]}),
    ({"methods": ["get"]}, {"methods": ["invalid value: get"]}),
    ({"hosts": ["a.*.b"]}, {"hosts": ["invalid wildcard: must be placed at leftmost or rightmost label"]}),
    ({"hosts": ["*.a.*"]}, {"hosts": ["invalid wildcard: must have at most one wildcard"]}),
    ({"hosts": ["a b"]}, {"hosts": ["invalid hostname: a b"]}),
    ({"hosts": ["a:99999"]}, {"hosts": ["invalid port number"]}),
    ({"paths": ["a"]}, {"paths": ["should start with: / (fixed path) or ~/ (regex path)"]}),
    ({"paths": ["/a//b"]}, {"paths": ["must not have empty segments"]}),
    ({"paths": ["/a/../b"]}, {"paths": ["non-normalized path, consider use '/b' instead"]}),
    ({"paths": ["/%zz"]}, {"paths": ["invalid url-encoded value: '%zz'"]}),
    (
        {"headers": {"HoSt": ["a"]}},
        {"headers": "cannot contain 'host' header, which must be specified in the 'hosts' attribute"},
    ),
    (
        {"headers": {"a b": ["a"]}},
        {"headers": "bad header name 'a b', allowed characters are A-Z, a-z, 0-9, '_', and '-'"},
    ),
    ({"headers": {"a": "b"}}, {"headers": "expected an array"}),
    ({**R, "regex_priority": "x"}, {"regex_priority": "expected an integer"}),
    ({**R, "path_handling": "v2"}, {"path_handling": "expected one of: v0, v1"}),
    ({**R, "expression": "true"}, {"expression": "unknown field"}),
    ({**R, "service": "x"}, {"service": "expected a record"}),
]
CONSUMERS: list[Row] = [
    ({}, entity("at least one of these fields must be non-empty: 'custom_id', 'username'")),
    ({"username": ""}, {"username": "length must be at least 1"}),
    ({"username": 5}, {"username": "expected a string"}),
    ({"username": "u", "custom_id": ""}, {"custom_id": "length must be at least 1"}),
]
U = {"name": "u"}
HASH = {
    "header": "hash_on_header",
    "cookie": "hash_on_cookie",
    "query_arg": "hash_on_query_arg",
    "uri_capture": "hash_on_uri_capture",
}
FALL = {
    "header": "hash_fallback_header",
    "cookie": "hash_on_cookie",
    "query_arg": "hash_fallback_query_arg",
    "uri_capture": "hash_fallback_uri_capture",
}
KINDS = "none, consumer, ip, header, cookie, path, query_arg, uri_capture".split(", ")


def hc(**f):
    return {**U, "healthchecks": f}


UPSTREAMS: list[Row] = [
    ({}, {"name": REQ}),
    ({"name": "x y"}, {"name": "Invalid name ('x y'); must be a valid hostname"}),
    ({"name": "1.1.1.1"}, {"name": "Invalid name ('1.1.1.1'); no ip addresses allowed"}),
    ({"name": "a:1"}, {"name": "Invalid name ('a:1'); no port allowed"}),
    (
        {**U, "algorithm": "x"},
        {"algorithm": "expected one of: consistent-hashing, least-connections, round-robin, latency"},
    ),
    (
        {**U, "hash_on": "x"},
        {"hash_on": "expected one of: none, consumer, ip, header, cookie, path, query_arg, uri_capture"},
    ),
    *(({**U, "hash_on": k}, cond("hash_on", **{f: REQ})) for k, f in HASH.items()),
    *(({**U, "hash_on": "consumer", "hash_fallback": k}, cond("hash_fallback", **{f: REQ})) for k, f in FALL.items()),
    (
        {**U, "hash_on": "cookie", "hash_on_cookie": "c", "hash_fallback": "ip"},
        cond("hash_on", hash_fallback="expected one of: none"),
    ),
    *(
        (
            {**U, "hash_on": k, "hash_fallback": k},
            cond("hash_on", hash_fallback="expected one of: " + ", ".join(x for x in KINDS if x != k)),
        )
        for k in ("consumer", "ip", "path")
    ),
    (
        {**U, "hash_on": "header", "hash_on_header": "a", "hash_fallback": "header", "hash_fallback_header": "a"},
        entity("values of these fields must be distinct: 'hash_on_header', 'hash_fallback_header'"),
    ),
    (
        {**U, "hash_on_header": "a b"},
        {"hash_on_header": "bad header name 'a b', allowed characters are A-Z, a-z, 0-9, '_', and '-'"},
    ),
    ({**U, "hash_on_cookie": "a b"}, {"hash_on_cookie": COOKIE}),
    ({**U, "hash_on_cookie_path": "x"}, {"hash_on_cookie_path": "should start with: /"}),
    ({**U, "slots": 9}, {"slots": between(10, 65536)}),
    ({**U, "slots": 65537}, {"slots": between(10, 65536)}),
    ({**U, "host_header": "a b"}, {"host_header": "invalid hostname: a b"}),
    ({**U, "use_srv_name": "x"}, {"use_srv_name": "expected a boolean"}),
    (hc(threshold=101), {"healthchecks": {"threshold": between(0, 100)}}),
    (
        hc(active={"type": "x"}),
        {"healthchecks": {"active": {"type": "expected one of: tcp, http, https, grpc, grpcs"}}},
    ),
    (hc(active={"timeout": -1}), {"healthchecks": {"active": {"timeout": between(0, 65535)}}}),
    (hc(active={"concurrency": 0}), {"healthchecks": {"active": {"concurrency": between(1, 2147483648)}}}),
    (hc(active={"http_path": "x"}), {"healthchecks": {"active": {"http_path": "should start with: /"}}}),
    (hc(active={"https_sni": "1.1.1.1"}), {"healthchecks": {"active": {"https_sni": "must not be an IP"}}}),
    (hc(active={"https_verify_certificate": None}), {"healthchecks": {"active": {"https_verify_certificate": REQ}}}),
    (hc(active={"headers": {"a": "b"}}), {"healthchecks": {"active": {"headers": "expected an array"}}}),
    (
        hc(active={"healthy": {"interval": 65536}}),
        {"healthchecks": {"active": {"healthy": {"interval": between(0, 65535)}}}},
    ),
    (
        hc(active={"healthy": {"http_statuses": [99]}}),
        {"healthchecks": {"active": {"healthy": {"http_statuses": [between(100, 999)]}}}},
    ),
    (
        hc(active={"healthy": {"successes": 256}}),
        {"healthchecks": {"active": {"healthy": {"successes": between(0, 255)}}}},
    ),
    *(
        (hc(active={"unhealthy": {k: 256}}), {"healthchecks": {"active": {"unhealthy": {k: between(0, 255)}}}})
        for k in ("tcp_failures", "timeouts", "http_failures")
    ),
    *(
        (hc(passive={"unhealthy": {k: 256}}), {"healthchecks": {"passive": {"unhealthy": {k: between(0, 255)}}}})
        for k in ("tcp_failures", "timeouts", "http_failures")
    ),
    (
        hc(passive={"healthy": {"successes": -1}}),
        {"healthchecks": {"passive": {"healthy": {"successes": between(0, 255)}}}},
    ),
    (hc(passive={"foo": 1}), {"healthchecks": {"passive": {"foo": "unknown field"}}}),
]
SAME_TYPE = (
    "certificate and alternative certificate need to have different type (e.g. RSA and ECDSA), "
    "the provided certificates were both of the same type"
)
MISMATCH = "both deprecated and new field are used but their values mismatch: redis_host = a vs redis.host = b"
ALGORITHMS = (
    "expected one of: HS256, HS384, HS512, RS256, RS384, RS512, ES256, ES384, ES512, PS256, PS384, PS512, EdDSA"
)
TARGET = "Invalid target; not a valid hostname or ip address"
NO_CERT = "invalid certificate: Unable to load PEM file"
ONE_FORM = "at least one of these fields must be non-empty: 'jwk', 'pem'"
ONE_SCOPE = "exactly one of these fields must be non-empty: 'service', 'route'"
C, K = certificate("ec", 5), private_key("ec", 5)
C2, K2 = certificate("ec", 6), private_key("ec", 6)
CR, KR = certificate("rsa"), private_key("rsa")
NO_CONSUMER: Mapping[str, Mapping[str, Any]] = {
    "acl": {"allow": ["g"]}, "basic-auth": {}, "bot-detection": {}, "cors": {}, "hmac-auth": {}, "jwt": {},
    "key-auth": {}, "ldap-auth": {"ldap_host": "h", "base_dn": "d", "attribute": "a"},
    "oauth2": {"enable_implicit_grant": True}, "session": {}, "standard-webhooks": {"secret_v1": "c2VjcmV0"},
}  # fmt: skip
"""Plugins that cannot be for a consumer, and what they need."""
RULES: Mapping[str, list[Row]] = {
    "/services": SERVICES,
    "/routes": ROUTES,
    "/consumers": CONSUMERS,
    "/upstreams": UPSTREAMS,
    "/upstreams/up/targets": [
        ({}, {"target": REQ}),
        ({"target": "a b"}, {"target": TARGET}),
        ({"target": "a:99999"}, {"target": TARGET}),
        ({"target": "h", "weight": 65536}, {"weight": between(0, 65535)}),
        ({"target": "h", "weight": -1}, {"weight": between(0, 65535)}),
        ({"target": "h", "weight": "1"}, {"weight": "expected an integer"}),
    ],
    "/certificates": [
        ({}, {"cert": REQ, "key": REQ}),
        ({"cert": "x", "key": K}, {"cert": NO_CERT}),
        ({"cert": C, "key": "x"}, {"key": "invalid key: Unable to load PEM file"}),
        ({"cert": C, "key": K2}, entity("certificate does not match key")),
        (
            {"cert": C, "key": K, "cert_alt": CR},
            entity("all or none of these fields must be set: 'cert_alt', 'key_alt'"),
        ),
        ({"cert": C, "key": K, "cert_alt": CR, "key_alt": K2}, entity("alternative certificate does not match key")),
        (
            {"cert": C, "key": K, "cert_alt": C2, "key_alt": K2},
            entity(SAME_TYPE),
        ),
        ({"cert": C, "key": K, "snis": ["n", "n"]}, {"snis": "n is duplicated"}),
        ({"cert": C, "key": K, "snis": ["1.1.1.1"]}, {"snis": ["must not be an IP"]}),
    ],
    "/snis": [
        ({}, {"name": REQ, "certificate": REQ}),
        ({"name": "1.1.1.1", "certificate": {"id": NO}}, {"name": "must not be an IP"}),
        ({"name": "a:1", "certificate": {"id": NO}}, {"name": "must not have a port"}),
        ({"name": "a b", "certificate": {"id": NO}}, {"name": "invalid value: a b"}),
        ({"name": "a.*.b", "certificate": {"id": NO}}, {"name": "wildcard must be leftmost or rightmost character"}),
        ({"name": "*.a.*", "certificate": {"id": NO}}, {"name": "only one wildcard must be specified"}),
    ],
    "/ca_certificates": [
        ({}, {"cert": REQ}),
        ({"cert": "x"}, {"cert": NO_CERT}),
        (
            {"cert": certificate("ec", 7, ca=True) + certificate("ec", 8, ca=True)},
            entity("please submit only one certificate at a time"),
        ),
        (
            {"cert": certificate("ec", 7, ca=False)},
            entity('certificate does not appear to be a CA because it is missing the "CA" basic constraint'),
        ),
        (
            {"cert": certificate("ec", 7, ca=True, days=-1)},
            entity('certificate expired, "Not After" time is in the past'),
        ),
    ],
    "/keys": [
        ({}, {"kid": REQ, **entity(ONE_FORM)}),
        ({"kid": "x"}, entity(ONE_FORM)),
        ({"kid": "x", "jwk": "{"}, entity("could not json decode jwk string")),
        ({"kid": "x", "jwk": '{"kid":"y","kty":"oct","k":"YQ"}'}, entity("kid in jwk.kid must be equal to keys.kid")),
        ({"kid": "x", "jwk": '{"kid":"x","kty":"nope"}'}, entity("could not load JWK, likely not a valid key")),
        (
            {"kid": "x", "pem": {}},
            {"pem": entity("at least one of these fields must be non-empty: 'private_key', 'public_key'")},
        ),
        ({"kid": "x", "pem": {"public_key": "x"}}, {"pem": entity("could not load public key")}),
        ({"kid": "x", "pem": {"private_key": "x"}}, {"pem": entity("could not load private key")}),
        (
            {"kid": "x", "pem": {"private_key": K, "public_key": public_key("ec", 6)}},
            {"pem": entity("public key does not match private key")},
        ),
        (
            {"kid": "k1", "jwk": '{"kid":"k1"}', "pem": {"public_key": public_key()}},
            {
                "@entity": [
                    "only one or none of these fields must be set: 'jwk', 'pem'",
                    "could not load JWK, likely not a valid key",
                ]
            },
        ),
    ],
    "/vaults": [
        ({}, {"name": REQ}),
        ({"name": "nope", "prefix": "p"}, {"name": "vault 'nope' is not installed"}),
        ({"name": "env", "prefix": "env"}, {"prefix": "must not be one of: env"}),
        ({"name": "env", "prefix": "A"}, {"prefix": "invalid value: A"}),
        ({"name": "env", "prefix": "a"}, {"prefix": "invalid value: a"}),
        ({"name": "env", "prefix": "ab", "config": {"prefix": "1 x"}}, {"config": {"prefix": "invalid value: 1 x"}}),
        ({"name": "env", "prefix": "ab", "config": {"ttl": 1}}, {"config": {"ttl": "unknown field"}}),
    ],
    "/plugins": [
        ({}, {"name": REQ}),
        ({"name": "nope"}, {"name": "plugin 'nope' not enabled; add it to the 'plugins' configuration property"}),
        ({"name": "key-auth", "instance_name": "a b"}, {"instance_name": f"invalid value 'a b': {ASCII}"}),
        ({"name": "key-auth", "config": 5}, {"config": "expected a record"}),
        ({"name": "key-auth", "config": {"x": 1}}, {"config": {"x": "unknown field"}}),
        ({"name": "key-auth", "config": {"key_names": 5}}, {"config": {"key_names": "expected an array"}}),
        ({"name": "key-auth", "protocols": ["tcp"]}, {"protocols": ["expected one of: grpc, grpcs, http, https"]}),
        ({"name": "key-auth", "enabled": None}, {"enabled": REQ}),
        *(
            ({"name": name, "config": config, "consumer": {"id": NO}}, {"consumer": "value must be null"})
            for name, config in NO_CONSUMER.items()
        ),
        (
            {"name": "rate-limiting", "config": {"minute": 1, "redis_host": "a", "redis": {"host": "b"}}},
            {"config": {"redis_host": MISMATCH}},
        ),
    ],
    "/consumers/u/key-auth": [
        ({"key": 5}, {"key": "expected a string"}),
        ({"key": ""}, {"key": "length must be at least 1"}),
        ({"ttl": -1}, {"ttl": between(0, 100000000)}),
        ({"ttl": 100000001}, {"ttl": between(0, 100000000)}),
    ],
    "/consumers/u/basic-auth": [
        ({}, {"username": REQ, "password": REQ}),
        ({"username": 5, "password": "x"}, {"username": "expected a string"}),
    ],
    "/consumers/u/hmac-auth": [({}, {"username": REQ})],
    "/consumers/u/jwt": [
        (
            {"algorithm": "x"},
            {"algorithm": ALGORITHMS},
        ),
        ({"algorithm": "RS256"}, cond("algorithm", rsa_public_key=REQ)),
        ({"algorithm": "RS256", "rsa_public_key": "x"}, cond("algorithm", rsa_public_key="invalid key")),
    ],
    "/consumers/u/acls": [({}, {"group": REQ})],
    "/consumers/u/oauth2": [
        ({}, {"name": REQ}),
        ({"name": "n", "redirect_uris": ["x"]}, {"redirect_uris": ["cannot parse 'x'"]}),
        ({"name": "n", "redirect_uris": ["http://a/#f"]}, {"redirect_uris": ["fragment not allowed in 'http://a/#f'"]}),
        ({"name": "n", "client_type": "x"}, {"client_type": "expected one of: confidential, public"}),
    ],
    "/oauth2/cid/oauth2_tokens": [
        ({}, {"expires_in": REQ}),
        ({"expires_in": 1, "token_type": "x"}, {"token_type": "expected one of: bearer"}),
    ],
    "/sessions": [({}, {"session_id": REQ})],
    "/acls": [({"group": "g"}, {"consumer": REQ})],
    "/key-sets": [({"name": ""}, {"name": "length must be at least 1"})],
    "/schemas/filter_chains/validate": [
        ({"filters": [{"name": "x"}]}, {"filters": [{"name": "no such filter"}], **entity(ONE_SCOPE)}),
        ({"filters": [], "service": {"id": NO}}, {"filters": "length must be at least 1"}),
        (
            {"service": {"id": NO}, "route": {"id": NO}, "filters": [{"name": "x"}]},
            {"filters": [{"name": "no such filter"}], **entity(ONE_SCOPE)},
        ),
    ],
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(str(tmp_path_factory.mktemp("rules")))
    yield made
    made.store.close()


@pytest.mark.parametrize("path", RULES)
def test_what_is_refused_says_why(world: World, path: str) -> None:
    for body, fields in RULES[path]:
        status, answer = world.send("POST", path, json.dumps(body).encode(), "application/json")
        assert (status, answer["code"], answer["name"]) == (400, 2, "schema violation"), (body, answer)
        assert answer["fields"] == fields, body


def test_broken_patterns(world: World) -> None:
    status, answer = world.api.post("/routes", {"paths": ["/a", "~/(a"]})
    assert status == 400 and answer["fields"]["paths"][0] is None
    assert answer["fields"]["paths"][1].startswith("invalid regex: '/(a' (PCRE returned: ")
