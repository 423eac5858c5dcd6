"""Query strings: what is decoded is encoded again, whatever its characters."""

import pytest

from kong_gevent.pdk.queries import encode_query, parse_query


@pytest.mark.parametrize(
    ("arguments", "query"),
    [
        ({"fields": "id,name", "page": "2"}, "fields=id%2Cname&page=2"),
        ({"a b": ["1+1", True, "ü/%"], "-._~": ""}, "a%20b=1%2B1&a%20b&a%20b=%C3%BC%2F%25&-._~="),
        ({"gone": None, "off": False, "number": 5}, "number=5"),
    ],
)
def test_arguments_as_text(arguments: dict[str, object], query: str) -> None:
    assert encode_query(arguments) == query


def test_every_character_comes_back() -> None:
    text = "".join(map(chr, range(256)))
    encoded = encode_query({text: text})
    assert set("&=+ \r\n#\x00\x7f").isdisjoint(encoded.replace("=", "", 1))
    assert parse_query(encoded) == {text: text}
