"""What retention removed, by the receipts among the facts and their listings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.errors import IonError
from ion.facts import InputsCaptured, RetentionApplied, RowsQuarantined, StatisticsRecorded
from ion.ledger import Problem
from ion.store.listing import read_listing

if TYPE_CHECKING:
    from ion.records import Record
    from ion.store import GovernanceStore

_KINDS = {"captures": InputsCaptured, "quarantine": RowsQuarantined, "statistics": StatisticsRecorded}


class Removed:
    """The positions of the facts whose bodies went, by receipts; ``problems`` of receipts that cannot be believed."""

    def __init__(self, store: GovernanceStore, records: list[tuple[int, Record]]) -> None:
        self.problems: list[Problem] = []
        self._positions: set[int] = set()
        facts = dict(records)
        for position, record in records:
            receipt = record.fact
            if not isinstance(receipt, RetentionApplied):
                continue
            try:
                listed = read_listing(store.block(receipt.listing), receipt)
            except IonError as error:
                self.problems.append(Problem(position, "retention", error.message))
                continue
            kind = _KINDS.get(receipt.kind)
            wrong = [at for at in listed if at >= position or (at in facts and not _fits(facts[at], kind, receipt))]
            if wrong:
                told = f"the listing names facts that the receipt is not about, e.g. at {min(wrong)}"
                self.problems.append(Problem(position, "retention", told))
            else:
                self._positions |= listed

    @property
    def count(self) -> int:
        """How many facts have lost their bodies so."""
        return len(self._positions)

    def explains(self, position: int) -> bool:
        """Tell whether the body that the fact at a position names went by retention."""
        return position in self._positions


def _fits(record: Record, kind: type | None, receipt: RetentionApplied) -> bool:
    return kind is not None and isinstance(record.fact, kind) and record.stamp.us < receipt.before
