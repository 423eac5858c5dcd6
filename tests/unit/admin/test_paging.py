"""The body of a list, and what list arguments become."""

import pytest

from kong_gevent.admin import paging
from kong_gevent.db.paging import check_size
from kong_gevent.errors import InvalidOptions, InvalidSize


def test_no_arguments():
    assert paging.page_options({}) == {"offset": None}


@pytest.mark.parametrize("given", [None, True, ["1", "2"], {"a": "1"}], ids=str)
def test_a_size_is_one_number(given):
    with pytest.raises(InvalidSize, match="size must be a number"):
        check_size(paging.page_options({"size": given})["size"])


def test_tags_are_split():
    options = paging.page_options({"tags": "a/b"}, tags=True)
    assert (list(options["tags"]), options["tags_mode"]) == (["a", "b"], "or")


@pytest.mark.parametrize("given", [None, True, ["a", "b"]], ids=str)
def test_a_tag_filter_is_one_text(given):
    with pytest.raises(InvalidOptions):
        paging.page_options({"tags": given}, tags=True)


def test_tags_can_be_ignored():
    assert "tags" not in paging.page_options({"tags": None})


def test_last_page():
    assert paging.listed([1], None, "/c") == {"data": [1], "next": None}


def test_next_page_names_tags_before_size():
    made = paging.listed([1], "a+b=", "/c", {"size": "5", "tags": "a,b", "other": "x"})
    assert made == {"data": [1], "offset": "a+b=", "next": "/c?offset=a%2Bb%3D&tags=a%2Cb&size=5"}
