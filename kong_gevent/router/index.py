"""Longest-prefix look-up over many texts, character by character, that stays cheap to change.

Strategy: sorted keys, and from each node a link to its parent, the longest other key that it begins with. A look-up
bisects to the last key that is not greater than the path and climbs parents until one is a prefix of the path.
The keys are cut into blocks so that a change moves and re-links the nodes of one block only: links never leave a block,
they end at its *gate*, a node without entries that leads on to the nearest ancestor in an earlier block.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from kong_gevent.router.leaf import Leaf
from kong_gevent.router.regexpool import RegexPool

BLOCK = 2048
"""Nodes of a block at most."""


class Node(Leaf):
    """The entries at one prefix; regexes stand at their literal prefix."""

    __slots__ = ("key", "parent", "regexes")

    def __init__(self, key: str, parent: Node | None) -> None:
        super().__init__()
        self.key = key
        self.parent = parent
        self.regexes: RegexPool | None = None

    def __repr__(self) -> str:
        return f"<Node {self.key!r} of {len(self.entries)} entries>"

    @property
    def is_empty(self) -> bool:
        """Whether nothing stands here."""
        return not self.entries and not self.regexes


class PrefixIndex:
    """Nodes by prefix. The node of the empty prefix, `root`, is always there."""

    __slots__ = ("keys", "nodes", "root", "starts")

    # Each block begins with its gate, under the key `starts` has for the block: no key of the block is less. So a
    # bisection always ends at a node, and `starts` stays when the first key of a block is removed.

    def __init__(self) -> None:
        self.root = Node("", None)
        self.starts: list[str] = [""]
        self.keys: list[list[str]] = [[""]]
        self.nodes: list[list[Node]] = [[self.root]]

    def __len__(self) -> int:
        return sum(map(len, self.keys)) - len(self.keys)

    def __iter__(self) -> Iterator[Node]:
        yield self.root
        for nodes in self.nodes:
            yield from nodes[1:]

    def at(self, text: str) -> Node:
        """The node with the greatest key that is not greater than `text`: climb from here by `parent`."""
        block = bisect_right(self.starts, text) - 1
        return self.nodes[block][bisect_right(self.keys[block], text) - 1]

    def prefixes(self, text: str) -> Iterator[Node]:
        """All nodes whose key `text` begins with, the longest first."""
        node: Node | None = self.at(text)
        while node is not None:
            if text.startswith(node.key):
                yield node
            node = node.parent

    def find(self, key: str) -> Node | None:
        """The node with exactly this key."""
        if not key:
            return self.root
        node = self.at(key)
        return node if node.key == key else None

    def insert(self, key: str) -> Node:
        """The node with this key, made if there is none."""
        node = self.find(key)
        if node is not None:
            return node
        block = bisect_right(self.starts, key) - 1
        keys, nodes = self.keys[block], self.nodes[block]
        at = bisect_right(keys, key)
        parent = nodes[at - 1]
        while not key.startswith(parent.key):
            assert parent.parent is not None
            parent = parent.parent
        node = Node(key, parent)
        for position in range(at, len(keys)):
            below = nodes[position]
            if not below.key.startswith(key):
                break
            if below.parent is parent:
                below.parent = node
        keys.insert(at, key)
        nodes.insert(at, node)
        for later in range(block + 1, len(self.starts)):
            if not self.starts[later].startswith(key):
                break
            gate = self.nodes[later][0]
            if gate.parent is not None and len(gate.parent.key) < len(key):
                gate.parent = node
        if len(keys) > BLOCK:
            self._split(block)
        return node

    def remove(self, key: str) -> None:
        """Take the node with this key out; the root stays."""
        block = bisect_right(self.starts, key) - 1
        keys, nodes = self.keys[block], self.nodes[block]
        at = bisect_right(keys, key) - 1
        node = nodes[at]
        if at == 0 or node.key != key:
            return
        del keys[at], nodes[at]
        for position in range(at, len(keys)):
            below = nodes[position]
            if not below.key.startswith(key):
                break
            if below.parent is node:
                below.parent = node.parent
        outer = _ancestor(node.parent, key)
        for later in range(block + 1, len(self.starts)):
            if not self.starts[later].startswith(key):
                break
            gate = self.nodes[later][0]
            if gate.parent is node:
                gate.parent = outer
        if len(keys) == 1 and block:
            del self.starts[block], self.keys[block], self.nodes[block]

    def _split(self, block: int) -> None:
        keys, nodes = self.keys[block], self.nodes[block]
        half = len(keys) // 2
        start = keys[half]
        gate = Node("", _ancestor(nodes[half].parent, start))
        right = nodes[half:]
        for node in right:
            if node.parent is nodes[0] or (node.parent is not None and node.parent.key < start):
                node.parent = gate
        self.starts.insert(block + 1, start)
        self.keys.insert(block + 1, [start, *keys[half:]])
        self.nodes.insert(block + 1, [gate, *right])
        del keys[half:], nodes[half:]


def _ancestor(node: Node | None, text: str) -> Node | None:
    """The first node from `node` upwards that is no gate and whose key `text` begins with."""
    while node is not None and node.parent is not None and (not node.key or not text.startswith(node.key)):
        node = node.parent
    return node
