"""The tree against its definition (RFC 6962, section 2.1), the known vectors, and a program that is not ours."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ion.ledger.merkle import (
    EMPTY_ROOT,
    MAX_PROOF,
    Frontier,
    Tree,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

LEAVES = [bytes.fromhex(text) for text in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"
)]  # fmt: skip
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
"""Of the first 1, 2, … leaves: the vectors of the Certificate Transparency reference implementation."""

sizes = st.integers(1, 700)


def naive(raws: Sequence[bytes]) -> bytes:
    """MTH as RFC 6962 writes it."""
    if not raws:
        return hashlib.sha256(b"").digest()
    if len(raws) == 1:
        return hashlib.sha256(b"\0" + raws[0]).digest()
    k = 1
    while k * 2 < len(raws):
        k *= 2
    return hashlib.sha256(b"\1" + naive(raws[:k]) + naive(raws[k:])).digest()


def naive_path(index: int, raws: Sequence[bytes]) -> list[bytes]:
    """PATH as RFC 6962 writes it."""
    if len(raws) <= 1:
        return []
    k = 1
    while k * 2 < len(raws):
        k *= 2
    if index < k:
        return [*naive_path(index, raws[:k]), naive(raws[k:])]
    return [*naive_path(index - k, raws[k:]), naive(raws[:k])]


def naive_proof(m: int, raws: Sequence[bytes], whole: bool = True) -> list[bytes]:  # noqa: FBT001, FBT002 - as the RFC
    """SUBPROOF as RFC 6962 writes it."""
    if m == len(raws):
        return [] if whole else [naive(raws)]
    k = 1
    while k * 2 < len(raws):
        k *= 2
    if m <= k:
        return [*naive_proof(m, raws[:k], whole), naive(raws[k:])]
    return [*naive_proof(m - k, raws[k:], False), naive(raws[:k])]  # noqa: FBT003 - as the RFC


def raws_of(size: int) -> list[bytes]:
    return [b"record %d" % number for number in range(size)]


BIG = Tree(map(leaf_hash, raws_of(700)))


def test_the_known_roots() -> None:
    tree = Tree(map(leaf_hash, LEAVES))
    assert tree.root(0) == EMPTY_ROOT
    assert [tree.root(size).hex() for size in range(1, 9)] == list(ROOTS)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100])
def test_roots_and_proofs_are_those_of_the_definition(size: int) -> None:
    raws = raws_of(size)
    tree = Tree(map(leaf_hash, raws))
    assert tree.root() == naive(raws)
    for index in range(size):
        assert inclusion_proof(tree, index, size) == naive_path(index, raws)
    for old in range(1, size + 1):
        assert consistency_proof(tree, old, size) == naive_proof(old, raws)


@given(sizes, st.data())
def test_every_proof_of_inclusion_verifies_and_for_nothing_else(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof, root, leaf = inclusion_proof(BIG, index, size), BIG.root(size), BIG.node(0, index)
    assert verify_inclusion(leaf, index, size, proof, root)
    assert not verify_inclusion(leaf_hash(b"another"), index, size, proof, root)
    assert not verify_inclusion(leaf, index, size, proof, BIG.root(size % 700 + 1))
    assert not verify_inclusion(leaf, index, size, [*proof, bytes(32)], root)
    assert not verify_inclusion(leaf, size, size, proof, root)
    assert not verify_inclusion(leaf, -1, size, proof, root)
    if proof:
        assert not verify_inclusion(leaf, index, size, proof[:-1], root)
        assert not verify_inclusion(leaf, index, size, proof[1:], root)
        place = data.draw(st.integers(0, len(proof) - 1))
        bit = data.draw(st.integers(0, 255))
        changed = (int.from_bytes(proof[place]) ^ 1 << bit).to_bytes(32)
        assert not verify_inclusion(leaf, index, size, [*proof[:place], changed, *proof[place + 1 :]], root)


@given(sizes, st.data())
def test_a_proof_holds_at_no_other_place(size: int, data: st.DataObject) -> None:
    index, other = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, 699))
    proof = inclusion_proof(BIG, index, size)
    if other != index:
        assert not verify_inclusion(BIG.node(0, other), index, size, proof, BIG.root(size))
        assert not verify_inclusion(BIG.node(0, other), other, size, proof, BIG.root(size))


@given(sizes, st.data())
def test_every_proof_of_consistency_verifies_and_for_nothing_else(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(0, new))
    proof, before, after = consistency_proof(BIG, old, new), BIG.root(old), BIG.root(new)
    assert verify_consistency(old, new, proof, before, after)
    assert not verify_consistency(old, new, proof, hashlib.sha256(before).digest(), after)
    assert not verify_consistency(old, new, [*proof, bytes(32)], before, after)
    assert not verify_consistency(new + 1, new, proof, before, after)
    assert not verify_consistency(-1, new, proof, before, after)
    if old:
        assert not verify_consistency(old, new, proof, before, hashlib.sha256(after).digest())
    if proof:
        assert not verify_consistency(old, new, proof[:-1], before, after)
        assert not verify_consistency(old, new, [], before, after)
        place, bit = data.draw(st.integers(0, len(proof) - 1)), data.draw(st.integers(0, 255))
        changed = (int.from_bytes(proof[place]) ^ 1 << bit).to_bytes(32)
        assert not verify_consistency(old, new, [*proof[:place], changed, *proof[place + 1 :]], before, after)


@given(st.integers(1, 120), st.data())
def test_a_history_that_was_rewritten_has_no_proof(new: int, data: st.DataObject) -> None:
    """Whatever the rewritten ledger can offer as a proof: none leads from the old head to it."""
    old = data.draw(st.integers(1, new))
    at = data.draw(st.integers(0, old - 1))
    raws = raws_of(new)
    before = Tree(map(leaf_hash, raws)).root(old)
    raws[at] += b"!"
    rewritten = Tree(map(leaf_hash, raws))
    assert not verify_consistency(old, new, consistency_proof(rewritten, old, new), before, rewritten.root())


def test_all_proofs_of_all_small_trees() -> None:
    for new in range(66):
        for old in range(new + 1):
            proof, before, after = consistency_proof(BIG, old, new), BIG.root(old), BIG.root(new)
            assert verify_consistency(old, new, proof, before, after)
            if old != new:
                assert not verify_consistency(new, old, proof, after, before), "a ledger does not shrink"
                assert not verify_consistency(new, old, proof, before, after)
                assert not verify_consistency(old - 1 if old else -1, new, proof, before, after) or old == 1
        for index in range(new):
            proof = inclusion_proof(BIG, index, new)
            assert verify_inclusion(BIG.node(0, index), index, new, proof, BIG.root(new))


def test_endless_proofs_are_refused_without_work() -> None:
    endless = [bytes(32)] * (MAX_PROOF + 1)
    assert not verify_inclusion(bytes(32), 0, 1 << 64, endless, bytes(32))
    assert not verify_consistency(1, 1 << 64, endless, bytes(32), bytes(32))


@given(st.lists(st.integers(0, 60), max_size=8))
def test_a_tree_grown_in_pieces_is_the_tree(pieces: list[int]) -> None:
    frontier, tree, done = Frontier(), Tree(), 0
    for piece in pieces:
        leaves = [BIG.node(0, index) for index in range(done, done + piece)]
        frontier.extend(leaves)
        tree.extend(leaves)
        done += piece
        assert frontier.root() == tree.root() == BIG.root(done)
        assert frontier.size == tree.size == done
        resumed = Frontier.of(BIG, done)
        resumed.extend([BIG.node(0, done)])
        assert resumed.root() == BIG.root(done + 1)


@pytest.mark.parametrize(
    ("index", "size", "claimed"), [(0, 4, 8), (0, 4, 5), (3, 4, 9), (0, 1, 2), (6, 7, 700), (4, 5, 8)]
)
def test_a_proof_for_a_smaller_tree_is_none_for_a_larger_one(index: int, size: int, claimed: int) -> None:
    proof = inclusion_proof(BIG, index, size)
    assert verify_inclusion(BIG.node(0, index), index, size, proof, BIG.root(size))
    assert not verify_inclusion(BIG.node(0, index), index, claimed, proof, BIG.root(size))


def test_a_node_is_no_leaf() -> None:
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    assert node_hash(left, right) != leaf_hash(left + right)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (3, 3), (-1, 3)])
def test_there_is_no_proof_of_what_is_not_there(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="has no leaf"):
        inclusion_proof(BIG, index, size)


def test_a_larger_tree_is_no_beginning() -> None:
    with pytest.raises(ValueError, match="does not extend"):
        consistency_proof(BIG, 4, 3)
