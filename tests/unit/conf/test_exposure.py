"""Warnings about an Admin API that strangers could reach."""

import pytest

from kong_gevent.conf import certificates, load, prefix


def warnings(**given):
    return [text for text in load(overrides=given, environ={}).warnings if text.startswith("SECURITY")]


@pytest.mark.parametrize("listen", ["off", "127.0.0.1:8001", "[::1]:8001", "localhost:8001"])
def test_this_machine_is_no_stranger(listen):
    assert warnings(admin_listen=listen) == []


@pytest.mark.parametrize("address", ["0.0.0.0:8001", "*:8001", "10.0.0.1:8001", "gateway.test:8001", "[::]:8001"])
def test_public_addresses(address):
    [text] = warnings(admin_listen=f"127.0.0.1:9000, {address}")
    assert "without encryption (the flag 'ssl') and without authentication (admin_auth = token)" in text
    [text] = warnings(admin_listen=f"{address} ssl")
    assert "without authentication" in text and "encryption" not in text
    [text] = warnings(admin_listen=address, admin_auth="token")
    assert "without encryption" in text and "authentication" not in text
    assert warnings(admin_listen=f"{address} ssl", admin_auth="token") == []


def test_required_client_certificates_count_as_authentication(tmp_path):
    prefix.prepare(load(overrides={"prefix": str(tmp_path), "admin_listen": "0.0.0.0:1 ssl"}, environ={}))
    [(authority, _), _] = certificates.default_pairs(str(tmp_path), "admin")
    assert warnings(admin_listen="0.0.0.0:1 ssl", admin_ssl_client_ca=authority) == []
    assert warnings(admin_listen="0.0.0.0:1 ssl", admin_ssl_client_ca=authority, admin_ssl_client_verify="optional")


def test_short_tokens():
    [text] = warnings(admin_token="hunter2")
    assert "only 7 characters" in text and "hunter2" not in text
