"""Stored statistics as a whole: which series there are, their leaves, and packing them together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select

from ion.errors import IonError
from ion.store import points, schema
from ion.store.answers import Series
from ion.store.appending import Append
from ion.store.connection import writing
from ion.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

    from ion.clock import Clock
    from ion.facts import StatisticsCompacted
    from ion.points import Points


@dataclass(frozen=True, slots=True)
class RunLeaves:
    """What is stored of a run: column digests by leaf position and series, and what cannot be read."""

    run: str
    columns: dict[int, dict[str, bytes]]
    troubles: list[str]


@dataclass(frozen=True, slots=True)
class Told:
    """One series of one leaf: the points that the fact at ``position`` told of it."""

    run: str
    series: str
    epoch: str
    position: int
    points: Points


class StoredStatistics:
    """The points of one store; see `GovernanceStore.statistics`."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def series(self, run: str) -> list[Series]:
        """Return the time series of a run, by name and epoch."""
        table = schema.points
        query = (
            select(table.c.series, table.c.epoch, func.sum(table.c.n), func.min(table.c.first), func.max(table.c.last))
            .where(table.c.run == run)
            .group_by(table.c.series, table.c.epoch)
            .order_by(table.c.series, table.c.epoch)
        )
        with self._engine.connect() as connection:
            rows = connection.execute(query)
            return [Series(name, epoch, int(n), first, last) for name, epoch, n, first, last in rows]

    def leaves(self) -> Iterator[RunLeaves]:
        """Yield what is stored, a run at a time, each row compared with its own digest."""
        with self._engine.connect() as connection:
            for run, rows in points.rows_by_run(connection):
                found = RunLeaves(run, {}, [])
                for row in rows:
                    try:
                        for position, leaf in points.leaves_of(row, points.checked(row)):
                            found.columns.setdefault(position, {})[row.series] = leaf.digest()
                    except IonError as error:
                        found.troubles.append(error.message)
                yield found

    def told(self) -> Iterator[Told]:
        """Yield every stored column of every leaf, a run after the other, each row compared with its digest.

        Raises:
            IonError: ``points-differ``, ``bad-points``.
        """
        with self._engine.connect() as connection:
            for run, rows in points.rows_by_run(connection):
                for row in rows:
                    for position, leaf in points.leaves_of(row, points.checked(row)):
                        yield Told(run, row.series, row.epoch, position, leaf)

    def compact(self, run: str, series: str, epoch: str = "") -> StatisticsCompacted | None:
        """Pack loose points of a series together, in one transaction; None when there is nothing to gain.

        Raises:
            IonError: ``points-differ``, ``store-unreachable``.
        """
        with writing(self._engine) as connection:
            step = Append(connection, self._clock)
            fact = points.compact(connection, run, series, epoch)
            if fact is not None:
                step.own(fact, "")
            step.finish()
            return fact

    def compact_all(self) -> Iterator[StatisticsCompacted]:
        """Pack the loose points of all series, some transactions each; yields what was done.

        Raises:
            IonError: as `compact`.
        """
        with self._engine.connect() as connection:
            found = points.loose(connection)
        for run, series, epoch in found:
            while (fact := self.compact(run, series, epoch)) is not None:
                yield fact
