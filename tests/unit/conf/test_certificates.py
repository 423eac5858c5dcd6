"""Certificates and protocols of TLS listeners: what is accepted, what is refused with which message."""

import base64
import ssl
import subprocess
from pathlib import Path

import pytest

from kong_gevent.conf import certificates, dh, load, prefix
from kong_gevent.errors import ConfigurationError

TLS = {"proxy_listen": "127.0.0.1:8443 ssl", "admin_listen": "off", "status_listen": "off"}
CLEAR = {"proxy_listen": "127.0.0.1:8000", "admin_listen": "127.0.0.1:8001"}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Two generated pairs, RSA and ECDSA."""
    folder = str(tmp_path_factory.mktemp("prefix"))
    prefix.prepare(load(overrides={**TLS, "prefix": folder}, environ={}))
    return certificates.default_pairs(folder, "proxy")


def settings(**given):
    return load(overrides={**TLS, **given}, environ={})


def refused(**given):
    with pytest.raises(ConfigurationError) as error:
        settings(**given)
    return error.value.messages


def test_nothing_is_made_for_roles_without_tls(tmp_path):
    prefix.prepare(load(overrides={**CLEAR, "prefix": str(tmp_path)}, environ={}))
    assert list((tmp_path / "ssl").iterdir()) == []


def test_made_pairs_stay(tmp_path):
    made = load(overrides={**TLS, "prefix": str(tmp_path)}, environ={})
    prefix.prepare(made)
    before = {path.name: path.read_bytes() for path in (tmp_path / "ssl").iterdir()}
    assert sorted(before) == [f"kong-default{kind}" for kind in ("-ecdsa.crt", "-ecdsa.key", ".crt", ".key")]
    prefix.prepare(made)
    assert {path.name: path.read_bytes() for path in (tmp_path / "ssl").iterdir()} == before


def test_paths_texts_and_base64_are_taken(pairs):
    (certificate, key), _ = pairs
    with open(certificate, "rb") as text:
        pem = text.read()
    encoded = base64.b64encode(pem).decode()
    for given in (certificate, pem.decode(), encoded):
        assert certificates.pem_of(given) == pem
        assert certificates.pairs(settings(ssl_cert=given, ssl_cert_key=key), "proxy") == [(given.strip(), key)]


def test_what_is_wrong_with_pairs(pairs, tmp_path):
    (certificate, key), (_, other_key) = pairs
    assert refused(ssl_cert=certificate) == ["ssl_cert_key must be specified"]
    assert refused(ssl_cert_key=key) == ["ssl_cert must be specified"]
    assert refused(ssl_cert=f"{certificate},{certificate}", ssl_cert_key=key) == [
        "ssl_cert was specified 2 times while ssl_cert_key was specified 1 times"
    ]
    assert refused(ssl_cert="/none", ssl_cert_key=key) == ["ssl_cert: failed loading certificate from /none"]
    assert refused(ssl_cert=certificate, ssl_cert_key="/none") == ["ssl_cert_key: failed loading key from /none"]
    assert refused(ssl_cert=key, ssl_cert_key=key) == [f"ssl_cert: failed loading certificate from {key}"]
    assert refused(ssl_cert=certificate, ssl_cert_key=certificate) == [
        f"ssl_cert_key: failed loading key from {certificate}"
    ]
    assert refused(ssl_cert=certificate, ssl_cert_key=other_key)[0].startswith("ssl_cert_key: ")


def test_the_pair_for_upstreams(pairs):
    def refusals(**values):
        try:
            return [] if load(overrides=values, environ={}) else None
        except ConfigurationError as error:
            return error.messages

    (certificate, key), (_, other_key) = pairs
    assert refusals(client_ssl="on", client_ssl_cert=certificate, client_ssl_cert_key=key) == []
    assert refusals(client_ssl="off", client_ssl_cert="/none") == []
    assert refusals(client_ssl="on", client_ssl_cert=certificate) == ["client_ssl_cert_key must be specified"]
    assert refusals(client_ssl="on") == ["client_ssl_cert must be specified", "client_ssl_cert_key must be specified"]
    assert refusals(client_ssl="on", client_ssl_cert="/none", client_ssl_cert_key=key) == [
        "client_ssl_cert: failed loading certificate from /none"
    ]
    told = refusals(client_ssl="on", client_ssl_cert=certificate, client_ssl_cert_key=other_key)
    assert told[0].startswith("client_ssl_cert_key: ")


def test_pairs_only_matter_where_tls_is_spoken():
    given = {**CLEAR, "ssl_cert": "/none", "admin_ssl_cert_key": "/none"}
    assert load(overrides=given, environ={}).ssl_cert == ["/none"]


def test_client_authorities(pairs):
    assert refused(admin_listen="127.0.0.1:8444 ssl", admin_ssl_client_ca="/none") == [
        "admin_ssl_client_ca: failed loading certificates from /none"
    ]
    assert settings(admin_listen="127.0.0.1:8444 ssl", admin_ssl_client_ca=pairs[0][0]).admin_ssl_client_verify == "on"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ssl_cipher_suite": "x"}, "Undefined cipher suite x"),
        ({"ssl_protocols": "TLSv1.2 SSLv3"}, "ssl_protocols has an invalid value: 'TLSv1.2 SSLv3'"),
        ({"ssl_protocols": "TLSv1.1 TLSv1.3"}, "ssl_protocols has an invalid value"),
        ({"ssl_cipher_suite": "custom", "ssl_ciphers": "none"}, "ssl_ciphers: no cipher can be selected from 'none'"),
        ({"ssl_dhparam": "ffdhe1024"}, "ssl_dhparam: failed loading parameters from ffdhe1024"),
        ({"ssl_dhparam": str(Path(__file__).parents[3] / "tests" / "data")}, "ssl_dhparam: failed loading parameters"),
        (
            {"ssl_dhparam": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"},
            "ssl_dhparam: what it names are no Diffie-Hellman parameters",
        ),
    ],
)
def test_protocols_and_ciphers_that_are_none(given, message):
    assert refused(**given)[0].startswith(message)


def test_protocols_and_ciphers():
    context = certificates.server_context(settings())
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert not context.options & ssl.OP_CIPHER_SERVER_PREFERENCE
    assert context.options & ssl.OP_NO_RENEGOTIATION
    modern = certificates.server_context(settings(ssl_cipher_suite="modern", ssl_session_tickets="off"))
    assert modern.minimum_version == ssl.TLSVersion.TLSv1_3
    assert modern.num_tickets == 0
    custom = certificates.server_context(
        settings(ssl_cipher_suite="custom", ssl_ciphers="ECDHE-RSA-AES128-GCM-SHA256", ssl_protocols="TLSv1.2")
    )
    assert {cipher["name"] for cipher in custom.get_ciphers() if cipher["protocol"] == "TLSv1.2"} == {
        "ECDHE-RSA-AES128-GCM-SHA256"
    }
    assert custom.maximum_version == ssl.TLSVersion.TLSv1_2
    assert custom.options & ssl.OP_CIPHER_SERVER_PREFERENCE


@pytest.mark.parametrize("name", dh.GROUPS)
def test_the_groups_are_those_of_rfc_7919(name):
    shown = subprocess.run(
        ["openssl", "dhparam", "-noout", "-text"], input=dh.group(name), capture_output=True, timeout=60
    )
    assert f"GROUP: {name}" in shown.stdout.decode()


def test_which_parameters_dhe_has(tmp_path):
    file = tmp_path / "dh.pem"
    file.write_bytes(dh.group("ffdhe3072"))
    assert certificates.dh_parameters(settings()) == dh.group("ffdhe2048")
    assert certificates.dh_parameters(settings(ssl_cipher_suite="custom")) is None
    assert certificates.dh_parameters(settings(ssl_cipher_suite="custom", ssl_dhparam="ffdhe4096")) == dh.group(
        "ffdhe4096"
    )
    assert certificates.dh_parameters(settings(ssl_dhparam=str(file))) == dh.group("ffdhe3072")
