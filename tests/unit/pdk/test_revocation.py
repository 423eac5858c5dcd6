"""Which revocation lists tell something about a certificate (RFC 5280, section 6.3.3)."""

from typing import Any

import pytest
from cryptography import x509

from kong_gevent.pdk.revocation import _is_listed
from tests.pki import Authority

URL = "http://a.test/list"
ROOT = Authority("Root")
MIDDLE = Authority("Middle", ROOT)
CLIENT = ROOT.issue("ada")
HERE, ELSEWHERE = ([x509.UniformResourceIdentifier(url)] for url in (URL, "http://b.test/list"))


def scope(**values: Any) -> x509.IssuingDistributionPoint:
    usual: dict[str, Any] = {
        "full_name": None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return x509.IssuingDistributionPoint(**{**usual, **values})


SCOPES = {
    "here": (scope(full_name=HERE), "both"),
    "elsewhere": (scope(full_name=ELSEWHERE), "none"),
    "users": (scope(only_contains_user_certs=True), "client"),
    "authorities": (scope(only_contains_ca_certs=True), "authority"),
    "attributes": (scope(only_contains_attribute_certs=True), "none"),
    "some reasons": (scope(only_some_reasons=frozenset([x509.ReasonFlags.key_compromise])), "none"),
    "indirect": (scope(indirect_crl=True), "none"),
    "delta": (x509.DeltaCRLIndicator(1), "none"),
    "unknown": (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"x"), "none"),
}


@pytest.mark.parametrize("case", SCOPES)
def test_scopes(case: str) -> None:
    extension, covered = SCOPES[case]
    client = x509.load_pem_x509_certificate(CLIENT.cert.encode())
    found = x509.load_der_x509_crl(ROOT.revoke(CLIENT, extensions=[extension]))
    assert (_is_listed(found, URL, client, ROOT.certificate) is True) == (covered in ("both", "client"))
    answered = _is_listed(found, URL, MIDDLE.certificate, ROOT.certificate)
    assert (answered is False) == (covered in ("both", "authority"))


def test_an_authority_that_may_not_sign_lists() -> None:
    usage = x509.KeyUsage(True, False, False, False, False, True, False, False, False)
    authority = Authority("Careful", extensions=[usage])
    made = authority.issue("ada")
    client = x509.load_pem_x509_certificate(made.cert.encode())
    found = x509.load_der_x509_crl(authority.revoke())
    assert _is_listed(found, URL, client, authority.certificate) == "is not signed by the authority"
