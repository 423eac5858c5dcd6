"""Bodies that nobody should send, from a seed: broken ones, and ones that follow a published schema more or less."""

import json
import random
import string
from typing import Any
from urllib.parse import urlencode

import orjson

from tests.pem import certificate, private_key, public_key

NAMES = (
    "id name host port path protocol protocols retries tags enabled service route consumer config url hosts paths "
    "headers methods username custom_id key ttl created_at sources regex_priority client_certificate ca_certificates "
    "redis minute rules policy redis_host key_names"
).split()
ODD_TEXTS = [
    "",
    " ",
    "\u202e",
    "\ufeff",
    "a" * 70_000,
    "../..",
    "{vault://x/y}",
    "é" * 10,
    "\U0001f600",
    "~/(a+)+$",
    "[]",
]
ODD_NUMBERS = [0, -1, 2**31, 2**53, 2**63 - 1, 2**64, 10**30, 1e308, -1e308, 5e-324, 0.1]


def value(source, depth=0):
    """Any JSON value, odd ones preferred."""
    kind = source.randrange(9 if depth < 4 else 5)
    if kind == 0:
        return source.choice(ODD_TEXTS)
    if kind == 1:
        return source.choice(ODD_NUMBERS)
    if kind == 2:
        return source.choice([None, True, False])
    if kind in (3, 4):
        return "".join(source.choices(string.printable, k=source.randint(0, 12)))
    if kind in (5, 6):
        return [value(source, depth + 1) for _ in range(source.randint(0, 4))]
    return {source.choice([*NAMES, "", "x", "@entity"]): value(source, depth + 1) for _ in range(source.randint(0, 4))}


def unknown_field(source):
    """An object with a field that nothing knows: it decodes, and the schema has to refuse it."""
    body = {name: value(source) for name in source.sample(NAMES, source.randint(0, 6))}
    body["surely-unknown"] = value(source)
    return json.dumps(body).encode()


def broken_json(source):
    """JSON with a wound."""
    text = bytearray(b'{"host":"h","name":"a","tags":["x"],"config":{"a":1}}')
    for _ in range(source.randint(1, 3)):
        at = source.randrange(len(text))
        wound = source.randrange(4)
        if wound == 0:
            del text[at:]
            text += b"\0"
        elif wound == 1:
            text[at] = source.choice(b"\x00\xff\xc0\x80")
        elif wound == 2:
            text[at:at] = b"\xed\xa0\x80"
        else:
            text[at:at] = source.choice([b"}}", b"NaN,", b'"\\ud800"', b"\x01"])
    return bytes(text) + b"\xff"


SPECIAL = [
    b"",
    b"null",
    b"[]",
    b'"x"',
    b"1e999",
    b'{"host":' + b"[" * 5000 + b"]" * 5000 + b"}",
    b'{"x":' * 5000 + b"1" + b"}" * 5000,
    b'{"host":"a","host":"b"}',
    b'{"host":"a\\u0000b"}',
    b'{"name":"\\ud83d"}',
    b'{"surely-unknown":' + b"9" * 5000 + b"}",
    b'{"surely-unknown":-' + b"9" * 400 + b"." + b"9" * 400 + b"}",
    b'{"surely-unknown":[' + b"1," * 10_000 + b"1]}",
    b"{" + b",".join(b'"k%d":1' % at for at in range(2000)) + b"}",
    b'{"tags":' + orjson.dumps(["a,b"] * 2000) + b"}",
    b'{"__proto__":{},"constructor":1,"__class__":"x"}',
]


def hostile_form(source):
    letters = "ab.[]=&%1éx\0+;" + string.digits
    name = "".join(source.choices(letters, k=source.randint(1, 20)))
    text = "&".join([name, f"{source.choice(NAMES)}{source.choice(['', '[]', '[1]', '.a', '[a]'])}={name[:5]}"])
    return source.choice([text.encode(), text.encode("latin-1", "replace"), b"%ff=1&" + text.encode()])


def hostile_multipart(source):
    parts = []
    for _ in range(source.randint(1, 3)):
        head = source.choice(
            [
                b'Content-Disposition: form-data; name="surely-unknown"',
                b'Content-Disposition: form-data; name="a[b.c][1]"; filename="x"\r\nContent-Type: application/json',
                b"Content-Disposition: form-data",
                b'Content-Disposition: attachment; name="x',
                b"X: y",
                b"",
            ]
        )
        parts.append(b"--XX\r\n" + head + b"\r\n\r\n" + source.randbytes(source.randint(0, 20)) + b"\r\n")
    return b"".join(parts) + source.choice([b"--XX--\r\n", b"--XX", b""])


UUIDS = [f"{at}{at}111111-1111-4111-8111-111111111111" for at in range(3)]
TEXTS = [
    *("a", "abc-1", "/a", "/a b", "~/a[0-9]+$", "a.test", "*.a.test", "a.test:80", "http://a.test/x?y", "x:80"),
    *("10.0.0.0/8", "10.0.0.1", "::1", "[::1]:80", "GET", "utf8", "a,b", "{vault://env/nope}", "local", "%41", "%zz"),
    *(private_key(), public_key(), certificate(), certificate(ca=True), '{"kty":"oct","kid":"a","k":"YQ"}', *UUIDS),
]
Shape = dict[str, Any]


def fields_of(shape: Shape) -> dict[str, Shape]:
    """The fields of a published record by name."""
    return {name: field for item in shape.get("fields", ()) for name, field in item.items()}


def likely(source: random.Random, shape: Shape, odd: float = 0.06) -> Any:
    """A value that a published field may well accept, or (with probability `odd`, at each level) any other one."""
    kind = shape["type"]
    if source.random() < odd:
        return value(source)
    if "one_of" in shape:
        return source.choice(shape["one_of"])
    if shape.get("uuid"):
        return source.choice(UUIDS)
    if kind == "record":
        return likely_record(source, fields_of(shape), odd)
    if kind in ("array", "set"):
        return [likely(source, shape["elements"], odd) for _ in range(source.randint(0, 3))]
    if kind == "map":
        names = [likely(source, shape["keys"], 0) for _ in range(source.randint(0, 2))]
        return {str(name): likely(source, shape["values"], odd) for name in names}
    if kind in ("integer", "number"):
        low, high = shape.get("between") or (0, 100)
        return source.choice([low, high, low + 1, (low + high) / 2 if kind == "number" else (low + high) // 2])
    if kind == "boolean":
        return source.random() < 0.5
    return value(source) if kind == "json" else source.choice(TEXTS)


def likely_record(source: random.Random, fields: dict[str, Shape], odd: float = 0.06) -> Shape:
    """A record with most of the fields that have to be there, and some of the others."""
    return {
        name: likely(source, field, odd)
        for name, field in fields.items()
        if source.random() < (0.95 if field.get("required") and "default" not in field else 0.12)
    }


def as_form(body: Shape) -> bytes:
    """The same as a form: nested names with dots, lists with brackets."""
    pairs: list[tuple[str, str]] = []

    def add(name: str, item: Any) -> None:
        if isinstance(item, dict):
            for key, inner in item.items():
                add(f"{name}.{key}", inner)
        elif isinstance(item, list):
            for inner in item:
                add(f"{name}[]", inner)
        else:
            pairs.append((name, "" if item is None else str(item)))

    for key, item in body.items():
        add(key, item)
    return urlencode(pairs, errors="surrogatepass").encode()
