"""The part of the ledger in a bundle: every fact that belongs there, each with its proof under one checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ion.errors import IonError
from ion.evidence.envelope import Unverified
from ion.interop.bundle import layout
from ion.interop.bundle.findings import Problem
from ion.interop.bundle.records import key_of
from ion.ledger import Proof, leaf_hash, verify_checkpoint
from ion.ledger.merkle import verify_inclusion
from ion.records import read_record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ion.evidence.trust_root import TrustRoot
    from ion.facts import Fact
    from ion.interop.bundle.records import Wanted
    from ion.ledger import SignedCheckpoint


@dataclass(frozen=True, slots=True)
class Proven:
    """The facts that were found and proven, by the paths of their records."""

    facts: Mapping[str, Fact]
    size: int
    problems: tuple[Problem, ...]


def prove_all(files: Mapping[str, bytes], trust: TrustRoot, wanted: Sequence[Wanted]) -> Proven:
    """Check every record and proof, and that they are the wanted ones and no others."""
    note = files.get(layout.CHECKPOINT, b"")
    signed = verify_checkpoint(note, trust)
    if isinstance(signed, Unverified):
        return Proven({}, 0, (Problem(layout.CHECKPOINT, signed.reason),))
    problems: list[Problem] = []
    facts: dict[str, Fact] = {}
    if signed.note.to_bytes() != note or len(signed.note.signatures) != 1:
        problems.append(Problem(layout.CHECKPOINT, "it is not the checkpoint as the log signed it, and nobody else"))
    positions = {path: position for path in files if (position := layout.record_position(path)) is not None}
    proofs = {layout.proof_path(position) for position in positions.values()}
    lone = sorted(set(_ledger(files)) - positions.keys() - proofs)
    problems += [Problem(path, "a proof without its record") for path in lone]
    for path, position in sorted(positions.items(), key=lambda item: item[1]):
        found = _proven(files, position, signed, note)
        if isinstance(found, list):
            problems += found
        else:
            facts[path] = found
    return Proven(facts, signed.size, (*problems, *_accounted(facts, wanted)))


def _accounted(facts: Mapping[str, Fact], wanted: Sequence[Wanted]) -> list[Problem]:
    """Find facts that are missing, and those nobody asked for."""
    missing = {each.key: each for each in wanted}
    problems = [
        Problem(path, f"a {type(fact).__name__} that does not belong to this bundle, or a second one")
        for path, fact in facts.items()
        if missing.pop(key_of(fact), None) is None
    ]
    told = [f"{each.kind.__name__} about {each.subject}" for each in missing.values()]
    return [*problems, *(Problem(layout.LEDGER, f"no proven fact is the {each} that belongs here") for each in told)]


def _proven(files: Mapping[str, bytes], position: int, signed: SignedCheckpoint, note: bytes) -> Fact | list[Problem]:
    path, beside = layout.record_path(position), layout.proof_path(position)
    try:
        fact = read_record(files[path]).fact
    except IonError as error:
        return [Problem(path, error.message)]
    if beside not in files:
        return [Problem(beside, "the proof of a record is not there")]
    try:
        proof = Proof.parse(files[beside])
    except IonError as error:
        return [Problem(beside, error.message)]
    if (proof.position, proof.checkpoint, proof.to_bytes()) != (position, note, files[beside]):
        return [Problem(beside, "it is of another position or checkpoint, or not in its one form")]
    if not verify_inclusion(leaf_hash(files[path]), position - 1, signed.size, proof.hashes, signed.checkpoint.root):
        return [
            Problem(path, f"its proof does not show that these bytes are record {position} of the checkpoint"),
            Problem(beside, "it is not the proof of the record beside it"),
        ]
    return fact


def _ledger(files: Mapping[str, bytes]) -> list[str]:
    return [path for path in files if path.startswith(layout.LEDGER) and path != layout.CHECKPOINT]
