"""Checkpoints are made when it is time, extend one another, and are never made of a ledger that was altered."""

from __future__ import annotations

import json
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from ion.audit.checkpoints import LATEST, Cadence, Checkpoints
from ion.audit.git_anchor import anchor, anchored
from ion.audit.proving import FactProof, extension, newest_checkpoint, prove
from ion.audit.witnessing import Witness
from ion.errors import IonError
from ion.evidence import TrustRoot, create_key, load_signer, load_trust
from ion.facts import AlertRaised, CheckpointSigned
from ion.ledger import Checkpoint, Note, SignedCheckpoint, leaf_hash, sign_checkpoint
from ion.ledger.merkle import Tree, verify_consistency
from tests.store.ledger_scene import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger.make(tmp_path / "home")
    yield made
    made.close()


def signed_facts(ledger: Ledger) -> list[CheckpointSigned]:
    return [record.fact for record in ledger.store.find(CheckpointSigned)]


def test_a_checkpoint_is_a_fact_and_a_file_and_verifies(tmp_path: Path, store_url: str) -> None:
    ledger = Ledger.make(tmp_path / "home", store_url)
    ledger.tell(300)
    signed = ledger.sign()
    (fact,) = signed_facts(ledger)
    raws = [raw for _, raw, _ in ledger.store.ledger.entries(last=300)]
    assert signed.checkpoint == Checkpoint(ledger.store.ledger.origin(), 300, Tree(map(leaf_hash, raws)).root())
    assert (fact.size, fact.root) == (300, f"sha256:{signed.checkpoint.root.hex()}")
    for name in ("300.note", LATEST):
        assert (ledger.home.checkpoints / name).read_bytes() == fact.note.encode()
    audit = ledger.audit()
    assert (audit.ok, audit.entries, audit.checkpoints) == (True, 301, 3)
    ledger.close()


def test_nothing_is_signed_when_nothing_happened_but_checkpoints(ledger: Ledger) -> None:
    assert ledger.checkpoints.make() is None
    ledger.tell(1)
    assert ledger.sign().size == 1
    for _ in range(3):
        assert ledger.checkpoints.make() is None
    assert len(signed_facts(ledger)) == 1
    ledger.tell(1)
    assert ledger.sign().size == 3


def test_it_is_time_after_so_many_facts_or_so_many_seconds(ledger: Ledger) -> None:
    cadence = Cadence(facts=5, seconds=3600.0)
    ledger.tell(1)
    assert ledger.checkpoints.make(cadence) is not None, "the first is made at once"
    ledger.tell(4)
    assert ledger.checkpoints.make(cadence) is None
    assert ledger.checkpoints.make(Cadence(facts=5, seconds=0.0)) is not None
    ledger.tell(5)
    assert ledger.checkpoints.make(cadence) is not None


def test_each_checkpoint_extends_the_one_before(ledger: Ledger) -> None:
    before = None
    for count in (1, 255, 3, 1, 600, 256):
        ledger.tell(count)
        after = ledger.sign().checkpoint
        if before is not None:
            proof = ledger.store.ledger.tree().consistency(before.size, after.size)
            assert verify_consistency(before.size, after.size, proof, before.root, after.root)
        before = after
    assert ledger.found() == []


def test_two_that_sign_at_once_leave_one_history(ledger: Ledger) -> None:
    ledger.tell(700)
    threads = [threading.Thread(target=ledger.checkpoints.make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sizes = [fact.size for fact in signed_facts(ledger)]
    assert sizes == sorted(set(sizes))
    assert ledger.found() == []


def test_a_crash_between_the_fact_and_the_file_only_delays_the_file(ledger: Ledger) -> None:
    ledger.tell(3)
    signed = ledger.sign()
    for path in ledger.home.checkpoints.iterdir():
        path.unlink()
    assert ledger.checkpoints.make() is None
    assert (ledger.home.checkpoints / LATEST).read_bytes() == signed.note.to_bytes()
    assert (ledger.home.checkpoints / "3.note").exists()


def refused(ledger: Ledger) -> str:
    """Why nothing is signed; an alert says the same, once."""
    facts = len(signed_facts(ledger))
    for _ in range(2):
        with pytest.raises(IonError, match="ledger-altered") as raised:
            ledger.checkpoints.make()
    assert len(signed_facts(ledger)) == facts
    alerts = [record.fact.message for record in ledger.store.find(AlertRaised)]
    assert alerts.count(raised.value.message) == 1
    return raised.value.message


def test_a_chain_broken_since_the_last_checkpoint_is_not_signed(ledger: Ledger) -> None:
    ledger.tell(10)
    ledger.sign()
    ledger.tell(10)
    ledger.sql("UPDATE ion_fact SET raw = raw || x'20' WHERE position = 15")
    assert "broken at position 15" in refused(ledger)


def test_a_rewritten_history_is_not_signed(ledger: Ledger) -> None:
    ledger.tell(10)
    ledger.sign()
    ledger.tell(10)
    ledger.rewrite(lambda rows: rows[4].update(raw=rows[4]["raw"].replace(b'"n"', b'"m"')), relink=True)
    assert "first 10 records are not those" in refused(ledger)


def test_a_store_that_was_rolled_back_is_not_signed(ledger: Ledger) -> None:
    ledger.tell(10)
    ledger.sign()
    ledger.rewrite(lambda rows: rows.__delitem__(slice(5, None)), relink=False)
    assert "a checkpoint of 10 was signed" in refused(ledger)


@pytest.mark.parametrize("level", [0, 1])
def test_planted_tiles_are_not_believed(ledger: Ledger, level: int) -> None:
    """Whoever may write tiles before they are due, or change them, does not change what is signed."""
    ledger.tell(300)
    ledger.sql("INSERT INTO ion_tile VALUES (?, 0, zeroblob(?))", level, 8192 if level == 0 else 32)
    signed = ledger.sign()
    raws = [raw for _, raw, _ in ledger.store.ledger.entries(last=300)]
    assert signed.checkpoint.root == Tree(map(leaf_hash, raws)).root()
    assert ledger.store.ledger.tree().root(300) == signed.checkpoint.root, "and the tiles are right again"
    ledger.sql("UPDATE ion_tile SET hashes = zeroblob(length(hashes)) WHERE level = ?", level)
    ledger.tell(300)
    ledger.sign()
    assert ledger.found() == []


def test_a_checkpoint_by_another_key_is_passed_over_and_told(ledger: Ledger, tmp_path: Path) -> None:
    create_key(tmp_path / "mine.pem")
    forged = sign_checkpoint(
        Checkpoint(ledger.store.ledger.origin(), 9, bytes(32)), load_signer(f"file:{tmp_path / 'mine.pem'}")
    )
    ledger.tell(10)
    with ledger.store.command() as command:
        command.record(CheckpointSigned(size=9, root="sha256:" + "0" * 64, note=forged.decode()))
    assert ledger.found() == [("checkpoint", 11)]
    assert ledger.sign().size == 11


def test_a_key_that_the_trust_document_does_not_name_signs_nothing(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_key(tmp_path / "mine.pem")
    monkeypatch.setenv("ION_LEDGER_KEY", f"file:{tmp_path / 'mine.pem'}")
    with pytest.raises(IonError, match="ledger-key-untrusted"):
        Checkpoints.open(ledger.store, ledger.home)


# Proofs from the store -----------------------------------------------------------------------------


def test_every_fact_can_be_proven_and_nothing_else(ledger: Ledger) -> None:
    ledger.tell(300)
    signed = ledger.sign()
    trust = load_trust(ledger.home).root("ledger")
    for position in (1, 2, 256, 257, 300):
        made = prove(ledger.store, str(position), signed)
        assert isinstance(made.proof.check(made.raw, trust), SignedCheckpoint)
        again = FactProof.parse(json.dumps(made.to_json()).encode())
        assert again == made
    assert prove(ledger.store, "agent-1:41", signed).proof.position == 42
    for fact, code in (
        ("301", "not-yet-signed"),
        ("302", "unknown-fact"),
        ("0", "unknown-fact"),
        ("x", "unknown-fact"),
    ):
        with pytest.raises(IonError, match=code):
            prove(ledger.store, fact, signed)


def test_an_altered_fact_gets_no_proof(ledger: Ledger) -> None:
    ledger.tell(300)
    signed = ledger.sign()
    ledger.sql("UPDATE ion_fact SET raw = replace(raw, '\"n\"', '\"m\"') WHERE position = 7")
    with pytest.raises(IonError, match="ledger-altered"):
        prove(ledger.store, "7", signed)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"record": 1}', b'{"format": "ion-proof/1"}', b"{" * 9999])
def test_other_forms_are_no_proof_of_a_fact(data: bytes) -> None:
    with pytest.raises(IonError, match="bad-proof"):
        FactProof.parse(data)


def test_there_is_no_checkpoint_before_the_first(ledger: Ledger) -> None:
    ledger.tell(2)
    with pytest.raises(IonError, match="no-checkpoint"):
        newest_checkpoint(ledger.store, ledger.home)
    ledger.sign()
    assert newest_checkpoint(ledger.store, ledger.home).size == 2
    with pytest.raises(IonError, match="no-checkpoint"):
        newest_checkpoint(ledger.store, ledger.home, 1)


# Witnesses and anchors -----------------------------------------------------------------------------


def test_a_witness_remembers_what_it_saw_across_restarts(ledger: Ledger, tmp_path: Path) -> None:
    trust, state = load_trust(ledger.home).root("ledger"), tmp_path / "witness" / "state.json"
    ledger.tell(5)
    first = ledger.sign()
    assert Witness(state).see(first, trust, 0, ()) is None
    ledger.tell(5)
    second = ledger.sign()
    made = extension(ledger.store, 5, second)
    assert Witness(state).see(second, trust, made.old, made.hashes) is None
    seen = Witness(state).seen(second.checkpoint.origin)
    assert seen is not None
    assert (seen.checkpoint, seen.trust.keys) == (second.checkpoint, trust.keys)
    refusal = Witness(state).see(first, trust, 0, ())
    assert refusal is not None
    assert refusal.kind == "rolled-back"
    assert Witness(state).see(second, trust, 0, ()) is None, "the same again is no news"


@pytest.mark.parametrize(
    "change", ["{", "[]", '{"format": "ion-witness/2", "logs": {}}', '{"format": "ion-witness/1"}']
)
def test_a_damaged_memory_is_not_taken_for_an_empty_one(tmp_path: Path, change: str) -> None:
    state = tmp_path / "state.json"
    state.write_text(change)
    with pytest.raises(IonError, match="bad-witness-state"):
        Witness(state).seen("x")


def test_a_memory_in_which_somebody_put_an_older_head_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    ledger.tell(5)
    Witness(state).see(ledger.sign(), load_trust(ledger.home).root("ledger"), 0, ())
    state.write_text(state.read_text().replace("\\n5\\n", "\\n4\\n"))
    with pytest.raises(IonError, match="bad-witness-state"):
        Witness(state).origins()


def test_a_checkpoint_is_anchored_in_git_and_found_there(ledger: Ledger, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    subprocess.run(["git", "init", "-q", str(repository)], check=True)
    with pytest.raises(IonError, match="git-failed"):
        anchored(tmp_path)
    subprocess.run(["git", "-C", str(repository), "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    ledger.tell(5)
    signed = ledger.sign()
    assert anchor(repository, signed) == anchor(repository, signed) == "ion-checkpoint-5"
    assert anchored(repository) == {"ion-checkpoint-5": signed.note.to_bytes()}
    assert ledger.found(anchored(repository)) == []
    other = SignedCheckpoint(signed.checkpoint, Note("another\n", signed.note.signatures))
    with pytest.raises(IonError, match="anchor-differs"):
        anchor(repository, other)


def test_the_root_of_trust_is_not_in_the_note(ledger: Ledger, tmp_path: Path) -> None:
    """A note proves nothing by itself: it verifies only under a key that came another way."""
    from ion.evidence import Unverified
    from ion.ledger import verify_checkpoint

    ledger.tell(1)
    note = ledger.sign().note.to_bytes()
    stranger = TrustRoot((create_key(tmp_path / "key.pem"),))
    assert isinstance(verify_checkpoint(note, stranger), Unverified)
