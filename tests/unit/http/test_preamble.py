"""Headers of the PROXY protocol: whom they name, where they end, and what is none."""

import pytest

from kong_gevent.http.preamble import LOCAL, length_of, source_of
from tests.preambles import BAD, GOOD, v2


@pytest.mark.parametrize("name", GOOD)
def test_a_header_ends_where_it_says_and_names_its_client(name: str) -> None:
    header, client = GOOD[name]
    for rest in (b"", b"G", b"GET / HTTP/1.1\r\n", header):
        assert length_of(header + rest) == len(header)
    assert source_of(header) == client


@pytest.mark.parametrize("name", GOOD)
def test_a_part_of_a_header_is_never_refused(name: str) -> None:
    header, _ = GOOD[name]
    for size in range(1, len(header)):
        assert length_of(header[:size]) in (None, len(header))


@pytest.mark.parametrize("name", BAD)
def test_what_is_none(name: str) -> None:
    data = BAD[name]
    with pytest.raises(ValueError, match=r"\w"):
        size = length_of(data)
        assert size is not None, "it can be told"
        source_of(data[:size])


def test_the_one_that_we_send_ourselves() -> None:
    assert LOCAL == v2(0x20, 0, b"")
