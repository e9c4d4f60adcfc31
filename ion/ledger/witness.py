"""What a witness says to a head: it extends the last one seen, or the ledger was rolled back or forked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ion.errors import IonError
from ion.ledger.merkle import verify_consistency
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ion.ledger.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a head is not an extension of the one seen before, or not the log's at all."""

    kind: Literal["rolled-back", "forked", "unverified"]
    message: str


def judge(seen: Checkpoint | None, head: Checkpoint, old: int, proof: Sequence[bytes]) -> Refusal | None:
    """Say what is wrong with a verified head, seen the last one; None when it extends it.

    Args:
        seen: the last head of this log that was accepted, None at first sight: any head is then taken.
        head: the one to judge, of the same log.
        old: from how many records on the proof shows the extension.
        proof: as `ion.ledger.merkle.consistency_proof` returns it.

    Raises:
        IonError: ``wrong-proof`` when the proof is not from what was seen: it shows nothing, for or against.
    """
    if seen is None:
        return None
    if head.size < seen.size:
        return Refusal("rolled-back", f"it has {head.size} records, {seen.size} were seen before")
    if head.size == seen.size:
        return (
            None if head.root == seen.root else Refusal("forked", f"its {head.size} records are not those seen before")
        )
    if old != seen.size:
        message = f"the proof is from {old} records, the last head seen has {seen.size}"
        raise IonError("wrong-proof", message, f"ask for one with `ion audit consistency {seen.size} {head.size}`")
    if not verify_consistency(seen.size, head.size, proof, seen.root, head.root):
        return Refusal("forked", f"its {head.size} records are not shown to begin with the {seen.size} seen before")
    return None
