"""What a witness says to a head; and one pass over the records, in pieces, with the roots on the way."""

from __future__ import annotations

import pytest

from ion.errors import IonError
from ion.facts import ParamRecorded
from ion.ledger import Checkpoint, Entry, Walk, consistency_proof, judge, leaf_hash
from ion.ledger.chain import GENESIS, link
from ion.ledger.diagnosis import chain_problem
from ion.ledger.merkle import EMPTY_ROOT, Frontier, Tree
from ion.testing import written

ORIGIN = "dagster-ion/store-0123456789ab"
RAWS = [written(ParamRecorded(run="r", name="n", value=seq), seq).raw for seq in range(40)]
TREE = Tree(map(leaf_hash, RAWS))


def head(size: int, tree: Tree = TREE) -> Checkpoint:
    return Checkpoint(ORIGIN, size, tree.root(size))


def kind(seen: Checkpoint | None, new: Checkpoint, old: int, proof: list[bytes]) -> str:
    refusal = judge(seen, new, old, proof)
    return "" if refusal is None else refusal.kind


# Judging -------------------------------------------------------------------------------------------


def test_a_first_head_is_taken_as_it_is() -> None:
    assert judge(None, head(7), 0, []) is None
    assert judge(None, head(7), 5, [bytes(32)]) is None


@pytest.mark.parametrize(("old", "new"), [(1, 2), (7, 8), (8, 40), (13, 29), (0, 5)])
def test_an_extension_is_taken(old: int, new: int) -> None:
    assert judge(head(old), head(new), old, consistency_proof(TREE, old, new)) is None


def test_the_same_head_again_needs_no_proof() -> None:
    assert judge(head(7), head(7), 0, []) is None


def test_a_smaller_head_is_rolled_back_whatever_comes_with_it() -> None:
    assert kind(head(8), head(7), 8, []) == "rolled-back"
    assert kind(head(8), head(0), 8, [bytes(32)]) == "rolled-back"


def test_another_history_is_forked() -> None:
    other = Tree(map(leaf_hash, [*RAWS[:5], b"mine", *RAWS[6:]]))
    assert kind(head(8), head(8, other), 8, []) == "forked"
    assert kind(head(8), head(12, other), 8, consistency_proof(other, 8, 12)) == "forked"
    assert kind(head(8), head(12), 8, []) == "forked", "without a proof nothing is shown"
    assert kind(head(8), head(12), 8, consistency_proof(TREE, 7, 12)) == "forked"
    assert judge(head(5), head(12, other), 5, consistency_proof(other, 5, 12)) is None, "the same up to there"


@pytest.mark.parametrize("old", [7, 9, 0])
def test_a_proof_from_elsewhere_shows_nothing(old: int) -> None:
    with pytest.raises(IonError, match="wrong-proof") as raised:
        judge(head(8), head(12), old, consistency_proof(TREE, old, 12))
    assert "ion audit consistency 8 12" in raised.value.hint


def test_a_refusal_and_an_error_say_why() -> None:
    other = Tree(map(leaf_hash, [*RAWS[:5], b"mine", *RAWS[6:]]))

    def said(seen: Checkpoint, new: Checkpoint) -> str:
        refusal = judge(seen, new, seen.size, [])
        assert refusal is not None
        return refusal.message

    assert said(head(8), head(7)) == "it has 7 records, 8 were seen before"
    assert said(head(8), head(8, other)) == "its 8 records are not those seen before"
    assert said(head(8), head(9)) == "its 9 records are not shown to begin with the 8 seen before"
    with pytest.raises(IonError) as raised:
        judge(head(8), head(12), 7, [])
    assert (raised.value.code, raised.value.message) == (
        "wrong-proof",
        "the proof is from 7 records, the last head seen has 8",
    )


# Walking -------------------------------------------------------------------------------------------


def entries() -> list[Entry]:
    made: list[Entry] = []
    for position, raw in enumerate(RAWS, 1):
        made.append((position, raw, link(made[-1][2] if made else GENESIS, raw)))
    return made


@pytest.mark.parametrize("step", [1, 3, 7, 40])
def test_a_walk_in_pieces_has_every_root_that_was_asked_for(step: int) -> None:
    walk = Walk([0, 1, 3, 7, 20, 40, 41, 7])
    for first in range(0, 40, step):
        walk.take(entries()[first : first + step])
    walk.take([])
    assert walk.broken is None
    assert (walk.count, walk.link, walk.root) == (40, entries()[-1][2], TREE.root())
    assert walk.roots == {size: TREE.root(size) for size in (0, 1, 3, 7, 20, 40)}


def test_a_walk_goes_on_from_a_known_place() -> None:
    walk = Walk.onward(13, entries()[12][2], Frontier.of(TREE, 13))
    walk.take(entries()[13:])
    assert (walk.broken, walk.count, walk.root) == (None, 40, TREE.root())
    walk = Walk.onward(13, bytes(32), Frontier.of(TREE, 13))
    walk.take(entries()[13:])
    assert walk.broken is not None
    assert (walk.broken.expected, walk.broken.position, walk.broken.previous) == (14, 14, bytes(32))


def test_a_walk_without_the_tree_has_no_roots() -> None:
    walk = Walk(tree=False)
    walk.take(entries())
    assert (walk.root, walk.count, walk.broken) == (EMPTY_ROOT, 40, None)


def test_a_walk_names_the_first_break_and_goes_on_counting() -> None:
    made = entries()
    made[4] = (5, b"x", made[4][2])
    made[20] = (21, b"y", made[20][2])
    walk = Walk([40])
    for first in range(0, 40, 10):
        walk.take(made[first : first + 10])
    assert walk.broken is not None
    assert (walk.broken.expected, walk.broken.raw, walk.broken.previous) == (5, b"x", made[3][2])
    assert (walk.count, walk.link) == (40, made[-1][2])
    assert walk.roots[40] == Tree(leaf_hash(raw) for _, raw, _ in made).root() != TREE.root()


@pytest.mark.parametrize(
    ("count", "recorded", "expected"),
    [(40, 40, None), (40, 41, ("truncated", 41)), (40, 39, ("inserted", 40)), (0, 3, ("truncated", 1)), (0, 0, None)],
)
def test_a_chain_that_holds_is_compared_with_the_recorded_head(
    count: int, recorded: int, expected: tuple[str, int] | None
) -> None:
    walk = Walk()
    walk.take(entries()[:count])
    problem = chain_problem(walk, recorded, walk.link, lambda: pytest.fail("not needed"))
    assert (problem and (problem.kind, problem.position)) == expected
    if problem is not None:
        assert problem.as_dict() == {"position": problem.position, "kind": problem.kind, "message": problem.message}
