"""The predictions of an ION, newest first, listed one by one out of the committed ranges."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ion.clock import rfc3339
from ion.facts import EpochOpened, PredictionsCommitted
from ion.graph.timeline import checked_ion
from ion.ids import PredictionId
from ion.values import dataclass

if TYPE_CHECKING:
    from ion.graph.inquiry import Answer
    from ion.store import GovernanceStore


@dataclass(frozen=True, slots=True)
class PredictionEntry:
    """One committed prediction; ``us`` is when the newest of its window was made."""

    prediction: PredictionId
    node: str
    model: str
    us: int
    captured: bool

    def as_dict(self) -> Answer:
        """Return the JSON form."""
        return {
            "prediction": str(self.prediction),
            "node": self.node,
            "model": self.model,
            "at": rfc3339(self.us),
            "captured": self.captured,
        }


def predictions(store: GovernanceStore, ion: str, limit: int) -> list[PredictionEntry]:
    """Return the newest ``limit`` predictions of an ION.

    Raises:
        IonError: ``unknown-ion``.
    """
    checked_ion(store, ion)
    opened = [r.fact for r in store.find(EpochOpened) if r.fact.node.startswith(f"{ion}/")]
    ranges = [
        (record.fact.us_last, record.position, epoch, record.fact)
        for epoch in opened
        for record in store.find(PredictionsCommitted, epoch.epoch, limit=limit, newest_first=True)
    ]
    ranges.sort(key=lambda item: item[:2], reverse=True)
    captured: dict[str, list[tuple[int, int]]] = {}
    found: list[PredictionEntry] = []
    for us, _, epoch, committed in ranges:
        if epoch.epoch not in captured:
            captured[epoch.epoch] = store.index.captured_ranges(epoch.epoch)
        for sequence in range(committed.last, committed.first - 1, -1):
            if len(found) >= limit:
                return found
            has_input = any(first <= sequence <= last for first, last in captured[epoch.epoch])
            model = str(epoch.models.get("champion", next(iter(epoch.models.values()), "")))
            found.append(PredictionEntry(PredictionId(epoch.epoch, sequence), epoch.node, model, us, has_input))
    return found
