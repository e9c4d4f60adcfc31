"""A ledger that grows, is rolled back and forked at random, before a witness: it accepts exactly the extensions."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ion.audit.witnessing import Witness
from ion.evidence import TrustRoot, create_key, load_signer
from ion.ledger import Checkpoint, Refusal, SignedCheckpoint, leaf_hash, sign_checkpoint, verify_checkpoint
from ion.ledger.merkle import Tree, consistency_proof

ORIGIN = "dagster-ion/store-0123456789ab"


class WitnessedLedger(RuleBasedStateMachine):
    """The ledger's owner may do anything, with the true key; the model is the records the witness has accepted."""

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ion-witness-"))
        create_key(self.folder / "log.pem")
        self.signer = load_signer(f"file:{self.folder / 'log.pem'}")
        self.trust = TrustRoot((self.signer.public,))
        self.witness = Witness(self.folder / "state.json")
        self.records: list[bytes] = []
        self.accepted: list[bytes] | None = None
        self.number = 0

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    def more(self, count: int) -> list[bytes]:
        self.number += count
        return [b"%d" % number for number in range(self.number - count, self.number)]

    def shown(self, old: int | None = None) -> Refusal | None:
        """Show the witness the head as it is, with the best proof the owner can make."""
        tree = Tree(map(leaf_hash, self.records))
        note = sign_checkpoint(Checkpoint(ORIGIN, len(self.records), tree.root()), self.signer)
        signed = verify_checkpoint(note, self.trust, origin=ORIGIN)
        assert isinstance(signed, SignedCheckpoint)
        start = len(self.accepted or ()) if old is None else old
        proof = consistency_proof(tree, start, len(self.records)) if start <= len(self.records) else []
        return self.witness.see(signed, self.trust, start, proof)

    @rule(count=st.integers(1, 300))
    def append(self, count: int) -> None:
        self.records += self.more(count)

    @rule()
    def checkpoint(self) -> None:
        refusal = self.shown()
        before = self.accepted
        if before is None or self.records[: len(before)] == before:
            assert refusal is None
            self.accepted = [*self.records]
        else:
            assert refusal is not None
            assert refusal.kind == ("rolled-back" if len(self.records) < len(before) else "forked")

    @rule(data=st.data())
    def rollback(self, data: st.DataObject) -> None:
        self.records = self.records[: data.draw(st.integers(0, len(self.records)))]

    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        """Change one record, drop one, or put one in, anywhere."""
        at = data.draw(st.integers(0, len(self.records)))
        self.records[at : at + data.draw(st.integers(0, 1))] = self.more(data.draw(st.integers(0, 2)))

    @rule()
    def repent(self) -> None:
        """Go back to what the witness has accepted: it goes on from there."""
        if self.accepted is not None:
            self.records = [*self.accepted, *self.more(1)]

    @rule()
    def restart(self) -> None:
        self.witness = Witness(self.folder / "state.json")

    @invariant()
    def the_memory_is_what_was_accepted(self) -> None:
        if not hasattr(self, "witness"):
            return
        seen = self.witness.seen(ORIGIN)
        if self.accepted is None:
            assert seen is None
        else:
            assert seen is not None
            root = Tree(map(leaf_hash, self.accepted)).root()
            assert (seen.checkpoint.size, seen.checkpoint.root) == (len(self.accepted), root)


TestWitnessedLedger = WitnessedLedger.TestCase
TestWitnessedLedger.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
