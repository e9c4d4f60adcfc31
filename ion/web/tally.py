"""How many predictions every epoch made: folded once, then kept up with the store."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ion.facts import EpochOpened, PredictionsCommitted, Promoted, RolledBack

if TYPE_CHECKING:
    from ion.store import GovernanceStore


@dataclass(frozen=True, slots=True)
class Use:
    """One serving epoch of a model and what it predicted; times in microseconds UTC (0: nothing yet).

    ``maker`` is the run whose candidate was promoted: the same bytes may have been made twice.
    """

    epoch: str
    node: str
    run: str
    maker: str
    role: str
    opened: int
    serial: int
    predictions: int
    first_us: int
    last_us: int


@dataclass(slots=True)
class _Count:
    rows: int = 0
    first_us: int = 0
    last_us: int = 0


class Tally:
    """Counts by epoch; thread-safe. A range that was told twice counts once."""

    def __init__(self, store: GovernanceStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._position = 0
        self._counts: dict[str, _Count] = {}
        self._seen: set[tuple[str, int]] = set()

    def uses(self, model: str) -> list[Use]:
        """Return the epochs in which ``model`` predicted, newest first."""
        counts = self._current()
        makers = {(r.fact.cause, r.fact.node): r.fact.run for r in self._store.find(Promoted, model)}
        makers |= {(r.fact.cause, r.fact.node): r.fact.run for r in self._store.find(RolledBack, model)}
        found: list[Use] = []
        for record in self._store.find(EpochOpened, model, newest_first=True):
            fact = record.fact
            counted = counts.get(fact.epoch, _Count())
            role = next((role for role, digest in fact.models.items() if digest == model), "")
            found.append(
                Use(
                    fact.epoch,
                    fact.node,
                    fact.run,
                    makers.get((fact.cause, fact.node), ""),
                    role,
                    record.us,
                    fact.serial,
                    counted.rows,
                    counted.first_us,
                    counted.last_us,
                )
            )
        return found

    def total(self, model: str, maker: str) -> int:
        """Return how many predictions a candidate made: the model as run ``maker`` made it."""
        return sum(use.predictions for use in self.uses(model) if use.maker in {maker, ""})

    def _current(self) -> dict[str, _Count]:
        with self._lock:
            for record in self._store.find(PredictionsCommitted, after=self._position):
                self._position = record.position
                fact = record.fact
                if (fact.epoch, fact.first) in self._seen:
                    continue
                self._seen.add((fact.epoch, fact.first))
                counted = self._counts.setdefault(fact.epoch, _Count(first_us=fact.us_first))
                counted.rows += fact.rows
                counted.first_us = min(counted.first_us, fact.us_first)
                counted.last_us = max(counted.last_us, fact.us_last)
            return dict(self._counts)
