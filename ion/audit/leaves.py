"""Whether the stored points of statistics are those that the facts name by digest."""

from __future__ import annotations

from dataclasses import dataclass
from sys import intern
from typing import TYPE_CHECKING

from ion.ids import observed_id
from ion.ledger import Problem
from ion.points import leaf_digest

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ion.audit.removed import Removed
    from ion.facts import StatisticsRecorded
    from ion.store import GovernanceStore


@dataclass(frozen=True, slots=True)
class _Leaf:
    """What a fact says of its points."""

    run: str
    fact_id: str
    series: tuple[str, ...]
    digest: str


class Leaves:
    """The facts about statistics, as they were read."""

    def __init__(self) -> None:
        self._told: dict[int, _Leaf] = {}
        self._names: dict[tuple[str, ...], tuple[str, ...]] = {}

    def see(self, position: int, fact_id: str, fact: StatisticsRecorded) -> None:
        """Remember the first appearance of a fact."""
        names = tuple(str(row.get("name")) for row in fact.series)
        names = self._names.setdefault(names, names)
        self._told[position] = _Leaf(intern(fact.run), fact_id, names, fact.digest)

    def problems(self, store: GovernanceStore, fact_ids: Collection[str], removed: Removed) -> list[Problem]:
        """Compare with the stored points; ``fact_ids`` of gaps say which points never came, ``removed`` which went.

        Points that no fact read so far tells of are left alone: they came while the audit ran, or a record is
        missing, which the chain shows.
        """
        problems: list[Problem] = []
        waiting = dict(self._told)
        for stored in store.statistics.leaves():
            for position, columns in stored.columns.items():
                leaf = waiting.pop(position, None)
                if leaf is not None and not _agrees(leaf, stored.run, columns):
                    told = f"the stored points of run {stored.run} are not those told"
                    problems.append(Problem(position, "points", told))
            problems += [Problem(0, "points", trouble) for trouble in stored.troubles]
        problems += [
            Problem(position, "points", f"the store does not hold the points that run {leaf.run} told")
            for position, leaf in waiting.items()
            if leaf.series
            and not removed.explains(position)
            and observed_id("points missing", leaf.fact_id) not in fact_ids
        ]
        return sorted(problems, key=lambda problem: problem.position)


def _agrees(leaf: _Leaf, run: str, columns: Mapping[str, bytes]) -> bool:
    if leaf.run != run or set(columns) != set(leaf.series):
        return False
    return leaf_digest(columns[name] for name in leaf.series) == leaf.digest
