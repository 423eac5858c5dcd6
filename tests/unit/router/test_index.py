"""The longest-prefix index against a plain search over all keys, while it changes."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kong_gevent.router import index as module
from kong_gevent.router.index import PrefixIndex

KEYS = st.text("ab/", min_size=1, max_size=5).map(lambda text: "/" + text)
CHANGES = st.lists(st.tuples(st.sampled_from([True, True, False]), KEYS), min_size=5, max_size=80)


@pytest.fixture(scope="module", autouse=True)
def small_blocks() -> object:
    """Blocks of so few nodes that splitting and emptying them is the rule."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", 4)
        yield


def found(index: PrefixIndex, text: str) -> list[str]:
    return [node.key for node in index.prefixes(text) if node.key]


def expected(keys: set[str], text: str) -> list[str]:
    return sorted((key for key in keys if text.startswith(key)), key=len, reverse=True)


def check_gates(index: PrefixIndex, keys: set[str]) -> None:
    """Each gate leads on to the nearest ancestor of its block's start in earlier blocks."""
    for start, nodes in list(zip(index.starts, index.nodes, strict=True))[1:]:
        outside = {key for key in keys if key < start}
        parent = nodes[0].parent
        assert parent is not None
        assert parent.key == (expected(outside, start) or [""])[0]


@settings(max_examples=600, deadline=None)
@example([(True, key) for key in ("//", "/b", "/a/", "//a", "/aa", "/a")], ["/a"])
@given(CHANGES, st.lists(KEYS, min_size=1, max_size=10))
def test_all_prefixes_are_found_longest_first_after_any_changes(
    changes: list[tuple[bool, str]], asked: list[str]
) -> None:
    index = PrefixIndex()
    keys: set[str] = set()
    for added, key in changes:
        if added:
            assert index.insert(key).key == key
            keys.add(key)
        else:
            index.remove(key)
            keys.discard(key)
        for text in (*asked, key, key + "a"):
            assert found(index, text) == expected(keys, text)
        check_gates(index, keys)
    assert sorted(keys) == [node.key for node in index if node.key]
    assert len(index) == len(keys)


def test_inserting_twice_gives_the_same_node() -> None:
    index = PrefixIndex()
    assert index.insert("/a") is index.insert("/a")


def test_the_root_is_found_for_any_text() -> None:
    assert list(PrefixIndex().prefixes("*")) != []


def test_the_root_stays() -> None:
    index = PrefixIndex()
    index.remove("")
    assert index.find("") is index.root


def test_removing_what_is_not_there_changes_nothing() -> None:
    index = PrefixIndex()
    index.insert("/a/b")
    index.remove("/a")
    assert found(index, "/a/b/c") == ["/a/b"]


def test_blocks_go_when_they_are_empty() -> None:
    index = PrefixIndex()
    keys = [f"/{number:03}" for number in range(100)]
    for key in keys:
        index.insert(key)
    assert len(index.starts) > 10
    for key in keys:
        index.remove(key)
    assert len(index.starts) <= 1 + len(index)
