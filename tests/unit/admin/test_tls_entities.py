"""Certificates with their server names, and authorities."""

import hashlib
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from tests.pem import altered, certificate, private_key

NOWHERE = "11111111-1111-4111-8111-111111111111"
NO_SNI = (404, {"message": "SNI not found"})
NOT_FOUND = (404, {"message": "Not found"})


def pair(number=0, kind="ec"):
    return {"cert": certificate(kind, number), "key": private_key(kind, number)}


def names_of(api, path):
    return [sni["name"] for sni in api.all(f"{path}/snis")]


# -- certificates


def test_a_certificate_shows_what_was_sent(api):
    row = api.make("/certificates", **pair(), snis=["b.test", "*.a.test"], tags=["t"])
    assert {name: value for name, value in row.items() if name not in ("id", "created_at", "updated_at")} == {
        **pair(),
        "cert_alt": None,
        "key_alt": None,
        "tags": ["t"],
        "snis": ["*.a.test", "b.test"],
    }
    assert api.get(f"/certificates/{row['id']}") == (200, row)
    assert api.get("/certificates")[1]["data"] == [row]
    assert sorted(names_of(api, f"/certificates/{row['id']}")) == row["snis"]
    assert api.make("/certificates", **pair(1))["snis"] == []


def test_any_name_stands_for_the_certificate(api):
    row = api.make("/certificates", **pair(), snis=["a.test", "*.b.test"])
    assert api.get("/certificates/a.test") == api.get("/certificates/%2A.b.test") == (200, row)
    assert names_of(api, "/certificates/a.test") == names_of(api, f"/certificates/{row['id']}")
    changed = api.patch("/certificates/a.test", {"tags": ["x"]})[1]
    assert (changed["id"], changed["tags"], changed["snis"]) == (row["id"], ["x"], row["snis"])
    assert api.delete("/certificates/a.test") == (204, None)
    assert api.all("/snis") == api.all("/certificates") == []


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_unknown_names(api, method):
    assert api.call(method, "/certificates/a.test", {} if method == "PATCH" else None) == NO_SNI
    assert api.call(method, f"/certificates/a.test/snis/{NOWHERE}", {} if method == "PATCH" else None) == NO_SNI


def test_unknown_ids(api):
    assert api.get(f"/certificates/{NOWHERE}") == NOT_FOUND
    assert api.patch(f"/certificates/{NOWHERE}", {})[1]["code"] == 6
    assert api.delete(f"/certificates/{NOWHERE}") == (204, None)


def test_put_by_an_unknown_name_makes_a_certificate_with_it(api):
    status, row = api.put("/certificates/a.test", {**pair(), "snis": ["b.test"]})
    assert (status, row["snis"]) == (200, ["a.test", "b.test"])
    status, again = api.put("/certificates/a.test", {**pair(1), "snis": ["a.test"]})
    assert (status, again["id"], again["snis"], again["cert"]) == (200, row["id"], ["a.test"], pair(1)["cert"])
    assert len(api.all("/certificates")) == 1


def test_names_are_replaced_kept_and_removed(api):
    path = f"/certificates/{api.make('/certificates', **pair(), snis=['a.test', 'b.test'])['id']}"
    kept = {sni["name"]: sni["id"] for sni in api.all("/snis")}
    assert api.patch(path, {"tags": ["x"]})[1]["snis"] == ["a.test", "b.test"]
    assert api.patch(path, {"snis": ["b.test", "c.test"]})[1]["snis"] == ["b.test", "c.test"]
    assert {sni["name"]: sni["id"] for sni in api.all("/snis")}["b.test"] == kept["b.test"]
    assert api.patch(path, {"snis": None})[1]["snis"] == []
    assert api.put(path, {**pair(), "snis": ["d.test"]})[1]["snis"] == ["d.test"]
    assert api.put(path, pair())[1]["snis"] == []
    assert api.all("/snis") == []


def test_wrong_names(api):
    taken = api.make("/certificates", **pair(), snis=["taken.test"])["id"]
    own = api.make("/certificates", **pair(1), snis=["own.test"])["id"]
    for snis, text in (
        (["a.test", "b.test", "a.test"], "snis: a.test is duplicated"),
        (["a.test", "taken.test"], f"snis: taken.test already associated with existing certificate '{taken}'"),
        (["a.test", "1.2.3.4"], "snis.2: must not be an IP"),
        ("a.test", "snis: expected an array"),
    ):
        expected = f"schema violation ({text})"
        assert api.post("/certificates", {**pair(2), "snis": snis})[1]["message"] == expected
        assert api.patch(f"/certificates/{own}", {"snis": snis})[1]["message"] == expected
        assert api.put(f"/certificates/{own}", {**pair(1), "snis": snis})[1]["message"] == expected
    assert len(api.all("/certificates")) == 2
    assert sorted(sni["name"] for sni in api.all("/snis")) == ["own.test", "taken.test"]
    status, body = api.post("/snis", {"name": "taken.test", "certificate": {"id": own}})
    assert (status, body["message"]) == (409, "UNIQUE violation detected on '{name=\"taken.test\"}'")


def test_forms_take_one_name(api):
    text = "&".join(f"{name}={value.replace('+', '%2B')}" for name, value in pair().items())
    status, row = api.form("/certificates", f"{text}&snis=a.test")
    assert (status, row["snis"]) == (201, ["a.test"])
    assert api.form(f"/certificates/{row['id']}", "snis[]=b.test&snis[]=c.test", "PATCH")[1]["snis"] == [
        "b.test",
        "c.test",
    ]
    assert api.form(f"/certificates/{row['id']}", "snis=", "PATCH")[1]["snis"] == []


ONE_TYPE = (
    "certificate and alternative certificate need to have different type (e.g. RSA and ECDSA), "
    "the provided certificates were both of the same type"
)


EC_KEY, NO_KEY = bytes.fromhex("2a8648ce3d0201"), bytes.fromhex("2a8648ce3d027f")
"""Object identifiers: of keys on elliptic curves, and of nothing that is known."""


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"cert": certificate(), "key": private_key(number=1)}, "certificate does not match key"),
        ({**pair(), "cert": altered(certificate(), EC_KEY, NO_KEY)}, "certificate does not match key"),
        (
            {**pair(), "cert_alt": altered(certificate(), EC_KEY, NO_KEY), "key_alt": private_key()},
            "alternative certificate does not match key",
        ),
        ({**pair(), "cert_alt": certificate("rsa")}, "all or none of these fields must be set: 'cert_alt', 'key_alt'"),
        (
            {**pair(), "cert_alt": certificate("rsa"), "key_alt": private_key("ec", 1)},
            "alternative certificate does not match key",
        ),
        ({**pair(), "cert_alt": certificate("ec", 1), "key_alt": private_key("ec", 1)}, ONE_TYPE),
        (
            {"cert": "x", "key": "y"},
            "cert: invalid certificate: Unable to load PEM file; key: invalid key: Unable to load PEM file",
        ),
        ({"cert": certificate()}, "key: required field missing"),
    ],
)
def test_wrong_certificates(api, body, text):
    status, answer = api.post("/certificates", body)
    count = f"{text.count('; ') + 1} schema violations" if "; " in text else "schema violation"
    assert (status, answer["message"]) == (400, f"{count} ({text})")


def test_two_types_of_keys(api):
    row = api.make("/certificates", **pair(), cert_alt=certificate("rsa"), key_alt=private_key("rsa"))
    assert row["key_alt"] == private_key("rsa")


def test_a_new_certificate_needs_its_key(api):
    row = api.make("/certificates", **pair())
    status, body = api.patch(f"/certificates/{row['id']}", {"cert": certificate(number=1)})
    assert (status, body["fields"]) == (400, {"@entity": ["certificate does not match key"]})
    assert api.patch(f"/certificates/{row['id']}", pair(1))[0] == 200


def test_references_are_kept_as_they_are(api):
    body = {"cert": "{vault://env/cert}", "key": "{vault://env/key}"}
    row = api.make("/certificates", **body)
    assert {name: row[name] for name in body} == body


@pytest.mark.parametrize("collection", ["services", "upstreams"])
def test_a_certificate_in_use_stays(api, collection):
    row = api.make("/certificates", **pair(), snis=["a.test"])
    own = {"host": "h", "protocol": "https"} if collection == "services" else {"name": "u.test"}
    user = api.make(f"/{collection}", **own, client_certificate={"id": row["id"]})
    status, body = api.delete(f"/certificates/{row['id']}")
    assert (status, body["code"]) == (400, 4)
    assert body["message"] == f"an existing '{collection}' entity references this 'certificates' entity"
    assert body["fields"] == {"@referenced_by": collection}
    assert api.get(f"/{collection}/{user['id']}/client_certificate") == (200, row)
    assert api.get(f"/certificates/a.test/{collection}")[1]["data"] == [user]
    assert api.delete(f"/{collection}/{user['id']}/client_certificate")[0] == 405
    assert api.patch(f"/{collection}/{user['id']}", {"client_certificate": None})[0] == 200
    assert api.delete(f"/certificates/{row['id']}") == (204, None)
    assert api.all("/snis") == []


def test_an_unknown_client_certificate(api):
    status, body = api.post("/services", {"url": "https://h", "client_certificate": {"id": NOWHERE}})
    assert (status, body["code"]) == (400, 4)
    assert body["message"] == (
        f"the foreign key '{{id=\"{NOWHERE}\"}}' does not reference an existing 'certificates' entity."
    )


# -- server names


def test_snis(api):
    owner = api.make("/certificates", **pair())
    row = api.make(f"/certificates/{owner['id']}/snis", name="a.test", tags=["t"])
    assert {name: value for name, value in row.items() if name not in ("id", "created_at", "updated_at")} == {
        "name": "a.test",
        "certificate": {"id": owner["id"]},
        "tags": ["t"],
    }
    assert api.get("/snis/a.test") == (200, row)
    assert api.get("/certificates/a.test")[1]["snis"] == ["a.test"]
    assert api.get("/snis/a.test/certificate") == api.put("/snis/a.test/certificate", pair()) == NOT_FOUND
    assert api.delete("/certificates/a.test/snis/a.test") == (204, None)
    assert api.get("/snis/a.test") == NOT_FOUND
    assert api.post("/snis", {"name": "b.test"})[1]["fields"] == {"certificate": "required field missing"}


# -- authorities


def authority(number=0, **options):
    return certificate("ec", number, **{"ca": True, **options})


def twice_the_same_extension():
    """An authority's certificate that cannot be relied on: its two extensions have one name."""
    key = load_pem_private_key(private_key().encode(), None)
    name, now = x509.Name([]), datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    for extension in (x509.BasicConstraints(ca=True, path_length=None), x509.InhibitAnyPolicy(0)):
        made = made.add_extension(extension, critical=True)
    text = made.sign(key, SHA256()).public_bytes(Encoding.PEM).decode()
    return altered(text, b"\x06\x03\x55\x1d\x36", b"\x06\x03\x55\x1d\x13")


def test_an_authority_has_a_digest(api):
    row = api.make("/ca_certificates", cert=authority(), cert_digest="0" * 64)
    assert row["cert_digest"] == hashlib.sha256(ssl.PEM_cert_to_DER_cert(authority())).hexdigest()
    assert set(row) == {"id", "created_at", "updated_at", "cert", "cert_digest", "tags"}
    changed = api.patch(f"/ca_certificates/{row['id']}", {"cert": authority(1)})[1]
    assert changed["cert_digest"] != row["cert_digest"]
    status, body = api.post("/ca_certificates", {"cert": authority(1)})
    assert (status, body["fields"]) == (409, {"cert_digest": changed["cert_digest"]})
    assert api.get("/ca_certificates/foo")[1]["code"] == 1


@pytest.mark.parametrize(
    ("cert", "text"),
    [
        (lambda: authority() + authority(1), "please submit only one certificate at a time"),
        (lambda: authority(days=-1), 'certificate expired, "Not After" time is in the past'),
        (lambda: authority(ca=None), "missing the \"CA\" basic constraint"),
        (lambda: authority(ca=False), "missing the \"CA\" basic constraint"),
        (twice_the_same_extension, "missing the \"CA\" basic constraint"),
        (lambda: "x", "cert: invalid certificate: Unable to load PEM file"),
    ],
)  # fmt: skip
def test_wrong_authorities(api, cert, text):
    status, body = api.post("/ca_certificates", {"cert": cert()})
    assert (status, body["code"]) == (400, 2)
    assert text in body["message"]


@pytest.mark.parametrize("written", [str.lower, str.upper])
def test_an_authority_in_use_stays(api, written):
    row = api.make("/ca_certificates", cert=authority())
    service = api.make("/services", url="https://h", ca_certificates=[written(row["id"])])
    assert service["ca_certificates"] == [row["id"]]
    assert api.delete(f"/ca_certificates/{row['id']}") == (
        400,
        {
            "code": 19,
            "name": "referenced by others",
            "message": f"ca certificate {row['id']} is still referenced by services (id = {service['id']})",
        },
    )
    api.patch(f"/services/{service['id']}", {"ca_certificates": None})
    assert api.delete(f"/ca_certificates/{row['id']}") == (204, None)
