"""Proofs from the store: a fact is in the ledger, a ledger extends an older one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ion.errors import IonError
from ion.evidence.envelope import Unverified
from ion.evidence.trust import load_trust
from ion.facts import CheckpointSigned
from ion.ledger import Extension, Proof, SignedCheckpoint, leaf_hash, verify_checkpoint
from ion.ledger.merkle import verify_inclusion

if TYPE_CHECKING:
    from collections.abc import Callable

    from ion.home import Home
    from ion.store import GovernanceStore

FORMAT = "ion-proof/1"


@dataclass(frozen=True, slots=True)
class FactProof:
    """A record's bytes and the proof that the ledger holds them."""

    raw: bytes
    proof: Proof

    def to_json(self) -> dict[str, object]:
        """Return the form that needs nothing beside it but the log's key."""
        return {
            "format": FORMAT,
            "position": self.proof.position,
            "record": self.raw.decode(),
            "proof": self.proof.to_bytes().decode(),
        }

    @classmethod
    def parse(cls, data: bytes) -> FactProof:
        """Parse the JSON form.

        Raises:
            IonError: ``bad-proof``.
        """
        try:
            value = json.loads(data)
            raw, proof = value["record"].encode(), Proof.parse(value["proof"].encode())
            right = value["format"] == FORMAT and value["position"] == proof.position
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise IonError("bad-proof", "not a proof of a fact in JSON", "make it with `ion audit prove`") from error
        if not right:
            raise IonError("bad-proof", f"not of the format {FORMAT}, or its parts do not fit", "make it again")
        return cls(raw, proof)


def newest_checkpoint(store: GovernanceStore, home: Home, size: int = 0) -> SignedCheckpoint:
    """Return the newest checkpoint among the facts, or that of exactly ``size`` records.

    Raises:
        IonError: ``no-checkpoint``, or the trust document cannot be used.
    """
    trust = load_trust(home).root("ledger")
    for record in store.find(CheckpointSigned, newest_first=True):
        if size in {0, record.fact.size}:
            answer = verify_checkpoint(record.fact.note.encode(), trust, origin=store.ledger.origin(), at=record.us)
            if not isinstance(answer, Unverified):
                return answer
    what = f"of {size} records" if size else "of this ledger"
    raise IonError("no-checkpoint", f"there is no checkpoint {what}", "`ion audit checkpoint` makes one of its head")


def prove(store: GovernanceStore, fact: str, under: SignedCheckpoint) -> FactProof:
    """Return the proof that a fact, by its position or id, is among the records of a checkpoint.

    Raises:
        IonError: ``unknown-fact``, ``not-yet-signed`` for a fact behind the checkpoint, ``ledger-altered`` when the
            store no longer holds what was signed.
    """
    known = int(fact) if fact.isascii() and fact.isdigit() else store.ledger.position_of(fact)
    if known is None or not 1 <= known <= store.head().position:
        raise IonError("unknown-fact", f"the store holds no fact {fact!r:.80}", "name its position or its id")
    if known > under.size:
        message = f"fact {known} is behind the checkpoint, which is of {under.size} records"
        raise IonError("not-yet-signed", message, "`ion audit checkpoint` signs the head as it is now")
    raw = store.record_at(known).raw
    hashes = _of_store(lambda: store.ledger.tree().inclusion(known, under.size))
    if not verify_inclusion(leaf_hash(raw), known - 1, under.size, hashes, under.checkpoint.root):
        message = f"fact {known} is not what was signed"
        raise IonError("ledger-altered", message, "`ion audit verify` says more")
    return FactProof(raw, Proof(known, hashes, under.note.to_bytes()))


def extension(store: GovernanceStore, old: int, new: SignedCheckpoint) -> Extension:
    """Return the proof for a witness that a checkpoint extends the ledger of ``old`` records.

    Raises:
        IonError: ``wrong-proof`` when ``old`` is larger, ``ledger-altered`` when the store lacks records.
    """
    if old > new.size:
        raise IonError("wrong-proof", f"{new.size} records do not extend {old}", "name the smaller one first")
    hashes = _of_store(lambda: store.ledger.tree().consistency(old, new.size))
    return Extension(old, hashes, new.note.to_bytes())


def _of_store(made: Callable[[], tuple[bytes, ...]]) -> tuple[bytes, ...]:
    try:
        return made()
    except ValueError as error:
        raise IonError("ledger-altered", f"records are missing: {error}", "`ion audit verify` says more") from error
