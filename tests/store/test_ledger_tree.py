"""The tree in the store: the same with and without tiles, on both databases, and cheap to ask at any size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine, event, select

from ion.facts import CheckpointSigned, ParamRecorded
from ion.ledger import inclusion_proof, leaf_hash
from ion.ledger.merkle import Tree, consistency_proof
from ion.store import open_store, schema
from ion.testing import written

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ion.store import GovernanceStore

SIZES = [0, 1, 2, 255, 256, 257, 511, 512, 700, 1000]


@pytest.fixture
def store(store_url: str) -> Iterator[GovernanceStore]:
    opened = open_store(store_url)
    opened.append([written(ParamRecorded(run="r", name="n", value=seq), seq) for seq in range(1000)])
    yield opened
    opened.close()


@pytest.fixture
def tree(store: GovernanceStore) -> Tree:
    """The same tree, by the definition, in memory."""
    return Tree(leaf_hash(raw) for _, raw, _ in store.ledger.entries())


@pytest.mark.parametrize("written_to", [0, 255, 256, 600, 1000])
def test_roots_and_proofs_are_right_whatever_was_written_before(
    store: GovernanceStore, tree: Tree, written_to: int
) -> None:
    store.ledger.tree().write(written_to)
    for size in SIZES:
        assert store.ledger.tree().root(size) == tree.root(size)
    for size in SIZES[1:]:
        for position in {1, size // 2 + 1, size}:
            found = store.ledger.tree().inclusion(position, size)
            assert list(found) == inclusion_proof(tree, position - 1, size)
        for old in (1, size // 3, size - 1, size):
            assert list(store.ledger.tree().consistency(old, size)) == consistency_proof(tree, old, size)


def test_only_whole_tiles_of_leaves_are_kept_and_writing_twice_changes_nothing(store: GovernanceStore) -> None:
    def tiles() -> dict[tuple[int, int], int]:
        with store._engine.connect() as connection:
            return {(row.level, row.index): len(row.hashes) // 32 for row in connection.execute(select(schema.tile))}

    for _ in range(2):
        store.ledger.tree().write(600)
        assert tiles() == {(0, 0): 256, (0, 1): 256, (1, 0): 2}
    store.ledger.tree().write(1000)
    assert tiles() == {(0, 0): 256, (0, 1): 256, (0, 2): 256, (1, 0): 3}
    store.rebuild()
    assert tiles() == {}


def test_the_tree_of_records_that_are_not_there_is_refused(store: GovernanceStore) -> None:
    with pytest.raises(ValueError, match="does not hold"):
        store.ledger.tree().root(1001)


def test_a_large_tree_has_a_third_level(tmp_path: Path) -> None:
    """Tiles of tiles of tiles: 70,000 records, the example of the specification."""
    store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    raws = [b"%d" % number for number in range(70_000)]
    engine = create_engine(f"sqlite:///{tmp_path / 'store.db'}")
    columns = {"agent": "a", "kind": "k", "us": 0, "first": True, "link": b""}
    with engine.begin() as connection:
        rows = [{**columns, "position": n, "id": str(n), "seq": n, "raw": raw} for n, raw in enumerate(raws, 1)]
        connection.execute(schema.fact.insert(), rows)
    store.ledger.tree().write(70_000)
    with engine.connect() as connection:
        found = [(row.level, row.index, len(row.hashes) // 32) for row in connection.execute(select(schema.tile))]
    assert sorted(found)[-3:] == [(1, 0, 256), (1, 1, 17), (2, 0, 1)]
    assert sum(level == 0 for level, _, _ in found) == 273
    tree = Tree(map(leaf_hash, raws))
    assert store.ledger.tree().root(70_000) == tree.root()

    read: list[int] = []
    event.listen(store._engine, "before_cursor_execute", lambda *arguments: read.append(arguments[2].count("raw")))
    assert list(store.ledger.tree().inclusion(12_345, 70_000)) == inclusion_proof(tree, 12_344, 70_000)
    assert sum(read) <= 3, "the records behind the last tile, and no others"
    assert len(read) < 12
    store.close()


def test_appends_write_no_tile(store: GovernanceStore) -> None:
    with store._engine.connect() as connection:
        assert connection.execute(select(schema.tile)).first() is None


def test_the_ledger_counts_and_finds(store: GovernanceStore) -> None:
    ledger = store.ledger
    assert ledger.origin().startswith("dagster-ion/store-")
    assert (ledger.last(), ledger.since(990, ()), ledger.since(0, (ParamRecorded,))) == (1000, 10, 0)
    assert ledger.since(990, (CheckpointSigned,)) == 10
    assert (ledger.position_of("agent-1:7"), ledger.position_of("nobody")) == (8, None)
    assert [position for position, _, _ in ledger.entries(3, 5)] == [3, 4, 5]
