"""Whoever may write the database, and knows how it is made, does what they can to 1,000 facts; the audit says what."""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from ion.audit.proving import extension, newest_checkpoint
from ion.audit.witnessing import Witness
from ion.evidence import load_signer, load_trust
from ion.facts import ParamRecorded
from ion.ledger import GENESIS, Checkpoint, Entry, SignedCheckpoint, leaf_hash, link, sign_checkpoint, verify_checkpoint
from ion.ledger.merkle import Tree, consistency_proof
from ion.store import open_store
from ion.testing import written
from tests.store.ledger_scene import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Rows = list[dict[str, Any]]
FACTS = 1000
SIGNED = (400, 801, FACTS)
"""The numbers of records of the checkpoints; two of them are facts of the thousand."""
SAMPLE, LARGE_SAMPLE = 60, 1000


@dataclass
class Scene:
    """A ledger under attack, and what lies where the intruder cannot reach: the notes, and a witness's memory."""

    ledger: Ledger
    notes: dict[str, bytes]
    witness: Path


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A thousand facts, three checkpoints. (The third is recorded behind them, as fact 1,001.)"""
    root = tmp_path_factory.mktemp("prepared")
    ledger = Ledger.make(root / "home")
    notes: dict[str, bytes] = {}
    for size in SIGNED:
        ledger.tell(size - ledger.store.head().position)
        signed = ledger.sign()
        assert signed.size == size
        notes[f"kept {size}"] = signed.note.to_bytes()
    trust = load_trust(ledger.home).root("ledger")
    assert Witness(root / "witness.json").see(signed, trust, 0, ()) is None
    ledger.close()
    return Scene(ledger, notes, root / "witness.json")


@pytest.fixture
def scene(prepared: Scene, tmp_path: Path) -> Iterator[Scene]:
    """A copy for one test to spoil."""
    shutil.copytree(prepared.ledger.home.root, tmp_path / "home")
    shutil.copy(prepared.witness, tmp_path / "witness.json")
    home = type(prepared.ledger.home)(tmp_path / "home")
    ledger = Ledger(home, open_store(f"sqlite:///{home.root / 'store.db'}"), prepared.ledger.told)
    yield Scene(ledger, prepared.notes, tmp_path / "witness.json")
    ledger.close()


@pytest.fixture(scope="module")
def entries(prepared: Scene) -> list[Entry]:
    store = open_store(f"sqlite:///{prepared.ledger.home.root / 'store.db'}")
    kept = list(store.ledger.entries(last=FACTS))
    store.close()
    return kept


def forget_what_lies_about(ledger: Ledger) -> None:
    """Remove what the intruder may reach besides the facts: tiles, and the notes beside the store."""
    shutil.rmtree(ledger.home.checkpoints)
    ledger.sql("DELETE FROM ion_tile")


def without_checkpoints(rows: Rows) -> None:
    rows[:] = [row for row in rows if row["kind"] != "CheckpointSigned"]


# Bits ----------------------------------------------------------------------------------------------


def test_the_untouched_ledger_holds(scene: Scene) -> None:
    audit = scene.ledger.audit(scene.notes)
    assert (audit.problems, audit.entries, audit.checkpoints) == ((), FACTS + 1, 3 * len(SIGNED) + 1)


def test_every_bit_of_every_record_and_link_counts(entries: list[Entry]) -> None:
    previous, flips = GENESIS, 0
    for _, raw, recorded in entries:
        whole = int.from_bytes(raw)
        for bit in range(8 * len(raw)):
            assert link(previous, (whole ^ 1 << bit).to_bytes(len(raw))) != recorded
        for bit in range(256):
            changed = (int.from_bytes(recorded) ^ 1 << bit).to_bytes(32)
            assert link(previous, raw) != changed
            assert link((int.from_bytes(previous) ^ 1 << bit).to_bytes(32), raw) != recorded
        flips += 8 * len(raw) + 512
        previous = recorded
    assert flips > 1_000_000


def flipped(scene: Scene, entries: list[Entry], count: int) -> None:
    """Flip single bits of records or links, one at a time, and have the whole audit find each where it is."""
    generator = random.Random(20_260_801)  # noqa: S311 - a test's own dice
    for _ in range(count):
        position, raw, recorded = entries[generator.randrange(FACTS)]
        column, whole = generator.choice([("raw", raw), ("link", recorded)])
        bit = generator.randrange(8 * len(whole))
        changed = (int.from_bytes(whole) ^ 1 << bit).to_bytes(len(whole))
        update = f"UPDATE ion_fact SET {column} = ? WHERE position = ?"  # noqa: S608 - one of two names
        scene.ledger.sql(update, changed, position)
        assert scene.ledger.found()[0] == ("edited", position), (column, bit)
        scene.ledger.sql(update, whole, position)
    assert scene.ledger.found() == []


def test_flipped_bits_are_found_where_they_are(scene: Scene, entries: list[Entry]) -> None:
    flipped(scene, entries, SAMPLE)


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_a_thousand_flipped_bits_are_found_where_they_are(scene: Scene, entries: list[Entry]) -> None:
    flipped(scene, entries, LARGE_SAMPLE)


# Rows ----------------------------------------------------------------------------------------------


def foreign(number: int) -> dict[str, Any]:
    """A row that nobody appended, well-formed to the last column."""
    record = written(ParamRecorded(run="r", name="mine", value=1), number, agent="agent-1", fact_id=f"mine:{number}")
    columns = {"kind": "ParamRecorded", "us": 1, "first": 1, "link": b"", "position": 0}
    return {**columns, "id": record.id, "agent": record.agent, "seq": record.seq, "raw": record.raw}


def swap(rows: Rows, one: int, other: int) -> None:
    rows[one - 1], rows[other - 1] = rows[other - 1], rows[one - 1]


CHANGES: dict[str, tuple[Callable[[Rows], object], tuple[str, int]]] = {
    "a record deleted": (lambda rows: rows.pop(499), ("deleted", 500)),
    "ten records deleted": (lambda rows: rows.__delitem__(slice(499, 509)), ("deleted", 500)),
    "the first record deleted": (lambda rows: rows.pop(0), ("deleted", 1)),
    "a copy of a record": (lambda rows: rows.insert(499, dict(rows[99])), ("duplicated", 500)),
    "ten copies": (lambda rows: rows.__setitem__(slice(499, 499), map(dict, rows[99:109])), ("duplicated", 500)),
    "two records swapped": (lambda rows: swap(rows, 300, 500), ("swapped", 300)),
    "two neighbours swapped": (lambda rows: swap(rows, 500, 501), ("swapped", 500)),
    "a record moved": (lambda rows: rows.insert(99, rows.pop(499)), ("swapped", 100)),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("head", [True, False])
def test_rows_moved_about(scene: Scene, name: str, head: bool) -> None:  # noqa: FBT001 - a case
    """The rows renumbered; the recorded head moved along, or not."""
    change, expected = CHANGES[name]
    scene.ledger.rewrite(change, relink=False, head=head)
    assert scene.ledger.found()[0] == expected


@pytest.mark.parametrize("head", [True, False])
def test_a_record_inserted(scene: Scene, head: bool) -> None:  # noqa: FBT001 - a case
    ledger = scene.ledger
    ledger.rewrite(lambda rows: rows.insert(499, foreign(5000)), relink=False, head=head)
    assert ledger.found()[0] == ("inserted", 500)


def test_a_hole_left_open(scene: Scene) -> None:
    scene.ledger.sql("DELETE FROM ion_fact WHERE position BETWEEN 500 AND 509")
    assert scene.ledger.found()[0] == ("deleted", 500)


def test_a_record_put_behind_the_head(scene: Scene) -> None:
    ledger = scene.ledger
    row = foreign(5000)
    made = link(ledger.store.head().link, row["raw"])
    ledger.sql(
        "INSERT INTO ion_fact (us, first, position, id, agent, seq, kind, raw, link) VALUES (1,1,?,?,?,?,?,?,?)",
        FACTS + 2, row["id"], row["agent"], row["seq"], row["kind"], row["raw"], made,
    )  # fmt: skip
    assert ledger.found()[0] == ("inserted", FACTS + 2)


def test_the_tail_cut_off(scene: Scene) -> None:
    scene.ledger.sql("DELETE FROM ion_fact WHERE position > 900")
    assert scene.ledger.found()[0] == ("truncated", 901)


def test_the_tail_cut_off_and_the_head_set_back(scene: Scene) -> None:
    """The agents were told that more is there: that is what the store itself still says."""
    scene.ledger.rewrite(lambda rows: rows.__delitem__(slice(900, None)), relink=False)
    assert ("truncated", 901) in scene.ledger.found()
    shutil.rmtree(scene.ledger.home.checkpoints)
    assert "acknowledged-missing" in dict(scene.ledger.found())


# The whole chain rewritten -------------------------------------------------------------------------


@pytest.mark.parametrize("name", CHANGES)
def test_a_chain_linked_anew_is_betrayed_by_its_own_checkpoints(scene: Scene, name: str) -> None:
    """Links, head and tiles made to fit; the signed checkpoints among the facts cannot be."""
    scene.ledger.rewrite(CHANGES[name][0], relink=True)
    forget_what_lies_about(scene.ledger)
    first = dict(reversed(scene.ledger.found()))
    expected = CHANGES[name][1][1]
    held = max((size for size in SIGNED if size < expected), default=0)
    assert first["forked"] == held + 1, "somewhere behind the last checkpoint that holds"


def rewritten(ledger: Ledger) -> None:
    """Change one value long ago, and leave nothing that would not fit: the best that can be done without the key."""

    def change(rows: Rows) -> None:
        without_checkpoints(rows)
        rows[41]["raw"] = rows[41]["raw"].replace(b'"name":"n"', b'"name":"m"')

    ledger.rewrite(change, relink=True)
    ledger.sql("DELETE FROM ion_agent WHERE agent LIKE 'store-%'")
    forget_what_lies_about(ledger)
    ledger.store.rebuild()


def test_a_chain_rewritten_without_a_trace_shows_only_against_what_is_out_of_reach(scene: Scene) -> None:
    rewritten(scene.ledger)
    assert scene.ledger.found() == [], "nothing in the intruder's reach tells it: hence anchors and witnesses"
    assert scene.ledger.found({"kept": scene.notes["kept 400"]}) == [("forked", 1)]
    kinds = {kind for kind, _ in scene.ledger.found(scene.notes)}
    assert kinds == {"forked", "rolled-back"}, "998 of the 1,000 records are left"


def test_a_rewritten_chain_that_is_signed_anew_is_refused_by_the_witness(scene: Scene) -> None:
    """Governance itself is deceived and signs: its own files are gone. The witness is not."""
    rewritten(scene.ledger)
    scene.ledger.tell(100)
    signed = scene.ledger.sign()
    trust = load_trust(scene.ledger.home).root("ledger")
    made = extension(scene.ledger.store, FACTS, signed)
    refusal = Witness(scene.witness).see(signed, trust, made.old, made.hashes)
    assert refusal is not None
    assert refusal.kind == "forked"
    assert scene.ledger.found(scene.notes) == [("forked", 1)]


# Older states, and two of them ---------------------------------------------------------------------


def restored(scene: Scene, tmp_path: Path) -> Ledger:
    """The database alone put back to what a backup at 801 records held."""
    root = tmp_path / "restored"
    shutil.copytree(scene.ledger.home.root, root)
    old = Ledger(type(scene.ledger.home)(root), open_store(f"sqlite:///{root / 'store.db'}"), scene.ledger.told)
    old.rewrite(lambda rows: rows.__delitem__(slice(801, None)), relink=False)
    old.sql(
        "UPDATE ion_agent SET seq = ? WHERE agent = 'agent-1'",
        max(r["seq"] for r in old.rows() if r["agent"] == "agent-1"),
    )
    old.sql("UPDATE ion_agent SET seq = 0 WHERE agent LIKE 'store-%'")
    old.store.rebuild()
    return old


def test_an_older_backup_is_rolled_back(scene: Scene, tmp_path: Path) -> None:
    old = restored(scene, tmp_path)
    assert old.found() == [("rolled-back", 802)], "the notes beside the store tell it"
    shutil.rmtree(old.home.checkpoints)
    assert old.found() == []
    assert old.found({"kept": scene.notes["kept 801"]}) == []
    assert old.found({"kept": scene.notes["kept 1000"]}) == [("rolled-back", 802)]
    signed = newest_checkpoint(old.store, old.home)
    refusal = Witness(scene.witness).see(signed, load_trust(old.home).root("ledger"), 0, ())
    assert refusal is not None
    assert refusal.kind == "rolled-back"
    old.close()


def test_an_older_backup_that_grew_again_is_forked(scene: Scene, tmp_path: Path) -> None:
    old = restored(scene, tmp_path)
    shutil.rmtree(old.home.checkpoints)
    old.store.append([written(ParamRecorded(run="r", name="other", value=n), n, agent="agent-2") for n in range(300)])
    signed = old.sign()
    assert old.found(scene.notes) == [("forked", 802)]
    made = extension(old.store, FACTS, signed)
    refusal = Witness(scene.witness).see(signed, load_trust(old.home).root("ledger"), made.old, made.hashes)
    assert refusal is not None
    assert refusal.kind == "forked"
    old.close()


def test_two_heads_shown_to_two_clients(scene: Scene, entries: list[Entry]) -> None:
    """Whoever has the ledger's key can sign two histories; a witness takes one, and both notes are evidence."""
    home, origin = scene.ledger.home, scene.ledger.store.ledger.origin()
    signer, trust = load_signer(home.ledger_key_uri), load_trust(home).root("ledger")
    raws = [raw for _, raw, _ in entries]
    heads: list[SignedCheckpoint] = []
    trees: list[Tree] = []
    for last in (b"for one client", b"for the other"):
        trees.append(Tree(map(leaf_hash, [*raws, last])))
        signed = verify_checkpoint(sign_checkpoint(Checkpoint(origin, FACTS + 1, trees[-1].root()), signer), trust)
        assert isinstance(signed, SignedCheckpoint)
        heads.append(signed)
    witness = Witness(scene.witness)
    assert witness.see(heads[0], trust, FACTS, consistency_proof(trees[0], FACTS, FACTS + 1)) is None
    refusal = witness.see(heads[1], trust, FACTS, consistency_proof(trees[1], FACTS, FACTS + 1))
    assert refusal is not None
    assert refusal.kind == "forked"
    found = scene.ledger.found({"client 1": heads[0].note.to_bytes(), "client 2": heads[1].note.to_bytes()})
    assert found == [("forked", FACTS + 1)]


def test_a_forged_note_is_no_anchor(scene: Scene) -> None:
    changed = scene.notes["kept 801"].replace(b"\n801\n", b"\n800\n")
    assert scene.ledger.found({"forged": changed}) == [("checkpoint", 0)]
    assert scene.ledger.found({"oversize": b"x" * 10_000_000}) == [("checkpoint", 0)]
    (scene.ledger.home.checkpoints / "801.note").write_bytes(changed)
    assert scene.ledger.found() == [("checkpoint", 0)]
