"""The facts as a ledger: chain, Merkle tree, signed checkpoints, proofs, and what a witness says. No I/O.

A head that an outsider can check, and a record in it::

    note = sign_checkpoint(Checkpoint(origin, size, root_of(nodes, size)), signer)
    proof = Proof(position, tuple(inclusion_proof(nodes, position - 1, size)), note)
    match proof.check(raw, trust):
        case SignedCheckpoint(): ...   # record `position` is one of the first `size` that the log signed
        case Unverified(reason): ...
"""

from ion.ledger.chain import GENESIS, Entry, Problem, link, verify_chain
from ion.ledger.checkpoint import Checkpoint, SignedCheckpoint, cosign, cosigned_at, sign_checkpoint, verify_checkpoint
from ion.ledger.merkle import consistency_proof, inclusion_proof, leaf_hash, root_of
from ion.ledger.note import Note, NoteKey
from ion.ledger.proof import Extension, Proof
from ion.ledger.walk import Break, Walk
from ion.ledger.witness import Refusal, judge

__all__ = [
    "GENESIS",
    "Break",
    "Checkpoint",
    "Entry",
    "Extension",
    "Note",
    "NoteKey",
    "Problem",
    "Proof",
    "Refusal",
    "SignedCheckpoint",
    "Walk",
    "consistency_proof",
    "cosign",
    "cosigned_at",
    "inclusion_proof",
    "judge",
    "leaf_hash",
    "link",
    "root_of",
    "sign_checkpoint",
    "verify_chain",
    "verify_checkpoint",
]
