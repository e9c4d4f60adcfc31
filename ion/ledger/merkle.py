"""The Merkle tree over the records: roots, proofs, and their checks.

Leaf and node hashes as RFC 6962, section 2.1 (leaf n is record n + 1); the checks of proofs as RFC 9162,
sections 2.1.3.2 and 2.1.4.2. A tree is read through `Nodes`, so that the hashes may lie anywhere.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HASH_SIZE = 32
"""Bytes of a hash."""
EMPTY_ROOT = hashlib.sha256(b"").digest()
"""The root of a tree without leaves."""
MAX_PROOF = 63
"""Hashes of the longest proof there can be: a tree has fewer than 2^63 leaves."""


class Nodes(Protocol):
    """Where a tree's hashes are read: ``node(level, index)`` is that of leaves ``index·2^level`` and 2^level on."""

    def node(self, level: int, index: int) -> bytes:
        """Return the hash of a subtree whose leaves are all there."""
        ...


def leaf_hash(raw: bytes) -> bytes:
    """Return the hash of a leaf: SHA-256(0x00 || raw)."""
    return hashlib.sha256(b"\0" + raw).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node: SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\1" + left + right).digest()


def root_of(nodes: Nodes, size: int) -> bytes:
    """Return the root of the first ``size`` leaves."""
    return _range(nodes, 0, size) if size else EMPTY_ROOT


def inclusion_proof(nodes: Nodes, index: int, size: int) -> list[bytes]:
    """Return the hashes from the sibling of leaf ``index`` (from 0) up to the child of the root.

    Raises:
        ValueError: there is no such leaf.
    """
    if not 0 <= index < size:
        message = f"a tree of {size} leaves has no leaf {index}"
        raise ValueError(message)
    proof: list[bytes] = []
    first, last = 0, size
    while last - first > 1:
        middle = first + _split(last - first)
        if index < middle:
            proof.append(_range(nodes, middle, last))
            last = middle
        else:
            proof.append(_range(nodes, first, middle))
            first = middle
    return proof[::-1]


def consistency_proof(nodes: Nodes, old: int, new: int) -> list[bytes]:
    """Return the proof that the tree of ``new`` leaves begins with the tree of ``old`` leaves; empty for 0.

    Raises:
        ValueError: ``old`` is larger than ``new``.
    """
    if not 0 <= old <= new:
        message = f"a tree of {new} leaves does not extend one of {old}"
        raise ValueError(message)
    if old in {0, new}:
        return []
    proof: list[bytes] = []
    first, last, whole = 0, new, True  # whole: the old tree is still one complete subtree from the left edge
    while old != last:
        middle = first + _split(last - first)
        if old <= middle:
            proof.append(_range(nodes, middle, last))
            last = middle
        else:
            proof.append(_range(nodes, first, middle))
            first, whole = middle, False
    if not whole:
        proof.append(_range(nodes, first, last))
    return proof[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Say whether the leaf with hash ``leaf`` is number ``index`` (from 0) of the ``size`` leaves under ``root``."""
    if not 0 <= index < size or len(proof) > MAX_PROOF:
        return False
    node, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if node & 1 or node == last:
            found = node_hash(sibling, found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and found == root


def verify_consistency(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> bool:
    """Say whether the tree of ``new`` leaves under ``new_root`` begins with that of ``old`` leaves."""
    if not 0 <= old <= new or len(proof) > MAX_PROOF:
        return False
    if old in {0, new}:
        return not proof and (old_root == new_root if old == new else old_root == EMPTY_ROOT)
    if not proof:
        return False
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    node, last = old - 1, new - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    before = after = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            after = node_hash(after, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and before == old_root and after == new_root


class Frontier:
    """The right edge of a growing tree: its root at any moment, from a few hashes."""

    def __init__(self) -> None:
        self.size = 0
        self._edge: list[bytes] = []

    @classmethod
    def of(cls, nodes: Nodes, size: int) -> Frontier:
        """Return the edge of the first ``size`` leaves of a tree."""
        made = cls()
        for level in range(size.bit_length() - 1, -1, -1):
            if size >> level & 1:
                made._edge.append(nodes.node(level, made.size >> level))
                made.size += 1 << level
        return made

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add leaves by their hashes."""
        size, edge, sha256 = self.size, self._edge, hashlib.sha256
        for leaf in leaves:
            found, rest = leaf, size
            while rest & 1:
                found = sha256(b"\1" + edge.pop() + found).digest()
                rest >>= 1
            edge.append(found)
            size += 1
        self.size = size

    def root(self) -> bytes:
        """Return the root of the leaves so far."""
        if not self._edge:
            return EMPTY_ROOT
        found = self._edge[-1]
        for left in self._edge[-2::-1]:
            found = node_hash(left, found)
        return found


class Tree:
    """A whole tree in memory: 64 bytes and more per leaf."""

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        self._levels: list[list[bytes]] = [[]]
        self.extend(leaves)

    @property
    def size(self) -> int:
        """How many leaves there are."""
        return len(self._levels[0])

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add leaves by their hashes."""
        self._levels[0].extend(leaves)
        level = 0
        while len(self._levels[level]) > 1:
            below = self._levels[level]
            if level + 1 == len(self._levels):
                self._levels.append([])
            above = self._levels[level + 1]
            above.extend(node_hash(below[i], below[i + 1]) for i in range(2 * len(above), len(below) - 1, 2))
            level += 1

    def node(self, level: int, index: int) -> bytes:
        """Return the hash of a complete subtree; see `Nodes`."""
        return self._levels[level][index]

    def root(self, size: int | None = None) -> bytes:
        """Return the root of the first ``size`` leaves, by default of all."""
        return root_of(self, self.size if size is None else size)


def _range(nodes: Nodes, first: int, last: int) -> bytes:
    """Return the hash of leaves ``first`` to ``last - 1``; ``first`` is a multiple of the subtrees it begins with."""
    count = last - first
    if count & (count - 1) == 0:
        level = count.bit_length() - 1
        return nodes.node(level, first >> level)
    middle = first + _split(count)
    return node_hash(_range(nodes, first, middle), _range(nodes, middle, last))


def _split(count: int) -> int:
    """Return the largest power of two below ``count``."""
    return 1 << (count - 1).bit_length() - 1
